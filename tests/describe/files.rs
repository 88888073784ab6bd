//! Files of a run: manuals that moved, changed or need a password; exports.

use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::library::{correct, describe, describe_json, library};
use crate::sandbox::{Sandbox, manual};
use crate::support::pdf;

#[test]
fn a_moved_or_changed_manual_is_reported_and_pdf_gives_its_new_path() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |request| correct(&request.pages));
    std::fs::rename(sandbox.path("pump.pdf"), sandbox.path("moved.pdf")).unwrap();
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &fake, &[]);
    assert_eq!(code, 2, "{report}");
    assert!(
        report["manuals"]["pump.pdf"]
            .as_str()
            .unwrap()
            .contains("pump.pdf: "),
        "{report}"
    );
    sandbox.write("pump.pdf", b"%PDF-1.4 something else");
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &fake, &[]);
    assert!(
        code == 2
            && report["manuals"]["pump.pdf"]
                .as_str()
                .unwrap()
                .contains("has changed since it was stored"),
        "{report}"
    );
    let moved = ["--manual", "pump.pdf", "--pdf", "moved.pdf"];
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &fake, &moved);
    assert_eq!((code, &report["described"]), (0, &3.into()), "{report}");
}

#[test]
fn protected_manuals_are_described_with_their_password() {
    let fake = FakeServer::start(Dialect::OpenAi, |request| correct(&request.pages));
    let sandbox = Sandbox::tiny()
        .with("INGEST_DESCRIBE_RUNNER", "openai")
        .with("INGEST_DESCRIBE_URL", &fake.url);
    let locked = manual("../tests/golden/pdf/locked.pdf");
    std::fs::copy(locked, sandbox.path("locked.pdf")).unwrap();
    let done = sandbox.run(&["locked.pdf", "--password", "secret", "--describe"]);
    assert_eq!(done.code, 0, "{} {}", done.out, done.err);
    assert_eq!(fake.requests().len(), 1);
    let again = ["describe", "--redo", "all", "--json"];
    let refused = sandbox.run(&again);
    assert_eq!(refused.code, 2, "{}", refused.out);
    let why = refused.json()["manuals"]["locked.pdf"].to_string();
    assert!(why.contains("protected by a password"), "{why}");
    assert!(
        refused.err.contains("hint: set `--password"),
        "{}",
        refused.err
    );
    let candidate = format!("openai=tiny@{}", fake.url);
    let bench = ["bench", "describe", "--candidate", &candidate];
    let refused = sandbox.run(&bench);
    assert!(
        refused.err.contains("hint: set `--password"),
        "{}",
        refused.err
    );
    sandbox.write("words.txt", b"wr0ng\nsecret\n");
    for given in [
        &["--password", "wr0ng", "--password", "secret"],
        &["--password-file", "words.txt"][..],
    ] {
        let done = sandbox.run(&[&again[..], given].concat());
        assert_eq!(done.json()["described"], 1, "{}", done.err);
    }
    let sandbox = sandbox.with("INGEST_PASSWORD", "secret");
    assert_eq!(sandbox.run(&again).json()["described"], 1);
    let once = ["--approach", "sequential", "--runs", "1"];
    let done = sandbox.run(&[&bench[..], &once].concat());
    assert!(!done.err.contains("protected"), "{}", done.err);
}

#[test]
fn pages_of_an_earlier_file_are_not_described_from_a_later_one() {
    let sandbox = library();
    let texts = ["a new page", "another one", "and a third"];
    sandbox.write("pump.pdf", &pdf::good(&texts));
    assert_eq!(sandbox.run(&["pump.pdf", "--pages", "1"]).code, 0);
    let fake = FakeServer::start(Dialect::OpenAi, |request| correct(&request.pages));
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &fake, &[]);
    assert_eq!((code, &report["described"]), (1, &1.into()), "{report}");
    let why = "pump.pdf has changed since pages 2, 3 were stored; `ingest pump.pdf` again";
    assert_eq!(report["manuals"]["pump.pdf"], why, "{report}");
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &fake, &[]);
    assert_eq!((code, &report["described"]), (0, &2.into()), "{report}");
}

#[test]
fn quiet_runs_still_report_failures() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |request| match request.pages[..] {
        [2] => Reply::Answer("no".to_owned()),
        _ => correct(&request.pages),
    });
    let done = describe(&sandbox, Dialect::OpenAi, &fake, &["-q"]);
    assert_eq!((done.code, done.out.as_str()), (1, ""), "{}", done.err);
    // The short prompt of the last attempt has no page number.
    assert_eq!(done.err, "pump.pdf, page 2: unparsable: []\n");
    std::fs::remove_file(sandbox.path("pump.pdf")).unwrap();
    let done = describe(&sandbox, Dialect::OpenAi, &fake, &["-q", "--redo", "all"]);
    assert_eq!((done.code, done.out.as_str()), (2, ""), "{}", done.err);
    assert!(done.err.contains("pump.pdf: ") && done.err.contains("cannot be opened"));
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
}

#[test]
fn exports_go_to_stdout_and_through_pipes_and_links() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |request| correct(&request.pages));
    assert_eq!(describe(&sandbox, Dialect::OpenAi, &fake, &[]).code, 0);
    let file = sandbox.run(&["describe", "--export", "all.jsonl"]);
    assert_eq!(file.code, 0, "{}", file.err);
    let exported = std::fs::read_to_string(sandbox.path("all.jsonl")).unwrap();
    assert_eq!(exported.lines().count(), 3);
    let stdout = sandbox.run(&["describe", "--export", "-"]);
    assert_eq!(stdout.out, exported);
    assert!(!sandbox.path("-").exists());
    std::os::unix::fs::symlink("all.jsonl", sandbox.path("link.jsonl")).unwrap();
    sandbox.write("all.jsonl", b"old");
    assert_eq!(sandbox.run(&["describe", "--export", "link.jsonl"]).code, 0);
    let written = std::fs::read_to_string(sandbox.path("all.jsonl")).unwrap();
    assert_eq!(written, exported);
    let link = sandbox.path("link.jsonl").symlink_metadata().unwrap();
    assert!(link.is_symlink());
    let pipe = sandbox.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let reader = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
    assert_eq!(sandbox.run(&["describe", "--export", "pipe"]).code, 0);
    assert_eq!(reader.join().unwrap(), exported);
}
