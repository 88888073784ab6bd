//! Request sender: sends requests to a runner, one at a time or concurrently, and reads the streamed answers. Ends the run
//! when no request can succeed.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use crate::vlm::repetition::RepetitionDetector;
use crate::vlm::reply::FailureClass;
use crate::vlm::{ChatRequest, Chunk, Error, Finish, Runner};

use super::{Event, Exchange};

/// Pages refused until the run ends, if none was answered.
const MAX_REFUSALS: u32 = 2;

/// What is known of an answer while it comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delta<'a> {
    /// More of its text.
    Text(&'a str),
    /// What came before was of a request that failed: the answer begins anew.
    Restart,
}

/// Takes an answer while it comes; once it returns false, the request is cancelled.
pub type OnDelta<'a> = dyn FnMut(Delta<'_>) -> bool + 'a;

/// A completed response.
pub struct Completion {
    /// Its text.
    pub text: String,
    /// Finish reason and token counts.
    pub finish: Finish,
}

/// Why a request has no complete response.
pub(super) enum RequestError {
    /// The response was cut off, or had no text.
    Response(FailureClass, String),
    /// The runner failed.
    Runner(Error),
    /// The run was aborted before the request was sent.
    Aborted(Error),
}

impl From<Error> for RequestError {
    fn from(cause: Error) -> Self {
        Self::Runner(cause)
    }
}

/// Sends requests to a runner; shared by all workers.
pub(super) struct RequestSender<'a> {
    runner: &'a dyn Runner,
    on_event: &'a (dyn Fn(Event) + Sync),
    /// Set once the run is aborted; no page counts as failed for that.
    aborted: &'a AtomicBool,
    /// Why it was aborted.
    cause: Mutex<Option<Error>>,
    /// Held from a request to its first token, for runners that must prefill one request at a time.
    prefill_gate: Mutex<()>,
    /// Read-locked by concurrent requests, write-locked by exclusive ones.
    exclusive: RwLock<()>,
    /// Whether a request was answered; until then requests are exclusive, so that a server that refuses all gets few.
    answered: AtomicBool,
    /// Pages refused before the first answer.
    refusals: AtomicU32,
}

