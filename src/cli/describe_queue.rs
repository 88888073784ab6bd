//! `ingest describe --queue URL`: coordinates many machines that describe the pages of a store.

use std::process::ExitCode;

use crate::annotate::{DescribeStats, Request};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::distributed::{self, Coordinated, Coordinator, Outcome, WorkerShare};
use crate::library;
use crate::store::Opened;
use crate::vlm;

use super::describe_run::{self, DescribeOutcome};
use super::distribute::{Observer, print_detached, print_workers};
use super::interrupt::{self, STOP};
use super::progress::Progress;
use super::run::nothing_stored;
use super::ui::Ui;

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Report<'a> {
    run: &'a str,
    #[serde(flatten)]
    stats: &'a DescribeStats,
    workers: &'a [WorkerShare],
}

pub(super) fn run(
    ui: &Ui,
    settings: &Settings,
    opened: &Opened,
    (mut request, detach): (Request, bool),
) -> Result<ExitCode, Diagnostic> {
    let queue = distributed::connect(settings).map_err(nothing_stored)?;
    let model = model(settings).map_err(nothing_stored)?;
    interrupt::install_handler()?;
    request.model.clone_from(&model);
    let observer = Observer::new(ui, Progress::describing(ui));
    let coordinator = Coordinator {
        settings,
        group: distributed::describe_group(settings, &model, &opened.location),
        queue: &queue,
        store: &*opened.store,
        detach,
        stop: &STOP,
        on_event: &|event| observer.on_event(event),
    };
    let result = coordinator.describe(&request);
    observer.finish();
    print(ui, result?)
}

/// The name of the model; if none is set, that of the model which the runner of this machine has.
fn model(settings: &Settings) -> Result<String, Diagnostic> {
    let config = &settings.describe;
    if let Some(model) = config.full_model() {
        return Ok(model);
    }
    let runner = vlm::open(config, library::in_process_vlm_memory_limit(settings));
    let runner = runner.map_err(|cause| {
        Diagnostic::from(cause).hint("or name the model of the workers with `--model`")
    })?;
    Ok(runner.card().model.clone())
}

fn print(ui: &Ui, coordinated: Coordinated<DescribeStats>) -> Result<ExitCode, Diagnostic> {
    let Coordinated {
        run,
        stats,
        workers,
        outcome,
    } = coordinated;
    if ui.json {
        ui.json(&Report {
            run: &run,
            stats: &stats,
            workers: &workers,
        })?;
    }
    if outcome == Outcome::Detached {
        if !ui.json {
            print_detached(ui, &run)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let code = describe_run::finish(ui, DescribeOutcome::of_workers(stats))?;
    if !ui.json && !ui.quiet() {
        print_workers(ui, &workers)?;
    }
    Ok(code.into())
}
