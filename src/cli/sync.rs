//! `ingest sync`: between stores, and from the outbox to its server.

use std::process::ExitCode;

use crate::diagnostic::Diagnostic;
use crate::library::{self, Library};
use crate::pipeline::{self, Stage};
use crate::store::{
    self, Address, CollectionSelector, Config, Index, Mode, Precision, Quantiser, ServerIndex,
};
use crate::vectors::Profile;

use super::Common;
use super::interrupt::{self, STOP};
use super::run::{open_for_writing, print_flush, summary, with_progress};
use super::ui::Ui;

/// Copy every page from one store into another, or send what waits for a server
///
/// Nothing is embedded again, and pages that are there already are not sent: a sync that was ended goes on. Without
/// `--from` and `--to`, pages that waited for the configured server are sent, and pages that its index has lost, as
/// happens when it is killed, are put back.
#[derive(clap::Args, Debug)]
pub(super) struct SyncArgs {
    /// Where pages come from: a SQLite file, or http(s):// [default: the configured store]
    #[arg(long, value_name = "STORE")]
    from: Option<String>,
    /// The collection of a server they come from
    #[arg(long, value_name = "NAME")]
    from_collection: Option<String>,
    /// Where pages go [default: the configured store]
    #[arg(long, value_name = "STORE")]
    to: Option<String>,
    /// The collection of a server they go into
    #[arg(long, value_name = "NAME")]
    to_collection: Option<String>,
    /// How a new collection is indexed
    #[arg(long, value_enum)]
    index: Option<Index>,
    /// How a new collection's index is compressed
    #[arg(long, value_enum)]
    quantiser: Option<Quantiser>,
    /// How a new file keeps vectors
    #[arg(long, value_enum)]
    precision: Option<Precision>,
    /// Pool factor of a new file's first stage
    #[arg(long, value_name = "FACTOR")]
    first_stage: Option<u32>,
}

impl SyncArgs {
    /// Whether another store than the configured one is named.
    fn names_a_store(&self) -> bool {
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
        elsewhere(
            config,
            self.from.as_deref(),
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
        elsewhere(config, self.to.as_deref(), self.to_collection.as_deref())
    }
}

fn elsewhere(
    mut config: Config,
    url: Option<&str>,
    collection: Option<&str>,
) -> Result<Config, Diagnostic> {
    if let Some(url) = url {
        config.url = url.parse().map_err(|why: String| Diagnostic::usage(why))?;
    }
    if let Some(collection) = collection {
        config.collection = collection.to_owned();
    }
    match config.flaw() {
        None => Ok(config),
        Some((key, why)) => Err(Diagnostic::usage(format!("store.{key} {why}"))),
    }
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &SyncArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    if !args.names_a_store() {
        return flush_outbox(ui, &settings.store);
    }
    let (from, to) = (args.from(&settings.store)?, args.to(&settings.store)?);
    if store::name(&from)? == store::name(&to)? {
        return Err(
            Diagnostic::usage(format!("both stores are {}", store::name(&to)?))
                .hint("name the other one with `--to`, or with `--from`"),
        );
    }
    let Library {
        store: source,
        profile,
    } = library::open_for_reading(&from, common.model().map(|_| &settings.embed))?;
    let factor = pool_factor(&profile, common.pool_factor)?;
    let target = open_for_writing(ui, &to, &profile.pooled(factor), Mode::Write)?;
    interrupt::install_handler()?;
    let (stats, result) = with_progress(ui, &[Stage::Store], |watch| {
        pipeline::sync(&*source, &*target, factor, &STOP, watch)
    });
    if ui.json {
        ui.json(&stats)?;
    } else if !ui.quiet() {
        ui.data(summary(&stats))?;
    }
    if stats.stopped {
        ui.warn("stopped; the same command goes on where it ended");
    }
    result.map_err(Diagnostic::from)?;
    Ok(stats.exit_code().into())
}

/// By how much pages are pooled on their way, when all shall be pooled by `wanted`.
fn pool_factor(profile: &Profile, wanted: Option<u32>) -> Result<u32, Diagnostic> {
    match (profile.pool_factor, wanted.unwrap_or(profile.pool_factor)) {
        (there, wanted) if there == wanted => Ok(1),
        (1, wanted) => Ok(wanted),
        (there, _) => Err(Diagnostic::usage(format!(
            "the pages are pooled by {there} already, which cannot be undone"
        ))),
    }
}

/// Sends what waits for the configured server, and puts back what its index has lost.
fn flush_outbox(ui: &mut Ui, config: &Config) -> Result<ExitCode, Diagnostic> {
    if let Address::File(_) = config.url {
        return Err(Diagnostic::usage("nothing waits for a file")
            .hint("`--to` names the store that pages go to, `--from` the one they come from"));
    }
    let opened = store::open(config, CollectionSelector::Last, Mode::Write)?;
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
                Some(pages) => ui.say(format!(
                    "{pages} pages that the server's index had lost are back"
                )),
            }
            flushed.refused.len()
        }
    };
    let waiting = store.outbox().map_or(Ok(0), |outbox| outbox.pending())?;
    match (waiting, opened.note) {
        (0, _) => ui.say("nothing waits"),
        (_, note) => ui.warn(format!(
            "{waiting} pages still wait; {}",
            note.unwrap_or_default()
        )),
    }
    Ok(ExitCode::from(u8::from(refused > 0 || waiting > 0)))
}
