//! The tool `ask`, where the settings name a model.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::answering::{asking, citing};
use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::server::wait;
use crate::session::{Session, add_pump, said, with_pump};

/// A session whose model is `fake`.
fn session(fake: &FakeServer) -> Session {
    Session::shaken(add_pump(asking(fake)))
}

#[test]
fn answers_cite_their_pages_and_tell_what_is_not_on_them() {
    let fake = citing();
    let mut session = session(&fake);
    let question = json!({"question": "purge with nitrogen", "manual": "pump.pdf", "pages": 2});
    assert_eq!(
        said(&session.call("ask", question)),
        "Purge it with nitrogen [1] at 42 bar.\nSources:\n[1] \"pump.pdf\", page 2\n\
         To be checked on the picture of the cited page: 42 bar."
    );
    let body = fake.requests().last().unwrap().body.to_string();
    assert_eq!(body.matches("\"image_url\":{").count(), 2);
    for (arguments, next) in [
        (json!({"question": " "}), "question in words"),
        (json!({"question": "x", "pages": 6}), "as its schema says"),
        (json!({"question": "x".repeat(2_001)}), "as its schema says"),
        (
            json!({"question": "x", "manual": "punp.pdf"}),
            "\"pump.pdf\"",
        ),
    ] {
        let said = session.failure("ask", arguments);
        assert!(said.contains(next), "{said}");
    }
}

#[test]
fn pages_that_do_not_say_it_are_listed() {
    let fake = FakeServer::start(Dialect::OpenAi, |_| {
        Reply::Answer("NOT FOUND\nThe pages do not say it.".to_owned())
    });
    let answer = session(&fake).call("ask", json!({"question": "purge with nitrogen"}));
    let said = said(&answer);
    assert!(said.contains("do not answer the question:\n[1] "), "{said}");
}

#[test]
fn without_a_model_there_is_no_such_tool() {
    let mut session = Session::shaken(with_pump());
    let call = json!({"name": "ask", "arguments": {"question": "x"}});
    let refused = session.request("tools/call", call);
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
}

#[test]
fn a_model_that_is_away_is_told() {
    let fake = citing();
    let sandbox = add_pump(asking(&fake)).with("INGEST_DESCRIBE_URL", "http://127.0.0.1:9");
    let said = Session::shaken(sandbox).failure("ask", json!({"question": "nitrogen"}));
    assert!(said.contains("Read the pages yourself"), "{said}");
}

/// The call with this id, which is also the token of its progress.
fn call(id: u32) -> String {
    let params = json!({
        "name": "ask",
        "arguments": {"question": "purge with nitrogen"},
        "_meta": {"progressToken": id},
    });
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

#[test]
fn calls_that_take_long_are_told_to_go_on() {
    let fake = FakeServer::start(Dialect::OpenAi, |request| match request.number {
        0 => Reply::Wait(Duration::from_secs(6)),
        _ => Reply::Answer("FOUND\nNitrogen [1].".to_owned()),
    });
    let mut session = session(&fake);
    session.line(&call(71));
    let told = session.read();
    assert_eq!(told["method"], "notifications/progress", "{told}");
    assert_eq!(told["params"]["progressToken"], 71, "{told}");
    let mut answer = session.read();
    while answer["id"] != 71 {
        answer = session.read();
    }
    assert!(said(&answer["result"]).starts_with("Nitrogen [1]."));
}

#[test]
fn a_call_that_is_cancelled_ends_the_request() {
    let fake = FakeServer::start(Dialect::OpenAi, |_| {
        // Too long to be taken for a loop.
        Reply::Repeat((0..200).map(|n| format!("{n} ")).collect())
    });
    let mut session = session(&fake);
    session.line(&call(72));
    wait("the request", || fake.requests().first().map(drop));
    let cancel = json!({"requestId": 72});
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel});
    session.line(&cancel.to_string());
    wait("the end of the request", || {
        (fake.cancelled.load(Ordering::SeqCst) > 0).then_some(())
    });
    let listed = session.call("list_manuals", json!({}));
    assert_eq!(
        listed["structuredContent"]["manuals"][0]["name"],
        "pump.pdf"
    );
}
