//! Memory limits of this machine and its models, and the memory plan of a run.

use crate::config::Settings;
use crate::embed::Card;
use crate::embed::meaning::Model;
use crate::pipeline::{self, MemoryBudget, Plan, PlanError};
use crate::units::ByteSize;
use crate::{render, store};

/// Capacity of the queue between the stages render and prepare, in pages.
pub const RENDERED_QUEUE: usize = 4;

/// Total memory of this machine, or of its container if that is less, in bytes; 0 if unknown.
pub fn machine_memory() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else {
        return 0;
    };
    system.refresh_memory();
    let total = system.total_memory();
    system
        .cgroup_limits()
        .map_or(total, |limits| limits.total_memory.min(total))
}

/// Memory of this machine that is free now, in bytes; 0 if unknown.
pub fn available_memory() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else {
        return 0;
    };
    system.refresh_memory();
    let available = system.available_memory();
    let limits = system.cgroup_limits();
    limits.map_or(available, |limits| limits.free_memory.min(available))
}

/// Maximum memory of an embedding model on this machine, in bytes.
pub fn embedding_memory_limit(settings: &Settings) -> u64 {
    share_of(settings, machine_memory())
}

/// Maximum memory of a vision-language model, in bytes: that of the machine, or `limits.memory_limit` if that is less.
pub fn vlm_memory_limit(settings: &Settings) -> u64 {
    let machine = machine_memory();
    match settings.limits.memory_limit.0 {
        0 => machine,
        limit => limit.min(machine),
    }
}

/// Maximum memory of a vision-language model in this process, in bytes: less than the level at which the memory guard acts.
pub fn in_process_vlm_memory_limit(settings: &Settings) -> u64 {
    embedding_memory_limit(settings).min(vlm_memory_limit(settings) / 4 * 3)
}

/// Memory of the text model, in bytes; 0 if pages get no text vectors.
pub fn text_model_memory(settings: &Settings) -> u64 {
    settings.embed.meaning.map_or(0, Model::memory)
}

/// Plans the memory of a run: batch size, queues and rendered pages.
///
/// # Errors
/// [`PlanError`] when a single page does not fit into the memory allowed.
pub fn memory_plan(settings: &Settings, card: &Card) -> Result<Plan, PlanError> {
    let device_memory = card
        .device_memory
        .map_or_else(machine_memory, |bytes| bytes.0);
    let memory = share_of(settings, device_memory);
    let budget = MemoryBudget {
        batch_size: settings.limits.batch_size,
        memory: ByteSize(memory),
        image_bytes: ByteSize(u64::from(settings.render.max_megapixels) * 3_000_000),
        store_bytes: store::max_in_flight(&settings.store),
        images_in_flight: render::prefetch_limit(&settings.render)
            + RENDERED_QUEUE
            + rayon::current_num_threads(),
        text_model: ByteSize(text_model_memory(settings)),
    };
    pipeline::plan(card, &budget)
}

/// Bytes of `memory` that a model may use, by `limits.memory_fraction` and `limits.memory_limit`.
fn share_of(settings: &Settings, memory: u64) -> u64 {
    let share = (memory as f64 * settings.limits.memory_fraction) as u64;
    match settings.limits.memory_limit.0 {
        0 => share,
        limit => share.min(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::embed;

    #[test]
    fn default_batch_size_depends_on_the_device_type() {
        let mut settings = Settings::resolve(&Sources::default()).unwrap();
        settings.limits.memory_limit = ByteSize(0);
        let card = embed::card(&settings.embed).unwrap();
        for (is_gpu, requested) in [(false, 2), (true, 32)] {
            let card = Card {
                is_gpu,
                device: "cpu or gpu".to_owned(),
                device_memory: Some(ByteSize(1 << 40)),
                ..card.clone()
            };
            assert_eq!(memory_plan(&settings, &card).unwrap().requested, requested);
        }
    }
}
