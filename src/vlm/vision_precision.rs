//! Vision quantization check: a vision tower below 8 bits misreads print, however good the language model is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// Minimum bits per weight of the vision tower.
const MIN_BITS: u64 = 8;
/// Maximum bytes read of the header of a safetensors file.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// Returns a warning if the vision tensors that Ollama lists (`/api/show`) have too few bits.
pub(super) fn check_tensors(show: &Value) -> Option<String> {
    let tensors = show["tensors"].as_array()?;
    let dtypes = tensors.iter().filter_map(|tensor| {
        let is_vision = tensor["name"].as_str()?.starts_with("v.");
        is_vision.then_some(tensor["type"].as_str()?)
    });
    warning(dtypes.filter_map(quantized_bits).min()?)
}

/// Bits of a quantized ggml type: `Q4_K`, `IQ4_NL`, `TQ1_0`, `MXFP4`, `NVFP4`. `None` for unquantized types: `F16`, `BF16`,
/// `F32` and integers.
fn quantized_bits(dtype: &str) -> Option<u64> {
    let digits = ["IQ", "TQ", "Q", "MXFP", "NVFP"]
        .iter()
        .find_map(|family| dtype.strip_prefix(family))?;
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().ok()
}

/// Returns a warning if an MLX model folder has quantized vision layers with too few bits.
pub(super) fn check_folder(folder: &Path) -> Option<String> {
    let config = std::fs::read_to_string(folder.join("config.json")).ok()?;
    let config: Value = serde_json::from_str(&config).ok()?;
    let quantization = &config["quantization"];
    let default_bits = quantization["bits"].as_u64()?;
    let files = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let files = files.filter(|file| file.extension().is_some_and(|e| e == "safetensors"));
    // A layer may override the default.
    let bits = |name: &String| {
        let layer = name
            .strip_suffix(".scales")
            .filter(|name| name.starts_with("vision_tower."))?;
        Some(quantization[layer]["bits"].as_u64().unwrap_or(default_bits))
    };
    let min_bits = files.filter_map(|file| tensor_names(&file)?.iter().filter_map(bits).min());
    warning(min_bits.min()?)
}

fn warning(bits: u64) -> Option<String> {
    (bits < MIN_BITS).then(|| {
        format!("its vision tower is quantized to {bits} bits: it will misread small print and numbers; use one with 8 or 16")
    })
}

/// Tensor names of a safetensors file (length of the JSON header, header, values).
fn tensor_names(file: &Path) -> Option<Vec<String>> {
    let mut file = File::open(file).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length).min(MAX_HEADER_BYTES))
        .read_to_end(&mut header)
        .ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    Some(header.as_object()?.keys().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantized_vision_tensors_of_ollama_cause_a_warning() {
        let show = |dtypes: &[(&str, &str)]| {
            let tensor = |(name, dtype): &(&str, &str)| json!({"name": name, "type": dtype});
            json!({"tensors": dtypes.iter().map(tensor).collect::<Vec<_>>()})
        };
        let f16_vision = [
            ("v.blk.0.attn_q.weight", "F16"),
            ("blk.0.attn_q.weight", "Q4_K"),
        ];
        assert_eq!(check_tensors(&show(&f16_vision)), None);
        assert_eq!(
            check_tensors(&show(&[("v.blk.0.attn_q.weight", "Q8_0")])),
            None
        );
        for (dtype, bits) in [
            ("Q4_K", 4),
            ("IQ4_NL", 4),
            ("MXFP4", 4),
            ("NVFP4", 4),
            ("TQ1_0", 1),
        ] {
            let warning = check_tensors(&show(&[("v.blk.0.attn_q.weight", dtype)]));
            let bits = format!("to {bits} bits");
            assert!(warning.is_some_and(|text| text.contains(&bits)), "{dtype}");
        }
        for dtype in ["F16", "BF16", "F32", "I8", "MXFP8"] {
            let warning = check_tensors(&show(&[("v.blk.0.attn_q.weight", dtype)]));
            assert_eq!(warning, None, "{dtype}");
        }
        assert_eq!(check_tensors(&json!({})), None);
    }

    #[test]
    fn quantized_vision_layers_of_a_folder_cause_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bits: u64, names: &[&str]| {
            let config = json!({"quantization": {"bits": bits, "group_size": 64}});
            std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
            let header: serde_json::Map<String, Value> = names
                .iter()
                .map(|name| ((*name).to_owned(), json!({})))
                .collect();
            let header = Value::Object(header).to_string();
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
            std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
            check_folder(folder.path())
        };
        assert_eq!(
            check(4, &["language_model.model.layers.0.mlp.up_proj.scales"]),
            None
        );
        assert!(check(4, &["vision_tower.blocks.0.attn.qkv.scales"]).is_some());
        assert_eq!(check(8, &["vision_tower.blocks.0.attn.qkv.scales"]), None);
    }
}
