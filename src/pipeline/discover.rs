//! Input discovery: expands paths, hashes files, names manuals and compares them with the store, before any is opened.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use super::folder::{self, LeftOut, RejectedInput};
use crate::page::{ManualId, PageSet};
use crate::render::Source;
use crate::store::{self, Catalogue, FileError, Fingerprint, ManualCard, digest, has_text_profile};

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
#[derive(Clone, Debug)]
pub struct Job {
    /// The file given.
    pub source: Source,
    /// The requested pages.
    pub selection: PageSet,
    /// The path that the manual is stored with: that of the file, unless it is a copy.
    pub path: PathBuf,
    /// SHA-256 of the file, hex.
    pub file: String,
    /// What the file was when its digest was taken.
    pub stamp: FileStamp,
    /// Digest of file and render profile.
    pub origin: String,
    /// Fingerprints of its stored pages, by page number.
    pub fingerprints: HashMap<u32, Fingerprint>,
    /// Profile of the text model; `None` if pages get no text vectors.
    pub text_profile: Option<&'static str>,
    /// The number of requested pages, if all of them are up to date.
    pub unchanged: Option<u32>,
    /// Whether it was stored with another path, which no longer has this file.
    pub moved: bool,
    /// The path as given, if it is a copy of the file that the manual is stored from and that is still there.
    pub copy: Option<PathBuf>,
    /// Number of pages it had when it was stored.
    pub pages: Option<u32>,
}

impl Job {
    /// Whether a stored page is up to date.
    pub fn is_current(&self, page: u32) -> bool {
        let profiles = Profiles {
            render: "",
            text: self.text_profile,
        };
        profiles.is_current(self.fingerprints.get(&page), &self.origin)
    }
}

/// What pages are made with: a page made with others is not up to date.
#[derive(Clone, Copy, Debug)]
pub struct Profiles<'a> {
    /// Render profile.
    pub render: &'a str,
    /// Profile of the text model; `None` if pages get no text vectors.
    pub text: Option<&'static str>,
}

impl Profiles<'_> {
    /// Those of a run that compares nothing with a store.
    pub const NONE: Self = Self {
        render: "",
        text: None,
    };

    fn is_current(self, stored: Option<&Fingerprint>, origin: &str) -> bool {
        let has_text = |page: &Fingerprint| {
            self.text
                .is_none_or(|profile| has_text_profile(&page.text, profile))
        };
        stored.is_some_and(|page| page.origin == origin && has_text(page))
    }
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

/// A file given whose bytes are those of another input.
#[derive(Clone, Debug)]
pub struct Twin {
    /// As given.
    pub path: PathBuf,
    /// Index of the other input, a [`Job`].
    pub of: usize,
}

/// An input of a run.
#[derive(Clone, Debug)]
pub enum Input {
    /// A manual to ingest.
    Job(Box<Job>),
    /// A file that is ingested as another input.
    Twin(Twin),
    /// A path that cannot be ingested.
    Rejected(RejectedInput),
}

impl Input {
    /// The job; `None` for a twin and a rejected path.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Job(job) => Some(job),
            _ => None,
        }
    }
}

/// The inputs of a run, in the order given.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Files, those of folders included, and rejected paths.
    pub items: Vec<Input>,
    /// Files of folders that are of other kinds.
    pub left_out: LeftOut,
}

/// Discovers the files of a request: hashes and names each, and reads its fingerprints from the store.
///
/// # Errors
/// [`store::Error`] when the store cannot be read. An unreadable file is an [`Input::Rejected`].
pub fn discover(
    request: &Request,
    store: Option<&dyn Catalogue>,
    profiles: Profiles<'_>,
) -> Result<Inputs, store::Error> {
    let keeps_text = store.is_none_or(Catalogue::keeps_text_vectors);
    let profiles = Profiles {
        text: profiles.text.filter(|_| keeps_text),
        ..profiles
    };
    let mut cards = match store {
        Some(store) => store.cards()?,
        None => Vec::new(),
    };
    let mut left_out = LeftOut::default();
    let mut files: Vec<Result<GivenFile, RejectedInput>> = Vec::new();
    let mut known = HashSet::new();
    for path in &request.paths {
        for path in folder::expand_path(path, &mut left_out) {
            let is_new = path
                .as_ref()
                .is_ok_and(|path| known.insert(absolute_path(path)));
            if is_new || path.is_err() {
                files.push(path.and_then(GivenFile::read));
            }
        }
    }
    let sources = sources(&files, &cards);
    let mut items = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        items.push(match file {
            Err(rejected) => Input::Rejected(rejected),
            Ok(file) => match sources[&file.digest] {
                of if of == index => {
                    let job = make_job(request, store, profiles, &mut cards, file)?;
                    Input::Job(Box::new(job))
                }
                of => Input::Twin(Twin {
                    path: file.path,
                    of,
                }),
            },
        });
    }
    Ok(Inputs { items, left_out })
}

