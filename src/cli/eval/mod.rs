//! `ingest eval`: how well pages are found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::Embedder;
use crate::evaluate::{Dataset, Evaluation, EvaluationResult, Failure, OUTLINE_RULE, SCHEMA};
use crate::library;
use crate::page::PageId;
use crate::reports::evaluation::{self, Thumbnails};
use crate::reports::mteb;
use crate::search::Mode;
use crate::store::{Scope, Store};

use super::ui::Ui;
use super::{Common, interrupt};

mod eval_store;
mod evaluator;
mod questions;

use eval_store::{Compression, EvalStore};
use evaluator::Evaluator;
use questions::QuerySet;

/// Measure how well pages are found: nDCG, recall, MRR, by pictures, by words, by both
///
/// Questions come from a file, from the bookmarks of stored manuals, or from a dataset in the layout of ViDoRe, whose
/// pages are then embedded into a temporary store. `--store` and `--model` take several values.
#[derive(clap::Args, Debug)]
pub(super) struct EvalArgs {
    /// Questions about stored pages, a JSON list of {question, manual, pages}; or a folder with corpus, queries and qrels
    #[arg(value_name = "FILE|DATASET", required_unless_present = "outline")]
    source: Option<PathBuf>,
    /// Ask the titles of the bookmarks of these stored manuals
    #[arg(long, value_name = "MANUAL", num_args = 1.., conflicts_with = "source")]
    outline: Vec<String>,
    /// Password of protected files
    #[arg(long, value_name = "WORD", requires = "outline")]
    password: Option<String>,
    /// Measure the same pages compressed, too: pool-N, int8, 1-bit, first-N, and several with + between
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    compress: Vec<Compression>,
    /// Hide the text layer from the hybrid search too: what would a scan give?
    #[arg(long)]
    rasterise: bool,
    /// List the questions whose page is not among the first five; in HTML with pictures
    #[arg(long)]
    failures: bool,
    /// Compare every page, also where the store has an index or a first stage
    #[arg(long)]
    exact: bool,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write results that `mteb` loads
    #[arg(long, value_name = "FOLDER")]
    mteb: Option<PathBuf>,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &EvalArgs) -> Result<(), Diagnostic> {
    let folder = args.source.as_ref().filter(|source| source.is_dir());
    let dataset = folder.map(|at| Dataset::open(at)).transpose();
    let dataset = dataset.map_err(|e| Diagnostic::from_error(&e))?;
    interrupt::install_handler()?;
    let mut measured = Vec::new();
    let mut thumbnails = Thumbnails::new();
    for choice in common.choices(&[]) {
        let settings = common.settings_for(&choice)?;
        let mut run = match &dataset {
            Some(dataset) => {
                let pages = EvalStore::filled(ui, &settings, dataset)?;
                EvalRun::new(settings, pages, questions::of_dataset(dataset))?
            }
            None => {
                let pages = EvalStore::stored(&settings, choice.model.as_deref())?;
                let sets = match &args.source {
                    Some(file) => vec![questions::read(&*pages.store, file)?],
                    None => questions::outlines(
                        &settings,
                        &*pages.store,
                        &args.outline,
                        args.password.as_deref(),
                    )?,
                };
                EvalRun::new(settings, pages, sets)?
            }
        };
        let found = run.evaluate(ui, args)?;
        if args.failures && args.html.is_some() {
            let missed = found.iter().filter(|m| m.compression.is_none());
            for one in missed {
                thumbnails.extend(missed_pages(&*run.pages.store, &one.failures)?);
            }
        }
        measured.extend(found);
    }
    let evaluation = Evaluation {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        query_source: origin(args),
        results: measured,
    };
    report(ui, args, &evaluation, &thumbnails)
}

