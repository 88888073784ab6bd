//! What a run says about pages: many with one cause are one line, and a file that changes is nobody's fault.

use std::fs;
use std::sync::Mutex;

use ingest::pipeline::{Event, PageNote, Stage};

use crate::fakes::{FakePipeline, gray_levels};

#[test]
fn pages_that_failed_for_the_same_reason_are_one_line() {
    let pipe = FakePipeline::new();
    let a = pipe.write("a.pdf", "0 x x x 20 x 255");
    let lines = Mutex::new(Vec::new());
    let (stats, result) = pipe.try_run(&[&a], &|event| {
        if let Event::Pages {
            pages, count, note, ..
        } = event
        {
            let PageNote::Failed(error) = note else {
                panic!("{note:?}")
            };
            lines
                .lock()
                .unwrap()
                .push((pages.to_string(), count, error.to_string()));
        }
    });
    result.unwrap();
    assert_eq!(
        (stats.manuals[0].stored, stats.manuals[0].failed.len()),
        (2, 5)
    );
    let lines = lines.into_inner().unwrap();
    assert_eq!(
        lines[0],
        (
            "2-4, 6".to_owned(),
            4,
            "cannot be rendered: torn out".to_owned()
        )
    );
    assert_eq!((lines.len(), lines[1].0.as_str()), (2, "7"));
}

#[test]
fn file_that_changes_while_it_is_read_is_one_line_and_the_next_run_mends_it() {
    for changed in ["", "0", "torn", "7 9 11 x", &gray_levels(40)] {
        let pipe = FakePipeline::new();
        let a = pipe.write("a.pdf", &gray_levels(60));
        let lines = Mutex::new(Vec::new());
        let (stats, result) = pipe.try_run(&[&a], &|event| match event {
            Event::Done(Stage::Render, _) => fs::write(&a, changed).unwrap(),
            Event::ManualFailed { why, .. } => lines.lock().unwrap().push(why),
            Event::Pages { note, .. } => panic!("a page is blamed: {note:?}"),
            _ => {}
        });
        result.unwrap();
        let lines = lines.into_inner().unwrap();
        assert_eq!(
            lines,
            ["changed while it was read; run the same command again"],
            "{changed}"
        );
        let manual = &stats.manuals[0];
        assert!(manual.failed.is_empty() && manual.stored < 5, "{manual:?}");
        assert_ne!(stats.exit_code(), 0);
        // The next run with whole bytes replaces everything.
        let a = pipe.write("a.pdf", "100 110 120");
        assert_eq!(pipe.run(&[&a]).exit_code(), 0);
        assert_eq!(
            pipe.pages(),
            ["a.pdf gray 100", "a.pdf gray 110", "a.pdf gray 120"]
        );
    }
}
