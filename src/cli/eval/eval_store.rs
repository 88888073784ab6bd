//! The stores that queries are evaluated on: the user's, one of a dataset's pages, and compressed copies.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed;
use crate::evaluate::Dataset;
use crate::library::{self, Indexing, Library, Openers};
use crate::page::PageSet;
use crate::pipeline::{self, FileStamp, Input, Inputs, Job, RunStats, Stage};
use crate::render::Source;
use crate::store::{self, Address, CollectionSelector, Config, Mode, Precision, Store};
use crate::vectors::Profile;

use super::super::interrupt::STOP;
use super::super::progress;
use super::super::run::with_progress;
use super::super::temporary::TemporaryStore;
use super::super::ui::Ui;

/// Compression of vectors: parts joined by `+`, such as `pool-3+int8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compression {
    pool_factor: Option<u32>,
    precision: Option<Precision>,
    first_stage: Option<u32>,
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut compression = Self::default();
        for part in text.split('+') {
            let factor = |digits: &str| {
                let factor = digits
                    .parse()
                    .ok()
                    .filter(|factor| (2..=64).contains(factor));
                factor.ok_or_else(|| format!("`{part}` needs a factor between 2 and 64"))
            };
            match (part.strip_prefix("pool-"), part.strip_prefix("first-")) {
                (Some(digits), _) => compression.pool_factor = Some(factor(digits)?),
                (_, Some(digits)) => compression.first_stage = Some(factor(digits)?),
                _ => {
                    let unknown = || {
                        format!(
                            "unknown compression `{part}`: expected pool-N, first-N, int8 or 1-bit"
                        )
                    };
                    compression.precision = Some(Precision::from_name(part).ok_or_else(unknown)?);
                }
            }
        }
        Ok(compression)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.pool_factor.map(|factor| format!("pool-{factor}")),
            self.precision.map(|precision| precision.name().to_owned()),
            self.first_stage.map(|factor| format!("first-{factor}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("+"))
    }
}

/// The user's store, or a temporary one.
pub(super) struct EvalStore {
    pub(super) store: Box<dyn Store>,
    pub(super) profile: Profile,
    /// Name of the configured store.
    pub(super) name: String,
    /// Dropped after the store.
    _temporary: Option<TemporaryStore>,
}

impl EvalStore {
    /// Opens the user's store.
    pub(super) fn open(settings: &Settings, model: Option<&str>) -> Result<Self, Diagnostic> {
        let model = model.map(|_| &settings.embed);
        let Library { store, profile } = library::open_for_reading(&settings.store, model)?;
        Ok(Self {
            store,
            profile,
            name: store::name(&settings.store)?,
            _temporary: None,
        })
    }

    /// Indexes the pages of a dataset into a temporary store.
    pub(super) fn from_dataset(
        ui: &Ui,
        settings: &Settings,
        dataset: &Dataset,
    ) -> Result<Self, Diagnostic> {
        let card = embed::card(&settings.embed)?;
        progress::fetch(ui, |on_progress| embed::fetch(&settings.embed, on_progress))?;
        let plan = library::memory_plan(settings, &card)?;
        let eval_store = Self::temporary(&settings.store, &settings.store, card.profile.clone())?;
        let inputs = Inputs {
            items: vec![Input::Job(Box::new(dataset_job(settings, dataset)))],
            ..Inputs::default()
        };
        let indexing = Indexing {
            settings,
            card: &card,
            plan: &plan,
            store: &*eval_store.store,
        };
        let openers = Openers {
            renderer: Box::new(|| Ok(dataset.renderer(&settings.render))),
            ..Openers::new(settings)
        };
        let (stats, result) = with_progress(ui, &Stage::ALL, |on_event| {
            indexing.run_with(openers, &inputs, &STOP, on_event)
        });
        result
            .map_err(|e| Diagnostic::from(e).hint("TMPDIR sets the folder of temporary stores"))?;
        require_complete(ui, &stats)?;
        Ok(eval_store)
    }

