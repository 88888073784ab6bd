//! Describes pages: sends prompts, parses the responses and retries failed pages.

use std::collections::BTreeMap;

use crate::page::{Description, ManualId, PageId};
use crate::vlm::reply::{self, FailureClass};
use crate::vlm::{Error, Finish, prompt};

use super::Event;
use super::retrying_client::{Attempt, Completion, CompletionResult, RetryingClient, shortened};

/// Images that cost less than this share of their expected tokens were dropped by the server, or scaled down too far to
/// read.
const MIN_IMAGE_TOKENS: f64 = 0.5;

/// A page to describe.
#[derive(Clone)]
pub(super) struct PageTask {
    pub(super) id: PageId,
    pub(super) prompt: prompt::PageImagePrompt,
    /// Its text layer.
    pub(super) text: String,
    /// Number of pixels of its image.
    pub(super) pixels: u64,
}

/// Outcome of a page, or of a manual.
pub(super) enum PageOutcome {
    Described {
        id: PageId,
        description: Description,
        tokens: u32,
    },
    Failed(PageId, FailureClass, String),
    Blank(PageId),
    /// A near-duplicate, and the page that it equals.
    Duplicate(PageId, PageId),
    /// A manual that cannot be read.
    Manual(ManualId, String),
    /// A page is tried again.
    Retried(FailureClass),
}

impl PageOutcome {
    /// Returns the page if it was described.
    pub(super) fn described(&self) -> Option<PageId> {
        match self {
            Self::Described { id, .. } => Some(id.clone()),
            _ => None,
        }
    }
}

/// Describes pages; shared by all workers.
pub(super) struct Describer<'a> {
    pub(super) client: RetryingClient<'a>,
}

impl Describer<'_> {
    /// Describes a group of pages: in one request, then the pages without a description one by one. Returns the
    /// outcomes up to the error, if any.
    pub(super) fn describe(&self, group: Vec<PageTask>) -> (Vec<PageOutcome>, Result<(), Error>) {
        let mut outcomes = Vec::new();
        let result = self.batch(group, &mut outcomes);
        (outcomes, result)
    }

    /// Describes a group; appends the outcomes to `outcomes`.
    fn batch(&self, group: Vec<PageTask>, outcomes: &mut Vec<PageOutcome>) -> Result<(), Error> {
        let mut remaining = group;
        if remaining.len() > 1 {
            let prompts: Vec<prompt::PageImagePrompt> =
                remaining.iter().map(|task| task.prompt.clone()).collect();
            let parts = prompt::several_pages(&prompts);
            let completion =
                self.client
                    .complete(&parts, remaining.len() as u32, Attempt::First)?;
            let text_layers: BTreeMap<u32, String> = remaining
                .iter()
                .map(|task| (task.prompt.page, task.text.clone()))
                .collect();
            let mut results = match completion {
                Ok(completion)
                    if self.image_was_dropped(
                        &completion.finish,
                        remaining.iter().map(|task| task.pixels).sum(),
                    ) =>
                {
                    text_layers
                        .keys()
                        .map(|&page| (page, Err(FailureClass::ImageDropped)))
                        .collect()
                }
                Ok(completion) => {
                    let descriptions = reply::parse_pages(
                        &completion.text,
                        completion.finish.truncated,
                        &text_layers,
                    );
                    self.split_tokens(descriptions, &completion, remaining.len())
                }
                Err((class, _)) => text_layers.keys().map(|&page| (page, Err(class))).collect(),
            };
            remaining.retain(|task| match results.remove(&task.prompt.page) {
                Some(Ok((description, tokens))) => {
                    outcomes.push(PageOutcome::Described {
                        id: task.id.clone(),
                        description,
                        tokens,
                    });
                    false
                }
                other => {
                    let class = other
                        .and_then(Result::err)
                        .unwrap_or(FailureClass::Mislabelled);
                    outcomes.push(self.retry(task, class));
                    true
                }
            });
        }
        for task in remaining {
            self.one(&task, outcomes)?;
        }
        Ok(())
    }

    /// Divides the tokens of a response among its pages.
    fn split_tokens(
        &self,
        descriptions: BTreeMap<u32, Result<Description, FailureClass>>,
        completion: &Completion,
        pages: usize,
    ) -> BTreeMap<u32, Result<(Description, u32), FailureClass>> {
        let tokens = completion.finish.completion_tokens.unwrap_or(0) / pages as u32;
        descriptions
            .into_iter()
            .map(|(page, result)| (page, result.map(|description| (description, tokens))))
            .collect()
    }

    /// Emits and returns a retry of the page.
    pub(super) fn retry(&self, task: &PageTask, class: FailureClass) -> PageOutcome {
        (self.client.on_event)(Event::Retried(task.id.clone(), class.to_string()));
        PageOutcome::Retried(class)
    }

    /// Describes one page, with retries at rising temperature.
    pub(super) fn one(
        &self,
        task: &PageTask,
        outcomes: &mut Vec<PageOutcome>,
    ) -> Result<(), Error> {
        let attempts = self.client.settings.attempts.max(1);
        let mut last = (FailureClass::Empty, String::new());
        for attempt in 0..attempts {
            let kind = match attempt {
                0 => Attempt::First,
                _ => Attempt::Retry(attempt),
            };
            let result = match self.complete(task, kind)? {
                Err(failed) => Err(failed),
                Ok(completion) => match self.image_was_dropped(&completion.finish, task.pixels) {
                    true => Err((
                        FailureClass::ImageDropped,
                        "the server dropped the image".to_owned(),
                    )),
                    false => {
                        reply::parse_page(&completion.text, completion.finish.truncated, &task.text)
                            .map(|description| {
                                (
                                    description,
                                    completion.finish.completion_tokens.unwrap_or(0),
                                )
                            })
                            .map_err(|class| (class, shortened(&completion.text)))
                    }
                },
            };
            match result {
                Ok((description, tokens)) => {
                    outcomes.push(PageOutcome::Described {
                        id: task.id.clone(),
                        description,
                        tokens,
                    });
                    return Ok(());
                }
                Err(failed) => last = failed,
            }
            if attempt + 1 < attempts {
                outcomes.push(self.retry(task, last.0));
            }
        }
        outcomes.push(PageOutcome::Failed(task.id.clone(), last.0, last.1));
        Ok(())
    }

    /// Sends the prompt of one page once. The last of three or more attempts uses the simple prompt.
    pub(super) fn complete(
        &self,
        task: &PageTask,
        kind: Attempt,
    ) -> Result<CompletionResult, Error> {
        let last = self.client.settings.attempts.saturating_sub(1);
        let parts = match kind {
            Attempt::Retry(attempt) if attempt > 1 && attempt == last => {
                prompt::one_page_short(&task.prompt)
            }
            _ => prompt::one_page(&task.prompt),
        };
        self.client.complete(&parts, 1, kind)
    }

    /// Whether a prompt cost so few tokens that its images cannot have been included.
    fn image_was_dropped(&self, finish: &Finish, pixels: u64) -> bool {
        let expected = pixels as f64 / f64::from(self.client.runner.card().pixels_per_token);
        finish
            .prompt_tokens
            .is_some_and(|tokens| f64::from(tokens) < expected * MIN_IMAGE_TOKENS)
    }
}
