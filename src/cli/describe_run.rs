//! A run of the VLM: opens the runner, shows progress, prints the summary; for `ingest describe` and `ingest FILE --describe`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::ProgressBar;

use crate::annotate::{self, Components, DescribeStats, Event, Request};
use crate::config::Settings;
use crate::diagnostic::{Diagnostic, PASSWORD_HINT};
use crate::library;
use crate::measure;
use crate::qwen::mlx;
use crate::store::Store;
use crate::units::{ByteSize, PagesPerSecond, Seconds, counted, pages};
use crate::vlm::{self, Card};

use super::interrupt::STOP;
use super::progress;
use super::run::{mlx_line, mlx_memory};
use super::ui::{Ui, table_columns};
use crate::reports::{table::fitted, terminal};

/// The failure class of pages whose image did not reach the model.
const IMAGE_DROPPED: &str = vlm::reply::FailureClass::ImageDropped.name();

/// Statistics of a run, and the error that ended it.
pub(super) struct DescribeOutcome {
    stats: DescribeStats,
    result: Result<(), annotate::Error>,
    mlx: Option<mlx::Memory>,
}

/// A [`DescribeOutcome`] as `--json` prints it.
#[derive(serde::Serialize)]
pub(super) struct DescribeReport<'a> {
    #[serde(flatten)]
    stats: &'a DescribeStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlx: Option<mlx::Memory>,
}

impl DescribeOutcome {
    /// That of a run whose pages other machines described.
    pub(super) fn of_workers(stats: DescribeStats) -> Self {
        Self {
            stats,
            result: Ok(()),
            mlx: None,
        }
    }

    pub(super) fn json(&self) -> DescribeReport<'_> {
        DescribeReport {
            stats: &self.stats,
            mlx: self.mlx,
        }
    }
}

/// Opens the configured runner and describes the requested pages.
pub(super) fn describe(
    ui: &Ui,
    settings: &Settings,
    store: &dyn Store,
    mut request: Request,
) -> Result<DescribeOutcome, Diagnostic> {
    let config = &settings.describe;
    if let Some(program) = config.command.first() {
        ui.info(format!(
            "`{program}` is started if no server answers; this may take minutes"
        ));
    }
    mlx::reset_peak_memory();
    progress::fetch(ui, |on_progress| vlm::fetch(config, on_progress))?;
    let runner = vlm::open(config, library::in_process_vlm_memory_limit(settings))?;
    let card = runner.card();
    print_runner(ui, card);
    request.model.clone_from(&card.model);
    let run_settings = library::describe_settings(settings, config).for_runner(card);
    let parts = Components {
        renderer: Box::new(library::upright_renderer(settings)),
        runner: &*runner,
        store,
        gauge: &|| runner.process().and_then(measure::process_memory),
    };
    let progress = DescribeProgress::new(ui);
    let (stats, result) = annotate::annotate(parts, &request, &run_settings, &STOP, &|event| {
        progress.on_event(event)
    });
    progress.finish();
    Ok(DescribeOutcome {
        stats,
        result,
        mlx: (config.runner == vlm::RunnerKind::Mlx)
            .then(mlx_memory)
            .flatten(),
    })
}

/// Prints the summary; returns the exit code.
pub(super) fn finish(ui: &Ui, outcome: DescribeOutcome) -> Result<u8, Diagnostic> {
    let DescribeOutcome { stats, result, mlx } = outcome;
    if !ui.json && !ui.quiet() {
        ui.text(summary(&stats))?;
        if let Some(mlx) = mlx {
            ui.data(mlx_line(mlx))?;
        }
    }
    if !ui.json && ui.quiet() {
        failure_lines(&stats)
            .into_iter()
            .for_each(|line| ui.warn(line));
    }
    if stats.needs_password {
        ui.hint(PASSWORD_HINT);
    }
    if stats.stopped {
        ui.warn("stopped; run the same command again to resume");
    }
    match result {
        Ok(()) => Ok(stats.exit_code(false)),
        Err(cause) => Err(Diagnostic {
            exit: stats.exit_code(true),
            ..cause.into()
        }),
    }
}

/// The failures, one per line.
fn failure_lines(stats: &DescribeStats) -> Vec<String> {
    let pages = stats.failed.iter();
    let pages = pages.map(|f| format!("{}: {}: {}", f.page, f.class, f.why));
    let manuals = stats.manuals.iter();
    let manuals = manuals.map(|(manual, why)| format!("{manual}: {why}"));
    pages.chain(manuals).collect()
}

