//! Before the lanes: pages are rendered again and told apart. After them: what was said is stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::page::{Annotation, Description, Outcome, PageId, PageImage, PageSet};
use crate::render::{self, Renderer, Source};
use crate::store::{ManualCard, Scope, Store, StoredPage};
use crate::vlm::prompt;
use crate::vlm::reply::FailureClass;

use super::describe_pages::{Answer, Sight};
use super::duplicates::Album;
use super::select::Job;
use super::{Error, Event, Failure, Tally};

/// Quality of the JPEG that is sent.
const QUALITY: u8 = 90;
/// So many pages that are said to be the same are a model that does not look.
const SAME: usize = 3;

/// Renders pages and hands them on.
pub(super) struct Desk<'a> {
    /// Pages in a group.
    pub(super) interleave: usize,
    /// Any of them ends it.
    pub(super) stop: [&'a AtomicBool; 2],
    pub(super) out: SyncSender<Vec<Sight>>,
    pub(super) answered: SyncSender<Answer>,
}

/// Nobody takes pages any more.
struct Gone;

impl Desk<'_> {
    /// Looks at every page of every manual.
    pub(super) fn run(
        self,
        renderer: impl FnOnce() -> Result<Box<dyn Renderer>, render::Error>,
        jobs: &[Job],
    ) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut renderer = renderer()?;
        let mut album = Album::default();
        for job in jobs {
            match self.manual(&mut *renderer, &mut album, job) {
                Ok(Ok(())) => {}
                Ok(Err(Gone)) => break,
                Err(why) => {
                    let answer = Answer::Manual(job.card.id.clone(), why);
                    if self.answered.send(answer).is_err() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at the pages of a manual; an error is one of the manual as a whole.
    fn manual(
        &self,
        renderer: &mut dyn Renderer,
        album: &mut Album,
        job: &Job,
    ) -> Result<Result<(), Gone>, String> {
        let path = &job.card.path;
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        if ManualCard::digest(path).map_err(|e| failed(&e))? != job.card.file {
            return Err(failed(&"it is not the file that was stored"));
        }
        let source = Source {
            manual: job.card.id.clone(),
            path: path.clone(),
            password: None,
        };
        renderer.open(&source).map_err(|e| failed(&e))?;
        let which = PageSet::of(job.pages.keys().copied());
        let mut group = Vec::new();
        for (id, page) in renderer.pages(&which).map_err(|e| failed(&e))? {
            if self.stop.iter().any(|stop| stop.load(Ordering::Relaxed)) {
                return Ok(Err(Gone));
            }
            let text = job.pages.get(&id.number).cloned().unwrap_or_default();
            let told = match page {
                Err(cause) => Some(Answer::Failed(id, FailureClass::NotSent, cause.to_string())),
                Ok(page) if page.blank => Some(Answer::Blank(id)),
                Ok(page) => match album.twin(&id, &text, &page.image) {
                    Some(twin) => Some(Answer::Twin(id, twin)),
                    None => {
                        group.push(self.sight(job, id, text, &page.image));
                        None
                    }
                },
            };
            let full = group.len() >= self.interleave;
            if told.is_some_and(|answer| self.answered.send(answer).is_err())
                || full && self.out.send(std::mem::take(&mut group)).is_err()
            {
                return Ok(Err(Gone));
            }
        }
        match group.is_empty() || self.out.send(group).is_ok() {
            true => Ok(Ok(())),
            false => Ok(Err(Gone)),
        }
    }

    fn sight(&self, job: &Job, id: PageId, text: String, image: &PageImage) -> Sight {
        Sight {
            prompt: prompt::PageImagePrompt {
                page: id.number,
                page_count: job.card.pages,
                manual: job.card.id.to_string(),
                jpeg: jpeg(image),
            },
            pixels: image.size().area(),
            text,
            id,
        }
    }
}

fn jpeg(image: &PageImage) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    let size = image.size();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    // Writing into memory does not fail.
    drop(encoder.write_image(
        image.rgb(),
        size.width,
        size.height,
        ExtendedColorType::Rgb8,
    ));
    bytes.into()
}

/// Stores what comes from the lanes.
pub(super) fn store(
    store: &dyn Store,
    model: &str,
    answers: Receiver<Answer>,
    tally: &mut Tally,
    watch: &(dyn Fn(Event) + Sync),
) -> Result<(), Error> {
    let mut keeper = Keeper {
        store,
        model,
        tally,
        done: HashSet::new(),
        told: HashSet::new(),
        said: HashMap::new(),
        waiting: Vec::new(),
    };
    for answer in answers {
        keeper.take(answer, watch)?;
    }
    // Twins of pages that were described in the same run.
    for (id, twin) in std::mem::take(&mut keeper.waiting) {
        keeper.twin(&id, &twin)?;
        keeper.done(id, watch);
    }
    Ok(())
}

struct Keeper<'a> {
    store: &'a dyn Store,
    model: &'a str,
    tally: &'a mut Tally,
    /// Pages that something came of.
    done: HashSet<PageId>,
    /// Pages that have a description now.
    told: HashSet<PageId>,
    /// Which pages got which title and summary.
    said: HashMap<(String, String), Vec<PageId>>,
    /// Twins, and whose they are.
    waiting: Vec<(PageId, PageId)>,
}

