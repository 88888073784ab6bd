//! Low-rank adapters (LoRA, Hu et al. 2021), merged into the weights as they are loaded: `W + alpha / r * B A`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::tensors::{Checkpoint, RawTensor, Schema};
use super::{Error, Json, tensors};

/// Settings that change the sum, and which we do not have: they must be absent, false, null or empty.
const REFUSED: [&str; 8] = [
    "use_dora",
    "use_rslora",
    "use_qalora",
    "lora_bias",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
];

/// What is added to a tensor: `scale * b a`, to be summed in f32.
#[derive(Clone, Copy, Debug)]
pub struct LoraDelta<'a> {
    /// (rank, from).
    pub a: RawTensor<'a>,
    /// (to, rank).
    pub b: RawTensor<'a>,
    /// `alpha / rank`.
    pub scale: f64,
}

/// An adapter: pairs of narrow matrices, by the tensor that they change.
pub struct Lora {
    checkpoint: Checkpoint,
    /// Tensor of the base → names of A and B.
    pairs: HashMap<String, (String, String)>,
    scale: f64,
}

impl Lora {
    /// Opens an adapter and compares it with the model that it changes; every one of its tensors must be of use.
    ///
    /// # Errors
    /// When it asks for something that we do not have, or one of its tensors is of no use or of another shape.
    pub fn open(
        model: &str,
        config: &Json,
        weights: PathBuf,
        schema: &Schema,
    ) -> Result<Self, Error> {
        refuse(config)?;
        let rank = config.need(&["r"])?;
        let alpha = config.float("lora_alpha").unwrap_or(rank as f64);
        let checkpoint = Checkpoint::open(model, &[weights])?;
        let pairs = pair(model, &checkpoint, schema, rank)?;
        Ok(Self {
            checkpoint,
            pairs,
            scale: alpha / rank as f64,
        })
    }

    /// What the adapter adds to a tensor of the base; none where it leaves it alone.
    ///
    /// # Errors
    /// Never for an adapter that was opened: its tensors are checked.
    pub fn delta(&self, name: &str) -> Result<Option<LoraDelta<'_>>, Error> {
        let Some((a, b)) = self.pairs.get(name) else {
            return Ok(None);
        };
        Ok(Some(LoraDelta {
            a: self.checkpoint.raw(a)?,
            b: self.checkpoint.raw(b)?,
            scale: self.scale,
        }))
    }
}

fn refuse(config: &Json) -> Result<(), Error> {
    use serde_json::Value;
    let harmless = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    for field in REFUSED {
        let value = config.value().get(field).unwrap_or(&Value::Null);
        if !harmless(value) {
            return Err(config.unsupported(format!("{field} = {value}")));
        }
    }
    for (field, ours) in [("peft_type", "LORA"), ("bias", "none")] {
        let value = config.text(field).unwrap_or(ours);
        if value != ours {
            return Err(config.unsupported(format!("{field} = {value}")));
        }
    }
    Ok(())
}

/// Finds the two halves of every change, and what they change.
fn pair(
    model: &str,
    adapter: &Checkpoint,
    schema: &Schema,
    rank: usize,
) -> Result<HashMap<String, (String, String)>, Error> {
    let shapes: HashMap<&str, &Vec<usize>> = schema
        .iter()
        .map(|(name, shape)| (name.as_str(), shape))
        .collect();
    let mut faults = Vec::new();
    let mut halves: BTreeMap<String, [Option<&str>; 2]> = BTreeMap::new();
    for (name, _) in adapter.shapes() {
        match half(name) {
            Some((target, side)) if shapes.contains_key(target.as_str()) => {
                halves.entry(target).or_default()[side] = Some(name);
            }
            _ => faults.push(format!("`{name}` of the adapter is not used")),
        }
    }
    faults.sort_unstable();
    let mut pairs = HashMap::new();
    for (target, sides) in halves {
        let [Some(a), Some(b)] = sides else {
            faults.push(format!("half of the adapter of `{target}` is missing"));
            continue;
        };
        let (shape_a, shape_b) = (adapter.shape(a), adapter.shape(b));
        let fits = matches!(shapes[target.as_str()].as_slice(), &[to, from]
            if shape_a == Some(&[rank, from]) && shape_b == Some(&[to, rank]));
        if !fits {
            faults.push(format!("the adapter of `{target}` has another shape"));
        }
        pairs.insert(target, (a.to_owned(), b.to_owned()));
    }
    tensors::refuse(model, &faults)?;
    Ok(pairs)
}

/// What half of an adapter changes, and which half it is.
fn half(name: &str) -> Option<(String, usize)> {
    let name = name.strip_suffix(".weight")?;
    let name = name.strip_suffix(".default").unwrap_or(name);
    let (module, side) = match name.strip_suffix(".lora_A") {
        Some(module) => (module, 0),
        None => (name.strip_suffix(".lora_B")?, 1),
    };
    Some((format!("{module}.weight"), side))
}
