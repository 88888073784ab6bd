//! A tiny checkpoint of the multilingual text model's family with random weights.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

const CONFIG: &str = include_str!("../golden/meaning/multilingual/config.json");
const TOKENIZER: &str = include_str!("../golden/meaning/multilingual/tokenizer.json");
const SHAPES: &str = include_str!("../golden/meaning/multilingual/shapes.json");

/// Writes the checkpoint into a folder, in the layout of the hub.
pub(crate) fn write(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    fs::write(folder.join("tokenizer.json"), TOKENIZER).unwrap();
    let shapes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(SHAPES).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let shape: Vec<usize> = serde_json::from_value(shape).unwrap();
            let bytes = values(&name, shape.iter().product());
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

/// Pseudo-random values from the name of a tensor, as `make_multilingual.py` makes them: SplitMix64 (Steele, Lea & Flood 2014)
/// from its FNV-1a hash.
fn values(name: &str, count: usize) -> Vec<u8> {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let offset = f32::from(u8::from(name.ends_with("LayerNorm.weight")));
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32 - 0.5;
        uniform * 0.25 + offset
    };
    (0..count).flat_map(|_| next().to_le_bytes()).collect()
}
