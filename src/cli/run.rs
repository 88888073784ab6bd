//! Parts shared by several commands: input arguments, progress bars around a run, and its summary.

use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::library::{self, FlushOutcome};
use crate::page::PageSet;
use crate::pipeline::{self, LeftOut, Request, RunStats, Stage};
use crate::qwen::mlx;
use crate::store::{self, Mode, Opened, Store};
use crate::units::{ByteSize, PagesPerSecond, Seconds, pages};
use crate::vectors::Profile;

use super::passwords::PasswordArgs;
use super::progress::Progress;
use super::ui::{Ui, table_columns};
use crate::reports::{table::fitted, terminal};

/// Pages of the input files, and the passwords that open them.
#[derive(clap::Args, Debug)]
pub(super) struct InputArgs {
    /// Pages to include, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pub(super) pages: PageSet,
    #[command(flatten)]
    pub(super) passwords: PasswordArgs,
}

impl InputArgs {
    /// The request for some of the files.
    ///
    /// # Errors
    /// When passwords cannot be read.
    pub(super) fn request(&self, paths: &[PathBuf]) -> Result<Request, Diagnostic> {
        Ok(Request {
            paths: paths.to_vec(),
            pages: self.pages.clone(),
            passwords: self.passwords.read()?,
        })
    }
}

/// The error of a run that ends before its first page.
pub(super) fn nothing_stored(error: impl Into<Diagnostic>) -> Diagnostic {
    let error = error.into();
    Diagnostic {
        exit: error.exit.max(2),
        ..error
    }
}

/// Opens the store for pages of a model, prints its notes, and sends pages from the outbox.
pub(super) fn open_for_writing(
    ui: &Ui,
    config: &store::Config,
    profile: &Profile,
    mode: Mode,
) -> Result<Box<dyn Store>, Diagnostic> {
    let on_upgrade = |opened: &Opened| print_upgrade(ui, opened);
    let opened = library::open_for_writing(config, profile, mode, on_upgrade)?;
    if let Some(note) = &opened.note {
        ui.info(format!("{}: {note}", opened.location));
    }
    print_flush(ui, &opened.flushed);
    Ok(opened.store)
}

/// Prints what is done once with the pages of an earlier version; before [`store::Writer::prepare`].
pub(super) fn print_upgrade(ui: &Ui, opened: &Opened) {
    if let Some(upgrade) = &opened.upgrade {
        ui.info(format!("{}: {upgrade}", opened.location));
    }
}

/// Prints which pages of the outbox were stored, and which were refused.
pub(super) fn print_flush(ui: &Ui, outcome: &FlushOutcome) {
    for (page, why) in &outcome.refused {
        ui.warn(format!("{page}, from the outbox: {why}"));
    }
    if outcome.stored > 0 {
        ui.info(format!(
            "{} from the outbox stored",
            pages(outcome.stored as u64)
        ));
    }
}

/// The memory of MLX; `None` if MLX was not used.
pub(super) fn mlx_memory() -> Option<mlx::Memory> {
    Some(mlx::memory()).filter(|memory| memory.peak > 0)
}

/// The memory of MLX in one line.
pub(super) fn mlx_line(memory: mlx::Memory) -> String {
    let bytes = [memory.active, memory.cache, memory.peak];
    let [active, cache, peak] = bytes.map(ByteSize);
    format!("MLX memory: {active} active, {cache} cached, {peak} peak")
}

/// Prints which files of folders are not searchable; `--verbose` names them.
pub(super) fn print_left_out(ui: &Ui, left_out: &LeftOut) {
    if left_out.kinds.is_empty() {
        return;
    }
    ui.info(format!("left out: {left_out}"));
    for path in left_out.kinds.values().flatten() {
        ui.detail(format!("left out: {}", path.display()));
    }
}

/// Calls `run` with a callback that updates progress bars.
pub(super) fn with_progress<T>(
    ui: &Ui,
    stages: &[Stage],
    run: impl FnOnce(&(dyn Fn(pipeline::Event) + Sync)) -> T,
) -> T {
    let progress = Progress::new(ui, stages);
    let result = run(&|event| progress.on_event(&event));
    progress.finish();
    result
}

/// The summary of a run: a table with a row for each manual, and the totals.
pub(super) fn summary(stats: &RunStats) -> String {
    let mut header = vec!["manual", "pages", "stored", "unchanged", "failed"];
    let notable = NOTABLE.iter().filter(|(_, count)| stats.total(count) > 0);
    let notable: Vec<_> = notable.collect();
    header.extend(notable.iter().map(|(name, _)| name));
    header.extend(Stage::ALL.map(Stage::name));
    let row = |manual| manual_row(manual, &notable);
    let rows: Vec<Vec<String>> = stats.manuals.iter().map(row).collect();
    let waiting = stats.total(|m| m.waiting);
    let stored = stats.total(|m| m.stored);
    let rate = PagesPerSecond(if stats.wall > 0.0 {
        f64::from(stored) / stats.wall
    } else {
        0.0
    });
    let mut lines = fitted(&header, &rows, table_columns());
    lines.push_str(&format!("\n{} in {}", pages(stored), Seconds(stats.wall)));
    let model = stats.seconds(Stage::Embed);
    if stored > 0 && model > 0.0 {
        let share = 100.0 * stats.model_waited / (stats.model_waited + model).max(1e-9);
        lines.push_str(&format!(" ({rate}, model idle {share:.0} %)"));
    }
    if waiting > 0 {
        let names = stats.manuals.iter().filter(|m| m.waiting > 0);
        let names: Vec<String> = names
            .map(|m| format!("{} of {}", m.waiting, m.manual))
            .collect();
        lines.push_str(&format!(
            "\n{} queued for the server ({}); `ingest sync` sends them",
            pages(waiting),
            terminal::line(&names.join(", "))
        ));
    }
    lines
}

/// Columns of the summary that are shown only if they count something.
const NOTABLE: [NotableColumn; 4] = [
    ("images kept", |manual| manual.kept),
    ("blank", |manual| manual.blank),
    ("incomplete", |manual| manual.incomplete),
    ("unreadable text", |manual| manual.unreadable_text),
];

/// A header and what is below it.
type NotableColumn = (&'static str, fn(&pipeline::ManualStats) -> u32);

fn manual_row(manual: &pipeline::ManualStats, notable: &[&NotableColumn]) -> Vec<String> {
    let same = manual.same_as.as_ref();
    let name = same.map(|original| format!("{} (same as {original})", manual.manual));
    let mut row = vec![name.unwrap_or_else(|| manual.manual.clone())];
    let failed = manual.failed.len() as u32;
    row.extend([manual.pages, manual.stored, manual.unchanged].map(|n| n.to_string()));
    row.push(if manual.error.is_some() {
        "all".into()
    } else {
        failed.to_string()
    });
    row.extend(notable.iter().map(|(_, count)| count(manual).to_string()));
    row.extend(Stage::ALL.map(|stage| {
        format!(
            "{:.1} s",
            manual.seconds.get(&stage).copied().unwrap_or(0.0)
        )
    }));
    row
}
