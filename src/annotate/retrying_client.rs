//! Completion client: sends prompts to a runner, one at a time or concurrently, with retries, exponential back-off and
//! the memory guard.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::vlm::repetition::RepetitionDetector;
use crate::vlm::reply::FailureClass;
use crate::vlm::{ChatRequest, Chunk, Error, Finish, Part, Runner};

use super::memory_guard::{Action, MemoryGuard};
use super::{Event, Exchange, Settings};

/// Temperature by attempt: near-greedy sampling copies dense tables well, but leaves a repetition loop only at a higher
/// temperature.
const TEMPERATURES: [f32; 4] = [0.1, 0.4, 0.7, 1.0];
/// Retries of a request while the server is unavailable; the back-off doubles each time.
const MAX_RETRIES: u32 = 6;
/// Back-off before the first retry.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Interval of the checks while memory is short.
const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The kind of attempt: sets temperature and concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The first attempt; concurrent with others.
    First,
    /// A retry; exclusive, since a server may apply the temperature of one request to all that are running.
    Retry(u32),
    /// Greedy decoding, exclusive: the output must be reproducible.
    GreedyExclusive,
    /// Greedy decoding, concurrent with others.
    GreedyConcurrent,
}

impl Attempt {
    fn temperature(self) -> f32 {
        match self {
            Self::First => TEMPERATURES[0],
            Self::Retry(attempt) => TEMPERATURES[(attempt as usize).min(TEMPERATURES.len() - 1)],
            Self::GreedyExclusive | Self::GreedyConcurrent => 0.0,
        }
    }
}

/// A completed response.
pub(super) struct Completion {
    pub(super) text: String,
    pub(super) finish: Finish,
}

/// Result of a prompt: the completion, or the class of its failure with details.
pub(super) type CompletionResult = Result<Completion, (FailureClass, String)>;

/// Sends prompts to a runner; shared by all workers.
pub(super) struct RetryingClient<'a> {
    pub(super) runner: &'a dyn Runner,
    pub(super) settings: &'a Settings,
    pub(super) on_event: &'a (dyn Fn(Event) + Sync),
    pub(super) guard: &'a MemoryGuard<'a>,
    /// Set once the run is aborted; no page counts as failed for that.
    aborted: &'a AtomicBool,
    /// Why it was aborted.
    cause: Mutex<Option<Error>>,
    /// Held from a request to its first token, for runners that must prefill one request at a time.
    prefill_gate: Mutex<()>,
    /// Read-locked by concurrent requests, write-locked by exclusive ones.
    exclusive: RwLock<()>,
}

