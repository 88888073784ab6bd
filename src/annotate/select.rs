//! Page selection: which stored pages need a description.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::page::{Annotation, ManualId, Outcome, PageSet};
use crate::store::{self, Catalogue, ManualCard, Scope};

/// Which pages to describe, with which model.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only these manuals; empty: all.
    pub manuals: Vec<ManualId>,
    /// Only these pages.
    pub pages: PageSet,
    /// Maximum number of pages; those with the least text first.
    pub limit: Option<usize>,
    /// Which pages with an earlier result to describe again.
    pub redo: Option<Redo>,
    /// Where the manual's file lies, if not where it was stored from.
    pub path: Option<PathBuf>,
    /// Passwords of protected manuals. Never printed.
    pub passwords: Vec<String>,
    /// The model that describes them.
    pub model: String,
}

/// Pages to describe again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Redo {
    /// Pages that failed.
    Failed,
    /// Pages described by another model, and pages that failed.
    OtherModel,
    /// All pages.
    All,
}

/// A manual and its pages to describe.
pub(super) struct Job {
    pub(super) card: ManualCard,
    /// The text layer of each page.
    pub(super) pages: BTreeMap<u32, String>,
    /// Digest of pixels and text of each page.
    contents: BTreeMap<u32, String>,
    /// Pages that were stored from another version of the file.
    pub(super) outdated: Vec<u32>,
    /// Number of pages that need no description.
    unchanged: u32,
    /// Number of those among them that failed before.
    failed_before: u32,
}

/// The pages of a run.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) jobs: Vec<Job>,
    /// Number of pages that need no description.
    pub(super) unchanged: u32,
    /// Number of those among them that failed before.
    pub(super) failed_before: u32,
}

/// What is to be described of a manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The manual, with the path of [`Request::path`] if there is one.
    pub card: ManualCard,
    /// Its pages to describe.
    pub pages: Vec<SelectedPage>,
    /// Pages that were stored from another version of the file.
    pub outdated: Vec<u32>,
    /// Number of pages that need no description.
    pub unchanged: u32,
    /// Number of those among them that failed before.
    pub failed_before: u32,
}

/// A page to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedPage {
    /// Its number, from 1.
    pub number: u32,
    /// Bytes of its text layer.
    pub text: usize,
    /// Digest of pixels and text; empty if unknown.
    pub content: String,
}

/// Lists all manuals of a request with their pages to describe, without reading vectors. [`Request::limit`] is not applied:
/// [`take_least_text`] does that.
///
/// # Errors
/// When the store fails.
pub fn list(catalogue: &dyn Catalogue, request: &Request) -> Result<Vec<Selected>, store::Error> {
    let cards = catalogue.cards()?.into_iter();
    let listed = cards.filter(|card| request.includes(card)).map(|card| {
        let mut job = read_manual(catalogue, card, request)?;
        let page = |(number, text): (u32, String)| SelectedPage {
            number,
            text: text.trim().len(),
            content: job.contents.remove(&number).unwrap_or_default(),
        };
        Ok(Selected {
            pages: job.pages.into_iter().map(page).collect(),
            card: job.card,
            outdated: job.outdated,
            unchanged: job.unchanged,
            failed_before: job.failed_before,
        })
    });
    listed.collect()
}

/// Keeps the `limit` pages with the least text among all manuals.
pub fn take_least_text(manuals: &mut [Selected], limit: usize) {
    let lengths = manuals.iter().zip(0..).flat_map(|(manual, index)| {
        let pages = manual.pages.iter();
        pages.map(move |page| (page.text, index, page.number))
    });
    let beyond: BTreeSet<(usize, u32)> = beyond_limit(lengths.collect(), limit).collect();
    for (index, manual) in manuals.iter_mut().enumerate() {
        let is_kept = |page: &SelectedPage| !beyond.contains(&(index, page.number));
        manual.pages.retain(is_kept);
    }
}

/// Selects the pages to describe.
pub(super) fn select_pages(
    catalogue: &dyn Catalogue,
    request: &Request,
) -> Result<Selection, store::Error> {
    let mut selection = Selection::default();
    let cards = catalogue.cards()?.into_iter();
    for card in cards.filter(|card| request.includes(card)) {
        let job = read_manual(catalogue, card, request)?;
        selection.unchanged += job.unchanged;
        selection.failed_before += job.failed_before;
        selection.jobs.push(job);
    }
    if let Some(limit) = request.limit {
        limit_pages(&mut selection.jobs, limit);
    }
    let is_to_do = |job: &Job| !job.pages.is_empty() || !job.outdated.is_empty();
    selection.jobs.retain(is_to_do);
    Ok(selection)
}

