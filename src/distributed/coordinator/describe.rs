//! Runs that describe stored pages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::tally::Tally;
use super::workload::{Admission, Candidate, End, Rejection, RunFile, Workload};
use crate::annotate::{self, DescribeStats, Failure, Redo, Request, Selected};
use crate::config::Settings;
use crate::distributed::messages::RunManual;
use crate::distributed::{Error, schedule};
use crate::page::{Annotation, Outcome, PageId, PageSet};
use crate::pipeline;
use crate::queue::Queue;
use crate::render::{self, Renderer, Source};
use crate::store::{Scope, Store};
use crate::vlm::reply::FailureClass;

/// Describes the pages of a request that need it.
pub(super) struct DescribePages<'a> {
    settings: &'a Settings,
    queue: &'a Queue,
    store: &'a dyn Store,
    request: &'a Request,
    manuals: Vec<Selected>,
    stats: DescribeStats,
    renderer: Option<Box<dyn Renderer>>,
}

impl<'a> DescribePages<'a> {
    pub(super) fn new(
        (settings, queue): (&'a Settings, &'a Queue),
        store: &'a dyn Store,
        request: &'a Request,
    ) -> Self {
        Self {
            settings,
            queue,
            store,
            request,
            manuals: Vec::new(),
            stats: DescribeStats::default(),
            renderer: None,
        }
    }

    /// Checks that workers can have the file of a manual, and that it can be read; the inner error is why not.
    fn check(&mut self, file: &RunFile) -> Result<Result<(), Rejection>, Error> {
        if self.queue.has_file(&file.digest)? {
            return Ok(Ok(()));
        }
        if let Err(why) = self.manuals[file.index].card.verify_file() {
            let (why, cause) = (why.to_string(), None);
            return Ok(Err(Rejection { why, cause }));
        }
        let renderer = match &mut self.renderer {
            Some(renderer) => renderer,
            none => none.insert(render::open(&self.settings.render)?),
        };
        let source = Source {
            manual: file.manual.clone(),
            path: file.path.clone(),
            passwords: Vec::new(),
        };
        match renderer.open(&source) {
            Err(e @ render::Error::Library(_)) => Err(e.into()),
            Err(e) => Ok(Err(Rejection {
                why: format!("{}: {e}", file.path.display()),
                cause: Some(e),
            })),
            Ok(_) => Ok(Ok(())),
        }
    }

    /// The annotations of some pages of a manual, by number.
    fn annotations(
        &self,
        file: &RunFile,
        pages: PageSet,
    ) -> Result<BTreeMap<u32, Annotation>, Error> {
        let scope = Scope {
            manuals: vec![file.manual.clone()],
            pages,
        };
        let mut found = BTreeMap::new();
        for page in self.store.records(&scope)? {
            let page = page?;
            let annotation = page.description.as_deref().and_then(Annotation::from_json);
            found.extend(annotation.map(|annotation| (page.id.number, annotation)));
        }
        Ok(found)
    }

    /// Counts the pages of a manual as the store has them.
    fn count_pages(&mut self, file: &RunFile, tally: &Tally) -> Result<(), Error> {
        let Some(outcome) = tally.outcome(&file.digest) else {
            return Ok(());
        };
        let with_outcome = outcome.stored.iter().chain(outcome.failed.keys()).copied();
        let annotations = self.annotations(file, PageSet::of(with_outcome))?;
        let descriptions = outcome.descriptions;
        let stats = &mut self.stats;
        let mut fail = |page: u32, class: &str, why: &str| {
            stats.failed.push(Failure {
                page: PageId::new(&file.manual, page).to_string(),
                class: class.to_owned(),
                why: why.to_owned(),
            });
        };
        for page in outcome.stored {
            match annotations.get(page).map(|annotation| &annotation.outcome) {
                _ if descriptions.blank.contains(page) => stats.blank += 1,
                Some(Outcome::Described(described)) if described.duplicate_of.is_some() => {
                    stats.duplicates += 1;
                }
                Some(Outcome::Described(_)) => stats.described += 1,
                Some(Outcome::Failed { class, why }) => fail(*page, class, why),
                // The run was stopped before that was found out.
                None => {}
            }
        }
        for (page, reason) in outcome.failed {
            match annotations.get(page).map(|annotation| &annotation.outcome) {
                Some(Outcome::Failed { class, why }) => fail(*page, class, why),
                _ => fail(*page, FailureClass::NotSent.name(), reason),
            }
        }
        for (class, times) in &descriptions.retries {
            *stats.retries.entry(class.clone()).or_default() += times;
        }
        stats.tokens += descriptions.tokens;
        stats.memory = stats.memory.max(descriptions.memory);
        Ok(())
    }
}

