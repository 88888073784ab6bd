//! `ingest ask` with a scripted server: citations, checks, refusals, answers that are cut, and servers that fail.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake_server::{Dialect, FakeServer, ReceivedRequest, Reply};
use crate::library::runner;
use crate::mlx::Server;
use crate::ollama::{OUTPUT, Ollama};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::support::pdf;

const QUESTION: &str = "What torque for the flare nuts?";

/// A library where page 1 answers [`QUESTION`].
pub(crate) fn library() -> Sandbox {
    let sandbox = Sandbox::built_in();
    let more = ") Tj 0 -40 Td (Read the manual before you start the work.";
    let pages = [
        "Tighten the flare nuts to a torque of 18 Nm",
        "The flare gas burns for 5 min at the torque limiter",
        "Drain the oil and close the valve again",
    ];
    let pages = pages.map(|page| format!("{page}{more}"));
    sandbox.write(
        "pump.pdf",
        &pdf::good(&pages.each_ref().map(String::as_str)),
    );
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    sandbox
}

fn ask(sandbox: &Sandbox, fake: &FakeServer, dialect: Dialect, more: &[&str]) -> CommandOutput {
    let args = [
        "--runner",
        runner(dialect),
        "--url",
        &fake.url,
        "--model",
        "tiny",
    ];
    sandbox.run(&[&["ask"], more, &args].concat())
}

fn ask_json(sandbox: &Sandbox, fake: &FakeServer, more: &[&str]) -> (i32, Value) {
    let args = [&[QUESTION, "--json"], more].concat();
    let done = ask(sandbox, fake, Dialect::OpenAi, &args);
    (done.code, done.json())
}

/// The number under which page 1 was sent.
fn number_of_page_1(request: &ReceivedRequest) -> usize {
    number_of_page(request, 1)
}

/// The number under which a page was sent.
pub(crate) fn number_of_page(request: &ReceivedRequest, page: u32) -> usize {
    let body = request.body.to_string();
    let label = format!("\\\"pump.pdf\\\", page {page}");
    let number = body.split(&label).next().unwrap();
    number.rsplit('[').next().unwrap()[..1].parse().unwrap()
}

#[test]
fn an_answer_cites_its_pages_and_is_checked() {
    let sandbox = library();
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        let fake = FakeServer::start(dialect, |request| {
            let n = number_of_page_1(request);
            Reply::Answer(format!(
                "FOUND\nTighten them to 18 N·m [{n}][7]. It takes 42 V [{n}, 9]."
            ))
        });
        let done = ask(&sandbox, &fake, dialect, &[QUESTION]);
        let request = &fake.requests()[0];
        let n = number_of_page_1(request);
        let expected =
            format!("Tighten them to 18 N·m [{n}]. It takes 42 V [{n}].\n[{n}] pump.pdf page 1\n");
        assert_eq!((done.code, done.out), (0, expected), "{}", done.err);
        let warning = "not in the text of the cited pages: 42 V\n";
        assert!(done.err.ends_with(warning), "{}", done.err);
        // Greedy, with three pages and their text in fences, the question last.
        let body = request.body.to_string();
        for part in [
            "Tighten the flare nuts",
            "```",
            "Question: What torque for the flare nuts?\\nAnswer:",
        ] {
            assert!(body.contains(part), "{part}: {body}");
        }
        let images = body.matches("data:image/jpeg").count() + body.matches("\"images\"").count();
        assert!(images == 3 || dialect == Dialect::Ollama, "{images}");
    }
}

