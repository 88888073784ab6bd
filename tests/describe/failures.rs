//! Failure classes of pages with both APIs, and servers that cannot be used.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::library::{describe, describe_json, description, library, library_of};

const BOTH: [Dialect; 2] = [Dialect::OpenAi, Dialect::Ollama];
/// One page, one concurrent request, one page per request.
const ONE: [&str; 6] = ["--pages", "1", "--lanes", "1", "--interleave", "1"];

#[test]
fn every_failure_has_a_class() {
    for dialect in BOTH {
        let mut sandbox = library();
        let answer = |text: &str| Reply::Answer(text.to_owned());
        for (reply, class) in [
            (
                Reply::Repeat("the valve is open and ".to_owned()),
                "repetition",
            ),
            (
                Reply::Truncated("{\"rotation\": 0, \"title".to_owned()),
                "truncated",
            ),
            (
                Reply::Reasoning("Let me see what the page says".to_owned()),
                "thinking",
            ),
            (answer(""), "empty"),
            (
                answer(
                    "{\"title\": \"#### ~~~~ ++++ aaaaaaaaaaaaaaaaaaaaaaa\", \"summary\": \"%% $$ §§ !! ** // == {} <> ^^ ||\"}",
                ),
                "gibberish",
            ),
            (
                answer("{\"title\": \"Page\", \"summary\": \"A page.\"}"),
                "too-brief",
            ),
            (answer("I am sorry, I cannot read that."), "unparsable"),
            (answer("I see no image. Please upload it."), "image-dropped"),
            (Reply::ImageDropped(description(1)), "image-dropped"),
            (
                Reply::HttpError(400, "axis remapping failed".to_owned()),
                "server",
            ),
            (
                Reply::StreamError("{\"title".to_owned(), "generation failed".to_owned()),
                "server",
            ),
            (Reply::Wait(Duration::from_secs(4)), "deadline"),
            (Reply::Raw(vec![b'x'; 10 << 20]), "server"),
            (Reply::Raw(b"data: \xff\xfe\n\n".to_vec()), "server"),
        ] {
            let case = format!("{reply:.60?}");
            let deadline = if class == "deadline" { "2" } else { "120" };
            sandbox = sandbox.with("INGEST_DESCRIBE_DEADLINE_S", deadline);
            let fake = FakeServer::start(dialect, move |request| match request.is_test {
                true => Reply::Answer("A black square.".to_owned()),
                false => reply.clone(),
            });
            let (code, report) = describe_json(
                &sandbox,
                dialect,
                &fake,
                &[&ONE[..], &["--redo", "all"]].concat(),
            );
            assert_eq!(code, 2, "{case}: {report}");
            assert_eq!(report["failed"][0]["class"], class, "{case}: {report}");
            assert_eq!(report["described"], 0);
        }
    }
}

