//! stdout is data, stderr is talk; bars only on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use indicatif::MultiProgress;
use serde::Serialize;

use crate::diagnostic::Diagnostic;

use super::Common;

/// Where commands print.
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

    /// A line of data.
    ///
    /// # Errors
    /// When stdout cannot be written; a reader that has gone away (`| head`) is no error.
    pub(super) fn data(&self, line: impl Display) -> Result<(), Diagnostic> {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Data as it is.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Diagnostic> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(Diagnostic::new(format!("stdout cannot be written: {e}"))),
            Ok(()) => Ok(()),
        }
    }

    /// A record as one JSON document.
    pub(super) fn json(&self, record: &impl Serialize) -> Result<(), Diagnostic> {
        let text = serde_json::to_string_pretty(record).map_err(|e| Diagnostic::from_error(&e))?;
        self.data(text)
    }

    /// Talk; not when quiet.
    pub(super) fn say(&self, line: impl Display) {
        if !self.quiet {
            self.warn(line);
        }
    }

    /// Talk for those who asked for more.
    pub(super) fn detail(&self, line: impl Display) {
        if self.verbose {
            self.say(line);
        }
    }

    /// Talk that is never kept back: something failed.
    pub(super) fn warn(&self, line: impl Display) {
        self.bars
            .suspend(|| drop(writeln!(io::stderr().lock(), "{line}")));
    }

    pub(super) fn report(&self, report: &Diagnostic) {
        self.warn(format!("error: {}", report.message));
        for hint in &report.hints {
            self.warn(format!("hint: {hint}"));
        }
    }

    pub(super) fn quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}
