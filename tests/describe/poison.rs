//! Pages that make the server fail each time, and servers that fail for all pages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake_server::{Dialect, FakeServer, ReceivedRequest, Reply};
use crate::library::{describe, describe_json, description, library, library_of};
use crate::sandbox::Sandbox;

const BOTH: [Dialect; 2] = [Dialect::OpenAi, Dialect::Ollama];
/// What Ollama says when its runner exits.
const CRASHED: &str = "the runner has unexpectedly stopped: resource limits or an internal error";

/// Five pages with titles that differ.
fn five_pages() -> Sandbox {
    library_of(&["one", "two", "three", "four", "five"])
}

/// The deadline of a page in seconds: short only where it is what the test is about.
fn deadline(failure: &Reply) -> &'static str {
    match failure {
        Reply::Wait(_) => "2",
        _ => "120",
    }
}

/// A description for each page of a request.
fn answer(request: &ReceivedRequest) -> Reply {
    let object = |page: &u32| description(page % 4).replace("Another page", "A page of its own");
    let all: Vec<String> = request.pages.iter().map(object).collect();
    match &all[..] {
        [one] => Reply::Answer(one.clone()),
        several => {
            let labelled = several.iter().zip(&request.pages);
            let labelled = labelled.map(|(text, page)| {
                let (_, rest) = text.split_once(',').unwrap();
                format!("{{\"page\": {page},{rest}")
            });
            Reply::Answer(format!("[{}]", labelled.collect::<Vec<_>>().join(", ")))
        }
    }
}

/// A server that fails for page 3, however often it is asked.
fn poisoned(dialect: Dialect, failure: &Reply) -> FakeServer {
    let failure = failure.clone();
    FakeServer::start(dialect, move |request| {
        match request.pages.contains(&3) && !request.is_test {
            true => failure.clone(),
            false => answer(request),
        }
    })
}

fn classes(report: &Value) -> Vec<(&str, &str)> {
    let failed = report["failed"].as_array().unwrap().iter();
    let pairs = failed.map(|f| (f["page"].as_str().unwrap(), f["class"].as_str().unwrap()));
    pairs.collect()
}

#[test]
fn a_page_that_the_server_fails_for_is_charged_alone() {
    let crash = Reply::HttpError(500, CRASHED.to_owned());
    for (failure, class) in [
        (crash.clone(), "server"),
        (Reply::Close, "server"),
        (Reply::Disconnect("{\"rotation\": 0".to_owned()), "server"),
        (Reply::HttpError(502, "bad gateway".to_owned()), "server"),
        (Reply::HttpError(500, "out of memory".to_owned()), "server"),
        (
            Reply::HttpError(400, "image too large".to_owned()),
            "server",
        ),
        (Reply::HttpError(413, "too large".to_owned()), "server"),
        (
            Reply::HttpError(403, "against the content policy".to_owned()),
            "server",
        ),
        (Reply::Raw(b"<html>".to_vec()), "server"),
        (Reply::Wait(Duration::from_secs(4)), "deadline"),
        (
            Reply::Repeat("the valve is open and ".to_owned()),
            "repetition",
        ),
    ] {
        for (dialect, interleave) in [
            (Dialect::OpenAi, "1"),
            (Dialect::Ollama, "1"),
            (Dialect::Ollama, "8"),
        ] {
            let case = format!("{dialect:?} {interleave} {failure:?}");
            // A batch of five has five times the deadline of a page.
            if interleave == "8" && class == "deadline" {
                continue;
            }
            // The prompt of a third attempt has no page number.
            let sandbox = five_pages()
                .with("INGEST_DESCRIBE_DEADLINE_S", deadline(&failure))
                .with("INGEST_DESCRIBE_ATTEMPTS", "2");
            let fake = poisoned(dialect, &failure);
            let more = ["--interleave", interleave];
            let begun = Instant::now();
            let done = describe(&sandbox, dialect, &fake, &[&more[..], &["--json"]].concat());
            let report = done.json();
            assert_eq!(
                (done.code, &report["described"]),
                (1, &4.into()),
                "{case}: {report}"
            );
            assert_eq!(classes(&report), [("pump.pdf, page 3", class)], "{case}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{case}");
            let of_page = |request: &&ReceivedRequest| request.pages == [3] && !request.is_test;
            let attempts = fake.requests().iter().filter(of_page).count();
            assert!(attempts <= 3, "{case}: {attempts} attempts");
            let said_memory = format!("{failure:?}").contains("memory");
            assert_eq!(
                done.err.contains("out of memory"),
                said_memory,
                "{case}: {}",
                done.err
            );
            // The next run describes nothing again.
            let before = fake.requests().len();
            let done = describe(&sandbox, dialect, &fake, &more);
            assert_eq!((done.code, fake.requests().len()), (0, before), "{case}");
            assert!(
                done.out.contains("1 page failed before"),
                "{case}: {}",
                done.out
            );
            assert!(done.out.contains("`--redo failed`"), "{case}: {}", done.out);
        }
    }
}

