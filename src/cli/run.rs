//! What several commands share: input arguments, progress bars around a run, and its summary.

use std::path::PathBuf;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::Card;
use crate::library::{self, FlushOutcome};
use crate::page::PageSet;
use crate::pipeline::{self, Plan, Request, RunStats, Stage};
use crate::qwen::mlx;
use crate::store::{self, Mode, Store};
use crate::units::{ByteSize, Seconds};
use crate::vectors::Profile;

use super::progress::Progress;
use super::ui::Ui;
use crate::reports::table::aligned;

/// Which pages of the files to read, and how to open them.
#[derive(clap::Args, Debug)]
pub(super) struct InputArgs {
    /// Only these pages, such as 1-20,33
    #[arg(long, default_value = "all", hide_default_value = true)]
    pub(super) pages: PageSet,
    /// Password of protected files
    #[arg(long, value_name = "WORD")]
    pub(super) password: Option<String>,
}

impl InputArgs {
    pub(super) fn request(&self, paths: &[PathBuf]) -> Request {
        Request {
            paths: paths.to_vec(),
            pages: self.pages.clone(),
            password: self.password.clone(),
        }
    }
}

/// Opens a store for pages of a model and says what a person should know about it; pages that waited are sent.
pub(super) fn open_for_writing(
    ui: &Ui,
    config: &store::Config,
    profile: &Profile,
    mode: Mode,
) -> Result<Box<dyn Store>, Diagnostic> {
    let opened = library::open_for_writing(config, profile, mode)?;
    if let Some(note) = &opened.note {
        ui.say(format!("{}: {note}", opened.location));
    }
    print_flush(ui, &opened.flushed);
    Ok(opened.store)
}

/// Says what became of pages that waited for a server.
pub(super) fn print_flush(ui: &Ui, outcome: &FlushOutcome) {
    for (page, why) in &outcome.refused {
        ui.warn(format!("{page}, which waited: {why}"));
    }
    if outcome.stored > 0 {
        ui.say(format!(
            "{} pages that waited are stored now",
            outcome.stored
        ));
    }
}

/// The memory that MLX holds, where it has computed.
pub(super) fn mlx_memory() -> Option<mlx::Memory> {
    Some(mlx::memory()).filter(|memory| memory.peak > 0)
}

/// The same, for people.
pub(super) fn mlx_line(memory: mlx::Memory) -> String {
    let bytes = [memory.active, memory.cache, memory.peak];
    let [active, cache, peak] = bytes.map(ByteSize);
    format!("memory of MLX: {active} held, {cache} kept for reuse, {peak} at most")
}

/// How a run works, as settings and plan say.
pub(super) fn pipeline_settings(
    settings: &Settings,
    card: &Card,
    plan: &Plan,
    pages: PageSet,
) -> pipeline::Settings {
    pipeline::Settings {
        prepare: card.prepare.clone(),
        render: settings.render.profile(),
        pages,
        limits: plan.limits,
        queue: library::RENDERED_QUEUE,
    }
}

/// Runs a flow under progress bars.
pub(super) fn with_progress<T>(
    ui: &Ui,
    stages: &[Stage],
    flow: impl FnOnce(&(dyn Fn(pipeline::Event) + Sync)) -> T,
) -> T {
    let progress = Progress::new(ui, stages);
    let done = flow(&|event| progress.on(&event));
    progress.finish();
    done
}

/// The table at the end: a row a manual, and the sum.
pub(super) fn summary(stats: &RunStats) -> String {
    let header = [
        "manual",
        "pages",
        "stored",
        "unchanged",
        "failed",
        "render",
        "prepare",
        "embed",
        "store",
    ];
    let rows: Vec<Vec<String>> = stats.manuals.iter().map(row).collect();
    let waiting = stats.total(|m| m.waiting);
    let stored = stats.total(|m| m.stored);
    let rate = if stats.wall > 0.0 {
        f64::from(stored) / stats.wall
    } else {
        0.0
    };
    let mut lines = aligned(&header, &rows);
    lines.push_str(&format!(
        "\n{stored} pages stored in {}",
        Seconds(stats.wall)
    ));
    let model = stats.seconds(Stage::Embed);
    if stored > 0 && model > 0.0 {
        let share = 100.0 * stats.model_waited / (stats.model_waited + model).max(1e-9);
        lines.push_str(&format!(
            " ({rate:.2} pages/s; the model waited {share:.0} % of its time)"
        ));
    }
    if waiting > 0 {
        let names = stats.manuals.iter().filter(|m| m.waiting > 0);
        let names: Vec<String> = names
            .map(|m| format!("{} of {}", m.waiting, m.manual))
            .collect();
        lines.push_str(&format!(
            "\n{waiting} pages wait for their server ({}); `ingest sync` sends them",
            names.join(", ")
        ));
    }
    lines
}

fn row(manual: &pipeline::ManualStats) -> Vec<String> {
    let mut row = vec![manual.manual.clone()];
    let failed = manual.failed.len() as u32;
    row.extend([manual.pages, manual.stored, manual.unchanged].map(|n| n.to_string()));
    row.push(if manual.error.is_some() {
        "all".into()
    } else {
        failed.to_string()
    });
    row.extend(Stage::ALL.map(|stage| {
        format!(
            "{:.1} s",
            manual.seconds.get(&stage).copied().unwrap_or(0.0)
        )
    }));
    row
}
