//! The memory plan: how many pages a batch may hold, settled before anything runs.

use serde::Serialize;

use crate::batch::Limits;
use crate::embed::Card;
use crate::patch::Prepare;
use crate::units::ByteSize;

/// What may be used.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudget {
    /// Pages a batch should hold.
    pub batch_size: usize,
    /// Memory for everything together.
    pub memory: ByteSize,
    /// Bytes of the largest rendered page.
    pub picture: ByteSize,
    /// How many rendered pages may be in flight.
    pub pictures: usize,
    /// Bytes on their way into the store at most.
    pub sending: ByteSize,
}

/// Where the bytes go, at most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Pages a batch holds.
    pub batch_size: usize,
    /// What was asked for, if that was more.
    pub asked: usize,
    /// Weights of the model.
    pub weights: ByteSize,
    /// Activations of the fullest batch.
    pub activations: ByteSize,
    /// Rendered pages in flight.
    pub pictures: ByteSize,
    /// Prepared pages and vectors in flight: the batch in the model, the one behind it, the one before it.
    pub queues: ByteSize,
    /// The sum.
    pub total: ByteSize,
    /// What was allowed.
    pub limit: ByteSize,
    /// Most cost of a batch.
    #[serde(skip)]
    pub limits: Limits,
}

/// Not even one page fits.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("one page needs {needed} ({weights} of it weights), more than the {limit} allowed")]
pub struct PlanError {
    /// What a batch of one needs.
    pub needed: ByteSize,
    /// Of it weights.
    pub weights: ByteSize,
    /// What is allowed.
    pub limit: ByteSize,
}

/// The largest batch up to `budget.batch_size` whose weights, activations and queues stay under `budget.memory`.
///
/// # Errors
/// When a single page does not fit.
pub fn plan(card: &Card, budget: &MemoryBudget) -> Result<Plan, PlanError> {
    let asked = budget.batch_size.max(1);
    let fitting = (1..=asked)
        .rev()
        .map(|batch| at(card, budget, batch))
        .find(|plan| plan.total <= budget.memory);
    fitting.ok_or_else(|| {
        let one = at(card, budget, 1);
        PlanError {
            needed: one.total,
            weights: one.weights,
            limit: budget.memory,
        }
    })
}

fn at(card: &Card, budget: &MemoryBudget, batch: usize) -> Plan {
    let cost = card.prepare.max_cost() * batch as u64;
    let activations = card.memory.fixed + card.memory.per_cost * cost;
    let pictures = budget.picture.0 * budget.pictures as u64;
    let rows = u64::from(card.max_rows) * u64::from(card.profile.dim) * size_of::<f32>() as u64;
    let queues = 3 * batch as u64 * (prepared_bytes(&card.prepare) + rows) + budget.sending.0;
    Plan {
        batch_size: batch,
        asked: budget.batch_size,
        weights: ByteSize(card.memory.weights),
        activations: ByteSize(activations),
        pictures: ByteSize(pictures),
        queues: ByteSize(queues),
        total: ByteSize(card.memory.weights + activations + pictures + queues),
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
    use crate::embed::Footprint;
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
            on_gpu: true,
            device_memory: None,
            visual_weight: 1.0,
        }
    }

    fn budget(batch_size: usize, memory: u64) -> MemoryBudget {
        MemoryBudget {
            batch_size,
            memory: ByteSize(memory),
            picture: ByteSize(48_000_000),
            pictures: 36,
            sending: ByteSize(0),
        }
    }

    #[test]
    fn colqwen_at_batch_32_stays_under_40_gb() {
        let plan = plan(&large(), &budget(32, 40_000_000_000)).unwrap();
        assert_eq!((plan.batch_size, plan.limits.cost), (32, 32 * 3072));
        let parts = [plan.weights, plan.activations, plan.pictures, plan.queues]
            .iter()
            .map(|b| b.0)
            .sum::<u64>();
        assert!(plan.total.0 == parts && parts > 12_000_000_000, "{plan:?}");
    }

    #[test]
    fn the_batch_shrinks_before_the_cap_breaks() {
        let plan = plan(&large(), &budget(32, 13_000_000_000)).unwrap();
        assert!(
            (1..32).contains(&plan.batch_size) && plan.total <= plan.limit,
            "{plan:?}"
        );
        let next = at(&large(), &budget(32, 0), plan.batch_size + 1);
        assert!(next.total.0 > 13_000_000_000, "the largest that fits");
        let error = super::plan(&large(), &budget(32, 9_000_000_000)).unwrap_err();
        assert!(
            error.to_string().contains("7.5 GB of it weights"),
            "{error}"
        );
    }
}
