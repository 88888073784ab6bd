//! `ingest eval ask` with a scripted server: its measures equal those computed by hand.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::ask::{library, number_of_page};
use crate::fake_server::{Dialect, FakeServer, ReceivedRequest, Reply};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::shape::assert_shape;

/// Questions about the pages of [`library`]; the model never answers the fourth, and the last two have no answer.
fn write_questions(sandbox: &Sandbox) {
    let question = |text: &str, pages: &[u32], answers: &[&str], kind: &str| json!({"question": text, "manual": "pump.pdf", "pages": pages, "answers": answers, "kind": kind});
    let questions = json!([
        question("Which torque?", &[1], &["18 Nm"], "lexical"),
        question("How long does it burn?", &[2], &["5 min"], "lexical"),
        question("What should I read?", &[1, 3], &["manual"], "lexical"),
        question("Which limiter?", &[2], &["torque"], "lexical"),
        question("Which torque for the bleed screw?", &[], &[], "absent"),
        question("What is E-99?", &[], &[], "absent"),
    ]);
    sandbox.write("questions.json", questions.to_string().as_bytes());
}

/// Answers by the question and its pages. The contexts are asked in turn, so the second question comes first with the pages of
/// the search, then with its own, then with two wrong ones.
fn reply(request: &ReceivedRequest, burns: &AtomicUsize) -> Reply {
    let body = request.body.to_string();
    let asks = |text: &str| body.contains(&format!("Question: {text}\\nAnswer:"));
    let n = |page| number_of_page(request, page);
    let pages = body.matches("\\\"pump.pdf\\\", page ").count();
    Reply::Answer(if asks("Which torque?") {
        format!("FOUND\n18 N·m [{0}]. It takes 42 V [{0}].", n(1))
    } else if asks("How long does it burn?") {
        match burns.fetch_add(1, Ordering::SeqCst) {
            0 => "NOT FOUND".to_owned(),
            1 => "FOUND\n5 min [1]".to_owned(),
            _ => format!("FOUND\nIt burns for 9 min [{}].", n(1)),
        }
    } else if asks("What should I read?") {
        match pages {
            2 => "FOUND\nSee the manual [1][2].".to_owned(),
            _ => format!("FOUND\nSee the manual [{}][{}].", n(3), n(2)),
        }
    } else if asks("Which limiter?") {
        return Reply::Reasoning("Let me think. ".repeat(9));
    } else if asks("Which torque for the bleed screw?") && pages == 2 {
        "FOUND\nIt is 20 Nm [1].".to_owned()
    } else {
        "NOT FOUND".to_owned()
    })
}

fn eval_ask(sandbox: &Sandbox, fake: &FakeServer, more: &[&str]) -> CommandOutput {
    let args = ["eval", "ask", "questions.json", "--runner", "openai"];
    let server = ["--url", fake.url.as_str(), "--model", "tiny"];
    sandbox.run(&[&args[..], &server, more].concat())
}

fn server() -> FakeServer {
    let burns = AtomicUsize::new(0);
    FakeServer::start(Dialect::OpenAi, move |request| reply(request, &burns))
}

