//! Search: ranks pages for a query by MaxSim over page images, BM25 over text, or a fusion of both.

mod excerpt;
mod fusion;
mod spelling;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use excerpt::QueryWords;
use fusion::Lists;
pub use spelling::did_you_mean;

use crate::embed::meaning::{Meaning, Model};

use crate::embed::{self, Embedder, VisualWeight};
use crate::page::{Annotation, ManualId, PageId, Sections};
use crate::store::{self, Hit, Lookup, Scope, TextField, TopK};
use crate::vectors::TextQuery;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// MaxSim over the page vectors.
    Visual,
    /// BM25 over the text layer.
    Text,
    /// MaxSim over the vectors of the text layer.
    Meaning,
    /// All of them, fused.
    Hybrid,
}

/// The models that embed queries; each is opened when a search needs it.
pub trait Models {
    /// The model of the page vectors.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn embedder(&mut self) -> Result<&mut dyn Embedder, embed::Error>;

    /// Which text model [`Models::meaning`] opens.
    fn text_model(&self) -> Model;

    /// The text model.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn meaning(&mut self) -> Result<&Meaning, embed::Error>;
}

/// Search settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How to search.
    pub mode: Mode,
    /// Number of pages to show.
    pub count: usize,
}

/// A search request.
#[derive(Clone, Debug)]
pub struct SearchRequest<'a> {
    /// The query.
    pub text: &'a str,
    /// How to search.
    pub mode: Mode,
    /// The manuals and pages to search.
    pub scope: &'a Scope,
    /// How many hits, and whether they must be exact.
    pub top_k: TopK,
    /// Weight of the visual list in a hybrid search ([`embed::Card::visual_weight`]).
    pub visual_weight: VisualWeight,
}

/// A hit: a page with its score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchHit {
    /// The manual's name.
    pub manual: String,
    /// The page, from 1.
    pub page: u32,
    /// Its printed label.
    pub label: Option<String>,
    /// The section that answers, of those on the page.
    pub section: Option<String>,
    /// MaxSim per query vector, BM25, or the fused score, by mode; comparable within one result list only.
    pub score: f32,
    /// The line of its text that matches the query best.
    pub snippet: String,
    /// The bytes of the snippet's words that are those of the query, or near them in meaning; not in JSON.
    #[serde(skip)]
    pub marks: Vec<Range<usize>>,
    /// Words of the query, or near them in meaning, that were read from the image of a page whose text layer says little. They may
    /// be read wrongly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words_read: Vec<String>,
    /// The title of its description, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The summary of its description, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The page's id in every store.
    pub id: String,
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model failed.
    #[error(transparent)]
    Embed(#[from] embed::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The query is empty.
    #[error("the query is empty")]
    Empty,
    /// No page to search has text vectors.
    #[error("nothing can be searched by meaning: {} has vectors of its text", no_page_of(.0))]
    NoTextVectors(Vec<ManualId>),
    /// The text model knows no word of the query.
    #[error("the query has no word that the text model `{}` knows", .0.name())]
    UnknownWords(Model),
    /// The text vectors are those of another model.
    #[error(
        "the vectors of the text in this store are those of `{}`, but the settings say `{}`", .stored.name(), .configured.name()
    )]
    OtherTextModel {
        /// The model that made them.
        stored: Model,
        /// The model of the settings.
        configured: Model,
    },
    /// The query is in letters that the model was not trained on; its vectors would be those of nothing.
    #[error("the model of this store cannot read the letters of the query")]
    Unreadable,
}

/// Names the pages of some manuals, or of a store if there are none, as the subject of a sentence about none of them.
fn no_page_of(manuals: &[ManualId]) -> String {
    let names: Vec<&str> = manuals.iter().map(ManualId::as_str).collect();
    match names[..] {
        [] => "no page of the store".to_owned(),
        _ => format!("no page of {}", names.join(", ")),
    }
}