impl<'a> RequestSender<'a> {
    pub(super) fn new(
        runner: &'a dyn Runner,
        aborted: &'a AtomicBool,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        Self {
            runner,
            on_event,
            aborted,
            cause: Mutex::default(),
            prefill_gate: Mutex::default(),
            exclusive: RwLock::default(),
            answered: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
        }
    }

    /// Notes that the server answers, so that requests are concurrent.
    pub(super) fn set_answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether a request was answered.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Aborts the run: no further request is sent. The first cause is kept.
    pub(super) fn abort(&self, cause: Option<Error>) {
        let mut first = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        *first = first.take().or(cause);
        self.aborted.store(true, Ordering::Relaxed);
    }

    /// Returns the cause as an error if the run was aborted with one.
    pub(super) fn result(&self) -> Result<(), Error> {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.clone().map_or(Ok(()), Err)
    }

    /// An error if the run is aborted.
    pub(super) fn check_running(&self) -> Result<(), Error> {
        match self.aborted.load(Ordering::Relaxed) {
            false => Ok(()),
            true => self.result().and(Err(cancelled())),
        }
    }

    /// Unloads the model once no request is running; the next request loads it again.
    pub(super) fn unload_model(&self) {
        let _exclusive = self.exclusive.write();
        // Best effort: an error of the server shows at the next request.
        drop(self.runner.unload());
    }

    /// Sends one request about some pages. `exclusive` excludes all others.
    pub(super) fn send(
        &self,
        request: &ChatRequest,
        pages: u32,
        exclusive: bool,
        on_delta: &mut OnDelta<'_>,
    ) -> Result<Completion, RequestError> {
        let mut lock = self.lock(exclusive);
        self.check_running().map_err(RequestError::Aborted)?;
        let result = self.read_answer(request, &mut lock, on_delta);
        if let Err(RequestError::Runner(cause)) = &result
            && self.ends_run(cause, pages)
        {
            // Before the lock is released, so that no other request follows.
            self.abort(Some(cause.clone()));
        }
        result
    }

    /// Whether the run ends because of an error: no request can succeed, or pages were refused and none was answered.
    fn ends_run(&self, cause: &Error, pages: u32) -> bool {
        match cause {
            too_long if too_long.is_too_long() => false,
            refusal if refusal.is_refusal_of_content() => {
                !self.has_answered()
                    && pages == 1
                    && self.refusals.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_REFUSALS
            }
            Error::Unauthorized { .. } | Error::Rejected { .. } => true,
            _ => false,
        }
    }

    fn lock(&self, exclusive: bool) -> Lock<'_> {
        if exclusive || !self.has_answered() {
            let guard = self.exclusive.write();
            let guard = guard.unwrap_or_else(PoisonError::into_inner);
            // Another request may have been answered meanwhile.
            if exclusive || !self.has_answered() {
                return Lock::exclusive(guard, !exclusive);
            }
        }
        let guard = self.exclusive.read();
        Lock {
            _shared: Some(guard.unwrap_or_else(PoisonError::into_inner)),
            exclusive: None,
            until_answered: false,
        }
    }

    /// Sends a request and reads its answer.
    fn read_answer(
        &self,
        request: &ChatRequest,
        lock: &mut Lock<'_>,
        on_delta: &mut OnDelta<'_>,
    ) -> Result<Completion, RequestError> {
        let start = Instant::now();
        let mut prefill_gate: Option<MutexGuard<'_, ()>> =
            self.runner.card().exclusive_prefill.then(|| {
                self.prefill_gate
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
            });
        let mut detector = RepetitionDetector::default();
        let (mut reasoning_bytes, mut ttft) = (0, None);
        for chunk in self.runner.run(request)? {
            let chunk = chunk?;
            prefill_gate = None;
            self.answered.store(true, Ordering::Relaxed);
            lock.answered();
            let now = start.elapsed().as_secs_f64();
            let ttft = *ttft.get_or_insert(now);
            match chunk {
                Chunk::Reasoning(text) => reasoning_bytes += text.len(),
                Chunk::Text(text) => {
                    if !on_delta(Delta::Text(&text)) {
                        return Err(RequestError::Aborted(cancelled()));
                    }
                    if detector.push(&text) {
                        let text = detector.into_text();
                        return Err(RequestError::Response(
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
                        return Err(RequestError::Response(FailureClass::Thinking, why));
                    }
                    return Ok(Completion { text, finish });
                }
            }
        }
        drop(prefill_gate);
        Err(RequestError::Runner(Error::Disconnected(
            "the response ended without a finish reason".to_owned(),
        )))
    }
}

/// Why no further request is sent once the run has ended.
pub(super) fn cancelled() -> Error {
    Error::Disconnected("the run has ended".to_owned())
}

/// The lock of a request.
struct Lock<'a> {
    _shared: Option<RwLockReadGuard<'a, ()>>,
    exclusive: Option<RwLockWriteGuard<'a, ()>>,
    /// Whether it is exclusive only until the first token of the run.
    until_answered: bool,
}

impl<'a> Lock<'a> {
    fn exclusive(guard: RwLockWriteGuard<'a, ()>, until_answered: bool) -> Self {
        Self {
            _shared: None,
            exclusive: Some(guard),
            until_answered,
        }
    }

    /// Allows concurrent requests after the first token of the run.
    fn answered(&mut self) {
        if self.until_answered
            && let Some(guard) = self.exclusive.take()
        {
            self._shared = Some(RwLockWriteGuard::downgrade(guard));
        }
    }
}

/// Returns the first 160 characters of a response on one line, for the failure record.
pub fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() {
        0..=160 => line,
        _ => format!("{}…", line.chars().take(159).collect::<String>()),
    }
}
