//! What the coordinator and the workers tell each other, as JSON. A new field needs a default, or a new
//! [`PROTOCOL`](super::group::PROTOCOL).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::group::{Group, shortened};
use crate::annotate::Redo;
use crate::page::{ManualId, PageSet};
use crate::pipeline::{ManualStats, Stage};
use crate::queue::NewItem;
use crate::store::{FailedPage, digest};

/// A process and its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id: unique, also when a process is started again.
    pub id: String,
    /// The name of the machine.
    pub host: String,
}

impl Process {
    /// This process.
    pub fn this() -> Self {
        let host = sysinfo::System::host_name().unwrap_or_else(|_| "unknown host".to_owned());
        let name: String = host
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let random = fastrand::u32(..);
        let id = format!("{name}-{}-{random:08x}", std::process::id());
        Self { id, host }
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Its work is being queued, or done.
    Running,
    /// Every page has an outcome.
    Finished,
    /// Its queued work was removed.
    Cancelled,
}

/// A run: the files of one command, with one model, into one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// What its workers have in common.
    pub group: Group,
    /// The machine that began it.
    pub host: String,
    /// How far it has come.
    pub state: RunState,
    /// Files that can be read.
    pub manuals: u32,
}

/// A manual of a run: what is to be done with it, decided once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunManual {
    /// The manual.
    pub manual: ManualId,
    /// SHA-256 of its file, hex.
    pub file: String,
    /// Pages of the file.
    pub pages: u32,
    /// Requested pages that were up to date.
    pub unchanged: u32,
    /// Those among them whose description had failed.
    #[serde(default)]
    pub failed_before: u32,
    /// The pages of each item, as text of a [`PageSet`].
    pub items: Vec<String>,
}

impl RunManual {
    /// Its pages to process.
    pub(super) fn todo(&self) -> impl Iterator<Item = u32> + '_ {
        let in_item = |pages: &String| numbers(pages, self.pages);
        self.items.iter().flat_map(in_item)
    }
}

/// A part of a run that one worker does: some pages of a manual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    /// The run.
    pub run: String,
    /// The manual.
    pub manual: ManualId,
    /// SHA-256 of its file, hex.
    pub file: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Absolute path of the file, as the coordinator sees it.
    pub path: String,
    /// Digest of file and render profile.
    pub origin: String,
    /// Pages of the file.
    pub total: u32,
    /// The pages to process, as text of a [`PageSet`].
    pub pages: String,
    /// Whether a worker died while it had these pages in hand: they are processed alone.
    #[serde(default)]
    pub suspect: bool,
    /// Which pages with a description are described again.
    #[serde(default)]
    pub redo: Option<Redo>,
}

impl Item {
    /// The name of the item in the queue: the same for the same pages of the same file, whoever queues it.
    pub(super) fn name(&self) -> String {
        let pages = self.pages.replace(", ", "_");
        match pages.len() {
            0..=64 => format!("{}-{pages}", shortened(&self.file)),
            _ => format!("{}-{}", shortened(&self.file), digest(&[pages.as_bytes()])),
        }
    }

    /// Its pages.
    pub(super) fn numbers(&self) -> Vec<u32> {
        numbers(&self.pages, self.total)
    }

    /// As it is queued for the workers of a group.
    pub(super) fn queued(&self, group: &Group) -> NewItem {
        NewItem {
            kind: group.kind(),
            group: group.id(),
            run: self.run.clone(),
            item: self.name(),
            payload: super::to_json(self),
        }
    }

    /// The items of its pages, one each.
    pub(super) fn single_pages(&self) -> impl Iterator<Item = Self> + '_ {
        self.numbers().into_iter().map(|page| Self {
            pages: page.to_string(),
            suspect: true,
            ..self.clone()
        })
    }
}

/// The numbers of the pages in the text of a [`PageSet`], up to `total`.
pub(super) fn numbers(pages: &str, total: u32) -> Vec<u32> {
    let pages: Result<PageSet, _> = pages.parse();
    pages.map(|pages| pages.within(total)).unwrap_or_default()
}

/// What became of an item: each of its pages is stored, or failed. Stored also means: described, or found blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ItemResult {
    /// Name of the item.
    pub item: String,
    /// SHA-256 of the manual's file, hex.
    pub file: String,
    /// Its pages, as text of a [`PageSet`].
    pub pages: String,
    /// Who processed it.
    pub worker: Process,
    /// Pages that failed.
    pub failed: Vec<FailedPage>,
    /// Stored pages that kept their vectors.
    pub kept: u32,
    /// Stored pages that are blank.
    pub blank: u32,
    /// Pages of which something could not be drawn.
    pub incomplete: u32,
    /// Pages whose text layer is unreadable.
    pub unreadable_text: u32,
    /// Busy seconds of each stage.
    pub seconds: BTreeMap<Stage, f64>,
    /// Whether the store was away meanwhile: its index may lack pages.
    pub store_was_away: bool,
    /// What is known of its descriptions.
    #[serde(default)]
    pub descriptions: Descriptions,
}

