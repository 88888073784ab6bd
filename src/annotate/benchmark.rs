//! Trials of runners: pages are rendered once and asked about often, and nothing is stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::page::{Description, PageId};
use crate::render::{self, Renderer};
use crate::store::Store;
use crate::vlm::{self, Part, Runner, prompt};

use super::canary::Canary;
use super::client::{Line, Try};
use super::describe_pages::{Answer, Asker, Sight};
use super::memory_guard::Guard;
use super::produce::Desk;
use super::{Error, Event, Exchange, Gauge, Request, Settings, joined, lanes, select};

/// Pages in hand.
pub struct Trial {
    sights: Vec<Sight>,
}

/// What a runner said of a page, or the class of its failure and what it said then.
pub type Said = Result<Description, (String, String)>;

/// All pages, described once.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// What came of each page.
    pub pages: Vec<(PageId, Said)>,
    /// All questions that were answered.
    pub exchanges: Vec<Exchange>,
    /// Times that pages were asked again, by class.
    pub retries: BTreeMap<String, u32>,
    /// Seconds from the first question to the last answer.
    pub seconds: f64,
    /// The most bytes that the model was seen to take.
    pub peak: Option<u64>,
}

impl Trial {
    /// Renders pages. Blank ones, and all but one of pages that equal each other, are left out.
    ///
    /// # Errors
    /// When the store or the renderer fails, or a manual cannot be read.
    pub fn render(
        renderer: impl FnOnce() -> Result<Box<dyn Renderer>, render::Error>,
        store: &dyn Store,
        request: &Request,
        stop: &AtomicBool,
    ) -> Result<(Self, Vec<String>), Error> {
        let (jobs, _) = select::list(store, request)?;
        let most = jobs.iter().map(|job| job.pages.len()).sum::<usize>() + jobs.len();
        let (out, groups) = sync_channel(most);
        let (answered, answers) = sync_channel(most);
        let desk = Desk {
            interleave: 1,
            stop: [stop, stop],
            out,
            answered,
        };
        desk.run(renderer, &jobs)?;
        let failed = answers.iter().filter_map(|answer| match answer {
            Answer::Manual(_, why) | Answer::Failed(_, _, why) => Some(why),
            _ => None,
        });
        let failed = failed.collect();
        let sights = groups.iter().flatten().collect();
        Ok((Self { sights }, failed))
    }

    /// The pages, each with its text layer and its picture as a JPEG.
    pub fn pages(&self) -> impl Iterator<Item = (&PageId, &str, &[u8])> {
        let all = self.sights.iter();
        all.map(|sight| (&sight.id, sight.text.as_str(), &*sight.prompt.jpeg))
    }

    /// Lets a runner describe all pages.
    ///
    /// # Errors
    /// When the runner is given up.
    pub fn describe(
        &self,
        runner: &dyn Runner,
        settings: &Settings,
        gauge: &Gauge<'_>,
        stop: &AtomicBool,
    ) -> Result<Round, Error> {
        let exchanges = Mutex::new(Vec::new());
        let watch = |event: Event| {
            if let Event::Asked(exchange) = event {
                let mut all = exchanges.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(exchange);
            }
        };
        let guard = Guard::new(gauge, settings.memory, runner.card().can_unload);
        let over = AtomicBool::new(false);
        let asker = Asker {
            line: Line::new(runner, settings, &guard, &over, &watch),
        };
        let mut round = Round::default();
        let start = Instant::now();
        lanes(
            &asker,
            Canary::new(0),
            |out, _| {
                // A question holds pages of one manual: its answer tells them by their numbers.
                let manuals = self.sights.chunk_by(|a, b| a.id.manual == b.id.manual);
                for group in manuals.flat_map(|pages| pages.chunks(settings.interleave)) {
                    let stopped = stop.load(Ordering::Relaxed) || over.load(Ordering::Relaxed);
                    if stopped || out.send(group.to_vec()).is_err() {
                        break;
                    }
                }
                Ok(())
            },
            |answers| {
                answers.iter().for_each(|answer| round.take(answer));
                Ok(())
            },
        )?;
        round.seconds = start.elapsed().as_secs_f64();
        round.peak = guard.peak();
        round.exchanges = exchanges
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(round)
    }

    /// What a runner answers to a question about a page, with its picture or without; what went wrong where it does not.
    ///
    /// # Errors
    /// When the page is not in hand, or the runner is given up.
    pub fn answer(
        &self,
        runner: &dyn Runner,
        settings: &Settings,
        page: &PageId,
        (question, with_picture): (&str, bool),
    ) -> Result<Option<String>, vlm::Error> {
        let Some(sight) = self.sights.iter().find(|sight| sight.id == *page) else {
            return Ok(None);
        };
        let picture = with_picture.then_some(&sight.prompt);
        let parts = prompt::question(question, picture);
        alone(runner, settings, |asker| {
            let answered = asker.line.ask(&parts, 1, Try::Canary)?;
            Ok(answered.ok().map(|said| said.text.trim().to_owned()))
        })
    }

    /// What a runner says when it describes the first page several times, always by the likeliest words: one time after
    /// the other, or all beside each other. Answers that did not end well are empty.
    ///
    /// # Errors
    /// When the runner is given up.
    pub fn repeat(
        &self,
        runner: &dyn Runner,
        settings: &Settings,
        times: usize,
        beside: bool,
    ) -> Result<Vec<String>, vlm::Error> {
        let Some(sight) = self.sights.first() else {
            return Ok(Vec::new());
        };
        let parts: Vec<Part> = prompt::one_page(&sight.prompt);
        alone(runner, settings, |asker| {
            let once = |which| -> Result<String, vlm::Error> {
                let answered = asker.line.ask(&parts, 1, which)?;
                Ok(answered.map(|said| said.text).unwrap_or_default())
            };
            if !beside {
                return (0..times).map(|_| once(Try::Canary)).collect();
            }
            thread::scope(|scope| {
                let all: Vec<_> = (0..times)
                    .map(|_| scope.spawn(|| once(Try::Steady)))
                    .collect();
                all.into_iter().map(joined).collect()
            })
        })
    }
}

/// A line for a few questions.
fn alone<T>(runner: &dyn Runner, settings: &Settings, talk: impl FnOnce(&Asker<'_>) -> T) -> T {
    let over = AtomicBool::new(false);
    let guard = Guard::new(&|| None, settings.memory, runner.card().can_unload);
    talk(&Asker {
        line: Line::new(runner, settings, &guard, &over, &|_| {}),
    })
}

impl Round {
    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Described {
                id, description, ..
            } => self.pages.push((id, Ok(description))),
            Answer::Failed(id, class, why) => {
                self.pages.push((id, Err((class.to_string(), why))));
            }
            Answer::Again(class) => *self.retries.entry(class.to_string()).or_default() += 1,
            Answer::Blank(_) | Answer::Twin(..) | Answer::Manual(..) => {}
        }
    }
}
