//! The flow: four stages on a thread each, which take one task after another, and a thread on which tasks end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread;

use super::last_run::Recorder;
use super::task::OpenTask;
use super::text_model::TextModel;
use super::twins::finish_twins;
use super::{Components, Error, FlowContext, InFlightPage, Settings, TaskSource, joined, stages};
use crate::page::Page;
use crate::store::{self, Outbox, WriteOutcome};

/// Processes tasks until their source ends or a component fails. Components are opened once, for the first page that needs
/// them. Pages of several tasks share batches; a batch that is not full is processed when no task is there to fill it.
///
/// Each task that was taken ends with [`super::Client::on_end`] or [`super::Client::on_abort`]. Tasks whose pages overlap
/// must not be in hand at the same time: which of the two is stored last is not defined.
///
/// # Errors
/// When a component fails; then no further task is taken.
pub fn run<'t>(
    components: Components<'_>,
    settings: &Settings,
    tasks: impl TaskSource<'t> + Send + 't,
) -> Result<(), Error> {
    let Components {
        renderer,
        embedder,
        meaning,
        store,
    } = components;
    let meaning = meaning.map(TextModel::new);
    let meaning = meaning.as_ref();
    let (recorder, is_closing) = (&Recorder::new(store), &AtomicBool::new(false));
    let flow = FlowContext {
        settings,
        recorder,
        is_closing,
    };
    // Each queue holds one batch, so that the model never waits for a batch to be assembled and few batches are in flight:
    // one being prepared, one in the model, and on the way into the store what its batch policy allows.
    let batch = settings.limits.pages.max(1);
    let (rendered, to_prepare) = sync_channel(settings.queue.max(1));
    let (prepared, to_embed) = sync_channel(batch);
    let (embedded, to_store) = sync_channel::<Vec<InFlightPage<'t>>>(1);
    let (ended, to_end) = channel();
    thread::scope(|scope| {
        let render =
            scope.spawn(move || stages::render::run(flow, renderer, tasks, (&rendered, &ended)));
        let prepare = scope.spawn(move || {
            let _closing = Closing(is_closing);
            stages::prepare::run(flow, meaning, &to_prepare, &prepared)
        });
        let embed = scope.spawn(move || {
            let _closing = Closing(is_closing);
            stages::embed::run(flow, embedder, meaning, &to_embed, &embedded)
        });
        let end = scope.spawn(move || {
            let _closing = Closing(is_closing);
            end_tasks(flow, to_end)
        });
        let stored = {
            let _closing = Closing(is_closing);
            stages::store::run(recorder, to_store)
        };
        let embed = joined(embed);
        let (prepare, render) = (joined(prepare), joined(render));
        let ended = joined(end);
        stored.and(ended).and(embed).and(prepare).and(render)
    })
}

/// Makes the flow take no further task, however its stage ends.
struct Closing<'a>(&'a AtomicBool);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends tasks until all that were taken have ended. The first error of the outbox makes the flow take no further task.
fn end_tasks<'t>(flow: FlowContext<'_>, ended: Receiver<Arc<OpenTask<'t>>>) -> Result<(), Error> {
    let mut resolved = Vec::new();
    let mut result = Ok(());
    for task in ended {
        let flushed = flush(flow.recorder, &task, &mut resolved);
        if flushed.is_err() {
            flow.is_closing.store(true, Ordering::Relaxed);
        }
        result = result.and(flushed);
        end(flow, &task);
    }
    Ok(result?)
}

/// Flushes the outbox of deferred pages. `resolved` keeps the outcomes of pages of other tasks until those end.
pub(super) fn flush(
    recorder: &Recorder<'_>,
    task: &OpenTask<'_>,
    resolved: &mut Vec<Page<WriteOutcome>>,
) -> Result<(), store::Error> {
    if let Some(outbox) = recorder.store.outbox() {
        resolved.extend(recorder.checked(Outbox::flush(outbox))?);
        resolved.retain(|(id, outcome)| !task.collector.resolve(id, outcome));
    }
    Ok(())
}

/// Ends a task and tells its client.
fn end(flow: FlowContext<'_>, task: &OpenTask<'_>) {
    let is_complete = task.is_complete();
    flow.recorder.record_all(task);
    finish_twins(task);
    let mut stats = task.collector.finish();
    stats.wall = task.start.elapsed().as_secs_f64();
    stats.load = flow.recorder.loading_since(task.start).as_secs_f64();
    stats.stopped = task.is_stopped();
    let client = task.collector.client();
    match is_complete || stats.stopped {
        true => client.on_end(stats),
        false => client.on_abort(stats),
    }
}