impl Keeper<'_> {
    fn take(&mut self, answer: Answer, watch: &(dyn Fn(Event) + Sync)) -> Result<(), Error> {
        match answer {
            Answer::Manual(id, why) => {
                self.tally.manuals.insert(id.to_string(), why);
                return Ok(());
            }
            Answer::Again(class) => {
                *self.tally.retries.entry(class.to_string()).or_default() += 1;
                return Ok(());
            }
            Answer::Twin(id, twin) => {
                self.waiting.push((id, twin));
                return Ok(());
            }
            Answer::Blank(id) => {
                self.tally.blank += 1;
                self.done(id, watch);
            }
            Answer::Failed(id, class, why) => {
                self.fail(&id, class, why)?;
                self.done(id, watch);
            }
            Answer::Described {
                id,
                description,
                tokens,
            } => {
                self.tally.tokens += u64::from(tokens);
                self.described(&id, description)?;
                self.done(id, watch);
            }
        }
        Ok(())
    }

    /// Something came of a page; of some it does twice.
    fn done(&mut self, id: PageId, watch: &(dyn Fn(Event) + Sync)) {
        if self.done.insert(id.clone()) {
            watch(Event::Done(id));
        }
    }

    /// What was said of a page before counts no more.
    fn forget(&mut self, id: &PageId) {
        if self.told.remove(id) {
            self.tally.described -= 1;
        }
        let page = id.to_string();
        self.tally.failed.retain(|failure| failure.page != page);
    }

    fn described(&mut self, id: &PageId, description: Description) -> Result<(), Error> {
        self.forget(id);
        self.told.insert(id.clone());
        self.tally.described += 1;
        let key = (description.title.clone(), description.summary.clone());
        let same = self.said.entry(key).or_default();
        if !same.contains(id) {
            same.push(id.clone());
        }
        if same.len() >= SAME {
            // The first ones were stored before anybody could know.
            let stored = same.len() == SAME;
            let all = if stored {
                same.clone()
            } else {
                vec![id.clone()]
            };
            for page in all {
                let why = "the model says the same of different pages".to_owned();
                self.fail(&page, FailureClass::SameForAll, why)?;
            }
            return Ok(());
        }
        self.put(id, Outcome::Described(description))
    }

    fn fail(&mut self, id: &PageId, class: FailureClass, why: String) -> Result<(), Error> {
        self.forget(id);
        self.tally.failed.push(Failure {
            page: id.to_string(),
            class: class.to_string(),
            why: why.clone(),
        });
        let class = class.to_string();
        self.put(id, Outcome::Failed { class, why })
    }

    /// Gives a page the description of its twin, if that has one.
    fn twin(&mut self, id: &PageId, twin: &PageId) -> Result<(), Error> {
        let page = self.page(twin)?;
        let before = page.and_then(|page| Annotation::from_json(page.description.as_deref()?));
        match before.map(|annotation| annotation.outcome) {
            Some(Outcome::Described(description)) => {
                self.tally.twins += 1;
                let twin_of = Some(twin.to_string());
                self.put(
                    id,
                    Outcome::Described(Description {
                        twin_of,
                        ..description
                    }),
                )
            }
            Some(Outcome::Failed { .. }) => self.fail(
                id,
                FailureClass::NotSent,
                format!("so did its twin, {twin}"),
            ),
            // A run that was stopped did not come to it.
            None => Ok(()),
        }
    }

    fn page(&self, id: &PageId) -> Result<Option<StoredPage>, Error> {
        let mut found = self.store.records(&Scope::page(id))?;
        Ok(found.next().transpose()?)
    }

    /// Stores what came of a page; its vectors stay. A page that is gone meanwhile is no page any more.
    fn put(&self, id: &PageId, outcome: Outcome) -> Result<(), Error> {
        let Some(page) = self.page(id)? else {
            return Ok(());
        };
        let annotation = Annotation {
            model: self.model.to_owned(),
            outcome,
        };
        let page = StoredPage {
            description: Some(annotation.to_json()),
            ..page
        };
        self.store.upsert(&[page])?;
        Ok(())
    }
}
