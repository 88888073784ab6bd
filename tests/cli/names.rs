//! Names of manuals as people type them, in every command that takes one.

use std::ffi::{OsStr, OsString};

use crate::sandbox::{CommandOutput, Sandbox};
use crate::support::pdf;

const DECOMPOSED: &str = "Gera\u{308}t.pdf";
const COMPOSED: &str = "Ger\u{e4}t.pdf";

fn run(sandbox: &Sandbox, args: &[&OsStr]) -> CommandOutput {
    sandbox.command(&[]).args(args).output().unwrap().into()
}

/// Runs every command that takes the name of a manual, except `remove`.
fn asks(sandbox: &Sandbox, name: &OsStr) {
    let name = name.to_owned();
    let word = |text: &str| OsString::from(text);
    for args in [
        vec![
            word("show"),
            name.clone(),
            word("1"),
            word("--out"),
            word("x.png"),
        ],
        vec![
            word("search"),
            word("alarms"),
            word("--manual"),
            name.clone(),
        ],
        vec![
            word("describe"),
            word("--manual"),
            name.clone(),
            word("--export"),
            word("d.jsonl"),
        ],
        vec![word("eval"), word("--outline"), name.clone()],
    ] {
        let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
        let done = run(sandbox, &args);
        assert_eq!(done.code, 0, "{args:?}: {}", done.err);
    }
}

#[test]
fn names_are_found_in_other_spellings() {
    let sandbox = Sandbox::tiny();
    sandbox.write("other.pdf", &pdf::good(&["another manual"]));
    let path = sandbox.write(DECOMPOSED, &pdf::labelled());
    assert_eq!(sandbox.run(&[DECOMPOSED, "other.pdf"]).code, 0);
    let composed_path = path.with_file_name(COMPOSED);
    for name in [
        DECOMPOSED.as_ref(),
        COMPOSED.as_ref(),
        "ger\u{e4}t.PDF".as_ref(),
        "Ger\u{e4}t".as_ref(),
        path.as_os_str(),
        composed_path.as_os_str(),
        "./Ger\u{e4}t.pdf".as_ref(),
    ] {
        asks(&sandbox, name);
    }
    let done = sandbox.run(&["remove", "GER\u{c4}T.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(sandbox.run(&["show", COMPOSED, "1"]).code, 1);
}

#[test]
fn two_names_that_only_differ_so_stay_two() {
    let sandbox = Sandbox::tiny();
    sandbox.write(DECOMPOSED, &pdf::good(&["with a mark"]));
    sandbox.write(COMPOSED, &pdf::good(&["in one"]));
    assert_eq!(sandbox.run(&[DECOMPOSED, COMPOSED]).code, 0);
    for (name, text) in [(DECOMPOSED, "with a mark"), (COMPOSED, "in one")] {
        let shown = sandbox.run(&["show", name, "1"]).out;
        assert!(shown.contains(text), "{shown}");
    }
    let either = sandbox.run(&["show", "GER\u{c4}T.PDF", "1"]);
    assert_eq!(either.code, 1, "{}", either.out);
    assert!(either.err.contains("did you mean `Ger"), "{}", either.err);
}

#[test]
fn suggestions_ignore_case_and_are_similar() {
    let sandbox = Sandbox::tiny();
    sandbox.write("-rf.pdf", &pdf::good(&["one"]));
    sandbox.write("UPPER.PDF", &pdf::good(&["two"]));
    assert_eq!(sandbox.run(&["./-rf.pdf", "UPPER.PDF"]).code, 0);
    assert_eq!(sandbox.run(&["show", "upper.pdf", "1"]).code, 0);
    let typo = sandbox.run(&["show", "uper.pdf", "1"]).err;
    assert!(typo.contains("did you mean `UPPER.PDF`?"), "{typo}");
    let other = sandbox.run(&["show", "valve.pdf", "1"]).err;
    assert!(other.contains("`ingest list` shows"), "{other}");
}

/// File systems of macOS take UTF-8 only.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_utf8_are_kept() {
    use std::os::unix::ffi::OsStrExt;

    let sandbox = Sandbox::tiny();
    let names = [&b"bad\xff.pdf"[..], b"bad\xfe.pdf"].map(OsStr::from_bytes);
    for (name, text) in names.iter().zip(["one", "two"]) {
        let path = sandbox.folder.path().join(name);
        std::fs::write(path, pdf::good(&[text])).unwrap();
    }
    let done = run(&sandbox, &[names[0], names[1], "--json".as_ref()]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(done.json()["manuals"].as_array().unwrap().len(), 2);
    for (name, text) in names.iter().zip(["one", "two"]) {
        let args = ["show".as_ref(), *name, "1".as_ref()];
        let shown = run(&sandbox, &args);
        assert!(shown.out.contains(text), "{}{}", shown.out, shown.err);
        let out = ["--out", "x.png"].map(OsStr::new);
        let drawn = run(&sandbox, &[&args[..], &out].concat());
        assert_eq!(drawn.code, 0, "{}", drawn.err);
    }
    for manual in sandbox.run(&["list", "--json"]).json().as_array().unwrap() {
        let shown = manual["id"].as_str().unwrap();
        let done = sandbox.run(&["show", shown, "1", "--out", "x.png"]);
        assert_eq!(done.code, 0, "{}", done.err);
    }
    let again = run(&sandbox, &[names[0], "--json".as_ref()]);
    assert_eq!(again.json()["manuals"][0]["unchanged"], 1);
    assert_eq!(run(&sandbox, &["remove".as_ref(), names[1]]).code, 0);
    let left = sandbox.run(&["list", "--json"]).json();
    assert_eq!(left.as_array().unwrap().len(), 1);
}
