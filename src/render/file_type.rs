//! File type by signature (magic bytes), regardless of the file name.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::Error;
use super::protocol::FileType;

/// The `%PDF-` header is within the first 1024 bytes.
const HEADER_BYTES: u64 = 1024;
/// Last bytes of a file that are searched for the end of a PDF; some programs append to it.
const TRAILER_BYTES: u64 = 8192;

/// Kind of a file that is neither a PDF nor an image that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A web page.
    Html,
    /// Plain text, such as JSON, XML or an error message.
    Text,
    /// A ZIP archive; documents of Word and others, and e-books, are such.
    Zip,
    /// Another archive.
    Archive,
    /// A document of old versions of Microsoft Office (OLE).
    Office,
    /// Rich text (RTF).
    RichText,
    /// PostScript.
    PostScript,
    /// DjVu.
    Djvu,
    /// SVG.
    Svg,
    /// HEIC or AVIF.
    Heic,
    /// A picture of another format.
    OtherPicture,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Html => "a web page (HTML)",
            Self::Text => "a text file",
            Self::Zip => "a ZIP archive, as Word (DOCX), OpenDocument (ODT) and EPUB files are",
            Self::Archive => "an archive",
            Self::Office => "an Office document (DOC, XLS, PPT)",
            Self::RichText => "a document in RTF",
            Self::PostScript => "a document in PostScript",
            Self::Djvu => "a document in DjVu",
            Self::Svg => "a picture in SVG",
            Self::Heic => "a picture in HEIC or AVIF",
            Self::OtherPicture => "a picture in a format that is not read",
        })
    }
}

/// Detects the type of a file from its first bytes.
///
/// # Errors
/// [`Error::Io`] when it is not a readable file; else what it is: [`Error::NoBytes`], [`Error::Foreign`], [`Error::Format`]
/// when it is unknown but named `.pdf`, or [`Error::Unsupported`].
pub(super) fn detect(path: &Path) -> Result<FileType, Error> {
    let header = read_header(path)?;
    let named_pdf = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("pdf"));
    match from_signature(&header) {
        Some(file_type) => Ok(file_type),
        None if header.is_empty() => Err(Error::NoBytes),
        None => Err(match foreign(&header) {
            Some(kind) => Error::Foreign(kind),
            None if named_pdf => Error::Format,
            None => Error::Unsupported,
        }),
    }
}

/// The error of a file with the header of a PDF that PDFium cannot open: it is another file that contains such a header, its
/// end is missing, or it is damaged.
pub(super) fn unreadable_pdf(path: &Path) -> Error {
    let header = read_header(path).unwrap_or_default();
    let begins_as_pdf = header.starts_with(b"%PDF-");
    match foreign(&header).filter(|_| !begins_as_pdf) {
        Some(kind) => Error::Foreign(kind),
        None if has_trailer(path).unwrap_or(true) => Error::Format,
        None => Error::Truncated,
    }
}

fn read_header(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::Io(io::Error::other("not a file")));
    }
    let mut header = Vec::new();
    file.take(HEADER_BYTES).read_to_end(&mut header)?;
    Ok(header)
}

/// Whether a file has the end of a PDF.
fn has_trailer(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TRAILER_BYTES)))?;
    let mut trailer = Vec::new();
    file.take(TRAILER_BYTES).read_to_end(&mut trailer)?;
    Ok(contains(&trailer, b"%%EOF") || contains(&trailer, b"startxref"))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
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
    contains(header, b"%PDF-").then_some(FileType::Pdf)
}

