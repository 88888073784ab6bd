//! Every way in which a page can fail, in both dialects, and servers that are no use.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fake::{Dialect, Fake, Reply};
use crate::shelf::{describe, description, runner, shelf, shelf_of, tally};

const BOTH: [Dialect; 2] = [Dialect::OpenAi, Dialect::Ollama];
/// One page, one lane, one page a question.
const ONE: [&str; 6] = ["--pages", "1", "--lanes", "1", "--interleave", "1"];

#[test]
fn every_failure_has_its_class() {
    for dialect in BOTH {
        let desk = shelf().with("INGEST_DESCRIBE_DEADLINE_S", "2");
        let say = |text: &str| Reply::Say(text.to_owned());
        for (reply, class) in [
            (
                Reply::Repeat("the valve is open and ".to_owned()),
                "repetition",
            ),
            (
                Reply::Cut("{\"rotation\": 0, \"title".to_owned()),
                "truncated",
            ),
            (
                Reply::Think("Let me see what the page says".to_owned()),
                "thinking",
            ),
            (say(""), "empty"),
            (
                say(
                    "{\"title\": \"#### ~~~~ ++++ aaaaaaaaaaaaaaaaaaaaaaa\", \"summary\": \"%% $$ §§ !! ** // == {} <> ^^ ||\"}",
                ),
                "gibberish",
            ),
            (
                say("{\"title\": \"Page\", \"summary\": \"A page.\"}"),
                "too-brief",
            ),
            (say("I am sorry, I cannot read that."), "unparsable"),
            (Reply::Blind(description(1)), "image-dropped"),
            (
                Reply::Refuse(400, "axis remapping failed".to_owned()),
                "server",
            ),
            (
                Reply::Fail("{\"title".to_owned(), "generation failed".to_owned()),
                "server",
            ),
            (Reply::Wait(Duration::from_secs(4)), "deadline"),
            (Reply::RawTensor(vec![b'x'; 10 << 20]), "server"),
            (Reply::RawTensor(b"data: \xff\xfe\n\n".to_vec()), "server"),
        ] {
            let told = format!("{reply:.60?}");
            let fake = Fake::start(dialect, move |_| reply.clone());
            let (code, told_by) = tally(
                &desk,
                dialect,
                &fake,
                &[&ONE[..], &["--redo", "all"]].concat(),
            );
            assert_eq!(code, 2, "{told}: {told_by}");
            assert_eq!(told_by["failed"][0]["class"], class, "{told}: {told_by}");
            assert_eq!(told_by["described"], 0);
        }
    }
}

#[test]
fn a_loop_is_closed_and_asked_again_warmer() {
    for dialect in BOTH {
        let desk = shelf();
        let fake = Fake::start(dialect, |asked| match asked.number {
            0 => Reply::Repeat("the valve is open and ".to_owned()),
            _ => Reply::Say(description(1)),
        });
        let (code, told) = tally(&desk, dialect, &fake, &ONE);
        assert_eq!(
            (code, &told["described"], &told["retries"]["repetition"]),
            (0, &1.into(), &1.into()),
            "{told}"
        );
        let warmth: Vec<f64> = fake
            .questions()
            .iter()
            .map(|asked| {
                let options = &asked.body["options"]["temperature"];
                asked.body["temperature"]
                    .as_f64()
                    .or(options.as_f64())
                    .unwrap()
            })
            .collect();
        assert!(warmth.len() == 2 && warmth[1] > warmth[0], "{warmth:?}");
        let begun = Instant::now();
        while fake.closed.load(Ordering::SeqCst) == 0 {
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "the stream was never closed"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn the_fault_of_one_is_not_charged_to_its_neighbours() {
    for dialect in BOTH {
        let desk = shelf().with("INGEST_DESCRIBE_ATTEMPTS", "1");
        // The first three questions fail together; each page has one attempt only.
        let come = AtomicUsize::new(0);
        let fake = Fake::start(dialect, move |asked| {
            if asked.number >= 3 {
                return Reply::Say(description(asked.pages[0]));
            }
            come.fetch_add(1, Ordering::SeqCst);
            let begun = Instant::now();
            while come.load(Ordering::SeqCst) < 3 && begun.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(10));
            }
            Reply::Refuse(500, "one of the batch failed".to_owned())
        });
        let (code, told) = tally(
            &desk,
            dialect,
            &fake,
            &["--lanes", "3", "--interleave", "1"],
        );
        assert_eq!((code, &told["described"]), (0, &3.into()), "{told}");
    }
}

#[test]
fn a_server_that_comes_back_is_waited_for() {
    for dialect in BOTH {
        let desk = shelf().with("INGEST_DESCRIBE_ATTEMPTS", "1");
        let fake = Fake::start(dialect, |asked| match asked.number {
            0 => Reply::HangUp("{\"rotation\": 0, ".to_owned()),
            1 => Reply::Refuse(
                500,
                "[METAL] Command buffer execution failed: Insufficient Memory".to_owned(),
            ),
            _ => Reply::Say(description(1)),
        });
        let done = describe(&desk, dialect, &fake, &ONE);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        assert!(
            done.err.contains("asking again in 1 s") && done.err.contains("out of memory"),
            "{}",
            done.err
        );
    }
}

#[test]
fn a_model_that_says_the_same_of_all_pages_is_not_believed() {
    let desk = shelf_of(&["one page", "another page", "a third page", "and a fourth"]);
    let fake = Fake::start(Dialect::OpenAi, |_| Reply::Say(description(1)));
    let (code, told) = tally(&desk, Dialect::OpenAi, &fake, &[]);
    assert_eq!((code, &told["described"]), (2, &0.into()), "{told}");
    let failed = told["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 4);
    assert!(
        failed
            .iter()
            .all(|failure| failure["class"] == "same-for-all"),
        "{told}"
    );
    let lines = desk.run(&["describe", "--export", "all.jsonl"]);
    assert_eq!(lines.code, 0, "{}", lines.err);
    let lines = std::fs::read_to_string(desk.path("all.jsonl")).unwrap();
    assert!(
        !lines.contains("\"described\""),
        "nothing of it is kept: {lines}"
    );
}

#[test]
fn servers_that_are_no_use_are_told_in_a_line() {
    let desk = shelf();
    let one_line = |args: &[&str], says: &str| {
        let done = desk.run(&[&["describe"], args].concat());
        assert_eq!(done.code, 1, "{}{}", done.out, done.err);
        let first = done.err.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("error: ") && first.contains(says),
            "{}",
            done.err
        );
    };
    for dialect in BOTH {
        let fake = Fake::start(dialect, |_| Reply::Say(String::new()));
        let server = ["--runner", runner(dialect), "--url", &fake.url];
        one_line(
            &[&server[..], &["--model", "huge"]].concat(),
            "has no model `huge`; it has: tiny",
        );
        one_line(
            &["--runner", runner(dialect), "--url", "http://127.0.0.1:9"],
            "is away",
        );
        one_line(
            &["--runner", runner(dialect), "--url", "nowhere"],
            "nowhere",
        );
    }
    let shy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", shy.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in shy.incoming().flatten() {
            drop(stream.read(&mut [0; 4096]));
            let reply = "HTTP/1.1 401 X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            drop(stream.write_all(reply.as_bytes()));
        }
    });
    one_line(
        &["--runner", "openai", "--url", &url],
        "wants another API key",
    );
    let desk = crate::sandbox::Sandbox::tiny();
    let empty = desk.run(&["describe", "--store", "nothing.db"]);
    assert_eq!(empty.code, 1);
    assert!(
        empty.err.contains("nothing has been stored"),
        "{}",
        empty.err
    );
    assert!(!desk.path("nothing.db").exists(), "a store was made");
}

