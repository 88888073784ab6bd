//! The token stream of one generation request.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use super::Error;

/// An event of a token stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// The next token.
    Token(u32),
    /// The end of the stream.
    Finished(FinishReason),
}

/// Why a stream of tokens ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model produced a stop token.
    Stop,
    /// `max_tokens` were produced before a stop token.
    Length,
}

/// The tokens of a request as they are generated; dropping it cancels the request.
pub struct TokenStream {
    pub(super) receiver: Receiver<Result<TokenEvent, Error>>,
    /// Tokens of the prompt, including visual tokens.
    pub prompt_tokens: usize,
    pub(super) _alive: Arc<()>,
}

impl TokenStream {
    /// Waits for the next event until `deadline`.
    ///
    /// # Errors
    /// `None` when the deadline has passed, otherwise the error that ended the stream.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<TokenEvent, Option<Error>> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        match self.receiver.recv_timeout(timeout) {
            Ok(event) => event.map_err(Some),
            Err(RecvTimeoutError::Timeout) => Err(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Some(Error::Failed("its thread panicked".to_owned())))
            }
        }
    }
}
