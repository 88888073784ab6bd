//! SHA-256 digests of files; those of large files are cached in the user's cache folder, by path, size and time.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::Error;

/// SHA-256 of bytes, in hex.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Minimum size of files whose digest is cached; smaller files are hashed each time.
const MIN_CACHED_SIZE: u64 = 16 << 20;

/// SHA-256 of a file, in hex; a large file is hashed only if it has changed since the last call.
///
/// # Errors
/// [`Error::File`] if it cannot be read.
pub fn of_file(file: &Path) -> Result<String, Error> {
    let failed = |error: io::Error| Error::file(file, &error);
    let size = fs::metadata(file).map_err(failed)?.len();
    let cache_folder = cache_folder().filter(|_| size >= MIN_CACHED_SIZE);
    of_file_in(file, cache_folder.as_deref()).map_err(failed)
}

fn of_file_in(file: &Path, cache_folder: Option<&Path>) -> io::Result<String> {
    let path = file.canonicalize()?;
    let name = of_bytes(path.as_os_str().as_encoded_bytes());
    let entry = cache_folder.map(|cache_folder| cache_folder.join(name));
    let stamp = stamp(&path)?;
    if let Some(digest) = entry.as_ref().and_then(|entry| read_entry(entry, &stamp)) {
        return Ok(digest);
    }
    let digest = hash_file(&path)?;
    if let Some(entry) = entry {
        // Failing to write the cache only costs time.
        let _ = write_entry(&entry, &format!("{stamp} {digest}"));
    }
    Ok(digest)
}

fn cache_folder() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.cache_dir().join("ingest").join("digests"))
}

/// Size and modification time of a file.
fn stamp(file: &Path) -> io::Result<String> {
    let metadata = fs::metadata(file)?;
    let time = metadata.modified()?.duration_since(UNIX_EPOCH);
    let nanoseconds = time.map_or(0, |time| time.as_nanos());
    Ok(format!("{} {nanoseconds}", metadata.len()))
}

fn read_entry(entry: &Path, stamp: &str) -> Option<String> {
    let text = fs::read_to_string(entry).ok()?;
    let digest = text.strip_prefix(stamp)?.strip_prefix(' ')?;
    (digest.len() == 64).then(|| digest.to_owned())
}

/// Writes a cache entry atomically: to a temporary file that is then renamed.
fn write_entry(entry: &Path, text: &str) -> io::Result<()> {
    let cache_folder = entry.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(cache_folder)?;
    let mut file = tempfile::NamedTempFile::new_in(cache_folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(entry)?;
    Ok(())
}

fn hash_file(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights");
        let cache = folder.path().join("cache");
        let digest = || of_file_in(&file, Some(&cache)).unwrap();
        fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            (digest(), of_bytes(b"abc")),
            (abc.to_owned(), abc.to_owned())
        );
        let entry = fs::read_dir(&cache)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let forged = fs::read_to_string(&entry)
            .unwrap()
            .replace(abc, &"0".repeat(64));
        fs::write(&entry, forged).unwrap();
        assert_eq!(digest(), "0".repeat(64), "the cached digest is used");
        fs::write(&file, "abcd").unwrap();
        assert_eq!(digest(), of_bytes(b"abcd"));
    }
}
