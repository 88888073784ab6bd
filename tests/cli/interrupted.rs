//! Kills and Ctrl-C at any moment: no page lost or double, nothing half-written, the same command goes on.

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::desk::{Desk, Done, manual};
use crate::support::pdf;

/// Everything stored, as text that can be compared: pages with vectors, from the store's own exports.
fn contents(desk: &Desk) -> Vec<String> {
    let mut lines = Vec::new();
    for shelved in desk.run(&["list", "--json"]).json().as_array().unwrap() {
        let (name, pages) = (
            shelved["id"].as_str().unwrap(),
            shelved["pages"].as_u64().unwrap(),
        );
        assert_eq!(shelved["stored"], pages, "{name}");
        lines.push(format!("{name} {pages} {}", shelved["bytes"]));
    }
    let questions: Vec<String> = (0..8).map(|n| format!("part number {n}")).collect();
    lines.extend(
        desk.ask(&questions, &["--visual", "-k", "40"])
            .iter()
            .map(ToString::to_string),
    );
    lines
}

fn library() -> Desk {
    let desk = Desk::tiny();
    for manual in 0..3 {
        let pages: Vec<String> = (0..10)
            .map(|n| format!("manual {manual} part number {n}"))
            .collect();
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        desk.write(&format!("m{manual}.pdf"), &pdf::good(&pages));
    }
    desk
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
fn killed_twenty_times_nothing_is_lost_or_double() {
    let calm = library();
    let start = Instant::now();
    assert_eq!(calm.run(&ALL).code, 0);
    let whole = start.elapsed();
    let desk = library();
    // A fixed walk through the run: the kills fall everywhere from the start to just before the end.
    let mut moment = 7u32;
    for _ in 0..20 {
        moment = (moment * 37 + 11) % 100;
        let mut child = desk.start(&ALL);
        sleep(whole.mul_f64(f64::from(moment) / 100.0));
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = desk.run(&["list"]);
        assert!(
            listed.code <= 1 && !listed.err.contains("malformed"),
            "the store opens: {}",
            listed.err
        );
    }
    let last = desk.run(&ALL);
    assert_eq!(last.code, 0, "{}", last.err);
    assert_eq!(contents(&desk), contents(&calm));
}

#[test]
fn a_kill_repeats_at_most_three_batches() {
    let desk = Desk::built_in();
    let source = manual("heat-pump-service-manual.pdf");
    let args = [source.as_str(), "--batch-size", "1", "--json"];
    let mut child = desk.start(&args);
    let stored = |desk: &Desk| {
        let list = desk.run(&["list", "--json"]);
        if list.code == 0 {
            list.json()[0]["stored"].as_u64().unwrap_or(0)
        } else {
            0
        }
    };
    let linger = Instant::now();
    while stored(&desk) < 4 {
        assert!(
            linger.elapsed() < Duration::from_secs(120),
            "no page was stored"
        );
        sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = stored(&desk);
    let rest = desk.run(&[&args[..], &["--pages", "1-12"]].concat()).json();
    assert_eq!(
        rest["manuals"][0]["unchanged"].as_u64().unwrap(),
        before.min(12),
        "what was committed is not done again"
    );
}

#[test]
fn ctrl_c_finishes_the_batch_in_hand() {
    let desk = Desk::built_in();
    let source = manual("heat-pump-service-manual.pdf");
    let child = desk.start(&[&source, "--json"]);
    let linger = Instant::now();
    while !desk.path("library.db").exists() {
        assert!(linger.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(1000));
    signal(&child, "-INT");
    let done: Done = child.wait_with_output().unwrap().into();
    assert!([1, 2].contains(&done.code), "{} {}", done.code, done.err);
    let report = done.json();
    assert_eq!(report["stopped"], true);
    assert!(
        done.err.contains("run the same command again to resume"),
        "{}",
        done.err
    );
    let stored = report["manuals"][0]["stored"].as_u64().unwrap();
    assert!(stored < 27, "it was stopped on the way");
    let after = desk.run(&[&source, "--pages", "1-8", "--json"]).json();
    assert_eq!(after["manuals"][0]["failed"], serde_json::json!([]));
    assert_eq!(
        after["manuals"][0]["unchanged"].as_u64().unwrap(),
        stored.min(8)
    );
}

#[test]
fn ctrl_c_stops_raw_vectors_and_writes_nothing() {
    let desk = Desk::built_in();
    let source = manual("heat-pump-service-manual.pdf");
    let child = desk.start(&["embed", &source, "--out", "pages.safetensors"]);
    sleep(Duration::from_millis(1500));
    signal(&child, "-INT");
    let done: Done = child.wait_with_output().unwrap().into();
    assert!(
        [1, 2].contains(&done.code) && done.err.contains("nothing was written"),
        "{} {}",
        done.code,
        done.err
    );
    assert!(!desk.path("pages.safetensors").exists());
}

#[test]
fn a_second_run_is_told_that_the_store_is_in_use() {
    let desk = Desk::built_in();
    let source = manual("heat-pump-service-manual.pdf");
    let mut child = desk.start(&[&source]);
    let linger = Instant::now();
    while !desk.path("library.db").exists() {
        assert!(linger.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(200));
    let second = desk.run(&[&source]);
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
fn an_unchanged_library_is_looked_through_in_no_time() {
    let desk = library();
    assert_eq!(desk.run(&ALL).code, 0);
    let start = Instant::now();
    let again = desk.run(&[&ALL[..], &["--json"]].concat());
    let time = start.elapsed();
    assert_eq!(again.json()["manuals"][2]["unchanged"], 10);
    assert!(time < Duration::from_secs(1), "{time:?}");
}
