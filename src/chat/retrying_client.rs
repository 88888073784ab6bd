//! Completion client: sends prompts with retries, exponential back-off and the memory guard, and tells failures of a page
//! from failures of the server: after a failure the server must answer a request about a test image.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::vlm::reply::FailureClass;
use crate::vlm::{ChatRequest, Error, Part, Runner, prompt};

use super::memory_guard::{Action, MemoryGuard};
use super::request_sender::{Completion, Delta, OnDelta, RequestError, RequestSender, cancelled};
use super::{Event, Settings, jpeg};

/// Temperature by attempt: near-greedy sampling copies dense tables well, but leaves a repetition loop only at a higher
/// temperature.
const TEMPERATURES: [f32; 4] = [0.1, 0.4, 0.7, 1.0];
/// Retries of a request while the server is unavailable; the back-off doubles each time.
const MAX_RETRIES: u32 = 6;
/// Retries while the model fails for any image, does not answer in time, or has never been reached.
const MAX_MODEL_RETRIES: u32 = 2;
/// Failures of a page's own request until the page has failed: the server answers others in between.
const MAX_PAGE_FAILURES: u32 = 3;
/// Maximum tokens of the answer to a test image.
const TEST_TOKENS: u32 = 16;
/// Back-off before the first retry.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Time between two looks whether the run was aborted.
const SLEEP_STEP: Duration = Duration::from_millis(100);
/// Interval of the checks while memory is short.
const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The kind of attempt: sets temperature and concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
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

    fn is_exclusive(self) -> bool {
        !matches!(self, Self::First | Self::GreedyConcurrent)
    }
}

/// A prompt without a response.
pub struct Failed {
    /// The kind of failure.
    pub class: FailureClass,
    /// The reason, for people.
    pub why: String,
    /// The error, if the server refused the prompt.
    pub refusal: Option<Error>,
}

impl Failed {
    /// A failure that is no refusal.
    pub const fn new(class: FailureClass, why: String) -> Self {
        Self {
            class,
            why,
            refusal: None,
        }
    }
}

/// Result of a prompt.
pub type CompletionResult = Result<Completion, Failed>;

/// Sends prompts to a runner; shared by all workers.
pub struct RetryingClient<'a> {
    /// The runner.
    pub runner: &'a dyn Runner,
    settings: Settings,
    on_event: &'a (dyn Fn(Event) + Sync),
    /// Checks the memory of the model before each request.
    pub guard: &'a MemoryGuard<'a>,
    sender: RequestSender<'a>,
    /// Held while the server must answer a request about a test image: one worker asks at a time.
    server_check: Mutex<()>,
}

