//! `ingest eval`: measures retrieval quality, and answers.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::VisualWeight;
use crate::evaluate::{Dataset, Evaluation, EvaluationResult, Failure, OUTLINE_RULE, SCHEMA};
use crate::library::{self, QueryModels};
use crate::page::PageId;
use crate::reports::evaluation::{self, Thumbnails};
use crate::reports::mteb;
use crate::search::{Mode, Models};
use crate::store::{Scope, Store};

use super::passwords::PasswordArgs;
use super::ui::Ui;
use super::{Common, interrupt};

mod ask;
mod eval_store;
mod evaluator;
mod query_sets;

pub(super) use ask::AnswerTrial;
use eval_store::{Compression, EvalStore};
use evaluator::Evaluator;
use query_sets::QuerySet;

/// Measure retrieval quality (nDCG, recall, MRR) of image, text and hybrid search
///
/// Queries come from a file, from the bookmarks of stored manuals, or from a dataset in the ViDoRe layout, whose pages are
/// indexed into a temporary store. `--store` and `--model` accept several values.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  ingest eval questions.json --failures
  ingest eval --outline pump.pdf --compress pool-3,int8
  ingest eval datasets/vidore --html report.html
  ingest eval ask questions.json --runner ollama"
)]
pub(super) struct EvalArgs {
    #[command(subcommand)]
    command: Option<EvalCommand>,
    /// JSON list of {question, manual, pages} about stored pages, or a dataset folder with corpus, queries and qrels
    #[arg(value_name = "FILE|DATASET", required_unless_present = "outline")]
    source: Option<PathBuf>,
    /// Use the bookmark titles of these stored manuals as queries
    #[arg(long, value_name = "MANUAL", num_args = 1.., conflicts_with = "source")]
    outline: Vec<OsString>,
    #[command(flatten)]
    passwords: PasswordArgs,
    /// Also evaluate with compression: pool-N, int8, 1-bit, first-N, or several joined by `+`
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    compress: Vec<Compression>,
    /// Ignore the text layer in hybrid search, as for scanned pages
    #[arg(long)]
    rasterise: bool,
    /// List queries without a relevant page in the top 5; with thumbnails in HTML
    #[arg(long)]
    failures: bool,
    /// Compare every page, even if the store has an index or a first stage
    #[arg(long)]
    exact: bool,
    /// Write the report as an HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write results in the format of `mteb`
    #[arg(long, value_name = "FOLDER")]
    mteb: Option<PathBuf>,
}

/// The other evaluations.
#[derive(clap::Subcommand, Debug)]
enum EvalCommand {
    Ask(ask::EvalAskArgs),
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &EvalArgs) -> Result<(), Diagnostic> {
    if let Some(EvalCommand::Ask(args)) = &args.command {
        return ask::run(ui, common, args);
    }
    if args.passwords.are_given() && args.outline.is_empty() {
        return Err(Diagnostic::usage(
            "only `--outline` reads files that may need a password",
        ));
    }
    let passwords = args.passwords.read()?;
    let folder = args.source.as_ref().filter(|source| source.is_dir());
    let dataset = folder.map(|at| Dataset::open(at)).transpose();
    let dataset = dataset.map_err(|e| Diagnostic::from_error(&e))?;
    interrupt::install_handler()?;
    let mut measured = Vec::new();
    let mut thumbnails = Thumbnails::new();
    for overrides in common.combinations(&[]) {
        let settings = common.settings_for(&overrides)?;
        let mut run = match &dataset {
            Some(dataset) => {
                let pages = EvalStore::from_dataset(ui, &settings, dataset)?;
                EvalRun::new(settings, pages, query_sets::from_dataset(dataset))?
            }
            None => {
                let pages = EvalStore::open(&settings, overrides.model.as_deref())?;
                let sets = match &args.source {
                    Some(file) => vec![query_sets::from_file(&*pages.store, file)?],
                    None => query_sets::from_outlines(
                        &settings,
                        &*pages.store,
                        &args.outline,
                        &passwords,
                    )?,
                };
                EvalRun::new(settings, pages, sets)?
            }
        };
        let found = run.evaluate(ui, args)?;
        if args.failures && args.html.is_some() {
            let missed = found.iter().filter(|m| m.compression.is_none());
            for measured in missed {
                thumbnails.extend(failure_thumbnails(&*run.pages.store, &measured.failures)?);
            }
        }
        measured.extend(found);
    }
    let evaluation = Evaluation {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        query_source: query_source(args),
        results: measured,
    };
    write_reports(ui, args, &evaluation, &thumbnails)
}

