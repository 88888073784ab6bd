//! `ingest sync`: copies pages between stores, and sends the outbox to its server.

use std::process::ExitCode;

use crate::diagnostic::Diagnostic;
use crate::library::{self, Library};
use crate::pipeline::{self, Stage};
use crate::store::{
    self, Address, CollectionSelector, Config, Index, Mode, Precision, Quantiser, ServerIndex,
};
use crate::units::pages;
use crate::vectors::Profile;

use super::Common;
use super::interrupt::{self, STOP};
use super::options::require_address;
use super::run::{open_for_writing, print_flush, print_upgrade, summary, with_progress};
use super::ui::Ui;

/// Copy pages between stores, or send queued pages to the server
///
/// Vectors are copied, not computed again, and pages that are already there are skipped: an interrupted sync resumes.
/// Without `--from` and `--to`, pages in the outbox are sent to the configured server, and pages missing from its index,
/// for example after a crash, are restored.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest sync
  ingest sync --from library.db --to fast.db --precision int8 --first-stage 8
  ingest sync --from library.db --to http://127.0.0.1:8080")]
pub(super) struct SyncArgs {
    /// Source: a SQLite file or http(s):// URL [default: the configured store]
    #[arg(long, value_name = "STORE")]
    from: Option<String>,
    /// Collection of the source server
    #[arg(long, value_name = "NAME")]
    from_collection: Option<String>,
    /// Target: a SQLite file or http(s):// URL [default: the configured store]
    #[arg(long, value_name = "STORE")]
    to: Option<String>,
    /// Collection of the target server
    #[arg(long, value_name = "NAME")]
    to_collection: Option<String>,
    /// Vector index of a new collection
    #[arg(long, value_enum)]
    index: Option<Index>,
    /// Compression of the index of a new collection
    #[arg(long, value_enum)]
    quantiser: Option<Quantiser>,
    /// Precision of the vectors in a new file
    #[arg(long, value_enum)]
    precision: Option<Precision>,
    /// Pool factor of the first stage in a new file
    #[arg(long, value_name = "FACTOR")]
    first_stage: Option<u32>,
}

impl SyncArgs {
    /// Whether any option names a source or a target.
    fn names_endpoint(&self) -> bool {
        [
            &self.from,
            &self.from_collection,
            &self.to,
            &self.to_collection,
        ]
        .iter()
        .any(|name| name.is_some())
    }

    fn from(&self, settings: &Config) -> Result<Config, Diagnostic> {
        let config = Config {
            index: None,
            quantiser: None,
            replication: None,
            shards: None,
            ..settings.clone()
        };
        with_address(
            config,
            ("--from", self.from.as_deref()),
            self.from_collection.as_deref(),
        )
    }

    fn to(&self, settings: &Config) -> Result<Config, Diagnostic> {
        let config = Config {
            index: self.index.or(settings.index),
            quantiser: self.quantiser.or(settings.quantiser),
            precision: self.precision.or(settings.precision),
            first_stage: self.first_stage.or(settings.first_stage),
            ..settings.clone()
        };
        let url = ("--to", self.to.as_deref());
        with_address(config, url, self.to_collection.as_deref())
    }
}

fn with_address(
    mut config: Config,
    (flag, url): (&str, Option<&str>),
    collection: Option<&str>,
) -> Result<Config, Diagnostic> {
    if let Some(url) = url {
        require_address(flag, url)?;
        let invalid = |why: String| Diagnostic::usage(format!("{flag}: {why}"));
        config.url = url.parse().map_err(invalid)?;
    }
    if let Some(collection) = collection {
        config.collection = collection.to_owned();
    }
    let invalid = |error| Diagnostic::usage(format!("store.{error}"));
    config.validate().map_err(invalid)?;
    Ok(config)
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &SyncArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    if !args.names_endpoint() {
        return flush_outbox(ui, &settings.store);
    }
    let (from, to) = (args.from(&settings.store)?, args.to(&settings.store)?);
    if store::name(&from)? == store::name(&to)? {
        return Err(
            Diagnostic::usage(format!("source and target are both {}", store::name(&to)?))
                .hint("set `--to` or `--from` to another store"),
        );
    }
    let Library {
        store: source,
        profile,
    } = library::open_for_reading(&from, common.model().map(|_| &settings.embed))?;
    let factor = copy_pool_factor(&profile, common.pool_factor)?;
    let target = open_for_writing(ui, &to, &profile.pooled(factor), Mode::Write)?;
    interrupt::install_handler()?;
    let (stats, result) = with_progress(ui, &[Stage::Store], |on_event| {
        pipeline::sync(&*source, &*target, factor, &STOP, on_event)
    });
    if ui.json {
        ui.json(&stats)?;
    } else if !ui.quiet() {
        ui.text(summary(&stats))?;
    }
    if stats.stopped {
        ui.warn("stopped; run the same command again to resume");
    }
    result.map_err(Diagnostic::from)?;
    Ok(stats.exit_code().into())
}

/// Returns the factor by which copied pages are pooled, so that all are pooled by `requested`.
fn copy_pool_factor(profile: &Profile, requested: Option<u32>) -> Result<u32, Diagnostic> {
    match (
        profile.pool_factor,
        requested.unwrap_or(profile.pool_factor),
    ) {
        (existing, requested) if existing == requested => Ok(1),
        (1, requested) => Ok(requested),
        (existing, _) => Err(Diagnostic::usage(format!(
            "the pages are already pooled by {existing}, which cannot be undone"
        ))),
    }
}

/// Sends the outbox to the configured server, and repairs the index of the server.
fn flush_outbox(ui: &mut Ui, config: &Config) -> Result<ExitCode, Diagnostic> {
    if let Address::File(_) = config.url {
        return Err(Diagnostic::usage(
            "a SQLite store has no outbox; use `--from` and `--to` to copy pages",
        ));
    }
    let opened = store::open(config, CollectionSelector::Last, Mode::Write)?;
    print_upgrade(ui, &opened);
    let store = opened.store;
    let refused = match opened.profile {
        None => 0,
        Some(profile) => {
            store.prepare(&profile)?;
            let flushed = library::flush(&*store)?;
            print_flush(ui, &flushed);
            let repair = |index: &dyn ServerIndex| index.repair(&store.cards()?);
            match store.index().map(repair).transpose()? {
                None | Some(0) => {}
                Some(count) => ui.info(format!(
                    "{} restored to the index of the server",
                    pages(count)
                )),
            }
            flushed.refused.len()
        }
    };
    let waiting = store.outbox().map_or(Ok(0), |outbox| outbox.pending())?;
    let outage = store.outbox().and_then(|outbox| outbox.outage());
    match (waiting, outage.or(opened.note.map(Into::into))) {
        (0, _) => ui.info("the outbox is empty"),
        (_, why) => ui.warn(format!(
            "{} still queued; {}",
            pages(waiting as u64),
            why.unwrap_or_default()
        )),
    }
    Ok(ExitCode::from(u8::from(refused > 0 || waiting > 0)))
}
