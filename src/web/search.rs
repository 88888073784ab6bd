//! `GET` and `POST /api/v1/search`.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::app::{Shared, blocking};
use super::librarian::{Desk, ModelState};
use super::parameters::{Body, Query};
use super::problem::Problem;
use crate::library::{self, Library};
use crate::page::{ManualId, PageId, PageSet};
use crate::search::{self, Found, Mode, SearchHit};
use crate::store::{Scope, TopK};

/// Largest number of pages of an answer.
const MAX_COUNT: usize = 100;
/// Longest question, in bytes.
pub(super) const MAX_QUESTION: usize = 10_000;

/// How to search.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SearchMode {
    /// Images, text and meaning, fused.
    Hybrid,
    /// Page images.
    Visual,
    /// The text layer (BM25).
    Text,
    /// What the text says, in whatever words.
    Meaning,
}

impl From<SearchMode> for Mode {
    fn from(mode: SearchMode) -> Self {
        match mode {
            SearchMode::Hybrid => Self::Hybrid,
            SearchMode::Visual => Self::Visual,
            SearchMode::Text => Self::Text,
            SearchMode::Meaning => Self::Meaning,
        }
    }
}

impl From<Mode> for SearchMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Hybrid => Self::Hybrid,
            Mode::Visual => Self::Visual,
            Mode::Text => Self::Text,
            Mode::Meaning => Self::Meaning,
        }
    }
}

/// A question.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The question.
    #[schemars(length(min = 1, max = MAX_QUESTION))]
    q: String,
    /// Number of pages to find; `search.count` of the settings if it is missing.
    #[schemars(range(min = 1, max = MAX_COUNT))]
    count: Option<usize>,
    /// How to search; `search.mode` of the settings if it is missing.
    mode: Option<SearchMode>,
    /// Names of the manuals to search; all if there are none.
    #[serde(default)]
    manual: Vec<String>,
    /// Pages to search, such as `1-20,33`; all if it is missing.
    pages: Option<String>,
    /// Maximum number of pages of one manual.
    #[schemars(range(min = 1))]
    per_manual: Option<usize>,
    /// Compare every page instead of using an index.
    #[serde(default)]
    exact: bool,
}

/// Why the images were not searched.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Degraded {
    /// The model is still being loaded.
    ModelLoading,
    /// The model cannot be loaded.
    ModelUnavailable,
    /// The model cannot read the letters of the question.
    UnreadableQuery,
}

/// The pages that answer a question.
#[derive(Serialize, JsonSchema)]
pub(super) struct Answer {
    /// The question.
    query: String,
    /// How it was searched.
    mode: SearchMode,
    /// Milliseconds that it took.
    took_ms: f64,
    /// Why only the text was searched.
    degraded: Option<Degraded>,
    /// The question with words of the library instead of those that are on no page, if some are spelled like them.
    did_you_mean: Vec<String>,
    /// The pages, best first.
    hits: Vec<AnswerHit>,
}

/// What a search found.
struct Outcome {
    is_text_only: bool,
    did_you_mean: Vec<String>,
    hits: Vec<AnswerHit>,
}

/// A page that answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct AnswerHit {
    /// Id of the page.
    id: String,
    /// Its manual.
    manual: String,
    /// Its number, from 1.
    page: u32,
    /// What is printed on it as its number.
    label: Option<String>,
    /// The section that answers.
    section: Option<String>,
    /// Comparable within one answer only.
    score: f32,
    /// The line that answers best.
    snippet: String,
    /// Words of the question in the snippet, as ranges of UTF-16 code units.
    marks: Vec<[usize; 2]>,
    /// Words of the question that were read from the image of a page without a text layer.
    words_read: Vec<String>,
    /// Title of its description.
    title: Option<String>,
    /// Summary of its description.
    summary: Option<String>,
    /// Digest of pixels and text: `v` of the addresses of its pictures.
    version: String,
}

pub(super) async fn get(
    State(app): State<Shared>,
    Query(question): Query<Question>,
) -> Result<Json<Answer>, Problem> {
    answer(app, question).await.map(Json)
}

pub(super) async fn post(
    State(app): State<Shared>,
    Body(question): Body<Question>,
) -> Result<Json<Answer>, Problem> {
    answer(app, question).await.map(Json)
}

