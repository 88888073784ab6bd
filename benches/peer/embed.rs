//! Our side of `embed.py` and `builtin.py`: ColQwen2.5-3B and ColQwen3-2B with random weights and few layers, and the built-in
//! model.
//!
//! `peer-embed make FOLDER SHAPE` writes a checkpoint in bf16: `colqwen2.5`, `colqwen3`, or with all layers
//! `colqwen2.5-whole` and `colqwen3-whole`, which is SauerkrautLM-ColQwen3-2b.
//! `peer-embed layers FOLDER` prints the time of one layer of each kind
//! on a large page (3,072 patches, 779 tokens), CPU time of one thread. `peer-embed pages FOLDER OUT.f32 IMAGE…` embeds
//! pages one by one, prints the seconds of each, and writes the concatenated vectors as raw f32. `peer-embed built-in
//! OUT.f32 IMAGE…` does so with the built-in model and grayscale images of its size, and prints the total seconds.

#![expect(clippy::print_stdout, reason = "prints measurements")]

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device as Candle, Tensor, safetensors};
use ingest::checkpoint::{Json, Schema};
use ingest::embed::{self, Config, Device, Embedder, Engine, builtin, colqwen};
use ingest::page::{PageImage, Size};
use ingest::patch::{GrayPage, PatchSpec, Prepare, Prepared};
use ingest::qwen::{self, schema};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Vision layers, of 32; the last has full attention, the others windowed attention.
const DEPTH: usize = 4;
/// Layers of the language model, of 36.
const LAYERS: usize = 4;
/// Number of repetitions; the best time of a layer counts.
const ROUNDS: usize = 3;
/// Batch size of the built-in model.
const BATCH: usize = 2;
/// Visual tokens of a page.
const TOKENS: u32 = 768;
/// Pixels of that many tokens.
const PIXELS: u64 = TOKENS as u64 * 28 * 28;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["make", folder, shape] => make(folder.as_ref(), shape),
        ["layers", folder] => layers(&config(folder)),
        ["pages", folder, out, ref images @ ..] => pages(&config(folder), out, images),
        ["built-in", out, ref images @ ..] => built_in(out, images),
        _ => Err(
            "make FOLDER SHAPE, layers FOLDER, pages FOLDER OUT.f32 IMAGE…, or built-in OUT.f32 IMAGE…"
                .into(),
        ),
    }
}

fn config(folder: &str) -> Config {
    Config {
        model: folder.to_owned(),
        engine: Engine::Candle,
        device: Device::Cpu,
        max_visual_tokens: None,
        pool_factor: 1,
        width: None,
        meaning: None,
    }
}

fn layers(config: &Config) -> Result<()> {
    // What is computed in parallel is computed by this thread, whose time is measured.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
    pool.use_current_thread().build_global()?;
    let mut model = colqwen::open(config)?;
    let size = Size::new(48 * 14, 64 * 14);
    let page = PageImage::new(size, vec![200; size.area() as usize * 3])?;
    let prepare = Prepare::Qwen(PatchSpec::qwen(3136, PIXELS));
    let Prepared::Qwen(patches) = prepare.prepare(&page)? else {
        return Err("expected patches".into());
    };
    let mut best: HashMap<&str, f64> = HashMap::new();
    for _ in 0..ROUNDS {
        let mut before = cpu_seconds();
        let mut measure = |activation: &str, layer: usize, _: &Tensor| {
            let now = cpu_seconds();
            let kind = match (activation, layer) {
                ("vit.block", 0..3) => "vit window",
                ("vit.block", _) => "vit full",
                ("lm.layer", _) => "lm",
                _ => "rest",
            };
            let least = best.entry(kind).or_insert(f64::INFINITY);
            *least = least.min(now - before);
            before = cpu_seconds();
        };
        model.encode_with_hook(&[&patches], &mut measure)?;
    }
    best.remove("rest");
    println!("{}", json!(best));
    Ok(())
}

/// CPU seconds of this thread; wall time is unreliable on a shared machine.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

fn pages(config: &Config, out: &str, images: &[&str]) -> Result<()> {
    let (prepare, mut model) = (embed::card(config)?.prepare, embed::open(config)?);
    let (mut seconds, mut all) = (Vec::new(), Vec::new());
    for image_file in images {
        let rgb = image::open(image_file)?.into_rgb8();
        let page = PageImage::new(Size::new(rgb.width(), rgb.height()), rgb.into_raw())?;
        let start = Instant::now();
        let prepared = prepare.prepare(&page)?;
        let embedded = model.embed_pages(&[prepared])?.remove(0)?;
        seconds.push(start.elapsed().as_secs_f64());
        all.extend(
            embedded
                .vectors
                .as_slice()
                .iter()
                .flat_map(|v| v.to_le_bytes()),
        );
    }
    fs::write(out, all)?;
    println!("{}", json!(seconds));
    Ok(())
}