/// The thumbnails of relevant pages that were missed, and of those found instead.
fn missed_pages(store: &dyn Store, failures: &[Failure]) -> Result<Thumbnails, Diagnostic> {
    let pages = failures.iter();
    let pages: BTreeSet<&PageId> = pages
        .flat_map(|f| f.expected.iter().chain(&f.found))
        .collect();
    let mut thumbnails = Thumbnails::new();
    for page in pages {
        if let Some(stored) = store.records(&Scope::page(page))?.next().transpose()? {
            thumbnails.insert(page.clone(), stored.thumbnail);
        }
    }
    Ok(thumbnails)
}

fn report(
    ui: &Ui,
    args: &EvalArgs,
    evaluation: &Evaluation,
    thumbnails: &Thumbnails,
) -> Result<(), Diagnostic> {
    match ui.json {
        true => ui.json(evaluation)?,
        false => ui.data(evaluation::text(evaluation, args.failures))?,
    }
    if let Some(file) = &args.html {
        let page =
            evaluation::html(evaluation, thumbnails).map_err(|e| Diagnostic::from_error(&e))?;
        super::write(file, &page)?;
    }
    if let Some(folder) = &args.mteb {
        for (file, text) in mteb::files(evaluation) {
            write_below(&folder.join(file), &text)?;
        }
    }
    Ok(())
}

/// Writes a file and the folders it lies in.
fn write_below(file: &Path, text: &str) -> Result<(), Diagnostic> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| Diagnostic::new(format!("{}: {e}", folder.display())))?;
    }
    super::write(file, text)
}

fn origin(args: &EvalArgs) -> String {
    let hidden = if args.rasterise {
        "; the text layer is hidden from all but the row `text`"
    } else {
        ""
    };
    match &args.source {
        Some(source) => format!("{}{hidden}", source.display()),
        None => format!("{OUTLINE_RULE}{hidden}"),
    }
}

/// Stored pages, the model that embedded them, and the query sets.
struct EvalRun {
    settings: Settings,
    pages: EvalStore,
    sets: Vec<QuerySet>,
    model: Box<dyn Embedder>,
    visual_weight: f32,
}

impl EvalRun {
    fn new(settings: Settings, pages: EvalStore, sets: Vec<QuerySet>) -> Result<Self, Diagnostic> {
        Ok(Self {
            model: library::open_model_for_profile(&settings, &pages.profile)?,
            visual_weight: library::card_for_profile(&settings, &pages.profile)?.visual_weight,
            settings,
            pages,
            sets,
        })
    }

    /// Evaluates the pages as they are stored in every mode, then each compression in those that use vectors.
    fn evaluate(&mut self, ui: &Ui, args: &EvalArgs) -> Result<Vec<EvaluationResult>, Diagnostic> {
        let mut measured = Vec::new();
        for mode in [Mode::Visual, Mode::Text, Mode::Hybrid] {
            measured.extend(self.sets(None, mode, args)?);
        }
        for compression in &args.compress {
            let smaller = self
                .pages
                .compressed(ui, &self.settings.store, *compression)?;
            let compressed = (&smaller, compression.to_string());
            for mode in [Mode::Visual, Mode::Hybrid] {
                measured.extend(self.sets(Some(&compressed), mode, args)?);
            }
        }
        Ok(measured)
    }

    /// Evaluates every query set in one mode.
    fn sets(
        &mut self,
        compressed: Option<&(&EvalStore, String)>,
        mode: Mode,
        args: &EvalArgs,
    ) -> Result<Vec<EvaluationResult>, Diagnostic> {
        let mut evaluator = Evaluator {
            pages: compressed.map_or(&self.pages, |(pages, _)| pages),
            compression: compressed.map(|(_, compression)| compression.clone()),
            model: self.model.as_mut(),
            visual_weight: self.visual_weight,
            exact: args.exact,
        };
        // Without a text layer both are one.
        let searched = match mode {
            Mode::Hybrid if args.rasterise => Mode::Visual,
            mode => mode,
        };
        let evaluate = |set: &QuerySet| evaluator.evaluate(set, mode, searched);
        self.sets.iter().map(evaluate).collect()
    }
}
