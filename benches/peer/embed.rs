//! One layer of each kind of ColQwen2.5-3B, with random weights, on a large page (3,072 patches, 779 tokens): CPU time of
//! one thread. Prints one JSON object a line; `benches/peer/embed.py` runs it beside torch.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device as Candle, Tensor, safetensors};
use ingest::embed::{Config, Device, qwen};
use ingest::page::{PageImage, Size};
use ingest::patch::{PatchSpec, Prepare, Prepared};
use serde_json::{Value, json};

/// Vision layers: two that look through windows, two that look at the whole page.
const DEPTH: usize = 4;
/// Layers of the language model.
const LAYERS: usize = 2;
/// How often the page is embedded; the best time of a layer counts.
const ROUNDS: usize = 3;

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the weights");
    make(folder.path());
    let config = Config {
        model: folder.path().display().to_string(),
        device: Device::Cpu,
        max_visual_tokens: Some(768),
        pool_factor: 1,
    };
    let mut model = qwen::open(&config).expect("the model just made");
    let size = Size::new(48 * 14, 64 * 14);
    let page = PageImage::new(size, vec![200; size.area() as usize * 3]).expect("a gray page");
    let prepare = Prepare::Qwen(PatchSpec::qwen(3136, 768 * 28 * 28));
    let Ok(Prepared::Qwen(patches)) = prepare.prepare(&page) else {
        panic!("a page that fits")
    };
    let mut best: HashMap<&str, f64> = HashMap::new();
    for _ in 0..ROUNDS {
        let mut before = cpu_seconds();
        let mut measure = |tap: &str, number: usize, _: &Tensor| {
            let now = cpu_seconds();
            let kind = match (tap, number) {
                ("vit.block", 0..2) => "vit window",
                ("vit.block", _) => "vit full",
                ("lm.layer", _) => "lm",
                _ => "rest",
            };
            let least = best.entry(kind).or_insert(f64::INFINITY);
            *least = least.min(now - before);
            before = cpu_seconds();
        };
        model.pages(&[&patches], &mut measure).expect("vectors");
    }
    for kind in ["vit window", "vit full", "lm"] {
        println!("{}", json!({ "layer": kind, "ms": best[kind] * 1e3 }));
    }
}

/// CPU time of this thread so far; on a machine that is shared, the clock on the wall says little.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

/// Writes a checkpoint of the real widths, but of few layers.
fn make(folder: &Path) {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/colqwen2.5-tiny");
    fs::copy(tiny.join("tokenizer.json"), folder.join("tokenizer.json")).expect("a tokenizer");
    let text = fs::read_to_string(tiny.join("config.json")).expect("a config");
    let mut config: Value = serde_json::from_str(&text).expect("a config");
    let changes = json!({
        "text_config": {
            "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16,
            "num_hidden_layers": LAYERS, "num_key_value_heads": 2,
            "rope_parameters": {"mrope_section": [16, 24, 24], "rope_theta": 1e6, "type": "mrope"},
        },
        "vision_config": {
            "depth": DEPTH, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
            "out_hidden_size": 2048, "fullatt_block_indexes": [2, 3],
        },
    });
    for (part, fields) in changes.as_object().into_iter().flatten() {
        let fields = fields.as_object().cloned().unwrap_or_default();
        config[part].as_object_mut().expect("a part").extend(fields);
    }
    fs::write(folder.join("config.json"), config.to_string()).expect("a config");
    safetensors::save(&weights(), folder.join("model.safetensors")).expect("weights");
}

fn weights() -> HashMap<String, Tensor> {
    let mut list = HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let deviation = if shape.len() == 1 { 0.1 } else { 0.02 };
        let noise = Tensor::randn(0f32, deviation, shape, &Candle::Cpu).expect("noise");
        list.insert(name, noise.to_dtype(DType::BF16).expect("bf16"));
    };
    add(
        "visual.patch_embed.proj.weight".into(),
        &[1280, 3, 2, 14, 14],
    );
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
            add(format!("visual.blocks.{layer}.{name}"), shape);
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
            add(format!("language_model.layers.{layer}.{name}"), shape);
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
        add(name.into(), shape);
    }
    list
}
