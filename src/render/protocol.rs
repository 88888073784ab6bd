//! What parent and worker say to each other: length-prefixed JSON on a socket. Pixels travel beside it, in shared memory.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Error, Manual};
use crate::page::Size;

/// A message larger than this is a fault of the sender.
const MAX_FRAME: usize = 256 << 20;

/// The first message to a worker: what holds for its whole life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// The PDFium to load.
    pub(super) library: OsString,
    /// Dots per inch of a rendered page.
    pub(super) dpi: u32,
    /// No picture has more pixels.
    pub(super) max_pixels: u64,
    /// Bytes of memory the worker may take beyond what it starts with.
    pub(super) memory: u64,
    /// Bytes of one picture slot in the shared memory.
    pub(super) slot_bytes: u64,
    /// Whether to read the text layer.
    pub(super) text: bool,
    /// Whether to turn pages the way their text runs.
    pub(super) upright: bool,
}

/// What the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// A PDF.
    Pdf,
    /// A PNG, JPEG or TIFF.
    Picture,
}

/// What the parent asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Open a file; the answer is `Opened` or `Refused`.
    Open {
        /// Where it lies.
        path: OsString,
        /// What it is.
        kind: Kind,
        /// Its password.
        password: Option<String>,
        /// Whether labels and outline are wanted, or only the number of pages.
        contents: bool,
    },
    /// Render a page; the answer is `Page` or `Failed`.
    Page {
        /// The page, from 1.
        number: u32,
        /// Where its pixels go.
        slot: usize,
    },
}

/// What the worker answers, one answer a request and in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The file is open.
    Opened(Manual),
    /// The file cannot be read.
    Refused(Refusal),
    /// The page's pixels lie in the slot named.
    Page {
        /// Their size.
        size: Size,
        /// The text layer.
        text: String,
        /// Whether all pixels are equal.
        blank: bool,
    },
    /// The page cannot be rendered.
    Failed(String),
}

/// [`Error`] in a form that travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// [`Error::Io`].
    Io(String),
    /// [`Error::Format`].
    Format,
    /// [`Error::Password`].
    Password {
        /// Whether one was given.
        given: bool,
    },
    /// [`Error::Picture`].
    Picture(String),
    /// [`Error::Library`].
    Library(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Io(why) => Self::Io(io::Error::other(why)),
            Refusal::Format => Self::Format,
            Refusal::Password { given } => Self::Password { given },
            Refusal::Picture(why) => Self::Picture(why),
            Refusal::Library(why) => Self::Library(why),
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

/// Messages as they arrive, possibly in pieces.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
}

impl Inbox {
    /// The next message; `None` when the source's read timeout passes first.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side is gone; `InvalidData` when it talks nonsense.
    pub(super) fn receive<T: DeserializeOwned>(
        &mut self,
        from: &mut impl Read,
    ) -> io::Result<Option<T>> {
        let mut piece = [0; 16 << 10];
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(serde_json::from_slice(&frame)?));
            }
            match from.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.bytes.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// The first frame, once it is complete.
    fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
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

    /// Hands out one byte at a time.
    struct Drip(Vec<u8>);

    impl Read for Drip {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            to[0] = self.0.remove(0);
            Ok(1)
        }
    }

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let mut wire = Vec::new();
        send(&mut wire, &Reply::Failed("one".into())).unwrap();
        send(&mut wire, &Reply::Failed("two".into())).unwrap();
        let (mut wire, mut inbox) = (Drip(wire), Inbox::default());
        for expected in ["one", "two"] {
            let got: Option<Reply> = inbox.receive(&mut wire).unwrap();
            assert!(matches!(got, Some(Reply::Failed(text)) if text == expected));
        }
        let end = inbox.receive::<Reply>(&mut wire).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    }
}
