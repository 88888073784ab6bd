//! `ingest describe`: stored pages, described by a vision-language model.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::annotate::{self, Event, Parts, Redo, Request, Tally};
use crate::config::Settings;
use crate::measure;
use crate::page::{Annotation, PageSet};
use crate::qwen::mlx;
use crate::render::{self, Renderer};
use crate::report::Report;
use crate::reports::table::aligned;
use crate::store::{self, Mode, Scope, Store, Which};
use crate::units::{ByteSize, Seconds};
use crate::vlm::{self, Card, RunnerKind};

use super::ingest::{STOP, heed_ctrl_c};
use super::ui::Ui;
use super::{Common, kit, progress};

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
    /// Write the descriptions that are stored as lines of JSON, and ask nobody
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &DescribeArgs) -> Result<ExitCode, Report> {
    let mut settings = common.settings()?;
    args.lay_over(&mut settings.describe, common.model());
    let mode = match args.export {
        Some(_) => Mode::Read,
        None => Mode::Write,
    };
    // Nothing is made where nothing was stored.
    let empty = |at| store::Error::Empty { at };
    let seen = store::open(&settings.store, Which::Last, Mode::Read)?;
    if seen.profile.is_none() {
        return Err(empty(seen.at).into());
    }
    drop(seen);
    let opened = store::open(&settings.store, Which::Last, mode)?;
    let store = opened.store;
    let profile = opened.profile.ok_or_else(|| empty(opened.at))?;
    let manual = args.manual.as_deref();
    let manual = manual
        .map(|name| super::search::manual(&*store, name))
        .transpose()?;
    if let Some(file) = &args.export {
        let scope = Scope {
            manual,
            pages: args.pages.clone(),
        };
        return export(ui, &*store, &scope, file).map(|()| ExitCode::SUCCESS);
    }
    store.prepare(&profile)?;
    heed_ctrl_c()?;
    let request = Request {
        manuals: manual.into_iter().collect(),
        pages: args.pages.clone(),
        limit: args.limit,
        redo: args.redo,
        path: args.pdf.clone(),
        model: String::new(),
    };
    let done = describe(ui, &settings, &*store, request)?;
    if ui.json {
        ui.json(&done.told())?;
    }
    tell(ui, done).map(ExitCode::from)
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

/// What came of it, and whether a part failed as a whole.
pub(super) struct Done {
    tally: Tally,
    result: Result<(), annotate::Error>,
    mlx: Option<mlx::Memory>,
}

/// What `--json` prints of it.
#[derive(serde::Serialize)]
pub(super) struct Told<'a> {
    #[serde(flatten)]
    tally: &'a Tally,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlx: Option<mlx::Memory>,
}

impl Done {
    pub(super) fn told(&self) -> Told<'_> {
        Told {
            tally: &self.tally,
            mlx: self.mlx,
        }
    }
}

/// Describes pages.
pub(super) fn describe(
    ui: &Ui,
    settings: &Settings,
    store: &dyn Store,
    mut request: Request,
) -> Result<Done, Report> {
    let config = &settings.describe;
    if let Some(program) = config.command.first() {
        ui.say(format!(
            "where no server answers, `{program}` is started; that may take minutes"
        ));
    }
    mlx::reset_peak_memory();
    progress::fetch(ui, |watch| vlm::fetch(config, watch))?;
    let runner = vlm::open(config, own_memory(settings))?;
    let card = runner.card();
    announce(ui, card);
    request.model.clone_from(&card.model);
    let chosen = |asked: usize, suits: usize| if asked == 0 { suits } else { asked };
    let how = annotate::Settings {
        lanes: chosen(config.lanes, card.lanes),
        interleave: chosen(config.interleave, card.interleave),
        ..how(settings, config)
    };
    let parts = Parts {
        renderer: Box::new(upright(settings)),
        runner: &*runner,
        store,
        gauge: &|| runner.process().and_then(measure::taken_by),
    };
    let bar = Bar::new(ui);
    let (tally, result) = annotate::annotate(parts, &request, &how, &STOP, &|event| bar.on(event));
    bar.bar.finish_and_clear();
    Ok(Done {
        tally,
        result,
        mlx: (config.runner == vlm::RunnerKind::Mlx)
            .then(kit::mlx_memory)
            .flatten(),
    })
}

