//! Answers: as JSON, as they come, without a model, and on the page.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::answering::{asking, citing};
use crate::chrome::Chrome;
use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::http::Connection;
use crate::sandbox::Sandbox;
use crate::server::{Server, wait};

/// A server whose model is `fake`.
fn with_model(fake: &FakeServer) -> Server {
    Server::with_pump(asking(fake))
}

fn ask(server: &Server, body: &Value) -> crate::http::Answer {
    server.post("/api/v1/ask", body)
}

#[test]
fn an_answer_is_whole_as_json() {
    let fake = citing();
    let server = with_model(&fake);
    let question = json!({"question": "purge with nitrogen", "pages": 2});
    let answer = ask(&server, &question).json(200);
    assert_eq!(answer["answer"], "Purge it with nitrogen [1] at 42 bar.");
    assert_eq!(
        (&answer["found"], &answer["foreign_citations"]),
        (&true.into(), &1.into())
    );
    assert_eq!(answer["pages"].as_array().unwrap().len(), 2);
    let cited = &answer["citations"][0];
    assert_eq!(
        (&cited["manual"], &cited["page"]),
        (&"pump.pdf".into(), &2.into())
    );
    for (body, status, kind) in [
        (json!({"question": " "}), 400, "empty-question"),
        (json!({"question": "x", "pages": 6}), 400, "invalid-request"),
        (
            json!({"question": "x", "manual": ["nope.pdf"]}),
            404,
            "no-such-manual",
        ),
        (
            json!({"question": "x".repeat(2_001)}),
            400,
            "invalid-request",
        ),
    ] {
        assert_eq!(ask(&server, &body).problem(status), kind, "{body}");
    }
}

#[test]
fn an_answer_comes_as_events() {
    let fake = citing();
    let server = with_model(&fake);
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "text/event-stream"),
    ];
    let body = json!({"question": "purge with nitrogen"}).to_string();
    let stream = server.send(("POST", "/api/v1/ask"), &headers, body.as_bytes());
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let text = stream.text();
    let events: Vec<(&str, Value)> = text
        .split("\n\n")
        .filter_map(|event| {
            let (name, data) = event.split_once('\n')?;
            let data = serde_json::from_str(data.strip_prefix("data: ")?).unwrap();
            Some((name.strip_prefix("event: ")?, data))
        })
        .collect();
    let mut names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    names.dedup();
    assert_eq!(names, ["pages", "text", "cite", "text", "done"]);
    let texts = events.iter().filter(|(name, _)| *name == "text");
    let text: String = texts
        .map(|(_, data)| data["text"].as_str().unwrap())
        .collect();
    assert_eq!(text, "Purge it with nitrogen at 42 bar.");
    assert_eq!(events.last().unwrap().1["facts"][0]["text"], "42 bar");
}

#[test]
fn a_client_that_goes_away_stops_its_answer() {
    let fake = FakeServer::start(Dialect::OpenAi, |_| {
        // Too long to be taken for a loop.
        Reply::Repeat((0..200).map(|n| format!("{n} ")).collect())
    });
    let server = with_model(&fake);
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "text/event-stream"),
    ];
    let body = json!({"question": "nitrogen"}).to_string();
    let address = server.address.as_str();
    let mut client = Connection::open(address, ("POST", "/api/v1/ask"), &headers, body.as_bytes());
    while client.line().unwrap() != "event: text" {}
    drop(client);
    wait("the end of the answer", || {
        (fake.cancelled.load(Ordering::SeqCst) > 0).then_some(())
    });
}

#[test]
fn without_a_model_a_problem_says_how_to_start_one() {
    let sandbox = Sandbox::built_in();
    let sandbox = sandbox.with("INGEST_DESCRIBE_RUNNER", "ollama");
    let server = Server::with_pump(sandbox.with("INGEST_DESCRIBE_URL", "http://127.0.0.1:9"));
    let answer = ask(&server, &json!({"question": "nitrogen"}));
    assert_eq!(answer.problem(503), "no-answering-model");
    assert!(answer.text().contains("ollama run"), "{}", answer.text());
}

#[test]
fn the_page_shows_an_answer_with_its_citations() {
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        let cited = if request.number == 0 { " [1]" } else { "" };
        Reply::Answer(format!("FOUND\nPurge it with nitrogen{cited} at 42 bar."))
    });
    let server = with_model(&fake);
    let mut chrome = Chrome::start();
    chrome.open(&format!("{}?q=purge+with+nitrogen", server.url));
    chrome.until("!document.querySelector('#ask').hidden");
    chrome.click("#ask");
    // The page has too little text to confirm it.
    chrome.until("document.querySelector('#answer-foot .untold')");
    let shown = chrome.js("document.querySelector('#answer-text').textContent");
    assert_eq!(shown, "Purge it with nitrogen [1] at 42 bar.");
    let told = chrome.js("document.querySelector('#answer-foot .untold').textContent");
    assert_eq!(told, "To be compared with the picture: 42 bar.");
    chrome.js("document.querySelector('#answer-text .cited').focus()");
    let lit = chrome.js("document.querySelectorAll('#hits a.lit').length");
    assert_eq!(lit, 1);
    chrome.js("document.querySelector('#answer-text .cited').click()");
    chrome.until("location.hash.startsWith('#page-')");
    chrome.picture("answer");
    chrome.open(&format!("{}?q=relief+valve", server.url));
    chrome.until("!document.querySelector('#ask').hidden");
    chrome.click("#ask");
    chrome.until("document.querySelector('#answer-foot .doubt')");
    let told = chrome.js("document.querySelector('#answer-foot .doubt').textContent");
    assert_eq!(told, "No page is cited; those that were read:");
    let listed = chrome.js("document.querySelectorAll('#answer-foot li').length");
    assert_eq!(listed, 3);
    chrome.is_silent();
}
