//! The protocol over stdio: both lifecycles, and a stdout that has nothing else.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::session::{HANDSHAKE, STATELESS, Session, meta, with_pump};

/// Names of the tools, in the order in which they are listed.
pub(crate) const TOOLS: [&str; 4] = ["search_manuals", "show_page", "read_page", "list_manuals"];

/// Checks the list of tools.
pub(crate) fn check_tools(tools: &Value, has_model: bool) {
    let tools = tools.as_array().unwrap();
    let names: Vec<&Value> = tools.iter().map(|tool| &tool["name"]).collect();
    let expected = match has_model {
        true => [&TOOLS[..], &["ask"]].concat(),
        false => TOOLS.to_vec(),
    };
    assert_eq!(names, expected);
    for tool in tools {
        let hints = &tool["annotations"];
        assert_eq!(hints["readOnlyHint"], true, "{tool}");
        assert_eq!(hints["destructiveHint"], false, "{tool}");
        assert_eq!(hints["openWorldHint"], tool["name"] == "ask", "{tool}");
        let schema = &tool["inputSchema"];
        assert_eq!(schema["type"], "object", "{tool}");
        assert_eq!(schema["additionalProperties"], false, "{tool}");
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["type"].is_string(), "{name}: {property}");
            assert!(property["description"].is_string(), "{name}: {property}");
        }
        let text = tool.to_string();
        assert!(
            !text.contains("$ref") && !text.contains("\"format\""),
            "{text}"
        );
        let is_structured =
            ["search_manuals", "list_manuals"].contains(&tool["name"].as_str().unwrap());
        assert_eq!(tool.get("outputSchema").is_some(), is_structured, "{tool}");
    }
}

#[test]
fn clients_may_shake_hands() {
    for version in ["2025-03-26", "2025-06-18", HANDSHAKE] {
        let mut session = Session::start(with_pump());
        let answer = session.initialize(version);
        let result = &answer["result"];
        assert_eq!(result["protocolVersion"], version, "{answer}");
        assert_eq!(result["serverInfo"]["name"], "ingest");
        check_tools(&session.ask("tools/list", json!({}))["tools"], false);
        let templates = session.ask("resources/templates/list", json!({}));
        assert_eq!(
            templates["resourceTemplates"][0]["uriTemplate"],
            "manual:///{manual}/page/{page}"
        );
        let unknown = session.request("tools/call", json!({"name": "delete", "arguments": {}}));
        assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
        let unknown = session.request("no/such/method", json!({}));
        assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
    }
}

#[test]
fn clients_may_ask_without_a_handshake() {
    let mut session = Session::start(with_pump());
    let discovered = session.ask("server/discover", json!({"_meta": meta()}));
    let versions = discovered["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!(STATELESS)), "{discovered}");
    let listed = session.ask("tools/list", json!({"_meta": meta()}));
    check_tools(&listed["tools"], false);
    assert_eq!(listed["resultType"], "complete", "{listed}");
    let arguments = json!({"query": "relief valve"});
    let call = json!({"name": "search_manuals", "arguments": arguments, "_meta": meta()});
    let found = session.ask("tools/call", call);
    assert_eq!(found["structuredContent"]["hits"][0]["page"], 1, "{found}");
}

/// Every line of stdout is a message, whatever comes in; everything is answered before the end.
#[test]
fn stdout_has_nothing_but_the_protocol() {
    let mut session = Session::shaken(with_pump());
    session.line("this is no JSON");
    session.line("");
    let call = |id: u32, name: &str, arguments: Value| {
        let params = json!({"name": name, "arguments": arguments});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
    };
    let page = json!({"manual": "pump.pdf", "page": 1, "question": "valve"});
    session.line(&call(11, "search_manuals", json!({"query": "valve"})));
    session.line(&call(12, "show_page", page));
    session.line(&call(13, "show_page", json!({"manual": "none", "page": 1})));
    session.line(&call(14, "list_manuals", json!({})));
    let (out, err, code) = session.end();
    let answers = out.lines().map(|line| {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        message["id"].as_u64().unwrap_or_default()
    });
    let mut answers: Vec<u64> = answers.filter(|id| *id > 10).collect();
    answers.sort_unstable();
    assert_eq!((answers, code), (vec![11, 12, 13, 14], Some(0)), "{err}");
}

#[test]
fn stdin_that_ends_at_once_is_no_failure() {
    let (out, err, code) = Session::start(Sandbox::built_in()).end();
    assert_eq!((out.as_str(), err.as_str(), code), ("", "", Some(0)));
}

#[test]
fn wrong_usage_is_told_on_stderr() {
    let done = Sandbox::built_in().run(&["mcp", "--json"]);
    assert_eq!((done.out.as_str(), done.code), ("", 64));
    let done = Sandbox::built_in()
        .with("INGEST_SEARCH_MODE", "nonsense")
        .run(&["mcp"]);
    assert_eq!((done.out.as_str(), done.code), ("", 64), "{}", done.err);
}

/// The bar is 0.3 s from the start of the process to its first answer, on an idle machine; tests run beside others.
#[test]
fn the_first_answer_comes_soon() {
    let took = |_| {
        let sandbox = with_pump();
        let start = Instant::now();
        let mut session = Session::shaken(sandbox);
        session.call("search_manuals", json!({"query": "relief valve"}));
        start.elapsed()
    };
    let best = (0..3).map(took).min().unwrap();
    assert!(best < Duration::from_secs(3), "{best:?}");
}
