//! What a run does with its files, on the side of the coordinator: finds them, decides which pages are to be processed, and
//! asks the store for those that are done.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::tally::Tally;
use crate::annotate::Redo;
use crate::distributed::Error;
use crate::distributed::messages::RunManual;
use crate::page::{ManualId, PageSet};
use crate::{pipeline, render};

/// A kind of run.
pub(super) trait Workload {
    /// The statistics of such a run on one machine.
    type Stats;
    /// Assumed speed of all workers while it is unknown, in pages per second; 0: that of [`crate::distributed::schedule`].
    const ASSUMED_SPEED: f64 = 0.0;

    /// Finds the files and their pages. Called again if another coordinator may have changed what is to be done.
    fn discover(&mut self) -> Result<(), Error>;

    /// What tells a command from others of its group.
    fn command(&self) -> String;

    /// What was found, in the order of the statistics.
    fn candidates(&self) -> Vec<Candidate>;

    /// Leaves out pages beyond a limit. `recorded`: the manuals of the run whose pages were decided on before.
    fn limit(&mut self, _recorded: &[RunManual]) {}

    /// Decides on the pages of a file that is not in the run yet.
    fn admit(&mut self, file: &RunFile) -> Result<Admission, Error>;

    /// Notes that a file is not part of the run; returns what the user is told at once, if anything.
    fn reject(&mut self, index: usize, rejection: Rejection) -> Option<pipeline::Event>;

    /// Cuts pages of a file into items, the last `small` of them into small ones.
    fn cut(&self, file: &RunFile, pages: &[u32], small: usize) -> Vec<PageSet>;

    /// Which pages with a description are described again.
    fn redo(&self) -> Option<Redo> {
        None
    }

    /// The pages of a file that are done according to the store.
    fn done(&self, file: &RunFile) -> Result<BTreeSet<u32>, Error>;

    /// Takes over what became of the files.
    fn count(&mut self, tally: &Tally, end: End) -> Result<(), Error>;

    /// Keeps in the store what was done with a file.
    fn record(&self, _file: &RunFile) -> Result<(), Error> {
        Ok(())
    }

    /// The statistics.
    fn into_stats(self) -> Self::Stats;
}

/// How a run ended.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// Seconds that this coordinator took.
    pub(super) wall: f64,
    /// Whether it was stopped before its end.
    pub(super) is_stopped: bool,
}

/// Something that was found.
pub(super) enum Candidate {
    /// A file that may be part of the run.
    File(RunFile),
    /// Something that is not.
    Rejected(usize, Rejection),
}

/// A file that may be part of a run.
#[derive(Clone)]
pub(super) struct RunFile {
    /// Its place in the order of the statistics.
    pub(super) index: usize,
    /// Its manual.
    pub(super) manual: ManualId,
    /// SHA-256, hex.
    pub(super) digest: String,
    /// Where it lies on this machine.
    pub(super) path: PathBuf,
    /// Digest of file and render profile.
    pub(super) origin: String,
}

impl RunFile {
    /// Its size in bytes; 0 if it is not on this machine.
    pub(super) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }
}

/// The decision on a file.
pub(super) enum Admission {
    /// All its pages are up to date.
    Complete(RunManual),
    /// These pages are to be processed.
    Todo(RunManual, Vec<u32>),
    /// It cannot be part of the run.
    Rejected(Rejection),
}

/// Why a file is not part of a run.
pub(super) struct Rejection {
    pub(super) why: String,
    /// The error of the renderer, if the file was opened.
    pub(super) cause: Option<render::Error>,
}
