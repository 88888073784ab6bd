//! LoRA adapters (Hu et al. 2021), merged into the weights while loading: `W + alpha / r * B A`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::tensors::{Checkpoint, RawTensor, Schema};
use super::{Error, Json, tensors};

/// Unsupported settings that would change the delta: they must be absent, false, null or empty.
const UNSUPPORTED: [&str; 8] = [
    "use_dora",
    "use_rslora",
    "use_qalora",
    "lora_bias",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
];

/// Delta added to a tensor, `scale * b a`, to be summed in f32.
#[derive(Clone, Copy, Debug)]
pub struct LoraDelta<'a> {
    /// Shape (rank, inputs).
    pub a: RawTensor<'a>,
    /// Shape (outputs, rank).
    pub b: RawTensor<'a>,
    /// `alpha / rank`.
    pub scale: f64,
}

/// An adapter: pairs of low-rank matrices by the base tensor that they change.
pub struct Lora {
    checkpoint: Checkpoint,
    /// Base tensor → names of A and B.
    pairs: HashMap<String, (String, String)>,
    scale: f64,
}

impl Lora {
    /// Opens an adapter and checks it against the schema of its base; all of its tensors must be used.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unsupported setting, [`Error::Weights`] for an unused tensor or another shape,
    /// [`Error::File`] if a file cannot be read.
    pub fn open(
        model: &str,
        config: &Json,
        weights: PathBuf,
        schema: &Schema,
    ) -> Result<Self, Error> {
        check_supported(config)?;
        let rank = config.need(&["r"])?;
        let alpha = config.float("lora_alpha").unwrap_or(rank as f64);
        let checkpoint = Checkpoint::open(model, &[weights])?;
        let pairs = pair_matrices(model, &checkpoint, schema, rank)?;
        Ok(Self {
            checkpoint,
            pairs,
            scale: alpha / rank as f64,
        })
    }

    /// The delta of a base tensor; `None` if the adapter does not change it.
    ///
    /// # Errors
    /// None for an opened adapter: its tensors are checked.
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

/// Checks that the adapter uses supported settings only.
fn check_supported(config: &Json) -> Result<(), Error> {
    use serde_json::Value;
    let is_unset = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    for field in UNSUPPORTED {
        let value = config.value().get(field).unwrap_or(&Value::Null);
        if !is_unset(value) {
            return Err(config.unsupported(format!("{field} = {value}")));
        }
    }
    for (field, supported) in [("peft_type", "LORA"), ("bias", "none")] {
        let value = config.text(field).unwrap_or(supported);
        if value != supported {
            return Err(config.unsupported(format!("{field} = {value}")));
        }
    }
    Ok(())
}

/// Pairs the matrices A and B of every changed tensor, and checks their shapes.
fn pair_matrices(
    model: &str,
    adapter: &Checkpoint,
    schema: &Schema,
    rank: usize,
) -> Result<HashMap<String, (String, String)>, Error> {
    let shapes: HashMap<&str, &Vec<usize>> = schema
        .iter()
        .map(|(name, shape)| (name.as_str(), shape))
        .collect();
    let mut mismatches = Vec::new();
    let mut sides_of: BTreeMap<String, [Option<&str>; 2]> = BTreeMap::new();
    for (name, _) in adapter.shapes() {
        match parse_name(name) {
            Some((target, side)) if shapes.contains_key(target.as_str()) => {
                sides_of.entry(target).or_default()[side] = Some(name);
            }
            _ => mismatches.push(format!("`{name}` of the adapter is not used")),
        }
    }
    mismatches.sort_unstable();
    let mut pairs = HashMap::new();
    for (target, sides) in sides_of {
        let [Some(a), Some(b)] = sides else {
            mismatches.push(format!("half of the adapter of `{target}` is missing"));
            continue;
        };
        let (shape_a, shape_b) = (adapter.shape(a), adapter.shape(b));
        let matches = matches!(shapes[target.as_str()].as_slice(), &[outputs, inputs]
            if shape_a == Some(&[rank, inputs]) && shape_b == Some(&[outputs, rank]));
        if !matches {
            mismatches.push(format!("the adapter of `{target}` has another shape"));
        }
        pairs.insert(target, (a.to_owned(), b.to_owned()));
    }
    tensors::check_mismatches(model, &mismatches)?;
    Ok(pairs)
}

/// Parses the name of an adapter tensor: the base tensor that it changes, and 0 for A or 1 for B.
fn parse_name(name: &str) -> Option<(String, usize)> {
    let name = name.strip_suffix(".weight")?;
    let name = name.strip_suffix(".default").unwrap_or(name);
    let (module, side) = match name.strip_suffix(".lora_A") {
        Some(module) => (module, 0),
        None => (name.strip_suffix(".lora_B")?, 1),
    };
    Some((format!("{module}.weight"), side))
}
