//! `ingest embed`: raw multi-vectors, for people with their own database.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use safetensors::{Dtype, View};

use crate::diagnostic::Diagnostic;
use crate::embed::{self, Card};
use crate::library;
use crate::page::{ManualId, Page, PageSet};
use crate::pipeline::{self, Components, Stage};
use crate::render;
use crate::store::{self, BatchPolicy, ManualCard, StoredPage, VectorUpdate, WriteOutcome, Writer};
use crate::vectors::{MultiVector, Profile};

use super::Common;
use super::interrupt::{self, STOP};
use super::run::{InputArgs, pipeline_settings, with_progress};
use super::ui::Ui;

/// Write multi-vectors of files or of a question to a safetensors file, one tensor (rows, width) a page
#[derive(clap::Args, Debug)]
pub(super) struct EmbedArgs {
    /// PDF, picture or folder to read (can be repeated); tensors are named `MANUAL/PAGE`
    #[arg(value_name = "FILE", required_unless_present = "query")]
    paths: Vec<PathBuf>,
    /// A question to embed; its tensor is named `query`
    #[arg(long, value_name = "TEXT", conflicts_with = "paths")]
    query: Option<String>,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    input: InputArgs,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &EmbedArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    let card = embed::card(&settings.embed)?;
    super::progress::fetch(ui, |watch| embed::fetch(&settings.embed, watch))?;
    if let Some(query) = &args.query {
        let vectors = library::open_model(&settings, &settings.embed)?.embed_query(query)?;
        save(
            &args.out,
            &card,
            BTreeMap::from([("query".to_owned(), vectors)]),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = library::memory_plan(&settings, &card)?;
    let jobs = pipeline::discover(
        &args.input.request(&args.paths),
        None,
        &settings.render.profile(),
    )?;
    let written = MemoryWriter::default();
    let parts = Components {
        renderer: Box::new(|| render::open(&settings.render)),
        embedder: Box::new(|| library::open_model(&settings, &settings.embed)),
        store: &written,
    };
    let how = pipeline_settings(&settings, &card, &plan, args.input.pages.clone());
    interrupt::install_handler()?;
    let (stats, result) = with_progress(ui, &Stage::ALL, |watch| {
        pipeline::ingest(parts, &jobs, &how, &STOP, watch)
    });
    result?;
    if stats.stopped {
        ui.warn("stopped; nothing was written");
        return Ok(stats.exit_code().into());
    }
    let pages = written
        .pages
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = pages.len();
    if count > 0 {
        save(&args.out, &card, pages)?;
        ui.say(format!("{count} pages written to {}", args.out.display()));
    }
    Ok(stats.exit_code().into())
}

/// Keeps vectors in memory.
#[derive(Default)]
struct MemoryWriter {
    pages: Mutex<BTreeMap<String, MultiVector>>,
}

impl Writer for MemoryWriter {
    fn prepare(&self, _profile: &Profile) -> Result<(), store::Error> {
        Ok(())
    }

    fn upsert_manual(&self, _card: &ManualCard) -> Result<(), store::Error> {
        Ok(())
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, store::Error> {
        let mut kept = self
            .pages
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for page in pages {
            if let VectorUpdate::Replace(seen) = &page.vectors {
                kept.insert(
                    format!("{}/{}", page.id.manual, page.id.number),
                    seen.vectors.clone(),
                );
            }
        }
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

/// A multi-vector as safetensors wants it: f32, little-endian.
struct Rows {
    vectors: MultiVector,
    shape: [usize; 2],
}

impl Rows {
    fn new(vectors: MultiVector) -> Self {
        Self {
            shape: [vectors.len(), vectors.dim()],
            vectors,
        }
    }
}

impl View for Rows {
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

/// Writes all or nothing: into a file beside, then renamed.
fn save(out: &Path, card: &Card, pages: BTreeMap<String, MultiVector>) -> Result<(), Diagnostic> {
    let failed = |e: &dyn std::fmt::Display| Diagnostic::new(format!("{}: {e}", out.display()));
    let profile = &card.profile;
    let notes = HashMap::from([
        ("model".to_owned(), profile.model.clone()),
        ("profile".to_owned(), profile.id.clone()),
        ("dim".to_owned(), profile.dim.to_string()),
        ("pool_factor".to_owned(), profile.pool_factor.to_string()),
    ]);
    let tensors = pages
        .into_iter()
        .map(|(name, vectors)| (name, Rows::new(vectors)));
    let bytes = safetensors::serialize(tensors, Some(notes)).map_err(|e| failed(&e))?;
    let folder = out
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    std::io::Write::write_all(&mut file, &bytes).map_err(|e| failed(&e))?;
    file.persist(out).map_err(|e| failed(&e.error))?;
    Ok(())
}
