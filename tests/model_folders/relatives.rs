//! Adapters and layouts of models related to ColQwen2.5, and what unknown families are told.

use std::fs;

use candle_core::{Device as Candle, Tensor, safetensors};
use ingest::checkpoint::Error;
use ingest::embed;
use serde_json::json;

use super::adapter;
use super::folder::{Folder, Tensors, golden, vectors};

const PAIR: [&str; 2] = ["lora_A", "lora_B"];

/// Name of a matrix of the adapter of the projection.
fn of_projection(matrix: &str) -> String {
    format!("base_model.model.custom_text_proj.{matrix}.weight")
}

/// Checks that two models give the same vectors, apart from rounding.
fn assert_same(a: &Folder, b: &Folder) {
    let (a, b) = (vectors(&a.config()), vectors(&b.config()));
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
    let most = differences.fold(0.0, f32::max);
    assert!(most < 1e-6, "{most:e}");
}

#[test]
fn rank_stabilised_adapter_is_divided_by_the_root_of_its_rank() {
    let with = |field: &str, value: serde_json::Value| {
        adapter(|_| ()).json("adapter_config.json", |json| json[field] = value)
    };
    let (plain, stabilised) = (adapter(|_| ()), with("use_rslora", json!(true)));
    // The rank is 4: 8 / sqrt(4) = 16 / 4.
    let doubled = with("lora_alpha", json!(16));
    assert_same(&stabilised, &doubled);
    let id = |folder: &Folder| embed::card(&folder.config()).unwrap().profile.id;
    assert_ne!(id(&stabilised), id(&plain));
}

#[test]
fn module_of_another_rank_is_scaled_by_its_own() {
    let cut = |tensors: &mut Tensors, factor: f64, padding: usize| {
        for (dim, matrix) in PAIR.into_iter().enumerate() {
            let tensor = tensors[&of_projection(matrix)].narrow(dim, 0, 2).unwrap();
            let tensor = tensor.pad_with_zeros(dim, 0, padding).unwrap();
            let tensor = if dim == 1 {
                (tensor * factor).unwrap()
            } else {
                tensor
            };
            tensors.insert(of_projection(matrix), tensor.contiguous().unwrap());
        }
    };
    let own = adapter(|tensors| cut(tensors, 1.0, 0));
    let Error::Weights { why, .. } = own.open_error() else {
        panic!("not a mismatch")
    };
    assert!(
        why.contains("`custom_text_proj.weight` has another shape"),
        "{why}"
    );
    let own = own.json("adapter_config.json", |json| {
        json["rank_pattern"] = json!({"custom_text_proj": 2});
    });
    let padded = adapter(|tensors| cut(tensors, 2.0, 2));
    assert_same(&own, &padded);
}

#[test]
fn module_saved_whole_replaces_that_of_the_base() {
    let file = golden("colqwen2.5-tiny").join("model.safetensors");
    let base = safetensors::load(file, &Candle::Cpu).unwrap();
    let without = Folder::copy("colqwen2.5-tiny").tensors("model.safetensors", |tensors| {
        tensors.retain(|name, _| !name.starts_with("custom_text_proj"));
    });
    let (path, names) = (without.file(""), ["weight", "bias"]);
    let saved = |tensors: &mut Tensors| {
        for matrix in PAIR {
            tensors.remove(&of_projection(matrix));
        }
        for name in names.map(|part| format!("custom_text_proj.{part}")) {
            let doubled = (&base[&name] * 2.0).unwrap();
            tensors.insert(format!("base_model.model.{name}"), doubled);
        }
    };
    let expected = Folder::copy("colqwen2.5-tiny").tensors("model.safetensors", |tensors| {
        for name in names.map(|part| format!("custom_text_proj.{part}")) {
            tensors.insert(name.clone(), (&base[&name] * 2.0).unwrap());
        }
    });
    let expected_base = expected.file("").display().to_string();
    let expected = adapter(|tensors| {
        for matrix in PAIR {
            tensors.remove(&of_projection(matrix));
        }
    })
    .json("adapter_config.json", |json| {
        json["base_model_name_or_path"] = json!(expected_base)
    });
    let with = |base: &str| {
        adapter(saved).json("adapter_config.json", |json| {
            json["modules_to_save"] = json!(["custom_text_proj"]);
            json["base_model_name_or_path"] = json!(base);
        })
    };
    // Of the base's own projection nothing is left, and a base without one needs none.
    let bases = [golden("colqwen2.5-tiny"), path];
    for base in bases {
        let base = base.display().to_string();
        assert_same(&with(&base), &expected);
    }
    let unsaid = adapter(saved);
    let Error::Weights { why, .. } = unsaid.open_error() else {
        panic!("not a mismatch")
    };
    assert!(
        why.contains("`custom_text_proj.bias` of the adapter is not used"),
        "{why}"
    );
}