async fn answer(app: Shared, question: Question) -> Result<Answer, Problem> {
    let start = Instant::now();
    let checked = check(&question, app.settings.search.count)?;
    let mode = question.mode.map_or(app.settings.search.mode, Mode::from);
    let library = {
        let app = app.clone();
        blocking(move || app.shelf.library()).await?
    };
    // Without the model, the text can be searched at once.
    let (used, degraded) = match (mode, app.librarian.status().state) {
        (Mode::Hybrid, ModelState::Loading) => (Mode::Text, Some(Degraded::ModelLoading)),
        (Mode::Hybrid, ModelState::Unavailable) => (Mode::Text, Some(Degraded::ModelUnavailable)),
        _ => (mode, None),
    };
    let task = move |desk: &mut Desk| find(desk, &library, &checked, used);
    let outcome = app.librarian.ask(task).await.inspect_err(|problem| {
        if problem.is_busy() {
            app.counters.refused();
        }
    })?;
    app.counters.answered(used, start.elapsed());
    Ok(Answer {
        query: question.q,
        mode: used.into(),
        took_ms: start.elapsed().as_secs_f64() * 1000.0,
        degraded: degraded.or(outcome.is_text_only.then_some(Degraded::UnreadableQuery)),
        did_you_mean: outcome.did_you_mean,
        hits: outcome.hits,
    })
}

/// A question whose values are valid.
struct Checked {
    text: String,
    manuals: Vec<String>,
    pages: PageSet,
    top_k: TopK,
}

fn check(question: &Question, default_count: usize) -> Result<Checked, Problem> {
    let text = question.q.trim().to_owned();
    if text.len() > MAX_QUESTION {
        let detail = format!("the question is longer than {MAX_QUESTION} bytes");
        return Err(Problem::invalid(detail));
    }
    let k = question.count.unwrap_or(default_count);
    if !(1..=MAX_COUNT).contains(&k) || question.per_manual == Some(0) {
        let detail = format!("`count` must be from 1 to {MAX_COUNT}, `per_manual` at least 1");
        return Err(Problem::invalid(detail));
    }
    let pages = question.pages.as_deref().map(str::parse).transpose();
    Ok(Checked {
        text,
        manuals: question.manual.clone(),
        pages: pages
            .map_err(|why| Problem::invalid(format!("`pages`: {why}")))?
            .unwrap_or_else(PageSet::all),
        top_k: TopK {
            k,
            per_manual: question.per_manual,
            exact: question.exact,
        },
    })
}

fn find(
    desk: &mut Desk,
    library: &Library,
    question: &Checked,
    mode: Mode,
) -> Result<Outcome, Problem> {
    let scope = scope(library, question)?;
    let Found {
        hits, is_text_only, ..
    } = desk.search(library, (&question.text, mode), &scope, question.top_k)?;
    let hits = hits.into_iter().map(|hit| answer_hit(library, hit));
    Ok(Outcome {
        is_text_only,
        did_you_mean: search::did_you_mean(&*library.store, &question.text)?,
        hits: hits.collect::<Result<_, Problem>>()?,
    })
}

fn scope(library: &Library, question: &Checked) -> Result<Scope, Problem> {
    let id = |name: &String| Ok(library::manual_named(&*library.store, name)?.id);
    let manuals = question.manuals.iter().map(id);
    Ok(Scope {
        manuals: manuals.collect::<Result<_, Problem>>()?,
        pages: question.pages.clone(),
    })
}

fn answer_hit(library: &Library, hit: SearchHit) -> Result<AnswerHit, Problem> {
    let page = PageId::new(&ManualId::new(&hit.manual), hit.page);
    let version = library::find_record(&*library.store, &page)?.content;
    let utf16 = |bytes: usize| hit.snippet[..bytes].encode_utf16().count();
    let marks = hit
        .marks
        .iter()
        .map(|mark| [utf16(mark.start), utf16(mark.end)]);
    Ok(AnswerHit {
        marks: marks.collect(),
        id: hit.id,
        manual: hit.manual,
        page: hit.page,
        label: hit.label,
        section: hit.section,
        score: hit.score,
        snippet: hit.snippet,
        words_read: hit.words_read,
        title: hit.title,
        summary: hit.summary,
        version,
    })
}
