//! Opens stores and embedding models from settings.

use crate::config::Settings;
use crate::embed::meaning::Meaning;
use crate::embed::{self, BUILT_IN, Card, Embedder, Engine};
use crate::page::{PageError, PageId};
use crate::pipeline::Opener;
use crate::qwen::mlx;
use crate::store::{self, CollectionSelector, Mode, Store};
use crate::vectors::Profile;

use super::{Error, embedding_memory_limit};

/// A store opened for reading, and the profile of the model that embedded its pages.
pub struct Library {
    /// The store.
    pub store: Box<dyn Store>,
    /// Profile of the open collection.
    pub profile: Profile,
}

/// A store opened for writing.
pub struct WritableStore {
    /// The store.
    pub store: Box<dyn Store>,
    /// Path or URL, for display.
    pub location: String,
    /// Message for the user, if there is one.
    pub note: Option<String>,
    /// Outcome of the pages that were in its outbox.
    pub flushed: FlushOutcome,
}

/// Outcome of flushing an outbox.
#[derive(Debug, Default)]
pub struct FlushOutcome {
    /// Number of pages that were stored.
    pub stored: usize,
    /// Pages that the store refused, each with the cause.
    pub refused: Vec<(PageId, PageError)>,
}

/// Opens a store for reading: the collection of `model`, or the one that was last written to.
///
/// # Errors
/// [`Error::Store`] when the store cannot be opened or is empty ([`store::Error::Empty`]); [`Error::Embed`] when the files of
/// `model` are missing or invalid.
pub fn open_for_reading(
    config: &store::Config,
    model: Option<&embed::Config>,
) -> Result<Library, Error> {
    let card = model.map(embed::card).transpose()?;
    let selector = card.as_ref().map_or(CollectionSelector::Last, |card| {
        CollectionSelector::Profile(&card.profile)
    });
    let opened = store::open(config, selector, Mode::Read)?;
    let profile = opened.profile.ok_or(store::Error::Empty {
        location: opened.location,
    })?;
    Ok(Library {
        store: opened.store,
        profile,
    })
}

/// Opens a store for pages of a model, and flushes its outbox. `on_upgrade` gets [`store::Opened::upgrade`] before that
/// is done.
///
/// # Errors
/// When the store cannot be opened, or has pages or settings that do not match, as [`store::Error::SettingMismatch`].
pub fn open_for_writing(
    config: &store::Config,
    profile: &Profile,
    mode: Mode,
    on_upgrade: impl FnOnce(&store::Opened),
) -> Result<WritableStore, store::Error> {
    let opened = store::open(config, CollectionSelector::Profile(profile), mode)?;
    on_upgrade(&opened);
    opened.store.prepare(profile)?;
    let flushed = flush(&*opened.store)?;
    Ok(WritableStore {
        store: opened.store,
        location: opened.location,
        note: opened.note,
        flushed,
    })
}

/// Sends the pages in the outbox of a store; does nothing if it has none.
///
/// # Errors
/// When the store fails. An unavailable server is not an error: the pages stay in the outbox.
pub fn flush(store: &dyn Store) -> Result<FlushOutcome, store::Error> {
    let mut outcome = FlushOutcome::default();
    let results = store.outbox().map(|outbox| outbox.flush());
    for (page, result) in results.transpose()?.unwrap_or_default() {
        match result {
            Ok(_) => outcome.stored += 1,
            Err(why) => outcome.refused.push((page, why)),
        }
    }
    Ok(outcome)
}

/// The card of the model that embedded a collection.
///
/// # Errors
/// [`embed::Error::Files`] when its files are missing or invalid.
pub fn card_for_profile(settings: &Settings, profile: &Profile) -> Result<Card, embed::Error> {
    embed::card(&model_config(settings, profile))
}

/// Opens the model that embedded a collection.
///
/// # Errors
/// [`embed::Error::Changed`] when the model of that name has changed since; others when it cannot be opened.
pub fn open_model_for_profile(
    settings: &Settings,
    profile: &Profile,
) -> Result<Box<dyn Embedder>, embed::Error> {
    if card_for_profile(settings, profile)?.profile.id != profile.id {
        return Err(embed::Error::Changed {
            model: profile.model.clone(),
        });
    }
    open_model(settings, &model_config(settings, profile))
}

/// Opens an embedding model; for MLX, sets the memory limit.
///
/// # Errors
/// [`embed::Error`] when there is no such model or device, or the weights do not match their configuration.
pub fn open_model(
    settings: &Settings,
    config: &embed::Config,
) -> Result<Box<dyn Embedder>, embed::Error> {
    if config.engine == Engine::Mlx && config.model != BUILT_IN {
        mlx::reset_peak_memory();
        mlx::set_memory_limit(embedding_memory_limit(settings))?;
    }
    embed::open(config)
}

/// The opener of the text model; `None` if pages get no text vectors.
pub fn meaning_opener(settings: &Settings) -> Option<Opener<'static, Meaning, embed::Error>> {
    let model = settings.embed.meaning?;
    let open = move || Meaning::open(model).map(Box::new);
    Some(Box::new(move || open().map_err(embed::Error::from)))
}

/// Configuration of the model that embedded a collection, on the device of the settings.
pub(super) fn model_config(settings: &Settings, profile: &Profile) -> embed::Config {
    embed::Config {
        model: profile.model.clone(),
        pool_factor: profile.pool_factor,
        width: Some(profile.dim),
        ..settings.embed.clone()
    }
}
