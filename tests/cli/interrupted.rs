//! SIGKILL and Ctrl-C at any moment: no page is lost or duplicated, and the same command resumes.

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::sandbox::{CommandOutput, Sandbox, manual};
use crate::support::pdf;

/// The contents of the store as comparable text: manuals, sizes, and hits with scores.
fn contents(sandbox: &Sandbox) -> Vec<String> {
    let mut lines = Vec::new();
    for manual in sandbox.run(&["list", "--json"]).json().as_array().unwrap() {
        let (name, pages) = (
            manual["id"].as_str().unwrap(),
            manual["pages"].as_u64().unwrap(),
        );
        assert_eq!(manual["stored"], pages, "{name}");
        lines.push(format!("{name} {pages} {}", manual["bytes"]));
    }
    let questions: Vec<String> = (0..8).map(|n| format!("part number {n}")).collect();
    lines.extend(
        sandbox
            .search(&questions, &["--visual", "-k", "40"])
            .iter()
            .map(ToString::to_string),
    );
    lines
}

fn library() -> Sandbox {
    let sandbox = Sandbox::tiny();
    for manual in 0..3 {
        let pages: Vec<String> = (0..10)
            .map(|n| format!("manual {manual} part number {n}"))
            .collect();
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        sandbox.write(&format!("m{manual}.pdf"), &pdf::good(&pages));
    }
    sandbox
}

const ALL: [&str; 3] = ["m0.pdf", "m1.pdf", "m2.pdf"];

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn twenty_kills_lose_and_duplicate_nothing() {
    let uninterrupted = library();
    let start = Instant::now();
    assert_eq!(uninterrupted.run(&ALL).code, 0);
    let whole = start.elapsed();
    let sandbox = library();
    // Fixed pseudo-random moments between the start and the end of a run.
    let mut moment = 7u32;
    for _ in 0..20 {
        moment = (moment * 37 + 11) % 100;
        let mut child = sandbox.start(&ALL);
        sleep(whole.mul_f64(f64::from(moment) / 100.0));
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = sandbox.run(&["list"]);
        assert!(
            listed.code <= 1 && !listed.err.contains("malformed"),
            "the store opens: {}",
            listed.err
        );
    }
    let last = sandbox.run(&ALL);
    assert_eq!(last.code, 0, "{}", last.err);
    assert_eq!(contents(&sandbox), contents(&uninterrupted));
}

#[test]
fn kill_repeats_no_committed_page() {
    let sandbox = Sandbox::built_in();
    let source = manual("heat-pump-service-manual.pdf");
    let args = [source.as_str(), "--batch-size", "1", "--json"];
    let mut child = sandbox.start(&args);
    let stored = |sandbox: &Sandbox| {
        let list = sandbox.run(&["list", "--json"]);
        if list.code == 0 {
            list.json()[0]["stored"].as_u64().unwrap_or(0)
        } else {
            0
        }
    };
    let start = Instant::now();
    while stored(&sandbox) < 4 {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "no page was stored"
        );
        sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = stored(&sandbox);
    let rest = sandbox
        .run(&[&args[..], &["--pages", "1-12"]].concat())
        .json();
    assert_eq!(
        rest["manuals"][0]["unchanged"].as_u64().unwrap(),
        before.min(12),
        "committed pages are not indexed again"
    );
}

#[test]
fn ctrl_c_finishes_the_current_batch() {
    let sandbox = Sandbox::built_in();
    let source = manual("heat-pump-service-manual.pdf");
    let child = sandbox.start(&[&source, "--json"]);
    let start = Instant::now();
    while !sandbox.path("library.db").exists() {
        assert!(start.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(1000));
    signal(&child, "-INT");
    let done: CommandOutput = child.wait_with_output().unwrap().into();
    assert!([1, 2].contains(&done.code), "{} {}", done.code, done.err);
    let report = done.json();
    assert_eq!(report["stopped"], true);
    assert!(
        done.err.contains("run the same command again to resume"),
        "{}",
        done.err
    );
    let stored = report["manuals"][0]["stored"].as_u64().unwrap();
    assert!(stored < 27, "the run was not stopped");
    let after = sandbox.run(&[&source, "--pages", "1-8", "--json"]).json();
    assert_eq!(after["manuals"][0]["failed"], serde_json::json!([]));
    assert_eq!(
        after["manuals"][0]["unchanged"].as_u64().unwrap(),
        stored.min(8)
    );
}

#[test]
fn ctrl_c_in_embed_writes_nothing() {
    let sandbox = Sandbox::built_in();
    let source = manual("heat-pump-service-manual.pdf");
    let child = sandbox.start(&["embed", &source, "--out", "pages.safetensors"]);
    sleep(Duration::from_millis(1500));
    signal(&child, "-INT");
    let done: CommandOutput = child.wait_with_output().unwrap().into();
    assert!(
        [1, 2].contains(&done.code) && done.err.contains("nothing was written"),
        "{} {}",
        done.code,
        done.err
    );
    assert!(!sandbox.path("pages.safetensors").exists());
}

#[test]
fn concurrent_run_reports_that_the_store_is_in_use() {
    let sandbox = Sandbox::built_in();
    let source = manual("heat-pump-service-manual.pdf");
    let mut child = sandbox.start(&[&source]);
    let start = Instant::now();
    while !sandbox.path("library.db").exists() {
        assert!(start.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(200));
    let second = sandbox.run(&[&source]);
    assert!(second.code == 2 || second.code == 1, "{}", second.err);
    assert!(
        second.err.contains("in use by another run"),
        "{}",
        second.err
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn unchanged_library_is_checked_within_a_second() {
    let sandbox = library();
    assert_eq!(sandbox.run(&ALL).code, 0);
    let start = Instant::now();
    let again = sandbox.run(&[&ALL[..], &["--json"]].concat());
    let time = start.elapsed();
    assert_eq!(again.json()["manuals"][2]["unchanged"], 10);
    assert!(time < Duration::from_secs(1), "{time:?}");
}
