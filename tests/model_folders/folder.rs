//! Modifiable copies of golden model folders.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device as Candle, Tensor, safetensors};
use ingest::checkpoint::Error;
use ingest::embed::{self, Config, Device, Engine};
use ingest::page::{PageImage, Size};
use ingest::patch::Prepared;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) type Tensors = HashMap<String, Tensor>;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A modifiable copy of a golden folder.
pub(crate) struct Folder {
    dir: TempDir,
    /// Engine that opens it.
    pub(crate) engine: Engine,
}

impl Folder {
    pub(crate) fn copy(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in fs::read_dir(golden(name)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        Self {
            dir: folder,
            engine: Engine::Candle,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Modifies the tensors of a file.
    pub(crate) fn tensors(self, file: &str, change: impl FnOnce(&mut Tensors)) -> Self {
        let path = self.file(file);
        let mut tensors = safetensors::load(&path, &Candle::Cpu).unwrap();
        change(&mut tensors);
        safetensors::save(&tensors, path).unwrap();
        self
    }

    /// Renames all tensors.
    pub(crate) fn renamed(self, name: impl Fn(&str) -> String) -> Self {
        self.tensors("model.safetensors", |tensors| {
            *tensors = tensors
                .drain()
                .map(|(old, tensor)| (name(&old), tensor))
                .collect();
        })
    }

    /// Splits the weights into two shards.
    pub(crate) fn sharded(self) -> Self {
        let whole = self.file("model.safetensors");
        let tensors = safetensors::load(&whole, &Candle::Cpu).unwrap();
        let shard = |name: &str| format!("model-0000{}-of-00002.safetensors", 1 + name.len() % 2);
        let map: HashMap<&String, String> =
            tensors.keys().map(|name| (name, shard(name))).collect();
        for file in [shard(""), shard("x")] {
            let part: Tensors = tensors
                .clone()
                .into_iter()
                .filter(|(name, _)| shard(name) == file)
                .collect();
            safetensors::save(&part, self.file(&file)).unwrap();
        }
        fs::write(
            self.file("model.safetensors.index.json"),
            json!({ "weight_map": map }).to_string(),
        )
        .unwrap();
        fs::remove_file(whole).unwrap();
        self
    }

    /// Modifies a JSON file.
    pub(crate) fn json(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let path = self.file(file);
        let mut json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut json);
        fs::write(path, json.to_string()).unwrap();
        self
    }

    /// Truncates a file to half its length.
    pub(crate) fn truncated(self, file: &str) -> Self {
        let bytes = fs::read(self.file(file)).unwrap();
        fs::write(self.file(file), &bytes[..bytes.len() / 2]).unwrap();
        self
    }

    pub(crate) fn config(&self) -> Config {
        config(self.dir.path(), self.engine)
    }

    /// Error of opening it.
    pub(crate) fn open_error(&self) -> Error {
        match embed::open(&self.config()).err().unwrap() {
            embed::Error::Files(error) => error,
            other => panic!("{other}"),
        }
    }
}

pub(crate) fn config(folder: &Path, engine: Engine) -> Config {
    Config {
        model: folder.display().to_string(),
        engine,
        device: Device::Cpu,
        max_visual_tokens: None,
        pool_factor: 1,
        width: None,
        meaning: None,
    }
}

pub(crate) fn page(config: &Config) -> Prepared {
    let size = Size::new(120, 90);
    let rgb = (0..120 * 90 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let page = PageImage::new(size, rgb).unwrap();
    embed::card(config).unwrap().prepare.prepare(&page).unwrap()
}

/// Row-major vectors of the test page.
pub(crate) fn vectors(config: &Config) -> Vec<f32> {
    let page = page(config);
    let mut pages = embed::open(config).unwrap().embed_pages(&[page]).unwrap();
    pages.remove(0).unwrap().vectors.as_slice().to_vec()
}
