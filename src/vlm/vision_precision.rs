//! How finely a model's vision part is stored: below 8 bits it misreads print, whatever its language part is worth.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// Bits that a weight of the vision part should have.
const ENOUGH: u64 = 8;
/// Bytes of the head of a safetensors file that we read.
const HEAD: u64 = 64 << 20;

/// A warning, where the tensors that Ollama lists (`/api/show`) hold a coarse vision part.
pub(super) fn of_tensors(show: &Value) -> Option<String> {
    let tensors = show["tensors"].as_array()?;
    let kinds = tensors.iter().filter_map(|tensor| {
        let is_seeing = tensor["name"].as_str()?.starts_with("v.");
        is_seeing.then_some(tensor["type"].as_str()?)
    });
    coarse(kinds.filter_map(bits).min()?)
}

/// The bits of a quantised type by its name in ggml: `Q4_K`, `IQ4_NL`, `TQ1_0`, `MXFP4`, `NVFP4`; `F16`, `BF16`, `F32` and
/// whole numbers are not quantised.
fn bits(kind: &str) -> Option<u64> {
    let digits = ["IQ", "TQ", "Q", "MXFP", "NVFP"]
        .iter()
        .find_map(|family| kind.strip_prefix(family))?;
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().ok()
}

/// A warning, where a folder of MLX holds a coarse vision part: quantised layers there, and too few bits for them.
pub(super) fn of_folder(model: &Path) -> Option<String> {
    let config = std::fs::read_to_string(model.join("config.json")).ok()?;
    let config: Value = serde_json::from_str(&config).ok()?;
    let packed = &config["quantization"];
    let all = packed["bits"].as_u64()?;
    let files = std::fs::read_dir(model)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let files = files.filter(|file| file.extension().is_some_and(|e| e == "safetensors"));
    // A layer may have bits of its own.
    let bits = |name: &String| {
        let layer = name
            .strip_suffix(".scales")
            .filter(|name| name.starts_with("vision_tower."))?;
        Some(packed[layer]["bits"].as_u64().unwrap_or(all))
    };
    let least = files.filter_map(|file| names(&file)?.iter().filter_map(bits).min());
    coarse(least.min()?)
}

fn coarse(bits: u64) -> Option<String> {
    (bits < ENOUGH).then(|| {
        format!("its vision part is stored in {bits} bits: it will misread small print and numbers; take one with 8 or 16")
    })
}

/// The names of the tensors of a file (safetensors: the length of a head of JSON, the head, the values).
fn names(file: &Path) -> Option<Vec<String>> {
    let mut file = File::open(file).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut head = Vec::new();
    file.take(u64::from_le_bytes(length).min(HEAD))
        .read_to_end(&mut head)
        .ok()?;
    let head: Value = serde_json::from_slice(&head).ok()?;
    Some(head.as_object()?.keys().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ollama_says_how_tensors_are_stored() {
        let show = |kinds: &[(&str, &str)]| {
            let tensor = |(name, kind): &(&str, &str)| json!({"name": name, "type": kind});
            json!({"tensors": kinds.iter().map(tensor).collect::<Vec<_>>()})
        };
        let fine = [
            ("v.blk.0.attn_q.weight", "F16"),
            ("blk.0.attn_q.weight", "Q4_K"),
        ];
        assert_eq!(of_tensors(&show(&fine)), None);
        assert_eq!(
            of_tensors(&show(&[("v.blk.0.attn_q.weight", "Q8_0")])),
            None
        );
        for (kind, bits) in [
            ("Q4_K", 4),
            ("IQ4_NL", 4),
            ("MXFP4", 4),
            ("NVFP4", 4),
            ("TQ1_0", 1),
        ] {
            let told = of_tensors(&show(&[("v.blk.0.attn_q.weight", kind)]));
            let bits = format!("in {bits} bits");
            assert!(told.is_some_and(|told| told.contains(&bits)), "{kind}");
        }
        for kind in ["F16", "BF16", "F32", "I8", "MXFP8"] {
            let told = of_tensors(&show(&[("v.blk.0.attn_q.weight", kind)]));
            assert_eq!(told, None, "{kind}");
        }
        assert_eq!(of_tensors(&json!({})), None);
    }

    #[test]
    fn a_folder_says_it_by_its_scales() {
        let folder = tempfile::tempdir().unwrap();
        let write = |bits: u64, names: &[&str]| {
            let config = json!({"quantization": {"bits": bits, "group_size": 64}});
            std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
            let head: serde_json::Map<String, Value> = names
                .iter()
                .map(|name| ((*name).to_owned(), json!({})))
                .collect();
            let head = Value::Object(head).to_string();
            let bytes = [&(head.len() as u64).to_le_bytes()[..], head.as_bytes()].concat();
            std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
            of_folder(folder.path())
        };
        assert_eq!(
            write(4, &["language_model.model.layers.0.mlp.up_proj.scales"]),
            None
        );
        assert!(write(4, &["vision_tower.blocks.0.attn.qkv.scales"]).is_some());
        assert_eq!(write(8, &["vision_tower.blocks.0.attn.qkv.scales"]), None);
    }
}