/// Weight of the description's BM25 score relative to the text layer's. One-line descriptions as a list of their own in
/// the fusion made results worse; added to the BM25 score they improve them at weights from 0.3 to 1.
const DESCRIPTION_WEIGHT: f32 = 0.5;
/// Number of hits of each list that are fused.
const FUSION_DEPTH: usize = 100;

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The pages, best first.
    pub hits: Vec<SearchHit>,
    /// Whether a hybrid search went without the images, since the model cannot read the query.
    pub is_text_only: bool,
    /// Manuals of which a hybrid search compared pages that have no text vectors, so that meaning did not count for them.
    pub without_meaning: BTreeSet<ManualId>,
    /// The model of the text vectors, if a hybrid search went without them since the settings say another.
    pub other_text_model: Option<Model>,
}

/// Searches a store.
///
/// # Errors
/// [`Error::Embed`] or [`Error::Store`] when the model or the store fails, [`Error::Empty`] when the query is empty,
/// [`Error::Unreadable`] when a visual search would rank pages at random, [`Error::NoTextVectors`] or
/// [`Error::UnknownWords`] when a search by meaning has nothing to compare.
pub fn search(
    store: &dyn Lookup,
    models: &mut dyn Models,
    request: &SearchRequest<'_>,
) -> Result<Found, Error> {
    let text = request.text.trim();
    if text.is_empty() {
        return Err(Error::Empty);
    }
    let mut searcher = Searcher {
        store,
        models,
        text,
        scope: request.scope,
        text_query: None,
    };
    let top_k = request.top_k;
    let (mut is_text_only, mut without_meaning) = (false, BTreeSet::new());
    let mut other_text_model = None;
    let hits = match request.mode {
        Mode::Visual => searcher.visual(top_k)?.ok_or(Error::Unreadable)?,
        Mode::Text => store.text(TextField::TextLayer, text, request.scope, top_k)?,
        Mode::Meaning => searcher.only_meaning(top_k)?,
        Mode::Hybrid => {
            let deep = TopK {
                k: top_k.k.max(FUSION_DEPTH),
                ..top_k
            };
            let (images, meaning) = (searcher.visual(deep)?, searcher.meaning(deep)?);
            let lists = Lists {
                images,
                words: bm25(store, text, request.scope, deep)?,
                meaning,
                known: searcher
                    .text_query
                    .as_ref()
                    .map_or(0.0, |query| query.known),
                text_profile: searcher.models.text_model().profile(),
            };
            is_text_only = lists.images.is_none();
            without_meaning = lists.without_meaning();
            if lists.meaning.is_none() {
                other_text_model = searcher.other_text_model()?;
            }
            lists.fused(text, request.visual_weight, top_k)
        }
    };
    Ok(Found {
        hits: searcher.shown(hits)?,
        is_text_only,
        without_meaning,
        other_text_model,
    })
}

/// The lists of a search.
struct Searcher<'a> {
    store: &'a dyn Lookup,
    models: &'a mut dyn Models,
    text: &'a str,
    scope: &'a Scope,
    /// Vectors of the query in the text model, once they are known.
    text_query: Option<TextQuery>,
}

