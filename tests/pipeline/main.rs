//! The main flow with parts that can be computed by hand, on the real store: no PDFium, no weights.
//!
//! A manual here is a text file of gray levels, one a page (`x` is a page that cannot be rendered). A page is embedded
//! as one row: the unit vector e_k, k = gray level / 2; the question `gray 100` is e_50.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod desk;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest::batch::Limits;
use ingest::embed::{self};
use ingest::page::PageSet;
use ingest::patch::Prepare;
use ingest::pipeline::{self, Components, Event, Request, Settings, Stage, discover, ingest};
use ingest::store::{self, Catalogue, Mode};

use desk::{Desk, levels};

#[test]
fn every_page_is_stored_and_found() {
    let desk = Desk::new();
    let (a, b) = (
        desk.write("a.pdf", "0 10 20 30 40"),
        desk.write("b.pdf", "50 60"),
    );
    let tally = desk.run(&[&a, &b]);
    assert_eq!(
        (
            tally.total(|m| m.pages),
            tally.total(|m| m.stored),
            tally.exit_code()
        ),
        (7, 7, 0)
    );
    assert_eq!(desk.best(30), "a.pdf, page 4");
    assert_eq!(desk.best(60), "b.pdf, page 2");
}

#[test]
fn bad_pages_and_bad_manuals_are_named_and_the_rest_is_stored() {
    let desk = Desk::new();
    let (a, torn) = (
        desk.write("a.pdf", "0 x 20 255"),
        desk.write("torn.pdf", "torn"),
    );
    let missing = desk.folder.path().join("missing.pdf");
    let tally = desk.run(&[&missing, &torn, &a]);
    assert_eq!(tally.exit_code(), 1);
    let [gone, torn, a] = &tally.manuals[..] else {
        panic!("three manuals")
    };
    assert!(
        gone.error
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
    let nothing = Desk::new();
    assert_eq!(nothing.run(&[&missing]).exit_code(), 2);
}

#[test]
fn an_unchanged_manual_opens_nothing() {
    let desk = Desk::new();
    let a = desk.write("a.pdf", "0 10 20");
    desk.run(&[&a]);
    let store = desk.store(Mode::Write);
    let request = Request {
        paths: vec![a],
        ..Request::default()
    };
    let jobs = discover(&request, Some(&*store as &dyn Catalogue), "paper").unwrap();
    let parts = Components {
        renderer: Box::new(|| panic!("the renderer was opened")),
        embedder: Box::new(|| panic!("the model was opened")),
        store: &*store,
    };
    let settings = Settings {
        prepare: Prepare::Gray { pixels: 4096 },
        render: "paper".into(),
        pages: PageSet::all(),
        limits: Limits {
            pages: 4,
            cost: u64::MAX,
        },
        queue: 2,
    };
    let (tally, result) = ingest(parts, &jobs, &settings, &AtomicBool::new(false), &|_| ());
    result.unwrap();
    assert_eq!((tally.manuals[0].unchanged, tally.exit_code()), (3, 0));
}

#[test]
fn a_changed_manual_embeds_only_what_changed() {
    let desk = Desk::new();
    let a = desk.write("a.pdf", "0 10 20 30");
    desk.run(&[&a]);
    desk.write("a.pdf", "0 12 20");
    let tally = desk.run(&[&a]);
    assert_eq!((tally.manuals[0].stored, tally.manuals[0].kept), (3, 2));
    assert_eq!(desk.seen.load(Ordering::Relaxed), 4 + 1);
    assert_eq!(
        desk.pages(),
        ["a.pdf gray 0", "a.pdf gray 12", "a.pdf gray 20"]
    );
    desk.write("a.pdf", "0 x 20");
    assert_eq!(desk.run(&[&a]).exit_code(), 1);
    assert_eq!(
        desk.pages(),
        ["a.pdf gray 0", "a.pdf gray 20"],
        "a page that fails leaves no stale one behind"
    );
    assert_eq!(
        desk.run(&[&a]).manuals[0].unchanged,
        2,
        "only the failed page is tried again"
    );
}

#[test]
fn manuals_keep_their_identity() {
    let desk = Desk::new();
    let (a, twin, other) = (
        desk.write("a.pdf", "0 10"),
        desk.write("copy/a.pdf", "0 10"),
        desk.write("b/a.pdf", "4"),
    );
    let tally = desk.run(&[&a, &twin, &other]);
    let names: Vec<_> = tally.manuals.iter().map(|m| m.manual.as_str()).collect();
    assert_eq!(
        names,
        ["a.pdf", "b/a.pdf"],
        "the same bytes are one manual, others at the same name are told apart"
    );
    let moved = desk.folder.path().join("moved.pdf");
    fs::rename(&a, &moved).unwrap();
    let tally = desk.run(&[&moved]);
    assert_eq!(
        (tally.manuals[0].manual.as_str(), tally.manuals[0].unchanged),
        ("a.pdf", 2)
    );
    let shelf = desk.store(Mode::Read).manuals().unwrap();
    assert_eq!(shelf[0].card.path, moved);
}

#[test]
fn a_batch_that_does_not_fit_is_halved() {
    let desk = Desk {
        batch: 8,
        most: 3,
        ..Desk::new()
    };
    let a = desk.write("a.pdf", &levels(20));
    let shrunk = std::sync::Mutex::new(Vec::new());
    let (tally, result) = desk.try_run(&[&a], &|event| {
        if let Event::Shrunk(pages) = event {
            shrunk.lock().unwrap().push(pages);
        }
    });
    result.unwrap();
    assert_eq!(tally.manuals[0].stored, 20);
    assert_eq!(
        *shrunk.lock().unwrap(),
        [2],
        "said once; the batches after it fit"
    );
    let tiny = Desk {
        batch: 2,
        most: 0,
        ..Desk::new()
    };
    let a = tiny.write("a.pdf", "0 10");
    let (_, result) = tiny.try_run(&[&a], &|_| ());
    assert!(
        matches!(
            result,
            Err(pipeline::Error::Embed(embed::Error::OutOfMemory(_)))
        ),
        "one page does not fit"
    );
}

#[test]
fn a_stop_finishes_the_batch_in_hand_and_a_re_run_the_rest() {
    let desk = Desk {
        delays: (Duration::ZERO, Duration::from_millis(5)),
        ..Desk::new()
    };
    let a = desk.write("a.pdf", &levels(60));
    let (tally, result) = desk.try_run(&[&a], &|event| {
        if let Event::Done(Stage::Store, _) = event {
            desk.stop.store(true, Ordering::Relaxed);
        }
    });
    result.unwrap();
    let stored = tally.manuals[0].stored as usize;
    assert!(
        tally.stopped && tally.exit_code() == 1 && (4..=16).contains(&stored),
        "{stored} stored"
    );
    assert_eq!(desk.pages().len(), stored);
    desk.stop.store(false, Ordering::Relaxed);
    let tally = desk.run(&[&a]);
    assert_eq!(
        (tally.manuals[0].unchanged as usize, desk.pages().len()),
        (stored, 60)
    );
}

#[test]
fn a_full_store_ends_the_run_and_keeps_what_it_has() {
    let desk = Desk {
        limit: Some(250_000),
        ..Desk::new()
    };
    let a = desk.write("a.pdf", &levels(120));
    let (tally, result) = desk.try_run(&[&a], &|_| ());
    assert!(
        matches!(
            result,
            Err(pipeline::Error::Store(store::Error::Full { .. }))
        ),
        "{result:?}"
    );
    assert_eq!(desk.pages().len(), tally.manuals[0].stored as usize);
    let roomy = Desk {
        limit: None,
        ..desk
    };
    roomy.run(&[&a]);
    assert_eq!(roomy.pages().len(), 120);
}

/// Wall time over the time of the slowest stage.
fn batch_policy((render, embed): (Duration, Duration)) -> f64 {
    let pages = 100;
    let desk = Desk {
        delays: (render, embed),
        batch: 2,
        ..Desk::new()
    };
    let a = desk.write("a.pdf", &levels(pages));
    let tally = desk.run(&[&a]);
    let slowest = Stage::ALL
        .map(|stage| tally.seconds(stage))
        .into_iter()
        .fold(0.0, f64::max);
    assert!(
        slowest >= render.max(embed).as_secs_f64() * pages as f64,
        "the stage slept for {slowest:.2} s"
    );
    tally.wall / slowest
}

#[test]
fn the_slowest_stage_sets_the_pace() {
    let slow = Duration::from_millis(25);
    for delays in [(slow, slow / 3), (slow / 3, slow)] {
        // The best of three: a machine that stands still for a moment is not the pipeline's fault.
        let best = (0..3)
            .map(|_| batch_policy(delays))
            .fold(f64::INFINITY, f64::min);
        assert!(best <= 1.05, "{best:.3} times the slowest stage");
    }
}
