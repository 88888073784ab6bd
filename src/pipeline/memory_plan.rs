//! The memory plan: the batch size that fits the memory budget, computed before a run starts.

use serde::Serialize;

use crate::batch::Limits;
use crate::embed::Card;
use crate::patch::Prepare;
use crate::units::ByteSize;

/// Default pages per batch on a GPU.
const DEFAULT_GPU_BATCH: usize = 32;
/// Default pages per batch on a CPU.
const DEFAULT_CPU_BATCH: usize = 2;

/// The memory that a run may use.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudget {
    /// Requested pages per batch; 0: the default of the device.
    pub batch_size: usize,
    /// Limit of the total.
    pub memory: ByteSize,
    /// Bytes of the largest rendered page.
    pub image_bytes: ByteSize,
    /// Maximum number of rendered pages in flight.
    pub images_in_flight: usize,
    /// Maximum bytes on the way into the store.
    pub store_bytes: ByteSize,
    /// Memory of the text model; 0 without one.
    pub text_model: ByteSize,
}

/// Upper bounds of the memory that each part of a run uses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Pages per batch.
    pub batch_size: usize,
    /// The requested pages per batch.
    #[serde(rename = "asked")]
    pub requested: usize,
    /// Weights of the model, and all memory of the text model beside it.
    pub weights: ByteSize,
    /// Activations of a full batch.
    pub activations: ByteSize,
    /// Rendered pages in flight.
    #[serde(rename = "pictures")]
    pub images: ByteSize,
    /// Prepared pages and vectors in flight: the batch in the model, the next one and the previous one.
    pub queues: ByteSize,
    /// The sum.
    pub total: ByteSize,
    /// The memory limit.
    pub limit: ByteSize,
    /// Limits of a batch.
    #[serde(skip)]
    pub limits: Limits,
}

/// Even a batch of one page exceeds the limit.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("one page needs {needed} ({weights} of it weights), more than the {limit} allowed")]
pub struct PlanError {
    /// Memory that a batch of one page needs.
    pub needed: ByteSize,
    /// The weights' share of it.
    pub weights: ByteSize,
    /// The memory limit.
    pub limit: ByteSize,
}

/// Plans the largest batch up to `budget.batch_size` whose weights, activations and queues fit into `budget.memory`.
///
/// # Errors
/// [`PlanError`] when a single page does not fit.
pub fn plan(card: &Card, budget: &MemoryBudget) -> Result<Plan, PlanError> {
    let requested = match budget.batch_size {
        0 if card.is_gpu => DEFAULT_GPU_BATCH,
        0 => DEFAULT_CPU_BATCH,
        requested => requested,
    };
    let fitting = (1..=requested)
        .rev()
        .map(|batch| plan_for(card, budget, requested, batch))
        .find(|plan| plan.total <= budget.memory);
    fitting.ok_or_else(|| {
        let one = plan_for(card, budget, requested, 1);
        PlanError {
            needed: one.total,
            weights: one.weights,
            limit: budget.memory,
        }
    })
}

fn plan_for(card: &Card, budget: &MemoryBudget, requested: usize, batch: usize) -> Plan {
    let cost = card.prepare.max_cost() * batch as u64;
    let weights = card.memory.weights + budget.text_model.0;
    let activations = card.memory.fixed + card.memory.per_cost * cost;
    let images = budget.image_bytes.0 * budget.images_in_flight as u64;
    let rows = u64::from(card.max_rows) * u64::from(card.profile.dim) * size_of::<f32>() as u64;
    let queues = 3 * batch as u64 * (prepared_bytes(&card.prepare) + rows) + budget.store_bytes.0;
    Plan {
        batch_size: batch,
        requested,
        weights: ByteSize(weights),
        activations: ByteSize(activations),
        images: ByteSize(images),
        queues: ByteSize(queues),
        total: ByteSize(weights + activations + images + queues),
        limit: budget.memory,
        limits: Limits { pages: batch, cost },
    }
}

/// Bytes of the largest prepared page.
fn prepared_bytes(prepare: &Prepare) -> u64 {
    match prepare {
        Prepare::Qwen(spec) => {
            prepare.max_cost()
                * 3
                * 2
                * u64::from(spec.patch * spec.patch)
                * size_of::<f32>() as u64
        }
        Prepare::Gray { .. } => prepare.max_cost(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::{Footprint, VisualWeight};
    use crate::patch::PatchSpec;
    use crate::vectors::Profile;

    /// A model of the size of ColQwen2.5-3B in bf16: 7.5 GB of weights; pages of up to 3,072 patches.
    fn large() -> Card {
        let profile = Profile {
            id: "large".into(),
            model: "large".into(),
            dim: 128,
            pool_factor: 1,
        };
        let memory = Footprint {
            weights: 7_510_000_000,
            fixed: 3_000_000_000,
            per_cost: 4_833,
        };
        Card {
            profile,
            prepare: Prepare::Qwen(PatchSpec::qwen(3136, 768 * 28 * 28)),
            max_rows: 779,
            parameters: 3_755_000_000,
            licence: String::new(),
            memory,
            device: "metal (bf16)".into(),
            is_gpu: true,
            device_memory: None,
            visual_weight: VisualWeight::EQUAL,
        }
    }

    fn budget(batch_size: usize, memory: u64) -> MemoryBudget {
        MemoryBudget {
            batch_size,
            memory: ByteSize(memory),
            image_bytes: ByteSize(48_000_000),
            images_in_flight: 36,
            store_bytes: ByteSize(0),
            text_model: ByteSize(0),
        }
    }

    #[test]
    fn colqwen_at_batch_32_fits_40_gb() {
        let plan = plan(&large(), &budget(32, 40_000_000_000)).unwrap();
        assert_eq!((plan.batch_size, plan.limits.cost), (32, 32 * 3072));
        let sum = [plan.weights, plan.activations, plan.images, plan.queues]
            .iter()
            .map(|b| b.0)
            .sum::<u64>();
        assert!(plan.total.0 == sum && sum > 12_000_000_000, "{plan:?}");
    }

    #[test]
    fn batch_size_is_the_largest_within_the_limit() {
        let plan = plan(&large(), &budget(32, 13_000_000_000)).unwrap();
        assert!(
            (1..32).contains(&plan.batch_size) && plan.total <= plan.limit,
            "{plan:?}"
        );
        let next = plan_for(&large(), &budget(32, 0), 32, plan.batch_size + 1);
        assert!(next.total.0 > 13_000_000_000, "the largest that fits");
        let error = super::plan(&large(), &budget(32, 9_000_000_000)).unwrap_err();
        assert!(
            error.to_string().contains("7.5 GB of it weights"),
            "{error}"
        );
    }
}