impl<'a> RetryingClient<'a> {
    pub(super) fn new(
        runner: &'a dyn Runner,
        settings: &'a Settings,
        guard: &'a MemoryGuard<'a>,
        aborted: &'a AtomicBool,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        Self {
            runner,
            settings,
            on_event,
            guard,
            aborted,
            cause: Mutex::default(),
            prefill_gate: Mutex::default(),
            exclusive: RwLock::default(),
        }
    }

    /// Aborts the run: no further request is sent. The first cause is kept.
    pub(super) fn abort(&self, cause: Option<Error>) {
        let mut first = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        *first = first.take().or(cause);
        self.aborted.store(true, Ordering::Relaxed);
    }

    /// Unloads the model once no request is running; the next request loads it again.
    pub(super) fn unload_model(&self) {
        let _exclusive = self.exclusive.write();
        // Best effort: an error of the server shows at the next request.
        drop(self.runner.unload());
        self.guard.unloaded();
    }

    /// Returns the cause as an error if the run was aborted with one.
    pub(super) fn result(&self) -> Result<(), Error> {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.clone().map_or(Ok(()), Err)
    }

    /// Sends one prompt, retrying while the server is unavailable or out of memory. `Err` is a failure of the server,
    /// which aborts the run; `Ok(Err(_))` one of the page.
    pub(super) fn complete(
        &self,
        parts: &[Part],
        pages: u32,
        attempt: Attempt,
    ) -> Result<CompletionResult, Error> {
        let mut backoff = INITIAL_BACKOFF;
        let mut retries = 0;
        loop {
            self.wait_for_memory()?;
            let cause = match self.complete_once(parts, pages, attempt, retries > 0) {
                Ok(completion) => return Ok(Ok(completion)),
                Err(AttemptError::Response(class, why)) => return Ok(Err((class, why))),
                Err(AttemptError::Runner(cause)) => cause,
            };
            let why = cause.to_string();
            match &cause {
                Error::Repetition => return Ok(Err((FailureClass::Repetition, why))),
                Error::Deadline(_) => return Ok(Err((FailureClass::Deadline, why))),
                Error::Refused(_) | Error::Protocol(_) => {
                    return Ok(Err((FailureClass::Server, why)));
                }
                Error::ModelFailed(_) if retries >= 2 => {
                    return Ok(Err((FailureClass::Server, why)));
                }
                Error::ModelFailed(_) => {}
                Error::Unavailable { .. } | Error::Disconnected(_) | Error::OutOfMemory(_)
                    if retries < MAX_RETRIES =>
                {
                    if let Error::OutOfMemory(_) = cause {
                        self.unload_model();
                    }
                    self.notify(format!("{why}; retrying in {} s", backoff.as_secs()));
                    thread::sleep(backoff);
                    backoff *= 2;
                }
                _ => return Err(self.fail(cause)),
            }
            retries += 1;
        }
    }

    /// Waits until the memory guard allows another request.
    fn wait_for_memory(&self) -> Result<(), Error> {
        loop {
            if self.aborted.load(Ordering::Relaxed) {
                self.result()?;
                return Err(Error::Disconnected("the run has ended".to_owned()));
            }
            let (action, warning) = self.guard.check();
            if let Some(warning) = warning {
                self.notify(warning);
            }
            match action {
                Action::Go => return Ok(()),
                Action::Unload => {
                    self.unload_model();
                    return Ok(());
                }
                Action::Wait { unload } => {
                    if unload {
                        self.unload_model();
                    }
                    thread::sleep(MEMORY_POLL_INTERVAL);
                }
                Action::Stop => {
                    let why = format!("{}; described pages are stored", self.guard.usage());
                    return Err(self.fail(Error::OutOfMemory(why)));
                }
            }
        }
    }

    /// Aborts the run because of `cause`, and returns it.
    fn fail(&self, cause: Error) -> Error {
        self.abort(Some(cause.clone()));
        cause
    }

    pub(super) fn notify(&self, text: String) {
        (self.on_event)(Event::Note(text));
    }

    /// Sends one request. `exclusive` excludes all others.
    fn complete_once(
        &self,
        parts: &[Part],
        pages: u32,
        attempt: Attempt,
        exclusive: bool,
    ) -> Result<Completion, AttemptError> {
        let exclusive = exclusive || !matches!(attempt, Attempt::First | Attempt::GreedyConcurrent);
        let shared_guard = (!exclusive).then(|| self.exclusive.read());
        let exclusive_guard = exclusive.then(|| self.exclusive.write());
        let start = Instant::now();
        let request = ChatRequest {
            parts: parts.to_vec(),
            max_tokens: self.settings.max_tokens * pages,
            temperature: attempt.temperature(),
            deadline: self.settings.deadline * pages,
        };
        let mut prefill_gate: Option<MutexGuard<'_, ()>> =
            self.runner.card().exclusive_prefill.then(|| {
                self.prefill_gate
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
            });
        let mut detector = RepetitionDetector::default();
        let (mut reasoning_bytes, mut ttft) = (0, None);
        for chunk in self.runner.run(&request)? {
            let chunk = chunk?;
            prefill_gate = None;
            let now = start.elapsed().as_secs_f64();
            let ttft = *ttft.get_or_insert(now);
            match chunk {
                Chunk::Reasoning(text) => reasoning_bytes += text.len(),
                Chunk::Text(text) => {
                    if detector.push(&text) {
                        let text = detector.into_text();
                        return Err(AttemptError::Response(
                            FailureClass::Repetition,
                            shortened(&text),
                        ));
                    }
                }
                Chunk::Finished(finish) => {
                    (self.on_event)(Event::Completed(Exchange {
                        ttft,
                        seconds: now,
                        finish,
                    }));
                    let text = detector.into_text();
                    if text.trim().is_empty() && reasoning_bytes > 0 {
                        let why = format!("{reasoning_bytes} bytes of reasoning, no answer");
                        return Err(AttemptError::Response(FailureClass::Thinking, why));
                    }
                    return Ok(Completion { text, finish });
                }
            }
        }
        drop((prefill_gate, shared_guard, exclusive_guard));
        Err(AttemptError::Runner(Error::Disconnected(
            "the response ended without a finish reason".to_owned(),
        )))
    }
}

/// Why an attempt has no complete response.
enum AttemptError {
    /// The response was cut off, or had no text.
    Response(FailureClass, String),
    /// The runner failed.
    Runner(Error),
}

impl From<Error> for AttemptError {
    fn from(cause: Error) -> Self {
        Self::Runner(cause)
    }
}

/// Returns the first 160 characters of a response on one line, for the failure record.
pub(super) fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() {
        0..=160 => line,
        _ => format!("{}…", line.chars().take(159).collect::<String>()),
    }
}
