//! `ingest search`: the page that answers.

use std::io::BufRead;

use crate::embed::{self, Embedder};
use crate::page::{ManualId, PageSet};
use crate::report::Report;
use crate::search::{Found, Mode, Question};
use crate::store::{Scope, Store, Want};

use super::ui::Ui;
use super::{Common, kit};

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

pub(super) fn run(ui: &mut Ui, common: &Common, args: &SearchArgs) -> Result<(), Report> {
    let settings = common.settings()?;
    let (store, profile) = kit::open_to_read(&settings, common.model())?;
    let scope = Scope {
        manual: args
            .manual
            .as_deref()
            .map(|m| manual(&*store, m))
            .transpose()?,
        pages: args.pages.clone(),
    };
    let (mode, count) = (
        args.mode.or(settings.search.mode),
        args.count.unwrap_or(settings.search.count),
    );
    if count == 0 || args.per_manual == Some(0) {
        return Err(Report::usage("-k 0 and --per-manual 0 ask for no page"));
    }
    let want = Want {
        count,
        per_manual: args.per_manual,
        exact: args.exact,
    };
    let mut model = Lazy {
        open: Some(|| kit::model_of(&settings, &profile)),
        model: None,
    };
    let visual_weight = match mode {
        Mode::Hybrid => kit::card_of(&settings, &profile)?.visual_weight,
        Mode::Visual | Mode::Text => 1.0,
    };
    let mut answer = |text: &str| {
        crate::search::search(
            &*store,
            || model.get(),
            &Question {
                text,
                mode,
                scope: &scope,
                want,
                visual_weight,
            },
        )
    };
    if args.question != "-" {
        let found = answer(&args.question)?;
        return if ui.json {
            ui.json(&found)
        } else {
            print(ui, &found)
        };
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let found = answer(&line)?;
        if ui.json {
            ui.data(serde_json::to_string(&found).map_err(|e| Report::failure(&e))?)?;
        } else {
            ui.data(format!("# {}", line.trim()))?;
            print(ui, &found)?;
        }
    }
    Ok(())
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

/// The manual of that name; its ending `.pdf` may be left out.
pub(super) fn manual(store: &dyn Store, name: &str) -> Result<ManualId, Report> {
    let shelf = store.cards()?;
    let names: Vec<&str> = shelf.iter().map(|card| card.id.as_str()).collect();
    let fits = |known: &&&str| **known == name || known.strip_suffix(".pdf") == Some(name);
    if let Some(known) = names.iter().find(fits) {
        return Ok(ManualId::new(known));
    }
    let report = Report::plain(format!("there is no manual `{name}` in the store"));
    let near = names
        .iter()
        .min_by_key(|known| strsim::damerau_levenshtein(known, name));
    Err(
        match near.filter(|near| strsim::damerau_levenshtein(near, name) <= 2 + name.len() / 3) {
            Some(near) => report.hint(format!("did you mean `{near}`?")),
            None => report.hint("`ingest list` names what is stored"),
        },
    )
}

fn print(ui: &Ui, found: &[Found]) -> Result<(), Report> {
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
