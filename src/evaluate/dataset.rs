//! Datasets of page retrieval in the layouts of ViDoRe (v1, v2, v3) on the hub: BEIR's three tables as parquet.
//!
//! Folders `corpus`, `queries` and `qrels`, or, as `mteb` keeps v3, `english-corpus` and so on. Ids are numbers or texts;
//! names of columns differ between the versions, and all are known here.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::Relevant;
use super::error::Error;
use super::parquet_rows::{self, Row};
use crate::page::{ManualId, Page, PageError, PageId, PageSet};
use crate::render::{self, Config, Manual, Rendered, Renderer, Source};

const CORPUS_ID: [&str; 4] = ["corpus-id", "corpus_id", "_id", "id"];
const QUERY_ID: [&str; 4] = ["query-id", "query_id", "_id", "id"];
const QUERY: [&str; 2] = ["query", "text"];
const PAGE: [&str; 3] = [IMAGE, "markdown", "text"];
const LANGUAGE: &str = "language";
const SCORE: &str = "score";
const IMAGE: &str = "image";

/// A question of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its id in the dataset.
    pub id: String,
    /// Its words.
    pub text: String,
    /// The pages that answer it.
    pub relevant: Relevant,
}

/// Questions in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The language as the dataset calls it, such as `english`; none where it does not say.
    pub language: Option<String>,
    /// The questions that have an answer.
    pub queries: Vec<Query>,
}

/// A dataset: pages, questions, and which page answers which. Its pages are those of one manual, in the order of the
/// corpus, each labelled with its id.
#[derive(Clone, Debug)]
pub struct Dataset {
    folder: PathBuf,
    /// The manual.
    pub manual: ManualId,
    /// The ids of the pages.
    pub pages: Vec<String>,
    /// The questions by language.
    pub groups: Vec<Group>,
    corpus: Vec<PathBuf>,
}

impl Dataset {
    /// Reads everything but the pictures.
    ///
    /// # Errors
    /// When a table is missing, empty or not readable, or an answer is no page of the corpus.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let parts = parts(folder);
        let first = parts.first().cloned().unwrap_or_default();
        let corpus = tables(folder, &format!("{first}corpus"))?;
        let pages = parquet_rows::rows(&corpus, &CORPUS_ID).map(|row| row?.need(&CORPUS_ID));
        let pages: Vec<String> = pages.collect::<Result<_, _>>()?;
        if pages.is_empty() {
            return Err(Error::Empty {
                folder: folder.to_owned(),
                what: "pages",
            });
        }
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        let mut dataset = Self {
            folder: folder.to_owned(),
            manual: ManualId::new(&name),
            pages,
            groups: Vec::new(),
            corpus,
        };
        let numbers: HashMap<String, u32> = (1..)
            .zip(&dataset.pages)
            .map(|(n, id)| (id.clone(), n))
            .collect();
        let mut groups: BTreeMap<Option<String>, Vec<Query>> = BTreeMap::new();
        for part in parts {
            let answers = dataset.answers(&part, &numbers)?;
            dataset.queries(&part, answers, &mut groups)?;
        }
        dataset.groups = groups
            .into_iter()
            .map(|(language, queries)| Group { language, queries })
            .collect();
        match dataset.groups.is_empty() {
            true => Err(Error::Empty {
                folder: folder.to_owned(),
                what: "questions with an answer",
            }),
            false => Ok(dataset),
        }
    }

    /// What answers each query.
    fn answers(
        &self,
        part: &str,
        numbers: &HashMap<String, u32>,
    ) -> Result<HashMap<String, Relevant>, Error> {
        let mut answers: HashMap<String, Relevant> = HashMap::new();
        let files = tables(&self.folder, &format!("{part}qrels"))?;
        let columns = [&QUERY_ID[..2], &CORPUS_ID[..2], &[SCORE]].concat();
        for row in parquet_rows::rows(&files, &columns) {
            let row = row?;
            let query = row.need(&QUERY_ID[..2])?;
            let page = row.need(&CORPUS_ID[..2])?;
            let grade = row.whole(&[SCORE]).unwrap_or(1);
            let Some(&number) = numbers.get(&page) else {
                return Err(Error::UnknownPage {
                    folder: self.folder.clone(),
                    query,
                    page,
                });
            };
            if let Ok(grade @ 1..) = u32::try_from(grade) {
                let id = PageId::new(&self.manual, number);
                answers.entry(query).or_default().insert(id, grade);
            }
        }
        Ok(answers)
    }

    fn queries(
        &self,
        part: &str,
        mut answers: HashMap<String, Relevant>,
        groups: &mut BTreeMap<Option<String>, Vec<Query>>,
    ) -> Result<(), Error> {
        let files = tables(&self.folder, &format!("{part}queries"))?;
        let columns = [&QUERY_ID[..], &QUERY, &[LANGUAGE]].concat();
        for row in parquet_rows::rows(&files, &columns) {
            let row = row?;
            let id = row.need(&QUERY_ID)?;
            let text = row.need(&QUERY)?;
            if let Some(relevant) = answers.remove(&id) {
                let group = groups.entry(row.text(&[LANGUAGE])).or_default();
                group.push(Query { id, text, relevant });
            }
        }
        Ok(())
    }

    /// Reads its pages as those of one manual; whatever is opened, it is this dataset.
    pub fn renderer(&self, config: &Config) -> Box<dyn Renderer> {
        Box::new(Pages {
            dataset: self.clone(),
            config: config.clone(),
        })
    }
}

/// What stands before `corpus`, `queries` and `qrels` in the names of the folders: nothing, or `english-` and the like.
fn parts(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut parts: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix("queries")?.to_owned()))
        .filter(|part| part.is_empty() || part.ends_with('-'))
        .collect();
    parts.sort();
    parts
}

fn tables(folder: &Path, table: &str) -> Result<Vec<PathBuf>, Error> {
    let missing = || Error::Missing {
        folder: folder.to_owned(),
        table: table.to_owned(),
    };
    let at = folder.join(table);
    if !at.is_dir() {
        return Err(missing());
    }
    match parquet_rows::files(&at)? {
        none if none.is_empty() => Err(missing()),
        files => Ok(files),
    }
}

/// The pages of a dataset as those of a manual.
struct Pages {
    dataset: Dataset,
    config: Config,
}

impl Renderer for Pages {
    fn open(&mut self, _source: &Source) -> Result<Manual, render::Error> {
        Ok(Manual {
            pages: self.dataset.pages.len() as u32,
            labels: self.dataset.pages.clone(),
            outline: Vec::new(),
        })
    }

    fn pages(
        &mut self,
        which: &PageSet,
    ) -> Result<Box<dyn Iterator<Item = Page<Rendered>> + '_>, render::Error> {
        let rows = parquet_rows::rows(&self.dataset.corpus, &PAGE);
        let which = which.clone();
        let wanted = (1..)
            .zip(rows)
            .filter(move |(number, _)| which.contains(*number));
        let (manual, config) = (&self.dataset.manual, &self.config);
        Ok(Box::new(wanted.map(move |(number, row)| {
            let page = row
                .map_err(|cause| PageError::Render(cause.to_string()))
                .and_then(|row| page(&row, config));
            (PageId::new(manual, number), page)
        })))
    }
}

fn page(row: &Row, config: &Config) -> Result<Rendered, PageError> {
    let picture = row
        .picture(IMAGE)
        .ok_or_else(|| PageError::Render("the dataset has no picture of it".to_owned()))?;
    Ok(Rendered {
        text: row.text(&PAGE[1..]).unwrap_or_default(),
        ..render::decode_image(&picture, config)?
    })
}
