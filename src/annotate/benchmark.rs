//! Benchmarks of runners: pages are rendered once and described several times, and nothing is stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::chat::{self, Attempt, Exchange, Gauge, MemoryGuard, RetryingClient};
use crate::page::{Description, PageId};
use crate::render::{self, Renderer};
use crate::store::Store;
use crate::vlm::{self, Part, Runner, prompt};

use super::canary::Canary;
use super::describe_pages::{Describer, PageOutcome, PageTask};
use super::produce::PageProducer;
use super::workers::{Upkeep, joined, run_workers};
use super::{Error, Request, Settings, select};

/// Rendered pages for benchmark rounds.
pub struct Trial {
    tasks: Vec<PageTask>,
    /// Whether a manual is protected by a password that was not given.
    pub needs_password: bool,
}

/// The description of a page, or the class of its failure and the reason.
pub type DescribeResult = Result<Description, (String, String)>;

/// All pages, described once.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// The result of each page.
    pub pages: Vec<(PageId, DescribeResult)>,
    /// All completed requests.
    pub exchanges: Vec<Exchange>,
    /// Number of retries by failure class.
    pub retries: BTreeMap<String, u32>,
    /// Seconds from the first request to the last response.
    pub seconds: f64,
    /// Peak memory of the model in bytes; `None` if unknown.
    pub peak: Option<u64>,
}

impl Trial {
    /// Renders the selected pages, without blank pages and near-duplicates. Also returns why pages or manuals failed.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Render`] when the store or the renderer fails.
    pub fn render(
        renderer: impl FnOnce() -> Result<Box<dyn Renderer>, render::Error>,
        store: &dyn Store,
        request: &Request,
        stop: &AtomicBool,
    ) -> Result<(Self, Vec<String>), Error> {
        let jobs = select::select_pages(store, request)?.jobs;
        let capacity = jobs.iter().map(|job| job.pages.len()).sum::<usize>() + jobs.len();
        let (task_sender, tasks) = sync_channel(capacity);
        let (outcome_sender, outcomes) = sync_channel(capacity);
        let producer = PageProducer {
            interleave: 1,
            passwords: &request.passwords,
            stop: [stop, stop],
            task_sender,
            outcome_sender,
        };
        producer.run(renderer, &jobs)?;
        let (mut failed, mut needs_password) = (Vec::new(), false);
        for outcome in outcomes {
            match outcome {
                PageOutcome::Failed(_, _, why) => failed.push(why),
                PageOutcome::Manual(_, error) => {
                    needs_password |= error.is_protected;
                    failed.push(error.why);
                }
                _ => {}
            }
        }
        let trial = Self {
            tasks: tasks.iter().flatten().collect(),
            needs_password,
        };
        Ok((trial, failed))
    }

    /// Returns the pages, each with its text layer and its image as a JPEG.
    pub fn pages(&self) -> impl Iterator<Item = (&PageId, &str, &[u8])> {
        let all = self.tasks.iter();
        all.map(|task| (&task.id, task.text.as_str(), &*task.prompt.jpeg))
    }

