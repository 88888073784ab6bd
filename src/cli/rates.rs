//! How fast a model was here last time: what a dry run's expected time is reckoned from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use etcetera::BaseStrategy;

use crate::embed::Card;

/// Embedded pages per second by model and device; `None` where there is no home or it was never run here.
pub(super) fn recall(card: &Card) -> Option<f64> {
    read()?.get(&key(card)).copied()
}

/// Keeps the rate of a run. A cache that cannot be written is no reason to fail.
pub(super) fn remember(card: &Card, pages_per_second: f64) {
    let Some(file) = file() else { return };
    let mut rates = read().unwrap_or_default();
    rates.insert(key(card), pages_per_second);
    if let (Some(folder), Ok(text)) = (file.parent(), serde_json::to_string_pretty(&rates)) {
        drop(std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text)));
    }
}

fn read() -> Option<BTreeMap<String, f64>> {
    serde_json::from_str(&std::fs::read_to_string(file()?).ok()?).ok()
}

fn file() -> Option<PathBuf> {
    let base = etcetera::base_strategy::choose_native_strategy().ok()?;
    Some(base.cache_dir().join("ingest/rates.json"))
}

fn key(card: &Card) -> String {
    format!("{} {}", card.profile.id, card.device)
}
