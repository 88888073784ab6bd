//! Paths as text: in a store, where a path that is no UTF-8 must be found again, and in JSON.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::Serializer;

/// Bytes that a URI has in a path as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Absolute paths do not begin so.
const SCHEME: &str = "file://";

/// The path itself, or a `file:` URI (RFC 8089) if it is no UTF-8.
pub(super) fn encode(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => file_uri(path),
    }
}

/// The path of a text made by [`encode`].
pub(super) fn decode(text: &str) -> PathBuf {
    match text.strip_prefix(SCHEME) {
        Some(encoded) => from_bytes(percent_decode_str(encoded).collect()).into(),
        None => text.into(),
    }
}

/// A path as a `file:` URI.
pub(super) fn file_uri(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    format!("{SCHEME}{}", percent_encode(bytes, PLAIN))
}

#[cfg(unix)]
fn from_bytes(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

#[cfg(not(unix))]
fn from_bytes(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// Writes a path as it is displayed: JSON has no other text than UTF-8.
///
/// # Errors
/// If the serializer fails.
pub fn serialize_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_a_store() {
        for path in ["/a/Gerät 100%?#.pdf", "/a/%FF.pdf", "relative.pdf", ""] {
            assert_eq!(encode(Path::new(path)), path);
            assert_eq!(decode(path), Path::new(path));
        }
        let raw = from_bytes(b"/a b/bad\xff%\xc3\xa4.pdf".to_vec());
        let text = encode(Path::new(&raw));
        assert_eq!(text, "file:///a%20b/bad%FF%25%C3%A4.pdf");
        assert_eq!(decode(&text), Path::new(&raw));
    }
}