#[test]
fn a_page_is_charged_if_it_is_the_only_one() {
    for dialect in BOTH {
        let sandbox = library();
        let fake = poisoned(dialect, &Reply::HttpError(500, CRASHED.to_owned()));
        let (code, report) = describe_json(&sandbox, dialect, &fake, &["--pages", "3"]);
        assert_eq!((code, classes(&report).len()), (2, 1), "{report}");
        // Later runs reach the pages that are left.
        let (code, report) = describe_json(&sandbox, dialect, &fake, &[]);
        assert_eq!((code, &report["described"]), (0, &2.into()), "{report}");
    }
}

#[test]
fn no_page_is_charged_if_the_server_fails_for_all() {
    for failure in [
        Reply::HttpError(500, CRASHED.to_owned()),
        Reply::Raw(b"<html>".to_vec()),
        Reply::Wait(Duration::from_secs(4)),
    ] {
        for dialect in BOTH {
            let case = format!("{dialect:?} {failure:?}");
            let sandbox = library().with("INGEST_DESCRIBE_DEADLINE_S", deadline(&failure));
            let reply = failure.clone();
            let broken = FakeServer::start(dialect, move |_| reply.clone());
            let (code, report) = describe_json(&sandbox, dialect, &broken, &["--interleave", "1"]);
            assert_eq!((code, classes(&report).len()), (2, 0), "{case}: {report}");
            // Each page once, and the test image three times, or more often if the connection was closed.
            let most = 3 + if let Reply::Raw(_) = failure { 7 } else { 3 };
            let asked = broken.requests().len();
            assert!(asked <= most, "{case}: {asked} requests");
            let good = FakeServer::start(dialect, answer);
            let (code, report) = describe_json(&sandbox, dialect, &good, &[]);
            assert_eq!(
                (code, &report["described"]),
                (0, &3.into()),
                "{case}: {report}"
            );
        }
    }
}

/// A server with one slot, which page 3 occupies for five seconds, even if the client gives up. Meanwhile other requests
/// wait, or get HTTP 503.
fn single_slot(dialect: Dialect, waits: bool) -> FakeServer {
    let free_at = Mutex::new(Instant::now());
    FakeServer::start(dialect, move |request| {
        let busy = free_at.lock().unwrap().duration_since(Instant::now());
        match waits {
            true => thread::sleep(busy),
            false if busy > Duration::ZERO => {
                return Reply::HttpError(503, "no slot is free".to_owned());
            }
            false => {}
        }
        if request.pages.contains(&3) && !request.is_test {
            let time = Duration::from_secs(5);
            *free_at.lock().unwrap() = Instant::now() + time;
            return Reply::Wait(time);
        }
        answer(request)
    })
}

#[test]
fn a_server_still_busy_with_a_page_past_its_deadline_is_waited_for() {
    for dialect in BOTH {
        for waits in [true, false] {
            let sandbox = five_pages()
                .with("INGEST_DESCRIBE_DEADLINE_S", "2")
                .with("INGEST_DESCRIBE_ATTEMPTS", "1");
            let busy = single_slot(dialect, waits);
            let one = ["--lanes", "1", "--interleave", "1"];
            let (code, report) = describe_json(&sandbox, dialect, &busy, &one);
            let case = format!("{dialect:?} {waits}: {report}");
            assert_eq!((code, &report["described"]), (1, &4.into()), "{case}");
            assert_eq!(classes(&report), [("pump.pdf, page 3", "deadline")]);
        }
    }
}

#[test]
fn a_forbidden_first_page_is_charged_once_another_is_answered() {
    for dialect in BOTH {
        let sandbox = five_pages();
        let fake = FakeServer::start(dialect, |request| match request.pages.contains(&1) {
            true if !request.is_test => Reply::HttpError(403, "against the policy".to_owned()),
            _ => answer(request),
        });
        let one = ["--lanes", "1", "--interleave", "1"];
        let (code, report) = describe_json(&sandbox, dialect, &fake, &one);
        assert_eq!((code, &report["described"]), (1, &4.into()), "{report}");
        assert_eq!(classes(&report), [("pump.pdf, page 1", "server")]);
        let why = report["failed"][0]["why"].as_str().unwrap();
        assert!(why.contains("against the policy"), "{why}");
    }
}

#[test]
fn a_key_that_is_no_longer_accepted_ends_the_run_and_costs_no_page() {
    for dialect in BOTH {
        let sandbox = five_pages();
        let fake = FakeServer::start(dialect, |request| match request.number {
            0 | 1 => answer(request),
            _ => Reply::HttpError(403, "the key has expired".to_owned()),
        });
        let one = ["--lanes", "1", "--interleave", "1"];
        let done = describe(&sandbox, dialect, &fake, &[&one[..], &["--json"]].concat());
        let report = done.json();
        assert_eq!(
            (done.code, &report["described"]),
            (1, &2.into()),
            "{report}"
        );
        assert_eq!(classes(&report), []);
        assert!(done.err.contains("the key has expired"), "{}", done.err);
        assert!(done.err.contains("INGEST_RUNNER_KEY"), "{}", done.err);
    }
}