#[test]
fn json_has_the_answer_its_citations_and_facts() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        let n = number_of_page_1(request);
        Reply::Answer(format!("FOUND\n18 Nm [{n}]. Then 42 V [9]."))
    });
    let (code, report) = ask_json(&sandbox, &fake, &["--pages", "2"]);
    assert_eq!(code, 0);
    assert_eq!(report["question"], QUESTION);
    assert_eq!(
        (&report["found"], &report["cut"]),
        (&true.into(), &Value::Null)
    );
    assert_eq!(report["foreign_citations"], 1);
    let cited = &report["citations"][0];
    assert_eq!(
        (&cited["manual"], &cited["page"]),
        (&"pump.pdf".into(), &1.into())
    );
    assert_eq!(report["citations"].as_array().unwrap().len(), 1);
    assert_eq!(report["pages"].as_array().unwrap().len(), 2);
    let facts = serde_json::json!([
        {"text": "18 Nm", "verdict": "confirmed"}, {"text": "42 V", "verdict": "not-confirmed"},
    ]);
    assert_eq!(report["facts"], facts);
    assert_eq!(
        (&report["tokens"], &report["model"]),
        (&50.into(), &"tiny".into())
    );
    let (_, pages) = ask_json(&sandbox, &fake, &["--manual", "pump", "--pages", "1"]);
    assert_eq!(pages["pages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_refusal_and_an_answer_without_a_source_exit_with_3() {
    let sandbox = library();
    for (answer, list) in [
        ("NOT FOUND", "not on the pages that were read:"),
        (
            "<think>maybe [2]</think>NOT FOUND",
            "not on the pages that were read:",
        ),
        (
            "NOT FOUND\nThe pages are about pumps [1].",
            "not on the pages that were read:",
        ),
        (
            "FOUND\nIt is 18 Nm.",
            "no page is cited; those that were read:",
        ),
        (
            "FOUND\nIt is 18 Nm [8].",
            "no page is cited; those that were read:",
        ),
    ] {
        let fake = FakeServer::start(Dialect::OpenAi, move |_| Reply::Answer(answer.to_owned()));
        let done = ask(&sandbox, &fake, Dialect::OpenAi, &[QUESTION]);
        assert_eq!(done.code, 3, "{answer}: {}", done.out);
        let list = format!("{list}\n[1] pump.pdf page ");
        assert!(done.out.contains(&list), "{answer}: {}", done.out);
        let (code, report) = ask_json(&sandbox, &fake, &[]);
        assert_eq!((code, &report["found"]), (3, &false.into()));
    }
}

#[test]
fn answers_that_are_cut_say_so() {
    let sandbox = library();
    for (reply, cut, message) in [
        (
            Reply::Truncated("FOUND\nTighten them to 18 Nm [1] and".to_owned()),
            "length",
            "raise `ask.max_tokens`",
        ),
        (
            Reply::Repeat("and then tighten them again [1], ".to_owned()),
            "repetition",
            "began to repeat itself",
        ),
    ] {
        let fake = FakeServer::start(Dialect::OpenAi, move |_| reply.clone());
        let (code, report) = ask_json(&sandbox, &fake, &[]);
        assert_eq!((code, &report["cut"]), (0, &cut.into()), "{report}");
        let done = ask(&sandbox, &fake, Dialect::OpenAi, &[QUESTION]);
        assert!(done.err.contains(message), "{}", done.err);
    }
}

#[test]
fn reasoning_without_an_answer_is_an_error_with_a_hint() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |_| {
        Reply::Reasoning("Let me think. ".repeat(9))
    });
    let done = ask(&sandbox, &fake, Dialect::OpenAi, &[QUESTION]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(
        done.err.contains("gave no answer (thinking)"),
        "{}",
        done.err
    );
    assert!(
        done.err.contains("hint: raise `ask.max_tokens`"),
        "{}",
        done.err
    );
}

#[test]
fn an_answer_that_breaks_off_begins_anew() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |request| match request.number {
        0 => Reply::Disconnect("FOUND\nTighten them to 99".to_owned()),
        _ if request.is_test => Reply::Answer("a black square".to_owned()),
        _ => Reply::Answer(format!("FOUND\n18 Nm [{}].", number_of_page_1(request))),
    });
    let (code, report) = ask_json(&sandbox, &fake, &[]);
    assert_eq!(code, 0, "{report}");
    let answer = report["answer"].as_str().unwrap();
    assert!(
        answer.starts_with("18 Nm [") && !answer.contains("99"),
        "{answer}"
    );
}

#[test]
fn without_a_model_the_pages_are_shown_with_what_starts_one() {
    let sandbox = library();
    let done = sandbox.run(&[
        "ask",
        QUESTION,
        "--runner",
        "ollama",
        "--url",
        "http://127.0.0.1:9",
    ]);
    assert_eq!(done.code, 1);
    let list = "pages that may answer:\n[1] pump.pdf page ";
    assert!(done.out.starts_with(list), "{}", done.out);
    assert!(done.err.contains("is unavailable"), "{}", done.err);
    assert!(done.err.contains("--runner ollama --model"), "{}", done.err);
}