    /// Copies the pages into a temporary store with compression.
    pub(super) fn compressed(
        &self,
        ui: &Ui,
        settings: &Config,
        compression: Compression,
    ) -> Result<Self, Diagnostic> {
        let needs_file = compression.precision.is_some() || compression.first_stage.is_some();
        if needs_file && matches!(settings.url, Address::Servers(_)) {
            return Err(Diagnostic::usage(format!(
                "{compression}: int8, 1-bit and first-N need a SQLite store"
            )));
        }
        let config = Config {
            precision: compression.precision,
            first_stage: compression.first_stage,
            ..settings.clone()
        };
        let factor = compression.pool_factor.unwrap_or(1);
        let profile = self.profile.pooled(factor);
        let compressed_store = Self::temporary(&config, settings, profile)?;
        let (stats, result) = with_progress(ui, &[Stage::Store], |on_event| {
            pipeline::sync(
                &*self.store,
                &*compressed_store.store,
                factor,
                &STOP,
                on_event,
            )
        });
        result
            .map_err(|e| Diagnostic::from(e).hint("TMPDIR sets the folder of temporary stores"))?;
        require_complete(ui, &stats)?;
        Ok(compressed_store)
    }

    fn temporary(config: &Config, named: &Config, profile: Profile) -> Result<Self, Diagnostic> {
        let temporary = TemporaryStore::new(config)?;
        let selector = CollectionSelector::Profile(&profile);
        let store = store::open(&temporary.config, selector, Mode::Write)?.store;
        store.prepare(&profile)?;
        Ok(Self {
            store,
            profile,
            name: store::name(named)?,
            _temporary: Some(temporary),
        })
    }

    /// Mean size of a page's vectors, in bytes.
    pub(super) fn bytes_per_page(&self) -> Result<u64, Diagnostic> {
        let manuals = self.store.manuals()?;
        let bytes: u64 = manuals.iter().map(|manual| manual.bytes).sum();
        let pages: u64 = manuals.iter().map(|manual| u64::from(manual.stored)).sum();
        Ok(bytes / pages.max(1))
    }
}

/// Prints failed pages, which no search can find.
///
/// # Errors
/// When the run was stopped, a manual failed, or no page was stored.
fn require_complete(ui: &Ui, stats: &RunStats) -> Result<(), Diagnostic> {
    if STOP.load(Ordering::Relaxed) {
        let why = "stopped; no report written, the temporary store was removed";
        return Err(Diagnostic::new(why));
    }
    for manual in &stats.manuals {
        if let Some(why) = &manual.error {
            return Err(Diagnostic::new(format!("{}: {why}", manual.manual)));
        }
        for failure in &manual.failed {
            let (name, page, why) = (&manual.manual, failure.page, &failure.reason);
            ui.warn(format!("{name}, page {page}: {why}; counted as not found"));
        }
    }
    match (
        stats.total(|manual| manual.waiting),
        stats.total(|manual| manual.stored),
    ) {
        (0, 0) => Err(Diagnostic::new("no page was stored")),
        (0, _) => Ok(()),
        _ => Err(Diagnostic::new(
            "the server of the temporary store is unavailable",
        )),
    }
}

fn dataset_job(settings: &Settings, dataset: &Dataset) -> Job {
    let path = PathBuf::from(dataset.manual.to_string());
    Job {
        stamp: FileStamp::of(&path),
        source: Source {
            manual: dataset.manual.clone(),
            path: path.clone(),
            passwords: Vec::new(),
        },
        selection: PageSet::all(),
        path,
        file: String::new(),
        origin: String::new(),
        fingerprints: HashMap::new(),
        text_profile: settings.embed.text_profile(),
        unchanged: None,
        moved: false,
        copy: None,
        pages: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_parse_and_print() {
        for text in ["pool-3", "int8", "1-bit", "first-4", "pool-2+int8+first-8"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        for wrong in ["", "pool", "pool-1", "pool-x", "int4", "int8+"] {
            assert!(wrong.parse::<Compression>().is_err(), "{wrong}");
        }
    }
}
