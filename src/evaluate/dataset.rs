//! BEIR datasets of page retrieval: corpus, queries and qrels as parquet, in the layouts of ViDoRe (v1, v2, v3) on the
//! hub.
//!
//! Folders `corpus`, `queries` and `qrels`, or, as mteb publishes v3, `english-corpus` and so on. Ids are numbers or
//! strings; the column names of all versions are accepted.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::Qrels;
use super::error::Error;
use super::parquet_rows::{self, Row};
use crate::page::{ManualId, Page, PageError, PageId, PageSet};
use crate::render::{self, Config, Manual, Rendered, Renderer, Source};

const CORPUS_ID: [&str; 4] = ["corpus-id", "corpus_id", "_id", "id"];
const QUERY_ID: [&str; 4] = ["query-id", "query_id", "_id", "id"];
const QUERY_TEXT: [&str; 2] = ["query", "text"];
const PAGE_CONTENT: [&str; 3] = [IMAGE, "markdown", "text"];
const LANGUAGE: &str = "language";
const SCORE: &str = "score";
const IMAGE: &str = "image";

/// A query of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its id in the dataset.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Its relevant pages.
    pub relevant: Qrels,
}

/// The queries in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanguageSubset {
    /// The language by the dataset's name, such as `english`; `None` if it has none.
    pub language: Option<String>,
    /// The queries with at least one relevant page.
    pub queries: Vec<Query>,
}

/// A dataset: corpus, queries and qrels. The corpus is treated as one manual; its pages are in corpus order, each
/// labelled with its id.
#[derive(Clone, Debug)]
pub struct Dataset {
    folder: PathBuf,
    /// The id of that manual.
    pub manual: ManualId,
    /// The corpus ids of the pages.
    pub pages: Vec<String>,
    /// The queries by language.
    pub subsets: Vec<LanguageSubset>,
    corpus: Vec<PathBuf>,
}

impl Dataset {
    /// Reads all tables except the page images.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Empty`] or [`Error::File`] for a table that is missing, empty or unreadable,
    /// [`Error::UnknownPage`] when qrels name a page that the corpus lacks.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let prefixes = table_prefixes(folder);
        let first_prefix = prefixes.first().cloned().unwrap_or_default();
        let corpus = table_files(folder, &format!("{first_prefix}corpus"))?;
        let pages = parquet_rows::rows(&corpus, &CORPUS_ID).map(|row| row?.required(&CORPUS_ID));
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
            subsets: Vec::new(),
            corpus,
        };
        let page_numbers: HashMap<String, u32> = (1..)
            .zip(&dataset.pages)
            .map(|(n, id)| (id.clone(), n))
            .collect();
        let mut subsets: BTreeMap<Option<String>, Vec<Query>> = BTreeMap::new();
        for prefix in prefixes {
            let qrels = dataset.read_qrels(&prefix, &page_numbers)?;
            dataset.read_queries(&prefix, qrels, &mut subsets)?;
        }
        dataset.subsets = subsets
            .into_iter()
            .map(|(language, queries)| LanguageSubset { language, queries })
            .collect();
        match dataset.subsets.is_empty() {
            true => Err(Error::Empty {
                folder: folder.to_owned(),
                what: "queries with relevant pages",
            }),
            false => Ok(dataset),
        }
    }

    /// Reads the qrels with this prefix: query id to relevant pages.
    fn read_qrels(
        &self,
        prefix: &str,
        page_numbers: &HashMap<String, u32>,
    ) -> Result<HashMap<String, Qrels>, Error> {
        let mut qrels: HashMap<String, Qrels> = HashMap::new();
        let files = table_files(&self.folder, &format!("{prefix}qrels"))?;
        let columns = [&QUERY_ID[..2], &CORPUS_ID[..2], &[SCORE]].concat();
        for row in parquet_rows::rows(&files, &columns) {
            let row = row?;
            let query = row.required(&QUERY_ID[..2])?;
            let page = row.required(&CORPUS_ID[..2])?;
            let grade = row.integer(&[SCORE]).unwrap_or(1);
            let Some(&number) = page_numbers.get(&page) else {
                return Err(Error::UnknownPage {
                    folder: self.folder.clone(),
                    query,
                    page,
                });
            };
            if let Ok(grade @ 1..) = u32::try_from(grade) {
                let id = PageId::new(&self.manual, number);
                qrels.entry(query).or_default().insert(id, grade);
            }
        }
        Ok(qrels)
    }

    /// Reads the queries with this prefix that have relevant pages.
    fn read_queries(
        &self,
        prefix: &str,
        mut qrels: HashMap<String, Qrels>,
        subsets: &mut BTreeMap<Option<String>, Vec<Query>>,
    ) -> Result<(), Error> {
        let files = table_files(&self.folder, &format!("{prefix}queries"))?;
        let columns = [&QUERY_ID[..], &QUERY_TEXT, &[LANGUAGE]].concat();
        for row in parquet_rows::rows(&files, &columns) {
            let row = row?;
            let id = row.required(&QUERY_ID)?;
            let text = row.required(&QUERY_TEXT)?;
            if let Some(relevant) = qrels.remove(&id) {
                let subset = subsets.entry(row.text(&[LANGUAGE])).or_default();
                subset.push(Query { id, text, relevant });
            }
        }
        Ok(())
    }

    /// Returns a renderer of its pages; it ignores the source that is opened.
    pub fn renderer(&self, config: &Config) -> Box<dyn Renderer> {
        Box::new(DatasetRenderer {
            dataset: self.clone(),
            config: config.clone(),
        })
    }
}

