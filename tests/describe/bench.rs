//! `ingest bench describe`: comparison of candidates.

use std::path::Path;

use serde_json::{Value, json};

use crate::fake_server::{Dialect, FakeServer, ReceivedRequest, Reply};
use crate::library::{description, library_of};
use crate::mlx::Server;
use crate::ollama::Ollama;
use crate::sandbox::{CommandOutput, Sandbox, manual};
use crate::support::pdf;

/// Four stored pages that share words with their descriptions.
fn library() -> Sandbox {
    let texts = [
        "Resetting the alarm: silences the buzzer of the panel",
        "Spare parts: gaskets for the compressor",
        "Fault codes: the circulator stands still in winter",
        "Another page that says something else",
    ];
    library_of(&texts).with("INGEST_DESCRIBE_MEGAPIXELS", "0.3")
}

fn questions(sandbox: &Sandbox) -> String {
    let questions = json!([
        {"question": "What silences the panel?", "manual": "pump.pdf", "pages": [1], "answers": ["reset"]},
        {"question": "Which code?", "manual": "pump.pdf", "pages": [3], "answers": ["E-104"]},
        {"question": "On a page that is not there?", "manual": "pump.pdf", "pages": [9], "answers": ["no"]},
    ]);
    sandbox.write("questions.json", questions.to_string().as_bytes());
    "questions.json".to_owned()
}

/// Correct descriptions, and answers to questions that come with an image.
fn correct(request: &ReceivedRequest) -> Reply {
    let body = request.body.to_string();
    let all: Vec<String> = request
        .pages
        .iter()
        .map(|&page| description(page))
        .collect();
    Reply::Answer(match (body.contains("Question:"), &all[..]) {
        (true, []) => "I see no page".to_owned(),
        (true, _) if body.contains("Which code?") => "The E-104.".to_owned(),
        (true, _) => "the reset button".to_owned(),
        (false, [one]) => one.clone(),
        (false, all) => format!("[{}]", all.join(", ")),
    })
}

/// Swaps the pages of a request, and gives the same answer with and without an image.
fn confused(request: &ReceivedRequest) -> Reply {
    if request.body.to_string().contains("Question:") {
        return Reply::Answer("E 104".to_owned());
    }
    match &request.pages[..] {
        [one] => Reply::Answer(description(*one)),
        all => {
            let pairs = all.iter().zip(all.iter().rev());
            let swapped = pairs.map(|(&label, &page)| {
                let (own, other) = (format!("\"page\": {page},"), format!("\"page\": {label},"));
                description(page).replace(&own, &other)
            });
            Reply::Answer(format!("[{}]", swapped.collect::<Vec<_>>().join(", ")))
        }
    }
}

fn bench(sandbox: &Sandbox, candidates: &[&str], more: &[&str]) -> CommandOutput {
    let mut args = vec!["bench", "describe"];
    for candidate in candidates {
        args.extend(["--candidate", candidate]);
    }
    args.extend(more);
    sandbox.run(&args)
}

/// Approaches that four pages allow, with batches of 1, 2, 4 and 20.
const APPROACHES: [(&str, u64); 5] = [
    ("sequential", 1),
    ("lanes", 2),
    ("lanes", 4),
    ("interleaved", 2),
    ("interleaved", 4),
];

