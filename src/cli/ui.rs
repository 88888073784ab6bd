//! Output: data to stdout, messages to stderr, progress bars on terminals only.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use indicatif::MultiProgress;
use serde::Serialize;

use crate::diagnostic::Diagnostic;

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

    /// Prints a line of data.
    ///
    /// # Errors
    /// When stdout cannot be written; a closed pipe (`| head`) is not an error.
    pub(super) fn data(&self, line: impl Display) -> Result<(), Diagnostic> {
        self.bytes(format!("{line}\n").as_bytes())
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
        self.data(text)
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

    /// Prints a message about a failure, also if `--quiet`.
    pub(super) fn warn(&self, line: impl Display) {
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

    pub(super) fn quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}