pub(super) fn print_runner(ui: &Ui, card: &Card) {
    ui.info(format!("{} on {}", card.model, card.name));
    if let Some(warning) = &card.warning {
        ui.warn(format!("{}: {warning}", card.model));
    }
    if card.remote {
        ui.warn("pages are sent to another machine");
    }
}

/// A progress bar with pages, tokens per second and retries.
pub(super) struct DescribeProgress<'a> {
    ui: &'a Ui,
    bar: ProgressBar,
    counts: Arc<Counts>,
}

/// What the line of the progress bar counts apart from pages.
struct Counts {
    start: Instant,
    tokens: AtomicU64,
    retries: AtomicU64,
}

impl Counts {
    fn note(&self) -> String {
        let tokens = self.tokens.load(Ordering::Relaxed) as f64;
        let rate = tokens / self.start.elapsed().as_secs_f64();
        match self.retries.load(Ordering::Relaxed) {
            0 => format!("{rate:.0} tokens/s"),
            1 => format!("{rate:.0} tokens/s, 1 retry"),
            retries => format!("{rate:.0} tokens/s, {retries} retries"),
        }
    }
}

impl<'a> DescribeProgress<'a> {
    pub(super) fn new(ui: &'a Ui) -> Self {
        let counts = Arc::new(Counts {
            start: Instant::now(),
            tokens: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        });
        let of_bar = Arc::clone(&counts);
        Self {
            ui,
            bar: progress::bar(ui, "describe", progress::Unit::Pages, move || of_bar.note()),
            counts,
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn on_event(&self, event: Event) {
        match event {
            Event::Selected(pages) => self.bar.inc_length(pages as u64),
            Event::Done(_) => self.bar.inc(1),
            Event::Retried(page, why) => {
                self.counts.retries.fetch_add(1, Ordering::Relaxed);
                self.ui.detail(format!("{page}: {why}; retrying"));
            }
            Event::Completed(exchange) => {
                let tokens = exchange.finish.completion_tokens.unwrap_or(0);
                let tokens = u64::from(tokens);
                self.counts.tokens.fetch_add(tokens, Ordering::Relaxed);
                self.bar.tick();
            }
            Event::Note(line) => self.ui.warn(line),
        }
    }
}

fn summary(stats: &DescribeStats) -> String {
    let mut lines = Vec::new();
    if !stats.failed.is_empty() {
        let row = |failure: &annotate::Failure| {
            vec![
                failure.page.clone(),
                failure.class.clone(),
                failure.why.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = stats.failed.iter().map(row).collect();
        let header = ["page", "failure", "detail"];
        lines.push(fitted(&header, &rows, table_columns()));
    }
    for (manual, why) in &stats.manuals {
        lines.push(terminal::line(&format!("{manual}: {why}")));
    }
    let rate = PagesPerSecond(f64::from(stats.described) / stats.seconds.max(1e-9));
    let tokens = stats.tokens as f64 / stats.seconds.max(1e-9);
    lines.push(format!(
        "{} described in {} ({rate}, {tokens:.0} tokens/s); {}, {} blank, {} unchanged, {} failed",
        pages(stats.described),
        Seconds(stats.seconds),
        counted(stats.duplicates, "duplicate"),
        stats.blank,
        stats.unchanged,
        stats.failed.len()
    ));
    let memory = stats.memory.map(|bytes| ByteSize(bytes).to_string());
    let memory = memory.unwrap_or_else(|| "—".to_owned());
    lines.push(format!("model memory: {memory}"));
    if !stats.retries.is_empty() {
        let retries = stats
            .retries
            .iter()
            .map(|(class, times)| format!("{class} {times}"));
        lines.push(format!(
            "retries: {}",
            retries.collect::<Vec<_>>().join(", ")
        ));
    }
    if !stats.failed.is_empty() {
        lines.push("`--redo failed` describes the failed pages again".to_owned());
    } else if stats.failed_before > 0 {
        lines.push(format!(
            "{} failed before; `--redo failed` describes the failed pages again",
            pages(stats.failed_before)
        ));
    }
    let is_dropped = |failure: &annotate::Failure| failure.class == IMAGE_DROPPED;
    if stats.described == 0 && !stats.failed.is_empty() && stats.failed.iter().all(is_dropped) {
        lines.push("the model got no images; `--model` chooses one that takes images".to_owned());
    }
    lines.join("\n")
}
