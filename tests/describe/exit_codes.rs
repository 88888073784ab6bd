//! Exit codes of runs that describe nothing, servers that cannot be used, and addresses that are refused.

use std::io::{Read, Write};

use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::library::{correct, describe, describe_json, library, library_of, runner};
use crate::sandbox::Sandbox;

const BOTH: [Dialect; 2] = [Dialect::OpenAi, Dialect::Ollama];

/// A server that refuses every picture.
fn refusing(dialect: Dialect) -> FakeServer {
    FakeServer::start(dialect, |_| {
        Reply::HttpError(400, "This model does not support images.".to_owned())
    })
}

/// URL of a server that answers everything with this status.
fn server_with_status(status: u16) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.read(&mut [0; 4096]));
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n");
            drop(stream.write_all(format!("{head}connection: close\r\n\r\n{{}}").as_bytes()));
        }
    });
    url
}

/// Runs `ingest describe`; checks the exit code and the first line.
fn fails(sandbox: &Sandbox, args: &[&str], code: i32, message: &str) {
    let done = sandbox.run(&[&["describe"], args].concat());
    assert_eq!(done.code, code, "{args:?}: {}{}", done.out, done.err);
    let first = done.err.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("error: ") && first.contains(message),
        "{args:?}: {}",
        done.err
    );
}

#[test]
fn a_server_that_cannot_be_used_is_reported_in_one_line_with_exit_code_2() {
    let sandbox = library();
    for dialect in BOTH {
        let fake = FakeServer::start(dialect, |_| Reply::Answer(String::new()));
        let to = |url| ["--runner", runner(dialect), "--url", url];
        let unknown = [&to(&fake.url)[..], &["--model", "huge"]].concat();
        fails(&sandbox, &unknown, 2, "has no model `huge`; it has: tiny");
        fails(&sandbox, &to("http://127.0.0.1:9"), 2, "is unavailable");
        for url in [401, 403].map(server_with_status) {
            let to = ["--runner", runner(dialect), "--url", &url];
            fails(&sandbox, &to, 2, "requires another API key");
        }
        let other = server_with_status(404);
        let path = match dialect {
            Dialect::OpenAi => "/v1/models",
            Dialect::Ollama => "/api/version",
        };
        let message = format!("{other} is not the expected kind of server: {path} returns 404");
        fails(&sandbox, &to(&other), 2, &message);
    }
}

#[test]
fn pages_that_were_stored_in_the_same_run_make_it_exit_code_1() {
    let fake = FakeServer::start(Dialect::OpenAi, |_| Reply::Answer(String::new()));
    let sandbox = library()
        .with("INGEST_DESCRIBE_RUNNER", "openai")
        .with("INGEST_DESCRIBE_URL", &fake.url)
        .with("INGEST_DESCRIBE_MODEL", "huge");
    let done = sandbox.run(&["pump.pdf", "--describe"]);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    assert!(done.err.contains("has no model `huge`"), "{}", done.err);
}

#[test]
fn an_empty_store_is_an_error_and_stays_away() {
    let sandbox = Sandbox::tiny();
    let empty = sandbox.run(&["describe", "--store", "nothing.db"]);
    assert_eq!(empty.code, 1);
    assert!(
        empty.err.contains("nothing has been stored"),
        "{}",
        empty.err
    );
    assert!(!sandbox.path("nothing.db").exists(), "a store was made");
}

#[test]
fn a_run_that_a_refusal_ends_has_exit_code_2_whatever_was_described_before() {
    for dialect in BOTH {
        let sandbox = library_of(&["one", "", "three", "four"]);
        let good = FakeServer::start(dialect, |request| correct(&request.pages));
        let (code, report) = describe_json(&sandbox, dialect, &good, &["--pages", "1"]);
        assert_eq!((code, &report["described"]), (0, &1.into()), "{report}");
        let refusing = refusing(dialect);
        let (code, report) = describe_json(&sandbox, dialect, &refusing, &[]);
        let counts = (&report["kept"], &report["blank"], &report["failed"]);
        assert_eq!(
            counts,
            (&1.into(), &1.into(), &serde_json::json!([])),
            "{report}"
        );
        assert_eq!(code, 2, "{report}");
    }
}

#[test]
fn blank_pages_and_earlier_failures_are_no_descriptions() {
    let sandbox = library_of(&["one", "", "three"]);
    let wordless = FakeServer::start(Dialect::OpenAi, |_| Reply::Answer("no".to_owned()));
    for (pages, counts) in [("1-2", (1, 0)), ("1-3", (1, 1))] {
        let (code, report) = describe_json(
            &sandbox,
            Dialect::OpenAi,
            &wordless,
            &["--pages", pages, "--interleave", "1"],
        );
        let (failed, kept) = counts;
        assert_eq!(report["failed"].as_array().unwrap().len(), failed);
        assert_eq!(report["kept"], kept, "{report}");
        assert_eq!(code, 2, "{pages}: {report}");
    }
}

#[test]
fn a_failed_page_beside_described_ones_is_exit_code_1() {
    let sandbox = library();
    let good = FakeServer::start(Dialect::OpenAi, |request| correct(&request.pages));
    let first = describe(&sandbox, Dialect::OpenAi, &good, &["--pages", "1"]);
    assert_eq!(first.code, 0, "{}", first.err);
    let wordless = FakeServer::start(Dialect::OpenAi, |_| Reply::Answer("no".to_owned()));
    let done = describe(&sandbox, Dialect::OpenAi, &wordless, &["--pages", "1-2"]);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
}

#[test]
fn an_address_that_is_no_url_is_wrong_usage() {
    let sandbox = library();
    for url in ["nowhere", "127.0.0.1:8000"] {
        fails(&sandbox, &["--url", url], 64, "http:// is missing");
    }
}

#[test]
fn an_address_with_a_password_is_refused_and_not_shown() {
    let sandbox = library();
    for url in [
        "http://user:sekrit-4711@127.0.0.1:9",
        "https://:sekrit-4711@192.0.2.1/v1",
        "HTTP://sekrit-4711@localhost",
        "http:///user:sekrit-4711@127.0.0.1:9",
        "http://user:sekrit-4711@127.0.0.1:99999",
        "http://user:sekrit-4711@[::x]/",
    ] {
        let config = sandbox.write("ingest.toml", b"");
        let flag = sandbox.run(&["describe", "--model", "x", "--url", url]);
        let candidate = format!("openai=x@{url}");
        let bench = sandbox.run(&["bench", "describe", "--candidate", &candidate]);
        let settings = format!("[describe]\nurl = \"{url}\"\n");
        std::fs::write(&config, settings).unwrap();
        let file = sandbox.run(&["describe", "--model", "x"]);
        std::fs::remove_file(config).unwrap();
        for done in [flag, bench, file] {
            assert_eq!(done.code, 64, "{url}: {}{}", done.out, done.err);
            assert!(
                done.err.contains("must not contain a user name"),
                "{url}: {}",
                done.err
            );
            assert!(done.err.contains("INGEST_RUNNER_KEY"), "{}", done.err);
            let said = format!("{}{}", done.out, done.err);
            assert!(!said.contains("sekrit"), "{url}: {said}");
        }
    }
    // An @ behind the host is no password.
    let path = ["--url", "http://127.0.0.1:9/@me?to=a@b", "--model", "x"];
    fails(&sandbox, &path, 2, "is unavailable");
}
