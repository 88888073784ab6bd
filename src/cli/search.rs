//! `ingest search`: prints the pages that best answer a query.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::BufRead;
use std::process::ExitCode;

use crate::diagnostic::{Diagnostic, other_text_model_hint};
use crate::embed::VisualWeight;
use crate::library::{self, Library, QueryModels};
use crate::page::{ManualId, PageSet};
use crate::search::{self, Mode, SearchHit, SearchRequest};
use crate::store::{Scope, TopK};

use super::options::{Common, at_least_one};
use super::ui::Ui;

/// Manuals that a note names.
const MANUALS_NAMED: usize = 3;

/// Find the pages that answer a query
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest search \"What does fault code E-108 mean?\"
  ingest search --visual \"wiring diagram\" --manual pump.pdf -k 10
  ingest search \"-20 °C\"
  ingest search - --json < queries.txt")]
pub(super) struct SearchArgs {
    /// Query; its words need no quotes. `-` reads one query per line from stdin
    #[arg(required = true, allow_negative_numbers = true)]
    query: Vec<String>,
    /// Number of pages to return
    #[arg(short = 'k', long = "count", value_name = "PAGES", value_parser = at_least_one)]
    count: Option<usize>,
    /// Manual to search, instead of all (can be repeated)
    #[arg(long = "manual", value_name = "NAME")]
    manuals: Vec<OsString>,
    /// Pages to include, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pages: PageSet,
    /// Maximum number of pages per manual
    #[arg(long, value_name = "PAGES", value_parser = at_least_one)]
    per_manual: Option<usize>,
    /// Compare every page, even if the store has an index
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    mode: ModeArgs,
}

/// The search mode.
#[derive(clap::Args, Debug)]
#[group(multiple = false)]
struct ModeArgs {
    /// Search page images only
    #[arg(long)]
    visual: bool,
    /// Search text only (BM25)
    #[arg(long)]
    text: bool,
    /// Search by what the text says, in whatever words
    #[arg(long)]
    meaning: bool,
    /// Search images, text and meaning, and fuse the scores
    #[arg(long)]
    hybrid: bool,
}