impl Selection {
    /// Number of pages to describe.
    pub(super) fn count(&self) -> usize {
        self.jobs.iter().map(|job| job.pages.len()).sum()
    }
}

impl Request {
    fn includes(&self, card: &ManualCard) -> bool {
        self.manuals.is_empty() || self.manuals.contains(&card.id)
    }
}

/// Finds out which pages of a manual need a description.
fn read_manual(
    catalogue: &dyn Catalogue,
    card: ManualCard,
    request: &Request,
) -> Result<Job, store::Error> {
    let scope = Scope {
        manuals: vec![card.id.clone()],
        pages: request.pages.clone(),
    };
    let mut job = Job {
        card,
        pages: BTreeMap::new(),
        contents: BTreeMap::new(),
        outdated: Vec::new(),
        unchanged: 0,
        failed_before: 0,
    };
    for page in catalogue.records(&scope)? {
        let page = page?;
        let annotation = page.description.as_deref().and_then(Annotation::from_json);
        if !needs_description(annotation.as_ref(), request) {
            job.unchanged += 1;
            job.failed_before += u32::from(annotation.is_some_and(|a| has_failed(&a)));
        } else if page.is_from(&job.card) {
            job.contents.insert(page.id.number, page.content);
            job.pages.insert(page.id.number, page.text);
        } else {
            job.outdated.push(page.id.number);
        }
    }
    if let Some(path) = &request.path {
        job.card.path.clone_from(path);
    }
    Ok(job)
}

fn has_failed(annotation: &Annotation) -> bool {
    matches!(annotation.outcome, Outcome::Failed { .. })
}

fn needs_description(annotation: Option<&Annotation>, request: &Request) -> bool {
    let Some(annotation) = annotation else {
        return true;
    };
    let has_failed = has_failed(annotation);
    match request.redo {
        None => false,
        Some(Redo::Failed) => has_failed,
        Some(Redo::OtherModel) => has_failed || annotation.model != request.model,
        Some(Redo::All) => true,
    }
}

/// Keeps the `limit` pages with the least text.
fn limit_pages(jobs: &mut [Job], limit: usize) {
    let lengths = jobs.iter().zip(0..).flat_map(|(job, index)| {
        let pages = job.pages.iter();
        pages.map(move |(&page, text)| (text.trim().len(), index, page))
    });
    for (index, page) in beyond_limit(lengths.collect(), limit) {
        jobs[index].pages.remove(&page);
    }
}

/// The pages beyond the `limit` ones with the least text: scans have none, pages of drawings little. Of each page its length,
/// the index of its manual, and its number.
fn beyond_limit(
    mut lengths: Vec<(usize, usize, u32)>,
    limit: usize,
) -> impl Iterator<Item = (usize, u32)> {
    lengths.sort_unstable();
    let beyond = lengths.into_iter().skip(limit);
    beyond.map(|(_, index, page)| (index, page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Description;

    #[test]
    fn a_limit_keeps_the_pages_with_the_least_text() {
        let job = |name: &str, texts: &[&str]| Job {
            card: ManualCard {
                id: ManualId::new(name),
                path: PathBuf::new(),
                file: String::new(),
                render: String::new(),
                pages: 9,
            },
            pages: (1..).zip(texts.iter().map(ToString::to_string)).collect(),
            contents: BTreeMap::new(),
            outdated: Vec::new(),
            unchanged: 0,
            failed_before: 0,
        };
        let mut jobs = vec![
            job("a", &["long text", "", "word"]),
            job("b", &["x", "another long text"]),
        ];
        limit_pages(&mut jobs, 3);
        let remaining: Vec<Vec<u32>> = jobs
            .iter()
            .map(|job| job.pages.keys().copied().collect())
            .collect();
        assert_eq!(remaining, [vec![2, 3], vec![1]]);
    }

    #[test]
    fn described_pages_are_selected_again_only_by_redo() {
        let described = Annotation {
            model: "a".to_owned(),
            outcome: Outcome::Described(Description::default()),
        };
        let failed = Annotation {
            model: "b".to_owned(),
            outcome: Outcome::Failed {
                class: "empty".to_owned(),
                why: String::new(),
            },
        };
        let needed = |annotation: Option<&Annotation>, redo| {
            let request = Request {
                redo,
                model: "b".to_owned(),
                ..Request::default()
            };
            needs_description(annotation, &request)
        };
        assert!(
            needed(None, None) && !needed(Some(&described), None) && !needed(Some(&failed), None)
        );
        assert!(
            !needed(Some(&described), Some(Redo::Failed))
                && needed(Some(&failed), Some(Redo::Failed))
        );
        assert!(needed(Some(&described), Some(Redo::OtherModel)));
        assert!(needed(Some(&described), Some(Redo::All)));
    }
}