#[test]
fn repetition_cancels_the_stream_and_retries_at_a_higher_temperature() {
    for dialect in BOTH {
        let sandbox = library();
        let fake = FakeServer::start(dialect, |request| match request.number {
            0 => Reply::Repeat("the valve is open and ".to_owned()),
            _ => Reply::Answer(description(1)),
        });
        let (code, report) = describe_json(&sandbox, dialect, &fake, &ONE);
        assert_eq!(
            (code, &report["described"], &report["retries"]["repetition"]),
            (0, &1.into(), &1.into()),
            "{report}"
        );
        let temperatures: Vec<f64> = fake
            .requests()
            .iter()
            .map(|request| {
                let options = &request.body["options"]["temperature"];
                request.body["temperature"]
                    .as_f64()
                    .or(options.as_f64())
                    .unwrap()
            })
            .collect();
        assert!(
            temperatures.len() == 2 && temperatures[1] > temperatures[0],
            "{temperatures:?}"
        );
        let begun = Instant::now();
        while fake.cancelled.load(Ordering::SeqCst) == 0 {
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "the stream was not cancelled"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn an_error_of_a_batch_is_not_an_attempt_of_its_pages() {
    for dialect in BOTH {
        let sandbox = library_of(&["one page", "another page", "a third page", "and a fourth"])
            .with("INGEST_DESCRIBE_ATTEMPTS", "1");
        // After the first answer, three requests fail together; each page has one attempt only.
        let received = AtomicUsize::new(0);
        let fake = FakeServer::start(dialect, move |request| {
            if !(1..=3).contains(&request.number) {
                return Reply::Answer(description(request.pages[0]));
            }
            received.fetch_add(1, Ordering::SeqCst);
            let begun = Instant::now();
            while received.load(Ordering::SeqCst) < 3 && begun.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(10));
            }
            Reply::HttpError(500, "one of the batch failed".to_owned())
        });
        let (code, report) = describe_json(
            &sandbox,
            dialect,
            &fake,
            &["--lanes", "3", "--interleave", "1"],
        );
        assert_eq!((code, &report["described"]), (0, &4.into()), "{report}");
    }
}

#[test]
fn disconnects_and_out_of_memory_are_retried_after_a_pause() {
    for dialect in BOTH {
        let sandbox = library().with("INGEST_DESCRIBE_ATTEMPTS", "1");
        let fake = FakeServer::start(dialect, |request| match request.number {
            0 => Reply::Disconnect("{\"rotation\": 0, ".to_owned()),
            1 => Reply::HttpError(
                500,
                "[METAL] Command buffer execution failed: Insufficient Memory".to_owned(),
            ),
            _ => Reply::Answer(description(1)),
        });
        let done = describe(&sandbox, dialect, &fake, &ONE);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        assert!(
            done.err.contains("retrying in 1 s") && done.err.contains("out of memory"),
            "{}",
            done.err
        );
    }
}

#[test]
fn equal_descriptions_of_all_pages_are_failures() {
    let sandbox = library_of(&["one page", "another page", "a third page", "and a fourth"]);
    let fake = FakeServer::start(Dialect::OpenAi, |_| Reply::Answer(description(1)));
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &fake, &[]);
    assert_eq!((code, &report["described"]), (2, &0.into()), "{report}");
    let failed = report["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 4);
    assert!(
        failed
            .iter()
            .all(|failure| failure["class"] == "same-for-all"),
        "{report}"
    );
    let lines = sandbox.run(&["describe", "--export", "all.jsonl"]);
    assert_eq!(lines.code, 0, "{}", lines.err);
    let lines = std::fs::read_to_string(sandbox.path("all.jsonl")).unwrap();
    assert!(
        !lines.contains("\"described\""),
        "no description is stored: {lines}"
    );
}

#[test]
fn the_api_key_is_not_sent_unencrypted_and_not_shown() {
    let sandbox = library().with("INGEST_RUNNER_KEY", "sekrit-4711");
    let done = sandbox.run(&[
        "describe",
        "--runner",
        "openai",
        "--url",
        "http://192.0.2.1:1",
        "--model",
        "x",
    ]);
    assert_eq!(done.code, 2);
    assert!(
        done.err.contains("would be sent unencrypted"),
        "{}",
        done.err
    );
    assert!(!done.err.contains("sekrit") && !done.out.contains("sekrit"));
}

#[test]
fn unauthorized_ends_the_run_without_failed_pages() {
    for dialect in BOTH {
        let sandbox = library();
        let unauthorized = FakeServer::start(dialect, |_| {
            Reply::HttpError(401, "who are you?".to_owned())
        });
        let done = describe(
            &sandbox,
            dialect,
            &unauthorized,
            &["--lanes", "2", "--interleave", "1"],
        );
        assert_eq!(done.code, 2, "{}{}", done.out, done.err);
        assert!(
            done.err.contains("requires another API key"),
            "{}",
            done.err
        );
        let server = FakeServer::start(dialect, |request| {
            Reply::Answer(description(request.pages[0]))
        });
        let (code, report) = describe_json(&sandbox, dialect, &server, &["--interleave", "1"]);
        assert_eq!((code, &report["described"]), (0, &3.into()), "{report}");
    }
}

#[test]
fn ollama_stream_without_a_last_line_is_a_repetition() {
    let sandbox = library();
    let line = "{\"message\":{\"role\":\"assistant\",\"content\":\" gone.\"},\"done\":false}\n";
    let fake = FakeServer::start(Dialect::Ollama, move |_| {
        Reply::Raw(line.repeat(5).into_bytes())
    });
    let (code, report) = describe_json(&sandbox, Dialect::Ollama, &fake, &ONE);
    assert_eq!(code, 2, "{report}");
    assert_eq!(report["failed"][0]["class"], "repetition", "{report}");
    let bodies: Vec<_> = fake
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    assert_eq!(
        (&bodies[0]["truncate"], &bodies[0]["shift"]),
        (&false.into(), &false.into())
    );
    // Another context length would reload the model.
    assert_eq!(
        bodies[0]["options"]["num_ctx"],
        bodies[2]["options"]["num_ctx"]
    );
    assert_eq!(
        bodies[0]["messages"][0]["content"]
            .as_str()
            .unwrap()
            .matches("[img]")
            .count(),
        1
    );
}

#[test]
fn a_busy_server_is_retried_after_a_pause() {
    for dialect in BOTH {
        for status in [503, 429] {
            let sandbox = library();
            let fake = FakeServer::start(dialect, move |request| match request.number {
                0 => Reply::HttpError(status, "Loading model".to_owned()),
                _ => Reply::Answer(description(request.pages[0])),
            });
            let done = describe(
                &sandbox,
                dialect,
                &fake,
                &["--lanes", "1", "--interleave", "1"],
            );
            assert_eq!(done.code, 0, "{}{}", done.out, done.err);
            assert!(
                done.err.contains("Loading model; retrying in 1 s"),
                "{}",
                done.err
            );
            assert!(
                !done.out.contains("retries:"),
                "not an attempt of a page: {}",
                done.out
            );
        }
    }
}

#[test]
fn a_web_page_instead_of_an_answer_is_shown_and_not_waited_for() {
    let sandbox = library();
    for (status, page, why) in [
        (
            502,
            "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
            "does not reach the model server: `502 Bad Gateway nginx` (HTTP 502)",
        ),
        (
            200,
            "<!doctype html><script>location = 1</script><h1>Sign in</h1>",
            "a web page `Sign in` instead of an answer (HTTP 200)",
        ),
        (
            404,
            "<h1>Not Found</h1>",
            "refused the request: `Not Found` (HTTP 404)",
        ),
    ] {
        for dialect in BOTH {
            let fake = FakeServer::start(dialect, move |_| Reply::Html(status, page));
            let start = Instant::now();
            let done = describe(&sandbox, dialect, &fake, &ONE);
            assert_eq!(done.code, 2, "{status}: {}", done.err);
            assert!(done.err.contains(why), "{status}: {}", done.err);
            // A server that never answered is not waited for as long as one that went away.
            assert!(start.elapsed() < Duration::from_secs(30), "{}", done.err);
        }
    }
}
