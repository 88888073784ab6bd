//! Output files: regular ones are replaced atomically, everything else is written through.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::diagnostic::Diagnostic;

/// Mode of a new file, before the umask.
const NEW_FILE_MODE: u32 = 0o666;

/// A file that is being written; `-` is stdout.
pub(super) struct Output {
    path: PathBuf,
    target: Target,
}

enum Target {
    /// A temporary file beside the path, renamed to it at the end.
    Replaced(BufWriter<NamedTempFile>),
    /// A pipe, a device or a link: they stay what they are.
    Through(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl Output {
    /// Opens an output.
    ///
    /// # Errors
    /// When it cannot be opened or created.
    pub(super) fn create(path: &Path) -> Result<Self, Diagnostic> {
        let target = match path.as_os_str() == "-" {
            true => Ok(Target::Stdout(BufWriter::new(io::stdout()))),
            false => Target::open(path),
        };
        match target {
            Ok(target) => Ok(Self {
                path: path.to_owned(),
                target,
            }),
            Err(e) => Err(Diagnostic::new(format!("{}: {e}", path.display()))),
        }
    }

    /// Its name, for messages.
    pub(super) fn name(&self) -> String {
        match self.target {
            Target::Stdout(_) => "stdout".to_owned(),
            _ => self.path.display().to_string(),
        }
    }

    /// Writes some bytes.
    ///
    /// # Errors
    /// When they cannot be written; a closed pipe (`| head`) is not an error.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Diagnostic> {
        let written = self.target.writer().write_all(bytes);
        self.result(written)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When the last bytes cannot be written, or the file cannot be replaced.
    pub(super) fn finish(mut self) -> Result<(), Diagnostic> {
        let flushed = self.target.writer().flush();
        self.result(flushed)?;
        let Target::Replaced(file) = self.target else {
            return Ok(());
        };
        let path = self.path;
        let renamed = file.into_inner().map_err(io::IntoInnerError::into_error);
        let renamed = renamed.and_then(|file| file.persist(&path).map_err(|e| e.error));
        match renamed {
            Ok(_) => Ok(()),
            Err(e) => Err(Diagnostic::new(format!("{}: {e}", path.display()))),
        }
    }

    fn result(&self, written: io::Result<()>) -> Result<(), Diagnostic> {
        match written {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(Diagnostic::new(format!("{}: {e}", self.name()))),
            Ok(()) => Ok(()),
        }
    }
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        let mode = match path.symlink_metadata() {
            Ok(found) if !found.is_file() || found.nlink() > 1 => {
                return Ok(Self::Through(BufWriter::new(File::create(path)?)));
            }
            Ok(found) => found.mode(),
            Err(_) => NEW_FILE_MODE,
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(mode & 0o777))
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Self::Replaced(BufWriter::new(file)))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Replaced(file) => file,
            Self::Through(file) => file,
            Self::Stdout(stdout) => stdout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        let mut output = Output::create(path).unwrap();
        output.write(text.as_bytes()).unwrap();
        output.finish().unwrap();
    }

    #[test]
    fn files_are_replaced_and_links_are_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
        write(&at("new"), "1");
        assert_eq!(at("new").metadata().unwrap().mode() & 0o600, 0o600);
        std::fs::set_permissions(at("new"), Permissions::from_mode(0o640)).unwrap();
        std::fs::hard_link(at("new"), at("hard")).unwrap();
        std::os::unix::fs::symlink("new", at("soft")).unwrap();
        std::os::unix::fs::symlink("later", at("dangling")).unwrap();
        write(&at("hard"), "22");
        assert_eq!((read("new"), read("soft")), ("22".into(), "22".into()));
        write(&at("soft"), "3");
        assert_eq!((read("new"), read("hard")), ("3".into(), "3".into()));
        write(&at("dangling"), "4");
        assert_eq!(read("later"), "4");
        for link in ["soft", "dangling"] {
            assert!(at(link).symlink_metadata().unwrap().is_symlink());
        }
        std::fs::remove_file(at("hard")).unwrap();
        write(&at("new"), "5");
        assert_eq!(read("soft"), "5");
        assert_eq!(at("new").metadata().unwrap().mode() & 0o777, 0o640);
        assert!(Output::create(folder.path()).is_err(), "a folder");
    }

    #[test]
    fn pipes_are_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read_to_string(pipe).unwrap()
        });
        write(&pipe, "through");
        assert_eq!(reader.join().unwrap(), "through");
        let kind = pipe.symlink_metadata().unwrap().file_type();
        assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));
    }
}
