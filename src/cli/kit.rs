//! From settings to opened parts.

use crate::config::Settings;
use crate::embed::{self, BUILT_IN, Card, Embedder, Engine};
use crate::pipeline::{self, Plan, Room};
use crate::qwen::mlx;
use crate::render;
use crate::report::Report;
use crate::store::{self, Mode, Store, Which};
use crate::units::ByteSize;
use crate::vectors::Profile;

use super::ui::Ui;

/// Pages in flight between rendering and preparing.
pub(super) const RENDERED_AHEAD: usize = 4;

/// Opens the store to read: the collection of `model`, or the one that was last written to.
pub(super) fn open_to_read(
    settings: &Settings,
    model: Option<&str>,
) -> Result<(Box<dyn Store>, Profile), Report> {
    open_this_to_read(settings, &settings.store, model)
}

/// The same with another store than the configured one.
pub(super) fn open_this_to_read(
    settings: &Settings,
    config: &store::Config,
    model: Option<&str>,
) -> Result<(Box<dyn Store>, Profile), Report> {
    let card = model.map(|_| embed::card(&settings.embed)).transpose()?;
    let which = card
        .as_ref()
        .map_or(Which::Last, |card| Which::Profile(&card.profile));
    let opened = store::open(config, which, Mode::Read)?;
    let profile = opened
        .profile
        .ok_or(store::Error::Empty { at: opened.at })?;
    Ok((opened.store, profile))
}

/// Opens a store for pages of a model, and sends what waited for it.
pub(super) fn open_to_write(
    ui: &Ui,
    config: &store::Config,
    profile: &Profile,
    mode: Mode,
) -> Result<Box<dyn Store>, Report> {
    let opened = store::open(config, Which::Profile(profile), mode)?;
    if let Some(note) = &opened.note {
        ui.say(format!("{}: {note}", opened.at));
    }
    opened.store.prepare(profile)?;
    deliver(ui, &*opened.store)?;
    Ok(opened.store)
}

/// Sends what waits for a server; tells how many pages were refused.
pub(super) fn deliver(ui: &Ui, store: &dyn Store) -> Result<usize, Report> {
    let delivered = store.outbox().map(|outbox| outbox.deliver());
    let verdicts = delivered.transpose()?.unwrap_or_default();
    let mut refused = 0;
    for (id, verdict) in &verdicts {
        if let Err(why) = verdict {
            ui.warn(format!("{id}, which waited: {why}"));
            refused += 1;
        }
    }
    match verdicts.len() - refused {
        0 => {}
        stored => ui.say(format!("{stored} pages that waited are stored now")),
    }
    Ok(refused)
}

/// The card of the model that filled a collection.
pub(super) fn card_of(settings: &Settings, profile: &Profile) -> Result<Card, embed::Error> {
    embed::card(&config_of(settings, profile))
}

/// The model that filled a collection, where the settings want models to run.
pub(super) fn config_of(settings: &Settings, profile: &Profile) -> embed::Config {
    embed::Config {
        model: profile.model.clone(),
        pool_factor: profile.pool_factor,
        ..settings.embed.clone()
    }
}

/// Opens the model that filled a collection; refuses another.
pub(super) fn model_of(
    settings: &Settings,
    profile: &Profile,
) -> Result<Box<dyn Embedder>, embed::Error> {
    if card_of(settings, profile)?.profile.id != profile.id {
        return Err(embed::Error::Changed {
            model: profile.model.clone(),
        });
    }
    open_model(settings, &config_of(settings, profile))
}

/// Opens a model. MLX is told how much it may take.
pub(super) fn open_model(
    settings: &Settings,
    config: &embed::Config,
) -> Result<Box<dyn Embedder>, embed::Error> {
    if config.engine == Engine::Mlx && config.model != BUILT_IN {
        mlx::reset_peak_memory();
        mlx::set_memory_limit(allowance(settings))?;
    }
    embed::open(config)
}

/// What MLX holds, where it has computed.
pub(super) fn mlx_memory() -> Option<mlx::Memory> {
    Some(mlx::memory()).filter(|memory| memory.peak > 0)
}

/// The same, for people.
pub(super) fn mlx_line(memory: mlx::Memory) -> String {
    let bytes = [memory.active, memory.cache, memory.peak];
    let [active, cache, peak] = bytes.map(ByteSize);
    format!("memory of MLX: {active} held, {cache} kept for reuse, {peak} at most")
}

/// Bytes of this machine's memory that a model may take.
pub(super) fn allowance(settings: &Settings) -> u64 {
    allowed(settings, machine_memory())
}

/// The memory plan of a run.
pub(super) fn plan(settings: &Settings, card: &Card) -> Result<Plan, Report> {
    let limits = settings.limits;
    let device_memory = card
        .device_memory
        .map_or_else(machine_memory, |bytes| bytes.0);
    let memory = allowed(settings, device_memory);
    let on_cpu = card.device.starts_with("cpu");
    let batch_size = match limits.batch_size {
        0 if on_cpu => 2,
        0 => 32,
        asked => asked,
    };
    let room = Room {
        batch_size,
        memory: ByteSize(memory),
        picture: ByteSize(u64::from(settings.render.max_megapixels) * 3_000_000),
        sending: store::sending(&settings.store),
        pictures: render::ahead(&settings.render) + RENDERED_AHEAD + rayon::current_num_threads(),
    };
    Ok(pipeline::plan(card, &room)?)
}

/// Bytes that a model may take of a memory.
fn allowed(settings: &Settings, memory: u64) -> u64 {
    let share = (memory as f64 * settings.limits.memory_fraction) as u64;
    match settings.limits.memory_limit.0 {
        0 => share,
        limit => share.min(limit),
    }
}

/// Bytes of memory of this machine.
pub(super) fn machine_memory() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else {
        return 0;
    };
    system.refresh_memory();
    // A container's limit counts where it is lower than the machine's.
    let total = system.total_memory();
    system
        .cgroup_limits()
        .map_or(total, |limits| limits.total_memory.min(total))
}
