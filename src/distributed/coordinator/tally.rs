//! What is known of each manual of a run: results are merged page by page, so an item that was processed twice counts once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::distributed::messages::{Descriptions, ItemResult, RunManual, numbers};
use crate::pipeline::ManualStats;
use crate::store::FailedPage;

/// A machine's share of a run.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct WorkerShare {
    /// The machine.
    pub host: String,
    /// The worker's id.
    pub worker: String,
    /// Items that it ended.
    pub items: u32,
    /// Pages that it stored, or found stored.
    pub pages: u32,
    /// Pages that failed there.
    pub failed: u32,
}

/// The tally of a run.
#[derive(Default)]
pub(super) struct Tally {
    /// By digest of the file.
    manuals: BTreeMap<String, ManualTally>,
    /// Names of items with a result.
    items: HashSet<String>,
    workers: BTreeMap<String, WorkerShare>,
    /// Results of manuals that are not known yet.
    early: Vec<ItemResult>,
    /// Number of pages without an outcome.
    pub(super) missing: usize,
    /// Whether the store was away: its index may lack pages.
    pub(super) store_was_away: bool,
}

/// The tally of a manual.
#[derive(Default)]
struct ManualTally {
    entry: Option<RunManual>,
    todo: BTreeSet<u32>,
    stored: BTreeSet<u32>,
    failed: BTreeMap<u32, String>,
    /// How often the store was asked for its pages.
    rounds: u32,
    /// Counts and times, apart from those above.
    stats: ManualStats,
    descriptions: Descriptions,
}

/// What became of the pages of a manual.
pub(super) struct Outcome<'t> {
    /// Pages that are done.
    pub(super) stored: &'t BTreeSet<u32>,
    /// Pages that failed, with the reason.
    pub(super) failed: &'t BTreeMap<u32, String>,
    pub(super) descriptions: &'t Descriptions,
}

impl ManualTally {
    fn is_complete(&self) -> bool {
        self.todo
            .iter()
            .all(|page| self.stored.contains(page) || self.failed.contains_key(page))
    }
}

/// What a result brought.
#[derive(Debug, Default, PartialEq)]
pub(super) struct News {
    /// Pages with an outcome that had none.
    pub(super) pages: u32,
    /// Pages that failed and had not.
    pub(super) failed: Vec<FailedPage>,
    /// Whether the manual has an outcome for each page, and had not.
    pub(super) is_complete: bool,
}

impl Tally {
    /// Adds a manual, and its results that came before.
    pub(super) fn add_manual(&mut self, entry: RunManual) {
        let manual = self.manuals.entry(entry.file.clone()).or_default();
        manual.todo = entry.todo().collect();
        self.missing += manual.todo.len();
        let file = entry.file.clone();
        manual.entry = Some(entry);
        let (own, rest) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(|result| result.file == file);
        self.early = rest;
        let own: Vec<ItemResult> = own;
        own.into_iter().for_each(|result| drop(self.add(result)));
    }

    /// Adds a result.
    pub(super) fn add(&mut self, result: ItemResult) -> News {
        let Some(manual) = self.manuals.get_mut(&result.file) else {
            self.early.push(result);
            return News::default();
        };
        let total = manual.entry.as_ref().map_or(0, |entry| entry.pages);
        let pages = numbers(&result.pages, total);
        let was_complete = manual.is_complete();
        let mut news = News::default();
        for page in &pages {
            let was_known = manual.stored.contains(page) || manual.failed.contains_key(page);
            news.pages += u32::from(!was_known);
            match result.failed.iter().find(|failed| failed.page == *page) {
                None => {
                    manual.failed.remove(page);
                    manual.stored.insert(*page);
                }
                Some(failed) if !was_known => {
                    manual.failed.insert(*page, failed.reason.clone());
                    news.failed.push(failed.clone());
                }
                Some(_) => {}
            }
        }
        self.missing = self.missing.saturating_sub(news.pages as usize);
        self.store_was_away |= result.store_was_away;
        if self.items.insert(result.item.clone()) {
            let stats = &mut manual.stats;
            stats.kept += result.kept;
            stats.blank += result.blank;
            stats.incomplete += result.incomplete;
            stats.unreadable_text += result.unreadable_text;
            for (stage, seconds) in &result.seconds {
                *stats.seconds.entry(*stage).or_default() += seconds;
            }
            manual.descriptions.add(&result.descriptions);
        }
        let worker = self.workers.entry(result.worker.id.clone()).or_default();
        worker.host.clone_from(&result.worker.host);
        worker.worker.clone_from(&result.worker.id);
        worker.items += 1;
        worker.failed += result.failed.len() as u32;
        worker.pages += (pages.len() - result.failed.len().min(pages.len())) as u32;
        news.is_complete = !was_complete && manual.is_complete();
        news
    }

    /// The manual of a file.
    pub(super) fn entry(&self, file: &str) -> Option<RunManual> {
        self.manuals.get(file)?.entry.clone()
    }

