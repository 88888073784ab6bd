//! From one store to another: what differs travels, nothing is embedded again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use crate::page::{PageError, PageId, PageSet};
use crate::pooling::pool;
use crate::store::{self, Fingerprint, ManualCard, Scope, Store, StoredPage, VectorUpdate};
use crate::vectors::PageVectors;

use super::stages;
use super::stats::StatsCollector;
use super::{Error, Event, InFlightPage, ManualStats, RunStats, joined};

/// Pages read ahead of the store that takes them.
const AHEAD: usize = 8;

/// Makes the manuals of `to` what they are in `from`; manuals that only `to` has stay. Pages with equal fingerprints
/// are not sent, so a run that was ended goes on where it was. `stop`, once true, ends it after what is on its way.
/// Pages are pooled by `pool_factor` on their way; 1 leaves them as they are.
///
/// At the end the pages of each manual are counted on both sides; one that is missing is a failed page.
pub fn sync(
    from: &dyn Store,
    to: &dyn Store,
    pool_factor: u32,
    stop: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> (RunStats, Result<(), Error>) {
    let start = Instant::now();
    let (cards, there) = match from.cards().and_then(|cards| Ok((cards, to.cards()?))) {
        Ok(both) => both,
        Err(cause) => return (RunStats::default(), Err(cause.into())),
    };
    let collector = StatsCollector::new(cards.iter().map(empty_stats).collect(), on_event);
    let copy = Copy {
        from,
        to,
        pool_factor,
        there: &there,
        stop,
        collector: &collector,
    };
    let result = copy.all(&cards);
    let mut stats = collector.close();
    stats
        .manuals
        .retain(|manual| manual.pages > 0 || manual.error.is_some());
    stats.wall = start.elapsed().as_secs_f64();
    stats.stopped = stop.load(Ordering::Relaxed);
    (stats, result)
}

fn empty_stats(card: &ManualCard) -> ManualStats {
    ManualStats {
        manual: card.id.to_string(),
        path: card.path.clone(),
        ..ManualStats::default()
    }
}

/// A sync under way.
#[derive(Clone, Copy)]
struct Copy<'a> {
    from: &'a dyn Store,
    to: &'a dyn Store,
    pool_factor: u32,
    /// The manuals that the other store had before.
    there: &'a [ManualCard],
    stop: &'a AtomicBool,
    collector: &'a StatsCollector<'a>,
}

impl Copy<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn all(&self, cards: &[ManualCard]) -> Result<(), Error> {
        let (out, input) = sync_channel(AHEAD);
        thread::scope(|scope| {
            let reading = scope.spawn(move || {
                for (job, card) in cards.iter().enumerate() {
                    if self.stopped() || !self.manual(job, card, &out)? {
                        break;
                    }
                }
                Ok(())
            });
            let kept = stages::store::run(self.collector, self.to, input);
            joined(reading).and(kept)
        })?;
        if !self.stopped() {
            for (job, card) in cards.iter().enumerate() {
                self.count(job, card)?;
            }
        }
        Ok(())
    }

    /// Hands on the pages of a manual that the other store lacks; tells whether somebody still takes them.
    fn manual(
        &self,
        job: usize,
        card: &ManualCard,
        out: &SyncSender<Vec<InFlightPage>>,
    ) -> Result<bool, Error> {
        let ours = self.from.fingerprints(&card.id)?;
        if ours.is_empty() {
            return Ok(true);
        }
        if let Some(other) = self
            .there
            .iter()
            .find(|other| other.id == card.id && other.is_different_manual(card))
        {
            let why = format!(
                "the other store has another manual of this name, from {}",
                other.path.display()
            );
            self.collector.manual_failed(job, &why);
            return Ok(true);
        }
        let theirs = self.to.fingerprints(&card.id)?;
        let theirs: HashMap<u32, Fingerprint> =
            theirs.into_iter().map(|page| (page.number, page)).collect();
        let todo: Vec<u32> = ours
            .iter()
            .filter(|page| theirs.get(&page.number) != Some(page))
            .map(|page| page.number)
            .collect();
        let is_extra = |n: &&u32| ours.iter().all(|page| page.number != **n);
        let extra = PageSet::of(theirs.keys().filter(is_extra).copied());
        self.to.upsert_manual(card)?;
        self.to.remove(&card.id, &extra)?;
        self.collector.manual(job, |m| {
            m.pages = ours.len() as u32;
            m.unchanged = (ours.len() - todo.len()) as u32;
        });
        self.collector.emit(Event::Opened {
            manual: card.id.clone(),
            todo: todo.len() as u32,
        });
        self.hand_on(job, card, PageSet::of(todo), out)
    }

    fn hand_on(
        &self,
        job: usize,
        card: &ManualCard,
        pages: PageSet,
        out: &SyncSender<Vec<InFlightPage>>,
    ) -> Result<bool, Error> {
        let scope = Scope {
            manual: Some(card.id.clone()),
            pages,
        };
        for page in self.from.scan(&scope)? {
            match pooled(page?, self.pool_factor) {
                Ok(record) => {
                    if out.send(vec![InFlightPage { job, record }]).is_err() {
                        return Ok(false);
                    }
                }
                Err((id, why)) => self.collector.page_failed(job, &id, why),
            }
            if self.stopped() {
                break;
            }
        }
        Ok(true)
    }

    /// Compares what both stores have of a manual; names what did not arrive.
    fn count(&self, job: usize, card: &ManualCard) -> Result<(), store::Error> {
        if self.collector.has_failed(job) {
            return Ok(());
        }
        let arrived: Vec<Fingerprint> = self.to.fingerprints(&card.id)?;
        for page in self.from.fingerprints(&card.id)? {
            if !arrived.contains(&page) && !self.collector.is_excused(job, page.number) {
                let id = PageId::new(&card.id, page.number);
                let why = PageError::Store("it did not arrive".to_owned());
                self.collector.page_failed(job, &id, why);
            }
        }
        Ok(())
    }
}

/// A page with its vectors pooled.
fn pooled(page: StoredPage, factor: u32) -> Result<StoredPage, (PageId, PageError)> {
    let VectorUpdate::Replace(seen) = &page.vectors else {
        return Ok(page);
    };
    if factor == 1 {
        return Ok(page);
    }
    match pool(seen, factor) {
        Ok(pooled) => Ok(StoredPage {
            vectors: VectorUpdate::Replace(PageVectors {
                vectors: pooled.vectors.rounded_to_f16(),
                places: pooled.places,
            }),
            ..page
        }),
        Err(_) => Err((page.id, PageError::NotFinite)),
    }
}
