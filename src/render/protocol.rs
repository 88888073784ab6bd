//! Protocol between parent and worker: length-prefixed JSON messages on a socket. Pixels go through shared memory.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Error, Manual, PlacedWord, Undrawn};
use crate::page::Size;

/// Maximum bytes of a message; a longer one is invalid.
const MAX_FRAME: usize = 256 << 20;

/// First message to a worker: settings for its whole lifetime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Handshake {
    /// Path of the PDFium library to load.
    pub(super) library: OsString,
    /// Dots per inch of a rendered page.
    pub(super) dpi: u32,
    /// Maximum pixels of an image.
    pub(super) max_pixels: u64,
    /// Bytes of memory the worker may allocate beyond what it has at start.
    pub(super) memory: u64,
    /// Bytes of one image slot in the shared memory.
    pub(super) slot_bytes: u64,
    /// Whether to read the text layer.
    pub(super) text: bool,
    /// Whether to rotate pages so that their text is upright.
    pub(super) upright: bool,
    /// Whether to read where the words of the text layer are.
    pub(super) words: bool,
}

/// Type of a file, by its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FileType {
    /// A PDF.
    Pdf,
    /// An image of one page.
    Image,
    /// A TIFF of any number of pages.
    Tiff,
}

/// A request of the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Open a file; the reply is `Opened` or `OpenFailed`.
    Open {
        /// Absolute path.
        path: OsString,
        /// Type by signature.
        file_type: FileType,
        /// Password, if one was given.
        password: Option<String>,
        /// Whether to read labels and outline, or only the number of pages.
        contents: bool,
    },
    /// Render a page; the reply is `Page` or `PageFailed`.
    Page {
        /// The page, from 1.
        number: u32,
        /// Slot to write its pixels to.
        slot: usize,
    },
}

/// A reply of the worker: one per request, in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The file is open.
    Opened(Manual),
    /// The file cannot be read.
    OpenFailed(OpenError),
    /// The page's pixels are in the requested slot.
    Page {
        /// Their size.
        size: Size,
        /// What is on it apart from the pixels.
        content: PageContent,
    },
    /// The page cannot be rendered.
    PageFailed(String),
}

/// What is on a page apart from its pixels; see [`Rendered`](super::Rendered).
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct PageContent {
    /// The text layer.
    pub(super) text: String,
    /// Whether it says something else than the page.
    pub(super) unreadable_text: bool,
    /// Whether all pixels are equal.
    pub(super) blank: bool,
    /// What could not be drawn.
    pub(super) undrawn: Vec<Undrawn>,
    /// Where the words of the text layer are, if they are to be read.
    pub(super) words: Vec<PlacedWord>,
}

/// Serialisable form of [`Error`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum OpenError {
    /// [`Error::Io`].
    Io(String),
    /// [`Error::Format`].
    Format,
    /// [`Error::Password`].
    Password {
        /// Whether one was given.
        given: bool,
    },
    /// [`Error::Image`].
    Image(String),
    /// [`Error::Library`].
    Library(String),
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(why) => Self::Io(io::Error::other(why)),
            OpenError::Format => Self::Format,
            OpenError::Password { given } => Self::Password {
                given: usize::from(given),
            },
            OpenError::Image(why) => Self::Image(why),
            OpenError::Library(why) => Self::Library(why),
        }
    }
}

/// Sends one message.
pub(super) fn send<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    to.write_all(&frame)
}

/// Reads frames that may arrive in parts.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    bytes: Vec<u8>,
}

impl FrameReader {
    /// The next message; `None` when the read timeout of `from` passes first.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closed the socket; `InvalidData` when the message is not valid.
    pub(super) fn read_message<T: DeserializeOwned>(
        &mut self,
        from: &mut impl Read,
    ) -> io::Result<Option<T>> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(Some(serde_json::from_slice(&frame)?));
            }
            match from.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// The first frame, once complete.
    fn next_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(head) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(ErrorKind::InvalidData.into());
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let rest = self.bytes.split_off(4 + length);
        let mut frame = std::mem::replace(&mut self.bytes, rest);
        frame.drain(..4);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one byte per read.
    struct OneByteReader(Vec<u8>);

    impl Read for OneByteReader {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            to[0] = self.0.remove(0);
            Ok(1)
        }
    }

    #[test]
    fn split_messages_are_read_whole_and_in_order() {
        let mut wire = Vec::new();
        send(&mut wire, &Reply::PageFailed("one".into())).unwrap();
        send(&mut wire, &Reply::PageFailed("two".into())).unwrap();
        let (mut wire, mut frames) = (OneByteReader(wire), FrameReader::default());
        for expected in ["one", "two"] {
            let got: Option<Reply> = frames.read_message(&mut wire).unwrap();
            assert!(matches!(got, Some(Reply::PageFailed(text)) if text == expected));
        }
        let end = frames.read_message::<Reply>(&mut wire).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    }
}
