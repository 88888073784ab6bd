//! Query sets with relevance labels (qrels): from a file, a dataset, or the outlines of stored manuals.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::evaluate::{Dataset, LanguageSubset, Qrels, Question, outline_queries, read_questions};
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

/// Reads a query file; questions that no page answers are left out.
///
/// # Errors
/// When the file cannot be read or has no questions with pages, or when a relevant page is not stored.
pub(super) fn from_file(store: &dyn Store, file: &Path) -> Result<QuerySet, Diagnostic> {
    let mut all = read_questions(file).map_err(|e| Diagnostic::from_error(&e))?;
    all.retain(|question| !question.is_absent());
    if all.is_empty() {
        let file = file.display();
        let why = format!("{file}: no page answers any of its questions");
        return Err(Diagnostic::new(why));
    }
    require_stored(store, file, &all)?;
    let query = |question: Question| LabelledQuery {
        relevant: question.page_ids().map(|page| (page, 1)).collect(),
        text: question.text,
        scope: Scope::default(),
    };
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Ok(QuerySet {
        name: name.into_owned(),
        language: None,
        queries: all.into_iter().map(query).collect(),
        ignored: BTreeSet::new(),
    })
}

/// Checks that the pages that answer questions of a file are stored.
pub(super) fn require_stored(
    store: &dyn Store,
    file: &Path,
    questions: &[Question],
) -> Result<(), Diagnostic> {
    let mut stored_pages: BTreeMap<ManualId, BTreeSet<u32>> = BTreeMap::new();
    for question in questions {
        for page in question.page_ids() {
            if !stored_pages.contains_key(&page.manual) {
                let stored = store.fingerprints(&page.manual)?;
                let numbers = stored.iter().map(|page| page.number).collect();
                stored_pages.insert(page.manual.clone(), numbers);
            }
            if !stored_pages[&page.manual].contains(&page.number) {
                let (file, text) = (file.display(), &question.text);
                let why = format!("{file}: {page}, which answers `{text}`, is not stored");
                return Err(Diagnostic::new(why).hint("index the manual first: `ingest FILE.pdf`"));
            }
        }
    }
    Ok(())
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
