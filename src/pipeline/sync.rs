//! Sync: copies pages that differ from one store to another, without embedding them again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::thread;
use std::time::Instant;

use crate::page::{ManualId, PageError, PageId, PageSet};
use crate::pooling::pool;
use crate::store::{
    self, Fingerprint, LastRun, ManualCard, Scope, Store, StoredPage, VectorUpdate,
};
use crate::vectors::PageVectors;

use super::flow::flush;
use super::last_run::Recorder;
use super::stages;
use super::stats::StatsCollector;
use super::task::{OpenTask, TaskInHand};
use super::{Error, Event, InFlightPage, ManualStats, RunClient, RunStats, joined};

/// Pages read ahead of the writer.
const READ_AHEAD: usize = 8;

/// Makes the manuals of `to` equal to those of `from`; manuals that only `to` has stay. Pages with equal fingerprints
/// are not sent, so an interrupted run can be resumed. `stop`, once true, ends it after the pages in flight. Vectors
/// are pooled by `pool_factor`; 1 copies them unchanged.
///
/// At the end the pages of each manual are compared on both sides; a page missing in `to` is a failed page.
pub fn sync(
    from: &dyn Store,
    to: &dyn Store,
    pool_factor: u32,
    stop: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> (RunStats, Result<(), Error>) {
    let start = Instant::now();
    let read = || Ok((from.cards()?, to.cards()?, last_runs(from)?));
    let (cards, existing, last_runs) = match read() {
        Ok(all) => all,
        Err(cause) => return (RunStats::default(), Err(Error::Store(cause))),
    };
    let client = RunClient::new(stop, on_event);
    let collector = StatsCollector::new(cards.iter().map(empty_stats).collect(), Box::new(&client));
    let task = OpenTask::new(Cow::Borrowed(&[]), collector);
    // It ends below, when both stores were compared.
    let task = TaskInHand::new(Arc::new(task), channel().0);
    let recorder = Recorder::new(to);
    let copy = SyncRun {
        from,
        to,
        pool_factor,
        existing: &existing,
        last_runs: &last_runs,
        task: &task,
        recorder: &recorder,
    };
    let result = copy.run(&cards);
    let mut stats = task.collector.finish();
    stats
        .manuals
        .retain(|manual| manual.pages > 0 || manual.error.is_some());
    stats.wall = start.elapsed().as_secs_f64();
    stats.stopped = stop.load(Ordering::Relaxed);
    (stats, result)
}

/// What the last run did with each manual of a store.
fn last_runs(store: &dyn Store) -> Result<HashMap<ManualId, LastRun>, store::Error> {
    let manuals = store.manuals()?.into_iter();
    Ok(manuals
        .filter_map(|manual| Some((manual.card.id, manual.last_run?)))
        .collect())
}

fn empty_stats(card: &ManualCard) -> ManualStats {
    ManualStats {
        manual: card.id.to_string(),
        path: card.path.clone(),
        ..ManualStats::default()
    }
}

/// A running sync.
#[derive(Clone, Copy)]
struct SyncRun<'a, 't> {
    from: &'a dyn Store,
    to: &'a dyn Store,
    pool_factor: u32,
    /// The manuals that `to` had before.
    existing: &'a [ManualCard],
    /// What the last run did with those of `from`.
    last_runs: &'a HashMap<ManualId, LastRun>,
    task: &'a Arc<TaskInHand<'t>>,
    recorder: &'a Recorder<'a>,
}

impl<'t> SyncRun<'_, 't> {
    fn run(&self, cards: &[ManualCard]) -> Result<(), Error> {
        let (sender, input) = sync_channel(READ_AHEAD);
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                for (job, card) in cards.iter().enumerate() {
                    if self.task.is_stopped() || !self.copy_manual(job, card, &sender)? {
                        break;
                    }
                }
                Ok(())
            });
            let stored = stages::store::run(self.recorder, input);
            let flushed = flush(self.recorder, self.task, &mut Vec::new());
            joined(reader).and(stored).and(flushed.map_err(Error::from))
        })?;
        if !self.task.is_stopped() {
            for (job, card) in cards.iter().enumerate() {
                self.verify(job, card)?;
            }
        }
        Ok(())
    }

    /// Whether a page of `to` is that of `from`. Text vectors count if both stores keep them and the page has some.
    fn is_copy(&self, page: &Fingerprint, found: &Fingerprint) -> bool {
        let ignores_text = page.text.is_empty() || !self.to.keeps_text_vectors();
        let text = if ignores_text {
            &page.text
        } else {
            &found.text
        };
        Fingerprint {
            text: text.clone(),
            ..found.clone()
        } == *page
    }

    /// Sends the pages of a manual that `to` lacks; returns `false` if the store stage has ended.
    fn copy_manual(
        &self,
        job: usize,
        card: &ManualCard,
        sender: &SyncSender<Vec<InFlightPage<'t>>>,
    ) -> Result<bool, Error> {
        let source = self.from.fingerprints(&card.id)?;
        if source.is_empty() {
            return Ok(true);
        }
        if let Some(other) = self
            .existing
            .iter()
            .find(|other| other.id == card.id && other.is_different_manual(card))
        {
            let why = format!(
                "the other store has another manual of this name, from {}",
                other.path.display()
            );
            self.task.collector.manual_failed(job, &why);
            return Ok(true);
        }
        let target = self.to.fingerprints(&card.id)?;
        let target: HashMap<u32, Fingerprint> =
            target.into_iter().map(|page| (page.number, page)).collect();
        let todo: Vec<u32> = source
            .iter()
            .filter(|page| {
                !target
                    .get(&page.number)
                    .is_some_and(|found| self.is_copy(page, found))
            })
            .map(|page| page.number)
            .collect();
        let is_extra = |n: &&u32| source.iter().all(|page| page.number != **n);
        let extra = PageSet::of(target.keys().filter(is_extra).copied());
        self.to.upsert_manual(card)?;
        self.to.remove(&card.id, &extra)?;
        if let Some(run) = self.last_runs.get(&card.id) {
            self.recorder.record(&self.task.collector, &card.id, run);
        }
        self.task.collector.update_manual(job, |m| {
            m.pages = source.len() as u32;
            m.unchanged = (source.len() - todo.len()) as u32;
        });
        self.task.collector.emit(Event::Opened {
            manual: card.id.clone(),
            todo: todo.len() as u32,
        });
        self.send_pages(job, card, PageSet::of(todo), sender)
    }

    fn send_pages(
        &self,
        job: usize,
        card: &ManualCard,
        pages: PageSet,
        sender: &SyncSender<Vec<InFlightPage<'t>>>,
    ) -> Result<bool, Error> {
        let scope = Scope {
            manuals: vec![card.id.clone()],
            pages,
        };
        for page in self.from.scan(&scope)? {
            match pool_page(page?, self.pool_factor) {
                Ok(record) => {
                    let page = InFlightPage {
                        task: Arc::clone(self.task),
                        job,
                        record,
                    };
                    if sender.send(vec![page]).is_err() {
                        return Ok(false);
                    }
                }
                Err((id, why)) => self.task.collector.page_failed(job, &id, why),
            }
            if self.task.is_stopped() {
                break;
            }
        }
        Ok(true)
    }

    /// Compares a manual's fingerprints in both stores; pages missing in `to` are failures.
    fn verify(&self, job: usize, card: &ManualCard) -> Result<(), store::Error> {
        if self.task.collector.failure(job).is_some() {
            return Ok(());
        }
        let target: Vec<Fingerprint> = self.to.fingerprints(&card.id)?;
        for page in self.from.fingerprints(&card.id)? {
            let is_there = target.iter().any(|found| self.is_copy(&page, found));
            if !is_there && !self.task.collector.is_accounted_for(job, page.number) {
                let id = PageId::new(&card.id, page.number);
                let why = PageError::Store("missing in the other store after the copy".to_owned());
                self.task.collector.page_failed(job, &id, why);
            }
        }
        Ok(())
    }
}

/// Returns the page with its vectors pooled by `factor`.
fn pool_page(page: StoredPage, factor: u32) -> Result<StoredPage, (PageId, PageError)> {
    let VectorUpdate::Replace(vectors) = &page.vectors else {
        return Ok(page);
    };
    if factor == 1 {
        return Ok(page);
    }
    match pool(vectors, factor) {
        Ok(pooled) => Ok(StoredPage {
            vectors: VectorUpdate::Replace(PageVectors {
                vectors: pooled.vectors.rounded_to_f16(),
                patches: pooled.patches,
            }),
            ..page
        }),
        Err(_) => Err((page.id, PageError::NotFinite)),
    }
}
