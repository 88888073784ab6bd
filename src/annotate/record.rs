//! Result recorder: stores descriptions and failures, and counts them.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::Receiver;

use crate::page::{Annotation, Description, Outcome, Page, PageId};
use crate::store::{Catalogue, Scope, StoredPage, TextUpdate, WriteOutcome, Writer};
use crate::vlm::reply::FailureClass;

use super::describe_pages::PageOutcome;
use super::{DescribeStats, Error, Event, Failure};

/// This many pages with the same title and summary are a failure of the model.
const MAX_EQUAL_DESCRIPTIONS: usize = 3;

/// Records the outcomes of the workers; near-duplicates at the end, when their originals are stored.
///
/// # Errors
/// [`Error::Store`] when the store fails.
pub(super) fn record_results(
    (catalogue, writer): (&dyn Catalogue, &dyn Writer),
    model: &str,
    outcomes: Receiver<PageOutcome>,
    stats: &mut DescribeStats,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<(), Error> {
    let mut recorder = ResultRecorder {
        catalogue,
        writer,
        model,
        stats,
        done: HashSet::new(),
        described: HashSet::new(),
        pages_by_description: HashMap::new(),
        duplicates: Vec::new(),
    };
    for outcome in outcomes {
        recorder.record(outcome, on_event)?;
    }
    for (id, original) in std::mem::take(&mut recorder.duplicates) {
        recorder.copy_description(&id, &original)?;
        recorder.finish(id, on_event);
    }
    Ok(())
}

/// Stores outcomes and counts them.
struct ResultRecorder<'a> {
    catalogue: &'a dyn Catalogue,
    writer: &'a dyn Writer,
    model: &'a str,
    stats: &'a mut DescribeStats,
    /// Pages with an outcome.
    done: HashSet<PageId>,
    /// Pages with a description.
    described: HashSet<PageId>,
    /// Pages by title and summary of their description.
    pages_by_description: HashMap<(String, String), Vec<PageId>>,
    /// Near-duplicates and their originals.
    duplicates: Vec<(PageId, PageId)>,
}

impl ResultRecorder<'_> {
    fn record(
        &mut self,
        outcome: PageOutcome,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<(), Error> {
        match outcome {
            PageOutcome::Manual(id, error) => {
                self.stats.needs_password |= error.is_protected;
                self.stats.manuals.insert(id.to_string(), error.why);
                return Ok(());
            }
            PageOutcome::Retried(class) => {
                *self.stats.retries.entry(class.to_string()).or_default() += 1;
                return Ok(());
            }
            PageOutcome::Duplicate(id, original) => {
                self.duplicates.push((id, original));
                return Ok(());
            }
            PageOutcome::Blank(id) => {
                self.stats.blank += 1;
                self.stats.blank_pages.push(id.clone());
                self.finish(id, on_event);
            }
            PageOutcome::Failed(id, class, why) => {
                self.fail(&id, class, why)?;
                self.finish(id, on_event);
            }
            PageOutcome::Described {
                id,
                description,
                tokens,
            } => {
                self.stats.tokens += u64::from(tokens);
                self.record_described(&id, description)?;
                self.finish(id, on_event);
            }
        }
        Ok(())
    }

    /// Emits [`Event::Done`] for a page, once even if it has several outcomes.
    fn finish(&mut self, id: PageId, on_event: &(dyn Fn(Event) + Sync)) {
        if self.done.insert(id.clone()) {
            on_event(Event::Done(id));
        }
    }

    /// Removes an earlier outcome of the page from the counts.
    fn reset(&mut self, id: &PageId) {
        if self.described.remove(id) {
            self.stats.described -= 1;
        }
        let page = id.to_string();
        self.stats.failed.retain(|failure| failure.page != page);
    }

    fn record_described(&mut self, id: &PageId, description: Description) -> Result<(), Error> {
        self.reset(id);
        self.described.insert(id.clone());
        self.stats.described += 1;
        let key = (description.title.clone(), description.summary.clone());
        let pages = self.pages_by_description.entry(key).or_default();
        if !pages.contains(id) {
            pages.push(id.clone());
        }
        if pages.len() >= MAX_EQUAL_DESCRIPTIONS {
            // The first ones are stored already, as described.
            let just_reached = pages.len() == MAX_EQUAL_DESCRIPTIONS;
            let affected = if just_reached {
                pages.clone()
            } else {
                vec![id.clone()]
            };
            for page in affected {
                let why = "the model returns the same description for different pages".to_owned();
                self.fail(&page, FailureClass::SameForAll, why)?;
            }
            return Ok(());
        }
        self.store_outcome(id, Outcome::Described(description))
    }

    fn fail(&mut self, id: &PageId, class: FailureClass, why: String) -> Result<(), Error> {
        self.reset(id);
        self.stats.failed.push(Failure {
            page: id.to_string(),
            class: class.to_string(),
            why: why.clone(),
        });
        let class = class.to_string();
        self.store_outcome(id, Outcome::Failed { class, why })
    }

    /// Copies the description of `original`, if it has one, to its near-duplicate.
    fn copy_description(&mut self, id: &PageId, original: &PageId) -> Result<(), Error> {
        let page = self.page(original)?;
        let annotation = page.and_then(|page| Annotation::from_json(page.description.as_deref()?));
        match annotation.map(|annotation| annotation.outcome) {
            Some(Outcome::Described(description)) => {
                self.stats.duplicates += 1;
                let duplicate_of = Some(original.to_string());
                self.store_outcome(
                    id,
                    Outcome::Described(Description {
                        duplicate_of,
                        ..description
                    }),
                )
            }
            Some(Outcome::Failed { .. }) => self.fail(
                id,
                FailureClass::NotSent,
                format!("its original, {original}, failed"),
            ),
            // The run was stopped before it was described.
            None => Ok(()),
        }
    }

    fn page(&self, id: &PageId) -> Result<Option<StoredPage>, Error> {
        let mut found = self.catalogue.records(&Scope::page(id))?;
        Ok(found.next().transpose()?)
    }

    /// Stores the outcome of a page; its vectors stay. A page removed meanwhile is skipped.
    fn store_outcome(&mut self, id: &PageId, outcome: Outcome) -> Result<(), Error> {
        let Some(page) = self.page(id)? else {
            return Ok(());
        };
        let annotation = Annotation {
            model: self.model.to_owned(),
            outcome,
        };
        let page = StoredPage {
            description: Some(annotation.to_json()),
            text_vectors: TextUpdate::Keep,
            ..page
        };
        let outcomes = self.writer.upsert(&[page])?;
        let is_deferred =
            |(_, outcome): &Page<WriteOutcome>| matches!(outcome, Ok(WriteOutcome::Deferred(_)));
        self.stats.deferred |= outcomes.iter().any(is_deferred);
        Ok(())
    }
}
