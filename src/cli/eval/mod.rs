//! `ingest eval`: how well pages are found.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::Settings;
use crate::embed::Embedder;
use crate::evaluate::{Dataset, OUTLINE_RULE};
use crate::library;
use crate::report::Report;
use crate::search::Mode;

use super::ui::Ui;
use super::{Common, interrupt};

mod examine;
mod mteb;
mod questions;
mod sheets;
mod shelf;

use examine::{Examiner, Measured};
use questions::Set;
use sheets::Pictures;
use shelf::{Compression, Shelf};

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

/// The version of the JSON form of [`Evaluation`].
const SCHEMA: u32 = 2;

/// What was found.
#[derive(Serialize)]
struct Evaluation {
    schema: u32,
    version: String,
    /// How the questions came about.
    questions: String,
    results: Vec<Measured>,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &EvalArgs) -> Result<(), Report> {
    let folder = args.source.as_ref().filter(|source| source.is_dir());
    let dataset = folder.map(|at| Dataset::open(at)).transpose();
    let dataset = dataset.map_err(|e| Report::failure(&e))?;
    interrupt::install_handler()?;
    let mut measured = Vec::new();
    let mut pictures = Pictures::new();
    for choice in common.choices(&[]) {
        let settings = common.settings_for(&choice)?;
        let mut trial = match &dataset {
            Some(dataset) => {
                let shelf = Shelf::filled(ui, &settings, dataset)?;
                Trial::new(settings, shelf, questions::of_dataset(dataset))?
            }
            None => {
                let shelf = Shelf::stored(&settings, choice.model.as_deref())?;
                let sets = match &args.source {
                    Some(file) => vec![questions::read(&*shelf.store, file)?],
                    None => questions::outlines(
                        &settings,
                        &*shelf.store,
                        &args.outline,
                        args.password.as_deref(),
                    )?,
                };
                Trial::new(settings, shelf, sets)?
            }
        };
        let found = trial.run(ui, args)?;
        if args.failures && args.html.is_some() {
            let missed = found.iter().filter(|m| m.compression.is_none());
            for one in missed {
                pictures.extend(sheets::pictures(&*trial.shelf.store, &one.failures)?);
            }
        }
        measured.extend(found);
    }
    let evaluation = Evaluation {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        questions: origin(args),
        results: measured,
    };
    report(ui, args, &evaluation, &pictures)
}

fn report(
    ui: &Ui,
    args: &EvalArgs,
    evaluation: &Evaluation,
    pictures: &Pictures,
) -> Result<(), Report> {
    match ui.json {
        true => ui.json(evaluation)?,
        false => ui.data(sheets::text(evaluation, args.failures))?,
    }
    if let Some(file) = &args.html {
        let page = sheets::html(evaluation, pictures)?;
        std::fs::write(file, page)
            .map_err(|e| Report::plain(format!("{}: {e}", file.display())))?;
    }
    match &args.mteb {
        Some(folder) => mteb::write(folder, evaluation),
        None => Ok(()),
    }
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

/// Stored pages, the model that embedded them, and what they are asked.
struct Trial {
    settings: Settings,
    shelf: Shelf,
    sets: Vec<Set>,
    model: Box<dyn Embedder>,
    visual_weight: f32,
}

impl Trial {
    fn new(settings: Settings, shelf: Shelf, sets: Vec<Set>) -> Result<Self, Report> {
        Ok(Self {
            model: library::model_of(&settings, &shelf.profile)?,
            visual_weight: library::card_of(&settings, &shelf.profile)?.visual_weight,
            settings,
            shelf,
            sets,
        })
    }

    /// Asks everything: of the pages as they are stored in every mode, then of each compression in those that see
    /// vectors.
    fn run(&mut self, ui: &Ui, args: &EvalArgs) -> Result<Vec<Measured>, Report> {
        let mut measured = Vec::new();
        for mode in [Mode::Visual, Mode::Text, Mode::Hybrid] {
            measured.extend(self.ask(None, mode, args)?);
        }
        for compression in &args.compress {
            let smaller = self
                .shelf
                .compressed(ui, &self.settings.store, *compression)?;
            let kept = (&smaller, compression.to_string());
            for mode in [Mode::Visual, Mode::Hybrid] {
                measured.extend(self.ask(Some(&kept), mode, args)?);
            }
        }
        Ok(measured)
    }

    fn ask(
        &mut self,
        kept: Option<&(&Shelf, String)>,
        mode: Mode,
        args: &EvalArgs,
    ) -> Result<Vec<Measured>, Report> {
        let mut examiner = Examiner {
            shelf: kept.map_or(&self.shelf, |(shelf, _)| shelf),
            compression: kept.map(|(_, compression)| compression.clone()),
            model: self.model.as_mut(),
            visual_weight: self.visual_weight,
            exact: args.exact,
        };
        // Without a text layer both is one.
        let asked = match mode {
            Mode::Hybrid if args.rasterise => Mode::Visual,
            mode => mode,
        };
        let examine = |set: &Set| examiner.examine(set, mode, asked);
        self.sets.iter().map(examine).collect()
    }
}
