//! The line to a runner: one question at a time or many at once, patience with a server that went away, and memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::vlm::repetition::RepetitionDetector;
use crate::vlm::reply::FailureClass;
use crate::vlm::{ChatRequest, Chunk, Error, Finish, Part, Runner};

use super::memory_guard::{Guard, Step};
use super::{Event, Exchange, Settings};

/// How hot each attempt is: greedy copies dense tables well, and gets out of a loop only when it is warmer.
const LADDER: [f32; 4] = [0.1, 0.4, 0.7, 1.0];
/// Times that a server is waited for; each pause is twice as long as the one before.
const PATIENCE: u32 = 6;
/// The first pause.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at short memory.
const LOOK: Duration = Duration::from_millis(500);

/// Which attempt a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Try {
    /// The first: beside others.
    First,
    /// A later one, alone: a server may take the temperature of one request for all that run.
    Again(u32),
    /// One whose answer must be the same every time: alone, and always the likeliest word.
    Canary,
    /// The same beside others.
    Steady,
}

impl Try {
    fn temperature(self) -> f32 {
        match self {
            Self::First => LADDER[0],
            Self::Again(attempt) => LADDER[(attempt as usize).min(LADDER.len() - 1)],
            Self::Canary | Self::Steady => 0.0,
        }
    }
}

/// What was said.
pub(super) struct Said {
    pub(super) text: String,
    pub(super) end: Finish,
}

/// What becomes of a question: an answer, or the class of its failure and what was said.
pub(super) type Answered = Result<Said, (FailureClass, String)>;

