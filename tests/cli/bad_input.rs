//! Bad files: expected outcome of each, one line on stderr per failure, and the other files are indexed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::sandbox::{Sandbox, TINY, manual, manual_report};
use crate::support::pdf;

/// Expected outcome of a file: counts of stored, blank and failed pages, or the error of the whole file.
enum Outcome {
    Pages {
        stored: u64,
        blank: u64,
        failed: Vec<(u64, &'static str)>,
    },
    Manual(&'static str),
}
use Outcome::{Manual, Pages};

const REFUSED: Outcome = Manual("not a readable PDF");
const TORN: Outcome = Manual("its end is missing");
const EMPTY: Outcome = Manual("the file is empty");

fn stored(stored: u64) -> Outcome {
    Pages {
        stored,
        blank: 0,
        failed: vec![],
    }
}

fn table() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let good = pdf::good(&["the first page", "the second page"]);
    let cannot = "cannot be rendered";
    vec![
        ("good.pdf", good.clone(), stored(2)),
        ("empty.pdf", vec![], EMPTY),
        ("random.pdf", pdf::random(5000), REFUSED),
        ("truncated.pdf", good[..good.len() / 3].to_vec(), TORN),
        (
            "page.html.pdf",
            b"<!DOCTYPE html><html><body>Not found</body></html>".to_vec(),
            Manual("a web page (HTML), not a PDF"),
        ),
        ("zero-pages.pdf", pdf::zero_pages(), Manual("has no pages")),
        (
            "deep.pdf",
            pdf::deep_tree(20_000),
            Pages {
                stored: 0,
                blank: 0,
                failed: vec![(1, cannot)],
            },
        ),
        (
            "cyclic.pdf",
            pdf::cyclic_tree(),
            Pages {
                stored: 1,
                blank: 0,
                failed: vec![(2, cannot)],
            },
        ),
        (
            "strip.pdf",
            pdf::sized(14_400, 10),
            Pages {
                stored: 0,
                blank: 0,
                failed: vec![(1, "aspect ratio above 200")],
            },
        ),
        ("huge.pdf", pdf::sized(14_400, 14_400), stored(1)),
        (
            "broken-stream.pdf",
            pdf::broken_stream(),
            Pages {
                stored: 2,
                blank: 1,
                failed: vec![],
            },
        ),
        (
            "form-bomb.pdf",
            pdf::form_bomb(7),
            Pages {
                stored: 1,
                blank: 0,
                failed: vec![(1, "timed out after 3 s")],
            },
        ),
        (
            "strokes.pdf",
            pdf::strokes(800_000),
            Pages {
                stored: 1,
                blank: 0,
                failed: vec![(1, "timed out after 3 s")],
            },
        ),
        (
            "picture.png",
            b"\x89PNG\r\n\x1a\n torn".to_vec(),
            Manual("not a readable image"),
        ),
        (
            "notes.txt",
            b"just words".to_vec(),
            Manual("a text file, not a PDF or a readable image"),
        ),
    ]
}

#[test]
fn bad_files_fail_alone_with_one_line_each() {
    let sandbox = Sandbox::tiny();
    let table = table();
    for (name, bytes, _) in &table {
        sandbox.write(name, bytes);
    }
    fs::copy(
        manual("../tests/golden/pdf/locked.pdf"),
        sandbox.path("locked.pdf"),
    )
    .unwrap();
    fs::create_dir(sandbox.path("folder-without-pdfs")).unwrap();
    let mut expected: Vec<(&str, Outcome)> = table
        .into_iter()
        .map(|(name, _, outcome)| (name, outcome))
        .collect();
    expected.push(("locked.pdf", Manual("protected by a password")));
    expected.push(("missing.pdf", Manual("No such file")));
    expected.push(("folder-without-pdfs", Manual("the folder contains no PDF")));
    let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    let mut command = sandbox.command(&[&names[..], &["--json"]].concat());
    let done: crate::sandbox::CommandOutput = command
        .env("INGEST_RENDER_DEADLINE_S", "3")
        .output()
        .unwrap()
        .into();
    assert_eq!(done.code, 1, "{}", done.err);
    let report = done.json();
    for (name, outcome) in &expected {
        check(&manual_report(&report, name), outcome, name, &done.err);
    }
    let failures = done
        .err
        .lines()
        .filter(|line| !line.starts_with("model ") && !line.starts_with("hint: "))
        .count();
    let expected_lines: usize = expected
        .iter()
        .map(|(_, o)| {
            if let Pages { failed, .. } = o {
                failed.len()
            } else {
                1
            }
        })
        .sum();
    assert_eq!(failures, expected_lines, "one line each:\n{}", done.err);
}

fn check(manual: &serde_json::Value, outcome: &Outcome, name: &str, err: &str) {
    match outcome {
        Manual(why) => {
            assert!(
                manual["error"].as_str().is_some_and(|e| e.contains(why)),
                "{name}: {manual}"
            );
            let line = err.lines().find(|line| line.contains(name));
            assert!(
                line.is_some_and(|line| line.contains(why)),
                "{name}: {line:?}"
            );
        }
        Pages {
            stored,
            blank,
            failed,
        } => {
            assert_eq!(
                (&manual["stored"], &manual["blank"]),
                (&(*stored).into(), &(*blank).into()),
                "{name}: {manual}"
            );
            let pages = manual["failed"].as_array().unwrap();
            assert_eq!(pages.len(), failed.len(), "{name}: {manual}");
            for (page, (number, why)) in pages.iter().zip(failed) {
                assert_eq!(page["page"], *number, "{name}");
                assert!(
                    page["reason"].as_str().unwrap().contains(why),
                    "{name}: {page}"
                );
            }
        }
    }
}

#[test]
fn passwords_open_and_are_never_printed() {
    let sandbox = Sandbox::tiny();
    fs::copy(
        manual("../tests/golden/pdf/locked.pdf"),
        sandbox.path("locked.pdf"),
    )
    .unwrap();
    let wrong = sandbox.run(&["locked.pdf", "--password", "wr0ng-w0rd", "-v"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.err.contains("the given one is wrong") && !wrong.err.contains("wr0ng-w0rd"),
        "{}",
        wrong.err
    );
    assert_eq!(sandbox.run(&["locked.pdf", "--password", "secret"]).code, 0);
}

#[test]
fn unreadable_files_fail_and_equal_file_names_get_distinct_ids() {
    let sandbox = Sandbox::tiny();
    let secret = sandbox.write("secret.pdf", &pdf::good(&["secret"]));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let is_root = fs::read(&secret).is_ok(); // root reads everything
    sandbox.write("a/pump.pdf", &pdf::good(&["pump A"]));
    sandbox.write("b/pump.pdf", &pdf::good(&["pump B"]));
    let done = sandbox.run(&[
        "secret.pdf",
        "a/pump.pdf",
        "a/pump.pdf",
        "b/pump.pdf",
        "--json",
    ]);
    let report = done.json();
    let names: Vec<_> = report["manuals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["manual"].as_str().unwrap())
        .collect();
    if is_root {
        assert_eq!(names, ["secret.pdf", "pump.pdf", "b/pump.pdf"]);
    } else {
        assert_eq!(names[1..], ["pump.pdf", "b/pump.pdf"]);
        assert!(
            report["manuals"][0]["error"]
                .as_str()
                .unwrap()
                .contains("cannot be read")
        );
    }
}

#[test]
fn unusable_stores_are_errors() {
    let sandbox = Sandbox::tiny();
    let pages: Vec<String> = (0..12).map(|n| format!("page number {n}")).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    sandbox.write("a.pdf", &pdf::good(&pages));
    let full = sandbox
        .command(&["a.pdf"])
        .env("INGEST_STORE_LIMIT", "250 KB")
        .output()
        .unwrap();
    let full = crate::sandbox::CommandOutput::from(full);
    assert!(
        full.code != 0 && full.err.contains("is full"),
        "{}",
        full.err
    );
    assert_eq!(
        sandbox.run(&["a.pdf"]).code,
        0,
        "with free space the same command resumes"
    );

    sandbox.write(
        "words.db",
        b"this is no database, and long enough to be looked at as one",
    );
    let foreign = sandbox.run(&["a.pdf", "--store", "words.db"]);
    assert!(
        foreign.code != 0 && foreign.err.contains("words.db"),
        "{}",
        foreign.err
    );
    assert_eq!(
        fs::read(sandbox.path("words.db")).unwrap().len(),
        59,
        "unchanged"
    );

    let server = sandbox.run(&["a.pdf", "--store", "http://127.0.0.1:1"]);
    assert!(
        server.code != 0 && server.err.contains("server"),
        "{}",
        server.err
    );
}

#[test]
fn unusable_model_folders_are_errors() {
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &pdf::good(&["a page"]));
    let model = sandbox.path("model");
    let fresh = || {
        drop(fs::remove_dir_all(&model));
        fs::create_dir(&model).unwrap();
        for file in fs::read_dir(TINY).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), model.join(file.file_name())).unwrap();
        }
    };
    let refused = |what: &str| {
        let done = sandbox.run(&["a.pdf", "--model", "model"]);
        assert!(
            done.code != 0 && done.err.contains("error: "),
            "{what}: {}",
            done.err
        );
        let list = sandbox.run(&["list", "--json"]);
        assert!(
            list.code == 1 || list.out.trim() == "[]",
            "{what}: something was stored: {}",
            list.out
        );
        done.err
    };
    fresh();
    fs::remove_file(model.join("model.safetensors")).unwrap();
    assert!(refused("missing weights").contains("model.safetensors"));
    fresh();
    let weights = fs::read(model.join("model.safetensors")).unwrap();
    fs::write(
        model.join("model.safetensors"),
        &weights[..weights.len() / 2],
    )
    .unwrap();
    assert!(refused("truncated weights").contains("model.safetensors"));
    fresh();
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    assert!(refused("missing tokenizer").contains("tokenizer.json"));
    assert!(
        sandbox
            .run(&["a.pdf", "--model", "no-such-folder"])
            .err
            .contains("no-such-folder")
    );
}
