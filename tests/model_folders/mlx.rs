//! MLX reads the layout of mlx-community, and names what does not fit.

use ingest::embed::Engine;
use serde_json::json;

use super::folder::{Folder, Tensors, vectors};
use super::packed::{converted_folders, why};

/// What a number of few bits may be off in the vectors: candle computes with the unpacked numbers in f32.
const PACKED: f32 = 1e-3;

fn on_mlx(mut folder: Folder) -> Folder {
    folder.engine = Engine::Mlx;
    folder
}

#[test]
fn packed_matrices_mean_what_they_unpack_to() {
    let [packed, plain] = converted_folders();
    let (packed, plain) = (on_mlx(packed), vectors(&plain.config()));
    for packed in [
        vectors(&packed.config()),
        vectors(&packed.sharded().config()),
    ] {
        assert_eq!(packed.len(), plain.len());
        let pairs = packed.iter().zip(&plain);
        let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most <= PACKED, "{most:e}");
    }
}

#[test]
fn a_plan_counts_packed_matrices_as_they_are() {
    let weights = |folder: &Folder| {
        let card = ingest::embed::card(&folder.config()).unwrap();
        card.memory.weights
    };
    let [packed, plain] = converted_folders();
    let said = on_mlx(packed.json("config.json", |json| {
        json["quantization"] = json!({"group_size": 64, "bits": 4})
    }));
    let file = std::fs::metadata(said.file("model.safetensors")).unwrap();
    let (said, plain) = (weights(&said), weights(&plain));
    // Converters keep scales, norms and the vision tower in two bytes a number; here all are in four, and so in memory.
    let share = said as f64 / file.len() as f64;
    assert!((0.9..1.1).contains(&share), "{said} of {}", file.len());
    assert!(said * 10 < plain * 9, "{said} beside {plain}");
}

#[test]
fn packed_matrices_that_do_not_fit_are_named() {
    const Q: &str = "language_model.model.layers.0.self_attn.q_proj";
    let spoiled = |change: fn(&mut Tensors)| {
        let [packed, _] = converted_folders();
        why(&on_mlx(packed.tensors("model.safetensors", change)))
    };
    let lost = spoiled(|tensors| drop(tensors.remove(&format!("{Q}.biases"))));
    assert!(lost.contains("q_proj.biases` is missing"), "{lost}");
    // Groups of 21 1/3: 64 numbers in three.
    let uneven = spoiled(|tensors| {
        let scales = tensors[&format!("{Q}.scales")].repeat((1, 3)).unwrap();
        tensors.insert(format!("{Q}.scales"), scales);
    });
    assert!(
        uneven.contains("q_proj.scales` has shape [64, 3], not [64, 1]"),
        "{uneven}"
    );
    let strange = spoiled(|tensors| {
        let norm = tensors["language_model.model.norm.weight"].clone();
        tensors.insert("language_model.model.norm.scales".to_owned(), norm);
    });
    assert!(
        strange.contains("`language_model.norm.scales` is not used"),
        "{strange}"
    );
}

#[test]
fn an_adapter_leaves_packed_matrices_alone() {
    let [packed, _] = converted_folders();
    let base = packed.file("").display().to_string();
    let adapter = on_mlx(
        Folder::copy("colqwen2.5-lora").json("adapter_config.json", |json| {
            json["base_model_name_or_path"] = json!(base)
        }),
    );
    assert!(
        why(&adapter).contains("of the adapter is not used"),
        "{}",
        why(&adapter)
    );
}