impl ModeArgs {
    fn or(&self, default: Mode) -> Mode {
        let chosen = [
            (self.visual, Mode::Visual),
            (self.text, Mode::Text),
            (self.meaning, Mode::Meaning),
            (self.hybrid, Mode::Hybrid),
        ];
        let chosen = chosen.into_iter().find(|(is_chosen, _)| *is_chosen);
        chosen.map_or(default, |(_, mode)| mode)
    }
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &SearchArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    let Library { store, profile } =
        library::open_for_reading(&settings.store, common.selected_model(&settings)?)?;
    let manuals = args.manuals.iter();
    let scope = Scope {
        manuals: manuals
            .map(|name| library::find_manual(&*store, name).map(|card| card.id))
            .collect::<Result<_, _>>()?,
        pages: args.pages.clone(),
    };
    let (mode, count) = (
        args.mode.or(settings.search.mode),
        args.count.unwrap_or(settings.search.count),
    );
    let top_k = TopK {
        k: count,
        per_manual: args.per_manual,
        exact: args.exact,
    };
    let mut models = QueryModels::new(&settings, &profile);
    let visual_weight = match mode {
        Mode::Hybrid => library::card_for_profile(&settings, &profile)?.visual_weight,
        Mode::Visual | Mode::Text | Mode::Meaning => VisualWeight::EQUAL,
    };
    // A user who wants no text vectors is not told how to add them.
    let is_meaning_wanted = settings.embed.text_profile().is_some() && store.keeps_text_vectors();
    let mut is_told = !is_meaning_wanted;
    let mut note = |ui: &Ui, text: String| {
        if !is_told {
            is_told = true;
            ui.info(text);
        }
    };
    let mut run_query = |text: &str| {
        let found = search::search(
            &*store,
            &mut models,
            &SearchRequest {
                text,
                mode,
                scope: &scope,
                top_k,
                visual_weight,
            },
        )?;
        if found.is_text_only {
            let model = &profile.model;
            ui.info(format!(
                "note: the model `{model}` cannot read the letters of `{text}`: only the text was searched"
            ));
        }
        if let Some(model) = found.other_text_model {
            let (name, hint) = (model.name(), other_text_model_hint(model));
            let note_text = format!(
                "note: the meaning of the text was not searched: its vectors in this store are those of `{name}`; {hint}"
            );
            note(ui, note_text);
        } else if !found.without_meaning.is_empty() {
            note(ui, without_meaning(&found.without_meaning));
        }
        Ok(found.hits)
    };
    if args.query == ["-"] {
        return search_lines(ui, run_query);
    }
    let hits = run_query(&args.query.join(" "))?;
    match ui.json {
        true => ui.json(&hits)?,
        false => print_hits(ui, &hits)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The note that some manuals were searched without meaning.
fn without_meaning(manuals: &BTreeSet<ManualId>) -> String {
    let named = manuals.iter().take(MANUALS_NAMED);
    let mut names: Vec<String> = named.map(ToString::to_string).collect();
    if manuals.len() > MANUALS_NAMED {
        names.push(format!("{} more", manuals.len() - MANUALS_NAMED));
    }
    format!(
        "note: pages without text vectors are searched by images and words only: {}; `ingest FILE` again adds them, and of page images it embeds only scans anew",
        names.join(", ")
    )
}

/// A failed query of several, as `--json` prints it instead of its hits.
#[derive(serde::Serialize)]
struct FailedLine<'a> {
    line: usize,
    #[serde(rename = "question")]
    query: &'a str,
    error: &'a str,
    hints: &'a [String],
}

/// Runs the queries on stdin, one per line. A failed query is reported in its place; the others still run. An empty line
/// finds nothing, so that line n of `--json` answers line n of stdin.
fn search_lines(
    ui: &Ui,
    mut run_query: impl FnMut(&str) -> Result<Vec<SearchHit>, search::Error>,
) -> Result<ExitCode, Diagnostic> {
    let mut failed = false;
    for (index, line) in std::io::stdin().lock().split(b'\n').enumerate() {
        let (bytes, line) = (line?, index + 1);
        let text = String::from_utf8_lossy(&bytes);
        let query = text.trim_start_matches('\u{feff}').trim();
        if query.is_empty() {
            ui.info(format!("line {line} is empty"));
            if ui.json {
                ui.json_line(&[(); 0])?;
            }
            continue;
        }
        let hits = match std::str::from_utf8(&bytes) {
            Ok(_) => run_query(query).map_err(Diagnostic::from),
            Err(e) => Err(Diagnostic::new(format!("the query is not UTF-8: {e}"))),
        };
        failed |= hits.is_err();
        if !ui.json {
            ui.data(format!("# {query}"))?;
        }
        match (hits, ui.json) {
            (Ok(hits), true) => ui.json_line(&hits)?,
            (Ok(hits), false) => print_hits(ui, &hits)?,
            (Err(diagnostic), true) => ui.json_line(&FailedLine {
                line,
                query,
                error: &diagnostic.message,
                hints: &diagnostic.hints,
            })?,
            (Err(mut diagnostic), false) => {
                diagnostic.message = format!("line {line}: {}", diagnostic.message);
                ui.report(&diagnostic);
            }
        }
    }
    Ok(u8::from(failed).into())
}

fn print_hits(ui: &Ui, hits: &[SearchHit]) -> Result<(), Diagnostic> {
    if hits.is_empty() {
        ui.info("nothing found");
    }
    for (rank, hit) in hits.iter().enumerate() {
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
        if !hit.words_read.is_empty() {
            let words = hit.words_read.join(", ");
            ui.data(format!("   read from the image: {words}"))?;
        }
        if let (Some(title), Some(summary)) = (&hit.title, &hit.summary) {
            ui.data(format!("   {title}: {summary}"))?;
        }
    }
    Ok(())
}
