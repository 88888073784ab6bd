//! LoRA adapters (Hu et al. 2021), merged into the weights while loading: `W + alpha / r * B A`. An adapter may also contain
//! tensors that replace those of its base (PEFT's `modules_to_save`).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::tensors::{Checkpoint, RawTensor, Schema};
use super::{AdapterFiles, Error, Json, tensors};

/// Unsupported settings that would change the delta: they must be absent, false, null or empty.
const UNSUPPORTED: [&str; 5] = [
    "use_dora",
    "use_qalora",
    "lora_bias",
    "fan_in_fan_out",
    "alpha_pattern",
];
/// Setting of rsLoRA (Kalajdzievski 2023): the delta is divided by the root of the rank.
pub const RANK_STABILISED: &str = "use_rslora";

/// Delta added to a tensor, `scale * b a`, to be summed in f32.
#[derive(Clone, Copy, Debug)]
pub struct LoraDelta<'a> {
    /// Shape (rank, inputs).
    pub a: RawTensor<'a>,
    /// Shape (outputs, rank).
    pub b: RawTensor<'a>,
    /// `alpha / rank`, or with rsLoRA `alpha / sqrt(rank)`.
    pub scale: f64,
}

/// An adapter: pairs of low-rank matrices by the base tensor that they change.
pub struct Lora {
    checkpoint: Checkpoint,
    /// Base tensor → names of A and B.
    pairs: HashMap<String, (String, String)>,
    /// Base tensors that tensors of the same name replace.
    replaced: HashSet<String>,
    alpha: f64,
    is_rank_stabilised: bool,
}

