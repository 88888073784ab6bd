//! The pages that queries are evaluated on: those of the user, those of a dataset, and the same ones compressed.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed;
use crate::evaluate::Dataset;
use crate::library::{self, Library};
use crate::page::PageSet;
use crate::pipeline::{self, Components, Job, RunStats, Stage};
use crate::render::Source;
use crate::store::{self, Address, CollectionSelector, Config, Mode, Precision, Store};
use crate::vectors::Profile;

use super::super::interrupt::STOP;
use super::super::progress;
use super::super::run::{pipeline_settings, with_progress};
use super::super::temporary::Temporary;
use super::super::ui::Ui;

/// How pages are made smaller: parts with `+` between, such as `pool-3+int8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compression {
    pool_factor: Option<u32>,
    precision: Option<Precision>,
    first_stage: Option<u32>,
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut made = Self::default();
        for part in text.split('+') {
            let factor = |digits: &str| {
                let factor = digits
                    .parse()
                    .ok()
                    .filter(|factor| (2..=64).contains(factor));
                factor.ok_or_else(|| format!("`{part}` needs a factor between 2 and 64"))
            };
            match (part.strip_prefix("pool-"), part.strip_prefix("first-")) {
                (Some(digits), _) => made.pool_factor = Some(factor(digits)?),
                (_, Some(digits)) => made.first_stage = Some(factor(digits)?),
                _ => {
                    let unknown = || format!("`{part}` is none of pool-N, first-N, int8, 1-bit");
                    made.precision = Some(Precision::from_name(part).ok_or_else(unknown)?);
                }
            }
        }
        Ok(made)
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

/// Stored pages, in the user's store or in a temporary one.
pub(super) struct EvalStore {
    pub(super) store: Box<dyn Store>,
    pub(super) profile: Profile,
    /// The store that the user named.
    pub(super) name: String,
    /// Goes after the store.
    _temporary: Option<Temporary>,
}

impl EvalStore {
    /// The user's own.
    pub(super) fn stored(settings: &Settings, model: Option<&str>) -> Result<Self, Diagnostic> {
        let model = model.map(|_| &settings.embed);
        let Library { store, profile } = library::open_for_reading(&settings.store, model)?;
        Ok(Self {
            store,
            profile,
            name: store::name(&settings.store)?,
            _temporary: None,
        })
    }

    /// The pages of a dataset, embedded into a temporary store.
    pub(super) fn filled(
        ui: &Ui,
        settings: &Settings,
        dataset: &Dataset,
    ) -> Result<Self, Diagnostic> {
        let card = embed::card(&settings.embed)?;
        progress::fetch(ui, |watch| embed::fetch(&settings.embed, watch))?;
        let plan = library::memory_plan(settings, &card)?;
        let filled = Self::temporary(&settings.store, &settings.store, card.profile.clone())?;
        let jobs = vec![Ok(job(dataset))];
        let parts = Components {
            renderer: Box::new(|| Ok(dataset.renderer(&settings.render))),
            embedder: Box::new(|| library::open_model(settings, &settings.embed)),
            store: &*filled.store,
        };
        let how = pipeline_settings(settings, &card, &plan, PageSet::default());
        let (stats, result) = with_progress(ui, &Stage::ALL, |watch| {
            pipeline::ingest(parts, &jobs, &how, &STOP, watch)
        });
        result
            .map_err(|e| Diagnostic::from(e).hint("TMPDIR names the folder of temporary stores"))?;
        complete(ui, &stats)?;
        Ok(filled)
    }

    /// The same pages, compressed, in a temporary store.
    pub(super) fn compressed(
        &self,
        ui: &Ui,
        settings: &Config,
        compression: Compression,
    ) -> Result<Self, Diagnostic> {
        let in_files = compression.precision.is_some() || compression.first_stage.is_some();
        if in_files && matches!(settings.url, Address::Servers(_)) {
            return Err(Diagnostic::usage(format!(
                "{compression}: only a file keeps fewer bits or a first stage"
            )));
        }
        let wanted = Config {
            precision: compression.precision,
            first_stage: compression.first_stage,
            ..settings.clone()
        };
        let factor = compression.pool_factor.unwrap_or(1);
        let profile = self.profile.pooled(factor);
        let smaller = Self::temporary(&wanted, settings, profile)?;
        let (stats, result) = with_progress(ui, &[Stage::Store], |watch| {
            pipeline::sync(&*self.store, &*smaller.store, factor, &STOP, watch)
        });
        result
            .map_err(|e| Diagnostic::from(e).hint("TMPDIR names the folder of temporary stores"))?;
        complete(ui, &stats)?;
        Ok(smaller)
    }

    fn temporary(wanted: &Config, named: &Config, profile: Profile) -> Result<Self, Diagnostic> {
        let temporary = Temporary::new(wanted)?;
        let which = CollectionSelector::Profile(&profile);
        let store = store::open(&temporary.config, which, Mode::Write)?.store;
        store.prepare(&profile)?;
        Ok(Self {
            store,
            profile,
            name: store::name(named)?,
            _temporary: Some(temporary),
        })
    }

    /// Bytes that the vectors of a page take, on average.
    pub(super) fn bytes_per_page(&self) -> Result<u64, Diagnostic> {
        let manuals = self.store.manuals()?;
        let bytes: u64 = manuals.iter().map(|manual| manual.bytes).sum();
        let pages: u64 = manuals.iter().map(|manual| u64::from(manual.stored)).sum();
        Ok(bytes / pages.max(1))
    }
}

/// Ends what was stopped or failed as a whole; names pages that are not there, which no search will find.
fn complete(ui: &Ui, stats: &RunStats) -> Result<(), Diagnostic> {
    if STOP.load(Ordering::Relaxed) {
        let why = "stopped; nothing is reported, the temporary store is gone";
        return Err(Diagnostic::new(why));
    }
    for manual in &stats.manuals {
        if let Some(why) = &manual.error {
            return Err(Diagnostic::new(format!("{}: {why}", manual.manual)));
        }
        for failure in &manual.failed {
            let (name, page, why) = (&manual.manual, failure.page, &failure.reason);
            ui.warn(format!(
                "{name}, page {page}: {why}; it counts as not found"
            ));
        }
    }
    match (
        stats.total(|manual| manual.waiting),
        stats.total(|manual| manual.stored),
    ) {
        (0, 0) => Err(Diagnostic::new("no page could be stored")),
        (0, _) => Ok(()),
        _ => Err(Diagnostic::new("the server of the temporary store is away")),
    }
}

fn job(dataset: &Dataset) -> Job {
    Job {
        source: Source {
            manual: dataset.manual.clone(),
            path: dataset.manual.to_string().into(),
            password: None,
        },
        file: String::new(),
        origin: String::new(),
        fingerprints: HashMap::new(),
        unchanged: None,
        moved: false,
        pages: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_written_with_plus_signs() {
        for text in ["pool-3", "int8", "1-bit", "first-4", "pool-2+int8+first-8"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        for wrong in ["", "pool", "pool-1", "pool-x", "int4", "int8+"] {
            assert!(wrong.parse::<Compression>().is_err(), "{wrong}");
        }
    }
}
