//! The machines of a run: each has its own folders, all have the same queue and store.

use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ingest::distributed::Worker;
use ingest::queue::Queue;
use ingest::store::{Address, CollectionSelector, Config, Mode, Scope, StoredPage, open};
use rustix::process::{Pid, Signal, kill_process};

use crate::nats;
use crate::pdf;
use crate::sandbox::{CommandOutput, Sandbox};
use crate::support::config;
use crate::weaviate;

/// Lease of these runs.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// A queue, a collection, and the files of a run.
pub(crate) struct Office {
    pub(crate) nats: String,
    store: String,
    collection: String,
    /// The machine on which files lie and commands run.
    pub(crate) desk: Sandbox,
}

impl Office {
    pub(crate) fn new(nats: &nats::Server, store: &weaviate::Server) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let collection = format!("Run{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (nats, store) = (nats.url(), store.url());
        let desk = machine(&nats, &store, &collection);
        Self {
            nats,
            store,
            collection,
            desk,
        }
    }

    /// Another machine, which does not see the files of the desk.
    pub(crate) fn machine(&self) -> Sandbox {
        let machine = machine(&self.nats, &self.store, &self.collection);
        let cache = machine.path("files").display().to_string();
        machine
            .with("INGEST_QUEUE_FILES", "queue")
            .with("INGEST_QUEUE_CACHE", &cache)
    }

    /// Writes a file of so many pages.
    pub(crate) fn file(&self, name: &str, pages: u32) {
        let texts: Vec<String> = (1..=pages)
            .map(|n| format!("{name} part number {n}"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.desk.write(name, &pdf::good(&texts));
    }

    pub(crate) fn queue(&self) -> Queue {
        Queue::connect(&config(&self.nats)).unwrap()
    }

    /// All pages in the store.
    pub(crate) fn stored(&self) -> Vec<StoredPage> {
        pages(&Config {
            collection: self.collection.clone(),
            ..Config::new(self.store.parse().unwrap())
        })
    }

    /// What one machine alone stores of the same files, described with the model of a server.
    pub(crate) fn expected_descriptions(&self, files: &[&str], server: &str) -> Vec<StoredPage> {
        self.expected(files);
        let model = ["--runner", "openai", "--model", "tiny", "--url", server];
        let args = [
            &["describe", "--store", "alone.db", "--queue", ""],
            &model[..],
        ]
        .concat();
        let alone = self.desk.run(&args);
        assert_eq!(alone.code, 0, "{}", alone.err);
        pages(&Config::new(Address::File(self.desk.path("alone.db"))))
    }

    /// What one machine alone stores of the same files.
    pub(crate) fn expected(&self, files: &[&str]) -> Vec<StoredPage> {
        let args = [files, &["--store", "alone.db", "--queue", ""]].concat();
        let alone = self.desk.run(&args);
        assert!(alone.code < 2, "{}", alone.err);
        pages(&Config::new(Address::File(self.desk.path("alone.db"))))
    }
}

fn machine(nats: &str, store: &str, collection: &str) -> Sandbox {
    Sandbox::tiny()
        .with("INGEST_STORE_URL", store)
        .with("INGEST_STORE_COLLECTION", collection)
        .with("INGEST_QUEUE_URL", nats)
        .with("INGEST_QUEUE_KEEP", "100 MB")
        .with("INGEST_QUEUE_LEASE_S", &LEASE.as_secs().to_string())
}

fn pages(config: &Config) -> Vec<StoredPage> {
    let store = open(config, CollectionSelector::Last, Mode::Read)
        .unwrap()
        .store;
    let pages = store.scan(&Scope::default()).unwrap();
    pages.map(Result::unwrap).collect()
}

/// A command in the background. It is killed when this value is dropped.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(machine: &Sandbox, args: &[&str]) -> Self {
        Self(Some(machine.start(args)))
    }

    pub(crate) fn worker(machine: &Sandbox) -> Self {
        Self::start(machine, &["work"])
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.0.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub(crate) fn output(mut self) -> CommandOutput {
        self.0.take().unwrap().wait_with_output().unwrap().into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(90),
            "not within 90 s: {what}"
        );
        sleep(Duration::from_millis(50));
    }
}

/// The workers that live.
pub(crate) fn workers(queue: &Queue) -> Vec<Worker> {
    ingest::distributed::runs(queue).map_or_else(|_| Vec::new(), |(_, workers)| workers)
}
