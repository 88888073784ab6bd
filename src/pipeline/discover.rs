//! Input discovery: expands paths, hashes files, names manuals and compares them with the store, before any is opened.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::page::{ManualId, PageSet};
use crate::render::Source;
use crate::store::{self, Catalogue, ManualCard, digest};

/// File name extensions that are read from a folder.
const EXTENSIONS: [&str; 6] = ["pdf", "png", "jpg", "jpeg", "tif", "tiff"];

/// The files and pages to ingest.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Pages of each.
    pub pages: PageSet,
    /// Passwords of protected files. Never printed.
    pub passwords: Vec<String>,
}

/// A manual to ingest.
#[derive(Debug)]
pub struct Job {
    /// The file.
    pub source: Source,
    /// SHA-256 of the file, hex.
    pub file: String,
    /// What the file was when its digest was taken.
    pub stamp: FileStamp,
    /// Digest of file and render profile; stored pages with the same `origin` are up to date.
    pub origin: String,
    /// Fingerprints of its stored pages: page number to (origin, content).
    pub fingerprints: HashMap<u32, (String, String)>,
    /// The number of requested pages, if all of them are up to date.
    pub unchanged: Option<u32>,
    /// Whether it was stored with another path.
    pub moved: bool,
    /// Number of pages it had when it was stored.
    pub pages: Option<u32>,
}

/// Length and time of modification of a file: if they change, its bytes may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp(Option<(u64, SystemTime)>);

impl FileStamp {
    /// The stamp of a file; of a missing one, one that equals itself.
    pub fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.and_then(|file| Some((file.len(), file.modified().ok()?))))
    }
}

/// A path that cannot be ingested.
#[derive(Debug)]
pub struct RejectedInput {
    /// As given.
    pub path: PathBuf,
    /// The reason.
    pub why: String,
}

/// The inputs of a run, in the order given.
pub type Inputs = Vec<Result<Job, RejectedInput>>;

/// Discovers the files of a request: hashes and names each, and reads its fingerprints from the store.
///
/// # Errors
/// [`store::Error`] when the store cannot be read. An unreadable file is an `Err` item.
pub fn discover(
    request: &Request,
    store: Option<&dyn Catalogue>,
    render: &str,
) -> Result<Inputs, store::Error> {
    let mut cards = match store {
        Some(store) => store.cards()?,
        None => Vec::new(),
    };
    let mut inputs: Inputs = Vec::new();
    for file in request.paths.iter().flat_map(|path| expand_path(path)) {
        let read = file.and_then(|path| match stamped_digest(&path) {
            Ok(digest) => Ok((path, digest)),
            Err(e) => Err(RejectedInput {
                why: format!("cannot be read: {e}"),
                path,
            }),
        });
        let (path, digest) = match read {
            Ok(read) => read,
            Err(rejected) => {
                inputs.push(Err(rejected));
                continue;
            }
        };
        if inputs.iter().flatten().any(|job| job.file == digest.1) {
            continue; // Files with equal bytes are one manual.
        }
        inputs.push(Ok(make_job(
            request,
            store,
            render,
            &mut cards,
            (path, digest),
        )?));
    }
    Ok(inputs)
}

/// The digest of a file, and its stamp from before it was read.
fn stamped_digest(path: &Path) -> io::Result<(FileStamp, String)> {
    let stamp = FileStamp::of(path);
    Ok((stamp, ManualCard::digest(path)?))
}

