//! Asks about pages until there is an answer, or no hope.

use std::collections::BTreeMap;

use crate::page::{Description, ManualId, PageId};
use crate::vlm::reply::{self, FailureClass};
use crate::vlm::{Error, Finish, prompt};

use super::Event;
use super::client::{Answered, Line, Said, Try, shortened};

/// Pictures that cost less than this share of what they must were dropped, or shrunk beyond reading.
const DROPPED: f64 = 0.5;

/// A page on its way to the model.
#[derive(Clone)]
pub(super) struct Sight {
    pub(super) id: PageId,
    pub(super) prompt: prompt::PageImagePrompt,
    /// Its text layer.
    pub(super) text: String,
    /// Pixels of its picture.
    pub(super) pixels: u64,
}

/// What became of a page, or of a manual.
pub(super) enum Answer {
    Described {
        id: PageId,
        description: Description,
        tokens: u32,
    },
    Failed(PageId, FailureClass, String),
    Blank(PageId),
    /// A page, and the one that it equals.
    Twin(PageId, PageId),
    /// A manual that cannot be read.
    Manual(ManualId, String),
    /// A page is asked again.
    Again(FailureClass),
}

impl Answer {
    /// The page, if it was described.
    pub(super) fn described(&self) -> Option<PageId> {
        match self {
            Self::Described { id, .. } => Some(id.clone()),
            _ => None,
        }
    }
}

/// Asks about pages; shared by all lanes.
pub(super) struct Asker<'a> {
    pub(super) line: Line<'a>,
}

impl Asker<'_> {
    /// Asks about a group: together, and those that then have no answer alone. What is answered before the runner is given
    /// up counts.
    pub(super) fn ask(&self, group: Vec<Sight>) -> (Vec<Answer>, Result<(), Error>) {
        let mut answers = Vec::new();
        let result = self.all(group, &mut answers);
        (answers, result)
    }

    fn all(&self, group: Vec<Sight>, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let mut alone = group;
        if alone.len() > 1 {
            let sights: Vec<prompt::PageImagePrompt> =
                alone.iter().map(|sight| sight.prompt.clone()).collect();
            let parts = prompt::several_pages(&sights);
            let said = self.line.ask(&parts, alone.len() as u32, Try::First)?;
            let layers: BTreeMap<u32, String> = alone
                .iter()
                .map(|sight| (sight.prompt.page, sight.text.clone()))
                .collect();
            let mut found = match said {
                Ok(said)
                    if self.is_blind(&said.end, alone.iter().map(|sight| sight.pixels).sum()) =>
                {
                    layers
                        .keys()
                        .map(|&page| (page, Err(FailureClass::ImageDropped)))
                        .collect()
                }
                Ok(said) => {
                    let all = reply::parse_pages(&said.text, said.end.truncated, &layers);
                    self.shared(all, &said, alone.len())
                }
                Err((class, _)) => layers.keys().map(|&page| (page, Err(class))).collect(),
            };
            alone.retain(|sight| match found.remove(&sight.prompt.page) {
                Some(Ok((description, tokens))) => {
                    answers.push(Answer::Described {
                        id: sight.id.clone(),
                        description,
                        tokens,
                    });
                    false
                }
                other => {
                    let class = other
                        .and_then(Result::err)
                        .unwrap_or(FailureClass::Mislabelled);
                    answers.push(self.again(sight, class));
                    true
                }
            });
        }
        for sight in alone {
            self.single(&sight, answers)?;
        }
        Ok(())
    }

    /// Shares the cost of an answer among its pages.
    fn shared(
        &self,
        all: BTreeMap<u32, Result<Description, FailureClass>>,
        said: &Said,
        pages: usize,
    ) -> BTreeMap<u32, Result<(Description, u32), FailureClass>> {
        let tokens = said.end.completion_tokens.unwrap_or(0) / pages as u32;
        all.into_iter()
            .map(|(page, made)| (page, made.map(|made| (made, tokens))))
            .collect()
    }

    pub(super) fn again(&self, sight: &Sight, class: FailureClass) -> Answer {
        (self.line.watch)(Event::Again(sight.id.clone(), class.to_string()));
        Answer::Again(class)
    }

    /// Asks about one page, up the ladder.
    pub(super) fn single(&self, sight: &Sight, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let attempts = self.line.settings.attempts.max(1);
        let mut last = (FailureClass::Empty, String::new());
        for attempt in 0..attempts {
            let which = match attempt {
                0 => Try::First,
                _ => Try::Again(attempt),
            };
            let made = match self.say(sight, which)? {
                Err(failed) => Err(failed),
                Ok(said) => match self.is_blind(&said.end, sight.pixels) {
                    true => Err((
                        FailureClass::ImageDropped,
                        "the server did not look at the picture".to_owned(),
                    )),
                    false => reply::parse_page(&said.text, said.end.truncated, &sight.text)
                        .map(|made| (made, said.end.completion_tokens.unwrap_or(0)))
                        .map_err(|class| (class, shortened(&said.text))),
                },
            };
            match made {
                Ok((description, tokens)) => {
                    answers.push(Answer::Described {
                        id: sight.id.clone(),
                        description,
                        tokens,
                    });
                    return Ok(());
                }
                Err(failed) => last = failed,
            }
            if attempt + 1 < attempts {
                answers.push(self.again(sight, last.0));
            }
        }
        answers.push(Answer::Failed(sight.id.clone(), last.0, last.1));
        Ok(())
    }

    /// Asks about one page once. The last of several attempts asks for less.
    pub(super) fn say(&self, sight: &Sight, which: Try) -> Result<Answered, Error> {
        let last = self.line.settings.attempts.saturating_sub(1);
        let parts = match which {
            Try::Again(attempt) if attempt > 1 && attempt == last => {
                prompt::one_page_short(&sight.prompt)
            }
            _ => prompt::one_page(&sight.prompt),
        };
        self.line.ask(&parts, 1, which)
    }

    /// Whether a question cost so few tokens that its pictures cannot have been among them.
    fn is_blind(&self, end: &Finish, pixels: u64) -> bool {
        let must = pixels as f64 / f64::from(self.line.runner.card().pixels_per_token);
        end.prompt_tokens
            .is_some_and(|tokens| f64::from(tokens) < must * DROPPED)
    }
}