/// A file to ingest.
struct GivenFile {
    /// As given.
    path: PathBuf,
    /// SHA-256 of its bytes, hex.
    digest: String,
    /// What it was before they were read.
    stamp: FileStamp,
}

impl GivenFile {
    fn read(path: PathBuf) -> Result<Self, RejectedInput> {
        let unreadable = |cause| RejectedInput::unreadable(&path, &cause);
        let metadata = std::fs::metadata(&path).map_err(unreadable)?;
        if let Some(why) = folder::not_a_lasting_file(&path, &metadata) {
            let why = why.to_owned();
            return Err(RejectedInput { path, why });
        }
        let stamp = FileStamp::of(&path);
        let digest = ManualCard::digest(&path).map_err(unreadable)?;
        Ok(Self {
            path,
            digest,
            stamp,
        })
    }

    fn absolute(&self) -> PathBuf {
        absolute_path(&self.path)
    }
}

/// The absolute path, without `.` and `..`. Links stay, except before a `..`.
pub fn absolute_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let goes_up = absolute
        .components()
        .any(|part| part == Component::ParentDir);
    let folder = absolute.parent().filter(|_| goes_up);
    match (
        folder.and_then(|folder| folder.canonicalize().ok()),
        absolute.file_name(),
    ) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => absolute,
    }
}

/// For each digest the file that is read: the one at the path of the stored manual, else the first given.
fn sources(
    files: &[Result<GivenFile, RejectedInput>],
    cards: &[ManualCard],
) -> HashMap<String, usize> {
    let mut sources = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        let Ok(file) = file else { continue };
        let is_stored =
            |card: &ManualCard| card.file == file.digest && card.path == file.absolute();
        match cards.iter().any(is_stored) {
            true => drop(sources.insert(file.digest.clone(), index)),
            false => drop(sources.entry(file.digest.clone()).or_insert(index)),
        }
    }
    sources
}

/// Whether the file of a stored manual is still there, so that another file with the same bytes is a copy of it and not
/// the file itself at a new path.
fn is_in_place(card: &ManualCard) -> bool {
    let is_gone = |cause: &io::Error| {
        matches!(
            cause.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    };
    match std::fs::metadata(&card.path) {
        Err(cause) => !is_gone(&cause),
        Ok(file) if folder::not_a_lasting_file(&card.path, &file).is_some() => false,
        Ok(_) => match card.verify_file() {
            Ok(()) => true,
            Err(FileError::Changed { .. } | FileError::ChangedSince { .. }) => false,
            Err(FileError::Unreadable { cause, .. }) => !is_gone(&cause),
        },
    }
}

fn make_job(
    request: &Request,
    store: Option<&dyn Catalogue>,
    profiles: Profiles<'_>,
    cards: &mut Vec<ManualCard>,
    given: GivenFile,
) -> Result<Job, store::Error> {
    let (given_path, file) = (given.absolute(), given.digest);
    let id = assign_id(&given_path, &file, cards);
    let card = cards.iter().find(|card| card.id == id).cloned();
    let original = card
        .as_ref()
        .filter(|card| card.file == file && card.path != given_path && is_in_place(card));
    let path = original.map_or(&given_path, |card| &card.path).clone();
    let copy = original.map(|_| given.path);
    let fingerprints: HashMap<_, _> = match (store, &card) {
        (Some(store), Some(_)) => store
            .fingerprints(&id)?
            .into_iter()
            .map(|fingerprint| (fingerprint.number, fingerprint))
            .collect(),
        _ => HashMap::new(),
    };
    let render = profiles.render;
    let origin = digest(&[file.as_bytes(), render.as_bytes()]);
    let unchanged = card
        .as_ref()
        .filter(|card| card.file == file && card.render == render)
        .and_then(|card| {
            let requested = request.pages.within(card.pages);
            let is_current = |n: &u32| profiles.is_current(fingerprints.get(n), &origin);
            (!requested.is_empty() && requested.iter().all(is_current))
                .then_some(requested.len() as u32)
        });
    let moved = card.as_ref().is_some_and(|card| card.path != path);
    let pages = card.map(|card| card.pages);
    cards.retain(|card| card.id != id);
    cards.push(ManualCard {
        id: id.clone(),
        path: path.clone(),
        file: file.clone(),
        render: render.into(),
        pages: 0,
    });
    let source = Source {
        manual: id,
        // Not the original, whose disk or server may be away.
        path: given_path,
        passwords: request.passwords.clone(),
    };
    Ok(Job {
        source,
        selection: request.pages.clone(),
        path,
        stamp: given.stamp,
        file,
        origin,
        fingerprints,
        text_profile: profiles.text,
        unchanged,
        moved,
        copy,
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
    names.into_iter().find(is_free).unwrap_or_else(|| {
        ManualId::new(&format!(
            "{}",
            path.as_os_str().as_encoded_bytes().escape_ascii()
        ))
    })
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
}
