//! Line reader of a streamed response, with limits on length and time.

use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use crate::vlm::Error;

/// Maximum bytes of a line; a chunk of an answer is far shorter.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Maximum bytes of a response.
const MAX_RESPONSE_BYTES: u64 = 16 << 20;

/// Whether the read failed because the time limit of the request was exceeded.
fn is_timeout(cause: &io::Error) -> bool {
    let inner = cause.get_ref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    inner.is_some_and(reqwest::Error::is_timeout) || cause.kind() == io::ErrorKind::TimedOut
}

/// Reads lines until the response ends.
pub(super) struct LineReader<R> {
    response: BufReader<R>,
    start: Instant,
    deadline: Duration,
    bytes_read: u64,
}

impl<R: Read> LineReader<R> {
    pub(super) fn new(response: R, deadline: Duration) -> Self {
        Self {
            response: BufReader::new(response),
            start: Instant::now(),
            deadline,
            bytes_read: 0,
        }
    }

    /// Returns the next non-empty line, trimmed; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            let timeout = || Error::Deadline(self.deadline.as_secs());
            if self.start.elapsed() > self.deadline {
                return Err(timeout());
            }
            let mut line = Vec::new();
            let read = (&mut self.response)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line);
            self.bytes_read += match read {
                Ok(0) => return Ok(None),
                Ok(bytes) => bytes as u64,
                Err(cause) if is_timeout(&cause) => return Err(timeout()),
                Err(cause) => return Err(Error::Disconnected(cause.to_string())),
            };
            if line.len() as u64 == MAX_LINE_BYTES || self.bytes_read > MAX_RESPONSE_BYTES {
                return Err(Error::Protocol(format!("more than {} bytes", line.len())));
            }
            let text = String::from_utf8(line);
            let text = text.map_err(|_| Error::Protocol("not UTF-8".to_owned()))?;
            if !text.trim().is_empty() {
                return Ok(Some(text.trim().to_owned()));
            }
        }
    }
}
