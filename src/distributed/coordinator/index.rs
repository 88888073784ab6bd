//! Runs that index files: the pages that the store lacks are rendered, embedded and stored.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::tally::Tally;
use super::workload::{Admission, Candidate, End, Rejection, RunFile, Workload};
use crate::config::Settings;
use crate::distributed::messages::RunManual;
use crate::distributed::{Error, schedule};
use crate::page::PageSet;
use crate::pipeline::{self, Input, Inputs, Job, LeftOut, Profiles, Request, RunStats};
use crate::queue::FileAccess;
use crate::render::{self, Renderer};
use crate::store::{Catalogue, ManualCard, Store};

/// What an indexing run did.
pub struct Indexed {
    /// As of a run on one machine.
    pub stats: RunStats,
    /// Files of folders that were left out.
    pub left_out: LeftOut,
}

/// Indexes the files of a request.
pub(super) struct IndexFiles<'a> {
    settings: &'a Settings,
    store: &'a dyn Store,
    request: &'a Request,
    inputs: Inputs,
    stats: RunStats,
    renderer: Option<Box<dyn Renderer>>,
}

impl<'a> IndexFiles<'a> {
    pub(super) fn new(settings: &'a Settings, store: &'a dyn Store, request: &'a Request) -> Self {
        Self {
            settings,
            store,
            request,
            inputs: Inputs::default(),
            stats: RunStats::default(),
            renderer: None,
        }
    }

    fn job(&self, file: &RunFile) -> Option<&Job> {
        self.inputs.items.get(file.index)?.job()
    }

    fn card(&self, job: &Job, pages: u32) -> ManualCard {
        ManualCard {
            id: job.source.manual.clone(),
            path: job.path.clone(),
            file: job.file.clone(),
            render: self.settings.render.profile(),
            pages,
        }
    }

    /// Counts the pages of a file; the inner error is why it cannot be read.
    fn open(&mut self, job: &Job) -> Result<Result<u32, Rejection>, Error> {
        let renderer = match &mut self.renderer {
            Some(renderer) => renderer,
            none => none.insert(render::open(&self.settings.render)?),
        };
        match renderer.open(&job.source) {
            Err(e @ render::Error::Library(_)) => Err(e.into()),
            Err(e) => Ok(Err(Rejection {
                why: e.to_string(),
                cause: Some(e),
            })),
            Ok(manual) => Ok(Ok(manual.pages)),
        }
    }
}

impl Workload for IndexFiles<'_> {
    type Stats = Indexed;

    fn discover(&mut self) -> Result<(), Error> {
        let render = self.settings.render.profile();
        let profiles = Profiles {
            render: &render,
            text: self.settings.embed.text_profile(),
        };
        let catalogue = Some(self.store as &dyn Catalogue);
        self.inputs = pipeline::discover(self.request, catalogue, profiles)?;
        self.stats.manuals = pipeline::empty_stats(&self.inputs.items);
        Ok(())
    }

    fn command(&self) -> String {
        let jobs = self.inputs.items.iter().filter_map(Input::job);
        let mut files: Vec<&str> = jobs.map(|job| job.file.as_str()).collect();
        files.sort_unstable();
        format!("{} {}", self.request.pages, files.join(" "))
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(index, input): (usize, &Input)| match input {
            Input::Job(job) => Some(Candidate::File(RunFile {
                index,
                manual: job.source.manual.clone(),
                digest: job.file.clone(),
                path: job.source.path.clone(),
                origin: job.origin.clone(),
            })),
            Input::Twin(_) => None,
            Input::Rejected(rejected) => {
                let rejection = Rejection {
                    why: rejected.why.clone(),
                    cause: None,
                };
                Some(Candidate::Rejected(index, rejection))
            }
        };
        let all = self.inputs.items.iter().enumerate();
        all.filter_map(candidate).collect()
    }

    /// Counts the pages of a file and writes the record of its manual.
    fn admit(&mut self, file: &RunFile) -> Result<Admission, Error> {
        let rejected = |why: String| {
            let cause = None;
            Ok(Admission::Rejected(Rejection { why, cause }))
        };
        let Some(job) = self.job(file).cloned() else {
            return rejected("it is not an input".to_owned());
        };
        let entry = |pages: u32, unchanged: u32| RunManual {
            manual: job.source.manual.clone(),
            file: job.file.clone(),
            pages,
            unchanged,
            failed_before: 0,
            items: Vec::new(),
        };
        if let Some(unchanged) = job.unchanged {
            let pages = job.pages.unwrap_or(unchanged);
            if job.moved {
                self.store.upsert_manual(&self.card(&job, pages))?;
            }
            return Ok(Admission::Complete(entry(pages, unchanged)));
        }
        let pages = match self.open(&job)? {
            Err(rejection) => return Ok(Admission::Rejected(rejection)),
            Ok(pages) => pages,
        };
        let requested = job.selection.within(pages);
        if requested.is_empty() {
            let why = format!("has none of the requested pages (page count: {pages})");
            return rejected(why);
        }
        self.store.upsert_manual(&self.card(&job, pages))?;
        if job.fingerprints.keys().any(|&page| page > pages) {
            let beyond = PageSet::starting_at(pages + 1);
            self.store.remove(&job.source.manual, &beyond)?;
        }
        let (current, todo): (Vec<u32>, Vec<u32>) =
            requested.iter().partition(|page| job.is_current(**page));
        Ok(Admission::Todo(entry(pages, current.len() as u32), todo))
    }

    fn reject(&mut self, index: usize, rejection: Rejection) -> Option<pipeline::Event> {
        let manual = &mut self.stats.manuals[index];
        manual.error = Some(rejection.why.clone());
        Some(pipeline::Event::ManualFailed {
            path: manual.path.clone(),
            why: rejection.why,
            cause: rejection.cause.map(Arc::new),
        })
    }

    fn cut(&self, file: &RunFile, pages: &[u32], small: usize) -> Vec<PageSet> {
        let size = match self.settings.queue.files {
            FileAccess::Shared => schedule::ITEM_PAGES,
            _ => schedule::item_pages(file.bytes(), pages.len()),
        };
        schedule::cut(pages, size, small)
    }

    fn done(&self, file: &RunFile) -> Result<BTreeSet<u32>, Error> {
        let stored = self.store.fingerprints(&file.manual)?;
        let current = stored.iter().filter(|page| page.origin == file.origin);
        Ok(current.map(|page| page.number).collect())
    }

    fn count(&mut self, tally: &Tally, end: End) -> Result<(), Error> {
        for (index, input) in self.inputs.items.iter().enumerate() {
            if let Some(job) = input.job() {
                tally.finish(&job.file, &mut self.stats.manuals[index]);
            }
        }
        pipeline::count_twins(&self.inputs.items, &mut self.stats);
        self.stats.wall = end.wall;
        self.stats.stopped = end.is_stopped;
        Ok(())
    }

    fn record(&self, file: &RunFile) -> Result<(), Error> {
        let manual = &self.stats.manuals[file.index];
        if manual.stored as usize + manual.failed.len() > 0 {
            let elapsed = Duration::from_secs_f64(self.stats.wall);
            let run = pipeline::last_run(manual, elapsed);
            self.store.record_run(&file.manual, &run)?;
        }
        Ok(())
    }

    fn into_stats(self) -> Indexed {
        Indexed {
            stats: self.stats,
            left_out: self.inputs.left_out,
        }
    }
}
