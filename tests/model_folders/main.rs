//! Model folders: layouts of other exporters load; incomplete or unsupported folders are rejected by name.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod folder;
#[cfg(feature = "mlx")]
mod mlx;
mod quantized;
mod relatives;

use std::fs;
use std::path::Path;

use candle_core::{Device as Candle, Tensor};
use ingest::checkpoint::Error;
use ingest::embed::{self, Config, Engine};
use ingest::page::PageError;
use serde_json::{Value, json};

use folder::{Folder, Tensors, config, golden, page, vectors};

#[test]
fn layouts_of_other_exporters_give_the_same_vectors() {
    let plain = Folder::copy("colqwen2.5-tiny");
    let expected = vectors(&plain.config());
    let flat_names = |name: &str| match name.strip_prefix("language_model.") {
        Some(rest) => format!("model.{rest}"),
        None => name.to_owned(),
    };
    let wrapped = |name: &str| match name.strip_prefix("custom_text_proj.") {
        Some(rest) => format!("embedding_proj_layer.{rest}"),
        None => format!("vlm.model.{name}"),
    };
    let with_head = |tensors: &mut Tensors| {
        let table = tensors["language_model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".to_owned(), table);
    };
    for (what, folder) in [
        ("shards", Folder::copy("colqwen2.5-tiny").sharded()),
        (
            "flat names",
            Folder::copy("colqwen2.5-tiny").renamed(flat_names),
        ),
        (
            "wrapped names",
            Folder::copy("colqwen2.5-tiny").renamed(wrapped),
        ),
        (
            "a head",
            Folder::copy("colqwen2.5-tiny").tensors("model.safetensors", with_head),
        ),
        (
            "a flat config",
            Folder::copy("colqwen2.5-tiny").json("config.json", flatten),
        ),
    ] {
        assert_eq!(vectors(&folder.config()), expected, "{what}");
    }
}

/// The layout of `config.json` before transformers 5.
fn flatten(config: &mut Value) {
    let Some(Value::Object(mut text)) = config.as_object_mut().unwrap().remove("text_config")
    else {
        panic!("no text_config")
    };
    text.remove("model_type");
    let rope = text.remove("rope_parameters").unwrap();
    text.insert("rope_theta".to_owned(), rope["rope_theta"].clone());
    text.insert(
        "rope_scaling".to_owned(),
        json!({"type": "mrope", "mrope_section": rope["mrope_section"]}),
    );
    config.as_object_mut().unwrap().extend(text);
    let vision = config["vision_config"].as_object_mut().unwrap();
    vision.remove("rope_parameters");
    let channels = vision.remove("in_channels").unwrap();
    vision.insert("in_chans".to_owned(), channels);
}

#[test]
fn profile_id_depends_on_everything_that_changes_the_vectors() {
    let profile = |folder: &Folder| embed::card(&folder.config()).unwrap().profile.id;
    let plain = Folder::copy("colqwen2.5-tiny");
    let card = embed::card(&plain.config()).unwrap();
    assert_eq!((card.profile.id.len(), card.profile.dim), (16, 128));
    assert_eq!(profile(&Folder::copy("colqwen2.5-tiny")), card.profile.id);
    assert_eq!(card.device, "cpu (f32)");
    let budget = Config {
        max_visual_tokens: Some(20),
        ..plain.config()
    };
    let prefix = Folder::copy("colqwen2.5-tiny");
    fs::write(prefix.file("ingest-card.toml"), "query_prefix = \"\"").unwrap();
    let weights = Folder::copy("colqwen2.5-tiny").tensors("model.safetensors", |tensors| {
        let bias = tensors["custom_text_proj.bias"].clone();
        tensors.insert("custom_text_proj.bias".to_owned(), (bias + 0.1).unwrap());
    });
    let others = [
        embed::card(&budget).unwrap().profile.id,
        profile(&prefix),
        profile(&weights),
        profile(&Folder::copy("colqwen2-tiny")),
    ];
    for other in others {
        assert_ne!(other, card.profile.id);
    }
}