#[test]
fn the_key_is_sent_and_never_shown() {
    let desk = shelf().with("INGEST_RUNNER_KEY", "sekrit-4711");
    let done = desk.run(&[
        "describe",
        "--runner",
        "openai",
        "--url",
        "http://192.0.2.1:1",
        "--model",
        "x",
    ]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("would go unencrypted"), "{}", done.err);
    assert!(!done.err.contains("sekrit") && !done.out.contains("sekrit"));
}

#[test]
fn a_server_that_is_given_up_blames_no_page() {
    for dialect in BOTH {
        let desk = shelf();
        let shut = Fake::start(dialect, |_| Reply::Refuse(401, "who are you?".to_owned()));
        let done = describe(
            &desk,
            dialect,
            &shut,
            &["--lanes", "2", "--interleave", "1"],
        );
        assert_eq!(done.code, 1, "{}{}", done.out, done.err);
        assert!(done.err.contains("wants another API key"), "{}", done.err);
        let open = Fake::start(dialect, |asked| Reply::Say(description(asked.pages[0])));
        let (code, told) = tally(&desk, dialect, &open, &["--interleave", "1"]);
        assert_eq!((code, &told["described"]), (0, &3.into()), "{told}");
    }
}

#[test]
fn ollama_ends_a_loop_without_a_word_and_that_is_a_loop() {
    let desk = shelf();
    let line = "{\"message\":{\"role\":\"assistant\",\"content\":\" gone.\"},\"done\":false}\n";
    let fake = Fake::start(Dialect::Ollama, move |_| {
        Reply::RawTensor(line.repeat(5).into_bytes())
    });
    let (code, told) = tally(&desk, Dialect::Ollama, &fake, &ONE);
    assert_eq!(code, 2, "{told}");
    assert_eq!(told["failed"][0]["class"], "repetition", "{told}");
    let bodies: Vec<_> = fake
        .questions()
        .into_iter()
        .map(|asked| asked.body)
        .collect();
    assert_eq!(
        (&bodies[0]["truncate"], &bodies[0]["shift"]),
        (&false.into(), &false.into())
    );
    // Another context would load the model anew.
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
fn what_is_no_such_server_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes);
            let reply = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    let desk = shelf();
    for (runner, path) in [("mlx-vlm", "/v1/models"), ("ollama", "/api/version")] {
        let done = desk.run(&[
            "describe", "--runner", runner, "--url", &url, "--model", "x",
        ]);
        let told = format!("what answers at {url} is no such server: {path} answers 404");
        assert!(done.code == 1 && done.err.contains(&told), "{}", done.err);
    }
}

#[test]
fn a_server_that_is_busy_is_waited_for() {
    for dialect in BOTH {
        for status in [503, 429] {
            let desk = shelf();
            let fake = Fake::start(dialect, move |asked| match asked.number {
                0 => Reply::Refuse(status, "Loading model".to_owned()),
                _ => Reply::Say(description(asked.pages[0])),
            });
            let done = describe(
                &desk,
                dialect,
                &fake,
                &["--lanes", "1", "--interleave", "1"],
            );
            assert_eq!(done.code, 0, "{}{}", done.out, done.err);
            assert!(
                done.err.contains("Loading model; asking again in 1 s"),
                "{}",
                done.err
            );
            assert!(
                !done.out.contains("retries:"),
                "no page is to blame: {}",
                done.out
            );
        }
    }
}
