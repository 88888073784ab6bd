//! Cache of indexing rates by model and device, from which a dry run estimates the time. A rate is kept by the profile of the
//! vectors, which a dry run knows, and by the name of the model, which is all that `ingest models` knows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use etcetera::BaseStrategy;

use super::output_file;
use crate::embed::Card;

/// Returns the pages per second of the last run; `None` without a cache folder or before the first run.
pub(super) fn load(card: &Card) -> Option<f64> {
    load_all()?.get(&key(card)).copied()
}

/// Returns the pages per second of the last run with a model, by its name and the name of the device.
pub(super) fn of_model(model: &str, device: &str) -> Option<f64> {
    load_all()?.get(&format!("{model} {device}")).copied()
}

/// Saves the rate of a run; errors are ignored, because this is only a cache.
pub(super) fn save(card: &Card, pages_per_second: f64) {
    let Some(file) = path() else { return };
    let mut rates = load_all().unwrap_or_default();
    let name = format!("{} {}", card.profile.model, card.device);
    rates.extend([key(card), name].map(|key| (key, pages_per_second)));
    if let (Some(folder), Ok(text)) = (file.parent(), serde_json::to_string_pretty(&rates)) {
        let folder = std::fs::create_dir_all(folder).map_err(Into::into);
        drop(folder.and_then(|()| output_file::write(&file, text.as_bytes())));
    }
}

fn load_all() -> Option<BTreeMap<String, f64>> {
    serde_json::from_str(&std::fs::read_to_string(path()?).ok()?).ok()
}

fn path() -> Option<PathBuf> {
    let base = etcetera::base_strategy::choose_native_strategy().ok()?;
    Some(base.cache_dir().join("ingest/rates.json"))
}

fn key(card: &Card) -> String {
    format!("{} {}", card.profile.id, card.device)
}
