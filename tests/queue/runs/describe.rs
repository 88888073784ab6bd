//! Descriptions by many machines: each has a model server of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use ingest::page::{Annotation, Outcome};
use ingest::store::StoredPage;
use rustix::process::Signal;
use serde_json::Value;

use super::machines::{Office, Running, wait_until, workers};
use crate::fake_server::{Dialect, FakeServer, ReceivedRequest, Reply};
use crate::sandbox::Sandbox;
use crate::{nats, pdf, weaviate};

/// The model and its runner, for the machine that coordinates.
const MODEL: [&str; 4] = ["--runner", "openai", "--model", "tiny"];

/// A description that depends on the page and its manual alone.
fn described(request: &ReceivedRequest) -> Reply {
    let (page, prompt) = (request.pages[0], request.body.to_string());
    let names = ["a.pdf", "b.pdf", "c.pdf"];
    let manual = names.iter().find(|name| prompt.contains(**name)).unwrap();
    Reply::Answer(format!(
        "{{\"rotation\": 0, \"legible\": true, \"title\": \"Part {page} of {manual}\", \
         \"summary\": \"How somebody replaces the part with the number {page} in winter.\", \"language\": \"en\"}}"
    ))
}

/// A machine that describes with a server.
fn describer(machine: Sandbox, server: &FakeServer, model: &str) -> Sandbox {
    machine
        .with("INGEST_DESCRIBE_RUNNER", "openai")
        .with("INGEST_DESCRIBE_URL", &server.url)
        .with("INGEST_DESCRIBE_MODEL", model)
}

/// The annotation of each page.
fn annotations(pages: &[StoredPage]) -> BTreeMap<String, Option<String>> {
    let annotation = |page: &StoredPage| (page.id.to_string(), page.description.clone());
    pages.iter().map(annotation).collect()
}

