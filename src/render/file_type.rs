//! File type by signature (magic bytes), regardless of the file name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Error;
use super::protocol::FileType;

/// The `%PDF-` header is within the first 1024 bytes.
const HEADER_BYTES: u64 = 1024;

/// Detects the type of a file from its first bytes.
///
/// # Errors
/// [`Error::Io`] when it is not a readable file; [`Error::Format`] when it is not a PDF but named `.pdf`; else [`Error::Unsupported`].
pub(super) fn detect(path: &Path) -> Result<FileType, Error> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::Io(io::Error::other("not a file")));
    }
    let mut header = Vec::new();
    file.take(HEADER_BYTES).read_to_end(&mut header)?;
    let named_pdf = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("pdf"));
    match from_signature(&header) {
        Some(file_type) => Ok(file_type),
        None if named_pdf => Err(Error::Format),
        None => Err(Error::Unsupported),
    }
}

fn from_signature(header: &[u8]) -> Option<FileType> {
    const IMAGES: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"];
    const TIFF: [&[u8]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
    let starts_with = |magic: &&[u8]| header.starts_with(magic);
    let is_webp = header.starts_with(b"RIFF") && header.get(8..12) == Some(b"WEBP");
    // Two letters are not enough: four reserved bytes are zero.
    let is_bmp = header.starts_with(b"BM") && header.get(6..10) == Some(&[0; 4]);
    if IMAGES.iter().any(starts_with) || is_webp || is_bmp {
        return Some(FileType::Image);
    }
    if TIFF.iter().any(starts_with) {
        return Some(FileType::Tiff);
    }
    header
        .windows(5)
        .any(|w| w == b"%PDF-")
        .then_some(FileType::Pdf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_determines_the_type() {
        let late = [vec![b' '; 1000], b"%PDF-1.4".to_vec()].concat();
        assert_eq!(from_signature(&late), Some(FileType::Pdf));
        assert_eq!(from_signature(b"\xff\xd8\xff\xe0"), Some(FileType::Image));
        assert_eq!(
            from_signature(b"RIFF\0\0\0\0WEBPVP8 "),
            Some(FileType::Image)
        );
        assert_eq!(
            from_signature(b"BM\x36\0\0\0\0\0\0\0\x36"),
            Some(FileType::Image)
        );
        assert_eq!(from_signature(b"II*\0"), Some(FileType::Tiff));
        assert_eq!(from_signature(b"BMW service manual"), None);
        assert_eq!(from_signature(b"<html>"), None);
        assert_eq!(from_signature(b""), None);
    }
}
