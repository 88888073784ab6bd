//! Queues, items and keys of these tests.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ingest::queue::{Config, Kind, Lease, NewItem, PullRequest, Queue, WorkGroup};
use ingest::units::ByteSize;
use tempfile::NamedTempFile;

use crate::nats::{self, Server};

/// Lease of an item.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// Settings for a server.
pub(crate) fn config(url: &str) -> Config {
    Config {
        lease_s: LEASE.as_secs(),
        keep: ByteSize(100_000_000),
        ..Config::new(url.parse().unwrap())
    }
}

/// A coordinator's queue on a server, with its streams.
pub(crate) fn coordinator(server: &Server) -> Queue {
    let queue = Queue::connect(&config(&server.url())).unwrap();
    queue.create().unwrap();
    queue
}

/// A queue on the server that the tests share. Each test has its own names.
pub(crate) fn shared() -> Queue {
    coordinator(nats::shared())
}

/// A file with a key, and settings that name it.
pub(crate) fn with_key(url: &str, key: &str) -> (NamedTempFile, Config) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{key}\n")).unwrap();
    let config = Config {
        key_file: Some(PathBuf::from(file.path())),
        ..config(url)
    };
    (file, config)
}

/// Items `0`, `1`, … of a run; the group has the name of the run.
pub(crate) fn items(run: &str, count: usize) -> Vec<NewItem> {
    let item = |number: usize| NewItem {
        kind: Kind::Pages,
        group: run.to_owned(),
        run: run.to_owned(),
        item: number.to_string(),
        payload: format!("payload {number}").into_bytes(),
    };
    (0..count).map(item).collect()
}

/// Publishes until all are in the queue.
pub(crate) fn publish(queue: &Queue, items: &[NewItem]) {
    queue.publish(items, &AtomicBool::new(false)).unwrap();
}

/// Leases up to `items` items, waiting 300 ms for the first one.
pub(crate) fn pull<'q>(group: &WorkGroup<'q>, items: usize) -> Vec<Lease<'q>> {
    pull_within(group, items, Duration::from_millis(300))
}

/// Leases up to `items` items, waiting for the first one.
pub(crate) fn pull_within<'q>(
    group: &WorkGroup<'q>,
    items: usize,
    expires: Duration,
) -> Vec<Lease<'q>> {
    let request = PullRequest {
        items,
        expires,
        min_pending: 0,
    };
    group.pull(request).unwrap()
}

/// The names of leased items, sorted.
pub(crate) fn names(leases: &[Lease<'_>]) -> Vec<String> {
    let mut names: Vec<String> = leases.iter().map(|lease| lease.item().to_owned()).collect();
    names.sort();
    names
}
