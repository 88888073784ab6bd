//! Passwords of protected files: from options, a file and the environment. Never printed.

use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;

/// Environment variable with a password, or several, one a line.
const VARIABLE: &str = "INGEST_PASSWORD";

/// Options with passwords.
#[derive(clap::Args, Debug)]
pub(super) struct PasswordArgs {
    /// Password of protected files (can be repeated); other users of this machine can see it: prefer a file or INGEST_PASSWORD
    #[arg(long, value_name = "PASSWORD")]
    password: Vec<String>,
    /// File with passwords of protected files, one per line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordArgs {
    /// Whether one of the options is given.
    pub(super) fn are_given(&self) -> bool {
        !self.password.is_empty() || self.password_file.is_some()
    }

    /// Returns all passwords, in the order in which they are tried.
    ///
    /// # Errors
    /// When the file cannot be read, or a password is not UTF-8.
    pub(super) fn read(&self) -> Result<Vec<String>, Diagnostic> {
        let mut all = self.password.clone();
        if let Some(file) = &self.password_file {
            all.extend(lines(&read_file(file)?));
        }
        if let Some(value) = std::env::var_os(VARIABLE) {
            let value = value.into_string();
            let value =
                value.map_err(|_| Diagnostic::usage(format!("{VARIABLE} is not valid UTF-8")))?;
            all.extend(lines(&value));
        }
        Ok(all)
    }
}

fn read_file(file: &Path) -> Result<String, Diagnostic> {
    let text = std::fs::read_to_string(file);
    text.map_err(|e| Diagnostic::usage(format!("{}: cannot be read: {e}", file.display())))
}

/// The lines of a text that are not empty, without a byte order mark.
fn lines(text: &str) -> impl Iterator<Item = String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_spaces_but_no_line_ends() {
        let all: Vec<String> = lines("\u{feff}geheim\r\n\n two words \nlast").collect();
        assert_eq!(all, ["geheim", " two words ", "last"]);
    }
}
