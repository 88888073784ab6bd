#!/usr/bin/env bash
# .github/formula.sh FOLDER: writes SHA256SUMS and the Homebrew formula `ingest.rb` for the archives in a folder, as they will be
# attached to a release in the repository $GITHUB_REPOSITORY (OWNER/NAME).
set -euo pipefail

repository=${GITHUB_REPOSITORY:?set it to OWNER/NAME of the repository with the releases}
manifest=$(cd "$(dirname "$0")/.." && pwd)/Cargo.toml
setting() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" "$manifest" | head -n 1; }
version=$(setting version)
cd "$1"

# archive TRIPLE INDENT: where it is and its sum.
archive() {
    local file=ingest-$version-$1.tar.gz sum
    sum=$(sha256sum "$file") || exit
    echo "$2url \"https://github.com/$repository/releases/download/v$version/$file\""
    echo "$2sha256 \"${sum%% *}\""
}

mac=$(archive aarch64-apple-darwin "    ")
linux_arm=$(archive aarch64-unknown-linux-gnu "      ")
linux_intel=$(archive x86_64-unknown-linux-gnu "      ")
sha256sum ingest-"$version"-*.tar.gz >SHA256SUMS
cat >ingest.rb <<RUBY
class Ingest < Formula
  desc "Search PDF manuals by page, using page images"
  homepage "https://github.com/$repository"
  version "$version"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
$mac
    depends_on arch: :arm64
    depends_on macos: :sonoma
  end

  on_linux do
    on_arm do
$linux_arm
    end
    on_intel do
$linux_intel
    end
  end

  def install
    # MLX looks for its kernels beside the executable.
    libexec.install "ingest", *Dir["mlx.metallib"]
    bin.write_exec_script libexec/"ingest"
    man1.install "ingest.1"
    bash_completion.install "completions/ingest.bash" => "ingest"
    zsh_completion.install "completions/_ingest"
    fish_completion.install "completions/ingest.fish"
    doc.install "LICENCES-PDFIUM.txt"
  end

  test do
    assert_match "ingest #{version}", shell_output("#{bin}/ingest --version")
    system bin/"ingest", "check"
  end
end
RUBY
echo "$PWD/ingest.rb"
