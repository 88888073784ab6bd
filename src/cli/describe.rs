//! `ingest describe`: stored pages, described by a vision-language model.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::annotate::{Redo, Request};
use crate::diagnostic::Diagnostic;
use crate::library;
use crate::page::{Annotation, PageSet};
use crate::store::{self, CollectionSelector, Mode, Scope, Store};
use crate::vlm::{self, RunnerKind};

use super::ui::Ui;
use super::{Common, describe_run, interrupt};

/// Describe stored pages by a vision-language model
///
/// Each page is rendered again from its file and shown to the model that `[describe]` names, or the flags here; `--model` is
/// its name on the server, for `--runner mlx` a folder or a hub id. What it says is searched beside the words of the page.
/// A run that was ended goes on where it was.
#[derive(clap::Args, Debug)]
pub(super) struct DescribeArgs {
    /// Only this manual
    #[arg(long, value_name = "NAME")]
    manual: Option<String>,
    /// Only these pages, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pages: PageSet,
    /// What serves the model
    #[arg(long, value_enum)]
    runner: Option<RunnerKind>,
    /// Its address
    #[arg(long)]
    url: Option<String>,
    /// Requests at once
    #[arg(long, value_name = "COUNT")]
    lanes: Option<usize>,
    /// Pages in one request
    #[arg(long, value_name = "PAGES")]
    interleave: Option<usize>,
    /// Tokens that the description of a page may take
    #[arg(long, value_name = "COUNT")]
    max_tokens: Option<u32>,
    /// At most so many pages; scans and pages of pictures first
    #[arg(long, value_name = "PAGES")]
    limit: Option<usize>,
    /// Ask again about pages that were asked about before
    #[arg(long, value_enum)]
    redo: Option<Redo>,
    /// Where the manual lies now
    #[arg(long, value_name = "PATH", requires = "manual")]
    pdf: Option<PathBuf>,
    /// Password of protected files
    #[arg(long, value_name = "WORD")]
    password: Option<String>,
    /// Write the descriptions that are stored as lines of JSON, and ask nobody
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

pub(super) fn run(
    ui: &mut Ui,
    common: &Common,
    args: &DescribeArgs,
) -> Result<ExitCode, Diagnostic> {
    let mut settings = common.settings()?;
    args.lay_over(&mut settings.describe, common.model());
    let mode = match args.export {
        Some(_) => Mode::Read,
        None => Mode::Write,
    };
    // Nothing is made where nothing was stored.
    let empty = |location| store::Error::Empty { location };
    let seen = store::open(&settings.store, CollectionSelector::Last, Mode::Read)?;
    if seen.profile.is_none() {
        return Err(empty(seen.location).into());
    }
    drop(seen);
    let opened = store::open(&settings.store, CollectionSelector::Last, mode)?;
    let store = opened.store;
    let profile = opened.profile.ok_or_else(|| empty(opened.location))?;
    let manual = args.manual.as_deref();
    let manual = manual
        .map(|name| library::find_manual(&*store, name).map(|card| card.id))
        .transpose()?;
    if let Some(file) = &args.export {
        let scope = Scope {
            manual,
            pages: args.pages.clone(),
        };
        return export(ui, &*store, &scope, file).map(|()| ExitCode::SUCCESS);
    }
    store.prepare(&profile)?;
    interrupt::install_handler()?;
    let request = Request {
        manuals: manual.into_iter().collect(),
        pages: args.pages.clone(),
        limit: args.limit,
        redo: args.redo,
        path: args.pdf.clone(),
        password: args.password.clone(),
        model: String::new(),
    };
    let outcome = describe_run::describe(ui, &settings, &*store, request)?;
    if ui.json {
        ui.json(&outcome.json())?;
    }
    describe_run::finish(ui, outcome).map(ExitCode::from)
}

impl DescribeArgs {
    fn lay_over(&self, config: &mut vlm::Config, model: Option<&str>) {
        if self.runner.is_some() || self.url.is_some() {
            // The command starts the server that the settings name, not another one.
            config.command.clear();
        }
        config.runner = self.runner.unwrap_or(config.runner);
        config.url = self.url.clone().unwrap_or(std::mem::take(&mut config.url));
        config.model = model.map_or_else(|| std::mem::take(&mut config.model), str::to_owned);
        config.lanes = self.lanes.unwrap_or(config.lanes);
        config.interleave = self.interleave.unwrap_or(config.interleave);
        config.max_tokens = self.max_tokens.unwrap_or(config.max_tokens);
    }
}

/// Writes what is stored: whole, or not at all.
fn export(ui: &Ui, store: &dyn Store, scope: &Scope, file: &Path) -> Result<(), Diagnostic> {
    let failed = |e: &dyn std::fmt::Display| Diagnostic::new(format!("{}: {e}", file.display()));
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut out = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
        .map_err(|e| failed(&e))?;
    let mut count = 0;
    for page in store.records(scope)? {
        let page = page?;
        let Some(annotation) = page.description.as_deref().and_then(Annotation::from_json) else {
            continue;
        };
        let line = json!({
            "manual": page.id.manual.as_str(), "page": page.id.number, "label": page.label,
            "annotation": annotation,
        });
        writeln!(out, "{line}").map_err(|e| failed(&e))?;
        count += 1;
    }
    out.persist(file).map_err(|e| failed(&e.error))?;
    ui.say(format!("{count} pages written to {}", file.display()));
    Ok(())
}