impl Workload for DescribePages<'_> {
    type Stats = DescribeStats;
    /// Of two machines.
    const ASSUMED_SPEED: f64 = 0.5;

    fn discover(&mut self) -> Result<(), Error> {
        self.manuals = annotate::list(self.store, self.request)?;
        Ok(())
    }

    /// The options, not the pages: those that are described are left out when the run goes on.
    fn command(&self) -> String {
        let Request {
            manuals,
            pages,
            limit,
            redo,
            ..
        } = self.request;
        format!("{manuals:?} {pages} {limit:?} {redo:?}")
    }

    fn candidates(&self) -> Vec<Candidate> {
        let mut names = HashMap::new();
        let candidate = |(index, manual): (usize, &Selected)| {
            let card = &manual.card;
            match names.insert(card.file.clone(), card.id.clone()) {
                Some(other) if !manual.pages.is_empty() => {
                    let why = format!("has the same file as {other}; describe it with `--manual`");
                    Candidate::Rejected(index, Rejection { why, cause: None })
                }
                _ => Candidate::File(RunFile {
                    index,
                    manual: card.id.clone(),
                    digest: card.file.clone(),
                    path: card.path.clone(),
                    origin: card.origin(),
                }),
            }
        };
        self.manuals.iter().enumerate().map(candidate).collect()
    }

    fn limit(&mut self, recorded: &[RunManual]) {
        let Some(limit) = self.request.limit else {
            return;
        };
        let of_run: usize = recorded.iter().map(|entry| entry.todo().count()).sum();
        let is_recorded =
            |manual: &Selected| recorded.iter().any(|entry| entry.file == manual.card.file);
        for manual in self.manuals.iter_mut().filter(|manual| is_recorded(manual)) {
            manual.pages.clear();
        }
        annotate::take_least_text(&mut self.manuals, limit.saturating_sub(of_run));
    }

    fn admit(&mut self, file: &RunFile) -> Result<Admission, Error> {
        let manual = &self.manuals[file.index];
        let entry = RunManual {
            manual: file.manual.clone(),
            file: file.digest.clone(),
            pages: manual.card.pages,
            unchanged: manual.unchanged,
            failed_before: manual.failed_before,
            items: Vec::new(),
        };
        let todo: Vec<u32> = manual.pages.iter().map(|page| page.number).collect();
        if todo.is_empty() {
            return Ok(Admission::Complete(entry));
        }
        Ok(match self.check(file)? {
            Err(rejection) => Admission::Rejected(rejection),
            Ok(()) => Admission::Todo(entry, todo),
        })
    }

    /// The summary tells it.
    fn reject(&mut self, index: usize, rejection: Rejection) -> Option<pipeline::Event> {
        let is_protected = matches!(rejection.cause, Some(render::Error::Password { .. }));
        self.stats.needs_password |= is_protected;
        let manual = self.manuals[index].card.id.to_string();
        self.stats.manuals.insert(manual, rejection.why);
        None
    }

    /// Equal pages are in one item, so that a worker describes one of them.
    fn cut(&self, file: &RunFile, pages: &[u32], small: usize) -> Vec<PageSet> {
        let contents: HashMap<u32, &str> = self.manuals[file.index]
            .pages
            .iter()
            .map(|page| (page.number, page.content.as_str()))
            .collect();
        let content = |page: &u32| contents.get(page).copied().unwrap_or_default();
        schedule::cut_alike(pages, content, small)
    }

    fn redo(&self) -> Option<Redo> {
        self.request.redo
    }

    fn done(&self, file: &RunFile) -> Result<BTreeSet<u32>, Error> {
        let annotations = self.annotations(file, self.request.pages.clone())?;
        Ok(annotations.into_keys().collect())
    }

    fn count(&mut self, tally: &Tally, end: End) -> Result<(), Error> {
        for candidate in self.candidates() {
            if let Candidate::File(file) = candidate {
                self.count_pages(&file, tally)?;
            }
        }
        for manual in &self.manuals {
            let entry = tally.entry(&manual.card.file);
            let entry = entry.filter(|entry| entry.manual == manual.card.id);
            let before = entry.map(|entry| (entry.unchanged, entry.failed_before));
            let (unchanged, failed) = before.unwrap_or((manual.unchanged, manual.failed_before));
            self.stats.unchanged += unchanged;
            self.stats.failed_before += failed;
            if !manual.outdated.is_empty() {
                let why = || manual.card.changed_since(&manual.outdated).to_string();
                let manuals = &mut self.stats.manuals;
                manuals
                    .entry(manual.card.id.to_string())
                    .or_insert_with(why);
            }
        }
        self.stats.seconds = end.wall;
        self.stats.stopped = end.is_stopped;
        Ok(())
    }

    fn into_stats(self) -> DescribeStats {
        self.stats
    }
}
