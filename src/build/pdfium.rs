//! libpdfium for the target platform, from the `pypdfium2` wheel, with its licences.
//!
//! `PDFIUM_LIBRARY=/path` uses another library and downloads nothing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::Result;
use super::wheel::{Wheel, sha256};

/// Wheels of one release contain the same build of PDFium (159.0.8149).
const PACKAGE: &str = "pypdfium2==5.15.2";

/// Source of the library for one platform.
struct Library {
    os: &'static str,
    arch: &'static str,
    wheel: Wheel,
    /// Path of the library in the wheel.
    path: &'static str,
    /// SHA-256 of the library; a copy of an earlier build is reused only if it matches.
    sha256: &'static str,
}

const LIBRARIES: [Library; 3] = [
    Library {
        os: "linux",
        arch: "x86_64",
        wheel: Wheel {
            package: PACKAGE,
            platform: "manylinux_2_17_x86_64",
            sha256: "dc31aea5b0fb9fefc9b537a65f4113980b2c40798445736a7e6565bc85161e37",
        },
        path: "pypdfium2_raw/libpdfium.so",
        sha256: "c76dc0f7839644bfa7c3e3107a6068df714e339c861bb7d4519907b821d427f9",
    },
    Library {
        os: "linux",
        arch: "aarch64",
        wheel: Wheel {
            package: PACKAGE,
            platform: "manylinux_2_17_aarch64",
            sha256: "dd46e93c0c3a73f6cea8489baff6d77a5d0759dd53fbbce0aeb49c91830176fc",
        },
        path: "pypdfium2_raw/libpdfium.so",
        sha256: "4378615ad9710397c96c112611be9018629bbfe38805d91a2663a534b99c28ca",
    },
    Library {
        os: "macos",
        arch: "aarch64",
        wheel: Wheel {
            package: PACKAGE,
            platform: "macosx_13_0_arm64",
            sha256: "e71fe832e94421ac3c28d6a6ed4a9e61f22417089652d339f391c4ffc2a44c35",
        },
        path: "pypdfium2_raw/libpdfium.dylib",
        sha256: "5574cd4164a1317bc6b2f3168a4f433ca84561aa1b33f570422ce20f199d3765",
    },
];

/// Writes library and licences to `out`.
pub(super) fn embed(out: &Path) -> Result<()> {
    println!("cargo::rerun-if-env-changed=PDFIUM_LIBRARY");
    let (library, licences) = (out.join("libpdfium"), out.join("pdfium-licences.txt"));
    match env::var_os("PDFIUM_LIBRARY").filter(|path| !path.is_empty()) {
        Some(given) => copy_local(Path::new(&given), &library, &licences)?,
        None => fetch(for_target()?, out, &library, &licences)?,
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

/// The library for the target platform.
fn for_target() -> Result<&'static Library> {
    let os = env::var("CARGO_CFG_TARGET_OS")?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let found = LIBRARIES.iter().find(|l| l.os == os && l.arch == arch);
    Ok(found.ok_or_else(|| {
        format!("no libpdfium is pinned for {os} on {arch}: build with PDFIUM_LIBRARY=/path/to/libpdfium")
    })?)
}

/// Downloads the wheel and extracts library and licences, unless an earlier build has done so.
fn fetch(pinned: &Library, out: &Path, library: &Path, licences: &Path) -> Result<()> {
    if licences.exists() && sha256(library).is_ok_and(|found| found == pinned.sha256) {
        return Ok(());
    }
    let folder = out.join("pypdfium2");
    let instead = "build with PDFIUM_LIBRARY=/path/to/libpdfium";
    pinned.wheel.unpack(&folder, instead)?;
    fs::write(licences, notices(&folder)?)?;
    fs::rename(folder.join(pinned.path), library)?;
    fs::remove_dir_all(&folder)?;
    let found = sha256(library)?;
    if found != pinned.sha256 {
        return Err(format!("the libpdfium of {PACKAGE} has the SHA-256 {found}").into());
    }
    Ok(())
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
