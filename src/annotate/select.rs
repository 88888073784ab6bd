//! Which stored pages must be looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::page::{Annotation, ManualId, Outcome, PageSet};
use crate::store::{self, ManualCard, Scope, Store};

/// Which pages are asked about.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only these manuals; none named: all.
    pub manuals: Vec<ManualId>,
    /// Only these pages.
    pub pages: PageSet,
    /// At most so many; scans and pages of pictures first.
    pub limit: Option<usize>,
    /// Which of those that were asked about before are asked again.
    pub redo: Option<Redo>,
    /// Where the manual lies now.
    pub path: Option<PathBuf>,
    /// The password of manuals that need one. Never printed.
    pub password: Option<String>,
    /// The model that will be asked.
    pub model: String,
}

/// Pages that are asked about again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Redo {
    /// Those that failed.
    Failed,
    /// Those of another model, and those that failed.
    OtherModel,
    /// All.
    All,
}

/// A manual with pages to look at.
pub(super) struct Job {
    pub(super) card: ManualCard,
    /// The text layer of each page.
    pub(super) pages: BTreeMap<u32, String>,
}

/// The manuals with pages to look at, and how many pages have what they need.
pub(super) fn select_pages(
    store: &dyn Store,
    request: &Request,
) -> Result<(Vec<Job>, u32), store::Error> {
    let (mut jobs, mut kept) = (Vec::new(), 0);
    let cards = store.cards()?.into_iter();
    let wanted =
        |card: &ManualCard| request.manuals.is_empty() || request.manuals.contains(&card.id);
    for mut card in cards.filter(wanted) {
        let scope = Scope {
            manual: Some(card.id.clone()),
            pages: request.pages.clone(),
        };
        let mut pages = BTreeMap::new();
        for page in store.records(&scope)? {
            let page = page?;
            match needs_description(page.description.as_deref(), request) {
                true => drop(pages.insert(page.id.number, page.text)),
                false => kept += 1,
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
    Ok((jobs, kept))
}

fn needs_description(description: Option<&str>, request: &Request) -> bool {
    let Some(before) = description.and_then(Annotation::from_json) else {
        return true;
    };
    let has_failed = matches!(before.outcome, Outcome::Failed { .. });
    match request.redo {
        None => false,
        Some(Redo::Failed) => has_failed,
        Some(Redo::OtherModel) => has_failed || before.model != request.model,
        Some(Redo::All) => true,
    }
}

/// Keeps the pages with the least text: scans have none, pages of pictures little.
fn take_least_text(jobs: &mut Vec<Job>, limit: usize) {
    let mut lengths: Vec<(usize, usize, u32)> = Vec::new();
    for (job, at) in jobs.iter().zip(0..) {
        lengths.extend(
            job.pages
                .iter()
                .map(|(&page, text)| (text.trim().len(), at, page)),
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
    fn the_pages_with_the_least_text_come_first() {
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
        let left: Vec<Vec<u32>> = jobs
            .iter()
            .map(|job| job.pages.keys().copied().collect())
            .collect();
        assert_eq!(left, [vec![2, 3], vec![1]]);
    }

    #[test]
    fn what_was_described_is_asked_again_only_when_wanted() {
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
        let due = |annotation: Option<&Annotation>, redo| {
            let request = Request {
                redo,
                model: "b".to_owned(),
                ..Request::default()
            };
            needs_description(annotation.map(Annotation::to_json).as_deref(), &request)
        };
        assert!(due(None, None) && !due(Some(&described), None) && !due(Some(&failed), None));
        assert!(
            !due(Some(&described), Some(Redo::Failed)) && due(Some(&failed), Some(Redo::Failed))
        );
        assert!(due(Some(&described), Some(Redo::OtherModel)));
        assert!(due(Some(&described), Some(Redo::All)));
    }
}