/// A runner, shared by all lanes.
pub(super) struct Line<'a> {
    pub(super) runner: &'a dyn Runner,
    pub(super) settings: &'a Settings,
    pub(super) watch: &'a (dyn Fn(Event) + Sync),
    pub(super) guard: &'a Guard<'a>,
    /// Set once the server is given up; no page is blamed for that.
    over: &'a AtomicBool,
    /// Why it was.
    cause: Mutex<Option<Error>>,
    /// Held from a question to its first token, where the runner wants that.
    door: Mutex<()>,
    /// Shared by the first attempts; whoever needs the runner alone waits until they are done.
    room: RwLock<()>,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        runner: &'a dyn Runner,
        settings: &'a Settings,
        guard: &'a Guard<'a>,
        over: &'a AtomicBool,
        watch: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        Self {
            runner,
            settings,
            watch,
            guard,
            over,
            cause: Mutex::default(),
            door: Mutex::default(),
            room: RwLock::default(),
        }
    }

    /// Asks nobody any more.
    pub(super) fn give_up(&self, cause: Option<Error>) {
        let mut first = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        *first = first.take().or(cause);
        self.over.store(true, Ordering::Relaxed);
    }

    /// Frees the model's memory once nobody is asked; the next question loads it anew.
    pub(super) fn clean_up(&self) {
        let _alone = self.room.write();
        // Best effort: a server that cannot unload says so when it is asked again.
        drop(self.runner.unload());
        self.guard.freed();
    }

    /// Why the server was given up, if it was.
    pub(super) fn outcome(&self) -> Result<(), Error> {
        let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.clone().map_or(Ok(()), Err)
    }

    /// Asks once, however often the server must be waited for. A failure of the server is no fault of the page.
    pub(super) fn ask(&self, parts: &[Part], pages: u32, which: Try) -> Result<Answered, Error> {
        let mut pause = PAUSE;
        let mut tries = 0;
        loop {
            self.enter()?;
            let cause = match self.once(parts, pages, which, tries > 0) {
                Ok(said) => return Ok(Ok(said)),
                Err(Stopped::By(class, why)) => return Ok(Err((class, why))),
                Err(Stopped::Failed(cause)) => cause,
            };
            let why = cause.to_string();
            match &cause {
                Error::Repetition => return Ok(Err((FailureClass::Repetition, why))),
                Error::Deadline(_) => return Ok(Err((FailureClass::Deadline, why))),
                Error::Refused(_) | Error::Protocol(_) => {
                    return Ok(Err((FailureClass::Server, why)));
                }
                Error::ModelFailed(_) if tries >= 2 => return Ok(Err((FailureClass::Server, why))),
                Error::ModelFailed(_) => {}
                Error::Unavailable { .. } | Error::Disconnected(_) | Error::OutOfMemory(_)
                    if tries < PATIENCE =>
                {
                    if let Error::OutOfMemory(_) = cause {
                        self.clean_up();
                    }
                    self.note(format!("{why}; asking again in {} s", pause.as_secs()));
                    thread::sleep(pause);
                    pause *= 2;
                }
                _ => return Err(self.end(cause)),
            }
            tries += 1;
        }
    }

    /// Waits until there is memory to ask.
    fn enter(&self) -> Result<(), Error> {
        loop {
            if self.over.load(Ordering::Relaxed) {
                self.outcome()?;
                return Err(Error::Disconnected("the run has ended".to_owned()));
            }
            let (step, told) = self.guard.look();
            if let Some(told) = told {
                self.note(told);
            }
            match step {
                Step::Go => return Ok(()),
                Step::CleanUp => {
                    self.clean_up();
                    return Ok(());
                }
                Step::Wait { clean_up } => {
                    if clean_up {
                        self.clean_up();
                    }
                    thread::sleep(LOOK);
                }
                Step::Stop => {
                    let why = format!("{}; what is described is stored", self.guard.words());
                    return Err(self.end(Error::OutOfMemory(why)));
                }
            }
        }
    }

    fn end(&self, cause: Error) -> Error {
        self.give_up(Some(cause.clone()));
        cause
    }

    pub(super) fn note(&self, words: String) {
        (self.watch)(Event::Note(words));
    }

    /// Asks once. `alone` keeps all other requests out.
    fn once(&self, parts: &[Part], pages: u32, which: Try, alone: bool) -> Result<Said, Stopped> {
        let alone = alone || !matches!(which, Try::First | Try::Steady);
        let crowd = (!alone).then(|| self.room.read());
        let quiet = alone.then(|| self.room.write());
        let start = Instant::now();
        let request = ChatRequest {
            parts: parts.to_vec(),
            max_tokens: self.settings.max_tokens * pages,
            temperature: which.temperature(),
            deadline: self.settings.deadline * pages,
        };
        let mut door: Option<MutexGuard<'_, ()>> = self
            .runner
            .card()
            .exclusive_prefill
            .then(|| self.door.lock().unwrap_or_else(PoisonError::into_inner));
        let mut detector = RepetitionDetector::default();
        let (mut thoughts, mut first) = (0, None);
        for chunk in self.runner.run(&request)? {
            let chunk = chunk?;
            door = None;
            let now = start.elapsed().as_secs_f64();
            let first = *first.get_or_insert(now);
            match chunk {
                Chunk::Reasoning(words) => thoughts += words.len(),
                Chunk::Text(words) => {
                    if detector.push(&words) {
                        let said = detector.into_text();
                        return Err(Stopped::By(FailureClass::Repetition, shortened(&said)));
                    }
                }
                Chunk::Finished(end) => {
                    (self.watch)(Event::Asked(Exchange {
                        first,
                        seconds: now,
                        end,
                    }));
                    let text = detector.into_text();
                    if text.trim().is_empty() && thoughts > 0 {
                        let why = format!("{thoughts} bytes of thoughts");
                        return Err(Stopped::By(FailureClass::Thinking, why));
                    }
                    return Ok(Said { text, end });
                }
            }
        }
        drop((door, crowd, quiet));
        Err(Stopped::Failed(Error::Disconnected(
            "there was no end".to_owned(),
        )))
    }
}

/// Why a question has no whole answer.
enum Stopped {
    /// We closed it, or it said nothing.
    By(FailureClass, String),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(cause: Error) -> Self {
        Self::Failed(cause)
    }
}

/// The beginning of what was said, for the record.
pub(super) fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() {
        0..=160 => line,
        _ => format!("{}…", line.chars().take(159).collect::<String>()),
    }
}
