//! Page selection: which stored pages need a description.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::page::{Annotation, ManualId, Outcome, PageSet};
use crate::store::{self, ManualCard, Scope, Store};

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
    /// The current path of the manual's file.
    pub path: Option<PathBuf>,
    /// Passwords of protected manuals. Never printed.
    pub passwords: Vec<String>,
    /// The model that describes them.
    pub model: String,
}

/// Pages to describe again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Redo {
    /// Pages that failed.
    Failed,
    /// Pages described by another model, and pages that failed.
    OtherModel,
    /// All pages.
    All,
}

/// A manual with pages to describe.
pub(super) struct Job {
    pub(super) card: ManualCard,
    /// The text layer of each page.
    pub(super) pages: BTreeMap<u32, String>,
    /// Pages that were stored from another version of the file.
    pub(super) outdated: Vec<u32>,
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

/// Selects the pages to describe.
pub(super) fn select_pages(
    store: &dyn Store,
    request: &Request,
) -> Result<Selection, store::Error> {
    let mut selection = Selection::default();
    let cards = store.cards()?.into_iter();
    let is_selected =
        |card: &ManualCard| request.manuals.is_empty() || request.manuals.contains(&card.id);
    for mut card in cards.filter(is_selected) {
        let scope = Scope {
            manuals: vec![card.id.clone()],
            pages: request.pages.clone(),
        };
        let (mut pages, mut outdated) = (BTreeMap::new(), Vec::new());
        for page in store.records(&scope)? {
            let page = page?;
            let annotation = page.description.as_deref().and_then(Annotation::from_json);
            if !needs_description(annotation.as_ref(), request) {
                selection.unchanged += 1;
                selection.failed_before += u32::from(annotation.is_some_and(|a| has_failed(&a)));
            } else if page.is_from(&card) {
                pages.insert(page.id.number, page.text);
            } else {
                outdated.push(page.id.number);
            }
        }
        if let Some(path) = &request.path {
            card.path.clone_from(path);
        }
        if !pages.is_empty() || !outdated.is_empty() {
            selection.jobs.push(Job {
                card,
                pages,
                outdated,
            });
        }
    }
    if let Some(limit) = request.limit {
        take_least_text(&mut selection.jobs, limit);
    }
    Ok(selection)
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

/// Keeps the `limit` pages with the least text: scans have none, pages of drawings little.
fn take_least_text(jobs: &mut Vec<Job>, limit: usize) {
    let mut lengths: Vec<(usize, usize, u32)> = Vec::new();
    for (job, index) in jobs.iter().zip(0..) {
        lengths.extend(
            job.pages
                .iter()
                .map(|(&page, text)| (text.trim().len(), index, page)),
        );
    }
    lengths.sort_unstable();
    for &(_, job, page) in lengths.iter().skip(limit) {
        jobs[job].pages.remove(&page);
    }
    jobs.retain(|job| !job.pages.is_empty() || !job.outdated.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Description;

    #[test]
    fn take_least_text_keeps_the_pages_with_the_least_text() {
        let job = |name: &str, texts: &[&str]| Job {
            card: ManualCard {
                id: ManualId::new(name),
                path: PathBuf::new(),
                file: String::new(),
                render: String::new(),
                pages: 9,
            },
            pages: (1..).zip(texts.iter().map(ToString::to_string)).collect(),
            outdated: Vec::new(),
        };
        let mut jobs = vec![
            job("a", &["long text", "", "word"]),
            job("b", &["x", "another long text"]),
        ];
        take_least_text(&mut jobs, 3);
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
