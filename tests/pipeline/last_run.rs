//! What the store keeps of the last run of each manual.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use ingest::pipeline::Event;
use ingest::store::{LastRun, Mode};

use crate::fakes::{FakePipeline, gray_levels};

/// The last run of a stored manual.
fn last_run(pipeline: &FakePipeline, manual: &str) -> Option<LastRun> {
    let manuals = pipeline.store(Mode::Read).manuals().unwrap();
    let found = manuals.into_iter().find(|m| m.card.id.as_str() == manual);
    found?.last_run
}

#[test]
fn the_last_run_of_each_manual_is_recorded() {
    let delay = Duration::from_millis(20);
    let pipeline = FakePipeline {
        delays: (delay, delay),
        ..FakePipeline::new()
    };
    let a = pipeline.write("a.txt", "10 torn 20 255 30");
    let b = pipeline.write("b.txt", "40 50");
    let before = SystemTime::now();
    let stats = pipeline.run(&[&a, &b]);
    let run = last_run(&pipeline, "a.txt").unwrap();
    assert_eq!((run.stored, run.failed), (3, 2));
    let mut failed = stats.manuals[0].failed.clone();
    failed.sort_by_key(|failed| failed.page);
    assert_eq!(run.failures, failed);
    assert_eq!(run.failures[0].page, 2);
    let since = before.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!((since.as_secs()..since.as_secs() + 60).contains(&run.ended));
    // Four pages are embedded and five rendered.
    assert!(run.seconds.embed >= 0.08 && run.seconds.render >= 0.1);
    assert!(run.pages_per_second > 0.0 && run.pages_per_second < 3.0 / 0.1);
    let of_b = last_run(&pipeline, "b.txt").unwrap();
    assert_eq!((of_b.stored, of_b.failed), (2, 0));
    // Both are in the store; the failed pages are tried again, the other manual is unchanged.
    pipeline.run(&[&a, &b]);
    let again = last_run(&pipeline, "a.txt").unwrap();
    assert_eq!((again.stored, again.failed), (0, 2));
    assert_eq!(again.pages_per_second, 0.0);
    assert_eq!(last_run(&pipeline, "b.txt"), Some(of_b));
}

#[test]
fn unchanged_and_moved_manuals_keep_their_record() {
    let pipeline = FakePipeline::new();
    let a = pipeline.write("a.txt", "10 20");
    pipeline.run(&[&a]);
    let run = last_run(&pipeline, "a.txt");
    assert!(run.is_some());
    let moved = pipeline.write("moved/b.txt", "10 20");
    std::fs::remove_file(&a).unwrap();
    let stats = pipeline.run(&[&moved]);
    assert_eq!(stats.manuals[0].unchanged, 2);
    assert_eq!(last_run(&pipeline, "a.txt"), run);
    // A file that cannot be opened processes nothing.
    std::fs::write(&moved, "torn").unwrap();
    assert!(pipeline.run(&[&moved]).manuals[0].error.is_some());
    assert_eq!(last_run(&pipeline, "a.txt"), run);
}

#[test]
fn a_hundred_failed_pages_are_named_and_all_counted() {
    let pipeline = FakePipeline::new();
    let a = pipeline.write("a.txt", &format!("10 {}", "torn ".repeat(150)));
    pipeline.run(&[&a]);
    let run = last_run(&pipeline, "a.txt").unwrap();
    assert_eq!((run.stored, run.failed), (1, 150));
    let named: Vec<u32> = run.failures.iter().map(|failed| failed.page).collect();
    assert!(named.into_iter().eq(2..=101));
}

#[test]
fn a_manual_is_recorded_when_it_is_finished_or_stopped() {
    let pipeline = FakePipeline {
        delays: (Duration::from_millis(5), Duration::ZERO),
        batch: 1,
        ..FakePipeline::new()
    };
    let a = pipeline.write("a.txt", "10 20");
    let b = pipeline.write("b.txt", &gray_levels(60));
    let stop = |event: Event| {
        // The first one is finished long before the second one.
        if let Event::Opened { manual, .. } = event
            && manual.as_str() == "b.txt"
        {
            let recorded = || last_run(&pipeline, "a.txt").is_some();
            while !recorded() {
                std::thread::sleep(Duration::from_millis(5));
            }
            pipeline.stop.store(true, Ordering::Relaxed);
        }
    };
    let (stats, result) = pipeline.try_run(&[&a, &b], &stop);
    result.unwrap();
    assert!(stats.stopped && stats.manuals[1].stored < 60);
    let run = last_run(&pipeline, "a.txt").unwrap();
    assert_eq!((run.stored, run.failed), (2, 0));
}

#[test]
fn a_record_that_cannot_be_written_is_one_warning() {
    let pipeline = FakePipeline::new();
    let a = pipeline.write("a.txt", "10 20");
    pipeline.run(&[&a]);
    let recorded = last_run(&pipeline, "a.txt");
    let file = rusqlite::Connection::open(pipeline.folder.path().join("library.db")).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE OF last_run ON manual BEGIN SELECT RAISE(ABORT, 'no room'); END;";
    file.execute_batch(refuse).unwrap();
    drop(file);
    pipeline.write("a.txt", "10 20 30");
    let b = pipeline.write("b.txt", "40");
    let warnings = Mutex::new(Vec::new());
    let (stats, result) = pipeline.try_run(&[&a, &b], &|event| {
        if let Event::RunNotRecorded { why, .. } = event {
            warnings.lock().unwrap().push(why);
        }
    });
    result.unwrap();
    assert_eq!((stats.exit_code(), stats.total(|m| m.stored)), (0, 4));
    let warnings = warnings.into_inner().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("no room"), "{warnings:?}");
    assert_eq!(last_run(&pipeline, "a.txt"), recorded);
}