impl Lora {
    /// Opens an adapter and checks it against the schema of its base; all of its tensors must be used, except those of other
    /// tasks.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unsupported setting, [`Error::Weights`] for an unused tensor or another shape,
    /// [`Error::File`] if a file cannot be read.
    pub fn open(model: &str, files: &AdapterFiles, schema: &Schema) -> Result<Self, Error> {
        let config = &files.config;
        check_supported(config)?;
        let rank = config.need(&["r"])?;
        let checkpoint = Checkpoint::open(model, std::slice::from_ref(&files.weights))?;
        let task = files.task.as_deref().unwrap_or(DEFAULT_TASK);
        let mut matches = Matches::new(&checkpoint, schema, task);
        matches.sort(&saved_modules(config));
        let pairs = matches.pairs(&ranks(config, rank));
        tensors::check_mismatches(model, &matches.mismatches)?;
        let replaced = matches.replaced;
        Ok(Self {
            checkpoint,
            pairs,
            replaced,
            alpha: config.float("lora_alpha").unwrap_or(rank as f64),
            is_rank_stabilised: config.flag(RANK_STABILISED),
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
        let (a, b) = (self.checkpoint.raw(a)?, self.checkpoint.raw(b)?);
        let rank = a.shape[0] as f64;
        let divisor = match self.is_rank_stabilised {
            true => rank.sqrt(),
            false => rank,
        };
        let scale = self.alpha / divisor;
        Ok(Some(LoraDelta { a, b, scale }))
    }

    /// The tensor that replaces one of the base.
    pub fn replacement(&self, name: &str) -> Option<RawTensor<'_>> {
        let name = self.replaced.get(name)?;
        self.checkpoint.raw(name).ok()
    }

    /// The tensors of the base that are replaced.
    pub fn replaced(&self) -> &HashSet<String> {
        &self.replaced
    }
}

/// Name of the only task of most adapters.
const DEFAULT_TASK: &str = "default";

/// The modules that an adapter contains whole.
fn saved_modules(config: &Json) -> Vec<String> {
    let list = config.value()["modules_to_save"].as_array();
    let names = list.into_iter().flatten();
    names
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

/// The ranks that pairs may have: that of all modules, and those of some.
fn ranks(config: &Json, rank: usize) -> Vec<usize> {
    let pattern = config.value()["rank_pattern"].as_object();
    let others = pattern.into_iter().flatten();
    let others = others.filter_map(|(_, rank)| Some(rank.as_u64()? as usize));
    std::iter::once(rank).chain(others).collect()
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

/// The tensors of an adapter by what they change.
struct Matches<'a> {
    adapter: &'a Checkpoint,
    shapes: HashMap<&'a str, &'a [usize]>,
    task: &'a str,
    /// Changed tensor → names of A and B.
    sides: BTreeMap<String, [Option<&'a str>; 2]>,
    replaced: HashSet<String>,
    mismatches: Vec<String>,
}

impl<'a> Matches<'a> {
    fn new(adapter: &'a Checkpoint, schema: &'a Schema, task: &'a str) -> Self {
        let shapes = schema.iter();
        Self {
            adapter,
            shapes: shapes
                .map(|(name, shape)| (name.as_str(), shape.as_slice()))
                .collect(),
            task,
            sides: BTreeMap::new(),
            replaced: HashSet::new(),
            mismatches: Vec::new(),
        }
    }

    /// Sorts all tensors, of which those of the modules `saved` replace tensors of the base.
    fn sort(&mut self, saved: &[String]) {
        for (name, shape) in self.adapter.shapes() {
            let is_saved = name
                .rsplit_once('.')
                .is_some_and(|(module, _)| saved.iter().any(|saved| is_module(module, saved)));
            match (parse_name(name), self.shapes.get(name)) {
                (Some(part), _) if self.shapes.contains_key(part.target.as_str()) => {
                    if part.task == self.task {
                        self.sides.entry(part.target).or_default()[part.side] = Some(name);
                    } else if self.task == DEFAULT_TASK {
                        let why = format!("`{name}` of the adapter is for the task {}", part.task);
                        self.mismatches.push(why);
                    }
                }
                (None, Some(expected)) if is_saved => {
                    if *expected == shape {
                        self.replaced.insert(name.to_owned());
                    } else {
                        let why = format!(
                            "`{name}` of the adapter has shape {shape:?}, not {expected:?}"
                        );
                        self.mismatches.push(why);
                    }
                }
                _ => self
                    .mismatches
                    .push(format!("`{name}` of the adapter is not used")),
            }
        }
        self.mismatches.sort_unstable();
    }

    /// Pairs the matrices A and B of every changed tensor, and checks their shapes.
    fn pairs(&mut self, ranks: &[usize]) -> HashMap<String, (String, String)> {
        let mut pairs = HashMap::new();
        for (target, sides) in &self.sides {
            let [Some(a), Some(b)] = *sides else {
                let why = format!("half of the adapter of `{target}` is missing");
                self.mismatches.push(why);
                continue;
            };
            let shapes = (
                self.shapes[target.as_str()],
                self.adapter.shape(a),
                self.adapter.shape(b),
            );
            let matches = matches!(shapes, (&[outputs, inputs], Some(&[rank, from]), Some(&[to, inner]))
                if (from, to, inner) == (inputs, outputs, rank) && ranks.contains(&rank));
            if !matches {
                let why = format!("the adapter of `{target}` has another shape");
                self.mismatches.push(why);
            }
            pairs.insert(target.clone(), (a.to_owned(), b.to_owned()));
        }
        pairs
    }
}

/// Whether a module is the saved one, or one of that name.
fn is_module(module: &str, saved: &str) -> bool {
    let module = module.strip_suffix(saved);
    module.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A tensor of an adapter.
struct Part<'a> {
    /// The base tensor that it changes.
    target: String,
    task: &'a str,
    /// 0 for A, 1 for B.
    side: usize,
}

/// Parses the name of a matrix of an adapter.
fn parse_name(name: &str) -> Option<Part<'_>> {
    let name = name.strip_suffix(".weight")?;
    let (module, side, task) =
        [".lora_A", ".lora_B"]
            .into_iter()
            .enumerate()
            .find_map(|(side, infix)| {
                let (module, task) = name.rsplit_once(infix)?;
                let task = match task {
                    "" => DEFAULT_TASK,
                    task => task.strip_prefix('.')?,
                };
                Some((module, side, task))
            })?;
    Some(Part {
        target: format!("{module}.weight"),
        task,
        side,
    })
}
