//! Damaged files of many kinds: the program neither crashes nor hangs, accounts for every file, and what it stored is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mutate::{self, Mutant};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::seeds;

/// Damaged files; another number is set in this environment variable.
const COUNT: usize = 200;
const COUNT_VARIABLE: &str = "INGEST_TEST_MUTATIONS";
/// Files of one run.
const BATCH: usize = 50;
/// A run takes some seconds.
const DEADLINE: Duration = Duration::from_secs(240);
/// Some mutants draw themselves a million times; such a page is given up after these seconds.
const RENDER_DEADLINE: &str = "5";
const DEADLINE_VARIABLE: &str = "INGEST_RENDER_DEADLINE_S";
/// A busy machine may need longer than that to open a file; these seconds are enough.
const OPEN_DEADLINE: &str = "100";
/// What is said about a file that was not opened in time.
const SLOW: &str = "took longer";

#[test]
fn damaged_files_neither_crash_nor_hang_a_run() {
    let count = std::env::var(COUNT_VARIABLE).map_or(COUNT, |text| text.parse().unwrap());
    let seeds = seeds::all();
    for first in (0..count).step_by(BATCH) {
        let numbers = first..count.min(first + BATCH);
        let batch: Vec<Mutant> = numbers.map(|n| mutate::mutant(n, &seeds)).collect();
        let mut sandbox = Sandbox::tiny().with(DEADLINE_VARIABLE, RENDER_DEADLINE);
        // The files stay if an assertion fails, to be looked at; its message names the folder.
        sandbox.folder.disable_cleanup(true);
        check(&sandbox, &batch);
        sandbox.folder.disable_cleanup(false);
    }
}

fn check(sandbox: &Sandbox, batch: &[Mutant]) {
    let place = sandbox.folder.path().display();
    let paths: Vec<String> = batch
        .iter()
        .map(|mutant| {
            let path = sandbox.write(&mutant.name, &mutant.bytes);
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let done = ingest(sandbox, &paths);
    assert!(
        (0..=2).contains(&done.code) && !done.err.contains("panicked"),
        "crashed with exit code {} in {place}:\n{}",
        done.code,
        done.err
    );
    let report = done.json();
    let manuals = report["manuals"].as_array().unwrap();
    accounts_for(&paths, manuals, &done);
    slow_files_end(sandbox, manuals);
    let stored = stored_pages(manuals);
    let code = match (failed(manuals), stored.is_empty()) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => 2,
    };
    assert_eq!(done.code, code, "in {place}:\n{}", done.err);
    assert_eq!(listed(sandbox), stored, "listed as stored, in {place}");
    found(sandbox, &stored);
}

/// Indexes the files, and fails when that does not end.
fn ingest(sandbox: &Sandbox, paths: &[String]) -> CommandOutput {
    let place = sandbox.folder.path().display();
    let args: Vec<&str> = paths
        .iter()
        .map(String::as_str)
        .chain(["--password", "secret", "--json"])
        .collect();
    let output = |name: &str| File::create(sandbox.path(name)).unwrap();
    let mut command = sandbox.command(&args);
    command.stdout(output("stdout")).stderr(output("stderr"));
    let (mut child, start) = (command.spawn().unwrap(), Instant::now());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("no end after {} s in {place}", DEADLINE.as_secs());
        }
        sleep(Duration::from_millis(20));
    };
    let text = |name: &str| fs::read_to_string(sandbox.path(name)).unwrap();
    CommandOutput {
        code: status.code().unwrap_or(-1),
        out: text("stdout"),
        err: text("stderr"),
    }
}

/// Every file has one record: an error that stderr has as well, or as many pages stored and failed as it has. No render worker
/// crashed.
fn accounts_for(paths: &[String], manuals: &[Value], done: &CommandOutput) {
    let reported: Vec<String> = manuals.iter().map(|m| text(&m["path"])).collect();
    assert_eq!(reported, paths);
    let ended = ["crashed", "exited"];
    let fine = |why: &Value| !ended.iter().any(|word| text(why).contains(word));
    for manual in manuals {
        let path = text(&manual["path"]);
        let pages = manual["pages"].as_u64().unwrap();
        let failed = manual["failed"].as_array().unwrap();
        if manual["error"].is_null() {
            let stored = manual["stored"].as_u64().unwrap();
            assert_eq!(stored + failed.len() as u64, pages, "{manual}");
            assert!(pages > 0, "{manual}");
        } else {
            assert!(done.err.contains(&path), "{path} is not in\n{}", done.err);
            assert!(fine(&manual["error"]), "{manual}");
        }
        assert!(failed.iter().all(|page| fine(&page["reason"])), "{manual}");
    }
}

/// A file that was not opened in time is opened, or refused, when there is more.
fn slow_files_end(sandbox: &Sandbox, manuals: &[Value]) {
    let slow = |m: &&Value| m["error"].as_str().is_some_and(|why| why.contains(SLOW));
    for manual in manuals.iter().filter(slow) {
        let path = text(&manual["path"]);
        let args = [path.as_str(), "--password", "secret", "--dry-run"];
        let mut command = sandbox.command(&args);
        let done: CommandOutput = command
            .env(DEADLINE_VARIABLE, OPEN_DEADLINE)
            .output()
            .unwrap()
            .into();
        assert!((0..=1).contains(&done.code), "{path}: {}", done.err);
        let said = done.out + &done.err;
        let ended = [SLOW, "crashed", "exited"];
        assert!(!ended.iter().any(|word| said.contains(word)), "{said}");
    }
}

fn failed(manuals: &[Value]) -> bool {
    manuals
        .iter()
        .any(|m| !m["error"].is_null() || !m["failed"].as_array().unwrap().is_empty())
}

/// Number of stored pages by manual, from the report of the run; without those that have none.
fn stored_pages(manuals: &[Value]) -> BTreeMap<String, u64> {
    let count = |m: &Value| (text(&m["manual"]), m["stored"].as_u64().unwrap());
    let all = manuals.iter().map(count);
    all.filter(|(_, stored)| *stored > 0).collect()
}

/// The same from `ingest list`.
fn listed(sandbox: &Sandbox) -> BTreeMap<String, u64> {
    let list = sandbox.run(&["list", "--json"]);
    assert_eq!(list.code, 0, "{}", list.err);
    let list = list.json();
    let count = |m: &Value| (text(&m["id"]), m["stored"].as_u64().unwrap());
    list.as_array().unwrap().iter().map(count).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A search by images returns every stored page once.
fn found(sandbox: &Sandbox, stored: &BTreeMap<String, u64>) {
    let count = stored.values().sum::<u64>().to_string();
    let args = ["--visual", "-k", &count];
    let answers = sandbox.search(&["second page".to_owned()], &args);
    let hits = answers[0].as_array().unwrap();
    let pages: BTreeSet<(String, u64)> = hits
        .iter()
        .map(|hit| (text(&hit["manual"]), hit["page"].as_u64().unwrap()))
        .collect();
    assert_eq!(hits.len(), pages.len(), "no page twice");
    assert_eq!(count, pages.len().to_string());
    assert!(pages.iter().all(|(manual, _)| stored.contains_key(manual)));
    let hybrid = sandbox.search(&["second page".to_owned()], &[]);
    assert!(!hybrid[0].as_array().unwrap().is_empty());
}