/// Tells people how it went; returns the exit code.
pub(super) fn tell(ui: &Ui, done: Done) -> Result<u8, Report> {
    let Done { tally, result, mlx } = done;
    if !ui.json && !ui.quiet() {
        ui.data(summary(&tally))?;
        if let Some(mlx) = mlx {
            ui.data(kit::mlx_line(mlx))?;
        }
    }
    if tally.stopped {
        ui.warn("stopped; the same command goes on where it ended");
    }
    result.map_err(Report::from)?;
    Ok(tally.exit_code())
}

/// How pages are asked about, as the settings say.
pub(super) fn how(settings: &Settings, config: &vlm::Config) -> annotate::Settings {
    annotate::Settings {
        lanes: config.lanes,
        interleave: config.interleave,
        max_tokens: config.max_tokens,
        deadline: Duration::from_secs(config.deadline_s),
        attempts: config.attempts,
        unload_every: config.unload_every,
        canary_every: config.canary_every,
        memory: memory_limit(settings),
    }
}

/// Opens a renderer for pages that are described: upright, and as large as the settings say.
pub(super) fn upright(
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

/// Bytes of memory that the model may take: all of the machine, or less where that is wanted.
pub(super) fn memory_limit(settings: &Settings) -> u64 {
    let machine = kit::machine_memory();
    match settings.limits.memory_limit.0 {
        0 => machine,
        limit => limit.min(machine),
    }
}

/// Bytes of memory that a model in this process may take: less than that at which its memory is freed.
pub(super) fn own_memory(settings: &Settings) -> u64 {
    kit::allowance(settings).min(memory_limit(settings) / 4 * 3)
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
            Event::Found(pages) => self.bar.set_length(pages as u64),
            Event::Done(_) => self.bar.inc(1),
            Event::Again(page, why) => {
                self.again.fetch_add(1, Ordering::Relaxed);
                self.ui.detail(format!("{page}: {why}; asked again"));
            }
            Event::Asked(exchange) => {
                let tokens = u64::from(exchange.end.completion_tokens.unwrap_or(0));
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

fn summary(tally: &Tally) -> String {
    let mut lines = Vec::new();
    if !tally.failed.is_empty() {
        let row = |failure: &annotate::Failure| {
            vec![
                failure.page.clone(),
                failure.class.clone(),
                failure.why.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = tally.failed.iter().map(row).collect();
        lines.push(aligned(&["page", "failed", "what was said"], &rows));
    }
    for (manual, why) in &tally.manuals {
        lines.push(format!("{manual}: {why}"));
    }
    let rate = f64::from(tally.described) / tally.seconds.max(1e-9);
    let tokens = tally.tokens as f64 / tally.seconds.max(1e-9);
    lines.push(format!(
        "{} pages described in {} ({rate:.2} pages/s, {tokens:.0} tokens/s), {} twins, {} blank, {} had a description, {} failed",
        tally.described,
        Seconds(tally.seconds),
        tally.twins,
        tally.blank,
        tally.kept,
        tally.failed.len()
    ));
    let memory = tally.memory.map(|bytes| ByteSize(bytes).to_string());
    let memory = memory.unwrap_or_else(|| "—".to_owned());
    lines.push(format!("memory of the model: {memory}"));
    if !tally.retries.is_empty() {
        let all = tally
            .retries
            .iter()
            .map(|(class, times)| format!("{class} {times}"));
        lines.push(format!(
            "asked again: {}",
            all.collect::<Vec<_>>().join(", ")
        ));
    }
    if !tally.failed.is_empty() {
        lines.push("`--redo failed` asks again about those that failed".to_owned());
    }
    lines.join("\n")
}

/// Writes what is stored: whole, or not at all.
fn export(ui: &Ui, store: &dyn Store, scope: &Scope, file: &Path) -> Result<(), Report> {
    let failed = |e: &dyn std::fmt::Display| Report::plain(format!("{}: {e}", file.display()));
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
