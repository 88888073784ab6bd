//! Files with equal bytes, and files that can be read only once.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::sandbox::{CommandOutput, Sandbox, manual_report};
use crate::support::pdf;

fn manual() -> Vec<u8> {
    pdf::good(&["the first page", "the second page"])
}

/// Names and paths of the stored manuals.
fn stored(sandbox: &Sandbox) -> Vec<(String, String)> {
    let list = sandbox.run(&["list", "--json"]).json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let manuals = list.as_array().unwrap().iter();
    manuals
        .map(|m| (text(&m["id"]), text(&m["path"])))
        .collect()
}

#[test]
fn copies_are_named_and_can_be_asked_for() {
    let sandbox = Sandbox::tiny();
    let a = sandbox.write("a.pdf", &manual());
    fs::copy(&a, sandbox.path("b.pdf")).unwrap();
    let done = sandbox.run(&["a.pdf", "b.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("b.pdf (same as a.pdf)"), "{}", done.out);
    assert!(done.err.contains("b.pdf: same as a.pdf"), "{}", done.err);
    let json = sandbox.run(&["a.pdf", "b.pdf", "--json"]).json();
    let twin = manual_report(&json, "b.pdf");
    assert_eq!(
        (&twin["same_as"], &twin["unchanged"]),
        (&"a.pdf".into(), &2.into())
    );
    let plan = sandbox.run(&["b.pdf", "--dry-run"]);
    assert!(plan.out.contains("same as a.pdf"), "{}", plan.out);

    let found = sandbox.run(&["search", "page", "--manual", "b.pdf", "-k", "1"]);
    assert!(
        found.out.starts_with("1. a.pdf page"),
        "{}{}",
        found.out,
        found.err
    );
    assert_eq!(sandbox.run(&["b.pdf"]).code, 0);
    fs::remove_file(sandbox.path("b.pdf")).unwrap();
    let shown = sandbox.run(&["show", "a.pdf", "1", "--out", "x.png"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(
        stored(&sandbox),
        [("a.pdf".to_owned(), a.display().to_string())]
    );
}

#[test]
fn one_file_under_several_paths_is_one_manual() {
    let sandbox = Sandbox::tiny();
    let a = sandbox.write("a.pdf", &manual());
    symlink("a.pdf", sandbox.path("link.pdf")).unwrap();
    fs::hard_link(&a, sandbox.path("hard.pdf")).unwrap();
    sandbox.write("deep/a.pdf", &manual());
    let paths = [
        "a.pdf",
        "link.pdf",
        "hard.pdf",
        "./a.pdf",
        "deep/a.pdf",
        "a.pdf",
    ];
    let done = sandbox.run(&[&paths[..], &["--json"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    let json = done.json();
    let rows = json["manuals"].as_array().unwrap();
    let same: Vec<_> = rows.iter().map(|m| m["same_as"].as_str()).collect();
    let twin = Some("a.pdf");
    assert_eq!(
        same,
        [None, twin, twin, twin],
        "a path once, however it is written"
    );
    assert_eq!(
        stored(&sandbox),
        [("a.pdf".to_owned(), a.display().to_string())]
    );
}

#[test]
fn pages_of_a_copy_are_added_to_the_manual() {
    let sandbox = Sandbox::tiny();
    let a = sandbox.write("a.pdf", &manual());
    sandbox.write("b.pdf", &manual());
    assert_eq!(sandbox.run(&["a.pdf", "--pages", "1"]).code, 0);
    let json = sandbox.run(&["b.pdf", "--pages", "2", "--json"]).json();
    let twin = manual_report(&json, "b.pdf");
    assert_eq!(
        (&twin["same_as"], &twin["stored"]),
        (&"a.pdf".into(), &1.into())
    );
    let list = sandbox.run(&["list", "--json"]).json();
    assert_eq!(list[0]["stored"], 2);
    assert_eq!(
        stored(&sandbox),
        [("a.pdf".to_owned(), a.display().to_string())]
    );
}

#[test]
fn equal_bad_files_are_as_many_failures_and_leave_no_store() {
    let sandbox = Sandbox::tiny();
    for name in ["bad.pdf", "bad2.pdf"] {
        sandbox.write(name, b"torn");
    }
    let done = sandbox.run(&["bad.pdf", "bad2.pdf", "--json"]);
    assert_eq!(done.code, 2);
    for name in ["bad.pdf", "bad2.pdf"] {
        let report = manual_report(&done.json(), name);
        assert!(report["error"].is_string(), "{report}");
        assert!(
            done.err
                .contains(&format!("{name}: a text file, not a PDF")),
            "{}",
            done.err
        );
    }
    let left = fs::read_dir(sandbox.folder.path()).unwrap().count();
    assert_eq!(left, 2, "only the two files");
}

#[test]
fn what_can_be_read_only_once_is_never_a_manual() {
    let sandbox = Sandbox::tiny();
    let a = sandbox.write("a.pdf", &manual());
    assert_eq!(sandbox.run(&["a.pdf"]).code, 0);
    fs::remove_file(&a).unwrap();
    sandbox.write("copy.bin", &manual());
    let made = std::process::Command::new("mkfifo")
        .arg(sandbox.path("pipe.pdf"))
        .status();
    assert!(made.unwrap().success());
    for path in ["/dev/stdin", "/dev/fd/0", "pipe.pdf"] {
        for is_piped in [false, true] {
            let mut cat = std::process::Command::new("cat");
            let cat = cat.arg(sandbox.path("copy.bin")).stdout(Stdio::piped());
            let mut cat = cat.spawn().unwrap();
            let input = match is_piped {
                true => Stdio::from(cat.stdout.take().unwrap()),
                false => Stdio::from(fs::File::open(sandbox.path("copy.bin")).unwrap()),
            };
            let mut command = sandbox.command(&[path]);
            let done: CommandOutput = command.stdin(input).output().unwrap().into();
            drop(command);
            cat.wait().unwrap();
            assert_eq!(done.code, 2, "{path}: {}", done.err);
            let line = format!("{path}: is a pipe or a device");
            assert!(done.err.contains(&line), "{}", done.err);
        }
    }
    assert_eq!(
        stored(&sandbox),
        [("a.pdf".to_owned(), a.display().to_string())]
    );
}