/// Every store names its collections by these ids.
#[test]
fn profile_ids_never_change() {
    let id = |config: &Config| embed::card(config).unwrap().profile.id;
    let built_in = Config {
        model: "built-in".to_owned(),
        ..config(Path::new(""), Engine::Candle)
    };
    assert_eq!(id(&built_in), "e207b79cb229");
    for (name, expected) in [
        ("colqwen2-tiny", "17034e6f0f313509"),
        ("colqwen2-lora", "04750eb24ab73e6b"),
        ("colqwen2.5-tiny", "b8059ddc8e9e9ad9"),
        ("colqwen2.5-lora", "9b7d8304aad0d033"),
        ("colqwen2.5-bf16-tiny", "ef7e33954c2cdedb"),
        ("colqwen3-tiny", "ea20b1667f06c01a"),
        ("colqwen3-lora", "44fbdffd0de344da"),
    ] {
        let config = config(&golden(name), Engine::Candle);
        assert_eq!(id(&config), expected, "{name}");
        let pooled = Config {
            pool_factor: 3,
            ..config
        };
        assert_eq!(id(&pooled), format!("{expected}-pool3"), "{name}");
    }
    let [quantized, _] = quantized::converted_folders();
    assert_eq!(id(&quantized.config()), "8f50e9050269f501");
}

#[test]
fn error_names_the_missing_or_truncated_file() {
    let shard = "model-00001-of-00002.safetensors";
    let missing = Folder::copy("colqwen2.5-tiny").sharded();
    fs::remove_file(missing.file(shard)).unwrap();
    let bare = Folder::copy("colqwen2.5-tiny");
    fs::remove_file(bare.file("tokenizer.json")).unwrap();
    for (folder, named) in [
        (missing, shard),
        (
            Folder::copy("colqwen2.5-tiny").sharded().truncated(shard),
            shard,
        ),
        (
            Folder::copy("colqwen2.5-tiny").truncated("model.safetensors"),
            "model.safetensors",
        ),
        (
            Folder::copy("colqwen2.5-tiny").truncated("config.json"),
            "config.json",
        ),
        (
            Folder::copy("colqwen2.5-tiny").truncated("tokenizer.json"),
            "tokenizer.json",
        ),
        (bare, "tokenizer.json"),
    ] {
        match folder.open_error() {
            Error::File { file, .. } => assert!(file.ends_with(named), "{}", file.display()),
            other => panic!("{named}: {other}"),
        }
    }
}

#[test]
fn error_names_the_mismatched_tensor() {
    const NORM: &str = "language_model.norm.weight";
    let less = |tensors: &mut Tensors| drop(tensors.remove(NORM));
    let more = |tensors: &mut Tensors| {
        let copy = tensors[NORM].clone();
        tensors.insert("visual.blocks.9.norm1.weight".to_owned(), copy);
    };
    let other = |tensors: &mut Tensors| {
        let half = tensors[NORM].narrow(0, 0, 32).unwrap();
        tensors.insert(NORM.to_owned(), half);
    };
    let model = |change: fn(&mut Tensors)| {
        Folder::copy("colqwen2.5-tiny").tensors("model.safetensors", change)
    };
    for (folder, words) in [
        (model(less), "`language_model.norm.weight` is missing"),
        (model(more), "`visual.blocks.9.norm1.weight` is not used"),
        (model(other), "has shape [32], not [64]"),
    ] {
        let Error::Weights { why, .. } = folder.open_error() else {
            panic!("{words}")
        };
        assert!(why.contains(words), "{why}");
    }
}

/// A modifiable adapter of a golden base.
fn adapter(change: impl FnOnce(&mut Tensors)) -> Folder {
    let base = golden("colqwen2.5-tiny").display().to_string();
    Folder::copy("colqwen2.5-lora")
        .json("adapter_config.json", |json| {
            json["base_model_name_or_path"] = json!(base)
        })
        .tensors("adapter_model.safetensors", change)
}

