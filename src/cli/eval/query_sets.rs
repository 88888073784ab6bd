//! Query sets with relevance labels (qrels): from a file, a dataset, or the outlines of stored manuals.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::evaluate::{Dataset, LanguageSubset, Qrels, outline_queries};
use crate::library;
use crate::page::{ManualId, PageId};
use crate::render;
use crate::store::{ManualCard, Scope, Store};

/// A query with its relevant pages.
pub(super) struct LabelledQuery {
    pub(super) text: String,
    pub(super) scope: Scope,
    pub(super) relevant: Qrels,
}

/// Queries that are evaluated together.
pub(super) struct QuerySet {
    pub(super) name: String,
    /// Name of the language in the dataset; `None` if it names none.
    pub(super) language: Option<String>,
    pub(super) queries: Vec<LabelledQuery>,
    /// Pages removed from rankings.
    pub(super) ignored: BTreeSet<PageId>,
}

/// A file of queries.
type QueryFile = Vec<QueryEntry>;

/// A query of a file.
#[derive(Deserialize)]
struct QueryEntry {
    question: String,
    manual: String,
    pages: Vec<u32>,
}

/// Reads a query file.
///
/// # Errors
/// When the file cannot be read or is empty, or when a relevant page is not stored.
pub(super) fn from_file(store: &dyn Store, file: &Path) -> Result<QuerySet, Diagnostic> {
    let failed = |why: String| Diagnostic::new(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
    let all: QueryFile = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    if all.is_empty() {
        return Err(failed("the file has no questions".to_owned()));
    }
    let mut stored_pages: BTreeMap<ManualId, BTreeSet<u32>> = BTreeMap::new();
    let mut queries = Vec::new();
    for entry in all {
        let manual = ManualId::new(&entry.manual);
        if !stored_pages.contains_key(&manual) {
            let stored = store.fingerprints(&manual)?;
            let numbers = stored.iter().map(|page| page.number).collect();
            stored_pages.insert(manual.clone(), numbers);
        }
        let pages = entry.pages.iter().map(|&n| PageId::new(&manual, n));
        let relevant: Qrels = pages.map(|page| (page, 1)).collect();
        let is_stored = |page: &&PageId| stored_pages[&manual].contains(&page.number);
        if let Some(missing) = relevant.keys().find(|page| !is_stored(page)) {
            let question = &entry.question;
            return Err(failed(format!(
                "{missing}, which answers `{question}`, is not stored"
            ))
            .hint("index the manual first: `ingest FILE.pdf`"));
        }
        queries.push(LabelledQuery {
            text: entry.question,
            scope: Scope::default(),
            relevant,
        });
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Ok(QuerySet {
        name: name.into_owned(),
        language: None,
        queries,
        ignored: BTreeSet::new(),
    })
}

/// Returns the queries of a dataset, one set per language.
pub(super) fn from_dataset(dataset: &Dataset) -> Vec<QuerySet> {
    let set = |subset: &LanguageSubset| QuerySet {
        name: dataset.manual.to_string(),
        language: subset.language.clone(),
        queries: subset
            .queries
            .iter()
            .map(|query| LabelledQuery {
                text: query.text.clone(),
                scope: Scope::default(),
                relevant: query.relevant.clone(),
            })
            .collect(),
        ignored: BTreeSet::new(),
    };
    dataset.subsets.iter().map(set).collect()
}

/// Returns the bookmark titles of stored manuals as queries, one set per manual, each searched in its manual.
pub(super) fn from_outlines(
    settings: &Settings,
    store: &dyn Store,
    names: &[OsString],
    passwords: &[String],
) -> Result<Vec<QuerySet>, Diagnostic> {
    let mut renderer = render::open(&settings.render).map_err(library::Error::from)?;
    let mut sets = Vec::new();
    for name in names {
        let card = library::find_manual(store, name)?;
        let manual = library::open_manual(&mut *renderer, &card, passwords)?;
        let set = from_outline(store, &card, &manual.outline)?;
        if set.queries.is_empty() {
            let path = card.path.display();
            let why = format!("{path}: it has no bookmarks that are usable as queries");
            return Err(Diagnostic::new(why)
                .hint("use a question file instead: `ingest eval questions.json`"));
        }
        sets.push(set);
    }
    Ok(sets)
}

fn from_outline(
    store: &dyn Store,
    card: &ManualCard,
    bookmarks: &[render::Bookmark],
) -> Result<QuerySet, Diagnostic> {
    let id = &card.id;
    let scope = Scope {
        manuals: vec![id.clone()],
        ..Scope::default()
    };
    let (mut texts, mut outdated) = (BTreeMap::new(), Vec::new());
    for page in store.records(&scope)? {
        let page = page?;
        if !page.is_from(card) {
            outdated.push(page.id.number);
        }
        texts.insert(page.id.number, page.text);
    }
    if !outdated.is_empty() {
        return Err(library::Error::from(card.changed_since(&outdated)).into());
    }
    let questions = outline_queries(bookmarks, &texts);
    let stored = questions.queries.into_iter();
    let stored = stored.filter(|title| texts.contains_key(&title.page));
    Ok(QuerySet {
        queries: stored
            .map(|title| LabelledQuery {
                text: title.text,
                scope: scope.clone(),
                relevant: Qrels::from([(PageId::new(id, title.page), 1)]),
            })
            .collect(),
        ignored: questions
            .contents_pages
            .iter()
            .map(|&n| PageId::new(id, n))
            .collect(),
        name: id.to_string(),
        language: None,
    })
}
