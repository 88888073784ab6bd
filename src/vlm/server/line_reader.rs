//! The lines of a streamed reply, bounded in length and in time.

use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use crate::vlm::Error;

/// Bytes of a line; no honest piece of an answer is longer.
const LINE: u64 = 1 << 20;
/// Bytes of a whole answer.
const ALL: u64 = 16 << 20;

/// Whether the deadline of the request ended the reply.
fn is_late(cause: &io::Error) -> bool {
    let inner = cause.get_ref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    inner.is_some_and(reqwest::Error::is_timeout) || cause.kind() == io::ErrorKind::TimedOut
}

/// Reads lines until the reply ends.
pub(super) struct LineReader<R> {
    reply: BufReader<R>,
    begun: Instant,
    deadline: Duration,
    read: u64,
}

impl<R: Read> LineReader<R> {
    pub(super) fn new(reply: R, deadline: Duration) -> Self {
        Self {
            reply: BufReader::new(reply),
            begun: Instant::now(),
            deadline,
            read: 0,
        }
    }

    /// The next line that is not empty; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            let late = || Error::Deadline(self.deadline.as_secs());
            if self.begun.elapsed() > self.deadline {
                return Err(late());
            }
            let mut line = Vec::new();
            let read = (&mut self.reply).take(LINE).read_until(b'\n', &mut line);
            self.read += match read {
                Ok(0) => return Ok(None),
                Ok(bytes) => bytes as u64,
                Err(cause) if is_late(&cause) => return Err(late()),
                Err(cause) => return Err(Error::Disconnected(cause.to_string())),
            };
            if line.len() as u64 == LINE || self.read > ALL {
                return Err(Error::Protocol(format!("more than {} bytes", line.len())));
            }
            let text = String::from_utf8(line);
            let text = text.map_err(|_| Error::Protocol("bytes that are no UTF-8".to_owned()))?;
            if !text.trim().is_empty() {
                return Ok(Some(text.trim().to_owned()));
            }
        }
    }
}
