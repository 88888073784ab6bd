//! Files of a folder: PDF and image files are read, what systems and programs leave there is passed over, the rest is counted.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

/// File name extensions that are read from a folder, in lower case.
pub const EXTENSIONS: [&str; 9] = [
    "pdf", "png", "jpg", "jpeg", "tif", "tiff", "webp", "gif", "bmp",
];
/// Folders of systems and archivers, in lower case; hidden ones, such as `.Trash` and `.git`, need no entry.
const SYSTEM_FOLDERS: [&str; 7] = [
    "__macosx",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "@eadir",
    "#recycle",
    "lost+found",
];
/// Files of systems, in lower case.
const SYSTEM_FILES: [&str; 4] = ["thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"];
/// Extensions of incomplete downloads and of editors' files.
const TEMPORARY: [&str; 8] = [
    "part",
    "partial",
    "crdownload",
    "download",
    "opdownload",
    "tmp",
    "swp",
    "lock",
];
/// First bytes of AppleDouble and AppleSingle files.
const APPLE_DOUBLE: [[u8; 4]; 2] = [[0, 5, 0x16, 7], [0, 5, 0x16, 0]];
/// Kinds that [`LeftOut`] lists.
const MAX_KINDS: usize = 10;

/// A path that cannot be ingested.
#[derive(Clone, Debug)]
pub struct RejectedInput {
    /// As given.
    pub path: PathBuf,
    /// The reason.
    pub why: String,
}

impl RejectedInput {
    pub(super) fn unreadable(path: &Path, cause: &std::io::Error) -> Self {
        Self {
            path: path.to_owned(),
            why: format!("cannot be read: {cause}"),
        }
    }
}

/// Files of folders that are of other kinds, by kind, such as `.docx`.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// The paths of each kind.
    pub kinds: BTreeMap<String, Vec<PathBuf>>,
}

impl LeftOut {
    fn add(&mut self, kind: String, path: PathBuf) {
        self.kinds.entry(kind).or_default().push(path);
    }
}

impl fmt::Display for LeftOut {
    /// One line, such as `1 .docx, 2 .heic`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |(kind, paths): (&String, &Vec<PathBuf>)| format!("{} {kind}", paths.len());
        let mut parts: Vec<String> = self.kinds.iter().take(MAX_KINDS).map(count).collect();
        let others: usize = self.kinds.values().skip(MAX_KINDS).map(Vec::len).sum();
        if others > 0 {
            parts.push(format!("{others} of other kinds"));
        }
        f.write_str(&parts.join(", "))
    }
}

/// Returns the file itself, or all PDF and image files of a folder, sorted.
pub(super) fn expand_path(
    path: &Path,
    left_out: &mut LeftOut,
) -> Vec<Result<PathBuf, RejectedInput>> {
    if !path.is_dir() {
        return vec![Ok(path.to_owned())];
    }
    let mut walk = Walk {
        root: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        found: Vec::new(),
        left_out,
    };
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        if let Err(cause) = walk.read(&folder, &mut folders) {
            let rejected = RejectedInput::unreadable(&folder, &cause);
            walk.found.push(Err(rejected));
        }
    }
    let mut found = walk.found;
    if found.is_empty() {
        found.push(Err(RejectedInput {
            path: path.to_owned(),
            why: "the folder contains no PDF and no image".into(),
        }));
    }
    let path_of = |item: &Result<PathBuf, RejectedInput>| match item {
        Ok(path) => path.clone(),
        Err(rejected) => rejected.path.clone(),
    };
    found.sort_by_cached_key(path_of);
    found
}

/// A walk through a folder.
struct Walk<'a> {
    /// The folder, without links.
    root: PathBuf,
    found: Vec<Result<PathBuf, RejectedInput>>,
    left_out: &'a mut LeftOut,
}

impl Walk<'_> {
    /// Reads one folder; its subfolders are added to `folders`.
    fn read(&mut self, folder: &Path, folders: &mut Vec<PathBuf>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    if !is_system_folder(&name_of(&path)) {
                        folders.push(path);
                    }
                }
                Ok(kind) if kind.is_symlink() => self.link(path),
                Ok(_) => self.file(path),
                Err(cause) => self
                    .found
                    .push(Err(RejectedInput::unreadable(&path, &cause))),
            }
        }
        Ok(())
    }

    /// A link to a file is that file. A link to a folder is not followed: it may lead anywhere.
    fn link(&mut self, path: PathBuf) {
        match std::fs::metadata(&path) {
            Ok(target) if target.is_dir() => {
                let inside = path.canonicalize().is_ok_and(|p| p.starts_with(&self.root));
                if !inside && !is_system_folder(&name_of(&path)) {
                    self.left_out.add("linked folder".to_owned(), path);
                }
            }
            Err(cause) if !is_missing(&cause) => {
                let rejected = RejectedInput::unreadable(&path, &cause);
                self.found.push(Err(rejected));
            }
            _ => self.file(path),
        }
    }

    fn file(&mut self, path: PathBuf) {
        let name = name_of(&path);
        let extension = extension_of(&path);
        if is_passed_over(&path, &name, &extension) {
            return;
        }
        if EXTENSIONS.contains(&extension.as_str()) {
            self.found.push(Ok(path));
            return;
        }
        if !std::fs::metadata(&path).is_ok_and(|file| file.is_file()) {
            return;
        }
        let kind = match extension.as_str() {
            "" => "without extension".to_owned(),
            extension => format!(".{extension}"),
        };
        self.left_out.add(kind, path);
    }
}