/// Returns the thumbnails of the relevant pages of failed queries, and of the pages found instead.
fn failure_thumbnails(store: &dyn Store, failures: &[Failure]) -> Result<Thumbnails, Diagnostic> {
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

fn write_reports(
    ui: &Ui,
    args: &EvalArgs,
    evaluation: &Evaluation,
    thumbnails: &Thumbnails,
) -> Result<(), Diagnostic> {
    match ui.json {
        true => ui.json(evaluation)?,
        false => ui.text(evaluation::text(evaluation, args.failures))?,
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

/// Writes a file, and creates its parent folders.
fn write_below(file: &Path, text: &str) -> Result<(), Diagnostic> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| Diagnostic::new(format!("{}: {e}", folder.display())))?;
    }
    super::write(file, text)
}

fn query_source(args: &EvalArgs) -> String {
    let text_layer_note = if args.rasterise {
        "; text layer ignored except in modes `text` and `meaning`"
    } else {
        ""
    };
    match &args.source {
        Some(source) => format!("{}{text_layer_note}", source.display()),
        None => format!("{OUTLINE_RULE}{text_layer_note}"),
    }
}

/// Stored pages, the model that embedded them, and the query sets.
struct EvalRun {
    settings: Settings,
    pages: EvalStore,
    sets: Vec<QuerySet>,
    models: QueryModels,
    visual_weight: VisualWeight,
}

impl EvalRun {
    fn new(settings: Settings, pages: EvalStore, sets: Vec<QuerySet>) -> Result<Self, Diagnostic> {
        let mut models = QueryModels::new(&settings, &pages.profile);
        // Before the first query, whose time is measured.
        models.embedder()?;
        let profile = models.text_model().profile();
        if pages.store.has_text_vectors(profile, &Scope::default())? {
            models.meaning()?;
        }
        Ok(Self {
            models,
            visual_weight: library::card_for_profile(&settings, &pages.profile)?.visual_weight,
            settings,
            pages,
            sets,
        })
    }

    /// Evaluates the stored pages in every mode, then each compression in the modes that use vectors.
    fn evaluate(&mut self, ui: &Ui, args: &EvalArgs) -> Result<Vec<EvaluationResult>, Diagnostic> {
        let mut measured = Vec::new();
        for mode in self.modes()? {
            measured.extend(self.evaluate_sets(None, mode, args)?);
        }
        for compression in &args.compress {
            let compressed_store = self
                .pages
                .compressed(ui, &self.settings.store, *compression)?;
            let compressed = (&compressed_store, compression.to_string());
            for mode in [Mode::Visual, Mode::Hybrid] {
                measured.extend(self.evaluate_sets(Some(&compressed), mode, args)?);
            }
        }
        Ok(measured)
    }

    /// The modes that the store has vectors for.
    fn modes(&self) -> Result<Vec<Mode>, Diagnostic> {
        let profile = self.models.text_model().profile();
        let has_meaning = self
            .pages
            .store
            .has_text_vectors(profile, &Scope::default())?;
        let meaning = has_meaning.then_some(Mode::Meaning);
        let modes = [Mode::Visual, Mode::Text].into_iter().chain(meaning);
        Ok(modes.chain([Mode::Hybrid]).collect())
    }

    /// Evaluates every query set in one mode.
    fn evaluate_sets(
        &mut self,
        compressed: Option<&(&EvalStore, String)>,
        mode: Mode,
        args: &EvalArgs,
    ) -> Result<Vec<EvaluationResult>, Diagnostic> {
        let mut evaluator = Evaluator {
            pages: compressed.map_or(&self.pages, |(pages, _)| pages),
            compression: compressed.map(|(_, compression)| compression.clone()),
            models: &mut self.models,
            visual_weight: self.visual_weight,
            exact: args.exact,
        };
        // Without a text layer hybrid search is image search.
        let searched = match mode {
            Mode::Hybrid if args.rasterise => Mode::Visual,
            mode => mode,
        };
        let evaluate = |set: &QuerySet| evaluator.evaluate(set, mode, searched);
        self.sets.iter().map(evaluate).collect()
    }
}
