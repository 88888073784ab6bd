//! A task of a flow from when it is taken until all its pages have a verdict.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::discover::{Input, Job};
use super::stats::{ManualStats, StatsCollector};

/// A task and what is known of its pages.
pub(super) struct OpenTask<'t> {
    pub(super) inputs: Cow<'t, [Input]>,
    pub(super) collector: StatsCollector<'t>,
    /// When it was taken.
    pub(super) start: Instant,
    opened: Mutex<BTreeMap<usize, Instant>>,
}

impl<'t> OpenTask<'t> {
    pub(super) fn new(inputs: Cow<'t, [Input]>, collector: StatsCollector<'t>) -> Self {
        Self {
            inputs,
            collector,
            start: Instant::now(),
            opened: Mutex::default(),
        }
    }

    pub(super) fn job(&self, index: usize) -> Option<&Job> {
        self.inputs.get(index).and_then(Input::job)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.collector.is_stopped()
    }

    /// When each manual was opened whose run is not recorded yet, by index.
    pub(super) fn opened(&self) -> MutexGuard<'_, BTreeMap<usize, Instant>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether each requested page has a verdict.
    pub(super) fn is_complete(&self) -> bool {
        let mut is_complete = true;
        self.collector.update(|stats| {
            let mut all = self.inputs.iter().zip(&stats.manuals);
            is_complete = all.all(|(input, manual)| input.job().is_none() || has_verdicts(manual));
        });
        is_complete
    }
}

fn has_verdicts(manual: &ManualStats) -> bool {
    let verdicts = manual.stored + manual.unchanged + manual.waiting + manual.failed.len() as u32;
    manual.error.is_some() || (manual.pages > 0 && verdicts >= manual.pages)
}

/// A task with its reader, or one of its pages between two stages: when all of them are dropped, the task is sent to where
/// it ends. A page that gets lost on its way is dropped too, so a task always ends.
pub(super) struct TaskInHand<'t> {
    task: Arc<OpenTask<'t>>,
    ended: Sender<Arc<OpenTask<'t>>>,
}

impl<'t> TaskInHand<'t> {
    pub(super) fn new(task: Arc<OpenTask<'t>>, ended: Sender<Arc<OpenTask<'t>>>) -> Arc<Self> {
        Arc::new(Self { task, ended })
    }
}

impl<'t> Deref for TaskInHand<'t> {
    type Target = OpenTask<'t>;

    fn deref(&self) -> &OpenTask<'t> {
        &self.task
    }
}

impl Drop for TaskInHand<'_> {
    fn drop(&mut self) {
        // Nobody waits for it any more if the flow ended with a panic.
        let _ = self.ended.send(Arc::clone(&self.task));
    }
}
