//! The SHA-256 of large files, remembered in the user's cache folder until their path, size or time changes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::Error;

/// The SHA-256 of some bytes, in hex.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Smaller files are read each time.
const REMEMBERED: u64 = 16 << 20;

/// The SHA-256 of a file, in hex; a large one is read only where it has changed since it was last asked for.
///
/// # Errors
/// When it cannot be read.
pub fn of_file(file: &Path) -> Result<String, Error> {
    let failed = |error: io::Error| Error::file(file, &error);
    let size = fs::metadata(file).map_err(failed)?.len();
    let folder = folder().filter(|_| size >= REMEMBERED);
    of_file_in(file, folder.as_deref()).map_err(failed)
}

fn of_file_in(file: &Path, folder: Option<&Path>) -> io::Result<String> {
    let whole = file.canonicalize()?;
    let name = of_bytes(whole.as_os_str().as_encoded_bytes());
    let note = folder.map(|folder| folder.join(name));
    let state = state(&whole)?;
    if let Some(digest) = note.as_ref().and_then(|note| remembered(note, &state)) {
        return Ok(digest);
    }
    let digest = read(&whole)?;
    if let Some(note) = note {
        // A cache that cannot be written costs time, nothing else.
        let _ = remember(&note, &format!("{state} {digest}"));
    }
    Ok(digest)
}

fn folder() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.cache_dir().join("ingest").join("digests"))
}

/// Size and time of a file.
fn state(file: &Path) -> io::Result<String> {
    let facts = fs::metadata(file)?;
    let time = facts.modified()?.duration_since(UNIX_EPOCH);
    let nanoseconds = time.map_or(0, |time| time.as_nanos());
    Ok(format!("{} {nanoseconds}", facts.len()))
}

fn remembered(note: &Path, state: &str) -> Option<String> {
    let text = fs::read_to_string(note).ok()?;
    let digest = text.strip_prefix(state)?.strip_prefix(' ')?;
    (digest.len() == 64).then(|| digest.to_owned())
}

/// Written beside and renamed, so that no reader sees half of it.
fn remember(note: &Path, text: &str) -> io::Result<()> {
    let folder = note.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(note)?;
    Ok(())
}

fn read(file: &Path) -> io::Result<String> {
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
    fn a_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights");
        let notes = folder.path().join("notes");
        let digest = || of_file_in(&file, Some(&notes)).unwrap();
        fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            (digest(), of_bytes(b"abc")),
            (abc.to_owned(), abc.to_owned())
        );
        let note = fs::read_dir(&notes)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let told = fs::read_to_string(&note)
            .unwrap()
            .replace(abc, &"0".repeat(64));
        fs::write(&note, told).unwrap();
        assert_eq!(digest(), "0".repeat(64), "the note is believed");
        fs::write(&file, "abcd").unwrap();
        assert_eq!(digest(), of_bytes(b"abcd"));
    }
}
