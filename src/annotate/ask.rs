//! Asks about pages until there is an answer, or no hope.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::describe::loops::Detector;
use crate::describe::reply::{self, Class};
use crate::describe::{End, Error, Job, Part, Piece, Runner, prompt};
use crate::page::{Description, ManualId, PageId};

use super::desk::Sight;
use super::{Event, Settings};

/// How hot each attempt is: greedy copies dense tables well, and gets out of a loop only when it is warmer.
const LADDER: [f32; 4] = [0.1, 0.4, 0.7, 1.0];
/// Times that a server is waited for; each pause is twice as long as the one before.
const PATIENCE: u32 = 6;
/// The first pause.
const PAUSE: Duration = Duration::from_secs(1);
/// Pictures that cost less than this share of what they must were dropped, or shrunk beyond reading.
const DROPPED: f64 = 0.5;

/// What became of a page, or of a manual.
pub(super) enum Answer {
    Described {
        id: PageId,
        description: Description,
        tokens: u32,
        seconds: f64,
    },
    Failed(PageId, Class, String),
    Blank(PageId),
    /// A page, and the one that it equals.
    Twin(PageId, PageId),
    /// A manual that cannot be read.
    Manual(ManualId, String),
    /// A page is asked again.
    Again(Class),
}

/// Asks a runner; shared by all lanes.
pub(super) struct Asker<'a> {
    runner: &'a dyn Runner,
    settings: &'a Settings,
    /// Set once the server is given up; no page is blamed for that.
    over: &'a AtomicBool,
    /// Why it was.
    cause: Mutex<Option<Error>>,
    watch: &'a (dyn Fn(Event) + Sync),
    /// Held from a question to its first token, where the runner wants that.
    door: Mutex<()>,
    /// Shared by the first attempts; retries have it for themselves: a server may take the temperature of one request
    /// for all that run.
    room: RwLock<()>,
}

