//! Build script: downloads libpdfium, pinned and hash-checked, from the `pypdfium2` wheel, to embed it.
//!
//! `PDFIUM_LIBRARY=/path` uses another library and downloads nothing. No code of the wheel is run.
//! With the feature `mlx` it also sets the run path of MLX's library on Linux.

#![expect(
    clippy::print_stderr,
    reason = "cargo shows stderr when the build fails"
)]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Wheels of one release, which contain the same build of PDFium (159.0.8149).
const PACKAGE: &str = "pypdfium2==5.15.2";

/// Source of the library for one platform.
struct Wheel {
    os: &'static str,
    arch: &'static str,
    /// Platform tag of the wheel.
    platform: &'static str,
    /// SHA-256 of the wheel; pip checks it.
    wheel_sha256: &'static str,
    /// Path of the library in the wheel.
    library: &'static str,
    /// SHA-256 of the library; a copy of an earlier build is reused only if it matches.
    library_sha256: &'static str,
}

const WHEELS: [Wheel; 3] = [
    Wheel {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_17_x86_64",
        wheel_sha256: "dc31aea5b0fb9fefc9b537a65f4113980b2c40798445736a7e6565bc85161e37",
        library: "pypdfium2_raw/libpdfium.so",
        library_sha256: "c76dc0f7839644bfa7c3e3107a6068df714e339c861bb7d4519907b821d427f9",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_17_aarch64",
        wheel_sha256: "dd46e93c0c3a73f6cea8489baff6d77a5d0759dd53fbbce0aeb49c91830176fc",
        library: "pypdfium2_raw/libpdfium.so",
        library_sha256: "4378615ad9710397c96c112611be9018629bbfe38805d91a2663a534b99c28ca",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_13_0_arm64",
        wheel_sha256: "e71fe832e94421ac3c28d6a6ed4a9e61f22417089652d339f391c4ffc2a44c35",
        library: "pypdfium2_raw/libpdfium.dylib",
        library_sha256: "5574cd4164a1317bc6b2f3168a4f433ca84561aa1b33f570422ce20f199d3765",
    },
];

fn main() -> ExitCode {
    match embed().and_then(|()| mlx()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Sets the run path of MLX's library on Linux; on macOS MLX is linked statically.
fn mlx() -> Result<()> {
    println!("cargo::rerun-if-env-changed=MLX_PREFIX");
    if env::var_os("CARGO_FEATURE_MLX").is_none() || env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let prefix = env::var("MLX_PREFIX")
        .map_err(|_| "`--features mlx` on Linux: run tests/support/mlx.sh first")?;
    println!("cargo::rustc-link-arg=-Wl,-rpath,{prefix}/mlx/lib");
    Ok(())
}

/// Writes library and licences to `OUT_DIR`, from which the crate includes them.
fn embed() -> Result<()> {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=PDFIUM_LIBRARY");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let (library, licences) = (out.join("libpdfium"), out.join("pdfium-licences.txt"));
    match env::var_os("PDFIUM_LIBRARY").filter(|path| !path.is_empty()) {
        Some(given) => copy_local(Path::new(&given), &library, &licences)?,
        None => fetch(wheel()?, &out, &library, &licences)?,
    }
    println!("cargo::rustc-env=PDFIUM_SHA256={}", sha256(&library)?);
    Ok(())
}

/// Embeds the library that `PDFIUM_LIBRARY` names.
fn copy_local(given: &Path, library: &Path, licences: &Path) -> Result<()> {
    println!("cargo::rerun-if-changed={}", given.display());
    fs::copy(given, library)
        .map_err(|e| format!("PDFIUM_LIBRARY={} cannot be read: {e}", given.display()))?;
    let notice =
        "PDFium was supplied by the builder of this program; see its own licence notices.\n";
    Ok(fs::write(licences, notice)?)
}

/// The wheel for the target platform.
fn wheel() -> Result<&'static Wheel> {
    let os = env::var("CARGO_CFG_TARGET_OS")?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let found = WHEELS.iter().find(|w| w.os == os && w.arch == arch);
    Ok(found.ok_or_else(|| {
        format!("no libpdfium is pinned for {os} on {arch}: build with PDFIUM_LIBRARY=/path/to/libpdfium")
    })?)
}

/// Downloads the wheel and extracts library and licences, unless an earlier build has done so.
fn fetch(wheel: &Wheel, out: &Path, library: &Path, licences: &Path) -> Result<()> {
    if licences.exists() && sha256(library).is_ok_and(|found| found == wheel.library_sha256) {
        return Ok(());
    }
    let folder = out.join("pypdfium2");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let archive = download(wheel, &folder)?;
    python(
        &["-m", "zipfile", "-e"],
        &[archive.as_path(), &folder],
        "unpacking the wheel",
    )?;
    fs::write(licences, notices(&folder)?)?;
    fs::rename(folder.join(wheel.library), library)?;
    fs::remove_dir_all(&folder)?;
    let found = sha256(library)?;
    if found != wheel.library_sha256 {
        return Err(format!("the libpdfium of {PACKAGE} has the SHA-256 {found}").into());
    }
    Ok(())
}

/// Downloads the wheel into a folder; pip checks its hash.
fn download(wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
    let pins = folder.join("requirements.txt");
    fs::write(
        &pins,
        format!("{PACKAGE} --hash=sha256:{}\n", wheel.wheel_sha256),
    )?;
    let fixed = "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes";
    let mut args: Vec<&str> = fixed.split(' ').collect();
    args.extend(["--platform", wheel.platform, "--dest"]);
    python(
        &args,
        &[folder, Path::new("-r"), &pins],
        "downloading PDFium",
    )?;
    let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let archive = files.find(|path| path.extension().is_some_and(|e| e == "whl"));
    Ok(archive.ok_or("pip downloaded no wheel")?)
}

/// Runs Python; an error includes what to install.
fn python(args: &[&str], paths: &[&Path], what: &str) -> Result<()> {
    let remedy = "\nPDFium comes from PyPI at build time: Python 3 with pip and a network are needed\n\
        (Debian: apt install python3-pip; macOS: xcode-select --install),\n\
        or build with PDFIUM_LIBRARY=/path/to/libpdfium";
    let run = Command::new("python3").args(args).args(paths).output();
    let run = run.map_err(|e| format!("{what}: python3 cannot be started ({e}).{remedy}"))?;
    if run.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&run.stderr);
    Err(format!("{what} failed:\n{}{remedy}", stderr.trim()).into())
}

/// Concatenates the licence texts of the wheel that apply to the library.
fn notices(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let info = entry?.path();
        if info.extension().is_some_and(|e| e == "dist-info") {
            collect_files(&info.join("licenses"), &mut files)?;
        }
    }
    files.retain(|path| !is_unrelated(path));
    files.sort();
    if files.is_empty() {
        return Err("the wheel contains no licence notices".into());
    }
    let mut text = String::from("PDFium and the libraries inside it\n");
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let body = fs::read(&path)?;
        text += &format!(
            "\n==== {name} ====\n\n{}\n",
            String::from_utf8_lossy(&body).trim()
        );
    }
    Ok(text)
}

/// Whether a notice is for a part that the embedded libraries lack: other platforms, and the JavaScript engine.
fn is_unrelated(path: &Path) -> bool {
    ["android", "cibw_musl", "pbin_musl", "v8_xfa"]
        .iter()
        .any(|part| path.components().any(|c| c.as_os_str() == *part))
}

/// Collects all files below a folder, recursively.
fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// SHA-256 of a file, in hex.
fn sha256(path: &Path) -> Result<String> {
    let digest = Sha256::digest(fs::read(path)?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