impl Searcher<'_> {
    /// The best pages by their images; `None` if the model cannot read the query.
    fn visual(&mut self, top_k: TopK) -> Result<Option<Vec<Hit>>, Error> {
        let embedder = self.models.embedder()?;
        if !embedder.can_read(self.text) {
            return Ok(None);
        }
        let query = embedder.embed_query(self.text)?;
        let mut hits = self.store.visual(&query, self.scope, top_k)?;
        hits.iter_mut()
            .for_each(|hit| hit.score /= query.len() as f32);
        Ok(Some(hits))
    }

    /// The best pages by what their text says, and by nothing else.
    fn only_meaning(&mut self, top_k: TopK) -> Result<Vec<Hit>, Error> {
        if let Some(hits) = self.meaning(top_k)? {
            return Ok(hits);
        }
        let configured = self.models.text_model();
        Err(match self.other_text_model()? {
            Some(stored) => Error::OtherTextModel { stored, configured },
            None if self.has_text_vectors(configured)? => Error::UnknownWords(configured),
            None => Error::NoTextVectors(self.scope.manuals.to_vec()),
        })
    }

    /// The best pages by what their text says; `None` if none has text vectors, or the model knows no word of the query.
    fn meaning(&mut self, top_k: TopK) -> Result<Option<Vec<Hit>>, Error> {
        if !self.has_text_vectors(self.models.text_model())? {
            return Ok(None);
        }
        let query = self.models.meaning()?.embed_query(self.text);
        let Some(query) = query.map_err(embed::Error::from)? else {
            return Ok(None);
        };
        let hits = self.store.meaning(&query, self.scope, top_k)?;
        self.text_query = Some(query);
        Ok(Some(hits))
    }

    /// The model of the text vectors if there are none of the model of the settings.
    fn other_text_model(&self) -> Result<Option<Model>, Error> {
        if self.has_text_vectors(self.models.text_model())? {
            return Ok(None);
        }
        for model in Model::ALL {
            if self.has_text_vectors(model)? {
                return Ok(Some(model));
            }
        }
        Ok(None)
    }

    /// Whether a page of the scope has vectors of its text by a model.
    fn has_text_vectors(&self, model: Model) -> Result<bool, Error> {
        Ok(self.store.has_text_vectors(model.profile(), self.scope)?)
    }

    /// The hits as they are shown: with the line and the section that answer the query in its words, or in those that are
    /// nearest in meaning.
    fn shown(&mut self, hits: Vec<Hit>) -> Result<Vec<SearchHit>, Error> {
        let words = QueryWords::new(self.text);
        let nearest = match &self.text_query {
            Some(query) => {
                let pages: Vec<PageId> = hits.iter().map(|hit| hit.id.clone()).collect();
                let tokens = self.store.nearest_tokens(query, &pages)?;
                let model = self.models.meaning()?;
                let word = |(token, cosine)| Some((model.token_word(token)?, cosine));
                let words = |tokens: Vec<_>| tokens.into_iter().filter_map(word).collect();
                tokens.into_iter().map(words).collect()
            }
            None => vec![Vec::new(); hits.len()],
        };
        let shown = |(hit, nearest): (Hit, Vec<_>)| search_hit(hit, &words.and_nearest(&nearest));
        Ok(hits.into_iter().zip(nearest).map(shown).collect())
    }
}

/// Ranks pages by the BM25 score of their text layer plus [`DESCRIPTION_WEIGHT`] times that of their description.
fn bm25(
    store: &dyn Lookup,
    query: &str,
    scope: &Scope,
    top_k: TopK,
) -> Result<Vec<Hit>, store::Error> {
    let mut hits = store.text(TextField::TextLayer, query, scope, top_k)?;
    let positions = hits.iter().map(|hit| hit.id.clone()).zip(0..);
    let positions: HashMap<PageId, usize> = positions.collect();
    for described in store.text(TextField::Description, query, scope, top_k)? {
        let score = described.score * DESCRIPTION_WEIGHT;
        match positions.get(&described.id) {
            Some(&position) => hits[position].score += score,
            None => hits.push(Hit { score, ..described }),
        }
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    Ok(hits)
}

fn search_hit(hit: Hit, query: &QueryWords) -> SearchHit {
    let sections = Sections::parse(hit.section.as_deref().unwrap_or_default());
    let annotation = hit.description.as_deref().and_then(Annotation::from_json);
    let description = annotation.as_ref().and_then(Annotation::description);
    let snippet = excerpt::snippet(&hit.text, query);
    SearchHit {
        marks: excerpt::marks(&snippet, query),
        snippet,
        title: description.map(|d| d.title.clone()),
        summary: description.map(|d| d.summary.clone()),
        words_read: excerpt::words_read(&hit.words_read, query),
        section: excerpt::section(&sections, &hit.text, query),
        id: hit.id.uuid().to_string(),
        manual: hit.id.manual.to_string(),
        page: hit.id.number,
        label: hit.label,
        score: hit.score,
    }
}
