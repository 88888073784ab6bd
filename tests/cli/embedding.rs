//! `ingest embed`.

use std::collections::BTreeMap;
use std::path::Path;

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
