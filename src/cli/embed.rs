//! `ingest embed`: writes raw multi-vectors to a safetensors file, for use in another database.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use safetensors::{Dtype, View};

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::{self, Card};
use crate::library::{self, Indexing};
use crate::page::{ManualId, Page, PageSet};
use crate::pipeline::{self, Profiles, Stage};
use crate::store::{
    self, BatchPolicy, LastRun, ManualCard, StoredPage, TextUpdate, VectorUpdate, WriteOutcome,
    Writer,
};
use crate::units::pages;
use crate::vectors::{MultiVector, Profile};

use super::interrupt::{self, STOP};
use super::run::{InputArgs, print_left_out, with_progress};
use super::ui::Ui;
use super::{Common, output_file};

/// Write the multi-vectors of files or of a query to a safetensors file
///
/// The file has one tensor per page, of shape (vectors, dim), named `MANUAL/PAGE`. The vectors of its text, unless
/// `embed.meaning` is off, are a second one, `MANUAL/PAGE/meaning`; those of a query are `query` and `query/meaning`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest embed pump.pdf --out pages.safetensors
  ingest embed manuals/ --pages 1-20 --out pages.safetensors
  ingest embed --query \"seal kit\" --out query.safetensors")]
pub(super) struct EmbedArgs {
    /// PDF file, image or folder to read (can be repeated)
    #[arg(value_name = "FILE", required_unless_present = "query")]
    paths: Vec<PathBuf>,
    /// Query to embed
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "paths",
        allow_hyphen_values = true
    )]
    query: Option<String>,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    input: InputArgs,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &EmbedArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    let card = embed::card(&settings.embed)?;
    super::progress::fetch(ui, |on_progress| embed::fetch(&settings.embed, on_progress))?;
    let text_profile = settings.embed.text_profile();
    if let Some(query) = &args.query {
        save(
            &args.out,
            (&card, text_profile),
            query_vectors(&settings, query)?,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = library::memory_plan(&settings, &card)?;
    let profiles = Profiles {
        text: text_profile,
        ..Profiles::NONE
    };
    let inputs = pipeline::discover(&args.input.request(&args.paths)?, None, profiles)?;
    print_left_out(ui, &inputs.left_out);
    let writer = MemoryWriter::default();
    let indexing = Indexing {
        settings: &settings,
        card: &card,
        plan: &plan,
        store: &writer,
    };
    interrupt::install_handler()?;
    let (stats, result) = with_progress(ui, &Stage::ALL, |on_event| {
        indexing.run(&inputs, &STOP, on_event)
    });
    ui.words_hint(&args.paths);
    result?;
    if stats.stopped {
        ui.warn("stopped; nothing was written");
        return Ok(stats.exit_code().into());
    }
    let collected = writer
        .collected
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let count = collected.pages;
    if count > 0 {
        save(&args.out, (&card, text_profile), collected.tensors)?;
        ui.info(format!(
            "{} written to {}",
            pages(count),
            args.out.display()
        ));
    }
    Ok(stats.exit_code().into())
}

/// The vectors of a query by the name of their tensor.
fn query_vectors(
    settings: &Settings,
    query: &str,
) -> Result<BTreeMap<String, MultiVector>, Diagnostic> {
    let vectors = library::open_model(settings, &settings.embed)?.embed_query(query)?;
    let mut tensors = BTreeMap::from([("query".to_owned(), vectors)]);
    if let Some(open) = library::meaning_opener(settings) {
        let text = open()?.embed_query(query).map_err(embed::Error::from)?;
        tensors.extend(text.map(|text| (format!("query/{TEXT}"), text.vectors)));
    }
    Ok(tensors)
}

/// Ends the names of tensors of text vectors, as the named vector of Weaviate.
const TEXT: &str = "meaning";

/// A [`Writer`] that collects multi-vectors in memory.
#[derive(Default)]
struct MemoryWriter {
    collected: Mutex<Collected>,
}

/// Multi-vectors by the name of their tensor.
#[derive(Default)]
struct Collected {
    tensors: BTreeMap<String, MultiVector>,
    /// Number of pages.
    pages: u64,
}

impl Collected {
    fn insert(&mut self, page: &StoredPage) {
        let name = format!("{}/{}", page.id.manual, page.id.number);
        if let TextUpdate::Replace {
            vectors: Some(text),
            ..
        } = &page.text_vectors
        {
            let vectors = text.vectors.clone();
            self.tensors.insert(format!("{name}/{TEXT}"), vectors);
        }
        if let VectorUpdate::Replace(embedded) = &page.vectors {
            self.tensors.insert(name, embedded.vectors.clone());
            self.pages += 1;
        }
    }
}

impl Writer for MemoryWriter {
    fn prepare(&self, _profile: &Profile) -> Result<(), store::Error> {
        Ok(())
    }

    fn upsert_manual(&self, _card: &ManualCard) -> Result<(), store::Error> {
        Ok(())
    }

    fn record_run(&self, _manual: &ManualId, _run: &LastRun) -> Result<(), store::Error> {
        Ok(())
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, store::Error> {
        let mut collected = self
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pages.iter().for_each(|page| collected.insert(page));
        Ok(pages
            .iter()
            .map(|page| (page.id.clone(), Ok(WriteOutcome::Stored)))
            .collect())
    }

    fn batch_policy(&self) -> BatchPolicy {
        BatchPolicy::for_file()
    }

    fn remove(&self, _manual: &ManualId, _pages: &PageSet) -> Result<u64, store::Error> {
        Ok(0)
    }
}

/// A multi-vector as a tensor of f32, little-endian.
struct TensorView {
    vectors: MultiVector,
    shape: [usize; 2],
}

impl TensorView {
    fn new(vectors: MultiVector) -> Self {
        Self {
            shape: [vectors.len(), vectors.dim()],
            vectors,
        }
    }
}

impl View for TensorView {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.vectors
            .as_slice()
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
            .into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.vectors.as_slice())
    }
}

/// Writes the file.
fn save(
    out: &Path,
    (card, text_profile): (&Card, Option<&str>),
    pages: BTreeMap<String, MultiVector>,
) -> Result<(), Diagnostic> {
    let failed = |e: &dyn std::fmt::Display| Diagnostic::new(format!("{}: {e}", out.display()));
    let profile = &card.profile;
    let mut metadata = HashMap::from([
        ("model".to_owned(), profile.model.clone()),
        ("profile".to_owned(), profile.id.clone()),
        ("dim".to_owned(), profile.dim.to_string()),
        ("pool_factor".to_owned(), profile.pool_factor.to_string()),
    ]);
    if let Some(profile) = text_profile.filter(|_| pages.keys().any(|name| name.ends_with(TEXT))) {
        metadata.insert("meaning_profile".to_owned(), profile.to_owned());
    }
    let tensors = pages
        .into_iter()
        .map(|(name, vectors)| (name, TensorView::new(vectors)));
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| failed(&e))?;
    output_file::write(out, &bytes)
}
