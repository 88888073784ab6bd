//! The PDFium shared library embedded in this executable, unpacked once into the user's cache folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::super::Error;

static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libpdfium"));
const LICENCES: &str = include_str!(concat!(env!("OUT_DIR"), "/pdfium-licences.txt"));
const HASH: &str = env!("PDFIUM_SHA256");
const NAME: &str = if cfg!(target_os = "macos") {
    "libpdfium.dylib"
} else {
    "libpdfium.so"
};

/// The licence notices of PDFium and the libraries it contains.
pub fn licences() -> &'static str {
    LICENCES
}

/// Path of the PDFium to load: `PDFIUM_LIBRARY` if set, else the embedded one, unpacked if necessary.
///
/// # Errors
/// [`Error::Library`] when that path is not a file, or the cache folder cannot be written.
pub(in crate::render) fn path() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os("PDFIUM_LIBRARY").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return path.is_file().then_some(path.clone()).ok_or_else(|| {
            Error::Library(format!("PDFIUM_LIBRARY={} is not a file", path.display()))
        });
    }
    let base = etcetera::choose_base_strategy().map_err(|e| Error::Library(e.to_string()))?;
    let path = base.cache_dir().join("ingest/pdfium").join(HASH).join(NAME);
    unpack(&path)
        .map_err(|e| Error::Library(format!("{} cannot be written: {e}", path.display())))?;
    Ok(path)
}

/// Writes the library unless an intact copy exists. Two processes may do so at once: the last rename wins.
fn unpack(path: &Path) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|bytes| is_intact(&bytes)) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(LIBRARY)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn is_intact(bytes: &[u8]) -> bool {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex == HASH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_copy_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/libpdfium");
        unpack(&path).unwrap();
        fs::write(&path, b"torn").unwrap();
        unpack(&path).unwrap();
        assert!(is_intact(&fs::read(&path).unwrap()));
        assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn licence_notices_are_embedded() {
        assert!(licences().contains("PDFium"));
    }
}
