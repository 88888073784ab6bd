//! The ingest pipeline with a fake renderer and a fake model on the real store: no PDFium, no weights.
//!
//! A manual is a text file of gray levels, one per page (`x` is a page that cannot be rendered). A page is embedded as
//! one row: the unit vector e_k, k = gray level / 2; the query `gray 100` is e_50.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod fakes;
mod flow;
mod last_run;
mod notes;
mod twins;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest::batch::Limits;
use ingest::embed::{self};
use ingest::patch::Prepare;
use ingest::pipeline::{self, Components, Event, Request, Settings, Stage, discover, ingest};
use ingest::store::{self, Catalogue, Mode};

use fakes::{FakePipeline, PROFILES, gray_levels};

#[test]
fn every_page_is_stored_and_can_be_found() {
    let pipe = FakePipeline::new();
    let (a, b) = (
        pipe.write("a.pdf", "0 10 20 30 40"),
        pipe.write("b.pdf", "50 60"),
    );
    let stats = pipe.run(&[&a, &b]);
    assert_eq!(
        (
            stats.total(|m| m.pages),
            stats.total(|m| m.stored),
            stats.exit_code()
        ),
        (7, 7, 0)
    );
    assert_eq!(pipe.best_hit(30), "a.pdf, page 4");
    assert_eq!(pipe.best_hit(60), "b.pdf, page 2");
}

#[test]
fn failed_pages_and_manuals_are_reported_and_the_rest_is_stored() {
    let pipe = FakePipeline::new();
    let (a, torn) = (
        pipe.write("a.pdf", "0 x 20 255"),
        pipe.write("torn.pdf", "torn"),
    );
    let missing = pipe.folder.path().join("missing.pdf");
    let stats = pipe.run(&[&missing, &torn, &a]);
    assert_eq!(stats.exit_code(), 1);
    let [unreadable, torn, a] = &stats.manuals[..] else {
        panic!("three manuals")
    };
    assert!(
        unreadable
            .error
            .as_ref()
            .unwrap()
            .starts_with("cannot be read: No such file")
    );
    assert_eq!(torn.error.as_deref(), Some("not a readable PDF"));
    let failed: Vec<_> = a
        .failed
        .iter()
        .map(|f| (f.page, f.reason.as_str()))
        .collect();
    assert_eq!(a.stored, 2);
    assert_eq!(failed[0], (2, "cannot be rendered: torn out"));
    assert_eq!(failed[1].0, 4);
    let nothing = FakePipeline::new();
    assert_eq!(nothing.run(&[&missing]).exit_code(), 2);
}

#[test]
fn unchanged_manual_opens_neither_renderer_nor_model() {
    let pipe = FakePipeline::new();
    let a = pipe.write("a.pdf", "0 10 20");
    pipe.run(&[&a]);
    let store = pipe.store(Mode::Write);
    let request = Request {
        paths: vec![a],
        ..Request::default()
    };
    let jobs = discover(&request, Some(&*store as &dyn Catalogue), PROFILES).unwrap();
    let components = Components {
        renderer: Box::new(|| panic!("the renderer was opened")),
        embedder: Box::new(|| panic!("the model was opened")),
        meaning: None,
        store: &*store,
    };
    let settings = Settings {
        prepare: Prepare::Gray { pixels: 4096 },
        render: "paper".into(),
        reads_with: None,
        limits: Limits {
            pages: 4,
            cost: u64::MAX,
        },
        queue: 2,
    };
    let (stats, result) = ingest(
        components,
        &jobs,
        &settings,
        &AtomicBool::new(false),
        &|_| (),
    );
    result.unwrap();
    assert_eq!((stats.manuals[0].unchanged, stats.exit_code()), (3, 0));
}

#[test]
fn changed_manual_embeds_only_changed_pages() {
    let pipe = FakePipeline::new();
    let a = pipe.write("a.pdf", "0 10 20 30");
    pipe.run(&[&a]);
    pipe.write("a.pdf", "0 12 20");
    let stats = pipe.run(&[&a]);
    assert_eq!((stats.manuals[0].stored, stats.manuals[0].kept), (3, 2));
    assert_eq!(pipe.embedded.load(Ordering::Relaxed), 4 + 1);
    assert_eq!(
        pipe.pages(),
        ["a.pdf gray 0", "a.pdf gray 12", "a.pdf gray 20"]
    );
    pipe.write("a.pdf", "0 x 20");
    assert_eq!(pipe.run(&[&a]).exit_code(), 1);
    assert_eq!(
        pipe.pages(),
        ["a.pdf gray 0", "a.pdf gray 20"],
        "a failed page removes the stale one"
    );
    assert_eq!(
        pipe.run(&[&a]).manuals[0].unchanged,
        2,
        "only the failed page is rendered again"
    );
}