/// A worker is killed, and another one, which has another embedding model, goes on. Each page then has the description that one
/// machine alone gives it, and none was described twice.
#[test]
fn two_workers_describe_what_one_machine_describes() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    // Two pages of a.pdf are alike.
    let text = |n: u32| format!("part number {}", if n == 19 { 9 } else { n });
    let texts: Vec<String> = (1..=20).map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    office.desk.write("a.pdf", &pdf::good(&texts));
    office.file("b.pdf", 6);
    let alone = FakeServer::start(Dialect::OpenAi, described);
    let expected = office.expected_descriptions(&["a.pdf", "b.pdf"], &alone.url);

    let indexed = office.desk.run(&["a.pdf", "b.pdf", "--queue", ""]);
    assert_eq!(indexed.code, 0, "{}", indexed.err);

    let silent = FakeServer::start(Dialect::OpenAi, |_| Reply::Wait(Duration::from_secs(90)));
    let first = describer(office.machine(), &silent, "tiny");
    let first = Running::worker(&first);
    let command = [&["describe", "--json"], &MODEL[..]].concat();
    let coordinator = Running::start(&office.desk, &command);
    wait_until("a page is described", || !silent.requests().is_empty());
    let server = FakeServer::start(Dialect::OpenAi, described);
    let second =
        describer(office.machine(), &server, "tiny").with("INGEST_EMBED_MODEL", "built-in");
    let _second = Running::worker(&second);
    first.signal(Signal::KILL);

    let ended = coordinator.output();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let report = ended.json();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(
        [count("described"), count("twins"), count("kept")],
        [25, 1, 0],
        "{report}"
    );
    assert_eq!(report["workers"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(annotations(&office.stored()), annotations(&expected));
    // One more is the canary.
    assert_eq!(server.requests().len(), 26);
}

/// The pages that failed, of a report.
fn failed(report: &Value) -> Vec<(&str, &str)> {
    let failed = report["failed"].as_array().unwrap().iter();
    failed
        .map(|f| (f["page"].as_str().unwrap(), f["class"].as_str().unwrap()))
        .collect()
}

/// A worker describes the pages that it has indexed. The run goes on without a coordinator; the same command tells the result.
/// A worker with another model is refused.
#[test]
fn descriptions_are_left_to_the_workers_that_have_the_model() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    let server = FakeServer::start(Dialect::OpenAi, |request| match request.pages[..] {
        [4] => Reply::Answer("No object, only words about the page.".to_owned()),
        _ => described(request),
    });
    let machine = describer(office.machine(), &server, "tiny");
    let _worker = Running::worker(&machine.with("INGEST_DESCRIBE_ATTEMPTS", "1"));
    let page = |text: &str| match text {
        "" => (pdf::PLAIN, Vec::new()),
        text => (pdf::PLAIN, pdf::text_content(text)),
    };
    let pages = ["one", "", "three", "four"].map(page);
    office.desk.write("c.pdf", &pdf::pages(&pages, ""));
    let indexed = office.desk.run(&["c.pdf"]);
    assert_eq!(indexed.code, 0, "{}", indexed.err);
    let command = [&["describe", "--json"], &MODEL[..]].concat();
    let detached = office.desk.run(&[&command[..], &["--detach"]].concat());
    assert_eq!(detached.code, 0, "{}", detached.err);
    let run = detached.json()["run"].clone();

    let other = describer(office.machine(), &server, "large").run(&["work"]);
    assert_eq!(other.code, 64, "{}", other.err);
    let difference = "model is `large` here and `tiny` there";
    assert!(other.err.contains(difference), "{}", other.err);
    assert!(!other.err.contains("runner is"), "{}", other.err);

    let connection = office.queue();
    wait_until("a page of each outcome", || {
        let workers = workers(&connection);
        workers
            .iter()
            .any(|worker| (worker.pages, worker.failed) == (7, 1))
    });
    let followed = office.desk.run(&command);
    assert_eq!(followed.code, 1, "{}", followed.err);
    let report = followed.json();
    assert_eq!(report["run"], run, "{report}");
    assert_eq!(
        [&report["described"], &report["blank"], &report["kept"]],
        [2, 1, 0],
        "{report}"
    );
    assert_eq!(
        failed(&report),
        [("c.pdf, page 4", "unparsable")],
        "{report}"
    );
    let stored = office.stored();
    let outcome = |page: &StoredPage| {
        let annotation = Annotation::from_json(page.description.as_deref()?);
        annotation.map(|annotation| matches!(annotation.outcome, Outcome::Described(_)))
    };
    let outcomes: Vec<Option<bool>> = stored.iter().map(outcome).collect();
    assert_eq!(outcomes, [Some(true), None, Some(true), Some(false)]);
    let status = office.desk.run(&["queue", "status", "--json"]).json();
    let mut runs = status["runs"].as_array().unwrap().iter();
    let run = runs.find(|run| run["group"]["kind"] == "describe").unwrap();
    assert_eq!(run["state"], "finished", "{status}");
}

#[test]
fn what_a_queue_cannot_describe_is_refused() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    office.file("a.pdf", 1);
    for store in ["", "library.db"] {
        let store = if store.is_empty() {
            vec![]
        } else {
            vec!["--store", store]
        };
        let indexed = office
            .desk
            .run(&[&["a.pdf", "--queue", ""], &store[..]].concat());
        assert_eq!(indexed.code, 0, "{}", indexed.err);
    }
    for (args, why) in [
        (&["--lanes", "2"][..], "--lanes cannot be used with a queue"),
        (&["--url", "http://a"], "--url cannot be used with a queue"),
        (
            &["--password", "x"],
            "a password cannot be used with a queue",
        ),
        (
            &["--store", "library.db"],
            "is a file, which only one machine can fill",
        ),
        (&["--detach", "--queue", ""], "--detach needs a queue"),
    ] {
        let refused = office.desk.run(&[&["describe"], &MODEL[..], args].concat());
        assert_eq!(refused.code, 64, "{}", refused.err);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
}