    /// What became of the pages of a file.
    pub(super) fn outcome(&self, file: &str) -> Option<Outcome<'_>> {
        let manual = self.manuals.get(file)?;
        Some(Outcome {
            stored: &manual.stored,
            failed: &manual.failed,
            descriptions: &manual.descriptions,
        })
    }

    /// Counts the checks of a manual; returns how many there were.
    pub(super) fn count_round(&mut self, file: &str) -> u32 {
        self.manuals.get_mut(file).map_or(0, |manual| {
            manual.rounds += 1;
            manual.rounds
        })
    }

    /// Whether each page of an item has an outcome.
    pub(super) fn has(&self, file: &str, pages: &[u32]) -> bool {
        self.manuals.get(file).is_some_and(|manual| {
            let known =
                |page: &u32| manual.stored.contains(page) || manual.failed.contains_key(page);
            pages.iter().all(known)
        })
    }

    /// Takes back that pages are stored which the store lacks; returns the pages. A blank page has no description there.
    pub(super) fn take_back(&mut self, file: &str, has: impl Fn(u32) -> bool) -> Vec<u32> {
        let Some(manual) = self.manuals.get_mut(file) else {
            return Vec::new();
        };
        let lost: Vec<u32> = manual
            .stored
            .iter()
            .copied()
            .filter(|page| !has(*page) && !manual.descriptions.blank.contains(page))
            .collect();
        lost.iter().for_each(|page| {
            manual.stored.remove(page);
        });
        self.missing += lost.len();
        lost
    }

    /// Fails pages of a manual that have no outcome.
    pub(super) fn fail(&mut self, file: &str, pages: &[u32], reason: &str) {
        if let Some(manual) = self.manuals.get_mut(file) {
            manual
                .failed
                .extend(pages.iter().map(|page| (*page, reason.to_owned())));
            self.missing = self.missing.saturating_sub(pages.len());
        }
    }

    /// Writes what is known of a manual into its statistics.
    pub(super) fn finish(&self, file: &str, stats: &mut ManualStats) {
        let Some((manual, entry)) = self
            .manuals
            .get(file)
            .and_then(|manual| Some((manual, manual.entry.as_ref()?)))
        else {
            return;
        };
        let failed = manual.failed.iter().map(|(page, reason)| FailedPage {
            page: *page,
            reason: reason.clone(),
        });
        *stats = ManualStats {
            manual: stats.manual.clone(),
            path: stats.path.clone(),
            same_as: stats.same_as.clone(),
            pages: entry.unchanged + manual.todo.len() as u32,
            unchanged: entry.unchanged,
            stored: manual.stored.len() as u32,
            failed: failed.collect(),
            ..manual.stats.clone()
        };
    }

    /// The share of each worker.
    pub(super) fn workers(&self) -> Vec<WorkerShare> {
        self.workers.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::messages::Process;
    use crate::page::ManualId;

    fn result(item: &str, failed: &[u32]) -> ItemResult {
        let failed = failed.iter().map(|page| FailedPage {
            page: *page,
            reason: "no".into(),
        });
        ItemResult {
            item: item.into(),
            file: "f".into(),
            pages: item.into(),
            worker: Process {
                id: "w".into(),
                host: "h".into(),
            },
            failed: failed.collect(),
            kept: 0,
            blank: 1,
            incomplete: 0,
            unreadable_text: 0,
            seconds: BTreeMap::new(),
            store_was_away: false,
            descriptions: Descriptions::default(),
        }
    }

    fn tally() -> Tally {
        let mut tally = Tally::default();
        tally.add_manual(RunManual {
            manual: ManualId::new("pump.pdf"),
            file: "f".into(),
            pages: 5,
            unchanged: 1,
            failed_before: 0,
            items: vec!["2-3".into(), "4-5".into()],
        });
        tally
    }

    #[test]
    fn a_page_that_was_stored_once_is_stored() {
        let mut tally = tally();
        assert_eq!(tally.add(result("2-3", &[3])).pages, 2);
        assert_eq!(
            tally.add(result("3", &[])),
            News::default(),
            "its outcome was known"
        );
        let news = tally.add(result("4-5", &[5]));
        assert!(news.is_complete && news.failed.len() == 1, "{news:?}");
        assert_eq!(
            tally.add(result("4-5", &[4, 5])),
            News::default(),
            "late and worse"
        );
        let mut stats = ManualStats::default();
        tally.finish("f", &mut stats);
        assert_eq!((stats.pages, stats.stored, stats.unchanged), (5, 3, 1));
        assert_eq!(stats.failed.iter().map(|f| f.page).collect::<Vec<_>>(), [5]);
        assert_eq!(stats.blank, 3, "an item counts once");
        assert_eq!(tally.missing, 0);
    }

    #[test]
    fn pages_that_the_store_lacks_are_missing_again() {
        let mut tally = tally();
        tally.add(result("2-3", &[]));
        assert_eq!(
            (tally.missing, tally.take_back("f", |page| page == 2)),
            (2, vec![3])
        );
        assert_eq!(tally.missing, 3);
        tally.fail("f", &[3, 4, 5], "it did not arrive");
        assert_eq!(tally.missing, 0);
    }

    #[test]
    fn a_blank_page_has_no_description_to_miss() {
        let mut tally = tally();
        let descriptions = Descriptions {
            blank: [3].into(),
            tokens: 7,
            ..Descriptions::default()
        };
        let blank = ItemResult {
            descriptions,
            ..result("2-3", &[])
        };
        tally.add(blank.clone());
        tally.add(blank);
        assert_eq!(tally.take_back("f", |_| false), [2]);
        assert_eq!(tally.outcome("f").unwrap().descriptions.tokens, 7);
    }

    #[test]
    fn results_that_come_before_their_manual_count() {
        let mut tally = Tally::default();
        tally.add(result("2-3", &[]));
        assert_eq!(tally.missing, 0, "unknown");
        tally.add_manual(self::tally().manuals["f"].entry.clone().unwrap());
        assert_eq!(tally.missing, 2);
    }
}
