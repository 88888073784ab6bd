//! The answers of a candidate to questions about the library, as `ingest eval ask` measures them.

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::evaluate::AnswerEvaluation;
use crate::library;
use crate::page::PageSet;
use crate::store::Scope;
use crate::vlm;

use super::super::super::eval::AnswerTrial;
use super::super::super::interrupt::STOP;
use super::CandidateSpec;
use super::candidate::RunnerBench;

/// Reads the questions about a manual, or about all.
pub(super) fn trial<'a>(
    settings: &'a Settings,
    passwords: &'a [String],
    (manual, file): (Option<&OsString>, &'a Path),
) -> Result<AnswerTrial<'a>, Diagnostic> {
    let library = library::open_for_reading(&settings.store, None)?;
    let manuals = manual.into_iter();
    let manuals = manuals.map(|name| library::find_manual(&*library.store, name).map(|m| m.id));
    let scope = Scope {
        manuals: manuals.collect::<Result<_, _>>()?,
        pages: PageSet::all(),
    };
    AnswerTrial::read(settings, (library, scope), passwords, file)
}

/// Measures the answers of a candidate; `None` if it failed.
pub(super) fn measure(
    bench: &RunnerBench<'_>,
    trial: &AnswerTrial<'_>,
    (spec, config): (&CandidateSpec, &vlm::Config),
) -> Result<Option<AnswerEvaluation>, Diagnostic> {
    let runner = bench.open(config).map_err(Diagnostic::from);
    let evaluated = runner.and_then(|runner| trial.evaluate(bench.ui, &*runner));
    match evaluated {
        Ok(evaluation) => Ok(Some(evaluation)),
        Err(why) if STOP.load(Ordering::Relaxed) => Err(why),
        Err(why) => {
            let (name, why) = (&spec.text, why.message);
            bench
                .ui
                .warn(format!("{name}: its answers were not measured: {why}"));
            Ok(None)
        }
    }
}
