//! Tools of the tests with real servers: scripts, free ports, HTTP requests, waiting.

use std::net::TcpListener;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Path of a test script.
pub(crate) fn script(name: &str) -> String {
    format!("{}/tests/support/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Path of the program that a script installs.
pub(crate) fn tool(name: &str) -> String {
    run(Command::new("bash").arg(script(name)))
        .trim()
        .to_owned()
}

/// Runs a command and returns its stdout; panics if it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {error}");
    String::from_utf8(done.stdout).unwrap()
}

/// Returns an unused port.
pub(crate) fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn client() -> reqwest::blocking::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::blocking::Client::builder().no_proxy();
    client.build().unwrap()
}

/// GET request for JSON; `None` if the server does not respond.
pub(crate) fn get(url: &str) -> Option<Value> {
    let reply = client().get(url).send().ok()?;
    serde_json::from_str(&reply.text().ok()?).ok()
}

/// POST request with JSON; returns the response body.
pub(crate) fn post(url: &str, body: &Value) -> String {
    let request = client().post(url).body(body.to_string());
    let reply = request.header("content-type", "application/json").send();
    reply.unwrap().text().unwrap()
}

/// Waits until a condition holds; panics after `seconds`.
pub(crate) fn until(description: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        let waited = begun.elapsed();
        assert!(
            waited < Duration::from_secs(seconds),
            "timeout: {description}"
        );
        sleep(Duration::from_millis(20));
    }
}