/// Returns the prefixes of the folder names `corpus`, `queries` and `qrels`: empty, or such as `english-`.
fn table_prefixes(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut prefixes: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix("queries")?.to_owned()))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('-'))
        .collect();
    prefixes.sort();
    prefixes
}

/// Returns the parquet files of a table.
fn table_files(folder: &Path, table: &str) -> Result<Vec<PathBuf>, Error> {
    let missing = || Error::Missing {
        folder: folder.to_owned(),
        table: table.to_owned(),
    };
    let path = folder.join(table);
    if !path.is_dir() {
        return Err(missing());
    }
    match parquet_rows::files(&path)? {
        files if files.is_empty() => Err(missing()),
        files => Ok(files),
    }
}

/// Renders the pages of a dataset as those of a manual.
struct DatasetRenderer {
    dataset: Dataset,
    config: Config,
}

impl Renderer for DatasetRenderer {
    fn open(&mut self, _source: &Source) -> Result<Manual, render::Error> {
        Ok(Manual {
            pages: self.dataset.pages.len() as u32,
            labels: self.dataset.pages.clone(),
            ..Manual::default()
        })
    }

    fn pages(
        &mut self,
        wanted: &PageSet,
    ) -> Result<Box<dyn Iterator<Item = Page<Rendered>> + '_>, render::Error> {
        let rows = parquet_rows::rows(&self.dataset.corpus, &PAGE_CONTENT);
        let wanted = wanted.clone();
        let selected = (1..)
            .zip(rows)
            .filter(move |(number, _)| wanted.contains(*number));
        let (manual, config) = (&self.dataset.manual, &self.config);
        Ok(Box::new(selected.map(move |(number, row)| {
            let page = row
                .map_err(|cause| PageError::Render(cause.to_string()))
                .and_then(|row| rendered_page(&row, config));
            (PageId::new(manual, number), page)
        })))
    }
}

fn rendered_page(row: &Row, config: &Config) -> Result<Rendered, PageError> {
    let image_bytes = row
        .image_bytes(IMAGE)
        .ok_or_else(|| PageError::Render("the dataset has no image of it".to_owned()))?;
    Ok(Rendered {
        text: row.text(&PAGE_CONTENT[1..]).unwrap_or_default(),
        ..render::decode_image(&image_bytes, config)?
    })
}
