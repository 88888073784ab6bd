//! Describes pages: sends prompts, parses the responses and retries failed pages.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::chat::{Attempt, Completion, CompletionResult, Failed, RetryingClient, shortened};
use crate::page::{Description, ManualId, PageId};
use crate::vlm::reply::{self, FailureClass};
use crate::vlm::{Error, Finish, prompt};

use super::{Event, Settings};

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
    Manual(ManualId, ManualError),
    /// A page is tried again.
    Retried(FailureClass),
}

/// Why a manual cannot be read.
pub(super) struct ManualError {
    pub(super) why: String,
    /// Whether it needs a password, or another one.
    pub(super) is_protected: bool,
}

impl From<String> for ManualError {
    fn from(why: String) -> Self {
        Self {
            why,
            is_protected: false,
        }
    }
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
    pub(super) settings: &'a Settings,
    on_event: &'a (dyn Fn(Event) + Sync),
    /// Pages that the server refused, until it answers another one: then it is their fault.
    refused: Mutex<Vec<RefusedPage>>,
}

/// A page that the server refused, with the reason.
struct RefusedPage {
    id: PageId,
    why: String,
}

impl RefusedPage {
    fn into_failed(self) -> PageOutcome {
        PageOutcome::Failed(self.id, FailureClass::Server, self.why)
    }
}

impl<'a> Describer<'a> {
    pub(super) fn new(
        client: RetryingClient<'a>,
        settings: &'a Settings,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        Self {
            client,
            settings,
            on_event,
            refused: Mutex::default(),
        }
    }

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
            if completion.is_ok() {
                outcomes.extend(self.refused_pages());
            }
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
                Err(Failed { class, .. }) => {
                    text_layers.keys().map(|&page| (page, Err(class))).collect()
                }
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
        (self.on_event)(Event::Retried(task.id.clone(), class.to_string()));
        PageOutcome::Retried(class)
    }

    /// Describes one page, with retries at rising temperature.
    pub(super) fn one(
        &self,
        task: &PageTask,
        outcomes: &mut Vec<PageOutcome>,
    ) -> Result<(), Error> {
        let attempts = self.settings.attempts.max(1);
        let mut last = (FailureClass::Empty, String::new());
        for attempt in 0..attempts {
            let kind = match attempt {
                0 => Attempt::First,
                _ => Attempt::Retry(attempt),
            };
            let result = match self.complete(task, kind)? {
                Err(Failed {
                    refusal: Some(cause),
                    ..
                }) => return self.hold_refused(task, cause, outcomes),
                // The client has tried it again.
                Err(failed) if failed.class == FailureClass::Server => {
                    last = (failed.class, failed.why);
                    break;
                }
                Err(failed) => Err((failed.class, failed.why)),
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
                    outcomes.extend(self.refused_pages());
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

    /// Keeps a refused page until another one is answered. If two are refused in a row, the server must answer a request
    /// about a test image.
    fn hold_refused(
        &self,
        task: &PageTask,
        cause: Error,
        outcomes: &mut Vec<PageOutcome>,
    ) -> Result<(), Error> {
        let is_second = {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.push(RefusedPage {
                id: task.id.clone(),
                why: cause.to_string(),
            });
            refused.len() > 1
        };
        if is_second {
            self.client.wait_for_server(0)?;
            outcomes.extend(self.refused_pages());
        }
        Ok(())
    }

    /// Returns the refused pages as failed: the server has answered another request.
    fn refused_pages(&self) -> Vec<PageOutcome> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.drain(..).map(RefusedPage::into_failed).collect()
    }

    /// Decides about a refused page after which no other one was sent; called at the end of a run.
    pub(super) fn settle(&self) -> (Vec<PageOutcome>, Result<(), Error>) {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_decided = refused.is_empty();
        drop(refused);
        if !is_decided && let Err(cause) = self.client.wait_for_server(0) {
            return (Vec::new(), Err(cause));
        }
        (self.refused_pages(), Ok(()))
    }

    /// Sends the prompt of one page once. The last of three or more attempts uses the simple prompt.
    pub(super) fn complete(
        &self,
        task: &PageTask,
        kind: Attempt,
    ) -> Result<CompletionResult, Error> {
        let last = self.settings.attempts.saturating_sub(1);
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
