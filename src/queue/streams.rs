//! The streams behind the queue: made by coordinators, and checked where they exist.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use super::link::{Link, Subject};
use super::names::{FILES, LEADS, RESULTS, RUNS, WORK, WORKERS};
use super::{Error, Queue};
use crate::units::ByteSize;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long results and manifests are kept.
const KEPT: Duration = DAY.saturating_mul(30);
/// A worker that gives no sign of life for so long is not listed any more.
const WORKER_AGE: Duration = Duration::from_secs(10);
/// Minimum size of the files in bytes.
const MIN_FILES: i64 = 1 << 30;
/// A coordinator that does not renew its lead for so long has lost it.
const LEAD_AGE: Duration = Duration::from_secs(4);

/// What of the settings concerns streams.
#[derive(Clone, Copy)]
pub(super) struct StreamSettings {
    /// Servers that keep each message.
    pub(super) replicas: usize,
    /// Maximum size of the files in bytes.
    pub(super) keep: i64,
}

impl Queue {
    /// Makes the streams and buckets that do not exist, and checks the settings of those that do. For coordinators.
    ///
    /// # Errors
    /// [`Error::SettingMismatch`], [`Error::Forbidden`] for a user with the rights of a worker, [`Error::Away`],
    /// [`Error::Failed`].
    pub fn create(&self) -> Result<(), Error> {
        for (name, wanted) in wanted(self.streams) {
            ensure(&self.link, name, &wanted)?;
        }
        Ok(())
    }
}

fn wanted(settings: StreamSettings) -> [(&'static str, Config); 6] {
    let kept = |name: &str, age| Config {
        name: name.to_owned(),
        storage: StorageType::File,
        num_replicas: settings.replicas,
        max_age: age,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    // As the client and the server's tools make them.
    let bucket = |name: &'static str, age| {
        let stream = Config {
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: 1,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..kept(&format!("KV_{name}"), age)
        };
        (name, stream)
    };
    let work = Config {
        subjects: vec!["ingest.work.>".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        max_messages_per_subject: 1,
        discard_new_per_subject: true,
        ..kept(WORK, Duration::ZERO)
    };
    let results = Config {
        subjects: vec!["ingest.results.*".to_owned()],
        allow_direct: true,
        ..kept(RESULTS, KEPT)
    };
    let files = Config {
        subjects: vec![format!("$O.{FILES}.C.>"), format!("$O.{FILES}.M.>")],
        max_bytes: settings.keep,
        allow_rollup: true,
        allow_direct: true,
        ..kept(&format!("OBJ_{FILES}"), Duration::ZERO)
    };
    [
        (WORK, work),
        (RESULTS, results),
        (FILES, files),
        bucket(RUNS, KEPT),
        bucket(WORKERS, WORKER_AGE),
        bucket(LEADS, LEAD_AGE),
    ]
}

/// Makes a stream, or checks it and sets its size.
fn ensure(link: &Link, name: &'static str, wanted: &Config) -> Result<(), Error> {
    let what = format!("make `{name}`");
    let about = Subject {
        what: &what,
        name,
        subject: &wanted.name,
    };
    let mut wanted = wanted.clone();
    let stream = loop {
        let made = link.retry(about, async || {
            Ok(link.context.get_or_create_stream(wanted.clone()).await?)
        });
        match made {
            // The server's disk is smaller than `queue.keep`.
            Err(Error::Full { .. }) if wanted.max_bytes > MIN_FILES => wanted.max_bytes /= 2,
            made => break made.map_err(|error| reserved(error, &wanted))?,
        }
    };
    let found = &stream.cached_info().config;
    if let Some((what, found, wanted)) = difference(found, &wanted) {
        return Err(Error::SettingMismatch {
            location: link.location.clone(),
            name: name.to_owned(),
            what,
            found,
            wanted,
        });
    }
    if found.max_bytes != wanted.max_bytes && wanted.max_bytes > 0 {
        let resized = Config {
            max_bytes: wanted.max_bytes,
            ..found.clone()
        };
        let updated = link.retry(about, async || {
            Ok(link.context.update_stream(&resized).await?)
        });
        // It stays as large as it is if the disk has no room.
        match updated {
            Err(Error::Full { .. }) => {}
            updated => drop(updated?),
        }
    }
    Ok(())
}

/// A server sets the maximum size of a stream aside: it says so only in general.
fn reserved(error: Error, wanted: &Config) -> Error {
    match (error, u64::try_from(wanted.max_bytes)) {
        (Error::Full { location, why }, Ok(size)) if size > 0 => Error::Full {
            location,
            why: format!("it cannot set aside {} for files: {why}", ByteSize(size)),
        },
        (error, _) => error,
    }
}

/// The first property that differs: its name, its value, and the one that is needed.
fn difference(found: &Config, wanted: &Config) -> Option<(&'static str, String, String)> {
    let shown = |config: &Config| {
        [
            ("the subjects", config.subjects.join(", ")),
            ("the retention", format!("{:?}", config.retention)),
            ("the replicas", config.num_replicas.to_string()),
            ("the age", format!("{:?}", config.max_age)),
            (
                "the messages a subject",
                format!("{}", config.max_messages_per_subject.max(0)),
            ),
            (
                "the refusal of a second message a subject",
                config.discard_new_per_subject.to_string(),
            ),
            ("the direct access", config.allow_direct.to_string()),
        ]
    };
    let mut pairs = shown(found).into_iter().zip(shown(wanted));
    let (found, wanted) = pairs.find(|(found, wanted)| found.1 != wanted.1)?;
    Some((found.0, found.1, wanted.1))
}
