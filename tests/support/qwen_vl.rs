//! The tiny models of `tests/golden/qwen_vl`, and the values that mlx-vlm computed with them.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ingest::checkpoint::{Json, WeightFiles, Weights};
use ingest::patch::{PatchGrid, Patches};
use ingest::qwen::mlx::{Device, GeneratorConfig, Segment};
use ingest::qwen::{self, schema};

/// Rows and columns of patches of each image.
const GRIDS: [(u32, u32); 2] = [(10, 14), (4, 10)];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/qwen_vl")
        .join(name)
}

/// The config of a generator of a tiny model.
pub(crate) fn generator_config(model: &str) -> GeneratorConfig {
    let json = Json::read(&golden(model).join("config.json")).unwrap();
    let shape = qwen::Config::read(&json).unwrap();
    let files = WeightFiles {
        base: vec![golden(model).join("model.safetensors")],
        adapter: None,
    };
    let tie_word_embeddings = model.starts_with("qwen3");
    let schema = schema::language_model(&shape, tie_word_embeddings);
    let model = model.to_owned();
    GeneratorConfig {
        weights: Box::new(move || Weights::open_quantized(&model, &files, &schema)),
        shape,
        tie_word_embeddings,
        stop_tokens: Vec::new(),
        context_length: 8192,
        device: Device::open(None).unwrap(),
        memory_limit: 1 << 30,
    }
}

/// Patches by the rule of `make_qwen_vl.py`.
fn image(index: u64, side: u64) -> Patches {
    let (rows, columns) = GRIDS[index as usize];
    let grid = PatchGrid {
        rows,
        columns,
        merge: 2,
    };
    let floats = grid.patches() as u64 * 6 * side * side;
    let value = |i: u64| ((i * 7919 + index * 104_729) % 2003) as f64 / 1001.5 - 1.0;
    Patches {
        grid,
        rows: (0..floats).map(|i| value(i) as f32).collect(),
    }
}

/// The values of mlx-vlm.
pub(crate) struct Expected {
    pub(crate) prompt: Vec<Segment>,
    pub(crate) answer: Vec<u32>,
    /// Visual tokens of both images, then the DeepStack features.
    pub(crate) visual: Vec<Vec<f32>>,
    /// Logits after each token of the prompt, then of the answer.
    pub(crate) logits: Vec<Vec<f32>>,
}

pub(crate) fn expected(model: &str) -> Expected {
    let file = golden(&format!("{model}.safetensors"));
    let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
    let numbers = |name: &str| tensors[name].to_vec1::<u32>().unwrap();
    let rows = |tensor: &Tensor| tensor.to_vec2::<f32>().unwrap();
    let tokens = numbers("tokens");
    // Only the image token occurs three times in a row.
    let repeated = tokens.windows(3).find(|w| w[0] == w[1] && w[1] == w[2]);
    let image_token = repeated.unwrap()[0];
    let side = if model.starts_with("qwen3") { 16 } else { 14 };
    let mut texts = tokens
        .split(|&token| token == image_token)
        .filter(|text| !text.is_empty())
        .map(|text| Segment::Text(text.to_vec()));
    let mut next_text = || texts.next().unwrap();
    let prompt = vec![
        next_text(),
        Segment::Image(image(0, side)),
        next_text(),
        Segment::Image(image(1, side)),
        next_text(),
    ];
    let mut logits = rows(&tensors["prefill"]);
    logits.extend(rows(&tensors["steps"]));
    let mut visual = rows(&tensors["seen"]);
    if let Some(deepstack) = tensors.get("deep") {
        visual.extend(rows(&deepstack.flatten_to(1).unwrap()));
    }
    Expected {
        prompt,
        answer: numbers("answer"),
        visual,
        logits,
    }
}
