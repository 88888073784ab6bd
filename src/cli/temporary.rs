//! Stores that are made for a measurement and thrown away afterwards.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::diagnostic::Diagnostic;
use crate::store::{self, Address, Config};

/// Those that are there now; the second Ctrl-C removes them too.
static THERE: Mutex<Vec<(u32, Config, PathBuf)>> = Mutex::new(Vec::new());

/// Removes every temporary store: a run that is cut short would leave them behind.
pub(super) fn remove_all() {
    take(|_| true);
}

fn take(which: impl Fn(u32) -> bool) {
    let mut there = THERE.lock().unwrap_or_else(PoisonError::into_inner);
    for (_, config, folder) in there.extract_if(.., |(number, ..)| which(*number)) {
        drop(store::discard(&config));
        drop(std::fs::remove_dir_all(folder));
    }
}

/// A store for one measurement. Whoever opens it must close it first.
pub(super) struct Temporary {
    pub(super) config: Config,
    number: u32,
}

impl Temporary {
    /// A file in the folder for temporary files, or a collection of its own beside that of the settings.
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
        let mut there = THERE.lock().unwrap_or_else(PoisonError::into_inner);
        there.push((number, config.clone(), folder));
        Ok(Self { config, number })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        take(|number| number == self.number);
    }
}
