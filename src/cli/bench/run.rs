//! One run of a manual through the whole pipeline, into a temporary store.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Settings;
use crate::diagnostic::{self, Diagnostic};
use crate::embed::{self, Card};
use crate::library::{self, Indexing};
use crate::measure::{MemorySampler, Percentiles, Run, Setup, Stage};
use crate::page::PageSet;
use crate::pipeline::{self, Input, Plan, Profiles, RunStats};
use crate::render;
use crate::store::{self, Address, CollectionSelector, Mode};

use super::super::interrupt::STOP;
use super::super::progress;
use super::super::run::{mlx_memory, with_progress};
use super::super::temporary::TemporaryStore;
use super::super::ui::Ui;
use super::BenchArgs;

/// One combination of settings of a sweep.
pub(super) struct BenchPoint {
    settings: Settings,
    pub(super) card: Card,
    plan: Plan,
    pub(super) setup: Setup,
}

impl BenchPoint {
    pub(super) fn new(ui: &Ui, settings: Settings) -> Result<Self, Diagnostic> {
        let card = embed::card(&settings.embed)?;
        progress::fetch(ui, |on_progress| embed::fetch(&settings.embed, on_progress))?;
        let plan = library::memory_plan(&settings, &card)?;
        let setup = Setup {
            model: card.profile.model.clone(),
            profile: card.profile.id.clone(),
            device: card.device.clone(),
            store: match &settings.store.url {
                Address::File(_) => "sqlite".to_owned(),
                servers @ Address::Servers(_) => servers.to_string(),
            },
            batch_size: plan.batch_size,
            workers: settings.render.worker_count(),
        };
        Ok(Self {
            settings,
            card,
            plan,
            setup,
        })
    }

    /// Number of pages of a file that a run indexes.
    pub(super) fn count(&self, file: &Path, args: &BenchArgs) -> Result<u32, Diagnostic> {
        let inputs = pipeline::discover(
            &args.request(file, &args.input.pages)?,
            None,
            Profiles::NONE,
        )?;
        let Some(job) = inputs.items.first().and_then(Input::job) else {
            return Ok(0);
        };
        let mut renderer = render::open(&self.settings.render).map_err(pipeline::Error::from)?;
        let manual = renderer.open(&job.source).map_err(|e| {
            let error = Diagnostic::new(format!("{}: {e}", file.display()));
            let hint = diagnostic::input_hint(file, Some(&e));
            hint.into_iter().fold(error, Diagnostic::hint)
        })?;
        Ok(args.input.pages.within(manual.pages).len() as u32)
    }

    /// Runs one uncounted batch, so that one-time initialisation is not measured.
    pub(super) fn warm_up(&self, ui: &Ui, file: &Path, args: &BenchArgs) -> Result<(), Diagnostic> {
        let first = PageSet::between(1, self.plan.batch_size as u32);
        self.run(ui, file, &first, args).map(drop)
    }

    /// Indexes one manual and returns its name and the record of the run.
    pub(super) fn run(
        &self,
        ui: &Ui,
        file: &Path,
        pages: &PageSet,
        args: &BenchArgs,
    ) -> Result<(String, Run), Diagnostic> {
        let temporary = TemporaryStore::new(&self.settings.store)?;
        let selector = CollectionSelector::Profile(&self.card.profile);
        let store = store::open(&temporary.config, selector, Mode::Write)?.store;
        store.prepare(&self.card.profile)?;
        let render = self.settings.render.profile();
        let profiles = Profiles {
            render: &render,
            text: self.settings.embed.text_profile(),
        };
        let jobs = pipeline::discover(&args.request(file, pages)?, None, profiles)?;
        let indexing = Indexing {
            settings: &self.settings,
            card: &self.card,
            plan: &self.plan,
            store: store.as_ref(),
        };
        let memory = MemorySampler::start();
        let (stats, result) = with_progress(ui, &pipeline::Stage::ALL, |on_event| {
            indexing.run(&jobs, &STOP, on_event)
        });
        let peak = memory.peak();
        result
            .map_err(|e| Diagnostic::from(e).hint("TMPDIR sets the folder of temporary stores"))?;
        let manual = stats.manuals.first();
        if let Some(why) = manual.and_then(|m| m.error.as_ref()) {
            return Err(Diagnostic::new(format!("{}: {why}", file.display())));
        }
        let name = manual.map(|m| m.manual.clone()).unwrap_or_default();
        let mut run = record(&stats, peak);
        run.mlx = mlx_memory();
        Ok((name, run))
    }
}

/// The record of a run.
fn record(stats: &RunStats, (peak_memory, peak_device_memory): (u64, Option<u64>)) -> Run {
    let stage = |stage: pipeline::Stage| {
        let seconds = stats.seconds(stage);
        (
            stage.name().to_owned(),
            Stage {
                seconds,
                share: 0.0,
            },
        )
    };
    let stages: BTreeMap<String, Stage> = pipeline::Stage::ALL.map(stage).into();
    let batches = &stats.batches;
    let pages: usize = batches.iter().map(|batch| batch.pages).sum();
    let padded: f64 = batches
        .iter()
        .map(|batch| batch.padding * batch.pages as f64)
        .sum();
    let each = |batch: &pipeline::Batch| vec![batch.seconds / batch.pages as f64; batch.pages];
    let mut run = Run {
        pages: stats.total(|m| m.stored),
        failed: stats.total(|m| m.failed.len() as u32 + m.waiting),
        seconds: stats.wall - stats.load,
        load: stats.load,
        stages,
        model_waited: stats.model_waited,
        batch: Percentiles::of(batches.iter().map(|batch| batch.seconds).collect()),
        page: Percentiles::of(batches.iter().flat_map(each).collect()),
        largest_batch: batches.iter().map(|batch| batch.pages).max().unwrap_or(0),
        padding: padded / pages.max(1) as f64,
        peak_memory,
        peak_device_memory,
        mlx: None,
    };
    run.compute_shares();
    run
}
