//! `ingest describe`: describes stored pages with a vision-language model (VLM).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::annotate::{Redo, Request};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::distributed;
use crate::library;
use crate::page::{Annotation, PageSet};
use crate::store::{self, CollectionSelector, Mode, Opened, Scope, Store};
use crate::units::pages;
use crate::vectors::Profile;
use crate::vlm;

use super::distribute::{reject_detach, reject_passwords};
use super::passwords::PasswordArgs;
use super::run::nothing_stored;
use super::run::print_upgrade;
use super::runner_args::{RunnerArgs, validated};
use super::ui::Ui;
use super::{Common, describe_queue, describe_run, interrupt, output_file};

/// Describe stored pages with a vision-language model
///
/// Each page is rendered again from its file and sent to the model set in `[describe]` or by the options below. `--model` is
/// its name on the server, or a folder or a hub id for `--runner mlx`. Descriptions are searched together with the text
/// layer. An interrupted run resumes when the same command runs again. With a queue, workers describe them: `ingest work`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest describe --runner ollama --model qwen2.5vl:7b
  ingest describe --manual pump.pdf --pages 1-20 --redo all
  ingest describe --queue nats://studio:4222 --store http://studio:8080 --runner ollama --model qwen2.5vl:7b
  ingest describe --export descriptions.jsonl")]
pub(super) struct DescribeArgs {
    /// Manual to describe, instead of all
    #[arg(long, value_name = "NAME")]
    manual: Option<OsString>,
    /// Pages to include, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pages: PageSet,
    #[command(flatten)]
    runner: RunnerArgs,
    /// Concurrent requests
    #[arg(long, value_name = "COUNT")]
    lanes: Option<usize>,
    /// Pages per request
    #[arg(long, value_name = "PAGES")]
    interleave: Option<usize>,
    /// Maximum number of tokens per description
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Maximum number of pages; pages with the least text first
    #[arg(long, value_name = "PAGES")]
    limit: Option<usize>,
    /// Describe pages again: `failed`, `other-model`, or `all`
    #[arg(long, value_enum)]
    redo: Option<Redo>,
    /// New path of the PDF file of `--manual`
    #[arg(long, value_name = "PATH", requires = "manual")]
    pdf: Option<PathBuf>,
    #[command(flatten)]
    passwords: PasswordArgs,
    /// With a queue: end when all work is queued, and leave it to the workers
    #[arg(long, conflicts_with = "export")]
    detach: bool,
    /// Write the stored descriptions as JSON lines, and describe nothing; `-` for stdout
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

pub(super) fn run(
    ui: &mut Ui,
    common: &Common,
    args: &DescribeArgs,
) -> Result<ExitCode, Diagnostic> {
    let mut settings = common.settings()?;
    args.override_config(&mut settings.describe, common.model());
    validated(&settings.describe)?;
    let with_queue = args.export.is_none() && !settings.queue.url.is_empty();
    let mode = match args.export {
        Some(_) => Mode::Read,
        None if with_queue => {
            args.reject_with_queue()?;
            Mode::Direct
        }
        None => {
            reject_detach(args.detach)?;
            Mode::Write
        }
    };
    let (opened, profile) = open(&settings, mode)?;
    print_upgrade(ui, &opened);
    let store = &*opened.store;
    let named = args.manual.iter();
    let manuals = named
        .map(|name| library::find_manual(store, name).map(|card| card.id))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = &args.export {
        let scope = Scope {
            manuals,
            pages: args.pages.clone(),
        };
        return export(ui, store, &scope, file).map(|()| ExitCode::SUCCESS);
    }
    store.prepare(&profile)?;
    let request = Request {
        manuals,
        pages: args.pages.clone(),
        limit: args.limit,
        redo: args.redo,
        path: args.pdf.clone(),
        passwords: args.passwords.read()?,
        model: String::new(),
    };
    if with_queue {
        reject_passwords(&request.passwords)?;
        return describe_queue::run(ui, &settings, &opened, (request, args.detach));
    }
    interrupt::install_handler()?;
    let outcome = describe_run::describe(ui, &settings, store, request).map_err(nothing_stored)?;
    if ui.json {
        ui.json(&outcome.json())?;
    }
    describe_run::finish(ui, outcome).map(ExitCode::from)
}

/// Opens the store, which must have pages.
fn open(settings: &Settings, mode: Mode) -> Result<(Opened, Profile), Diagnostic> {
    let empty = |opened: Opened| store::Error::Empty {
        location: opened.location,
    };
    // Opening for writing would create the store.
    let existing = store::open(&settings.store, CollectionSelector::Last, Mode::Read)?;
    if existing.profile.is_none() {
        return Err(empty(existing).into());
    }
    drop(existing);
    let opened = match mode {
        Mode::Direct => distributed::open_store(settings, CollectionSelector::Last)?,
        mode => store::open(&settings.store, CollectionSelector::Last, mode)?,
    };
    match opened.profile.clone() {
        Some(profile) => Ok((opened, profile)),
        None => Err(empty(opened).into()),
    }
}

impl DescribeArgs {
    /// Options that a run of many machines does not have.
    fn reject_with_queue(&self) -> Result<(), Diagnostic> {
        let of_workers = [
            ("--url", self.runner.has_url()),
            ("--lanes", self.lanes.is_some()),
            ("--interleave", self.interleave.is_some()),
        ];
        match of_workers.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(Diagnostic::usage(format!(
                "{option} cannot be used with a queue"
            ))
            .hint("each worker has its own: section `[describe]` of its settings")),
            None => Ok(()),
        }
    }

    fn override_config(&self, config: &mut vlm::Config, model: Option<&str>) {
        self.runner.override_config(config, model);
        config.lanes = self.lanes.unwrap_or(config.lanes);
        config.interleave = self.interleave.unwrap_or(config.interleave);
        config.max_tokens = self.max_tokens.unwrap_or(config.max_tokens);
    }
}

/// Writes the stored descriptions as JSON lines.
fn export(ui: &Ui, store: &dyn Store, scope: &Scope, file: &Path) -> Result<(), Diagnostic> {
    let (mut lines, mut count) = (String::new(), 0_u32);
    for page in store.records(scope)? {
        let page = page?;
        let Some(annotation) = page.description.as_deref().and_then(Annotation::from_json) else {
            continue;
        };
        let line = json!({
            "manual": page.id.manual.as_str(), "page": page.id.number, "label": page.label,
            "annotation": annotation,
        });
        lines.push_str(&format!("{line}\n"));
        count += 1;
    }
    if file.as_os_str() == "-" {
        return ui.bytes(lines.as_bytes());
    }
    output_file::write(file, lines.as_bytes())?;
    ui.info(format!("{} written to {}", pages(count), file.display()));
    Ok(())
}