/// The kind of a file that is not read; `None` if it is unknown.
fn foreign(header: &[u8]) -> Option<FileKind> {
    const SIGNATURES: [(&[u8], FileKind); 15] = [
        (b"PK\x03\x04", FileKind::Zip),
        (b"PK\x05\x06", FileKind::Zip),
        (b"\x1f\x8b", FileKind::Archive),
        (b"7z\xbc\xaf\x27\x1c", FileKind::Archive),
        (b"Rar!\x1a\x07", FileKind::Archive),
        (b"BZh", FileKind::Archive),
        (b"\xfd7zXZ\0", FileKind::Archive),
        (b"\x28\xb5\x2f\xfd", FileKind::Archive),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind::Office),
        (b"{\\rtf", FileKind::RichText),
        (b"%!PS", FileKind::PostScript),
        (b"AT&TFORM", FileKind::Djvu),
        (b"\0\0\0\x0cjP  ", FileKind::OtherPicture),
        (b"\0\0\0\x0cJXL ", FileKind::OtherPicture),
        (b"8BPS", FileKind::OtherPicture),
    ];
    const HEIF_BRANDS: [&[u8; 4]; 8] = [
        b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif",
    ];
    if let Some((_, kind)) = SIGNATURES
        .iter()
        .find(|(magic, _)| header.starts_with(magic))
    {
        return Some(*kind);
    }
    if header.get(4..8) == Some(b"ftyp") {
        let brand = header.get(8..12)?;
        return HEIF_BRANDS
            .iter()
            .any(|known| known.as_slice() == brand)
            .then_some(FileKind::Heic);
    }
    text_kind(header)
}

/// The kind of a text: a web page, a picture in SVG, or another text.
fn text_kind(header: &[u8]) -> Option<FileKind> {
    const TAGS: [&[u8]; 5] = [b"<!doctype html", b"<html", b"<head", b"<body", b"<script"];
    let utf16 = matches!(header, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
    let mut text = header.to_ascii_lowercase();
    if utf16 {
        text.retain(|byte| *byte != 0);
    }
    let is_text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c);
    if text.is_empty() || !text.iter().all(is_text) {
        return None;
    }
    if contains(&text, b"<svg") && !contains(&text, b"<html") {
        return Some(FileKind::Svg);
    }
    if TAGS.iter().any(|tag| contains(&text, tag)) {
        return Some(FileKind::Html);
    }
    // The last character of the header may be cut.
    let is_utf8 = std::str::from_utf8(header).map_or_else(|e| e.error_len().is_none(), |_| true);
    (utf16 || is_utf8).then_some(FileKind::Text)
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

    #[test]
    fn files_that_are_not_read_are_named() {
        for (header, kind) in [
            (
                &b"\xef\xbb\xbf\r\n<!DOCTYPE HTML PUBLIC"[..],
                FileKind::Html,
            ),
            (b"<?xml version=\"1.0\"?><html xmlns", FileKind::Html),
            (b"<?xml version=\"1.0\"?>\n<svg xmlns", FileKind::Svg),
            (b"<!DOCTYPE svg PUBLIC \"-//W3C\"><svg width", FileKind::Svg),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied",
                FileKind::Text,
            ),
            (b"{\"error\": \"sign in\"}", FileKind::Text),
            ("Fehler: Zugriff verweigert für".as_bytes(), FileKind::Text),
            (b"\xff\xfeF\0e\0h\0l\0e\0r\0", FileKind::Text),
            (b"PK\x03\x04\x14\0", FileKind::Zip),
            (b"\0\0\0\x18ftypheic\0\0\0\0", FileKind::Heic),
            (b"\0\0\0\x1cftypavif\0\0\0\0", FileKind::Heic),
            (b"AT&TFORM\0\0\x10\0DJVU", FileKind::Djvu),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind::Office),
            (b"{\\rtf1\\ansi", FileKind::RichText),
        ] {
            assert_eq!(foreign(header), Some(kind), "{}", header.escape_ascii());
        }
        for unknown in [
            &b"\x01\x02\x03"[..],
            b"\0\0\0\x18ftypmp42",
            b"caf\xe9 \xff\xfe\xfd",
        ] {
            assert_eq!(foreign(unknown), None, "{}", unknown.escape_ascii());
        }
    }
}
