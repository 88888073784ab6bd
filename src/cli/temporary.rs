//! Temporary stores for measurements, removed afterwards.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::diagnostic::Diagnostic;
use crate::store::{self, Address, Config};

/// The stores that exist now; the second Ctrl-C removes them too.
static LIVE: Mutex<Vec<(u32, Config, PathBuf)>> = Mutex::new(Vec::new());

/// Removes every temporary store, when the process exits without dropping them.
pub(super) fn remove_all() {
    remove_where(|_| true);
}

fn remove_where(matches: impl Fn(u32) -> bool) {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    for (_, config, folder) in live.extract_if(.., |(number, ..)| matches(*number)) {
        drop(store::discard(&config));
        drop(std::fs::remove_dir_all(folder));
    }
}

/// A store for one measurement, removed on drop. It must be closed before that.
pub(super) struct TemporaryStore {
    pub(super) config: Config,
    number: u32,
}

impl TemporaryStore {
    /// Creates the folder of a SQLite file, or chooses a new collection on the configured server.
    pub(super) fn new(settings: &Config) -> Result<Self, Diagnostic> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new()
            .prefix("ingest-bench-")
            .tempdir()?
            .keep();
        let config = match &settings.url {
            Address::File(_) => Config {
                url: Address::File(folder.join("library.db")),
                ..settings.clone()
            },
            Address::Servers(_) => Config {
                collection: format!(
                    "{}Bench{}x{number}",
                    settings.collection,
                    std::process::id()
                ),
                ..settings.clone()
            },
        };
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        live.push((number, config.clone(), folder));
        Ok(Self { config, number })
    }
}

impl Drop for TemporaryStore {
    fn drop(&mut self) {
        remove_where(|number| number == self.number);
    }
}
