//! The options of commands whose model answers from pages: `ingest ask` and `ingest eval ask`.

use std::ffi::OsString;

use crate::answer::MAX_PAGES;
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::library;
use crate::page::PageSet;
use crate::store::{Scope, Store};
use crate::vlm::{self, Runner};

use super::describe_run::print_runner;
use super::passwords::PasswordArgs;
use super::runner_args::{RunnerArgs, validated};
use super::ui::Ui;
use super::{Common, progress};

/// Pages that are read, and the model that reads them.
#[derive(clap::Args, Debug)]
pub(super) struct ReadingArgs {
    /// Pages that the model reads, 5 at most
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=MAX_PAGES as i64))]
    pages: Option<u8>,
    /// Manual to ask, instead of all (can be repeated)
    #[arg(long = "manual", value_name = "NAME")]
    manuals: Vec<OsString>,
    #[command(flatten)]
    runner: RunnerArgs,
    /// Maximum number of tokens of an answer
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    #[command(flatten)]
    pub(super) passwords: PasswordArgs,
}

impl ReadingArgs {
    /// The settings with these options.
    pub(super) fn settings(&self, common: &Common) -> Result<Settings, Diagnostic> {
        let mut settings = common.settings()?;
        self.runner
            .override_config(&mut settings.describe, common.model());
        validated(&settings.describe)?;
        settings.ask.pages = self.pages.map_or(settings.ask.pages, usize::from);
        settings.ask.max_tokens = self.max_tokens.unwrap_or(settings.ask.max_tokens);
        Ok(settings)
    }

    /// The manuals to ask; none for all.
    pub(super) fn scope(&self, store: &dyn Store) -> Result<Scope, Diagnostic> {
        let manuals = self.manuals.iter();
        Ok(Scope {
            manuals: manuals
                .map(|name| library::find_manual(store, name).map(|card| card.id))
                .collect::<Result<_, _>>()?,
            pages: PageSet::all(),
        })
    }
}

/// Opens the configured model.
pub(super) fn open_runner(ui: &Ui, settings: &Settings) -> Result<Box<dyn Runner>, Diagnostic> {
    let config = &settings.describe;
    progress::fetch(ui, |on_progress| vlm::fetch(config, on_progress))?;
    let memory = library::in_process_vlm_memory_limit(settings);
    let runner = vlm::open(config, memory)?;
    print_runner(ui, runner.card());
    Ok(runner)
}