#[test]
fn names_of_a_packed_retrieval_class_are_known() {
    let packed =
        Folder::copy("colqwen2.5-tiny").renamed(|name| match name.split_once('.').unwrap() {
            ("visual", rest) => format!("vlm.vision_tower.{rest}"),
            ("language_model", rest) => format!("vlm.language_model.model.{rest}"),
            (_, rest) => format!("embedding_proj_layer.{rest}"),
        });
    let plain = Folder::copy("colqwen2.5-tiny");
    assert_same(&packed, &plain);
}

/// jina-embeddings-v4: adapters for several tasks in a folder of their own, and another name of the projection.
#[test]
fn adapter_of_the_task_is_used() {
    let jina = Folder::copy("colqwen2.5-tiny")
        .renamed(|name| name.replace("custom_text_proj.", "multi_vector_projector."))
        .json("config.json", |json| {
            json["architectures"] = json!(["JinaEmbeddingsV4Model"]);
            json["multi_vector_projector_dim"] = json!(128);
        });
    fs::create_dir(jina.file("adapters")).unwrap();
    let (from, to) = (golden("colqwen2.5-lora"), jina.file("adapters"));
    fs::copy(
        from.join("adapter_config.json"),
        to.join("adapter_config.json"),
    )
    .unwrap();
    let weights = "adapter_model.safetensors";
    let plain = safetensors::load(from.join(weights), &Candle::Cpu).unwrap();
    let mut tensors = Tensors::new();
    for (name, tensor) in &plain {
        let name = name.replace("custom_text_proj", "multi_vector_projector");
        let of = |task: &str| name.replace(".weight", &format!(".{task}.weight"));
        let other = Tensor::ones_like(tensor).unwrap();
        tensors.insert(of("retrieval"), tensor.clone());
        tensors.insert(of("text-matching"), other.clone());
        tensors.insert(of("code"), other);
    }
    safetensors::save(&tensors, to.join(weights)).unwrap();

    let expected = adapter(|_| ());
    let card = "page_prompt = \"<|im_start|>user\\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\\n\"\n\
                query_suffix_count = 0";
    fs::write(expected.file("ingest-card.toml"), card).unwrap();
    assert_same(&jina, &expected);
    let query = |folder: &Folder| {
        let mut model = embed::open(&folder.config()).unwrap();
        model.embed_query("torque of the M8 bolt").unwrap()
    };
    assert!(query(&jina) == query(&expected));
    let licence = embed::card(&jina.config()).unwrap().licence;
    assert!(licence.contains("no commercial use"), "{licence}");
    // Without a task, an adapter for several is not a plain one.
    let unsaid = adapter(|plain| *plain = tensors.clone());
    let Error::Weights { why, .. } = unsaid.open_error() else {
        panic!("not a mismatch")
    };
    assert!(why.contains("of the adapter is for the task"), "{why}");
}

#[test]
fn base_that_is_a_path_of_the_trainer_is_named_in_a_card() {
    let trained = |base: &str| {
        let base = json!(base);
        Folder::copy("colqwen2.5-lora").json("adapter_config.json", |json| {
            json["base_model_name_or_path"] = base
        })
    };
    let folder = trained("/mnt/train/base");
    let Error::File { file, why } = folder.open_error() else {
        panic!("not a file")
    };
    assert!(file.ends_with("adapter_config.json"));
    assert!(
        why.contains("`/mnt/train/base`") && why.contains("ingest-card.toml"),
        "{why}"
    );
    let base = golden("colqwen2.5-tiny").display().to_string();
    fs::write(folder.file("ingest-card.toml"), format!("base = {base:?}")).unwrap();
    assert_same(&folder, &adapter(|_| ()));
}

#[test]
fn unknown_family_is_told_which_are_known() {
    let folder = Folder::copy("colqwen2.5-tiny")
        .json("config.json", |json| json["model_type"] = json!("llava"));
    let why = embed::card(&folder.config()).unwrap_err().to_string();
    for part in [
        "config.json: model_type llava",
        "qwen2_5_vl",
        "colqwen3",
        "is not supported",
    ] {
        assert!(why.contains(part), "{why}");
    }
}
