//! End to end: the tiny models overfitted to the sample manuals (`tests/golden/reciter/README.md`) behind the real
//! `mlx_vlm.server`, from page images to searchable descriptions, and from questions to cited answers.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::mlx::Server;
use crate::sandbox::{Sandbox, manual};
use crate::titles::{MANUALS, correct_titles, golden};

/// A library of both manuals, embedded once; small images, which is faster.
fn library() -> Sandbox {
    static EMBEDDED: OnceLock<Sandbox> = OnceLock::new();
    let embedded = EMBEDDED.get_or_init(|| {
        let sandbox = Sandbox::built_in();
        let files = MANUALS.map(manual);
        assert_eq!(sandbox.run(&[&files[0], &files[1]]).code, 0);
        sandbox
    });
    let sandbox = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
    std::fs::copy(embedded.path("library.db"), sandbox.path("library.db")).unwrap();
    sandbox
}

/// nDCG@5 of the questions in hybrid search.
fn ndcg(sandbox: &Sandbox) -> f64 {
    let done = sandbox.run(&["eval", &manual("questions.json"), "--json"]);
    let report = done.json();
    let mut rows = report["results"].as_array().unwrap().iter();
    let hybrid = rows.find(|row| row["mode"] == "hybrid").unwrap();
    hybrid["ndcg_at_5"]["mean"].as_f64().unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn descriptions_have_the_right_titles_and_do_not_lower_ndcg() {
    let sandbox = library();
    let before = ndcg(&sandbox);
    let server = Server::serve(golden("model"));
    let done = server.describe(&sandbox, &["--max-tokens", "300"]);
    let report = done.json();
    println!("{report}");
    let (titles, pages) = correct_titles(&sandbox);
    println!("{titles} of {pages} titles");
    assert!(pages == 53 && titles >= 48, "{titles} of {pages}: {report}");
    let after = ndcg(&sandbox);
    println!("nDCG@5 of the questions {before:.3}, with descriptions {after:.3}");
    // Less than one question whose page falls from the first to the second place.
    let tolerance = (1.0 - 1.0 / 3_f64.log2()) / 70.0;
    assert!(after > before - tolerance, "{after} is less than {before}");
    // Two images per request give two right titles; small ones, since the model makes few tokens of any.
    let sandbox = sandbox.with("INGEST_DESCRIBE_MEGAPIXELS", "0.2");
    let pairs = [
        "--manual",
        MANUALS[0],
        "--pages",
        "4-9",
        "--interleave",
        "2",
        "--lanes",
        "1",
        "--redo",
        "all",
    ];
    let done = server.describe(&sandbox, &pairs);
    let report = done.json();
    println!("{report}");
    assert_eq!(
        (done.code, &report["described"]),
        (0, &6.into()),
        "{report}"
    );
    let retried: u64 = report["retries"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert!(retried <= 2, "two of three pairs need no retry: {report}");
    assert_eq!(correct_titles(&sandbox).0, titles);
}

/// Questions about titles whose page the search finds are answered from its image; one of ten is asked here.
#[test]
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn title_questions_are_answered_from_the_image_and_cited() {
    let sandbox = library();
    let all = std::fs::read(golden("questions.json")).unwrap();
    let all: Vec<Value> = serde_json::from_slice(&all).unwrap();
    let some: Vec<&Value> = all.iter().skip(2).step_by(10).collect();
    sandbox.write("questions.json", json!(some).to_string().as_bytes());
    let server = Server::serve(golden("asker"));
    let url = server.url();
    let runner = [
        "--runner", "mlx-vlm", "--url", &url, "--pages", "1", "--json",
    ];
    let evaluate = ["eval", "ask", "questions.json"];
    let report = sandbox.run(&[&evaluate[..], &runner].concat()).json();
    for result in &report["results"].as_array().unwrap()[..2] {
        println!("{} {}", result["context"], result["right_and_cited"]);
        let mean = result["right_and_cited"]["mean"].as_f64().unwrap();
        assert!(mean >= 0.95, "{result}");
    }
    // One page of a copy, which can be removed.
    let (question, title) = (
        &some[1]["question"],
        some[1]["answers"][0].as_str().unwrap(),
    );
    let page = some[1]["pages"][0].to_string();
    let original = manual(some[1]["manual"].as_str().unwrap());
    std::fs::copy(original, sandbox.path("copy.pdf")).unwrap();
    let store = ["--store", "page.db"];
    let one_page = ["copy.pdf", "--pages", &page];
    assert_eq!(sandbox.run(&[&one_page[..], &store].concat()).code, 0);
    let ask = ["ask", question.as_str().unwrap()];
    let ask = || sandbox.run(&[&ask[..], &store, &runner].concat());
    let answered = ask();
    let expected = format!("{title} [1].");
    assert_eq!(answered.json()["answer"], expected, "{}", answered.err);
    // Without the image the text of the page does not tell it.
    std::fs::remove_file(sandbox.path("copy.pdf")).unwrap();
    let blind = ask();
    let note = "only its text is read";
    assert!(blind.err.contains(note), "{}", blind.err);
    assert!(!blind.out.contains(title), "{}", blind.out);
}
