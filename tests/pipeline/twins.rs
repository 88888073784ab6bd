//! Files with equal bytes: each is accounted for, and a manual keeps the path of its file while that is there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use ingest::pipeline::{Availability, Event, ManualStats, RunStats};
use ingest::store::Mode;

use crate::fakes::FakePipeline;

/// Pages, stored, unchanged and failed pages, and the manual that the file is the same as.
fn counts(manual: &ManualStats) -> (u32, u32, u32, usize, Option<&str>) {
    let failed = manual.failed.len();
    let same = manual.same_as.as_deref();
    (manual.pages, manual.stored, manual.unchanged, failed, same)
}

fn stored_paths(pipe: &FakePipeline) -> Vec<PathBuf> {
    let cards = pipe.store(Mode::Read).cards().unwrap();
    cards.into_iter().map(|card| card.path).collect()
}

/// A file given, the manual that it is the same as, and what the store has of that.
type Copy = (PathBuf, String, Availability);

fn run_with_copies(pipe: &FakePipeline, paths: &[&Path]) -> (RunStats, Vec<Copy>) {
    let said = Mutex::new(Vec::new());
    let (stats, result) = pipe.try_run(paths, &|event| {
        if let Event::SameAs {
            path,
            manual,
            availability,
        } = event
        {
            said.lock()
                .unwrap()
                .push((path, manual.to_string(), availability));
        }
    });
    result.unwrap();
    (stats, said.into_inner().unwrap())
}

#[test]
fn twin_of_a_file_that_a_stopped_run_did_not_read_is_not_called_stored() {
    let pipe = FakePipeline::new();
    let [a, b] = ["a.pdf", "b.pdf"].map(|name| pipe.write(name, "0 x"));
    pipe.stop.store(true, Ordering::Relaxed);
    let (stats, said) = run_with_copies(&pipe, &[&a, &b]);
    assert_eq!(counts(&stats.manuals[1]), (0, 0, 0, 0, Some("a.pdf")));
    assert_eq!(
        said,
        [(b.clone(), "a.pdf".to_owned(), Availability::Missing)]
    );
    pipe.stop.store(false, Ordering::Relaxed);
    pipe.run(&[&a]);
    pipe.stop.store(true, Ordering::Relaxed);
    let (_, said) = run_with_copies(&pipe, &[&a, &b]);
    assert_eq!(said, [(b, "a.pdf".to_owned(), Availability::Stored)]);
}

#[test]
fn twins_are_accounted_for_and_stored_once() {
    let pipe = FakePipeline::new();
    let names = ["a.pdf", "b.pdf", "deep/a.pdf"];
    let [a, b, c] = names.map(|name| pipe.write(name, "0 10 x"));
    let (stats, said) = run_with_copies(&pipe, &[&a, &b, &c, &a]);
    assert_eq!(counts(&stats.manuals[0]), (3, 2, 0, 1, None));
    for (twin, path) in stats.manuals[1..].iter().zip([&b, &c]) {
        assert_eq!(counts(twin), (3, 0, 2, 1, Some("a.pdf")));
        assert_eq!(twin.manual, path.display().to_string());
    }
    assert_eq!((stats.manuals.len(), stats.exit_code()), (3, 1));
    let same = |path: &Path| (path.to_owned(), "a.pdf".to_owned(), Availability::Stored);
    assert_eq!(said, [same(&b), same(&c)]);
    assert_eq!(pipe.pages(), ["a.pdf gray 0", "a.pdf gray 10"]);
    assert_eq!(stored_paths(&pipe), [a]);
}

#[test]
fn manual_keeps_its_path_while_its_file_is_there() {
    let pipe = FakePipeline::new();
    let [a, b] = ["a.pdf", "b.pdf"].map(|name| pipe.write(name, "0 10"));
    pipe.run(&[&a]);
    for paths in [&[b.as_path()][..], &[&b, &a], &[&a, &b]] {
        let stats = pipe.run(paths);
        assert!(stats.manuals.iter().all(|m| m.unchanged == 2), "{stats:?}");
        let twin = stats.manuals.iter().find(|m| m.same_as.is_some()).unwrap();
        assert_eq!(twin.manual, b.display().to_string());
        assert_eq!(stored_paths(&pipe), [a.as_path()]);
    }
    fs::remove_file(&a).unwrap();
    let stats = pipe.run(&[&b]);
    assert_eq!(counts(&stats.manuals[0]), (2, 0, 2, 0, None), "it moved");
    assert_eq!(stats.manuals[0].manual, "a.pdf");
    assert_eq!(stored_paths(&pipe), [b.as_path()]);
}

#[test]
fn copy_is_read_where_it_is_given() {
    let pipe = FakePipeline::new();
    let [a, b] = ["a.pdf", "b.pdf"].map(|name| pipe.write(name, "0 x 20"));
    assert_eq!(pipe.run(&[&a]).manuals[0].stored, 2);
    // A path that cannot be followed, as on a server that is away: whether the file is still there is unknown.
    fs::remove_file(&a).unwrap();
    symlink(&a, &a).unwrap();
    let stats = pipe.run(&[&b]);
    assert_eq!(stats.manuals[0].error, None);
    assert_eq!(counts(&stats.manuals[0]), (3, 0, 2, 1, Some("a.pdf")));
    assert_eq!(stored_paths(&pipe), [a]);
}

#[test]
fn file_with_other_bytes_at_the_old_path_is_another_manual() {
    let pipe = FakePipeline::new();
    let [a, b] = ["a.pdf", "b.pdf"].map(|name| pipe.write(name, "0 10"));
    pipe.run(&[&a]);
    pipe.write("a.pdf", "40");
    let stats = pipe.run(&[&b]);
    assert_eq!(counts(&stats.manuals[0]), (2, 0, 2, 0, None));
    assert_eq!(stored_paths(&pipe), [b.as_path()]);
    assert_eq!(pipe.run(&[&a]).manuals[0].stored, 1);
    let mut paths = stored_paths(&pipe);
    paths.sort();
    assert_eq!(paths, [a, b]);
}

#[test]
fn equal_files_that_fail_are_as_many_failures() {
    let pipe = FakePipeline::new();
    let names = ["a.pdf", "b.pdf", "c.pdf"];
    let [a, b, c] = names.map(|name| pipe.write(name, "torn"));
    let failed = Mutex::new(Vec::new());
    let (stats, result) = pipe.try_run(&[&a, &b, &c], &|event| {
        if let Event::ManualFailed { path, .. } = event {
            failed.lock().unwrap().push(path);
        }
    });
    result.unwrap();
    let why = Some("not a readable PDF");
    assert!(stats.manuals.iter().all(|m| m.error.as_deref() == why));
    assert_eq!((stats.manuals.len(), stats.exit_code()), (3, 2));
    assert_eq!(failed.into_inner().unwrap(), [a, b, c]);
}