#[test]
fn adapter_with_unused_or_missing_tensors_is_rejected() {
    let key = "base_model.model.custom_text_proj.lora_A.weight";
    let unused = adapter(|tensors| {
        let copy = tensors[key].clone();
        tensors.insert(
            "base_model.model.visual.nowhere.lora_A.weight".to_owned(),
            copy,
        );
    });
    let half = adapter(|tensors| drop(tensors.remove(key)));
    for (folder, words) in [
        (
            unused,
            "`visual.nowhere.lora_A.weight` of the adapter is not used",
        ),
        (
            half,
            "half of the adapter of `custom_text_proj.weight` is missing",
        ),
    ] {
        let Error::Weights { why, .. } = folder.open_error() else {
            panic!("{words}")
        };
        assert!(why.contains(words), "{why}");
    }
    let dora = adapter(|_| ()).json("adapter_config.json", |json| json["use_dora"] = json!(true));
    assert!(
        matches!(dora.open_error(), Error::Unsupported { what, .. } if what == "use_dora = true")
    );
    // Older adapters use other names for the language model.
    let old = adapter(|tensors| {
        let old = |name: String| name.replace("language_model.layers", "model.layers");
        *tensors = tensors
            .drain()
            .map(|(name, tensor)| (old(name), tensor))
            .collect();
    });
    assert_eq!(vectors(&old.config()), vectors(&adapter(|_| ()).config()));
}

#[test]
fn describing_model_is_rejected() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/qwen_vl/qwen3");
    let config = config(Path::new(folder), Engine::Candle);
    let why = embed::card(&config).unwrap_err().to_string();
    assert!(
        why.ends_with(
            "it has no `custom_text_proj`, so it describes pages but does not embed them"
        ),
        "{why}"
    );
}

#[test]
fn error_names_the_file_of_an_unsupported_setting() {
    for (file, field, value) in [
        ("config.json", "model_type", json!("qwen3_vl_moe")),
        (
            "config.json",
            "vision_config",
            json!({"hidden_act": "gelu"}),
        ),
        (
            "config.json",
            "text_config",
            json!({"use_sliding_window": true}),
        ),
        ("processor_config.json", "resample", json!(2)),
    ] {
        let folder = Folder::copy("colqwen2.5-tiny").json(file, |json| {
            if file == "processor_config.json" {
                *json = json["image_processor"].clone();
            }
            match (&mut json[field], &value) {
                (Value::Object(part), Value::Object(new)) => part.extend(new.clone()),
                (part, _) => *part = value.clone(),
            }
        });
        match folder.open_error() {
            Error::Unsupported { file: named, .. } => assert!(named.ends_with(file), "{named}"),
            other => panic!("{field}: {other}"),
        }
    }
    let unknown = |model: &str| Config {
        model: model.to_owned(),
        ..config(Path::new(""), Engine::Candle)
    };
    assert!(matches!(
        embed::card(&unknown("./no/such/folder")),
        Err(embed::Error::Files(Error::Unknown(_)))
    ));
}

#[test]
fn non_finite_page_fails_without_failing_the_batch() {
    let broken = Folder::copy("colqwen2.5-tiny").tensors("model.safetensors", |tensors| {
        let scale = Tensor::full(f32::NAN, 64, &Candle::Cpu).unwrap();
        tensors.insert("language_model.norm.weight".to_owned(), scale);
    });
    let config = broken.config();
    let mut embedder = embed::open(&config).unwrap();
    let pages = embedder
        .embed_pages(&[page(&config), page(&config)])
        .unwrap();
    assert!(pages.iter().all(|page| page == &Err(PageError::NotFinite)));
    assert!(embedder.embed_query("a question").is_err());
}