/// What is known of the descriptions of some pages, beside those in the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Descriptions {
    /// Pages that are blank, and have none.
    pub blank: BTreeSet<u32>,
    /// Number of retries by failure class.
    pub retries: BTreeMap<String, u32>,
    /// Tokens generated.
    pub tokens: u64,
    /// Peak memory of the model in bytes; `None` if unknown.
    pub memory: Option<u64>,
}

impl Descriptions {
    /// Adds those of other pages.
    pub(super) fn add(&mut self, other: &Self) {
        self.blank.extend(&other.blank);
        for (class, times) in &other.retries {
            *self.retries.entry(class.clone()).or_default() += times;
        }
        self.tokens += other.tokens;
        self.memory = self.memory.max(other.memory);
    }
}

impl ItemResult {
    /// The result of an item with these statistics. An item that failed as a whole has its reason at each page.
    pub(super) fn new(item: &Item, worker: &Process, stats: ManualStats) -> Self {
        let failed = match stats.error {
            None => stats.failed,
            Some(reason) => failed_pages(item, &reason),
        };
        Self {
            failed,
            kept: stats.kept,
            blank: stats.blank,
            incomplete: stats.incomplete,
            unreadable_text: stats.unreadable_text,
            seconds: stats.seconds,
            ..Self::failed(item, worker, "")
        }
    }

    /// The result of an item none of whose pages can be processed.
    pub(super) fn failed(item: &Item, worker: &Process, reason: &str) -> Self {
        Self {
            item: item.name(),
            file: item.file.clone(),
            pages: item.pages.clone(),
            worker: worker.clone(),
            failed: failed_pages(item, reason),
            kept: 0,
            blank: 0,
            incomplete: 0,
            unreadable_text: 0,
            seconds: BTreeMap::new(),
            store_was_away: false,
            descriptions: Descriptions::default(),
        }
    }
}

fn failed_pages(item: &Item, reason: &str) -> Vec<FailedPage> {
    let failed = |page| FailedPage {
        page,
        reason: reason.to_owned(),
    };
    item.numbers().into_iter().map(failed).collect()
}

/// A worker that lives; told again and again, and forgotten when it is silent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// The worker.
    pub process: Process,
    /// Its group.
    pub group: Group,
    /// The device of its model, or the program that runs it.
    pub device: String,
    /// Pages per second: as measured, or as its last run was; 0 if unknown.
    pub pages_per_second: f64,
    /// Pages that it has processed.
    pub pages: u64,
    /// Pages that failed.
    pub failed: u64,
    /// Items that it has in hand.
    pub in_hand: u32,
    /// What keeps it from working, if anything.
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(pages: &str) -> Item {
        Item {
            run: "r".into(),
            manual: ManualId::new("pump.pdf"),
            file: "0123456789abcdef0123".into(),
            bytes: 1,
            path: "/pump.pdf".into(),
            origin: "o".into(),
            total: 40,
            pages: pages.into(),
            suspect: false,
            redo: None,
        }
    }

    #[test]
    fn an_item_is_named_by_its_file_and_pages() {
        assert_eq!(item("1-3, 7").name(), "0123456789abcdef-1-3_7");
        let singles: Vec<Item> = item("38-99").single_pages().collect();
        assert_eq!(singles.len(), 3, "the file ends at page 40");
        assert_eq!(singles[2].name(), "0123456789abcdef-40");
        assert!(singles.iter().all(|single| single.suspect));
        let odd: Vec<String> = (1..=400).step_by(2).map(|n: u32| n.to_string()).collect();
        let name = item(&odd.join(", ")).name();
        assert!(name.len() < 64, "{name}");
    }

    #[test]
    fn an_item_that_failed_as_a_whole_has_its_reason_at_each_page() {
        let stats = ManualStats {
            error: Some("torn".into()),
            ..ManualStats::default()
        };
        let result = ItemResult::new(&item("2-3"), &Process::this(), stats);
        let pages: Vec<u32> = result.failed.iter().map(|failed| failed.page).collect();
        assert_eq!(pages, [2, 3]);
        assert!(result.failed.iter().all(|failed| failed.reason == "torn"));
    }
}
