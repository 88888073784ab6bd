//! Pages of a run: requests, storing, searching, resuming.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::library::{correct, describe, describe_json, description, library, library_of};
use crate::support::pdf;

const BOTH: [Dialect; 2] = [Dialect::OpenAi, Dialect::Ollama];

#[test]
fn descriptions_are_stored_searched_and_shown() {
    for dialect in BOTH {
        let sandbox = library();
        let fake = FakeServer::start(dialect, |request| correct(&request.pages));
        let (code, report) = describe_json(&sandbox, dialect, &fake, &["--interleave", "1"]);
        assert_eq!(
            (code, report["described"].as_u64()),
            (0, Some(3)),
            "{report}"
        );
        // A word that only the description has.
        let found = sandbox.run(&["search", "circulator", "--json"]).json();
        assert_eq!(
            (&found[0]["page"], &found[0]["title"]),
            (&3.into(), &"Fault codes".into()),
            "{found}"
        );
        let shown = sandbox.run(&["search", "circulator"]).out;
        assert!(
            shown.contains("Fault codes: Why the circulator stands still in winter."),
            "{shown}"
        );
        let shown = sandbox.run(&["show", "pump.pdf", "2"]).out;
        assert!(shown.contains("Which gaskets can be ordered"), "{shown}");
        assert!(
            shown.contains("40-1177") && !shown.contains("40-1177 (unconfirmed)"),
            "{shown}"
        );
        // K-1 is not in the text layer of page 1: marked, and not searched.
        let shown = sandbox.run(&["show", "pump.pdf", "1"]).out;
        assert!(shown.contains("K-1 (unconfirmed)"), "{shown}");
        let hits = sandbox.run(&["search", "--text", "K-1", "--json"]).json();
        assert_eq!(hits.as_array().unwrap().len(), 0, "{hits}");
        let done = sandbox.run(&["describe", "--export", "all.jsonl"]);
        assert_eq!(done.code, 0, "{}", done.err);
        let lines = std::fs::read_to_string(sandbox.path("all.jsonl")).unwrap();
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[0]["annotation"]["described"]["title"],
            "Resetting the alarm"
        );
        assert_eq!(
            lines[0]["annotation"]["model"],
            if dialect == Dialect::Ollama {
                "tiny:latest"
            } else {
                "tiny"
            }
        );
    }
}

#[test]
fn pages_are_described_without_reading_their_vectors() {
    let sandbox = library();
    let library = rusqlite::Connection::open(sandbox.path("library.db")).unwrap();
    library
        .execute("UPDATE vectors SET rows = x'00'", [])
        .unwrap();
    let fake = FakeServer::start(Dialect::OpenAi, |request| correct(&request.pages));
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &fake, &[]);
    assert_eq!(
        (code, report["described"].as_u64()),
        (0, Some(3)),
        "{report}"
    );
}