impl<'a> RetryingClient<'a> {
    /// Creates the client of a run; once `aborted` is set, no further request is sent.
    pub fn new(
        runner: &'a dyn Runner,
        settings: Settings,
        guard: &'a MemoryGuard<'a>,
        aborted: &'a AtomicBool,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        Self {
            runner,
            settings,
            on_event,
            guard,
            sender: RequestSender::new(runner, aborted, on_event),
            server_check: Mutex::default(),
        }
    }

    /// Sends requests concurrently from the start: the server is known to answer.
    pub fn already_answered(self) -> Self {
        self.sender.set_answered();
        self
    }

    /// Whether the server has answered a request.
    pub fn has_answered(&self) -> bool {
        self.sender.has_answered()
    }

    /// Aborts the run: no further request is sent. The first cause is kept.
    pub fn abort(&self, cause: Option<Error>) {
        self.sender.abort(cause);
    }

    /// Returns the cause as an error if the run was aborted with one.
    pub fn result(&self) -> Result<(), Error> {
        self.sender.result()
    }

    /// Unloads the model once no request is running; the next request loads it again.
    pub fn unload_model(&self) {
        self.sender.unload_model();
        self.guard.unloaded();
    }

    /// Sends one prompt with retries: while the server is unavailable, and after a failure once the server answers others.
    /// `Ok(Err(_))` is a failure of the page.
    ///
    /// # Errors
    /// A failure of the server, which aborts the run.
    pub fn complete(
        &self,
        parts: &[Part],
        pages: u32,
        attempt: Attempt,
    ) -> Result<CompletionResult, Error> {
        self.stream(parts, pages, attempt, &mut |_| true)
    }

    /// As [`RetryingClient::complete`], with the answer while it comes.
    ///
    /// # Errors
    /// As [`RetryingClient::complete`]; [`Error::Disconnected`] if `on_delta` cancels the request.
    pub fn stream(
        &self,
        parts: &[Part],
        pages: u32,
        attempt: Attempt,
        on_delta: &mut OnDelta<'_>,
    ) -> Result<CompletionResult, Error> {
        let request = self.request(parts, pages, attempt);
        // Several pages are sent again one by one.
        let max_failures = if pages > 1 { 1 } else { MAX_PAGE_FAILURES };
        let (mut failures, mut pauses) = (0, 0);
        loop {
            self.wait_for_memory()?;
            let exclusive = failures + pauses > 0 || attempt.is_exclusive();
            if failures + pauses > 0 && !on_delta(Delta::Restart) {
                return Err(cancelled());
            }
            let sent = self.sender.send(&request, pages, exclusive, on_delta);
            let cause = match sent {
                Ok(completion) => return Ok(Ok(completion)),
                Err(RequestError::Aborted(cause)) => return Err(cause),
                Err(RequestError::Response(class, why)) => {
                    return Ok(Err(Failed::new(class, why)));
                }
                Err(RequestError::Runner(cause)) => cause,
            };
            let failed = |class| Ok(Err(Failed::new(class, cause.to_string())));
            match &cause {
                Error::Repetition => return failed(FailureClass::Repetition),
                Error::Deadline(_) => {
                    // The server may still be busy with the request that was cancelled.
                    self.wait_for_server(MAX_RETRIES)?;
                    return failed(FailureClass::Deadline);
                }
                too_long if too_long.is_too_long() => return failed(FailureClass::Truncated),
                refusal if refusal.is_refusal_of_content() => {
                    return Ok(Err(Failed {
                        refusal: Some(refusal.clone()),
                        ..Failed::new(FailureClass::Server, refusal.to_string())
                    }));
                }
                Error::Unavailable { .. } if pauses < MAX_RETRIES => {
                    self.pause(&cause, pauses);
                    pauses += 1;
                }
                Error::Unavailable { .. } => {
                    self.wait_for_server(0)?;
                    return failed(FailureClass::Server);
                }
                Error::Disconnected(_)
                | Error::Gateway { .. }
                | Error::OutOfMemory(_)
                | Error::ModelFailed(_)
                | Error::Protocol(_) => {
                    if let Error::OutOfMemory(_) = cause {
                        self.pause(&cause, failures);
                    }
                    self.wait_for_server(MAX_RETRIES)?;
                    (failures, pauses) = (failures + 1, 0);
                    if failures == max_failures {
                        return failed(FailureClass::Server);
                    }
                }
                _ => return Err(self.fail(cause)),
            }
        }
    }

    /// Waits until the server answers a request about a test image: then it was the page that failed. Aborts the run after
    /// `retries`.
    pub fn wait_for_server(&self, retries: u32) -> Result<(), Error> {
        let image = prompt::PageImagePrompt {
            page: 1,
            page_count: 1,
            manual: "test image".to_owned(),
            jpeg: jpeg::test_image(),
        };
        let request = ChatRequest {
            max_tokens: TEST_TOKENS,
            ..self.request(&prompt::one_page(&image), 1, Attempt::GreedyExclusive)
        };
        let check = self.server_check.lock();
        let _check = check.unwrap_or_else(PoisonError::into_inner);
        let mut pauses = 0;
        loop {
            self.wait_for_memory()?;
            let cause = match self.sender.send(&request, 1, true, &mut |_| true) {
                Ok(_)
                | Err(RequestError::Response(..) | RequestError::Runner(Error::Repetition)) => {
                    return Ok(());
                }
                Err(RequestError::Aborted(cause)) => return Err(cause),
                // The test image does not fit, but a page may.
                Err(RequestError::Runner(cause)) if cause.is_too_long() => return Ok(()),
                Err(RequestError::Runner(cause)) => cause,
            };
            let max_pauses = match &cause {
                Error::Unavailable { .. } | Error::Disconnected(_) | Error::OutOfMemory(_) => {
                    retries
                }
                // A server that answered before may be starting again.
                Error::Gateway { .. } if self.sender.has_answered() => retries,
                Error::Gateway { .. }
                | Error::ModelFailed(_)
                | Error::Protocol(_)
                | Error::Deadline(_) => retries.min(MAX_MODEL_RETRIES),
                _ => 0,
            };
            let cause = match cause {
                Error::Deadline(seconds) => Error::Unavailable {
                    server: self.runner.card().name.clone(),
                    reason: format!("no answer to a test image within {seconds} s"),
                },
                cause => cause,
            };
            if pauses >= max_pauses {
                return Err(self.fail(cause));
            }
            self.pause(&cause, pauses);
            pauses += 1;
        }
    }

    /// Waits before another request, longer each time; the model is unloaded if it is out of memory.
    fn pause(&self, cause: &Error, pauses: u32) {
        if let Error::OutOfMemory(_) = cause {
            self.unload_model();
        }
        let backoff = INITIAL_BACKOFF * (1 << pauses);
        self.notify(format!("{cause}; retrying in {} s", backoff.as_secs()));
        self.sleep(backoff);
    }

    /// Sleeps, but not after the run was aborted.
    fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while self.sender.check_running().is_ok() {
            match end.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return,
                rest => thread::sleep(rest.min(SLEEP_STEP)),
            }
        }
    }

    /// Waits until the memory guard allows another request.
    fn wait_for_memory(&self) -> Result<(), Error> {
        loop {
            self.sender.check_running()?;
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
    pub fn fail(&self, cause: Error) -> Error {
        self.abort(Some(cause.clone()));
        cause
    }

    /// Passes a message to the user.
    pub fn notify(&self, text: String) {
        (self.on_event)(Event::Note(text));
    }

    fn request(&self, parts: &[Part], pages: u32, attempt: Attempt) -> ChatRequest {
        ChatRequest {
            parts: parts.to_vec(),
            max_tokens: self.settings.max_tokens * pages,
            temperature: attempt.temperature(),
            deadline: self.settings.deadline * pages,
        }
    }
}
