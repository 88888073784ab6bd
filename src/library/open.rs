//! From settings to an opened store and model.

use crate::config::Settings;
use crate::embed::{self, BUILT_IN, Card, Embedder, Engine};
use crate::page::{PageError, PageId};
use crate::qwen::mlx;
use crate::store::{self, CollectionSelector, Mode, Store};
use crate::vectors::Profile;

use super::{Error, allowance};

/// A store, opened to read, and the profile of the model that filled it.
pub struct Library {
    /// The store.
    pub store: Box<dyn Store>,
    /// The profile of its pages.
    pub profile: Profile,
}

/// A store, opened to write.
pub struct WritableStore {
    /// The store.
    pub store: Box<dyn Store>,
    /// Path or URL, for people.
    pub at: String,
    /// What a person should know about it before pages are stored.
    pub note: Option<String>,
    /// Outcome of the pages that waited for it.
    pub flushed: FlushOutcome,
}

/// Outcome of the pages that waited for a server.
#[derive(Debug, Default)]
pub struct FlushOutcome {
    /// Pages that are stored now.
    pub stored: usize,
    /// Pages that the store refused, and why.
    pub refused: Vec<(PageId, PageError)>,
}

/// Opens a store to read: the collection of `model`, or the one that was last written to.
///
/// # Errors
/// When the store cannot be opened or holds nothing yet, or the model has no card.
pub fn open_for_reading(
    config: &store::Config,
    model: Option<&embed::Config>,
) -> Result<Library, Error> {
    let card = model.map(embed::card).transpose()?;
    let which = card.as_ref().map_or(CollectionSelector::Last, |card| {
        CollectionSelector::Profile(&card.profile)
    });
    let opened = store::open(config, which, Mode::Read)?;
    let profile = opened.profile.ok_or(store::Error::Empty {
        location: opened.location,
    })?;
    Ok(Library {
        store: opened.store,
        profile,
    })
}

/// Opens a store for pages of a model, and sends what waited for it.
///
/// # Errors
/// When the store cannot be opened, or holds something that does not fit.
pub fn open_for_writing(
    config: &store::Config,
    profile: &Profile,
    mode: Mode,
) -> Result<WritableStore, store::Error> {
    let opened = store::open(config, CollectionSelector::Profile(profile), mode)?;
    opened.store.prepare(profile)?;
    let flushed = flush(&*opened.store)?;
    Ok(WritableStore {
        store: opened.store,
        at: opened.location,
        note: opened.note,
        flushed,
    })
}

/// Sends the pages that wait for a server.
///
/// # Errors
/// When the store fails; a server that is still away is no failure.
pub fn flush(store: &dyn Store) -> Result<FlushOutcome, store::Error> {
    let mut outcome = FlushOutcome::default();
    let delivered = store.outbox().map(|outbox| outbox.flush());
    for (page, verdict) in delivered.transpose()?.unwrap_or_default() {
        match verdict {
            Ok(_) => outcome.stored += 1,
            Err(why) => outcome.refused.push((page, why)),
        }
    }
    Ok(outcome)
}

/// The card of the model that filled a collection.
///
/// # Errors
/// When its files are missing or wrong.
pub fn card_of(settings: &Settings, profile: &Profile) -> Result<Card, embed::Error> {
    embed::card(&model_config(settings, profile))
}

/// Opens the model that filled a collection.
///
/// # Errors
/// [`embed::Error::Changed`] when the model of that name is another one now, and when it cannot be opened.
pub fn model_of(settings: &Settings, profile: &Profile) -> Result<Box<dyn Embedder>, embed::Error> {
    if card_of(settings, profile)?.profile.id != profile.id {
        return Err(embed::Error::Changed {
            model: profile.model.clone(),
        });
    }
    open_model(settings, &model_config(settings, profile))
}

/// Opens a model. MLX is told how much memory it may take.
///
/// # Errors
/// When there is no such model or device, or its weights do not fit its configuration.
pub fn open_model(
    settings: &Settings,
    config: &embed::Config,
) -> Result<Box<dyn Embedder>, embed::Error> {
    if config.engine == Engine::Mlx && config.model != BUILT_IN {
        mlx::reset_peak_memory();
        mlx::set_memory_limit(allowance(settings))?;
    }
    embed::open(config)
}

/// The model that filled a collection, on the device that the settings name.
pub(super) fn model_config(settings: &Settings, profile: &Profile) -> embed::Config {
    embed::Config {
        model: profile.model.clone(),
        pool_factor: profile.pool_factor,
        ..settings.embed.clone()
    }
}
