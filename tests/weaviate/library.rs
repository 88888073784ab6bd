//! Sandbox with a server as store.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ingest::store::{Address, CollectionSelector, Config, Mode, Opened, open};
use serde_json::Value;

use crate::pdf;
use crate::sandbox::Sandbox;

/// A unique collection name.
pub(crate) fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("Pages{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A new collection on a server.
pub(crate) fn config(url: &str) -> Config {
    Config {
        collection: new_name(),
        timeout_s: 60,
        ..Config::new(url.parse::<Address>().unwrap())
    }
}

/// Opens a collection for reading.
pub(crate) fn reader(config: &Config) -> Opened {
    open(config, CollectionSelector::Last, Mode::Read).unwrap()
}

/// An HTTP client for direct requests.
pub(crate) fn client() -> reqwest::blocking::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::blocking::Client::new()
}

pub(crate) struct ServerSandbox {
    sandbox: Sandbox,
    pub(crate) url: String,
    pub(crate) collection: String,
}

/// All other methods are those of [`Sandbox`].
impl std::ops::Deref for ServerSandbox {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl ServerSandbox {
    /// A sandbox with the tiny ColQwen2.5 and a new collection.
    pub(crate) fn at(url: &str) -> Self {
        let collection = new_name();
        Self {
            sandbox: Sandbox::tiny()
                .with("INGEST_STORE_URL", url)
                .with("INGEST_STORE_COLLECTION", &collection),
            url: url.to_owned(),
            collection,
        }
    }

    /// The configuration of its store.
    pub(crate) fn config(&self) -> Config {
        Config {
            collection: self.collection.clone(),
            ..Config::new(self.url.parse().unwrap())
        }
    }

    /// Adds an environment variable to every command.
    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        Self {
            sandbox: self.sandbox.with(name, value),
            ..self
        }
    }

    /// Writes a manual with unique text on each page.
    pub(crate) fn manual(&self, name: &str, pages: u32) {
        let texts: Vec<String> = (1..=pages)
            .map(|n| format!("{name} part number {n}"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.write(name, &pdf::good(&texts));
    }

    /// Waits until a run has stored the record of a manual: its pages are in flight.
    pub(crate) fn wait_for(&self, manual: &str) {
        let start = Instant::now();
        let has_record = || {
            let opened = open(&self.config(), CollectionSelector::Last, Mode::Read).ok()?;
            let cards = opened.store.cards().ok()?;
            cards
                .iter()
                .find(|card| card.id.as_str() == manual)
                .map(drop)
        };
        while has_record().is_none() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{manual} was not stored"
            );
            sleep(Duration::from_millis(10));
        }
    }

    /// The sum of a count over the manuals of a run's report.
    pub(crate) fn total(report: &Value, count: &str) -> u64 {
        let manuals = report["manuals"].as_array().unwrap();
        manuals.iter().map(|m| m[count].as_u64().unwrap()).sum()
    }

    /// The number of stored pages, and their exact rankings with scores for some queries.
    pub(crate) fn contents(&self) -> (u64, Vec<Value>) {
        let list = self.run(&["list", "--json"]);
        assert_eq!(list.code, 0, "{}", list.err);
        let list = list.json();
        let stored = list
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["stored"].as_u64().unwrap())
            .sum();
        let mut rankings = Vec::new();
        for n in [1, 4, 7] {
            let query = format!("part number {n}");
            let found = self.run(&[
                "search", &query, "--visual", "--exact", "-k", "99", "--json",
            ]);
            assert_eq!(found.code, 0, "{}", found.err);
            rankings.push(found.json());
        }
        (stored, rankings)
    }
}