#[test]
fn manual_ids_survive_moves_and_distinguish_equal_names() {
    let pipe = FakePipeline::new();
    let (a, copy, other) = (
        pipe.write("a.pdf", "0 10"),
        pipe.write("copy/a.pdf", "0 10"),
        pipe.write("b/a.pdf", "4"),
    );
    let stats = pipe.run(&[&a, &copy, &other]);
    let names: Vec<_> = stats.manuals.iter().map(|m| m.manual.as_str()).collect();
    let copy = copy.display().to_string();
    assert_eq!(
        names,
        ["a.pdf", copy.as_str(), "b/a.pdf"],
        "equal names are distinguished"
    );
    assert_eq!(stats.manuals[1].same_as.as_deref(), Some("a.pdf"));
    let moved = pipe.folder.path().join("moved.pdf");
    fs::rename(&a, &moved).unwrap();
    let stats = pipe.run(&[&moved]);
    assert_eq!(
        (stats.manuals[0].manual.as_str(), stats.manuals[0].unchanged),
        ("a.pdf", 2)
    );
    let manuals = pipe.store(Mode::Read).manuals().unwrap();
    assert_eq!(manuals[0].card.path, moved);
}

#[test]
fn batch_is_halved_when_out_of_memory() {
    let pipe = FakePipeline {
        batch: 8,
        max_batch: 3,
        ..FakePipeline::new()
    };
    let a = pipe.write("a.pdf", &gray_levels(20));
    let shrunk = std::sync::Mutex::new(Vec::new());
    let (stats, result) = pipe.try_run(&[&a], &|event| {
        if let Event::BatchSizeReduced(pages) = event {
            shrunk.lock().unwrap().push(pages);
        }
    });
    result.unwrap();
    assert_eq!(stats.manuals[0].stored, 20);
    assert_eq!(
        *shrunk.lock().unwrap(),
        [2],
        "reduced once; later batches fit"
    );
    let too_small = FakePipeline {
        batch: 2,
        max_batch: 0,
        ..FakePipeline::new()
    };
    let a = too_small.write("a.pdf", "0 10");
    let (_, result) = too_small.try_run(&[&a], &|_| ());
    assert!(
        matches!(
            result,
            Err(pipeline::Error::Embed(embed::Error::OutOfMemory(_)))
        ),
        "one page does not fit"
    );
}

#[test]
fn stop_finishes_the_current_batch_and_a_rerun_the_rest() {
    let pipe = FakePipeline {
        delays: (Duration::ZERO, Duration::from_millis(5)),
        ..FakePipeline::new()
    };
    let a = pipe.write("a.pdf", &gray_levels(60));
    let (stats, result) = pipe.try_run(&[&a], &|event| {
        if let Event::Done(Stage::Store, _) = event {
            pipe.stop.store(true, Ordering::Relaxed);
        }
    });
    result.unwrap();
    let stored = stats.manuals[0].stored as usize;
    assert!(
        stats.stopped && stats.exit_code() == 1 && (4..=16).contains(&stored),
        "{stored} stored"
    );
    assert_eq!(pipe.pages().len(), stored);
    pipe.stop.store(false, Ordering::Relaxed);
    let stats = pipe.run(&[&a]);
    assert_eq!(
        (stats.manuals[0].unchanged as usize, pipe.pages().len()),
        (stored, 60)
    );
}

#[test]
fn full_store_ends_the_run_and_keeps_stored_pages() {
    let pipe = FakePipeline {
        limit: Some(250_000),
        ..FakePipeline::new()
    };
    let a = pipe.write("a.pdf", &gray_levels(120));
    let (stats, result) = pipe.try_run(&[&a], &|_| ());
    assert!(
        matches!(
            result,
            Err(pipeline::Error::Store(store::Error::Full { .. }))
        ),
        "{result:?}"
    );
    assert_eq!(pipe.pages().len(), stats.manuals[0].stored as usize);
    let unlimited = FakePipeline {
        limit: None,
        ..pipe
    };
    unlimited.run(&[&a]);
    assert_eq!(unlimited.pages().len(), 120);
}

/// Returns the wall time divided by the busy time of the slowest stage.
fn overhead((render, embed): (Duration, Duration)) -> f64 {
    let pages = 100;
    let pipe = FakePipeline {
        delays: (render, embed),
        batch: 2,
        ..FakePipeline::new()
    };
    let a = pipe.write("a.pdf", &gray_levels(pages));
    let stats = pipe.run(&[&a]);
    let slowest = Stage::ALL
        .map(|stage| stats.seconds(stage))
        .into_iter()
        .fold(0.0, f64::max);
    assert!(
        slowest >= render.max(embed).as_secs_f64() * pages as f64,
        "the stage slept for {slowest:.2} s"
    );
    stats.wall / slowest
}

#[test]
fn wall_time_is_that_of_the_slowest_stage() {
    let slow = Duration::from_millis(25);
    for delays in [(slow, slow / 3), (slow / 3, slow)] {
        // The best of three: a short stall of the machine is not measured.
        let best = (0..3)
            .map(|_| overhead(delays))
            .fold(f64::INFINITY, f64::min);
        assert!(best <= 1.05, "{best:.3} times the slowest stage");
    }
}
