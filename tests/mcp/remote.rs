//! `POST /mcp` of `ingest serve`: both lifecycles, and who may use it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::Answer;
use crate::protocol::check_tools;
use crate::sandbox::Sandbox;
use crate::server::Server;
use crate::session::{HANDSHAKE, STATELESS, meta, picture};

const PLAIN: [(&str, &str); 2] = [
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
];

fn post(server: &Server, headers: &[(&str, &str)], method: &str, params: &Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let headers = [&PLAIN[..], headers].concat();
    server.send(("POST", "/mcp"), &headers, body.to_string().as_bytes())
}

#[test]
fn both_lifecycles_are_answered_on_one_address() {
    let server = Server::with_pump(Sandbox::built_in());
    let client = json!({"name": "test", "version": "1"});
    let hello = json!({"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": client});
    let answer = post(&server, &[], "initialize", &hello).json(200);
    assert_eq!(answer["result"]["protocolVersion"], HANDSHAKE, "{answer}");
    let old = [("MCP-Protocol-Version", HANDSHAKE)];
    let listed = post(&server, &old, "tools/list", &json!({})).json(200);
    check_tools(&listed["result"]["tools"], false);
    let page = json!({"manual": "pump.pdf", "page": 1, "question": "valve"});
    let call = json!({"name": "show_page", "arguments": page});
    let shown = post(&server, &old, "tools/call", &call).json(200);
    picture(&shown["result"]);

    let new = |method| [("MCP-Protocol-Version", STATELESS), ("Mcp-Method", method)];
    let listed = post(
        &server,
        &new("tools/list"),
        "tools/list",
        &json!({"_meta": meta()}),
    );
    check_tools(&listed.json(200)["result"]["tools"], false);
    let arguments = json!({"query": "alarm E-108"});
    let call = json!({"name": "search_manuals", "arguments": arguments, "_meta": meta()});
    let headers = [&new("tools/call")[..], &[("Mcp-Name", "search_manuals")]].concat();
    let found = post(&server, &headers, "tools/call", &call).json(200);
    assert_eq!(
        found["result"]["structuredContent"]["hits"][0]["page"], 3,
        "{found}"
    );
    assert_eq!(server.get("/mcp").status, 405);
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("ingest_questions_total{mode=\"hybrid\"} 1"),
        "{metrics}"
    );
}

#[test]
fn only_those_who_may_use_the_server_may_use_it() {
    let server = Server::with_pump(Sandbox::built_in());
    let list = |headers: &[(&str, &str)]| post(&server, headers, "tools/list", &json!({}));
    let own = format!("http://{}", server.address);
    assert_eq!(list(&[("Origin", own.as_str())]).status, 200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(list(&[("Origin", origin)]).problem(403), "foreign-origin");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(
            list(&[("Sec-Fetch-Site", site)]).problem(403),
            "foreign-origin"
        );
    }
    assert_eq!(
        list(&[("Host", "evil.example")]).problem(403),
        "foreign-host"
    );
    let long = json!({"text": "x".repeat(2 << 20)});
    assert_eq!(post(&server, &[], "tools/list", &long).status, 413);

    let locked = Server::start(Sandbox::built_in().with("INGEST_SERVE_KEY", "secret"), &[]);
    let list = |headers: &[(&str, &str)]| post(&locked, headers, "tools/list", &json!({}));
    assert_eq!(list(&[]).problem(401), "no-key");
    assert_eq!(
        list(&[("Authorization", "Bearer other")]).problem(401),
        "no-key"
    );
    assert_eq!(list(&[("Authorization", "Bearer secret")]).status, 200);
}

/// The bar is 5 ms at the median on an idle machine; tests run beside others.
#[test]
fn a_call_takes_hardly_longer_than_the_search() {
    let server = Server::with_pump(Sandbox::built_in());
    let search = json!({"q": "relief valve", "count": 5});
    let arguments = json!({"query": "relief valve"});
    let call = json!({"name": "search_manuals", "arguments": arguments});
    let took = |work: &dyn Fn() -> Answer| {
        let start = Instant::now();
        work().json(200);
        start.elapsed()
    };
    let (mut plain, mut called): (Vec<_>, Vec<_>) = (0..30)
        .map(|_| {
            let plain = took(&|| server.post("/api/v1/search", &search));
            let called = took(&|| post(&server, &[], "tools/call", &call));
            (plain, called)
        })
        .unzip();
    plain.sort_unstable();
    called.sort_unstable();
    let limit = plain[15] + Duration::from_millis(20);
    assert!(called[15] < limit, "{:?} and {:?}", called[15], plain[15]);
}