#[test]
fn a_server_that_is_away_for_a_moment_costs_no_page() {
    for dialect in BOTH {
        let sandbox = five_pages().with("INGEST_DESCRIBE_ATTEMPTS", "1");
        let failed = Arc::new(AtomicBool::new(false));
        let fake = FakeServer::start(dialect, move |request| {
            match request.pages.contains(&3) && !failed.swap(true, Ordering::SeqCst) {
                true => Reply::Close,
                false => answer(request),
            }
        });
        let (code, report) = describe_json(&sandbox, dialect, &fake, &[]);
        assert_eq!((code, &report["described"]), (0, &5.into()), "{report}");
    }
}

#[test]
fn refusals_end_the_run_and_charge_no_page() {
    for (status, message, hint) in [
        (
            400,
            "This model does not support images.",
            "takes images with `--model`",
        ),
        (404, "model 'tiny' not found", "choose another `--model`"),
        (413, "request entity too large", "describe.megapixels"),
        (422, "messages.0.content: invalid", "the server has: tiny"),
        (
            500,
            "image input is not supported",
            "takes images with `--model`",
        ),
        (401, "who are you?", "INGEST_RUNNER_KEY"),
        (403, "not for you", "INGEST_RUNNER_KEY"),
    ] {
        for (dialect, interleave) in [
            (Dialect::OpenAi, "1"),
            (Dialect::Ollama, "1"),
            (Dialect::Ollama, "8"),
        ] {
            let case = format!("{dialect:?} {interleave} {status}");
            let sandbox = five_pages();
            let refusing = FakeServer::start(dialect, move |_| {
                Reply::HttpError(status, message.to_owned())
            });
            let more = ["--interleave", interleave, "--json"];
            let done = describe(&sandbox, dialect, &refusing, &more);
            let report = done.json();
            assert_eq!(
                (done.code, classes(&report).len()),
                (2, 0),
                "{case}: {report}"
            );
            let lines: Vec<&str> = done.err.lines().collect();
            let [_, error, advice] = lines[..] else {
                panic!("{case}: {}", done.err);
            };
            assert!(error.starts_with("error: "), "{case}: {error}");
            assert!(
                advice.starts_with("hint: ") && advice.contains(hint),
                "{case}: {advice}"
            );
            let pages = refusing
                .requests()
                .iter()
                .filter(|r| r.pages.len() == 1)
                .count();
            assert!(pages <= 2, "{case}: {pages} pages were sent");
            let good = FakeServer::start(dialect, answer);
            let (code, report) = describe_json(&sandbox, dialect, &good, &[]);
            assert_eq!(
                (code, &report["described"]),
                (0, &5.into()),
                "{case}: {report}"
            );
        }
    }
}

#[test]
fn a_refused_single_page_is_not_charged_if_the_test_image_is_refused_too() {
    let sandbox = library();
    let message = "This model does not support images.".to_owned();
    let refusing = FakeServer::start(Dialect::OpenAi, move |_| {
        Reply::HttpError(400, message.clone())
    });
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &refusing, &["--pages", "2"]);
    assert_eq!((code, classes(&report).len()), (2, 0), "{report}");
}

#[test]
fn answers_that_no_image_came_are_dropped_images() {
    for dialect in BOTH {
        let sandbox = library();
        let blind = FakeServer::start(dialect, |request| {
            let answers = [
                "I'm sorry, but I can't see any image. Please upload the page.",
                "There is no picture attached to this message.",
                "{\"title\": \"No image provided\", \"summary\": \"The message contains no page to describe.\"}",
            ];
            Reply::Answer(answers[*request.pages.first().unwrap_or(&0) as usize % 3].to_owned())
        });
        let done = describe(&sandbox, dialect, &blind, &["--interleave", "1"]);
        assert_eq!(done.code, 2, "{}", done.out);
        // Three pages, and the line of retries.
        assert_eq!(done.out.matches("image-dropped").count(), 4, "{}", done.out);
        assert!(done.out.contains("the model got no images"), "{}", done.out);
    }
}

#[test]
fn a_text_only_model_of_ollama_is_refused_before_the_first_page() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::Ollama, answer).with_models(&[
        ("tiny:latest", &["completion"]),
        ("seeing:7b", &["completion", "vision"]),
    ]);
    let done = describe(&sandbox, Dialect::Ollama, &fake, &[]);
    assert_eq!((done.code, fake.requests().len()), (2, 0), "{}", done.err);
    assert!(done.err.contains("`tiny:latest`") && done.err.contains("does not take images"));
    let hint = "choose a model that takes images with `--model`; the server has: seeing:7b\n";
    assert!(done.err.contains(hint), "{}", done.err);
}
