//! Where the files of a model come from: a folder, or the hub and its cache. The only file that names `hf_hub`.
//!
//! Of the variables that the hub's own tools know, these are heeded: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`,
//! `HF_TOKEN` and `HF_HUB_OFFLINE`.

use std::env;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo};

use super::Error;

/// What is told while a file is fetched: its name, bytes so far, bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// A place with the files of one model.
pub enum Source {
    /// A folder.
    Folder(PathBuf),
    /// A repository on the hub.
    Hub(Box<Hub>),
}

/// A repository on the hub, and what is cached of it.
pub struct Hub {
    model: String,
    repo: ApiRepo,
    cache: CacheRepo,
    api: Api,
    offline: bool,
}

impl Source {
    /// Finds a model by the name of a folder or of a repository.
    ///
    /// # Errors
    /// When the name is neither.
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

    /// Finds the model that this one adapts: a folder named from here, or as [`Source::find`] does.
    ///
    /// # Errors
    /// As [`Source::find`].
    pub fn base(&self, name: &str) -> Result<Self, Error> {
        if let Self::Folder(folder) = self {
            let beside = folder.join(name);
            if !name.is_empty() && beside.is_dir() {
                return Ok(Self::Folder(beside));
            }
        }
        Self::find(name)
    }

    /// A file that must be there, fetched where needed.
    ///
    /// # Errors
    /// When it is not there, or the hub cannot be reached or refuses.
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

    /// A file that may be absent.
    ///
    /// # Errors
    /// When the hub cannot be reached or refuses.
    pub fn optional(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        match self {
            Self::Folder(folder) => Ok(Some(folder.join(name)).filter(|file| file.is_file())),
            Self::Hub(hub) => hub.optional(name),
        }
    }

    /// Whether a file is here already, in the folder or the cache.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).is_file(),
            Self::Hub(hub) => hub.cache.get(name).is_some(),
        }
    }

    /// The SHA-256 of a file as far as it is known without reading the file: the hub names large files by it.
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

/// Whether a name looks like `owner/model`.
fn is_hub_id(name: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
    };
    name.split_once('/')
        .is_some_and(|(owner, model)| part(owner) && part(model))
}

impl Hub {
    fn open(model: &str) -> Result<Self, Error> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let cache = match set("HF_HUB_CACHE") {
            Some(folder) => Cache::new(folder.into()),
            None => Cache::from_env(),
        };
        let mut builder = ApiBuilder::from_cache(cache.clone()).with_progress(false);
        if let Some(endpoint) = set("HF_ENDPOINT") {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        if let Some(token) = set("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        let api = builder.build().map_err(|error| failed(model, &error))?;
        let offline = set("HF_HUB_OFFLINE").is_some_and(|value| {
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
        let meter = Meter::new(on_progress);
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
            // Without a network, what was fetched once must do.
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

/// Adds up what arrives.
struct Meter<'a> {
    on_progress: Progress<'a>,
    name: String,
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    fn new(on_progress: Progress<'a>) -> Self {
        Self {
            on_progress,
            name: String::new(),
            done: 0,
            total: 0,
        }
    }

    fn tell(&mut self) {
        (self.on_progress)(&self.name, self.done, self.total);
    }
}

impl hf_hub::api::Progress for Meter<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        self.name = filename.to_owned();
        (self.done, self.total) = (0, size as u64);
        self.tell();
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        self.tell();
    }

    fn finish(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories_are_told_from_paths() {
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
