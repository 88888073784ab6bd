//! Our side of `embed.py` and `builtin.py`: ColQwen2.5-3B with random weights and few layers, and the built-in model.
//!
//! `peer-embed make FOLDER` writes the checkpoint. `peer-embed layers FOLDER` prints the time of one layer of each kind
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
use ingest::embed::{self, Config, Device, Embedder, Engine, builtin, colqwen};
use ingest::page::{PageImage, Size};
use ingest::patch::{GrayPage, PatchSpec, Prepare, Prepared};
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
        ["make", folder] => make(folder.as_ref()),
        ["layers", folder] => layers(&config(folder)),
        ["pages", folder, out, ref images @ ..] => pages(&config(folder), out, images),
        ["built-in", out, ref images @ ..] => built_in(out, images),
        _ => Err(
            "make FOLDER, layers FOLDER, pages FOLDER OUT.f32 IMAGE…, or built-in OUT.f32 IMAGE…"
                .into(),
        ),
    }
}

fn config(folder: &str) -> Config {
    Config {
        model: folder.to_owned(),
        engine: Engine::Candle,
        device: Device::Cpu,
        max_visual_tokens: Some(TOKENS),
        pool_factor: 1,
        width: None,
        meaning: None,
    }
}

fn layers(config: &Config) -> Result<()> {
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

/// Writes a checkpoint with the real widths but few layers.
fn make(folder: &Path) -> Result<()> {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/colqwen2.5-tiny");
    let read = |name| -> Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(tiny.join(name))?)?)
    };
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(tiny.join(name), folder.join(name))?;
    }
    let mut processor = read("processor_config.json")?;
    processor["image_processor"]["size"]["longest_edge"] = json!(PIXELS);
    fs::write(folder.join("processor_config.json"), processor.to_string())?;
    let mut config = read("config.json")?;
    let changes = json!({
        "text_config": {
            "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16,
            "num_hidden_layers": LAYERS, "num_key_value_heads": 2, "layer_types": vec!["full_attention"; LAYERS],
            "rope_parameters": {
                "mrope_section": [16, 24, 24], "rope_theta": 1e6, "rope_type": "default", "type": "mrope",
            },
        },
        "vision_config": {
            "depth": DEPTH, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
            "out_hidden_size": 2048, "fullatt_block_indexes": [DEPTH - 1],
        },
    });
    for (part, fields) in changes.as_object().into_iter().flatten() {
        let fields = fields.as_object().cloned().unwrap_or_default();
        config[part]
            .as_object_mut()
            .ok_or("no such object")?
            .extend(fields);
    }
    fs::write(folder.join("config.json"), config.to_string())?;
    Ok(safetensors::save(
        &weights()?,
        folder.join("model.safetensors"),
    )?)
}

fn weights() -> Result<HashMap<String, Tensor>> {
    let mut list = HashMap::new();
    let mut add = |name: String, shape: &[usize]| -> Result<()> {
        let mean = f32::from(u8::from(name.contains("norm") || name.contains("ln_q")));
        let deviation = if shape.len() == 1 { 0.1 } else { 0.02 };
        let noise = Tensor::randn(mean, deviation, shape, &Candle::Cpu)?;
        list.insert(name, noise.to_dtype(DType::BF16)?);
        Ok(())
    };
    add(
        "visual.patch_embed.proj.weight".into(),
        &[1280, 3, 2, 14, 14],
    )?;
    for layer in 0..DEPTH {
        for (name, shape) in [
            ("norm1.weight", &[1280][..]),
            ("norm2.weight", &[1280]),
            ("attn.qkv.weight", &[3840, 1280]),
            ("attn.qkv.bias", &[3840]),
            ("attn.proj.weight", &[1280, 1280]),
            ("attn.proj.bias", &[1280]),
            ("mlp.gate_proj.weight", &[3420, 1280]),
            ("mlp.gate_proj.bias", &[3420]),
            ("mlp.up_proj.weight", &[3420, 1280]),
            ("mlp.up_proj.bias", &[3420]),
            ("mlp.down_proj.weight", &[1280, 3420]),
            ("mlp.down_proj.bias", &[1280]),
        ] {
            add(format!("visual.blocks.{layer}.{name}"), shape)?;
        }
    }
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm.weight", &[2048][..]),
            ("post_attention_layernorm.weight", &[2048]),
            ("self_attn.q_proj.weight", &[2048, 2048]),
            ("self_attn.q_proj.bias", &[2048]),
            ("self_attn.k_proj.weight", &[256, 2048]),
            ("self_attn.k_proj.bias", &[256]),
            ("self_attn.v_proj.weight", &[256, 2048]),
            ("self_attn.v_proj.bias", &[256]),
            ("self_attn.o_proj.weight", &[2048, 2048]),
            ("mlp.gate_proj.weight", &[11008, 2048]),
            ("mlp.up_proj.weight", &[11008, 2048]),
            ("mlp.down_proj.weight", &[2048, 11008]),
        ] {
            add(format!("language_model.layers.{layer}.{name}"), shape)?;
        }
    }
    for (name, shape) in [
        ("visual.merger.ln_q.weight", &[1280][..]),
        ("visual.merger.mlp.0.weight", &[5120, 5120]),
        ("visual.merger.mlp.0.bias", &[5120]),
        ("visual.merger.mlp.2.weight", &[2048, 5120]),
        ("visual.merger.mlp.2.bias", &[2048]),
        ("language_model.embed_tokens.weight", &[320, 2048]),
        ("language_model.norm.weight", &[2048]),
        ("custom_text_proj.weight", &[128, 2048]),
        ("custom_text_proj.bias", &[128]),
    ] {
        add(name.into(), shape)?;
    }
    Ok(list)
}
