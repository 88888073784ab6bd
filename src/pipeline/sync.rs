//! From one store to another: what differs travels, nothing is embedded again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use crate::page::{PageError, PageId, PageSet};
use crate::pooling::pool;
use crate::store::{self, Fingerprint, ManualCard, Scope, Store, StoredPage, Vectors};
use crate::vectors::PageVectors;

use super::stages;
use super::stats::Ledger;
use super::{Error, Event, ManualTally, Sheet, Tally, joined};

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
    watch: &(dyn Fn(Event) + Sync),
) -> (Tally, Result<(), Error>) {
    let start = Instant::now();
    let (cards, there) = match from.cards().and_then(|cards| Ok((cards, to.cards()?))) {
        Ok(both) => both,
        Err(cause) => return (Tally::default(), Err(cause.into())),
    };
    let ledger = Ledger::new(cards.iter().map(blank_tally).collect(), watch);
    let copy = Copy {
        from,
        to,
        pool_factor,
        there: &there,
        stop,
        ledger: &ledger,
    };
    let result = copy.all(&cards);
    let mut tally = ledger.close();
    tally
        .manuals
        .retain(|manual| manual.pages > 0 || manual.error.is_some());
    tally.wall = start.elapsed().as_secs_f64();
    tally.stopped = stop.load(Ordering::Relaxed);
    (tally, result)
}

fn blank_tally(card: &ManualCard) -> ManualTally {
    ManualTally {
        manual: card.id.to_string(),
        path: card.path.clone(),
        ..ManualTally::default()
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
    ledger: &'a Ledger<'a>,
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
            let kept = stages::store::run(self.ledger, self.to, input);
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
        out: &SyncSender<Vec<Sheet>>,
    ) -> Result<bool, Error> {
        let ours = self.from.known(&card.id)?;
        if ours.is_empty() {
            return Ok(true);
        }
        if let Some(other) = self
            .there
            .iter()
            .find(|other| other.id == card.id && other.is_another(card))
        {
            let why = format!(
                "the other store has another manual of this name, from {}",
                other.path.display()
            );
            self.ledger.manual_failed(job, &why);
            return Ok(true);
        }
        let theirs = self.to.known(&card.id)?;
        let theirs: HashMap<u32, Fingerprint> =
            theirs.into_iter().map(|page| (page.number, page)).collect();
        let todo: Vec<u32> = ours
            .iter()
            .filter(|page| theirs.get(&page.number) != Some(page))
            .map(|page| page.number)
            .collect();
        let is_extra = |n: &&u32| ours.iter().all(|page| page.number != **n);
        let extra = PageSet::of(theirs.keys().filter(is_extra).copied());
        self.to.enter(card)?;
        self.to.remove(&card.id, &extra)?;
        self.ledger.manual(job, |m| {
            m.pages = ours.len() as u32;
            m.unchanged = (ours.len() - todo.len()) as u32;
        });
        self.ledger.tell(Event::Opened {
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
        out: &SyncSender<Vec<Sheet>>,
    ) -> Result<bool, Error> {
        let scope = Scope {
            manual: Some(card.id.clone()),
            pages,
        };
        for page in self.from.scan(&scope)? {
            match pooled(page?, self.pool_factor) {
                Ok(record) => {
                    if out.send(vec![Sheet { job, record }]).is_err() {
                        return Ok(false);
                    }
                }
                Err((id, why)) => self.ledger.page_failed(job, &id, why),
            }
            if self.stopped() {
                break;
            }
        }
        Ok(true)
    }

    /// Compares what both stores have of a manual; names what did not arrive.
    fn count(&self, job: usize, card: &ManualCard) -> Result<(), store::Error> {
        if self.ledger.has_failed(job) {
            return Ok(());
        }
        let arrived: Vec<Fingerprint> = self.to.known(&card.id)?;
        for page in self.from.known(&card.id)? {
            if !arrived.contains(&page) && !self.ledger.is_excused(job, page.number) {
                let id = PageId::new(&card.id, page.number);
                let why = PageError::Store("it did not arrive".to_owned());
                self.ledger.page_failed(job, &id, why);
            }
        }
        Ok(())
    }
}

/// A page with its vectors pooled.
fn pooled(page: StoredPage, factor: u32) -> Result<StoredPage, (PageId, PageError)> {
    let Vectors::New(seen) = &page.vectors else {
        return Ok(page);
    };
    if factor == 1 {
        return Ok(page);
    }
    match pool(seen, factor) {
        Ok(pooled) => Ok(StoredPage {
            vectors: Vectors::New(PageVectors {
                vectors: pooled.vectors.rounded_to_f16(),
                patches: pooled.patches,
            }),
            ..page
        }),
        Err(_) => Err((page.id, PageError::NotFinite)),
    }
}
