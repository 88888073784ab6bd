//! Rendering stored pages again: only from the unchanged file, and with its password.

use crate::sandbox::{Sandbox, manual};
use crate::support::pdf;

/// A sandbox with an indexed file that was then replaced.
fn with_replaced_file() -> Sandbox {
    let sandbox = Sandbox::tiny();
    sandbox.write("m.pdf", &pdf::good(&["first document", "seal kit"]));
    assert_eq!(sandbox.run(&["m.pdf"]).code, 0);
    sandbox.write("m.pdf", &pdf::good(&["second document", "other words"]));
    sandbox
}

#[test]
fn show_rejects_a_changed_file() {
    let sandbox = with_replaced_file();
    for more in [&[][..], &["--query", "seal"]] {
        let args = [&["show", "m.pdf", "1", "--out", "x.png"], more].concat();
        let done = sandbox.run(&args);
        assert_eq!(done.code, 1, "{}", done.err);
        assert!(
            done.err.contains("m.pdf has changed since it was stored")
                && done.err.contains("m.pdf` again"),
            "{}",
            done.err
        );
        assert!(!sandbox.path("x.png").exists());
    }
    let text = sandbox.run(&["show", "m.pdf", "1"]);
    assert!(text.out.contains("first document"), "{}", text.out);
    assert_eq!(sandbox.run(&["m.pdf"]).code, 0);
    let done = sandbox.run(&["show", "m.pdf", "1", "--out", "x.png"]);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn eval_outline_rejects_a_changed_file() {
    let done = with_replaced_file().run(&["eval", "--outline", "m.pdf"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("m.pdf has changed since it was stored"),
        "{}",
        done.err
    );
}

#[test]
fn show_says_in_one_line_that_a_file_has_changed() {
    let sandbox = with_replaced_file();
    let done = sandbox.run(&["show", "m.pdf", "1", "--out", "x.png"]);
    let line = "error: m.pdf has changed since it was stored; `ingest m.pdf` again\n";
    assert_eq!((done.code, done.err.as_str()), (1, line));
    sandbox.write("m.pdf", b"not a PDF any more");
    let done = sandbox.run(&["show", "m.pdf", "1", "--out", "x.png"]);
    assert_eq!((done.code, done.err.as_str()), (1, line));
    std::fs::remove_file(sandbox.path("m.pdf")).unwrap();
    let done = sandbox.run(&["show", "m.pdf", "1", "--out", "x.png"]);
    assert!(
        done.code == 1 && done.err.contains("cannot be opened"),
        "{}",
        done.err
    );
    assert!(!sandbox.path("x.png").exists());
}

#[test]
fn show_renders_a_page_that_is_the_same_in_the_changed_file() {
    let sandbox = Sandbox::tiny();
    sandbox.write(
        "m.pdf",
        &pdf::good(&["first page", "second page", "third page"]),
    );
    assert_eq!(sandbox.run(&["m.pdf"]).code, 0);
    sandbox.write("m.pdf", &pdf::good(&["first page", "another page"]));
    let show =
        |page: &str| sandbox.run(&["show", "m.pdf", page, "--out", "x.png", "--query", "page"]);
    let done = show("1");
    assert_eq!(done.code, 0, "{}", done.err);
    std::fs::remove_file(sandbox.path("x.png")).unwrap();
    for page in ["2", "3"] {
        let done = show(page);
        assert!(
            done.code == 1 && done.err.contains("m.pdf has changed"),
            "{}",
            done.err
        );
        assert!(!sandbox.path("x.png").exists(), "{page}");
    }
}

#[test]
fn pages_stored_from_an_earlier_file_are_not_rendered_from_a_later_one() {
    let sandbox = with_replaced_file();
    // The manual is now that of the new file, page 2 that of the old one.
    assert_eq!(sandbox.run(&["m.pdf", "--pages", "1"]).code, 0);
    let done = sandbox.run(&["show", "m.pdf", "1", "--out", "x.png"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let done = sandbox.run(&["show", "m.pdf", "2", "--out", "y.png"]);
    let line = "error: m.pdf has changed since page 2 was stored; `ingest m.pdf` again\n";
    assert_eq!((done.code, done.err.as_str()), (1, line));
    assert!(!sandbox.path("y.png").exists());
    let done = sandbox.run(&["eval", "--outline", "m.pdf"]);
    assert!(
        done.code == 1 && done.err.contains("since page 2 was stored"),
        "{}",
        done.err
    );
    assert_eq!(sandbox.run(&["m.pdf"]).code, 0);
    let done = sandbox.run(&["show", "m.pdf", "2", "--out", "y.png"]);
    assert_eq!(done.code, 0, "{}", done.err);
}

/// A sandbox with a file of password `secret` and one without.
fn with_locked_file() -> Sandbox {
    let sandbox = Sandbox::tiny();
    let locked = manual("../tests/golden/pdf/locked.pdf");
    std::fs::copy(locked, sandbox.path("locked.pdf")).unwrap();
    sandbox.write("open.pdf", &pdf::good(&["an open page"]));
    sandbox
}

#[test]
fn every_command_that_reads_files_takes_passwords_from_options_a_file_and_the_environment() {
    let sandbox = with_locked_file();
    sandbox.write("words.txt", b"wr0ng\r\n\r\nsecret\r\n");
    let ways: [(&[&str], &str); 4] = [
        (&["--password", "wr0ng", "--password", "secret"], ""),
        (&["--password-file", "words.txt"], ""),
        (&[], "secret"),
        (&["--password", "wr0ng"], "x\nsecret"),
    ];
    let stored = sandbox.run(&["locked.pdf", "--password", "secret"]);
    assert_eq!(stored.code, 0, "{}", stored.err);
    for (options, variable) in ways {
        let run = |args: &[&str]| -> crate::sandbox::CommandOutput {
            let mut command = sandbox.command(&[args, options].concat());
            if !variable.is_empty() {
                command.env("INGEST_PASSWORD", variable);
            }
            command.output().unwrap().into()
        };
        for args in [
            &["locked.pdf", "open.pdf", "--store", "new.db"][..],
            &["locked.pdf", "--dry-run", "--store", "none.db"],
            &["show", "locked", "1", "--out", "x.png"],
            &["embed", "locked.pdf", "--out", "x.safetensors"],
            &["bench", "locked.pdf", "--runs", "1"],
        ] {
            let done = run(args);
            assert_eq!(done.code, 0, "{args:?} {options:?}: {}", done.err);
            assert!(!(done.out + &done.err).contains("wr0ng"), "{args:?}");
        }
        let eval = run(&["eval", "--outline", "locked"]);
        assert!(eval.err.contains("it has no bookmarks"), "{}", eval.err);
        std::fs::remove_file(sandbox.path("new.db")).unwrap();
    }
}

#[test]
fn protected_files_are_refused_with_the_option_that_opens_them() {
    let sandbox = with_locked_file();
    assert_eq!(sandbox.run(&["locked.pdf", "--password", "secret"]).code, 0);
    for args in [
        &["show", "locked", "1", "--out", "x.png"][..],
        &["eval", "--outline", "locked"],
    ] {
        let none = sandbox.run(args);
        assert_eq!(none.code, 1, "{}", none.err);
        assert!(
            none.err.contains("locked.pdf: protected by a password\n"),
            "{}",
            none.err
        );
        assert!(none.err.contains("hint: set `--password"), "{}", none.err);
        let wrong = ["--password", "wr0ng", "--password", "wr0nger"];
        let wrong = sandbox.run(&[args, &wrong].concat());
        assert!(
            wrong.err.contains("all given ones are wrong"),
            "{}",
            wrong.err
        );
        assert!(!wrong.err.contains("wr0ng"), "{}", wrong.err);
    }
    let missing = sandbox.run(&["locked.pdf", "--password-file", "none.txt"]);
    assert!(missing.code == 64 && missing.err.contains("none.txt: cannot be read"));
    let useless = sandbox.run(&["eval", "questions.json", "--password", "x"]);
    assert!(
        useless.code == 64 && useless.err.contains("--outline"),
        "{}",
        useless.err
    );
}

#[test]
fn render_worker_executable_ignores_the_environment() {
    let sandbox = Sandbox::tiny().with("INGEST_WORKER_EXE", "/no/such/program");
    sandbox.write("pump.pdf", &pdf::good(&["seal kit"]));
    let done = sandbox.run(&["pump.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
}
