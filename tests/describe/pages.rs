//! What a run does with pages: asks, stores, searches, goes on where it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake::{Dialect, Fake, Reply};
use crate::sandbox::{Sandbox, manual};
use crate::shelf::{describe, description, shelf, shelf_of, tally};
use crate::support::pdf;

const BOTH: [Dialect; 2] = [Dialect::OpenAi, Dialect::Ollama];

/// Describes every page as it should be: alone, or several in an array.
fn honest(pages: &[u32]) -> Reply {
    let all: Vec<String> = pages.iter().map(|&page| description(page)).collect();
    match &all[..] {
        [one] => Reply::Say(one.clone()),
        all => Reply::Say(format!("[{}]", all.join(", "))),
    }
}

#[test]
fn descriptions_are_stored_searched_and_shown() {
    for dialect in BOTH {
        let desk = shelf();
        let fake = Fake::start(dialect, |asked| honest(&asked.pages));
        let (code, told) = tally(&desk, dialect, &fake, &["--interleave", "1"]);
        assert_eq!((code, told["described"].as_u64()), (0, Some(3)), "{told}");
        // Words that no page has, only its description.
        let found = desk.run(&["search", "circulator", "--json"]).json();
        assert_eq!(
            (&found[0]["page"], &found[0]["title"]),
            (&3.into(), &"Fault codes".into()),
            "{found}"
        );
        let shown = desk.run(&["search", "circulator"]).out;
        assert!(
            shown.contains("Fault codes: Why the circulator stands still in winter."),
            "{shown}"
        );
        let shown = desk.run(&["show", "pump.pdf", "2"]).out;
        assert!(shown.contains("Which gaskets can be ordered"), "{shown}");
        assert!(
            shown.contains("40-1177") && !shown.contains("40-1177 (unconfirmed)"),
            "{shown}"
        );
        // K-1 is not in the text layer of page 1: marked, and not searched.
        let shown = desk.run(&["show", "pump.pdf", "1"]).out;
        assert!(shown.contains("K-1 (unconfirmed)"), "{shown}");
        let words = desk.run(&["search", "--text", "K-1", "--json"]).json();
        assert_eq!(words.as_array().unwrap().len(), 0, "{words}");
        let done = desk.run(&["describe", "--export", "all.jsonl"]);
        assert_eq!(done.code, 0, "{}", done.err);
        let lines = std::fs::read_to_string(desk.path("all.jsonl")).unwrap();
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
    let desk = shelf();
    let library = rusqlite::Connection::open(desk.path("library.db")).unwrap();
    library
        .execute("UPDATE vectors SET rows = x'00'", [])
        .unwrap();
    let fake = Fake::start(Dialect::OpenAi, |asked| honest(&asked.pages));
    let (code, told) = tally(&desk, Dialect::OpenAi, &fake, &[]);
    assert_eq!((code, told["described"].as_u64()), (0, Some(3)), "{told}");
}

#[test]
fn a_question_is_streamed_in_order_and_without_thinking() {
    for dialect in BOTH {
        let desk = shelf();
        let fake = Fake::start(dialect, |asked| honest(&asked.pages));
        assert_eq!(
            describe(
                &desk,
                dialect,
                &fake,
                &["--interleave", "1", "--pages", "2"]
            )
            .code,
            0
        );
        let questions = fake.questions();
        assert_eq!(questions.len(), 1);
        let body = &questions[0].body;
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
fn a_run_goes_on_where_it_ended() {
    let desk = shelf();
    let dialect = Dialect::OpenAi;
    let bad = Fake::start(dialect, |asked| match asked.pages[..] {
        [2] => Reply::Say("I see nothing.".to_owned()),
        _ => honest(&asked.pages),
    });
    let (code, told) = tally(&desk, dialect, &bad, &[]);
    assert_eq!((code, &told["described"]), (1, &2.into()), "{told}");
    assert_eq!(told["failed"][0]["class"], "unparsable");
    let good = Fake::start(dialect, |asked| honest(&asked.pages));
    let (code, told) = tally(&desk, dialect, &good, &[]);
    assert_eq!(
        (code, &told["kept"]),
        (0, &3.into()),
        "a failed page is not asked again by itself: {told}"
    );
    assert_eq!(good.questions().len(), 0);
    let (code, told) = tally(&desk, dialect, &good, &["--redo", "failed"]);
    assert_eq!(
        (code, &told["described"], &told["kept"]),
        (0, &1.into(), &2.into()),
        "{told}"
    );
    let (_, told) = tally(&desk, dialect, &good, &["--redo", "all", "--limit", "2"]);
    assert_eq!(told["described"], 2, "{told}");
    // Storing the unchanged manual again leaves the descriptions where they are.
    assert_eq!(desk.run(&["pump.pdf"]).code, 0);
    assert_eq!(tally(&desk, dialect, &good, &[]).1["kept"], 3);
}

#[test]
fn blank_pages_and_twins_are_not_sent_and_a_digit_makes_no_twin() {
    let pages = ["E-104 no flow", "", "E-104 no flow", "E-105 no flow"];
    let desk = shelf_of(&pages);
    let dialect = Dialect::OpenAi;
    let fake = Fake::start(dialect, |asked| honest(&asked.pages));
    let (code, told) = tally(&desk, dialect, &fake, &[]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(
        (&told["described"], &told["twins"], &told["blank"]),
        (&2.into(), &1.into(), &1.into()),
        "{told}"
    );
    let mut sent: Vec<u32> = fake
        .questions()
        .iter()
        .flat_map(|asked| asked.pages.clone())
        .collect();
    sent.sort_unstable();
    assert_eq!(sent, [1, 4]);
    let shown = desk.run(&["show", "pump.pdf", "3"]).out;
    assert!(shown.contains("duplicate of pump.pdf, page 1"), "{shown}");
}

#[test]
fn several_pages_in_one_question_are_told_apart() {
    for dialect in BOTH {
        let desk = shelf();
        let fake = Fake::start(dialect, |asked| match asked.pages[..] {
            [1, 2, 3] => Reply::Say(format!(
                "[{}, {}, {}]",
                description(1),
                description(3).replace("\"page\": 3", "\"page\": 7"),
                description(3)
            )),
            _ => honest(&asked.pages),
        });
        let (code, told) = tally(
            &desk,
            dialect,
            &fake,
            &["--interleave", "3", "--lanes", "1"],
        );
        assert_eq!((code, &told["described"]), (0, &3.into()), "{told}");
        assert_eq!(told["retries"]["mislabelled"], 1, "{told}");
        let sent: Vec<Vec<u32>> = fake
            .questions()
            .into_iter()
            .map(|asked| asked.pages)
            .collect();
        assert_eq!(
            sent,
            [vec![1, 2, 3], vec![2]],
            "page 2 is asked again alone"
        );
        let first = &fake.questions()[0].body;
        let budget = first["max_tokens"]
            .as_u64()
            .or(first["options"]["num_predict"].as_u64());
        assert_eq!(budget, Some(3 * 600), "a budget a page");
    }
}

#[test]
fn lanes_are_filled() {
    let texts: Vec<String> = (0..8).map(|n| format!("text of page {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let desk = shelf_of(&texts);
    // Nobody is answered before four have asked.
    let waiting = AtomicUsize::new(0);
    let fake = Fake::start(Dialect::OpenAi, move |asked| {
        waiting.fetch_add(1, Ordering::SeqCst);
        let begun = Instant::now();
        while waiting.load(Ordering::SeqCst) < 4 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Reply::Say(description(asked.pages[0] + 10))
    });
    let done = describe(&desk, Dialect::OpenAi, &fake, &["--lanes", "4"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert_eq!(fake.most.load(Ordering::SeqCst), 4);
}

#[test]
fn qwen3_vl_is_asked_again_only_after_the_first_word() {
    let texts: Vec<String> = (0..6).map(|n| format!("text of page {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Those that wait for their first word at the same time: mlx-vlm confuses them where they are of this family.
    for (model, alone) in [("some/Qwen3-VL-4B", true), ("some/Qwen2.5-VL-7B", false)] {
        let desk = shelf_of(&texts);
        let waiting = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let counts = Arc::clone(&waiting);
        let fake = Fake::start(Dialect::OpenAi, move |asked| {
            let (now, most) = &*counts;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(200));
            now.fetch_sub(1, Ordering::SeqCst);
            Reply::Say(description(asked.pages[0] + 10))
        });
        let to = ["--runner", "mlx-vlm", "--url", &fake.url];
        let done =
            desk.run(&[&["describe"], &to[..], &["--model", model, "--lanes", "4"]].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        let most = waiting.1.load(Ordering::SeqCst);
        assert_eq!(most == 1, alone, "{model}: {most}");
    }
}

#[test]
fn a_manual_that_changed_fails_by_name_and_can_be_shown_again() {
    let desk = shelf();
    let fake = Fake::start(Dialect::OpenAi, |asked| honest(&asked.pages));
    std::fs::rename(desk.path("pump.pdf"), desk.path("moved.pdf")).unwrap();
    let (code, told) = tally(&desk, Dialect::OpenAi, &fake, &[]);
    assert_eq!(code, 2, "{told}");
    assert!(
        told["manuals"]["pump.pdf"]
            .as_str()
            .unwrap()
            .contains("pump.pdf: "),
        "{told}"
    );
    desk.write("pump.pdf", b"%PDF-1.4 something else");
    let (code, told) = tally(&desk, Dialect::OpenAi, &fake, &[]);
    assert!(
        code == 2
            && told["manuals"]["pump.pdf"]
                .as_str()
                .unwrap()
                .contains("has changed since it was stored"),
        "{told}"
    );
    let moved = ["--manual", "pump.pdf", "--pdf", "moved.pdf"];
    let (code, told) = tally(&desk, Dialect::OpenAi, &fake, &moved);
    assert_eq!((code, &told["described"]), (0, &3.into()), "{told}");
}

#[test]
fn protected_manuals_are_described_with_their_password() {
    let fake = Fake::start(Dialect::OpenAi, |asked| honest(&asked.pages));
    let desk = Sandbox::tiny()
        .with("INGEST_DESCRIBE_RUNNER", "openai")
        .with("INGEST_DESCRIBE_URL", &fake.url);
    let locked = manual("../tests/golden/pdf/locked.pdf");
    std::fs::copy(locked, desk.path("locked.pdf")).unwrap();
    let done = desk.run(&["locked.pdf", "--password", "secret", "--describe"]);
    assert_eq!(done.code, 0, "{} {}", done.out, done.err);
    assert_eq!(fake.questions().len(), 1);
    let again = ["describe", "--redo", "all", "--json"];
    let refused = desk.run(&again);
    assert_eq!(refused.code, 2, "{}", refused.out);
    let why = refused.json()["manuals"]["locked.pdf"].to_string();
    assert!(why.contains("protected by a password"), "{why}");
    let done = desk.run(&[&again[..], &["--password", "secret"]].concat());
    assert_eq!(done.json()["described"], 1, "{}", done.err);
}

#[test]
fn manuals_are_stored_and_described_in_one_go() {
    let fake = Fake::start(Dialect::OpenAi, |asked| honest(&asked.pages));
    let desk = shelf()
        .with("INGEST_DESCRIBE_RUNNER", "openai")
        .with("INGEST_DESCRIBE_URL", &fake.url);
    desk.write("other.pdf", &pdf::good(&["another manual"]));
    let done = desk.run(&["other.pdf", "--describe"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("1 page described"), "{}", done.out);
    let asked = fake.questions();
    assert_eq!(asked.len(), 1, "only what was stored now");
    assert!(asked[0].body.to_string().contains("other.pdf"));
    desk.write("third.pdf", &pdf::good(&["a third one"]));
    let told = desk.run(&["third.pdf", "--describe", "--json"]).json();
    assert_eq!(told["manuals"][0]["stored"], 1, "{told}");
    assert_eq!(told["descriptions"]["described"], 1, "{told}");
}
