//! `ingest eval`: how well the stored pages are found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::embed::Embedder;
use crate::evaluate::{Interval, OUTLINE_RULE, Relevant, Scores, ask_outline};
use crate::measure::Spread;
use crate::page::{ManualId, PageId};
use crate::pipeline;
use crate::render::{self, Source};
use crate::report::Report;
use crate::search::{Mode, Question};
use crate::store::{ManualCard, Scope, Store, Want};
use crate::units::Seconds;

use super::table::table;
use super::ui::Ui;
use super::{Common, kit};

/// Measure how well stored pages are found: nDCG, recall, MRR, by pictures, by words, by both
///
/// Questions come from a file, or from the bookmarks of the manuals themselves.
#[derive(clap::Args, Debug)]
pub(super) struct EvalArgs {
    /// Questions: a JSON list of {question, manual, pages}
    #[arg(value_name = "FILE", required_unless_present = "outline")]
    questions: Option<PathBuf>,
    /// Ask the titles of the bookmarks of these stored manuals
    #[arg(long, value_name = "MANUAL", num_args = 1.., conflicts_with = "questions")]
    outline: Vec<String>,
    /// Hide the text layer from the hybrid search too: what would a scan give?
    #[arg(long)]
    rasterise: bool,
    /// List the questions whose page is not among the first five
    #[arg(long)]
    failures: bool,
    /// Compare every page, also where the store has an index
    #[arg(long)]
    exact: bool,
}

/// A question with its answer.
struct Asked {
    text: String,
    scope: Scope,
    relevant: Relevant,
}

/// A question as it stands in a file.
#[derive(Deserialize)]
struct Written {
    question: String,
    manual: String,
    pages: Vec<u32>,
}

/// Questions that belong together.
struct Set {
    name: String,
    asked: Vec<Asked>,
    /// Pages that no ranking counts.
    ignored: BTreeSet<PageId>,
}

/// The version of the JSON form of [`Evaluation`].
const SCHEMA: u32 = 1;

/// What was found.
#[derive(Serialize)]
struct Evaluation {
    schema: u32,
    store: String,
    model: String,
    profile: String,
    /// How the questions came about.
    questions: String,
    sets: Vec<Measured>,
}

/// A set in one mode.
#[derive(Serialize)]
struct Measured {
    set: String,
    mode: Mode,
    #[serde(flatten)]
    scores: Scores,
    /// Seconds from question to answer.
    latency: Spread,
    failures: Vec<Failure>,
}

/// A question whose page was not among the first five.
#[derive(Serialize)]
struct Failure {
    question: String,
    expected: Vec<String>,
    found: Option<String>,
}

/// Ranks that are looked at.
const DEPTH: usize = 10;

pub(super) fn run(ui: &mut Ui, common: &Common, args: &EvalArgs) -> Result<(), Report> {
    let settings = common.settings()?;
    let (store, profile) = kit::open_to_read(&settings, common.model())?;
    let sets = match &args.questions {
        Some(file) => vec![read(&*store, file)?],
        None => outlines(&settings, &*store, &args.outline)?,
    };
    let mut model = kit::model_of(&settings, &profile)?;
    let visual_weight = kit::card_of(&settings, &profile)?.visual_weight;
    let mut examiner = Examiner {
        store: &*store,
        model: model.as_mut(),
        visual_weight,
        exact: args.exact,
    };
    let mut measured = Vec::new();
    for set in &sets {
        for mode in [Mode::Visual, Mode::Text, Mode::Hybrid] {
            // Without a text layer both is one.
            let asked = if args.rasterise && mode == Mode::Hybrid {
                Mode::Visual
            } else {
                mode
            };
            measured.push(examiner.examine(set, mode, asked)?);
        }
    }
    let evaluation = Evaluation {
        schema: SCHEMA,
        store: crate::store::name(&settings.store)?,
        model: profile.model.clone(),
        profile: profile.id,
        questions: origin(args),
        sets: measured,
    };
    match ui.json {
        true => ui.json(&evaluation),
        false => print(ui, &evaluation, args.failures),
    }
}

fn origin(args: &EvalArgs) -> String {
    let hidden = if args.rasterise {
        "; the text layer is hidden from all but the row `text`"
    } else {
        ""
    };
    match &args.questions {
        Some(file) => format!("{}{hidden}", file.display()),
        None => format!("{OUTLINE_RULE}{hidden}"),
    }
}