    /// Describes all pages with a runner.
    ///
    /// # Errors
    /// [`Error::Describe`] when the run is aborted.
    pub fn describe(
        &self,
        runner: &dyn Runner,
        settings: &Settings,
        gauge: &Gauge<'_>,
        stop: &AtomicBool,
    ) -> Result<Round, Error> {
        let exchanges = Mutex::new(Vec::new());
        let on_event = |event: chat::Event| {
            if let chat::Event::Completed(exchange) = event {
                let mut all = exchanges.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(exchange);
            }
        };
        let guard = MemoryGuard::new(gauge, settings.chat.memory, runner.card().can_unload);
        let aborted = AtomicBool::new(false);
        // The caller has sent a request before.
        let client = RetryingClient::new(runner, settings.chat, &guard, &aborted, &on_event);
        let describer = Describer::new(client.already_answered(), settings, &|_| {});
        let mut round = Round::default();
        let start = Instant::now();
        run_workers(
            &describer,
            &Upkeep::new(Canary::new(0)),
            |task_sender, _| {
                // A request holds pages of one manual: its response labels them by page number.
                let manuals = self.tasks.chunk_by(|a, b| a.id.manual == b.id.manual);
                for group in manuals.flat_map(|pages| pages.chunks(settings.interleave)) {
                    let stopped = stop.load(Ordering::Relaxed) || aborted.load(Ordering::Relaxed);
                    if stopped || task_sender.send(group.to_vec()).is_err() {
                        break;
                    }
                }
                Ok(())
            },
            |outcomes| {
                outcomes.iter().for_each(|outcome| round.record(outcome));
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

    /// Answers a question about a page, with or without its image; `None` if the request failed or the page was not
    /// rendered.
    ///
    /// # Errors
    /// [`vlm::Error`] when the run is aborted.
    pub fn answer(
        &self,
        runner: &dyn Runner,
        settings: &Settings,
        page: &PageId,
        (question, with_image): (&str, bool),
    ) -> Result<Option<String>, vlm::Error> {
        let Some(task) = self.tasks.iter().find(|task| task.id == *page) else {
            return Ok(None);
        };
        let image = with_image.then_some(&task.prompt);
        let parts = prompt::question(question, image);
        with_describer(runner, settings, |describer| {
            let result = describer
                .client
                .complete(&parts, 1, Attempt::GreedyExclusive)?;
            Ok(result
                .ok()
                .map(|completion| completion.text.trim().to_owned()))
        })
    }

    /// Describes the first page several times with greedy decoding, one request after the other or concurrently. Failed
    /// responses are empty.
    ///
    /// # Errors
    /// [`vlm::Error`] when the run is aborted.
    pub fn repeat(
        &self,
        runner: &dyn Runner,
        settings: &Settings,
        times: usize,
        concurrent: bool,
    ) -> Result<Vec<String>, vlm::Error> {
        let Some(task) = self.tasks.first() else {
            return Ok(Vec::new());
        };
        let parts: Vec<Part> = prompt::one_page(&task.prompt);
        with_describer(runner, settings, |describer| {
            let once = |attempt| -> Result<String, vlm::Error> {
                let result = describer.client.complete(&parts, 1, attempt)?;
                Ok(result.map(|completion| completion.text).unwrap_or_default())
            };
            if !concurrent {
                return (0..times).map(|_| once(Attempt::GreedyExclusive)).collect();
            }
            thread::scope(|scope| {
                let threads: Vec<_> = (0..times)
                    .map(|_| scope.spawn(|| once(Attempt::GreedyConcurrent)))
                    .collect();
                threads.into_iter().map(joined).collect()
            })
        })
    }
}

/// Calls `work` with a describer without memory limit checks or events.
fn with_describer<T>(
    runner: &dyn Runner,
    settings: &Settings,
    work: impl FnOnce(&Describer<'_>) -> T,
) -> T {
    let aborted = AtomicBool::new(false);
    let guard = MemoryGuard::new(&|| None, settings.chat.memory, runner.card().can_unload);
    let client = RetryingClient::new(runner, settings.chat, &guard, &aborted, &|_| {});
    work(&Describer::new(
        client.already_answered(),
        settings,
        &|_| {},
    ))
}

impl Round {
    fn record(&mut self, outcome: PageOutcome) {
        match outcome {
            PageOutcome::Described {
                id, description, ..
            } => self.pages.push((id, Ok(description))),
            PageOutcome::Failed(id, class, why) => {
                self.pages.push((id, Err((class.to_string(), why))));
            }
            PageOutcome::Retried(class) => *self.retries.entry(class.to_string()).or_default() += 1,
            PageOutcome::Blank(_) | PageOutcome::Duplicate(..) | PageOutcome::Manual(..) => {}
        }
    }
}