/// Checks the rows of a correct model and of one that confuses pages.
fn check_approaches(correct: &Value, confused: &Value) {
    let rows = correct["rows"].as_array().unwrap();
    assert_eq!(rows.len(), APPROACHES.len());
    for (row, (approach, batch)) in rows.iter().zip(APPROACHES) {
        assert_eq!(
            (&row["approach"], &row["batch"]),
            (&approach.into(), &batch.into())
        );
        let rounds = row["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2);
        for round in rounds {
            assert_eq!(
                (&round["described"], &round["mapped"]),
                (&4.into(), &json!([4, 4])),
                "{round}"
            );
            let questions = round["questions"].as_u64().unwrap();
            let expected = if approach == "interleaved" {
                4 / batch
            } else {
                4
            };
            assert_eq!(questions, expected);
            assert_eq!(round["tokens"], 50 * questions);
        }
    }
    let mapped = |row: usize| &confused["rows"][row]["rounds"][0]["mapped"];
    assert_eq!(
        (mapped(0), mapped(3)),
        (&json!([4, 4]), &json!([0, 4])),
        "pages are swapped"
    );
}

#[test]
fn candidates_are_measured_graded_and_ranked() {
    let sandbox = library();
    let good = FakeServer::start(Dialect::OpenAi, correct);
    let bad = FakeServer::start(Dialect::Ollama, confused);
    let names = [
        format!("openai=tiny@{}", good.url),
        format!("ollama=tiny@{}", bad.url),
        "openai=tiny@http://127.0.0.1:9".to_owned(),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let questions = questions(&sandbox);
    let files = [
        "--markdown",
        "r.md",
        "--html",
        "r.html",
        "--questions",
        &questions,
    ];
    let more = [
        &files[..],
        &["--batch", "1,2,4,20", "--runs", "2", "--json"],
    ]
    .concat();
    let done = bench(&sandbox, &names, &more);
    let report = done.json();
    assert_eq!(done.code, 1, "one of three passes: {}", done.err);
    let [first, second, third] = &report["candidates"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    check_approaches(first, second);
    let answers = &first["answers"];
    assert_eq!(
        (&answers["simple"], &answers["vqa"], &answers["blind_vqa"]),
        (&0.5.into(), &0.5.into(), &0.0.into())
    );
    assert_eq!(second["answers"]["vqa"], second["answers"]["blind_vqa"]);
    assert_eq!(first["consistency"]["beside"], 1.0);
    assert_eq!(first["verdict"]["grade"], "pass", "{}", first["verdict"]);
    assert_eq!(second["verdict"]["grade"], "fail", "{}", second["verdict"]);
    assert!(
        third["error"].as_str().unwrap().contains("is unavailable"),
        "{third}"
    );
    assert_eq!(report["rankings"]["accuracy"][0], names[0]);
    assert_eq!(report["rankings"]["overall"][2], names[2]);
    assert_eq!(
        (&report["pages"], &report["library"], &report["questions"]),
        (&4.into(), &4.into(), &2.into())
    );
    let markdown = std::fs::read_to_string(sandbox.path("r.md")).unwrap();
    assert!(
        markdown.contains("| interleaved 4 |") && markdown.contains("(ignores the image)"),
        "{markdown}"
    );
    let html = std::fs::read_to_string(sandbox.path("r.html")).unwrap();
    assert_eq!(html.matches("data:image/jpeg").count(), 4);
    assert!(html.matches("<dd>").count() == 12 && html.matches("<svg").count() == 2);
    assert!(html.contains("How somebody silences the buzzer"));
}

#[test]
fn answers_from_the_library_are_measured_too() {
    let sandbox = library();
    let asked = json!([
        {"question": "What silences the buzzer?", "manual": "pump.pdf", "pages": [1], "answers": ["alarm"], "kind": "lexical"},
        {"question": "Who made it?", "manual": "pump.pdf", "pages": [], "answers": [], "kind": "absent"},
    ]);
    sandbox.write("asked.json", asked.to_string().as_bytes());
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        match request.body.to_string().contains("Question: What") {
            true => Reply::Answer("FOUND\nResetting the alarm [1].".to_owned()),
            false => correct(request),
        }
    });
    let names = [
        format!("openai=tiny@{}", fake.url),
        "openai=tiny@http://127.0.0.1:9".to_owned(),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = ["--pages", "1", "--approach", "sequential", "--runs", "1"];
    let more = ["--ask", "asked.json", "--html", "r.html", "--json"];
    let done = bench(&sandbox, &names, &[&options[..], &more].concat());
    let report = done.json();
    let [answers] = &report["answers"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    let scores = &answers["results"][1];
    assert_eq!(answers["results"][1]["context"], "oracle");
    assert_eq!(scores["right_and_cited"]["mean"], 1.0, "{scores}");
    let html = std::fs::read_to_string(sandbox.path("r.html")).unwrap();
    assert!(
        html.contains("Answers</h2>") && html.contains("oracle+2"),
        "{html}"
    );
    let done = bench(
        &sandbox,
        &names[..1],
        &["--ask", "none.json", "--pages", "1"],
    );
    assert!(
        done.code == 1 && done.err.contains("none.json"),
        "{}",
        done.err
    );
}

#[test]
fn a_request_holds_pages_of_one_manual_only() {
    let sandbox = library();
    sandbox.write(
        "valve.pdf",
        &pdf::good(&["Closing the valve", "Opening the valve"]),
    );
    assert_eq!(sandbox.run(&["valve.pdf"]).code, 0);
    let fake = FakeServer::start(Dialect::OpenAi, correct);
    let name = format!("openai=tiny@{}", fake.url);
    let options = [
        "--approach",
        "interleaved",
        "--batch",
        "4",
        "--runs",
        "1",
        "--json",
    ];
    let report = bench(&sandbox, &[&name], &options).json();
    let round = &report["candidates"][0]["rows"][0]["rounds"][0];
    assert_eq!(
        (&round["described"], &round["questions"]),
        (&6.into(), &2.into()),
        "{round}"
    );
    let wrong = bench(&sandbox, &["lmstudio=x"], &[]);
    let message = "unknown runner `lmstudio`: expected mlx-vlm, ollama, mlx or openai";
    assert!(
        wrong.code == 64 && wrong.err.contains(message),
        "{}",
        wrong.err
    );
    let none = bench(
        &sandbox,
        &[&name],
        &["--approach", "lanes", "--batch", "20"],
    );
    assert!(
        none.code == 64 && none.err.contains("no approach is left to run"),
        "{}",
        none.err
    );
}

#[test]
fn text_output_is_a_table() {
    let sandbox = library();
    let good = FakeServer::start(Dialect::OpenAi, correct);
    let name = format!("openai=tiny@{}", good.url);
    let shown = bench(
        &sandbox,
        &[&name],
        &["--approach", "lanes", "--batch", "2", "--runs", "1"],
    );
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(
        shown.out.contains("lanes 2") && shown.out.contains("4 of 4"),
        "{}",
        shown.out
    );
    assert!(
        shown.out.contains("fastest is lanes 2; all 4 pages"),
        "{}",
        shown.out
    );
}

#[test]
fn answers_of_several_annotators_are_scored_by_the_vqa_metric() {
    let sandbox = Sandbox::tiny();
    sandbox.write(
        "COCO_val2014_000000000042.pdf",
        &pdf::good(&["a bus in the street"]),
    );
    assert_eq!(sandbox.run(&["COCO_val2014_000000000042.pdf"]).code, 0);
    let labels = [
        "red", "red", "Red.", "blue", "blue", "dark", "dark", "dark", "dark", "green",
    ];
    let labels: Vec<Value> = labels
        .iter()
        .map(|answer| json!({"answer": answer}))
        .collect();
    let questions =
        json!({"questions": [{"image_id": 42, "question": "What colour?", "question_id": 7}]});
    let annotations = json!({"annotations": [{"question_id": 7, "answers": labels}]});
    sandbox.write("q.json", questions.to_string().as_bytes());
    sandbox.write("a.json", annotations.to_string().as_bytes());
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        match request.body.to_string().contains("What colour?") {
            true => Reply::Answer("the red".to_owned()),
            false => Reply::Answer(description(1)),
        }
    });
    let name = format!("openai=tiny@{}", fake.url);
    let done = bench(
        &sandbox,
        &[&name],
        &["--questions", "q.json,a.json", "--runs", "1", "--json"],
    );
    let answers = done.json()["candidates"][0]["answers"].clone();
    assert_eq!(answers["simple"], 1.0, "{answers}");
    // Three of ten say red: min(1, 2 / 3) for each of them, 1 for each of the seven others.
    assert!(
        (answers["vqa"].as_f64().unwrap() - 0.9).abs() < 1e-9,
        "{answers}"
    );
}

#[test]
fn mlx_vlm_and_ollama_are_compared() {
    let reciter = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/reciter/model");
    let mlx = Server::serve(reciter.clone());
    let sandbox = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.2");
    assert_eq!(
        sandbox
            .run(&[&manual("heat-pump-service-manual.pdf"), "--pages", "4-7"])
            .code,
        0
    );
    let ollama = Ollama::start(&["stop"]);
    let names = [
        format!("mlx-vlm={}@{}", reciter.display(), mlx.url()),
        format!("ollama=stop@{}", ollama.url),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = [
        "--approach",
        "sequential,lanes",
        "--batch",
        "3",
        "--runs",
        "1",
        "--json",
    ];
    let done = bench(&sandbox, &names, &options);
    let report = done.json();
    let [correct, nonsense] = &report["candidates"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    let round = |candidate: &Value| candidate["rows"][0]["rounds"][0].clone();
    assert_eq!(round(correct)["described"], 4, "{correct}{}", done.err);
    // It gives the same answer for every page, and no JSON.
    assert_eq!(
        (&round(nonsense)["failed"], &nonsense["verdict"]["grade"]),
        (&4.into(), &"fail".into())
    );
    for candidate in [correct, nonsense] {
        assert!(candidate["load"].as_f64().unwrap() > 0.0, "{candidate}");
        assert_eq!(candidate["consistency"]["alone"], 1.0, "{candidate}");
        let round = round(candidate);
        assert!(round["peak"].as_u64().unwrap() > 100_000_000, "{round}");
        assert!(
            round["prompt_tokens"].as_u64() > round["tokens"].as_u64(),
            "{round}"
        );
    }
    assert_eq!(report["rankings"]["overall"][0], names[0]);
}
