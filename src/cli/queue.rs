//! `ingest queue`: the runs and workers of a queue.

use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::distributed::{self, Run, RunState, Worker};
use crate::reports::table::fitted;
use crate::units::three_digits;

use super::Common;
use super::ui::{Ui, table_columns};

/// Age of an upload that did not end, after which it is removed.
const UPLOAD_AGE: Duration = Duration::from_secs(3_600);

/// Show and cancel the runs of many machines
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest queue status --queue nats://studio:4222
  ingest queue cancel 3f2a9c0d11e4b7a6-09c1 --queue nats://studio:4222")]
pub(super) struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(clap::Subcommand, Debug)]
enum QueueCommand {
    /// List runs and workers
    Status,
    /// Remove the queued work of a run; what workers have in hand is finished
    Cancel {
        /// The run, as `status` shows it
        run: String,
    },
    /// Remove runs that have ended, and what uploads that ended half-way left
    Clean,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Status {
    runs: Vec<Run>,
    workers: Vec<Worker>,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &QueueArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let queue = distributed::connect(&settings)?;
    match &args.command {
        QueueCommand::Status => {
            let (runs, workers) = distributed::runs(&queue)?;
            status(ui, Status { runs, workers })
        }
        QueueCommand::Cancel { run } => {
            let items = distributed::cancel(&queue, run)?;
            ui.data(format!("run {run}: {items} items removed"))
        }
        QueueCommand::Clean => {
            let bytes = queue.sweep_files(UPLOAD_AGE)?;
            let runs = distributed::forget_ended(&queue)?;
            ui.data(format!(
                "{runs} runs and {bytes} of unfinished uploads removed"
            ))
        }
    }
}

fn status(ui: &Ui, status: Status) -> Result<(), Diagnostic> {
    if ui.json {
        return ui.json(&status);
    }
    let state = |run: &Run| match run.state {
        RunState::Running => "running",
        RunState::Finished => "finished",
        RunState::Cancelled => "cancelled",
    };
    let run_row = |run: &Run| {
        let (model, store) = (run.group.model.clone(), run.group.store.clone());
        vec![
            run.id.clone(),
            run.group.kind().name().to_owned(),
            state(run).to_owned(),
            run.host.clone(),
            model,
            store,
        ]
    };
    let runs: Vec<Vec<String>> = status.runs.iter().map(run_row).collect();
    ui.text(fitted(
        &["run", "work", "state", "begun on", "model", "store"],
        &runs,
        table_columns(),
    ))?;
    let worker_row = |worker: &Worker| {
        let counts = [worker.pages, worker.failed, u64::from(worker.in_hand)];
        let mut row = vec![worker.process.id.clone(), worker.device.clone()];
        row.push(three_digits(worker.pages_per_second));
        row.extend(counts.map(|count| count.to_string()));
        row.push(worker.problem.clone().unwrap_or_default());
        row
    };
    let workers: Vec<Vec<String>> = status.workers.iter().map(worker_row).collect();
    let header = [
        "worker", "device", "pages/s", "pages", "failed", "in hand", "problem",
    ];
    ui.text(format!("\n{}", fitted(&header, &workers, table_columns())))
}
