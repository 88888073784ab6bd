//! The official clients, in both lifecycles and over both transports, list and call everything.

use std::process::Command;

use serde_json::{Value, json};

use crate::answering::{asking, citing};
use crate::protocol::check_tools;
use crate::sandbox::Sandbox;
use crate::server::{Server, text};
use crate::session::{STATELESS, add_pump, decoded, picture, said};

const SUPPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support");

/// What a script prints: the path of something it has installed.
fn installed(script: &str) -> String {
    let done = Command::new(format!("{SUPPORT}/{script}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// How a client starts the program.
fn over_stdio(sandbox: &Sandbox) -> Value {
    let command = sandbox.command(&["mcp"]);
    let env = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
    let env: serde_json::Map<String, Value> = env
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    json!({
        "command": command.get_program().to_str().unwrap(),
        "args": ["mcp"],
        "env": env,
        "cwd": sandbox.folder.path(),
    })
}

/// Runs a client with a plan and checks what it got.
fn try_client(client: &mut Command, mut plan: Value) {
    let page = json!({"manual": "pump.pdf", "page": 2});
    let marked = json!({"manual": "pump.pdf", "page": 2, "question": "nitrogen"});
    plan["resource"] = json!("manual:///pump.pdf/page/2");
    plan["calls"] = json!([
        {"name": "search_manuals", "arguments": {"query": "purge with nitrogen"}},
        {"name": "show_page", "arguments": page},
        {"name": "show_page", "arguments": marked},
        {"name": "read_page", "arguments": page},
        {"name": "list_manuals", "arguments": {"manual": "pump.pdf"}},
        {"name": "show_page", "arguments": {"manual": "punp.pdf", "page": 2}},
        {"name": "ask", "arguments": {"question": "purge with nitrogen"}},
    ]);
    let done = client.arg(plan.to_string()).output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{plan}: {err}");
    let got: Value = serde_json::from_slice(&done.stdout).unwrap();
    if let Some(protocol) = got["protocol"].as_str() {
        assert_eq!(
            protocol == STATELESS,
            plan["mode"] == STATELESS,
            "{protocol}"
        );
    }
    check_tools(&got["tools"], true);
    assert_eq!(got["resources"][0]["uri"], "manual:///pump.pdf/page/1");
    assert_eq!(got["resourceTemplates"].as_array().unwrap().len(), 1);
    let [found, plain, tinted, read, listed, failed, answered] =
        got["results"].as_array().unwrap().as_slice()
    else {
        panic!("{got}");
    };
    assert_eq!(found["structuredContent"]["hits"][0]["page"], 2, "{found}");
    let (plain, tinted) = (picture(plain), picture(tinted));
    assert_eq!(plain.dimensions(), tinted.dimensions());
    assert_ne!(plain, tinted);
    assert!(said(read).contains("purge with nitrogen"), "{read}");
    assert_eq!(
        listed["structuredContent"]["manuals"][0]["pages"], 3,
        "{listed}"
    );
    assert_eq!(failed["isError"], true, "{failed}");
    assert!(
        text(&failed["content"][0]["text"]).contains("\"pump.pdf\""),
        "{failed}"
    );
    assert!(
        said(answered).contains("[1] \"pump.pdf\", page 2"),
        "{answered}"
    );
    assert!(text(&got["contents"][0]["text"]).contains("purge with nitrogen"));
    decoded(text(&got["contents"][1]["blob"]));
}

/// Runs a client in both lifecycles, over both transports.
fn try_all(client: impl Fn() -> Command) {
    let fake = citing();
    let server = Server::with_pump(asking(&fake));
    let sandbox = add_pump(asking(&fake));
    for mode in ["legacy", STATELESS] {
        let mut local = over_stdio(&sandbox);
        local["mode"] = json!(mode);
        try_client(&mut client(), local);
        let url = format!("{}mcp", server.url);
        try_client(&mut client(), json!({"url": url, "mode": mode}));
    }
}

#[test]
fn python() {
    let program = installed("mcp-python.sh");
    try_all(|| {
        let mut client = Command::new(&program);
        client.arg(format!("{SUPPORT}/mcp_client.py"));
        client
    });
}

#[test]
fn typescript() {
    let modules = installed("mcp-node.sh");
    try_all(|| {
        let mut client = Command::new("node");
        client
            .arg(format!("{SUPPORT}/mcp_client.mjs"))
            .arg(&modules);
        client
    });
}
