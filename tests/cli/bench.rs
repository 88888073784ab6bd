//! `ingest bench`: complete reports, an untouched user store, no temporary files left.

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::browser::chromium;
use crate::sandbox::Sandbox;
use crate::support::pdf;

/// Writes two manuals; the first has three pages, one more than a batch.
fn with_manuals(sandbox: Sandbox) -> Sandbox {
    for (name, pages) in [("a.pdf", 3), ("b.pdf", 2)] {
        let texts: Vec<String> = (0..pages).map(|n| format!("page {n} of {name}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        sandbox.write(name, &pdf::good(&texts));
    }
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    let tmp = sandbox.path("tmp").display().to_string();
    sandbox.with("TMPDIR", &tmp)
}

fn leftovers(sandbox: &Sandbox) -> Vec<PathBuf> {
    let all = std::fs::read_dir(sandbox.path("tmp")).unwrap();
    all.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn report_is_complete_and_the_store_is_unchanged() {
    let sandbox = with_manuals(Sandbox::tiny());
    assert_eq!(sandbox.run(&["a.pdf"]).code, 0);
    let before = std::fs::read(sandbox.path("library.db")).unwrap();
    let done = sandbox.run(&[
        "bench",
        "a.pdf",
        "b.pdf",
        "--runs",
        "2",
        "--json",
        "--markdown",
        "report.md",
    ]);
    assert_eq!(done.code, 0, "{}", done.err);
    let report = done.json();
    assert_eq!(report["schema"], 1);
    assert!(report["machine"]["threads"].as_u64().unwrap() > 0);
    let point = &report["points"][0];
    assert_eq!(point["setup"]["store"], "sqlite");
    let names: Vec<&Value> = point["manuals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["manual"])
        .collect();
    assert_eq!(names, ["a.pdf", "b.pdf"]);
    for (runs, pages) in [
        (&point["manuals"][0], 3),
        (&point["manuals"][1], 2),
        (&point["total"], 5),
    ] {
        assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
        for run in runs["runs"].as_array().unwrap() {
            assert_eq!((&run["pages"], &run["failed"]), (&pages.into(), &0.into()));
            for seconds in ["seconds", "load"] {
                assert!(run[seconds].as_f64().unwrap() > 0.0, "{run}");
            }
            let stages = run["stages"].as_object().unwrap();
            assert_eq!(
                stages.keys().collect::<Vec<_>>(),
                ["embed", "prepare", "render", "store"]
            );
            let shares: f64 = stages
                .values()
                .map(|stage| stage["share"].as_f64().unwrap())
                .sum();
            assert!((shares - 1.0).abs() < 1e-6, "{run}");
            assert!(run["batch"]["p95"].as_f64() >= run["batch"]["p50"].as_f64());
            assert!(run["page"]["p50"].as_f64().unwrap() > 0.0);
            assert!(run["peak_memory"].as_u64().unwrap() > 10_000_000, "{run}");
            assert_eq!(run["largest_batch"], 2);
        }
    }
    let markdown = std::fs::read_to_string(sandbox.path("report.md")).unwrap();
    assert!(markdown.contains("| a.pdf | 3 |"), "{markdown}");
    assert_eq!(std::fs::read(sandbox.path("library.db")).unwrap(), before);
    assert!(leftovers(&sandbox).is_empty());
}

#[test]
fn sweep_runs_each_setting_once_and_the_best_three_times() {
    let sandbox = with_manuals(Sandbox::tiny());
    let done = sandbox.run(&[
        "bench",
        "a.pdf",
        "--batch-size",
        "1,3",
        "--workers",
        "1,2",
        "--json",
    ]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(
        done.err
            .contains("4 settings x 3 pages, the best 3 times: "),
        "{}",
        done.err
    );
    let report = done.json();
    let points = report["points"].as_array().unwrap();
    let setups: Vec<(u64, u64)> = points
        .iter()
        .map(|p| {
            (
                p["setup"]["batch_size"].as_u64().unwrap(),
                p["setup"]["workers"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(setups, [(1, 1), (1, 2), (3, 1), (3, 2)]);
    let mut runs: Vec<usize> = points
        .iter()
        .map(|p| p["total"]["runs"].as_array().unwrap().len())
        .collect();
    runs.sort_unstable();
    assert_eq!(runs, [1, 1, 1, 3]);
    let several = sandbox.run(&["a.pdf", "--batch-size", "1,3"]);
    assert_eq!(several.code, 64);
    assert!(
        several.err.contains("--batch-size takes one value here"),
        "{}",
        several.err
    );
}

#[test]
fn run_slower_than_the_baseline_exits_3() {
    let sandbox = with_manuals(Sandbox::tiny());
    let first = sandbox.run(&["bench", "a.pdf", "--runs", "1", "--json"]);
    let against = |change: &dyn Fn(&mut Value)| {
        let mut then = first.json();
        change(&mut then);
        sandbox.write("then.json", then.to_string().as_bytes());
        sandbox.run(&["bench", "a.pdf", "--runs", "2", "--baseline", "then.json"])
    };
    let seconds = |then: &mut Value, factor: f64| {
        for runs in ["/points/0/manuals/0/runs/0", "/points/0/total/runs/0"] {
            let old = then.pointer(runs).unwrap()["seconds"].as_f64().unwrap();
            then.pointer_mut(runs).unwrap()["seconds"] = (old * factor).into();
        }
    };
    let slower = against(&|then| seconds(then, 0.01));
    assert_eq!(slower.code, 3, "{}", slower.err);
    assert!(slower.err.contains("x, slower"), "{}", slower.err);
    let faster = against(&|then| {
        seconds(then, 100.0);
        then["points"][0]["setup"]["profile"] = "other".into();
        then["machine"]["cpu"] = "Abacus".into();
    });
    assert_eq!(faster.code, 0, "{}", faster.err);
    assert!(
        faster.err.contains("from another model")
            && faster.err.contains("from another machine: Abacus"),
        "{}",
        faster.err
    );
    for (text, expected) in [
        ("{}", "not a benchmark report"),
        ("[", "EOF"),
        (r#"{"schema": 9}"#, "schema 9"),
    ] {
        sandbox.write("then.json", text.as_bytes());
        let done = sandbox.run(&["bench", "a.pdf", "--baseline", "then.json"]);
        assert_eq!(done.code, 1);
        assert!(done.err.contains(expected), "{}", done.err);
    }
}

#[test]
fn ctrl_c_removes_temporary_stores() {
    let sandbox = with_manuals(Sandbox::built_in());
    let source = crate::sandbox::manual("heat-pump-service-manual.pdf");
    let child = sandbox.start(&["bench", &source]);
    let start = Instant::now();
    while leftovers(&sandbox).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(10));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let done: crate::sandbox::CommandOutput = child.wait_with_output().unwrap().into();
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(
        done.err.contains("stopped; no report written"),
        "{}",
        done.err
    );
    assert!(leftovers(&sandbox).is_empty());
}

#[test]
fn bad_input_is_an_error() {
    let sandbox = with_manuals(Sandbox::tiny());
    sandbox.write("torn.pdf", b"%PDF-");
    let done = sandbox.run(&["bench", "torn.pdf"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("torn.pdf"), "{}", done.err);
    assert_eq!(sandbox.run(&["bench", "nowhere.pdf"]).code, 1);
    assert_eq!(sandbox.run(&["bench", "a.pdf", "--runs", "0"]).code, 64);
    let full = sandbox.run(&[
        "bench",
        "a.pdf",
        "--markdown",
        "no/such/folder.md",
        "--runs",
        "1",
    ]);
    assert_eq!(full.code, 1);
    assert!(full.err.contains("folder.md"), "{}", full.err);
}

#[test]
fn the_html_report_opens_in_a_browser() {
    let sandbox = with_manuals(Sandbox::tiny());
    let done = sandbox.run(&[
        "bench",
        "a.pdf",
        "b.pdf",
        "--runs",
        "2",
        "--html",
        "report.html",
    ]);
    assert_eq!(done.code, 0, "{}", done.err);
    let page = sandbox.path("report.html");
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(
        !text.contains("src=") && !text.contains("href="),
        "no external resources"
    );
    // The rendered DOM: two charts, and tables with every manual.
    let dom = chromium(&["--dump-dom"], &page);
    assert_eq!(dom.matches("<svg").count(), 2, "{dom}");
    assert_eq!(dom.matches("<table>").count(), 2);
    for part in ["pages per second", "a.pdf", "b.pdf", "total"] {
        assert!(dom.contains(part), "{part}");
    }
    let screenshot = sandbox.path("report.png");
    chromium(
        &[
            "--window-size=1000,1600",
            &format!("--screenshot={}", screenshot.display()),
        ],
        &page,
    );
    let screenshot = image::open(&screenshot).unwrap().to_rgb8();
    let blue = screenshot
        .pixels()
        .filter(|p| p.0[2] > p.0[0].saturating_add(60))
        .count();
    assert!(blue > 5_000, "bars are drawn: {blue}");
}