#[test]
fn requests_are_streamed_with_parts_in_order_and_without_reasoning() {
    for dialect in BOTH {
        let sandbox = library();
        let fake = FakeServer::start(dialect, |request| correct(&request.pages));
        assert_eq!(
            describe(
                &sandbox,
                dialect,
                &fake,
                &["--interleave", "1", "--pages", "2"]
            )
            .code,
            0
        );
        let requests = fake.requests();
        assert_eq!(requests.len(), 1);
        let body = &requests[0].body;
        assert_eq!(body["stream"], true);
        let message = &body["messages"][0];
        if dialect == Dialect::Ollama {
            assert_eq!(body["think"], false);
            assert!(body["options"]["num_ctx"].as_u64().unwrap() > 2_000);
            assert_eq!(message["images"].as_array().unwrap().len(), 1);
            continue;
        }
        assert_eq!(body["chat_template_kwargs"]["enable_thinking"], false);
        assert_eq!(body["stream_options"]["include_usage"], true);
        let kinds: Vec<&Value> = message["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| &part["type"])
            .collect();
        assert_eq!(kinds, ["text", "text", "image_url", "text"]);
        assert!(
            message["content"][1]["text"]
                .as_str()
                .unwrap()
                .contains("Page 2 of 3 of \"pump.pdf\"")
        );
        let url = message["content"][2]["image_url"]["url"].as_str().unwrap();
        assert!(
            url.starts_with("data:image/jpeg;base64,/9j/"),
            "{}",
            &url[..60]
        );
    }
}

#[test]
fn runs_skip_described_and_failed_pages_unless_redo_is_given() {
    let sandbox = library();
    let dialect = Dialect::OpenAi;
    let bad = FakeServer::start(dialect, |request| match request.pages[..] {
        [2] => Reply::Answer("I see nothing.".to_owned()),
        _ => correct(&request.pages),
    });
    let (code, report) = describe_json(&sandbox, dialect, &bad, &[]);
    assert_eq!((code, &report["described"]), (1, &2.into()), "{report}");
    assert_eq!(report["failed"][0]["class"], "unparsable");
    let good = FakeServer::start(dialect, |request| correct(&request.pages));
    let (code, report) = describe_json(&sandbox, dialect, &good, &[]);
    assert_eq!(
        (code, &report["kept"]),
        (0, &3.into()),
        "a failed page is not retried without --redo: {report}"
    );
    assert_eq!(good.requests().len(), 0);
    let (code, report) = describe_json(&sandbox, dialect, &good, &["--redo", "failed"]);
    assert_eq!(
        (code, &report["described"], &report["kept"]),
        (0, &1.into(), &2.into()),
        "{report}"
    );
    let (_, report) = describe_json(&sandbox, dialect, &good, &["--redo", "all", "--limit", "2"]);
    assert_eq!(report["described"], 2, "{report}");
    // Storing the unchanged manual again does not change the descriptions.
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    assert_eq!(describe_json(&sandbox, dialect, &good, &[]).1["kept"], 3);
}

#[test]
fn blank_pages_and_duplicates_are_not_sent_but_pages_that_differ_in_a_digit_are() {
    let pages = ["E-104 no flow", "", "E-104 no flow", "E-105 no flow"];
    let sandbox = library_of(&pages);
    let dialect = Dialect::OpenAi;
    let fake = FakeServer::start(dialect, |request| correct(&request.pages));
    let (code, report) = describe_json(&sandbox, dialect, &fake, &[]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(
        (&report["described"], &report["twins"], &report["blank"]),
        (&2.into(), &1.into(), &1.into()),
        "{report}"
    );
    let mut sent: Vec<u32> = fake
        .requests()
        .iter()
        .flat_map(|request| request.pages.clone())
        .collect();
    sent.sort_unstable();
    assert_eq!(sent, [1, 4]);
    let shown = sandbox.run(&["show", "pump.pdf", "3"]).out;
    assert!(shown.contains("duplicate of pump.pdf, page 1"), "{shown}");
}

#[test]
fn mislabelled_pages_of_a_request_are_retried_alone() {
    for dialect in BOTH {
        let sandbox = library();
        let fake = FakeServer::start(dialect, |request| match request.pages[..] {
            [1, 2, 3] => Reply::Answer(format!(
                "[{}, {}, {}]",
                description(1),
                description(3).replace("\"page\": 3", "\"page\": 7"),
                description(3)
            )),
            _ => correct(&request.pages),
        });
        let (code, report) = describe_json(
            &sandbox,
            dialect,
            &fake,
            &["--interleave", "3", "--lanes", "1"],
        );
        assert_eq!((code, &report["described"]), (0, &3.into()), "{report}");
        assert_eq!(report["retries"]["mislabelled"], 1, "{report}");
        let sent: Vec<Vec<u32>> = fake
            .requests()
            .into_iter()
            .map(|request| request.pages)
            .collect();
        assert_eq!(sent, [vec![1, 2, 3], vec![2]], "page 2 is retried alone");
        let first = &fake.requests()[0].body;
        let max_tokens = first["max_tokens"]
            .as_u64()
            .or(first["options"]["num_predict"].as_u64());
        assert_eq!(max_tokens, Some(3 * 600), "600 per page");
    }
}

#[test]
fn lanes_is_the_number_of_concurrent_requests() {
    let texts: Vec<String> = (0..8).map(|n| format!("text of page {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let sandbox = library_of(&texts);
    // After the first answer, the server waits for four requests before it replies.
    let waiting = AtomicUsize::new(0);
    let fake = FakeServer::start(Dialect::OpenAi, move |request| {
        if request.number == 0 {
            return Reply::Answer(description(request.pages[0] + 10));
        }
        waiting.fetch_add(1, Ordering::SeqCst);
        let begun = Instant::now();
        while waiting.load(Ordering::SeqCst) < 4 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Reply::Answer(description(request.pages[0] + 10))
    });
    let done = describe(&sandbox, Dialect::OpenAi, &fake, &["--lanes", "4"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert_eq!(fake.max_concurrent.load(Ordering::SeqCst), 4);
}

#[test]
fn qwen3_vl_requests_wait_for_the_first_token_of_the_previous_one() {
    let texts: Vec<String> = (0..6).map(|n| format!("text of page {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // `waiting`: requests in prefill at the same time; mlx-vlm mixes up those of Qwen3-VL.
    for (model, exclusive) in [("some/Qwen3-VL-4B", true), ("some/Qwen2.5-VL-7B", false)] {
        let sandbox = library_of(&texts);
        let waiting = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let counts = Arc::clone(&waiting);
        let fake = FakeServer::start(Dialect::OpenAi, move |request| {
            let (now, most) = &*counts;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(600));
            now.fetch_sub(1, Ordering::SeqCst);
            Reply::Answer(description(request.pages[0] + 10))
        });
        let to = ["--runner", "mlx-vlm", "--url", &fake.url];
        let done =
            sandbox.run(&[&["describe"], &to[..], &["--model", model, "--lanes", "4"]].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        let most = waiting.1.load(Ordering::SeqCst);
        assert_eq!(most == 1, exclusive, "{model}: {most}");
    }
}

#[test]
fn manuals_are_stored_and_described_in_one_run() {
    let fake = FakeServer::start(Dialect::OpenAi, |request| correct(&request.pages));
    let sandbox = library()
        .with("INGEST_DESCRIBE_RUNNER", "openai")
        .with("INGEST_DESCRIBE_URL", &fake.url);
    sandbox.write("other.pdf", &pdf::good(&["another manual"]));
    let done = sandbox.run(&["other.pdf", "--describe"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("1 page described"), "{}", done.out);
    let requests = fake.requests();
    assert_eq!(requests.len(), 1, "only the new manual");
    assert!(requests[0].body.to_string().contains("other.pdf"));
    sandbox.write("third.pdf", &pdf::good(&["a third one"]));
    let report = sandbox.run(&["third.pdf", "--describe", "--json"]).json();
    assert_eq!(report["manuals"][0]["stored"], 1, "{report}");
    assert_eq!(report["descriptions"]["described"], 1, "{report}");
}