#[test]
fn all_measures_equal_those_computed_by_hand() {
    let sandbox = library();
    write_questions(&sandbox);
    let done = eval_ask(&sandbox, &server(), &["--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let report = done.json();
    assert_eq!(
        (&report["model"], &report["pages"]),
        (&"tiny".into(), &3.into())
    );
    // F1: "18 nm it takes 42 v" for "18 nm": 2 · 2 / 8; "it burns for 9 min" for "5 min": 2 · 1 / 7; "see manual" for "manual":
    // 2 · 1 / 3.
    let (torque, burns, manual) = (0.5, 2.0 / 7.0, 2.0 / 3.0);
    for (index, context, expected) in [
        // Right: 1 and 3. Page 1 is cited, a refusal, one of two pages is cited beside a wrong one, no answer. One of two answers
        // has a number that its page lacks.
        (
            0,
            "retrieved",
            [0.5, 0.0, (torque + manual) / 4.0, 0.75, 0.375, 0.25, 50.0],
        ),
        (
            1,
            "oracle",
            [
                0.75,
                0.25,
                (torque + 1.0 + manual) / 4.0,
                1.0,
                0.75,
                0.0,
                100.0 / 3.0,
            ],
        ),
        // 42 V, 9 min, and 20 Nm of the answer to an absent question, in four answers.
        (
            2,
            "oracle+2",
            [
                0.5,
                0.0,
                (torque + burns + manual) / 4.0,
                0.5,
                0.375,
                0.0,
                75.0,
            ],
        ),
    ] {
        let result = &report["results"][index];
        assert_eq!(result["context"], context);
        let mean = |name: &str| result[name]["mean"].as_f64().unwrap();
        let found = [
            mean("right"),
            mean("vqa"),
            mean("f1"),
            mean("citation_precision"),
            mean("citation_recall"),
            mean("falsely_refused"),
            result["unconfirmed_per_100"].as_f64().unwrap(),
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{context}: {result}");
        }
        assert_eq!(mean("right_and_cited"), mean("right"));
        assert_eq!(
            (&result["questions"], &result["failed"]),
            (&4.into(), &1.into())
        );
        assert_eq!(result["tokens"], 50.0);
        assert!(result["first_s"]["p50"].as_f64().unwrap() > 0.0);
    }
    let refused = |index: usize| report["results"][index]["refused"]["mean"].as_f64();
    assert_eq!([0, 1, 2].map(refused), [Some(1.0), None, Some(0.5)]);
    assert_eq!(report["results"][1]["absent"], 0);
}

#[test]
fn json_has_each_answer_with_the_pages_that_were_read() {
    let sandbox = library();
    write_questions(&sandbox);
    let report = eval_ask(&sandbox, &server(), &["--json"]).json();
    assert_shape(
        &report,
        &[
            "$: model pages questions results runner schema version",
            "$.results[]: absent answers citation_precision citation_recall context f1 failed falsely_refused first_s \
             questions refused right right_and_cited tokens unconfirmed_per_100 vqa",
            "$.results[].answers[]: answer cited error expected f1 failed first_s is_absent precision question read recall \
             refused right right_and_cited tokens unconfirmed vqa",
            "$.results[].citation_precision: high low mean",
            "$.results[].citation_recall: high low mean",
            "$.results[].f1: high low mean",
            "$.results[].falsely_refused: high low mean",
            "$.results[].first_s: p50 p95",
            "$.results[].refused: high low mean",
            "$.results[].right: high low mean",
            "$.results[].right_and_cited: high low mean",
            "$.results[].vqa: high low mean",
        ],
    );
    let read = |context: usize, question: usize| {
        let read = report["results"][context]["answers"][question]["read"].as_array();
        let numbers = read.unwrap().iter().filter_map(Value::as_str);
        let mut numbers: Vec<String> = numbers
            .map(|page| page.replace("pump.pdf, page ", ""))
            .collect();
        if context < 2 {
            numbers.sort();
        }
        numbers.concat()
    };
    // The pages of the search, those that answer, and these with the others in order; the fifth question has no page that answers.
    assert_eq!([read(0, 0), read(1, 0), read(2, 0)], ["123", "1", "123"]);
    assert_eq!([read(1, 2), read(2, 2)], ["13", "123"]);
    assert_eq!(read(2, 4).len(), 2);
    let failed = &report["results"][1]["answers"][3];
    assert!(
        failed["error"].as_str().unwrap().contains("(thinking)"),
        "{failed}"
    );
    let cited = &report["results"][0]["answers"][2];
    assert_eq!(
        cited["cited"],
        json!(["pump.pdf, page 3", "pump.pdf, page 2"])
    );
}

#[test]
fn a_table_has_a_row_for_each_context() {
    let sandbox = library();
    write_questions(&sandbox);
    let done = eval_ask(&sandbox, &server(), &["--manual", "pump", "--pages", "1"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let head = "questions: questions.json\ntiny on ";
    assert!(done.out.starts_with(head), "{}", done.out);
    assert!(
        done.out.contains(", at most 1 retrieved page\n"),
        "{}",
        done.out
    );
    let lines: Vec<&str> = done.out.lines().collect();
    let failures = lines
        .iter()
        .filter(|line| line.contains(": `Which limiter?`: the model gave no answer"));
    assert_eq!(failures.count(), 3, "{}", done.out);
    let table = &lines[lines.len() - 4..];
    assert!(table[0].starts_with("context "), "{}", done.out);
    for (line, context) in table[1..]
        .iter()
        .zip(["retrieved ", "oracle ", "oracle+2 "])
    {
        assert!(
            line.starts_with(context) && line.contains(" / "),
            "{}",
            done.out
        );
    }
}

#[test]
fn questions_without_pages_or_about_other_manuals_are_errors() {
    let sandbox = library();
    let fake = server();
    for (entry, why) in [
        (
            json!({"manual": "pump.pdf", "pages": []}),
            "`How?` has no pages",
        ),
        (
            json!({"manual": "other.pdf", "pages": [1]}),
            "other.pdf, page 1, which answers `How?`, is not stored",
        ),
    ] {
        let mut entry = entry;
        entry["question"] = "How?".into();
        sandbox.write("questions.json", json!([entry]).to_string().as_bytes());
        let done = eval_ask(&sandbox, &fake, &[]);
        assert_eq!(done.code, 1, "{}", done.out);
        assert!(done.err.contains(why), "{}", done.err);
    }
    let done = eval_ask(&sandbox, &fake, &["--manual", "pump"]);
    assert!(
        done.err.contains("no question is about these manuals"),
        "{}",
        done.err
    );
    assert!(fake.requests().is_empty());
}
