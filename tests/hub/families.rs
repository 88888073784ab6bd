//! Known models, each layout once, from tiny checkpoints under their names.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use candle_core::{Device as Candle, Tensor, safetensors};
use ingest::embed::{self, Config};
use ingest::patch::Prepare;

use super::{Hub, config, run_in_process};

#[path = "../support/colqwen3.rs"]
mod colqwen3;

/// Folder with the files of a known model.
pub(crate) fn folder(repository: &str) -> Option<PathBuf> {
    if repository == "jinaai/jina-embeddings-v4" {
        return Some(jina().to_owned());
    }
    let mut ids = FAMILIES.iter().map(|(id, ..)| *id);
    ids.find(|id| *id == repository)
        .map(|id| families().join(id))
}

/// A model of each layout of ColQwen3 on the hub, its family in the reference, its visual tokens, and its licence. The first is
/// nobody's: its width is in its weights only.
const FAMILIES: [(&str, &str, u64, &str); 5] = [
    (
        "owner/colqwen3",
        "engine",
        24,
        "unknown, see the model's own page",
    ),
    (
        "VAGOsolutions/SauerkrautLM-ColQwen3-2b-v0.1",
        "sauerkraut",
        588,
        "Apache-2.0",
    ),
    (
        "TomoroAI/tomoro-colqwen3-embed-4b",
        "tomoro",
        1280,
        "Apache-2.0",
    ),
    ("OpenSearch-AI/Ops-Colqwen3-4B", "ops", 1280, "Apache-2.0"),
    (
        "nvidia/nemotron-colembed-vl-4b-v2",
        "nemotron",
        768,
        "CC-BY-NC-4.0 (no commercial use)",
    ),
];

/// Folder with the files of the models of each layout, by their names.
fn families() -> &'static Path {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        for (id, name, ..) in FAMILIES {
            fs::create_dir_all(folder.path().join(id)).unwrap();
            let family = colqwen3::families()
                .into_iter()
                .find(|family| family.name == name);
            family.unwrap().write(&folder.path().join(id));
        }
        folder
    });
    FOLDER.path()
}

/// Folder with the files of a model that has its adapters in a folder of their own.
fn jina() -> &'static Path {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        for (from, to) in [("owner/base", ""), ("owner/adapter", "adapters")] {
            let (from, to) = (super::folder(from), folder.path().join(to));
            fs::create_dir_all(&to).unwrap();
            for file in fs::read_dir(from).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
        let weights = folder.path().join("adapters/adapter_model.safetensors");
        let tensors = safetensors::load(&weights, &Candle::Cpu).unwrap();
        let of_task = |name: String| name.replace(".weight", ".retrieval.weight");
        let tensors: HashMap<String, Tensor> = tensors
            .into_iter()
            .map(|(name, tensor)| (of_task(name), tensor))
            .collect();
        safetensors::save(&tensors, weights).unwrap();
        let config = folder.path().join("config.json");
        let json = fs::read_to_string(&config).unwrap();
        fs::write(config, json.replace("ColQwen2_5", "JinaEmbeddingsV4Model")).unwrap();
        folder
    });
    FOLDER.path()
}

#[test]
fn each_layout_is_downloaded_under_its_name() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    run_in_process(
        "families::child_embeds_with_families",
        &hub,
        home.path(),
        false,
    );
    let before = hub.requests.load(Ordering::SeqCst);
    run_in_process(
        "families::child_embeds_with_families",
        &hub,
        home.path(),
        true,
    );
    assert_eq!(hub.requests.load(Ordering::SeqCst), before, "all is cached");
}

#[test]
#[ignore = "run by the tests above"]
fn child_embeds_with_families() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/colqwen3.safetensors");
    let reference = safetensors::load(file, &Candle::Cpu).unwrap();
    for (id, name, tokens, licence) in FAMILIES {
        let card = embed::card(&config(id)).unwrap();
        assert_eq!(
            (card.profile.model.as_str(), card.licence.as_str()),
            (id, licence)
        );
        let Prepare::Qwen(spec) = card.prepare else {
            panic!("{id} has no patches")
        };
        assert_eq!(spec.max_pixels, tokens * 32 * 32, "{id}");
        let family = colqwen3::families()
            .into_iter()
            .find(|family| family.name == name);
        assert_eq!(card.profile.dim, family.unwrap().dim, "{id}");
        // The same files in a folder are known for what they are; of Ops-Colqwen3 the files tell how many tokens a page has.
        let folder = config(&families().join(id).display().to_string());
        let is_same = embed::card(&folder).unwrap().profile.id == card.profile.id;
        assert_eq!(is_same, name != "ops", "{id}");
        let mut model = embed::open(&config(id)).unwrap();
        let ours = model.embed_query(" torque of the M8 bolt ").unwrap();
        let theirs = reference[&format!("{name}.queries.1")]
            .flatten_all()
            .unwrap();
        let theirs: Vec<f32> = theirs.to_vec1().unwrap();
        assert_eq!(ours.as_slice().len(), theirs.len(), "{id}");
        let pairs = ours.as_slice().iter().zip(&theirs);
        let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most <= 1e-5, "{id}: {most:e}");
    }
    let jina = config("jinaai/jina-embeddings-v4");
    assert!(
        embed::card(&jina)
            .unwrap()
            .licence
            .contains("no commercial use")
    );
    let query = |config: &Config| embed::open(config).unwrap().embed_query("M8").unwrap();
    let adapted = query(&jina);
    // Ten rows fewer than with the suffix of other families.
    assert_eq!(query(&config("owner/adapter")).len() - adapted.len(), 10);
}
