//! `ingest embed`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::commands::indexed_library;
use crate::sandbox::{Sandbox, TINY};
use crate::support::pdf;

#[test]
fn embed_writes_the_vectors_of_text_too() {
    let sandbox = Sandbox::built_in();
    sandbox.write("pump.pdf", &pdf::good(&["Seal kit for the pump"]));
    let names = |args: &[&str]| {
        let done = sandbox.run(&[args, &["--out", "x.safetensors"]].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        let bytes = std::fs::read(sandbox.path("x.safetensors")).unwrap();
        let (_, head) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let notes = head.metadata().clone().unwrap();
        assert!(notes["meaning_profile"].starts_with("minilm"), "{notes:?}");
        let shape = |name: &str| head.info(name).unwrap().shape[1];
        let mut shapes: Vec<(String, usize)> = head
            .tensors()
            .into_keys()
            .map(|name| (name.clone(), shape(&name)))
            .collect();
        shapes.sort();
        shapes
    };
    let shapes = |name: &str| vec![(name.to_owned(), 128), (format!("{name}/meaning"), 384)];
    assert_eq!(names(&["embed", "pump.pdf"]), shapes("pump.pdf/1"));
    assert_eq!(names(&["embed", "--query", "seal kit"]), shapes("query"));
}

#[test]
fn embed_writes_the_stored_vectors() {
    let sandbox = indexed_library();
    assert_eq!(
        sandbox
            .run(&[
                "embed",
                "pump.pdf",
                "--out",
                "pages.safetensors",
                "--pages",
                "2-"
            ])
            .code,
        0
    );
    assert_eq!(
        sandbox
            .run(&["embed", "--query", "seal kit", "--out", "query.safetensors"])
            .code,
        0
    );
    let bytes = std::fs::read(sandbox.path("pages.safetensors")).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata: BTreeMap<&str, &str> = metadata
        .metadata()
        .iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let model = Path::new(TINY).canonicalize().unwrap();
    let expected = [
        ("dim", "128"),
        ("model", model.to_str().unwrap()),
        ("pool_factor", "1"),
        ("profile", "b8059ddc8e9e9ad9"),
    ];
    assert_eq!(metadata, BTreeMap::from(expected));
    let pages = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = pages.names();
    names.sort();
    assert_eq!(names, ["pump.pdf/2", "pump.pdf/3"]);
    let page = pages.tensor("pump.pdf/3").unwrap();
    assert_eq!(
        (page.dtype(), page.shape()[1]),
        (safetensors::Dtype::F32, 128)
    );
    let bytes = std::fs::read(sandbox.path("query.safetensors")).unwrap();
    let query = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| -> Vec<f32> {
        data.as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    };
    let (page, query) = (
        floats(page.data()),
        floats(query.tensor("query").unwrap().data()),
    );
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let best = |q: &[f32]| page.chunks(128).map(|p| dot(q, p)).fold(f32::MIN, f32::max);
    let by_hand = query.chunks(128).map(best).sum::<f32>() / (query.len() / 128) as f32;
    let found = sandbox
        .run(&["search", "seal kit", "--visual", "--json", "-k", "9"])
        .json();
    let hit = found
        .as_array()
        .unwrap()
        .iter()
        .find(|h| h["manual"] == "pump.pdf" && h["page"] == 3)
        .unwrap()
        .clone();
    assert!(
        (hit["score"].as_f64().unwrap() - f64::from(by_hand)).abs() < 1e-3,
        "{hit} {by_hand}"
    );
}

#[test]
fn models_tell_how_fast_they_are_here() {
    let sandbox = Sandbox::built_in().with("INGEST_EMBED_MEANING", "false");
    sandbox.write("a.pdf", &pdf::good(&["torque"]));
    assert_eq!(sandbox.run(&["a.pdf"]).code, 0);
    let models = sandbox.run(&["models", "--json"]).json();
    let all = models["embedding"].as_array().unwrap();
    let rate = |model: &Value| model["pages_per_second"].as_f64();
    for model in all {
        let is_built_in = model["model"] == "built-in";
        assert_eq!(model["measured"], is_built_in, "{model}");
        let is_known = is_built_in || !model["page_teraflops"].is_null();
        let fits = model["fits"] == true;
        assert_eq!(rate(model).is_some(), fits && is_known, "{model}");
    }
    // Computed: the more operations, the slower.
    let computed = all.iter().filter(|model| model["measured"] == false);
    let flops: Vec<f64> = computed
        .filter_map(|model| Some(rate(model)? * model["page_teraflops"].as_f64()? * 1e12))
        .collect();
    for speed in &flops {
        assert!((speed / flops[0] - 1.0).abs() < 1e-6, "{flops:?}");
        assert!((1e8..1e15).contains(speed), "{flops:?}");
    }
    let text = sandbox.run(&["models"]).out;
    for part in [
        "pages/s: computed from the TFLOP of an A4 page and ",
        "; that of built-in was measured by its last run",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
