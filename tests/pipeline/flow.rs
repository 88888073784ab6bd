//! Tasks that are given to a running flow: they share batches and components, and each ends by itself.

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ingest::page::PageSet;
use ingest::pipeline::{self, Client, Event, Request, RunStats, Stage, Task, discover};
use ingest::store::{Catalogue, Mode, Store};

use crate::fakes::{FakePipeline, PROFILES, gray_levels};

/// Longest wait for the end of a task.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a task ended.
#[derive(Debug)]
enum End {
    Ended(RunStats),
    Aborted(RunStats),
}

impl End {
    /// Stored and all pages of the only manual of a task that was not aborted.
    fn counts(&self) -> (u32, u32) {
        match self {
            Self::Ended(stats) => (stats.manuals[0].stored, stats.manuals[0].pages),
            Self::Aborted(stats) => panic!("aborted: {stats:?}"),
        }
    }
}

type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;

/// A client that keeps how its task ended.
struct KeepEnd {
    stop: Arc<AtomicBool>,
    on_event: OnEvent,
    ended: Mutex<Sender<End>>,
}

impl KeepEnd {
    fn end(&self, end: End) {
        self.ended.lock().unwrap().send(end).unwrap();
    }
}

impl Client for KeepEnd {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: Event) {
        (self.on_event)(&event);
    }

    fn on_end(&self, stats: RunStats) {
        self.end(End::Ended(stats));
    }

    fn on_abort(&self, stats: RunStats) {
        self.end(End::Aborted(stats));
    }
}

/// A task that reads pages of a file, and where its end is told.
fn task(
    store: &dyn Store,
    (path, pages): (&Path, &str),
    stop: &Arc<AtomicBool>,
    on_event: impl Fn(&Event) + Send + Sync + 'static,
) -> (Task<'static>, Receiver<End>) {
    let request = Request {
        paths: vec![path.to_owned()],
        pages: pages.parse::<PageSet>().unwrap(),
        ..Request::default()
    };
    let inputs = discover(&request, Some(store as &dyn Catalogue), PROFILES).unwrap();
    let (ended, end) = channel();
    let client = KeepEnd {
        stop: stop.clone(),
        on_event: Box::new(on_event),
        ended: Mutex::new(ended),
    };
    let task = Task {
        inputs: Cow::Owned(inputs.items),
        client: Box::new(client),
    };
    (task, end)
}

/// A task that reads a whole file.
fn whole(store: &dyn Store, path: &Path) -> (Task<'static>, Receiver<End>) {
    task(store, (path, "all"), &Arc::default(), |_| ())
}

fn end(of: &Receiver<End>) -> End {
    of.recv_timeout(PATIENCE).unwrap()
}

/// Runs a flow that takes what `feed` gives, until `feed` has returned and dropped the sender.
fn flow(
    pipe: &FakePipeline,
    feed: impl FnOnce(&dyn Store, Sender<Task<'static>>),
) -> Result<(), pipeline::Error> {
    let store = pipe.store(Mode::Write);
    let settings = pipe.settings();
    let (tasks, source) = channel();
    thread::scope(|scope| {
        let components = pipe.components(&*store);
        let flow = scope.spawn(|| pipeline::run(components, &settings, source));
        feed(&*store, tasks);
        flow.join().unwrap()
    })
}

/// Gives `second` to the flow while the file of the first task is open.
fn give_when_opened(
    tasks: &Sender<Task<'static>>,
    second: Task<'static>,
) -> impl Fn(&Event) + Send + Sync + 'static {
    let second = Mutex::new(Some((tasks.clone(), second)));
    move |event| {
        if let Event::Opened { .. } = event
            && let Some((tasks, second)) = second.lock().unwrap().take()
        {
            tasks.send(second).unwrap();
        }
    }
}

#[test]
fn a_task_given_while_another_runs_shares_its_batches_and_the_model() {
    let pipe = FakePipeline::new();
    let (a, b) = (
        pipe.write("a.pdf", "0 10 20 30 40"),
        pipe.write("b.pdf", "50 60 70"),
    );
    flow(&pipe, |store, tasks| {
        let (second, of_b) = whole(store, &b);
        let on_event = give_when_opened(&tasks, second);
        let (first, of_a) = task(store, (&a, "all"), &Arc::default(), on_event);
        tasks.send(first).unwrap();
        drop(tasks);
        let ends = [end(&of_a), end(&of_b)];
        assert_eq!(ends.each_ref().map(End::counts), [(5, 5), (3, 3)]);
        let batches = ends.map(|end| match end {
            End::Ended(stats) => stats.batches.iter().map(|batch| batch.pages).collect(),
            End::Aborted(_) => Vec::new(),
        });
        assert_eq!(batches, [vec![4, 1], vec![3]]);
    })
    .unwrap();
    let batches = pipe.batches.lock().unwrap();
    assert_eq!(*batches, [[0, 10, 20, 30], [40, 50, 60, 70]]);
    assert_eq!(pipe.opened.load(Ordering::Relaxed), 1);
    assert_eq!(pipe.best_hit(60), "b.pdf, page 2");
}

#[test]
fn two_ranges_of_a_manual_are_tasks_of_their_own() {
    let pipe = FakePipeline::new();
    let a = pipe.write("a.pdf", "0 10 20 x 40 50");
    flow(&pipe, |store, tasks| {
        let [(first, of_first), (second, of_second)] =
            ["1-2", "3-5"].map(|pages| task(store, (&a, pages), &Arc::default(), |_| ()));
        tasks.send(first).unwrap();
        tasks.send(second).unwrap();
        drop(tasks);
        assert_eq!(end(&of_first).counts(), (2, 2));
        let End::Ended(stats) = end(&of_second) else {
            panic!("aborted");
        };
        let manual = &stats.manuals[0];
        assert_eq!((manual.stored, manual.pages), (2, 3));
        assert_eq!((manual.failed.len(), manual.failed[0].page), (1, 4));
    })
    .unwrap();
    assert_eq!(*pipe.batches.lock().unwrap(), [[0, 10, 20, 40]]);
    assert_eq!(pipe.pages().len(), 4);
}

