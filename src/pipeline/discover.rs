//! Which files are which manuals, and which of them are stored already: before any of them is opened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::page::{ManualId, PageSet};
use crate::render::Source;
use crate::store::{self, Catalogue, ManualCard};

/// File names that are read from a folder.
const EXTENSIONS: [&str; 6] = ["pdf", "png", "jpg", "jpeg", "tif", "tiff"];

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Which pages of each.
    pub pages: PageSet,
    /// The password of those that need one.
    pub password: Option<String>,
}

/// A manual to be worked on.
#[derive(Debug)]
pub struct Job {
    /// The file.
    pub source: Source,
    /// SHA-256 of the file, hex.
    pub file: String,
    /// Digest of file and render profile; what its stored pages must carry to be up to date.
    pub origin: String,
    /// What the store holds of it: page number to (origin, content).
    pub fingerprints: HashMap<u32, (String, String)>,
    /// Whether everything asked for is stored: how many pages that is.
    pub unchanged: Option<u32>,
    /// Whether the store remembers another path.
    pub moved: bool,
    /// Pages it had when it was stored.
    pub pages: Option<u32>,
}

/// A path that is no manual, and why.
#[derive(Debug)]
pub struct RejectedInput {
    /// As given.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// The files of a request, in the order given.
pub type Inputs = Vec<Result<Job, RejectedInput>>;

/// Looks at every file of a request: hashes it, names it, asks the store what it knows.
///
/// # Errors
/// When the store fails. A bad file is an `Err` item.
pub fn discover(
    request: &Request,
    store: Option<&dyn Catalogue>,
    render: &str,
) -> Result<Inputs, store::Error> {
    let mut shelf = match store {
        Some(store) => store.cards()?,
        None => Vec::new(),
    };
    let mut found: Inputs = Vec::new();
    for file in request.paths.iter().flat_map(|path| files_of(path)) {
        let read = file.and_then(|path| match ManualCard::digest(&path) {
            Ok(digest) => Ok((path, digest)),
            Err(e) => Err(RejectedInput {
                why: format!("cannot be read: {e}"),
                path,
            }),
        });
        let (path, digest) = match read {
            Ok(read) => read,
            Err(rejected) => {
                found.push(Err(rejected));
                continue;
            }
        };
        if found.iter().flatten().any(|job| job.file == digest) {
            continue; // The same bytes twice in one request are one manual.
        }
        found.push(Ok(job(request, store, render, &mut shelf, (path, digest))?));
    }
    Ok(found)
}

fn job(
    request: &Request,
    store: Option<&dyn Catalogue>,
    render: &str,
    shelf: &mut Vec<ManualCard>,
    (path, file): (PathBuf, String),
) -> Result<Job, store::Error> {
    let place = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let id = name(&place, &file, shelf);
    let card = shelf.iter().find(|card| card.id == id).cloned();
    let fingerprints: HashMap<_, _> = match (store, &card) {
        (Some(store), Some(_)) => store
            .fingerprints(&id)?
            .into_iter()
            .map(|print| (print.number, (print.origin, print.content)))
            .collect(),
        _ => HashMap::new(),
    };
    let origin = digest(&[file.as_bytes(), render.as_bytes()]);
    let unchanged = card
        .as_ref()
        .filter(|card| card.file == file && card.render == render)
        .and_then(|card| {
            let asked = request.pages.within(card.pages);
            let there = |n: &u32| fingerprints.get(n).is_some_and(|(o, _)| *o == origin);
            (!asked.is_empty() && asked.iter().all(there)).then_some(asked.len() as u32)
        });
    let moved = card.as_ref().is_some_and(|card| card.path != place);
    let pages = card.map(|card| card.pages);
    shelf.retain(|card| card.id != id);
    shelf.push(ManualCard {
        id: id.clone(),
        path: place.clone(),
        file: file.clone(),
        render: render.into(),
        pages: 0,
    });
    let source = Source {
        manual: id,
        path: place,
        password: request.password.clone(),
    };
    Ok(Job {
        source,
        file,
        origin,
        fingerprints,
        unchanged,
        moved,
        pages,
    })
}

/// The name of a file's manual: the one that has these bytes already, else its file name, with as many parents before
/// it as are needed to tell it from a manual at another path.
fn name(path: &Path, file: &str, shelf: &[ManualCard]) -> ManualId {
    if let Some(card) = shelf.iter().find(|card| card.file == file) {
        return card.id.clone();
    }
    let parts: Vec<_> = path
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect();
    let names = (1..=parts.len()).map(|n| ManualId::new(&parts[parts.len() - n..].join("/")));
    let free = |id: &ManualId| shelf.iter().all(|card| card.id != *id || card.path == path);
    names
        .into_iter()
        .find(free)
        .unwrap_or_else(|| ManualId::new(&path.to_string_lossy()))
}

/// A file itself; of a folder, everything in it that can be read, sorted.
fn files_of(path: &Path) -> Vec<Result<PathBuf, RejectedInput>> {
    if !path.is_dir() {
        return vec![Ok(path.to_owned())];
    }
    let rejected = |why: String| {
        vec![Err(RejectedInput {
            path: path.to_owned(),
            why,
        })]
    };
    let mut files = Vec::new();
    match walk(path, &mut files) {
        Err(e) => rejected(format!("cannot be read: {e}")),
        Ok(()) if files.is_empty() => rejected("the folder holds no PDF and no picture".into()),
        Ok(()) => {
            files.sort();
            files.into_iter().map(Ok).collect()
        }
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let extension = path
            .extension()
            .map(|e| e.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        if kind.is_dir() {
            walk(&path, files)?;
        } else if EXTENSIONS.contains(&extension.as_str()) {
            files.push(path);
        }
    }
    Ok(())
}

/// A short digest of several parts, hex.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: &str, path: &str, file: &str) -> ManualCard {
        ManualCard {
            id: ManualId::new(id),
            path: path.into(),
            file: file.into(),
            render: String::new(),
            pages: 1,
        }
    }

    #[test]
    fn a_manual_is_named_after_its_file_and_told_apart_by_its_folder() {
        let shelf = [
            card("pump.pdf", "/a/pump.pdf", "1"),
            card("b/pump.pdf", "/b/pump.pdf", "2"),
        ];
        let name = |path: &str, file| name(Path::new(path), file, &shelf).to_string();
        assert_eq!(name("/x/valve.pdf", "9"), "valve.pdf");
        assert_eq!(
            name("/a/pump.pdf", "9"),
            "pump.pdf",
            "a changed file keeps its name"
        );
        assert_eq!(
            name("/elsewhere/p.pdf", "1"),
            "pump.pdf",
            "the same bytes moved"
        );
        assert_eq!(name("/c/pump.pdf", "9"), "c/pump.pdf");
        assert_eq!(name("/z/b/pump.pdf", "9"), "z/b/pump.pdf");
    }

    #[test]
    fn a_folder_gives_its_pdfs_and_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(
            files_of(folder.path())[0]
                .as_ref()
                .is_err_and(|m| m.why.contains("no PDF"))
        );
        std::fs::create_dir(at("deep")).unwrap();
        for name in ["b.PDF", "a.png", "notes.txt", "deep/c.pdf"] {
            std::fs::write(at(name), b"x").unwrap();
        }
        let names: Vec<_> = files_of(folder.path())
            .into_iter()
            .map(|f| f.unwrap())
            .collect();
        assert_eq!(names, [at("a.png"), at("b.PDF"), at("deep/c.pdf")]);
    }
}
