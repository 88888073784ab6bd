//! `ingest search`: the page that answers.

use std::io::BufRead;
use std::process::ExitCode;

use crate::diagnostic::Diagnostic;
use crate::embed::{self, Embedder};
use crate::library::{self, Library};
use crate::page::PageSet;
use crate::search::{self, Mode, SearchHit, SearchRequest};
use crate::store::{Scope, TopK};

use super::Common;
use super::ui::Ui;

/// Find the pages that answer a question
#[derive(clap::Args, Debug)]
pub(super) struct SearchArgs {
    /// The question; `-` reads one a line from stdin
    question: String,
    /// Pages to show
    #[arg(short = 'k', long = "count", value_name = "PAGES")]
    count: Option<usize>,
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
    /// At most so many pages of one manual
    #[arg(long, value_name = "PAGES")]
    per_manual: Option<usize>,
    /// Compare every page, also where the store has an index
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    mode: ModeArgs,
}

/// How to search.
#[derive(clap::Args, Debug)]
#[group(multiple = false)]
struct ModeArgs {
    /// By the pages' pictures alone
    #[arg(long)]
    visual: bool,
    /// By the pages' words alone (BM25)
    #[arg(long)]
    text: bool,
    /// By both, fused
    #[arg(long)]
    hybrid: bool,
}

impl ModeArgs {
    fn or(&self, default: Mode) -> Mode {
        match (self.visual, self.text, self.hybrid) {
            (true, ..) => Mode::Visual,
            (_, true, _) => Mode::Text,
            (.., true) => Mode::Hybrid,
            _ => default,
        }
    }
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &SearchArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    let Library { store, profile } =
        library::open_for_reading(&settings.store, common.model().map(|_| &settings.embed))?;
    let scope = Scope {
        manual: args
            .manual
            .as_deref()
            .map(|name| library::find_manual(&*store, name))
            .transpose()?
            .map(|card| card.id),
        pages: args.pages.clone(),
    };
    let (mode, count) = (
        args.mode.or(settings.search.mode),
        args.count.unwrap_or(settings.search.count),
    );
    if count == 0 || args.per_manual == Some(0) {
        return Err(Diagnostic::usage("-k 0 and --per-manual 0 ask for no page"));
    }
    let top_k = TopK {
        k: count,
        per_manual: args.per_manual,
        exact: args.exact,
    };
    let mut model = Lazy {
        open: Some(|| library::open_model_for_profile(&settings, &profile)),
        model: None,
    };
    let visual_weight = match mode {
        Mode::Hybrid => library::card_for_profile(&settings, &profile)?.visual_weight,
        Mode::Visual | Mode::Text => 1.0,
    };
    let mut answer = |text: &str| {
        search::search(
            &*store,
            || model.get(),
            &SearchRequest {
                text,
                mode,
                scope: &scope,
                top_k,
                visual_weight,
            },
        )
    };
    if args.question == "-" {
        return answer_lines(ui, answer);
    }
    let found = answer(&args.question)?;
    match ui.json {
        true => ui.json(&found)?,
        false => print(ui, &found)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A question of several that has no answer, as `--json` prints it in the place of its answer.
#[derive(serde::Serialize)]
struct FailedLine<'a> {
    question: &'a str,
    error: &'a str,
    hints: &'a [String],
}

/// Answers the questions on stdin, one a line. One that fails is reported in its place, and the others are answered.
fn answer_lines(
    ui: &Ui,
    mut answer: impl FnMut(&str) -> Result<Vec<SearchHit>, search::Error>,
) -> Result<ExitCode, Diagnostic> {
    let mut failed = false;
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        let question = text.trim();
        if question.is_empty() {
            continue;
        }
        let found = match std::str::from_utf8(&line) {
            Ok(_) => answer(question).map_err(Diagnostic::from),
            Err(e) => Err(Diagnostic::new(format!("the question is not UTF-8: {e}"))),
        };
        failed |= found.is_err();
        if !ui.json {
            ui.data(format!("# {question}"))?;
        }
        match (found, ui.json) {
            (Ok(found), true) => json_line(ui, &found)?,
            (Ok(found), false) => print(ui, &found)?,
            (Err(report), true) => json_line(
                ui,
                &FailedLine {
                    question,
                    error: &report.message,
                    hints: &report.hints,
                },
            )?,
            (Err(report), false) => ui.report(&report),
        }
    }
    Ok(u8::from(failed).into())
}

fn json_line(ui: &Ui, record: &impl serde::Serialize) -> Result<(), Diagnostic> {
    ui.data(serde_json::to_string(record).map_err(|e| Diagnostic::from_error(&e))?)
}

/// A model opened when it is first needed, and once.
struct Lazy<F> {
    open: Option<F>,
    model: Option<Box<dyn Embedder>>,
}

impl<F: FnOnce() -> Result<Box<dyn Embedder>, embed::Error>> Lazy<F> {
    fn get(&mut self) -> Result<&mut dyn Embedder, embed::Error> {
        if let Some(open) = self.open.take() {
            self.model = Some(open()?);
        }
        match &mut self.model {
            Some(model) => Ok(model.as_mut()),
            None => Err(embed::Error::Model("it could not be opened before".into())),
        }
    }
}

fn print(ui: &Ui, found: &[SearchHit]) -> Result<(), Diagnostic> {
    if found.is_empty() {
        ui.say("nothing found");
    }
    for (rank, hit) in found.iter().enumerate() {
        let label = hit
            .label
            .as_ref()
            .filter(|label| **label != hit.page.to_string());
        let label = label
            .map(|label| format!(" (labelled {label})"))
            .unwrap_or_default();
        let section = hit
            .section
            .as_ref()
            .map(|section| format!(" · {section}"))
            .unwrap_or_default();
        ui.data(format!(
            "{}. {} page {}{label}{section}  [{:.3}]",
            rank + 1,
            hit.manual,
            hit.page,
            hit.score
        ))?;
        if !hit.snippet.is_empty() {
            ui.data(format!("   {}", hit.snippet))?;
        }
        if let (Some(title), Some(summary)) = (&hit.title, &hit.summary) {
            ui.data(format!("   {title}: {summary}"))?;
        }
    }
    Ok(())
}