#[test]
fn a_task_ends_when_its_last_page_is_stored_and_the_flow_stays_open() {
    let pipe = FakePipeline::new();
    let a = pipe.write("a.pdf", "0 10 20 30 40");
    flow(&pipe, |store, tasks| {
        // Its last page does not fill a batch, and no other task does.
        let (first, of_a) = whole(store, &a);
        tasks.send(first).unwrap();
        assert_eq!(end(&of_a).counts(), (5, 5));
        assert_eq!(pipe.pages().len(), 5);
        let last_run = pipe.store(Mode::Read).manuals().unwrap().remove(0).last_run;
        assert_eq!(last_run.unwrap().stored, 5);
        // What is stored is found by the next task.
        pipe.write("a.pdf", "0 10 20 33");
        let (second, of_a) = whole(store, &a);
        tasks.send(second).unwrap();
        let End::Ended(stats) = end(&of_a) else {
            panic!("aborted");
        };
        assert_eq!((stats.manuals[0].stored, stats.manuals[0].kept), (4, 3));
        assert_eq!(pipe.pages().last().unwrap(), "a.pdf gray 33");
        assert_eq!(stats.load, 0.0, "the model was there");
    })
    .unwrap();
    assert_eq!(pipe.opened.load(Ordering::Relaxed), 1);
}

#[test]
fn a_stopped_task_leaves_the_others_whole() {
    let pipe = FakePipeline {
        delays: (Duration::ZERO, Duration::from_millis(5)),
        ..FakePipeline::new()
    };
    let (a, b) = (
        pipe.write("a.pdf", &gray_levels(60)),
        pipe.write("b.pdf", &gray_levels(9)),
    );
    flow(&pipe, |store, tasks| {
        let stop = Arc::new(AtomicBool::new(false));
        let (second, of_b) = whole(store, &b);
        let to_stop = stop.clone();
        let (first, of_a) = task(store, (&a, "all"), &stop, move |event| {
            if let Event::Done(Stage::Store, _) = event {
                to_stop.store(true, Ordering::Relaxed);
            }
        });
        tasks.send(first).unwrap();
        tasks.send(second).unwrap();
        drop(tasks);
        let End::Ended(stats) = end(&of_a) else {
            panic!("aborted");
        };
        let stored = stats.manuals[0].stored;
        assert!(stats.stopped && (4..=16).contains(&stored), "{stored}");
        let End::Ended(stats) = end(&of_b) else {
            panic!("aborted");
        };
        assert_eq!((stats.manuals[0].stored, stats.exit_code()), (9, 0));
    })
    .unwrap();
}

#[test]
fn a_file_that_cannot_be_read_does_not_end_the_flow() {
    let pipe = FakePipeline::new();
    let (a, b) = (pipe.write("a.pdf", "torn"), pipe.write("b.pdf", "0 10"));
    flow(&pipe, |store, tasks| {
        let (first, of_a) = whole(store, &a);
        tasks.send(first).unwrap();
        let End::Ended(stats) = end(&of_a) else {
            panic!("aborted");
        };
        let why = stats.manuals[0].error.as_deref();
        assert_eq!(why, Some("not a readable PDF"));
        let (second, of_b) = whole(store, &b);
        tasks.send(second).unwrap();
        assert_eq!(end(&of_b).counts(), (2, 2));
    })
    .unwrap();
}

#[test]
fn a_flow_that_is_ended_stores_what_it_has_taken() {
    let pipe = FakePipeline {
        delays: (Duration::from_millis(2), Duration::from_millis(2)),
        ..FakePipeline::new()
    };
    // Of different lengths: the same bytes would be copies of a file that may be stored by then.
    let files = [("a.pdf", 9), ("b.pdf", 10), ("c.pdf", 11)];
    let files = files.map(|(name, pages)| pipe.write(name, &gray_levels(pages)));
    let mut ends = Vec::new();
    flow(&pipe, |store, tasks| {
        for file in &files {
            let (task, end) = whole(store, file);
            tasks.send(task).unwrap();
            ends.push(end);
        }
    })
    .unwrap();
    // All of them had ended when the flow returned.
    let ends: Vec<_> = ends.iter().map(|end| end.try_recv().unwrap()).collect();
    assert_eq!(
        ends.iter().map(End::counts).collect::<Vec<_>>(),
        [(9, 9), (10, 10), (11, 11)]
    );
    assert_eq!(pipe.pages().len(), 30);
}

#[test]
fn a_flow_whose_model_fails_ends_although_more_tasks_could_come() {
    let pipe = FakePipeline {
        max_batch: 0,
        ..FakePipeline::new()
    };
    let a = pipe.write("a.pdf", "0 10");
    let mut open = None;
    let result = flow(&pipe, |store, tasks| {
        let (first, of_a) = whole(store, &a);
        tasks.send(first).unwrap();
        open = Some(tasks);
        let End::Aborted(stats) = end(&of_a) else {
            panic!("two pages have no verdict");
        };
        assert_eq!((stats.manuals[0].stored, stats.manuals[0].pages), (0, 2));
    });
    assert!(
        matches!(result, Err(pipeline::Error::Embed(_))),
        "{result:?}"
    );
}