#[test]
fn each_line_of_stdin_is_a_question() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        match request.body.to_string().contains("Question: unknown") {
            true => Reply::Answer("NOT FOUND".to_owned()),
            false => Reply::Answer("FOUND\nYes [1].".to_owned()),
        }
    });
    sandbox.write("questions.txt", b"flare nuts\n\nunknown torque\n");
    let args = [
        "ask", "-", "--json", "--runner", "openai", "--url", &fake.url,
    ];
    let lines = std::fs::File::open(sandbox.path("questions.txt")).unwrap();
    let done: CommandOutput = sandbox.command(&args).stdin(lines).output().unwrap().into();
    assert_eq!(done.code, 3, "{}", done.err);
    let found: Vec<Value> = done
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["found"].take())
        .collect();
    assert_eq!(found, [true, false]);
}

#[test]
fn cited_pages_are_written_with_heat_maps() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        Reply::Answer(format!("FOUND\n18 Nm [{}].", number_of_page_1(request)))
    });
    let done = ask(
        &sandbox,
        &fake,
        Dialect::OpenAi,
        &[QUESTION, "--show", "answers"],
    );
    assert_eq!(done.code, 0, "{}", done.err);
    let marked = image::open(sandbox.path("answers/pump-page-1.png"))
        .unwrap()
        .to_rgb8();
    let is_coloured = |p: &image::Rgb<u8>| p.0[0] > p.0[2].saturating_add(60);
    assert!(marked.pixels().any(is_coloured));
}

#[test]
fn pages_whose_file_is_gone_are_read_as_text() {
    let sandbox = library();
    std::fs::remove_file(sandbox.path("pump.pdf")).unwrap();
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        Reply::Answer(format!("FOUND\n18 Nm [{}].", number_of_page_1(request)))
    });
    let done = ask(&sandbox, &fake, Dialect::OpenAi, &[QUESTION]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("only its text is read"), "{}", done.err);
    assert!(!fake.requests()[0].body.to_string().contains("image/jpeg"));
}

/// Asks a real server whose model cites nothing.
fn refused(sandbox: &Sandbox, runner: &[&str], more: &[&str]) -> Value {
    let done = sandbox.run(&[&["ask", QUESTION, "--json"], runner, more].concat());
    assert_eq!(done.code, 3, "{}{}", done.out, done.err);
    let report = done.json();
    assert_eq!(
        (&report["found"], report["pages"].as_array().unwrap().len()),
        (&false.into(), 2)
    );
    report
}

#[test]
fn ollama_gets_the_pictures_and_its_circles_are_cut() {
    let sandbox = library().with("INGEST_DESCRIBE_MEGAPIXELS", "0.1");
    let server = Ollama::start(&["stop", "circle"]);
    for (model, cut) in [("stop", Value::Null), ("circle", "repetition".into())] {
        let runner = ["--runner", "ollama", "--url", &server.url, "--model", model];
        let report = refused(&sandbox, &runner, &["--pages", "2"]);
        let answer = report["answer"].as_str().unwrap();
        assert!(answer.starts_with(OUTPUT), "{answer}");
        assert_eq!(report["cut"], cut, "{report}");
    }
}

#[test]
fn nonsense_of_mlx_vlm_is_no_answer() {
    let sandbox = library().with("INGEST_DESCRIBE_MEGAPIXELS", "0.1");
    let server = Server::start("qwen2.5-vl");
    let runner = ["--runner", "mlx-vlm", "--url", &server.url()];
    let report = refused(&sandbox, &runner, &["--pages", "2", "--max-tokens", "20"]);
    assert_eq!(
        (&report["cut"], &report["tokens"]),
        (&"length".into(), &20.into())
    );
}

#[test]
fn an_interrupt_ends_the_wait_for_a_server() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |_| {
        Reply::HttpError(503, "loading".to_owned())
    });
    let mut command = sandbox.command(&["ask", QUESTION, "--runner", "openai", "--url", &fake.url]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    while fake.requests().len() < 3 {
        assert!(child.try_wait().unwrap().is_none(), "it gave up");
        thread::sleep(Duration::from_millis(20));
    }
    let start = Instant::now();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    child.wait().unwrap();
    // After 1 and 2 s the next attempt would come after 4 s.
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn an_answer_far_above_the_maximum_is_cut() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |_| {
        let words: String = (0..5_000).map(|n| format!("{n} ")).collect();
        Reply::Answer(format!("FOUND\nIt is 18 Nm [1]. {words}"))
    });
    let (code, report) = ask_json(&sandbox, &fake, &["--max-tokens", "20"]);
    assert_eq!((code, &report["cut"]), (0, &"length".into()));
    // 20 tokens of 32 bytes at most, and the piece that passes them.
    assert!(report["answer"].as_str().unwrap().len() < 700);
}
