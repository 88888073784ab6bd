//! Chat requests to a vision-language model, with what every use of one needs: retries with back-off, a time limit, the detection
//! of repetition, and a limit of the model's memory.

pub mod jpeg;
mod memory_guard;
mod request_sender;
mod retrying_client;

use std::time::Duration;

pub use memory_guard::MemoryGuard;
pub use request_sender::{Completion, Delta, OnDelta, shortened};
pub use retrying_client::{Attempt, CompletionResult, Failed, RetryingClient};

use crate::vlm;

/// Settings of the requests.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Maximum tokens of an answer, for each page of the request.
    pub max_tokens: u32,
    /// Maximum time, for each page of the request.
    pub deadline: Duration,
    /// Memory limit of the model, in bytes.
    pub memory: u64,
}

/// Returns the memory that the model uses, in bytes; `None` if unknown.
pub type Gauge<'a> = dyn Fn() -> Option<u64> + Sync + 'a;

/// An event of a request.
#[derive(Clone, Debug)]
pub enum Event {
    /// It was completed.
    Completed(Exchange),
    /// A message for the user.
    Note(String),
}

/// Timing and token counts of a completed request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Time to first token (TTFT), in seconds.
    pub ttft: f64,
    /// Seconds to the end of the response.
    pub seconds: f64,
    /// Finish reason and token counts, as reported by the runner.
    pub finish: vlm::Finish,
}
