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
    /// The password of protected manuals. Never printed.
    pub password: Option<String>,
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
}

/// Returns the manuals with pages to describe, and the number of pages that need no description.
pub(super) fn select_pages(
    store: &dyn Store,
    request: &Request,
) -> Result<(Vec<Job>, u32), store::Error> {
    let (mut jobs, mut unchanged) = (Vec::new(), 0);
    let cards = store.cards()?.into_iter();
    let is_selected =
        |card: &ManualCard| request.manuals.is_empty() || request.manuals.contains(&card.id);
    for mut card in cards.filter(is_selected) {
        let scope = Scope {
            manual: Some(card.id.clone()),
            pages: request.pages.clone(),
        };
        let mut pages = BTreeMap::new();
        for page in store.records(&scope)? {
            let page = page?;
            match needs_description(page.description.as_deref(), request) {
                true => drop(pages.insert(page.id.number, page.text)),
                false => unchanged += 1,
            }
        }
        if let Some(path) = &request.path {
            card.path.clone_from(path);
        }
        if !pages.is_empty() {
            jobs.push(Job { card, pages });
        }
    }
    if let Some(limit) = request.limit {
        take_least_text(&mut jobs, limit);
    }
    Ok((jobs, unchanged))
}

fn needs_description(description: Option<&str>, request: &Request) -> bool {
    let Some(annotation) = description.and_then(Annotation::from_json) else {
        return true;
    };
    let has_failed = matches!(annotation.outcome, Outcome::Failed { .. });
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
    jobs.retain(|job| !job.pages.is_empty());
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
            needs_description(annotation.map(Annotation::to_json).as_deref(), &request)
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
