//! Memory budgets: what the machine has, what a model may take of it, and the plan of a run.

use crate::config::Settings;
use crate::embed::Card;
use crate::pipeline::{self, MemoryBudget, Plan, PlanError};
use crate::units::ByteSize;
use crate::{render, store};

/// Pages in flight between rendering and preparing.
pub const RENDERED_AHEAD: usize = 4;

/// Bytes of memory of this machine.
pub fn machine_memory() -> u64 {
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

/// Bytes of this machine's memory that an embedding model may take.
pub fn allowance(settings: &Settings) -> u64 {
    share_of(settings, machine_memory())
}

/// Bytes of memory that a describing model may take: all of the machine, or `limits.memory_limit` where that is less.
pub fn memory_limit(settings: &Settings) -> u64 {
    let machine = machine_memory();
    match settings.limits.memory_limit.0 {
        0 => machine,
        limit => limit.min(machine),
    }
}

/// Bytes of memory that a describing model in this process may take: less than that at which its memory is freed.
pub fn in_process_memory(settings: &Settings) -> u64 {
    allowance(settings).min(memory_limit(settings) / 4 * 3)
}

/// The memory plan of a run.
///
/// # Errors
/// When not even one page fits into the memory allowed.
pub fn memory_plan(settings: &Settings, card: &Card) -> Result<Plan, PlanError> {
    let limits = settings.limits;
    let device_memory = card
        .device_memory
        .map_or_else(machine_memory, |bytes| bytes.0);
    let memory = share_of(settings, device_memory);
    let batch_size = match limits.batch_size {
        0 if card.on_gpu => 32,
        0 => 2,
        asked => asked,
    };
    let budget = MemoryBudget {
        batch_size,
        memory: ByteSize(memory),
        picture: ByteSize(u64::from(settings.render.max_megapixels) * 3_000_000),
        sending: store::max_in_flight(&settings.store),
        pictures: render::ahead(&settings.render) + RENDERED_AHEAD + rayon::current_num_threads(),
    };
    pipeline::plan(card, &budget)
}

/// Bytes that a model may take of a memory.
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
    fn the_batch_size_follows_the_device_and_not_its_name() {
        let mut settings = Settings::resolve(&Sources::default()).unwrap();
        settings.limits.memory_limit = ByteSize(0);
        let card = embed::card(&settings.embed).unwrap();
        for (on_gpu, asked) in [(false, 2), (true, 32)] {
            let card = Card {
                on_gpu,
                device: "cpu or gpu".to_owned(),
                device_memory: Some(ByteSize(1 << 40)),
                ..card.clone()
            };
            assert_eq!(memory_plan(&settings, &card).unwrap().asked, asked);
        }
    }
}