/// What was said.
struct Said {
    text: String,
    end: End,
    seconds: f64,
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        runner: &'a dyn Runner,
        settings: &'a Settings,
        over: &'a AtomicBool,
        watch: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        Self {
            runner,
            settings,
            over,
            cause: Mutex::default(),
            watch,
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

    /// Asks about a group: together, and those that then have no answer alone.
    pub(super) fn ask(&self, group: Vec<Sight>) -> Result<Vec<Answer>, Error> {
        let (mut answers, mut alone) = (Vec::new(), group);
        if alone.len() > 1 {
            let sights: Vec<prompt::Sight> =
                alone.iter().map(|sight| sight.prompt.clone()).collect();
            let said = self.patiently(&prompt::several(&sights), alone.len() as u32, 0)?;
            let layers: BTreeMap<u32, String> = alone
                .iter()
                .map(|sight| (sight.prompt.page, sight.text.clone()))
                .collect();
            let mut found = match said {
                Ok(said)
                    if self.is_blind(&said.end, alone.iter().map(|sight| sight.pixels).sum()) =>
                {
                    layers
                        .keys()
                        .map(|&page| (page, Err(Class::ImageDropped)))
                        .collect()
                }
                Ok(said) => {
                    let all = reply::several(&said.text, said.end.truncated, &layers);
                    self.shared(all, &said, alone.len())
                }
                Err((class, _)) => layers.keys().map(|&page| (page, Err(class))).collect(),
            };
            alone.retain(|sight| match found.remove(&sight.prompt.page) {
                Some(Ok((description, tokens, seconds))) => {
                    answers.push(Answer::Described {
                        id: sight.id.clone(),
                        description,
                        tokens,
                        seconds,
                    });
                    false
                }
                other => {
                    let class = other.and_then(Result::err).unwrap_or(Class::Mislabelled);
                    answers.push(self.again(sight, class));
                    true
                }
            });
        }
        for sight in alone {
            self.single(&sight, &mut answers)?;
        }
        Ok(answers)
    }

    /// Shares the cost of an answer among its pages.
    fn shared(
        &self,
        all: BTreeMap<u32, Result<Description, Class>>,
        said: &Said,
        pages: usize,
    ) -> BTreeMap<u32, Result<(Description, u32, f64), Class>> {
        let tokens = said.end.tokens.unwrap_or(0) / pages as u32;
        let seconds = said.seconds / pages as f64;
        all.into_iter()
            .map(|(page, made)| (page, made.map(|made| (made, tokens, seconds))))
            .collect()
    }

    fn again(&self, sight: &Sight, class: Class) -> Answer {
        (self.watch)(Event::Again(sight.id.clone(), class.to_string()));
        Answer::Again(class)
    }

    /// Asks about one page, up the ladder.
    fn single(&self, sight: &Sight, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let attempts = self.settings.attempts.max(1);
        let mut last = (Class::Empty, String::new());
        for attempt in 0..attempts {
            let parts = match attempt > 1 && attempt + 1 == attempts {
                true => prompt::simple(&sight.prompt),
                false => prompt::single(&sight.prompt),
            };
            let made = match self.patiently(&parts, 1, attempt)? {
                Err(failed) => Err(failed),
                Ok(said) => match self.is_blind(&said.end, sight.pixels) {
                    true => Err((
                        Class::ImageDropped,
                        "the server did not look at the picture".to_owned(),
                    )),
                    false => reply::single(&said.text, said.end.truncated, &sight.text)
                        .map(|made| (made, said.end.tokens.unwrap_or(0), said.seconds))
                        .map_err(|class| (class, shortened(&said.text))),
                },
            };
            match made {
                Ok((description, tokens, seconds)) => {
                    answers.push(Answer::Described {
                        id: sight.id.clone(),
                        description,
                        tokens,
                        seconds,
                    });
                    return Ok(());
                }
                Err(failed) => last = failed,
            }
            if attempt + 1 < attempts {
                answers.push(self.again(sight, last.0));
            }
        }
        answers.push(Answer::Failed(sight.id.clone(), last.0, last.1));
        Ok(())
    }

    /// Asks once, however often the server must be waited for. A failure of the server is no fault of the page.
    fn patiently(
        &self,
        parts: &[Part],
        pages: u32,
        attempt: u32,
    ) -> Result<Result<Said, (Class, String)>, Error> {
        let mut pause = PAUSE;
        let mut tries = 0;
        loop {
            if self.over.load(Ordering::Relaxed) {
                let cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
                let ended = || Error::Broken("the run has ended".to_owned());
                return Err(cause.clone().unwrap_or_else(ended));
            }
            let cause = match self.once(parts, pages, attempt, tries > 0) {
                Ok(said) => return Ok(Ok(said)),
                Err(Stopped::By(class, why)) => return Ok(Err((class, why))),
                Err(Stopped::Failed(cause)) => cause,
            };
            if cause == Error::Circles {
                return Ok(Err((Class::Repetition, cause.to_string())));
            }
            let is_away = matches!(
                cause,
                Error::Away { .. } | Error::Broken(_) | Error::Memory(_)
            );
            match &cause {
                Error::Deadline(_) => return Ok(Err((Class::Deadline, cause.to_string()))),
                Error::Refused(_) | Error::Protocol(_) => {
                    return Ok(Err((Class::Server, cause.to_string())));
                }
                Error::Fault(_) if tries >= 2 => {
                    return Ok(Err((Class::Server, cause.to_string())));
                }
                Error::Fault(_) => {}
                _ if is_away && tries < PATIENCE => {
                    if let Error::Memory(_) = cause {
                        // Best effort: a server that cannot unload says so when it is asked again.
                        drop(self.runner.unload());
                    }
                    (self.watch)(Event::Note(format!(
                        "{cause}; asking again in {} s",
                        pause.as_secs()
                    )));
                    thread::sleep(pause);
                    pause *= 2;
                }
                _ => {
                    self.give_up(Some(cause.clone()));
                    return Err(cause);
                }
            }
            tries += 1;
        }
    }

    /// Asks once. `alone` keeps all other requests out.
    fn once(&self, parts: &[Part], pages: u32, attempt: u32, alone: bool) -> Result<Said, Stopped> {
        let crowd = (!alone && attempt == 0).then(|| self.room.read());
        let quiet = (alone || attempt > 0).then(|| self.room.write());
        let start = Instant::now();
        let job = Job {
            parts: parts.to_vec(),
            max_tokens: self.settings.max_tokens * pages,
            temperature: LADDER[(attempt as usize).min(LADDER.len() - 1)],
            deadline: self.settings.deadline * pages,
        };
        let mut door: Option<MutexGuard<'_, ()>> = self
            .runner
            .card()
            .gated
            .then(|| self.door.lock().unwrap_or_else(PoisonError::into_inner));
        let mut detector = Detector::default();
        let mut thoughts = 0;
        for piece in self.runner.run(&job)? {
            let piece = piece?;
            door = None;
            match piece {
                Piece::Thought(words) => thoughts += words.len(),
                Piece::Text(words) => {
                    if detector.push(&words) {
                        let said = detector.into_text();
                        return Err(Stopped::By(Class::Repetition, shortened(&said)));
                    }
                }
                Piece::End(end) => {
                    let text = detector.into_text();
                    if text.trim().is_empty() && thoughts > 0 {
                        let why = format!("{thoughts} bytes of thoughts");
                        return Err(Stopped::By(Class::Thinking, why));
                    }
                    let seconds = start.elapsed().as_secs_f64();
                    return Ok(Said { text, end, seconds });
                }
            }
        }
        drop((door, crowd, quiet));
        Err(Stopped::Failed(Error::Broken(
            "there was no end".to_owned(),
        )))
    }

    /// Whether a question cost so few tokens that its pictures cannot have been among them.
    fn is_blind(&self, end: &End, pixels: u64) -> bool {
        let must = pixels as f64 / f64::from(self.runner.card().pixels_per_token);
        end.prompt_tokens
            .is_some_and(|tokens| f64::from(tokens) < must * DROPPED)
    }
}

/// Why a question has no whole answer.
enum Stopped {
    /// We closed it, or it said nothing.
    By(Class, String),
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(cause: Error) -> Self {
        Self::Failed(cause)
    }
}

/// The beginning of what was said, for the record.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() {
        0..=160 => line,
        _ => format!("{}…", line.chars().take(159).collect::<String>()),
    }
}
