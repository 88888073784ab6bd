//! A describing run: opens the runner, shows a bar, prints the summary. `ingest describe` and `ingest FILE --describe` share it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::annotate::{self, Components, DescribeStats, Event, Request};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::library;
use crate::measure;
use crate::qwen::mlx;
use crate::render::{self, Renderer};
use crate::store::Store;
use crate::units::{ByteSize, Seconds};
use crate::vlm::{self, Card};

use super::interrupt::STOP;
use super::progress;
use super::run::{mlx_line, mlx_memory};
use super::ui::Ui;
use crate::reports::table::aligned;

/// Outcome of a run, and whether a part failed as a whole.
pub(super) struct Outcome {
    stats: DescribeStats,
    result: Result<(), annotate::Error>,
    mlx: Option<mlx::Memory>,
}

/// The JSON form of an [`Outcome`].
#[derive(serde::Serialize)]
pub(super) struct OutcomeJson<'a> {
    #[serde(flatten)]
    stats: &'a DescribeStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlx: Option<mlx::Memory>,
}

impl Outcome {
    pub(super) fn json(&self) -> OutcomeJson<'_> {
        OutcomeJson {
            stats: &self.stats,
            mlx: self.mlx,
        }
    }
}

/// Opens the runner that the settings name and describes pages.
pub(super) fn describe(
    ui: &Ui,
    settings: &Settings,
    store: &dyn Store,
    mut request: Request,
) -> Result<Outcome, Diagnostic> {
    let config = &settings.describe;
    if let Some(program) = config.command.first() {
        ui.say(format!(
            "where no server answers, `{program}` is started; that may take minutes"
        ));
    }
    mlx::reset_peak_memory();
    progress::fetch(ui, |watch| vlm::fetch(config, watch))?;
    let runner = vlm::open(config, library::in_process_vlm_memory_limit(settings))?;
    let card = runner.card();
    announce(ui, card);
    request.model.clone_from(&card.model);
    let chosen = |asked: usize, suits: usize| if asked == 0 { suits } else { asked };
    let how = annotate::Settings {
        lanes: chosen(config.lanes, card.lanes),
        interleave: chosen(config.interleave, card.interleave),
        ..annotate_settings(settings, config)
    };
    let parts = Components {
        renderer: Box::new(upright_renderer(settings)),
        runner: &*runner,
        store,
        gauge: &|| runner.process().and_then(measure::process_memory),
    };
    let bar = Bar::new(ui);
    let (stats, result) = annotate::annotate(parts, &request, &how, &STOP, &|event| bar.on(event));
    bar.bar.finish_and_clear();
    Ok(Outcome {
        stats,
        result,
        mlx: (config.runner == vlm::RunnerKind::Mlx)
            .then(mlx_memory)
            .flatten(),
    })
}

/// Prints the summary; returns the exit code.
pub(super) fn finish(ui: &Ui, outcome: Outcome) -> Result<u8, Diagnostic> {
    let Outcome { stats, result, mlx } = outcome;
    if !ui.json && !ui.quiet() {
        ui.data(summary(&stats))?;
        if let Some(mlx) = mlx {
            ui.data(mlx_line(mlx))?;
        }
    }
    if stats.stopped {
        ui.warn("stopped; the same command goes on where it ended");
    }
    result.map_err(Diagnostic::from)?;
    Ok(stats.exit_code())
}

/// How pages are described, as the settings say.
pub(super) fn annotate_settings(settings: &Settings, config: &vlm::Config) -> annotate::Settings {
    annotate::Settings {
        lanes: config.lanes,
        interleave: config.interleave,
        max_tokens: config.max_tokens,
        deadline: Duration::from_secs(config.deadline_s),
        attempts: config.attempts,
        unload_every: config.unload_every,
        canary_every: config.canary_every,
        memory: library::vlm_memory_limit(settings),
    }
}

/// Opens a renderer for pages that are described: upright, and as large as the settings say.
pub(super) fn upright_renderer(
    settings: &Settings,
) -> impl FnOnce() -> Result<Box<dyn Renderer>, render::Error> + use<> {
    let config = settings.render.clone();
    let options = render::Options {
        upright: true,
        pixels: Some((settings.describe.megapixels * 1e6) as u64),
        ..render::Options::default()
    };
    move || render::open_with(&config, &options)
}

fn announce(ui: &Ui, card: &Card) {
    ui.say(format!("{} on {}", card.model, card.name));
    if let Some(warning) = &card.warning {
        ui.warn(format!("{}: {warning}", card.model));
    }
    if card.remote {
        ui.warn("pages are sent to another machine");
    }
}

/// A bar with what was made so far: pages, tokens, and how often pages were asked about again.
struct Bar<'a> {
    ui: &'a Ui,
    bar: ProgressBar,
    begun: Instant,
    tokens: AtomicU64,
    again: AtomicU64,
}

impl<'a> Bar<'a> {
    fn new(ui: &'a Ui) -> Self {
        let style = "describe {bar:30} {pos:>5}/{len} {per_sec:>12} {msg} {eta:>6} left";
        let style =
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ui.bars().add(ProgressBar::new(0).with_style(style));
        Self {
            ui,
            bar,
            begun: Instant::now(),
            tokens: AtomicU64::new(0),
            again: AtomicU64::new(0),
        }
    }

    fn on(&self, event: Event) {
        match event {
            Event::Selected(pages) => self.bar.set_length(pages as u64),
            Event::Done(_) => self.bar.inc(1),
            Event::Retried(page, why) => {
                self.again.fetch_add(1, Ordering::Relaxed);
                self.ui.detail(format!("{page}: {why}; asked again"));
            }
            Event::Completed(exchange) => {
                let tokens = u64::from(exchange.finish.completion_tokens.unwrap_or(0));
                let tokens = self.tokens.fetch_add(tokens, Ordering::Relaxed) + tokens;
                let rate = tokens as f64 / self.begun.elapsed().as_secs_f64();
                let again = self.again.load(Ordering::Relaxed);
                self.bar
                    .set_message(format!("{rate:.0} tokens/s, {again} again,"));
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
        lines.push(aligned(&["page", "failed", "what was said"], &rows));
    }
    for (manual, why) in &stats.manuals {
        lines.push(format!("{manual}: {why}"));
    }
    let rate = f64::from(stats.described) / stats.seconds.max(1e-9);
    let tokens = stats.tokens as f64 / stats.seconds.max(1e-9);
    lines.push(format!(
        "{} pages described in {} ({rate:.2} pages/s, {tokens:.0} tokens/s), {} twins, {} blank, {} had a description, {} failed",
        stats.described,
        Seconds(stats.seconds),
        stats.duplicates,
        stats.blank,
        stats.unchanged,
        stats.failed.len()
    ));
    let memory = stats.memory.map(|bytes| ByteSize(bytes).to_string());
    let memory = memory.unwrap_or_else(|| "—".to_owned());
    lines.push(format!("memory of the model: {memory}"));
    if !stats.retries.is_empty() {
        let all = stats
            .retries
            .iter()
            .map(|(class, times)| format!("{class} {times}"));
        lines.push(format!(
            "asked again: {}",
            all.collect::<Vec<_>>().join(", ")
        ));
    }
    if !stats.failed.is_empty() {
        lines.push("`--redo failed` asks again about those that failed".to_owned());
    }
    lines.join("\n")
}
