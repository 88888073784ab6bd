//! What a file is, told by its bytes and not by its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Error;
use super::protocol::Kind;

/// A PDF begins within so many bytes.
const HEAD: u64 = 1024;

/// Looks at the beginning of a file.
///
/// # Errors
/// [`Error::Io`] when it is not a readable file; [`Error::Format`] when only its name says PDF; else [`Error::Kind`].
pub(super) fn of(path: &Path) -> Result<Kind, Error> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::Io(io::Error::other("not a file")));
    }
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    let named_pdf = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("pdf"));
    match of_bytes(&head) {
        Some(kind) => Ok(kind),
        None if named_pdf => Err(Error::Format),
        None => Err(Error::Kind),
    }
}

fn of_bytes(head: &[u8]) -> Option<Kind> {
    const PICTURES: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*"];
    if PICTURES.iter().any(|magic| head.starts_with(magic)) {
        return Some(Kind::Picture);
    }
    head.windows(5).any(|w| w == b"%PDF-").then_some(Kind::Pdf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_the_kind() {
        let late = [vec![b' '; 1000], b"%PDF-1.4".to_vec()].concat();
        assert_eq!(of_bytes(&late), Some(Kind::Pdf));
        assert_eq!(of_bytes(b"\xff\xd8\xff\xe0"), Some(Kind::Picture));
        assert_eq!(of_bytes(b"<html>"), None);
        assert_eq!(of_bytes(b""), None);
    }
}
