//! MLX loads the layout of mlx-community, and rejects mismatched tensors by name.

use ingest::embed::Engine;
use serde_json::json;

use super::folder::{Folder, Tensors, vectors};
use super::quantized::{converted_folders, weights_error};

/// Tolerance of vectors from quantized weights: candle computes with the dequantized weights in f32.
const QUANTIZED_TOLERANCE: f32 = 1e-3;

fn on_mlx(mut folder: Folder) -> Folder {
    folder.engine = Engine::Mlx;
    folder
}

#[test]
fn quantized_and_dequantized_weights_give_the_same_vectors() {
    let [quantized, plain] = converted_folders();
    let (quantized, plain) = (on_mlx(quantized), vectors(&plain.config()));
    for quantized in [
        vectors(&quantized.config()),
        vectors(&quantized.sharded().config()),
    ] {
        assert_eq!(quantized.len(), plain.len());
        let pairs = quantized.iter().zip(&plain);
        let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= QUANTIZED_TOLERANCE, "{error:e}");
    }
}

#[test]
fn card_counts_quantized_matrices_as_stored() {
    let weights = |folder: &Folder| {
        let card = ingest::embed::card(&folder.config()).unwrap();
        card.memory.weights
    };
    let [quantized, plain] = converted_folders();
    let quantized = on_mlx(quantized.json("config.json", |json| {
        json["quantization"] = json!({"group_size": 64, "bits": 4})
    }));
    let file = std::fs::metadata(quantized.file("model.safetensors")).unwrap();
    let (quantized, plain) = (weights(&quantized), weights(&plain));
    // Converters store scales, norms and the vision tower in two bytes per element; here all take four, as in memory.
    let share = quantized as f64 / file.len() as f64;
    assert!((0.9..1.1).contains(&share), "{quantized} of {}", file.len());
    assert!(quantized * 10 < plain * 9, "{quantized} of {plain}");
}

#[test]
fn error_names_the_mismatched_quantized_tensor() {
    const Q: &str = "language_model.model.layers.0.self_attn.q_proj";
    let error = |change: fn(&mut Tensors)| {
        let [quantized, _] = converted_folders();
        weights_error(&on_mlx(quantized.tensors("model.safetensors", change)))
    };
    let missing = error(|tensors| drop(tensors.remove(&format!("{Q}.biases"))));
    assert!(missing.contains("q_proj.biases` is missing"), "{missing}");
    // Groups of 21 1/3: 64 elements in three.
    let uneven = error(|tensors| {
        let scales = tensors[&format!("{Q}.scales")].repeat((1, 3)).unwrap();
        tensors.insert(format!("{Q}.scales"), scales);
    });
    assert!(
        uneven.contains("q_proj.scales` has shape [64, 3], not [64, 1]"),
        "{uneven}"
    );
    let unused = error(|tensors| {
        let norm = tensors["language_model.model.norm.weight"].clone();
        tensors.insert("language_model.model.norm.scales".to_owned(), norm);
    });
    assert!(
        unused.contains("`language_model.norm.scales` is not used"),
        "{unused}"
    );
}

#[test]
fn adapter_of_quantized_matrices_is_rejected() {
    let [quantized, _] = converted_folders();
    let base = quantized.file("").display().to_string();
    let adapter = on_mlx(
        Folder::copy("colqwen2.5-lora").json("adapter_config.json", |json| {
            json["base_model_name_or_path"] = json!(base)
        }),
    );
    assert!(
        weights_error(&adapter).contains("of the adapter is not used"),
        "{}",
        weights_error(&adapter)
    );
}