/// Reads questions; those whose pages are not stored are an error.
fn read(store: &dyn Store, file: &Path) -> Result<Set, Report> {
    let failed = |why: String| Report::plain(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
    let all: Vec<Written> = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    if all.is_empty() {
        return Err(failed("it holds no questions".to_owned()));
    }
    let mut known: BTreeMap<ManualId, BTreeSet<u32>> = BTreeMap::new();
    let mut asked = Vec::new();
    for written in all {
        let manual = ManualId::new(&written.manual);
        if !known.contains_key(&manual) {
            let stored = store.known(&manual)?;
            known.insert(
                manual.clone(),
                stored.iter().map(|page| page.number).collect(),
            );
        }
        let pages = written.pages.iter().map(|&n| PageId::new(&manual, n));
        let relevant: Relevant = pages.map(|page| (page, 1)).collect();
        if let Some((missing, _)) = relevant
            .iter()
            .find(|(page, _)| !known[&manual].contains(&page.number))
        {
            return Err(failed(format!(
                "{missing}, which answers `{}`, is not stored",
                written.question
            ))
            .hint("store the manual first: `ingest FILE.pdf`"));
        }
        asked.push(Asked {
            text: written.question,
            scope: Scope::default(),
            relevant,
        });
    }
    Ok(Set {
        name: file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        asked,
        ignored: BTreeSet::new(),
    })
}

/// The questions that the outlines of stored manuals ask, each to be answered from its manual.
fn outlines(settings: &Settings, store: &dyn Store, names: &[String]) -> Result<Vec<Set>, Report> {
    let cards = store.cards()?;
    let mut renderer = render::open(&settings.render).map_err(pipeline::Error::from)?;
    let mut sets = Vec::new();
    for name in names {
        // A manual may be named as it is listed, or by its file.
        let place = std::path::absolute(name).unwrap_or_default();
        let id = match cards.iter().find(|card| card.path == place) {
            Some(card) => card.id.clone(),
            None => super::search::manual(store, name)?,
        };
        let card = cards.iter().find(|card| card.id == id);
        let path = card
            .map(|card: &ManualCard| card.path.clone())
            .unwrap_or_default();
        let source = Source {
            manual: id.clone(),
            path: path.clone(),
            password: None,
        };
        let failed = |why: String| Report::plain(format!("{}: {why}", path.display()));
        let manual = renderer.open(&source).map_err(|e| failed(e.to_string()))?;
        let scope = Scope {
            manual: Some(id.clone()),
            ..Scope::default()
        };
        let mut texts = BTreeMap::new();
        for page in store.scan(&scope)? {
            let page = page?;
            texts.insert(page.id.number, page.text);
        }
        let mut questions = ask_outline(&manual.outline, &texts);
        questions
            .titles
            .retain(|title| texts.contains_key(&title.page));
        if questions.titles.is_empty() {
            return Err(failed("it has no bookmarks that make questions".to_owned())
                .hint("a file of questions works for every manual: `ingest eval questions.json`"));
        }
        sets.push(Set {
            name: id.to_string(),
            ignored: questions
                .contents
                .iter()
                .map(|&n| PageId::new(&id, n))
                .collect(),
            asked: questions
                .titles
                .into_iter()
                .map(|title| Asked {
                    text: title.text,
                    scope: scope.clone(),
                    relevant: Relevant::from([(PageId::new(&id, title.page), 1)]),
                })
                .collect(),
        });
    }
    Ok(sets)
}

/// Asks questions and looks at the answers.
struct Examiner<'a> {
    store: &'a dyn Store,
    model: &'a mut dyn Embedder,
    visual_weight: f32,
    exact: bool,
}

impl Examiner<'_> {
    fn examine(&mut self, set: &Set, shown: Mode, mode: Mode) -> Result<Measured, Report> {
        let (mut rankings, mut times, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for asked in &set.asked {
            let start = Instant::now();
            let found = crate::search::search(
                self.store,
                || Ok(&mut *self.model),
                &Question {
                    text: &asked.text,
                    mode,
                    scope: &asked.scope,
                    want: Want {
                        exact: self.exact,
                        ..Want::best(DEPTH + set.ignored.len())
                    },
                    visual_weight: self.visual_weight,
                },
            )?;
            times.push(start.elapsed().as_secs_f64());
            let pages = found
                .iter()
                .map(|hit| PageId::new(&ManualId::new(&hit.manual), hit.page));
            let ranking: Vec<PageId> = pages
                .filter(|page| !set.ignored.contains(page))
                .take(DEPTH)
                .collect();
            if !ranking
                .iter()
                .take(5)
                .any(|page| asked.relevant.contains_key(page))
            {
                failures.push(Failure {
                    question: asked.text.clone(),
                    expected: asked.relevant.keys().map(ToString::to_string).collect(),
                    found: ranking.first().map(ToString::to_string),
                });
            }
            rankings.push((ranking, &asked.relevant));
        }
        Ok(Measured {
            set: set.name.clone(),
            mode: shown,
            scores: Scores::of(&rankings),
            latency: Spread::of(times),
            failures,
        })
    }
}

fn print(ui: &Ui, evaluation: &Evaluation, failures: bool) -> Result<(), Report> {
    ui.data(format!("questions: {}", evaluation.questions))?;
    let header = [
        "questions of",
        "mode",
        "questions",
        "nDCG@5",
        "nDCG@10",
        "recall@1",
        "recall@5",
        "recall@10",
        "MRR",
        "p50",
        "p95",
    ];
    let row = |measured: &Measured| {
        let scores = &measured.scores;
        let with_range = |i: Interval| format!("{:.2} ({:.2}-{:.2})", i.mean, i.low, i.high);
        let mode = serde_json::to_value(measured.mode).ok();
        let mode = mode
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let mut row = vec![
            measured.set.clone(),
            mode.to_owned(),
            scores.queries.to_string(),
        ];
        row.extend(
            [
                scores.ndcg_at_5,
                scores.ndcg_at_10,
                scores.recall_at_1,
                scores.recall_at_5,
                scores.recall_at_10,
                scores.mrr,
            ]
            .map(with_range),
        );
        row.extend([measured.latency.p50, measured.latency.p95].map(|s| Seconds(s).to_string()));
        row
    };
    let rows: Vec<Vec<String>> = evaluation.sets.iter().map(row).collect();
    ui.data(table(&header, &rows))?;
    for measured in evaluation.sets.iter().filter(|_| failures) {
        for failure in &measured.failures {
            ui.data(format!(
                "{:?} of {}: `{}` is on {}, found {}",
                measured.mode,
                measured.set,
                failure.question,
                failure.expected.join(", "),
                failure.found.as_deref().unwrap_or("nothing")
            ))?;
        }
    }
    Ok(())
}
