//! The tiny models of `tests/golden/speaker`, and what mlx-vlm computed with them.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ingest::checkpoint::{Json, WeightFiles, Weights};
use ingest::patch::{PatchGrid, Patches};
use ingest::qwen::mlx::{Device, GeneratorConfig, Segment};
use ingest::qwen::{self, schema};

/// Patches down and across.
const GRIDS: [(u32, u32); 2] = [(10, 14), (4, 10)];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/speaker")
        .join(name)
}

pub(crate) fn recipe(model: &str) -> GeneratorConfig {
    let json = Json::read(&golden(model).join("config.json")).unwrap();
    let shape = qwen::Config::read(&json).unwrap();
    let files = WeightFiles {
        base: vec![golden(model).join("model.safetensors")],
        adapter: None,
    };
    let tied = model.starts_with("qwen3");
    let schema = schema::language_model(&shape, tied);
    let model = model.to_owned();
    GeneratorConfig {
        weights: Box::new(move || Weights::open_quantized(&model, &files, &schema)),
        shape,
        tie_word_embeddings: tied,
        stop_tokens: Vec::new(),
        context_length: 8192,
        device: Device::open(None).unwrap(),
        memory: 1 << 30,
    }
}

/// Patches by the rule of `make_speaker.py`.
fn picture(number: u64, side: u64) -> Patches {
    let (rows, columns) = GRIDS[number as usize];
    let grid = PatchGrid {
        rows,
        columns,
        merge: 2,
    };
    let floats = grid.patches() as u64 * 6 * side * side;
    let value = |at: u64| ((at * 7919 + number * 104_729) % 2003) as f64 / 1001.5 - 1.0;
    Patches {
        grid,
        rows: (0..floats).map(|at| value(at) as f32).collect(),
    }
}

pub(crate) struct Theirs {
    pub(crate) question: Vec<Segment>,
    pub(crate) answer: Vec<u32>,
    /// What the vision tower makes of both pictures, and what goes beside it.
    pub(crate) seen: Vec<Vec<f32>>,
    pub(crate) scores: Vec<Vec<f32>>,
}

pub(crate) fn theirs(model: &str) -> Theirs {
    let file = golden(&format!("{model}.safetensors"));
    let all = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
    let numbers = |name: &str| all[name].to_vec1::<u32>().unwrap();
    let rows = |tensor: &Tensor| tensor.to_vec2::<f32>().unwrap();
    let tokens = numbers("tokens");
    // The token of a picture is the only one that repeats so often.
    let image = tokens.windows(3).find(|w| w[0] == w[1] && w[1] == w[2]);
    let image = image.unwrap()[0];
    let side = if model.starts_with("qwen3") { 16 } else { 14 };
    let mut stretches = tokens
        .split(|&token| token == image)
        .filter(|stretch| !stretch.is_empty())
        .map(|stretch| Segment::Text(stretch.to_vec()));
    let mut next = || stretches.next().unwrap();
    let question = vec![
        next(),
        Segment::Image(picture(0, side)),
        next(),
        Segment::Image(picture(1, side)),
        next(),
    ];
    let mut scores = rows(&all["prefill"]);
    scores.extend(rows(&all["steps"]));
    let mut seen = rows(&all["seen"]);
    if let Some(deep) = all.get("deep") {
        seen.extend(rows(&deep.flatten_to(1).unwrap()));
    }
    Theirs {
        question,
        answer: numbers("answer"),
        seen,
        scores,
    }
}