fn make_job(
    request: &Request,
    store: Option<&dyn Catalogue>,
    render: &str,
    cards: &mut Vec<ManualCard>,
    (path, (stamp, file)): (PathBuf, (FileStamp, String)),
) -> Result<Job, store::Error> {
    let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let id = assign_id(&absolute, &file, cards);
    let card = cards.iter().find(|card| card.id == id).cloned();
    let fingerprints: HashMap<_, _> = match (store, &card) {
        (Some(store), Some(_)) => store
            .fingerprints(&id)?
            .into_iter()
            .map(|fingerprint| {
                (
                    fingerprint.number,
                    (fingerprint.origin, fingerprint.content),
                )
            })
            .collect(),
        _ => HashMap::new(),
    };
    let origin = digest(&[file.as_bytes(), render.as_bytes()]);
    let unchanged = card
        .as_ref()
        .filter(|card| card.file == file && card.render == render)
        .and_then(|card| {
            let requested = request.pages.within(card.pages);
            let is_current = |n: &u32| fingerprints.get(n).is_some_and(|(o, _)| *o == origin);
            (!requested.is_empty() && requested.iter().all(is_current))
                .then_some(requested.len() as u32)
        });
    let moved = card.as_ref().is_some_and(|card| card.path != absolute);
    let pages = card.map(|card| card.pages);
    cards.retain(|card| card.id != id);
    cards.push(ManualCard {
        id: id.clone(),
        path: absolute.clone(),
        file: file.clone(),
        render: render.into(),
        pages: 0,
    });
    let source = Source {
        manual: id,
        path: absolute,
        passwords: request.passwords.clone(),
    };
    Ok(Job {
        source,
        stamp,
        file,
        origin,
        fingerprints,
        unchanged,
        moved,
        pages,
    })
}

/// Returns the id of a file's manual: that of the stored manual with the same bytes, else its file name, preceded by as
/// many parent folders as are needed to distinguish it from a manual at another path.
fn assign_id(path: &Path, file: &str, cards: &[ManualCard]) -> ManualId {
    if let Some(card) = cards.iter().find(|card| card.file == file) {
        return card.id.clone();
    }
    let components: Vec<_> = path
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect();
    let names = (1..=components.len())
        .map(|n| ManualId::new(&components[components.len() - n..].join("/")));
    let is_free = |id: &ManualId| cards.iter().all(|card| card.id != *id || card.path == path);
    names
        .into_iter()
        .find(is_free)
        .unwrap_or_else(|| ManualId::new(&path.to_string_lossy()))
}

/// Returns the file itself, or all PDF and image files of a folder, sorted.
fn expand_path(path: &Path) -> Vec<Result<PathBuf, RejectedInput>> {
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
    match collect_files(path, &mut files) {
        Err(e) => rejected(format!("cannot be read: {e}")),
        Ok(()) if files.is_empty() => rejected("the folder contains no PDF and no image".into()),
        Ok(()) => {
            files.sort();
            files.into_iter().map(Ok).collect()
        }
    }
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let extension = path
            .extension()
            .map(|e| e.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        if kind.is_dir() {
            collect_files(&path, files)?;
        } else if EXTENSIONS.contains(&extension.as_str()) {
            files.push(path);
        }
    }
    Ok(())
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
    fn manual_id_is_the_file_name_with_folders_if_ambiguous() {
        let cards = [
            card("pump.pdf", "/a/pump.pdf", "1"),
            card("b/pump.pdf", "/b/pump.pdf", "2"),
        ];
        let id_of = |path: &str, file| assign_id(Path::new(path), file, &cards).to_string();
        assert_eq!(id_of("/x/valve.pdf", "9"), "valve.pdf");
        assert_eq!(
            id_of("/a/pump.pdf", "9"),
            "pump.pdf",
            "a changed file keeps its id"
        );
        assert_eq!(id_of("/elsewhere/p.pdf", "1"), "pump.pdf", "moved file");
        assert_eq!(id_of("/c/pump.pdf", "9"), "c/pump.pdf");
        assert_eq!(id_of("/z/b/pump.pdf", "9"), "z/b/pump.pdf");
    }

    #[test]
    fn folders_are_expanded_to_pdf_and_image_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(
            expand_path(folder.path())[0]
                .as_ref()
                .is_err_and(|m| m.why.contains("no PDF"))
        );
        std::fs::create_dir(at("deep")).unwrap();
        for name in ["b.PDF", "a.png", "notes.txt", "deep/c.pdf"] {
            std::fs::write(at(name), b"x").unwrap();
        }
        let names: Vec<_> = expand_path(folder.path())
            .into_iter()
            .map(|f| f.unwrap())
            .collect();
        assert_eq!(names, [at("a.png"), at("b.PDF"), at("deep/c.pdf")]);
    }
}
