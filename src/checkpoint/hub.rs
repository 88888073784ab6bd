//! Model sources: a local folder, or the Hugging Face hub and its cache. The only file that uses `hf_hub`.
//!
//! Supported variables of the hub: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`.

use std::env;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo};

use super::Error;

/// Progress callback of a download: file name, bytes so far, total bytes.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// The source of one model's files.
pub enum Source {
    /// A folder.
    Folder(PathBuf),
    /// A repository on the hub.
    Hub(Box<Hub>),
}

/// A repository on the hub, and its cache.
pub struct Hub {
    model: String,
    repo: ApiRepo,
    cache: CacheRepo,
    api: Api,
    offline: bool,
}

impl Source {
    /// Finds a model by folder or hub id.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the name is neither, [`Error::Hub`] if the hub's client cannot be created.
    pub fn find(model: &str) -> Result<Self, Error> {
        let folder = Path::new(model);
        if folder.is_dir() {
            return Ok(Self::Folder(folder.to_owned()));
        }
        if !is_hub_id(model) {
            return Err(Error::Unknown(model.to_owned()));
        }
        Hub::open(model).map(|hub| Self::Hub(Box::new(hub)))
    }

    /// Finds the base model of an adapter: a folder relative to this one, else as [`Source::find`].
    ///
    /// # Errors
    /// As [`Source::find`].
    pub fn base(&self, name: &str) -> Result<Self, Error> {
        if let Self::Folder(folder) = self {
            let local = folder.join(name);
            if !name.is_empty() && local.is_dir() {
                return Ok(Self::Folder(local));
            }
        }
        Self::find(name)
    }

    /// Path of a required file, downloaded if not cached.
    ///
    /// # Errors
    /// [`Error::File`] if the folder does not contain it; [`Error::Hub`] if it cannot be downloaded.
    pub fn file(&self, name: &str, on_progress: Progress) -> Result<PathBuf, Error> {
        match self {
            Self::Folder(folder) => {
                let file = folder.join(name);
                match file.is_file() {
                    true => Ok(file),
                    false => Err(Error::file(&file, &"no such file")),
                }
            }
            Self::Hub(hub) => hub.get(name, on_progress),
        }
    }

    /// Path of an optional file; `None` if it is absent.
    ///
    /// # Errors
    /// [`Error::Hub`] if the hub cannot be reached or refuses.
    pub fn optional(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        match self {
            Self::Folder(folder) => Ok(Some(folder.join(name)).filter(|file| file.is_file())),
            Self::Hub(hub) => hub.optional(name),
        }
    }

    /// Whether a file is available locally, in the folder or the cache.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).is_file(),
            Self::Hub(hub) => hub.cache.get(name).is_some(),
        }
    }

    /// SHA-256 of a file if known without reading it: the hub uses it as the etag of large files.
    pub fn known_digest(&self, name: &str) -> Option<String> {
        let Self::Hub(hub) = self else { return None };
        let etag = match hub.cache.get(name) {
            Some(cached) => {
                let blob = cached.canonicalize().ok()?;
                blob.file_name()?.to_str()?.to_owned()
            }
            None if hub.offline => return None,
            None => hub
                .api
                .metadata(&hub.repo.url(name))
                .ok()?
                .etag()
                .to_owned(),
        };
        let is_digest = etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then_some(etag)
    }
}

/// Whether a name has the form `owner/model`.
fn is_hub_id(name: &str) -> bool {
    let part = |part: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_allowed)
    };
    name.split_once('/')
        .is_some_and(|(owner, model)| part(owner) && part(model))
}

impl Hub {
    fn open(model: &str) -> Result<Self, Error> {
        let var = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let cache = match var("HF_HUB_CACHE") {
            Some(folder) => Cache::new(folder.into()),
            None => Cache::from_env(),
        };
        let mut builder = ApiBuilder::from_cache(cache.clone()).with_progress(false);
        if let Some(endpoint) = var("HF_ENDPOINT") {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        if let Some(token) = var("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        let api = builder.build().map_err(|error| failed(model, &error))?;
        let offline = var("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
        });
        Ok(Self {
            model: model.to_owned(),
            repo: api.repo(Repo::model(model.to_owned())),
            cache: cache.repo(Repo::model(model.to_owned())),
            api,
            offline,
        })
    }

    fn get(&self, name: &str, on_progress: Progress) -> Result<PathBuf, Error> {
        if let Some(cached) = self.cache.get(name) {
            return Ok(cached);
        }
        if self.offline {
            return Err(Error::Hub {
                model: self.model.clone(),
                why: format!("`{name}` is not in the cache, and HF_HUB_OFFLINE is set"),
            });
        }
        let meter = ProgressMeter::new(on_progress);
        self.repo
            .download_with_progress(name, meter)
            .map_err(|error| failed(&format!("{}/{name}", self.model), &error))
    }

    fn optional(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        if let Some(cached) = self.cache.get(name) {
            return Ok(Some(cached));
        }
        if self.offline {
            return Ok(None);
        }
        match self.repo.download(name) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_absent(&error) => Ok(None),
            // Without a network, use the files downloaded earlier.
            Err(_) if self.cache.get("config.json").is_some() => Ok(None),
            Err(_) if self.cache.get("adapter_config.json").is_some() => Ok(None),
            Err(error) => Err(failed(&format!("{}/{name}", self.model), &error)),
        }
    }
}

fn is_absent(error: &ApiError) -> bool {
    error.to_string().contains("404")
}

fn failed(model: &str, error: &ApiError) -> Error {
    Error::Hub {
        model: model.to_owned(),
        why: error.to_string(),
    }
}

/// Adds up the bytes of a download and reports progress.
struct ProgressMeter<'a> {
    on_progress: Progress<'a>,
    name: String,
    done: u64,
    total: u64,
}

impl<'a> ProgressMeter<'a> {
    fn new(on_progress: Progress<'a>) -> Self {
        Self {
            on_progress,
            name: String::new(),
            done: 0,
            total: 0,
        }
    }

    fn emit(&mut self) {
        (self.on_progress)(&self.name, self.done, self.total);
    }
}

impl hf_hub::api::Progress for ProgressMeter<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        self.name = filename.to_owned();
        (self.done, self.total) = (0, size as u64);
        self.emit();
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        self.emit();
    }

    fn finish(&mut self) {
        self.emit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_are_distinguished_from_paths() {
        assert!(is_hub_id("vidore/colqwen2.5-v0.2"));
        for path in [
            "./models/tiny",
            "/models/tiny",
            "tiny",
            "a/b/c",
            "../x",
            "~/x",
            "a/",
        ] {
            assert!(!is_hub_id(path), "{path}");
        }
    }
}