fn is_missing(cause: &std::io::Error) -> bool {
    cause.kind() == std::io::ErrorKind::NotFound
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().to_lowercase()
}

fn extension_of(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}

fn is_system_folder(name: &str) -> bool {
    name.starts_with('.') || SYSTEM_FOLDERS.contains(&name)
}

/// Whether a file is one that systems and programs leave behind, not one that a person put there.
fn is_passed_over(path: &Path, name: &str, extension: &str) -> bool {
    // A hidden PDF is still somebody's PDF; `.icloud` stands for a file that was not downloaded.
    let hidden = name.starts_with('.') && !EXTENSIONS.contains(&extension) && extension != "icloud";
    hidden
        || name.starts_with("~$")
        || SYSTEM_FILES.contains(&name)
        || TEMPORARY.contains(&extension)
        || (name.starts_with("._") && is_apple_double(path))
}

/// Whether a file whose name begins with `._` holds the attributes of the file of the same name without.
fn is_apple_double(path: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(path) else {
        return false;
    };
    let mut magic = [0; 4];
    let read = metadata.is_file()
        && File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let owner = name
        .strip_prefix("._")
        .map(|name| path.with_file_name(name));
    (read && APPLE_DOUBLE.contains(&magic)) || owner.is_some_and(|owner| owner.exists())
}

/// Why a path cannot be remembered as the file of a manual, which is read again later; `None` if it can.
pub(super) fn not_a_lasting_file(path: &Path, metadata: &Metadata) -> Option<&'static str> {
    let is_open_file = |path: &Path| {
        let name = path.strip_prefix("/dev").ok().and_then(Path::to_str);
        name.is_some_and(|name| name.starts_with("fd/") || name.starts_with("std"))
    };
    let of_the_process = is_open_file(path) || path.starts_with("/proc");
    (of_the_process || !metadata.is_file())
        .then_some("is a pipe or a device: save it as a file, which can be read again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names below `folder` that are read, with those that fail marked, and the kinds that are left out.
    fn expanded(folder: &Path) -> (Vec<String>, String) {
        let mut left_out = LeftOut::default();
        let found = expand_path(folder, &mut left_out);
        let below = |path: &Path| path.strip_prefix(folder).unwrap().display().to_string();
        let found = found.iter().map(|item| match item {
            Ok(path) => below(path),
            Err(rejected) => format!("{}: {}", below(&rejected.path), rejected.why),
        });
        (found.collect(), left_out.to_string())
    }

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn folders_are_expanded_to_pdf_and_image_files() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = ": the folder contains no PDF and no image".to_owned();
        assert_eq!(expanded(folder.path()), (vec![nothing], String::new()));
        for name in [
            "b.PDF",
            "a.png",
            "deep/c.pdf",
            "deep/er/d.WebP",
            ".kept.pdf",
        ] {
            write(folder.path(), name, b"x");
        }
        let names = [
            ".kept.pdf",
            "a.png",
            "b.PDF",
            "deep/c.pdf",
            "deep/er/d.WebP",
        ];
        assert_eq!(
            expanded(folder.path()),
            (names.map(Into::into).into(), String::new())
        );
    }

    #[test]
    fn what_systems_and_programs_leave_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "manual.pdf",
            "__MACOSX/._x.pdf",
            ".Trash/old.pdf",
            ".git/x.pdf",
            "$RECYCLE.BIN/$R1.pdf",
            "@eaDir/manual.pdf/SYNOFILE_THUMB_M.jpg",
            "~$draft.docx",
            ".~lock.draft.odt#",
            ".DS_Store",
            "Thumbs.db",
            "dl.pdf.part",
            "dl.pdf.crdownload",
        ] {
            write(folder.path(), name, b"%PDF-1.7");
        }
        write(folder.path(), "._manual.pdf", b"any");
        write(folder.path(), "._gone.pdf", b"\0\x05\x16\x07\0\x02");
        write(folder.path(), "._mine.pdf", b"%PDF-1.7");
        let read = vec!["._mine.pdf".to_owned(), "manual.pdf".to_owned()];
        assert_eq!(expanded(folder.path()), (read, String::new()));
        let trash = expanded(&folder.path().join(".Trash"));
        assert_eq!(trash.0, ["old.pdf"], "named itself");
    }

    #[test]
    fn other_kinds_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a.pdf",
            "n.docx",
            "x/m.DOCX",
            "p.heic",
            "README",
            ".b.pdf.icloud",
        ] {
            write(folder.path(), name, b"x");
        }
        let (_, left_out) = expanded(folder.path());
        assert_eq!(left_out, "2 .docx, 1 .heic, 1 .icloud, 1 without extension");
        (0..20).for_each(|n| write(folder.path(), &format!("a.k{n:02}"), b"x"));
        let (_, left_out) = expanded(folder.path());
        assert!(
            left_out.ends_with("1 .k06, 14 of other kinds"),
            "{left_out}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_end_no_walk() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(folder.path(), "deep/a.pdf", b"x");
        write(other.path(), "b.pdf", b"x");
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
        };
        link(Path::new(".."), "deep/up");
        link(Path::new("loop.pdf"), "loop.pdf");
        link(other.path(), "elsewhere");
        link(&other.path().join("b.pdf"), "b.pdf");
        let (found, left_out) = expanded(folder.path());
        assert_eq!(
            (found[0].as_str(), found[1].as_str()),
            ("b.pdf", "deep/a.pdf")
        );
        assert!(
            found[2].starts_with("loop.pdf: cannot be read: "),
            "{found:?}"
        );
        assert_eq!((found.len(), left_out.as_str()), (3, "1 linked folder"));
    }
}