/// Embeds pages in the batches that `ingest` uses on a CPU, once to warm up and once measured.
fn built_in(out: &str, images: &[&str]) -> Result<()> {
    let mut model = builtin::open()?;
    let pages: Vec<Prepared> = images.iter().map(|p| gray(p)).collect::<Result<_>>()?;
    let mut embed = || -> Result<(f64, Vec<u8>)> {
        let (start, mut all) = (Instant::now(), Vec::new());
        for batch in pages.chunks(BATCH) {
            for embedded in model.embed_pages(batch)? {
                all.extend(
                    embedded?
                        .vectors
                        .as_slice()
                        .iter()
                        .flat_map(|v| v.to_le_bytes()),
                );
            }
        }
        Ok((start.elapsed().as_secs_f64(), all))
    };
    embed()?;
    let (seconds, all) = embed()?;
    fs::write(out, all)?;
    println!("{}", json!(seconds));
    Ok(())
}

fn gray(image_file: &str) -> Result<Prepared> {
    let luma = image::open(image_file)?.into_luma8();
    Ok(Prepared::Gray(GrayPage {
        size: Size::new(luma.width(), luma.height()),
        pixels: luma.into_raw(),
    }))
}

/// A model with the widths of a real one.
struct Shape {
    /// The tiny model whose other files it has.
    tiny: &'static str,
    /// Fields of `config.json`, and of its `text_config` and `vision_config`.
    config: Value,
    /// Pixels of a page.
    pixels: u64,
    /// Width of a vector.
    dim: usize,
}

/// ColQwen2.5-3B; the vision layers with these indices have full attention.
fn colqwen2_5(depth: usize, layers: usize, full: &[usize]) -> Shape {
    Shape {
        tiny: "colqwen2.5-tiny",
        config: json!({
            "text_config": {
                "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16,
                "num_hidden_layers": layers, "num_key_value_heads": 2, "layer_types": vec!["full_attention"; layers],
                "rope_parameters": {
                    "mrope_section": [16, 24, 24], "rope_theta": 1e6, "rope_type": "default", "type": "mrope",
                },
            },
            "vision_config": {
                "depth": depth, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
                "out_hidden_size": 2048, "fullatt_block_indexes": full,
            },
        }),
        pixels: PIXELS,
        dim: 128,
    }
}

/// ColQwen3-2B with few layers, and pages as large as SauerkrautLM's processor allows.
fn colqwen3(depth: usize, layers: usize, deepstack: [usize; 3]) -> Shape {
    Shape {
        tiny: "colqwen3-tiny",
        config: json!({
            "text_config": {
                "hidden_size": 2048, "intermediate_size": 6144, "num_attention_heads": 16, "num_hidden_layers": layers,
                "num_key_value_heads": 8, "head_dim": 128,
                "rope_parameters": {
                    "mrope_interleaved": true, "mrope_section": [24, 20, 20], "rope_theta": 5e6, "rope_type": "default",
                },
            },
            "vision_config": {
                "depth": depth, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2048,
                "num_position_embeddings": 2304, "deepstack_visual_indexes": deepstack,
            },
        }),
        pixels: 588 * 32 * 32,
        // colpali-engine's class has no other.
        dim: 320,
    }
}

/// A model with all its layers, vectors of 128, and the vocabulary of Qwen.
fn whole(mut shape: Shape) -> Shape {
    shape.dim = 128;
    shape.config["dim"] = json!(shape.dim);
    shape.config["dtype"] = json!("bfloat16");
    shape.config["text_config"]["vocab_size"] = json!(151_936);
    shape
}

/// Writes a checkpoint.
fn make(folder: &Path, shape: &str) -> Result<()> {
    let shape = match shape {
        "colqwen2.5" => colqwen2_5(DEPTH, LAYERS, &[DEPTH - 1]),
        "colqwen2.5-whole" => whole(colqwen2_5(32, 36, &[7, 15, 23, 31])),
        "colqwen3" => colqwen3(DEPTH, LAYERS, [0, 1, 2]),
        "colqwen3-whole" => whole(colqwen3(24, 28, [5, 11, 17])),
        other => return Err(format!("no shape {other}").into()),
    };
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(shape.tiny);
    let read = |name| -> Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(tiny.join(name))?)?)
    };
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(tiny.join(name), folder.join(name))?;
    }
    let mut processor = read("processor_config.json")?;
    processor["image_processor"]["size"]["longest_edge"] = json!(shape.pixels);
    fs::write(folder.join("processor_config.json"), processor.to_string())?;
    let mut config = read("config.json")?;
    for (part, fields) in shape.config.as_object().into_iter().flatten() {
        match (&mut config[part], fields) {
            (Value::Object(part), Value::Object(fields)) => part.extend(fields.clone()),
            (part, value) => *part = value.clone(),
        }
    }
    let path = folder.join("config.json");
    fs::write(&path, config.to_string())?;
    let config = qwen::Config::read(&Json::read(&path)?)?;
    let weights = weights(&schema::embedding_model(&config, Some(shape.dim)))?;
    Ok(safetensors::save(
        &weights,
        folder.join("model.safetensors"),
    )?)
}

/// Random weights, in bf16.
fn weights(schema: &Schema) -> Result<HashMap<String, Tensor>> {
    let mut list = HashMap::new();
    for (name, shape) in schema {
        let is_norm = name.contains("norm") || name.contains("ln_q");
        let mean = f32::from(u8::from(is_norm && name.ends_with("weight")));
        let deviation = if shape.len() == 1 { 0.1 } else { 0.02 };
        let noise = Tensor::randn(mean, deviation, shape.as_slice(), &Candle::Cpu)?;
        list.insert(name.clone(), noise.to_dtype(DType::BF16)?);
    }
    Ok(list)
}
