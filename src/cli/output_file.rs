//! Files that commands write: whole or not at all, where the folder allows it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::diagnostic::Diagnostic;

/// Writes a file: into one beside it, which then takes its name. A link stays a link, and a pipe or a device is written to;
/// so is a file in a folder that does not allow another one.
///
/// # Errors
/// When it cannot be written; what was there before is then unchanged, unless the file itself was written to.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    write_with(path, |mut file| file.write_all(bytes))
}

fn write_with(
    path: &Path,
    content: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), Diagnostic> {
    let written = match fs::metadata(path) {
        Ok(target) if !target.is_file() => File::options()
            .write(true)
            .open(path)
            .and_then(|file| content(&file)),
        target => replace(path, target.ok(), content),
    };
    written.map_err(|cause| {
        let error = Diagnostic::new(format!("{}: cannot be written: {cause}", path.display()));
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                error.hint("the disk of this file is full: free some space, or write it elsewhere")
            }
            _ => error,
        }
    })
}

fn replace(
    path: &Path,
    existing: Option<fs::Metadata>,
    content: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let target = target_of(path);
    let folder = target.parent().filter(|f| !f.as_os_str().is_empty());
    let beside = new_file(folder.unwrap_or(Path::new(".")));
    let Some(existing) = existing else {
        let beside = beside?;
        content(beside.as_file())?;
        return beside.persist(&target).map(drop).map_err(|e| e.error);
    };
    // A file that may not be written is not replaced either.
    let file = File::options().write(true).open(&target)?;
    let is_denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    let beside = match beside {
        Err(e) if is_denied(&e) => {
            file.set_len(0)?;
            return content(&file);
        }
        beside => beside?,
    };
    content(beside.as_file())?;
    fs::set_permissions(beside.path(), existing.permissions())?;
    match beside.persist(&target) {
        // The folder allows new files, but only the owner may replace this one.
        Err(e) if is_denied(&e.error) => copy(e.file.path(), &file),
        replaced => replaced.map(drop).map_err(|e| e.error),
    }
}

/// Overwrites an open file with the bytes of another.
fn copy(from: &Path, mut file: &File) -> io::Result<()> {
    let mut from = File::open(from)?;
    file.set_len(0)?;
    io::copy(&mut from, &mut file).map(drop)
}

/// The file that a path names, links resolved, also if the last one leads to a file that does not exist yet.
fn target_of(path: &Path) -> PathBuf {
    if let Ok(target) = path.canonicalize() {
        return target;
    }
    match fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or(Path::new("")).join(target),
        Err(_) => path.to_owned(),
    }
}

/// A temporary file with the permissions of a new file, not those of a secret one; an error does not name it.
fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    let create = |path: &Path| File::options().write(true).create_new(true).open(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ingest-").make_in(folder, create)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(path: &Path) -> String {
        let half = |mut file: &File| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = write_with(path, half).unwrap_err();
        assert!(error.hints[0].contains("is full"));
        error.message
    }

    fn files(folder: &Path) -> usize {
        folder.read_dir().unwrap().count()
    }

    #[test]
    fn failed_write_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.png");
        let message = failing(&path);
        assert!(
            message.starts_with(&path.display().to_string()),
            "{message}"
        );
        assert_eq!(files(folder.path()), 0);
        write(&path, b"before").unwrap();
        failing(&path);
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(files(folder.path()), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_permissions_are_kept() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        fs::write(at("plain"), "").unwrap();
        write(&at("new"), b"new").unwrap();
        assert_eq!(mode("new"), mode("plain"), "as the umask says");
        fs::set_permissions(at("new"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("new", at("link")).unwrap();
        symlink("later", at("dangling")).unwrap();
        write(&at("link"), b"newer").unwrap();
        write(&at("dangling"), b"later").unwrap();
        for (link, target, bytes) in [("link", "new", "newer"), ("dangling", "later", "later")] {
            assert!(at(link).is_symlink());
            assert_eq!(fs::read_to_string(at(target)).unwrap(), bytes);
        }
        assert_eq!(mode("new"), 0o640);
    }

    #[cfg(unix)]
    #[test]
    fn pipes_are_written_to() {
        use std::io::Read;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        write(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(!fs::metadata(&pipe).unwrap().is_file());
    }
}
