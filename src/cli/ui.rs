//! Output: data to stdout, messages to stderr, progress bars on terminals only. Control characters of file names, PDF text,
//! server errors and model answers are escaped here; only JSON, images and scripts are printed as they are.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use indicatif::MultiProgress;
use serde::Serialize;

use crate::diagnostic::{self, Diagnostic};
use crate::render;
use crate::reports::terminal;

use super::Common;

/// The output of a command.
pub(super) struct Ui {
    pub(super) json: bool,
    quiet: bool,
    verbose: bool,
    bars: MultiProgress,
}

impl Ui {
    pub(super) fn new(common: &Common) -> Self {
        let ui = Self {
            json: common.json,
            quiet: common.quiet,
            verbose: common.verbose,
            bars: MultiProgress::new(),
        };
        if common.quiet || !io::stderr().is_terminal() {
            ui.bars
                .set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        ui
    }

    /// Prints a line of data; control characters in it are escaped.
    ///
    /// # Errors
    /// When stdout cannot be written; a closed pipe (`| head`) is not an error.
    pub(super) fn data(&self, line: impl Display) -> Result<(), Diagnostic> {
        let line = terminal::line(&line.to_string());
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Prints lines of data; control characters in them are escaped, apart from line ends and tabs.
    pub(super) fn text(&self, text: impl Display) -> Result<(), Diagnostic> {
        let text = terminal::text(&text.to_string());
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Prints a part of a text; control characters in it are escaped, apart from line ends and tabs.
    pub(super) fn part(&self, text: &str) -> Result<(), Diagnostic> {
        self.bytes(terminal::text(text).as_bytes())
    }

    /// Prints data as it is.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Diagnostic> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(Diagnostic::new(format!("cannot write to stdout: {e}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Prints a record as one JSON document.
    pub(super) fn json(&self, record: &impl Serialize) -> Result<(), Diagnostic> {
        let text = serde_json::to_string_pretty(record).map_err(|e| Diagnostic::from_error(&e))?;
        self.bytes(format!("{}\n", terminal::json(&text)).as_bytes())
    }

    /// Prints a record as one line of JSON.
    pub(super) fn json_line(&self, record: &impl Serialize) -> Result<(), Diagnostic> {
        let text = serde_json::to_string(record).map_err(|e| Diagnostic::from_error(&e))?;
        self.bytes(format!("{}\n", terminal::json(&text)).as_bytes())
    }

    /// Prints a message, unless `--quiet`.
    pub(super) fn info(&self, line: impl Display) {
        if !self.quiet {
            self.warn(line);
        }
    }

    /// Prints a message if `--verbose`.
    pub(super) fn detail(&self, line: impl Display) {
        if self.verbose {
            self.info(line);
        }
    }

    /// Prints a message about a failure, also if `--quiet`; control characters in it are escaped.
    pub(super) fn warn(&self, line: impl Display) {
        let line = terminal::line(&line.to_string());
        self.bars
            .suspend(|| drop(writeln!(io::stderr().lock(), "{line}")));
    }

    /// Prints an error with its hints.
    pub(super) fn report(&self, diagnostic: &Diagnostic) {
        self.warn(format!("error: {}", diagnostic.message));
        diagnostic.hints.iter().for_each(|hint| self.hint(hint));
    }

    /// Prints what to do about failures.
    pub(super) fn hint(&self, hint: &str) {
        self.warn(format!("hint: {hint}"));
    }

    /// Prints why an input cannot be read, and what to do.
    pub(super) fn input_failed(&self, path: &Path, why: &str, cause: Option<&render::Error>) {
        self.warn(format!("{}: {why}", path.display()));
        if let Some(hint) = diagnostic::input_hint(path, cause) {
            self.hint(hint);
        }
    }

    /// Prints what to do if the inputs are the words of a question.
    pub(super) fn words_hint(&self, paths: &[PathBuf]) {
        if let Some(hint) = diagnostic::words_hint(paths) {
            self.hint(hint);
        }
    }

    pub(super) fn quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}

/// Prints help, or an error of the command line; its arguments may be file names.
pub(super) fn print_clap(error: &clap::Error) {
    let plain = error.render().to_string();
    let escaped = terminal::text(&plain);
    drop(match plain == escaped {
        true => error.print(),
        false => io::stderr().lock().write_all(escaped.as_bytes()),
    });
}

/// Columns of a table on stdout: those of the terminal; no limit if it is none.
pub(super) fn table_columns() -> usize {
    match io::stdout().is_terminal() {
        true => columns(io::stdout()),
        false => usize::MAX,
    }
}

/// Columns of a progress bar on stderr.
pub(super) fn bar_columns() -> usize {
    columns(io::stderr())
}

/// Columns of a terminal; 80 if it does not know.
fn columns(terminal: impl std::os::fd::AsFd) -> usize {
    let size = terminal_size::terminal_size_of(terminal);
    size.map_or(80, |(width, _)| usize::from(width.0))
}
