//! What the tests with real servers share: our scripts, free ports, and patience.

use std::net::TcpListener;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The path of a script for tests.
pub(crate) fn script(name: &str) -> String {
    format!("{}/tests/support/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The program that a script brings here.
pub(crate) fn tool(name: &str) -> String {
    run(Command::new("bash").arg(script(name)))
        .trim()
        .to_owned()
}

/// What a command prints; the test ends when it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {error}");
    String::from_utf8(done.stdout).unwrap()
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn client() -> reqwest::blocking::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::blocking::Client::builder().no_proxy();
    client.build().unwrap()
}

/// JSON from a server; none when it does not answer.
pub(crate) fn get(url: &str) -> Option<Value> {
    let reply = client().get(url).send().ok()?;
    serde_json::from_str(&reply.text().ok()?).ok()
}

/// What a server answers to some JSON.
pub(crate) fn post(url: &str, body: &Value) -> String {
    let request = client().post(url).body(body.to_string());
    let reply = request.header("content-type", "application/json").send();
    reply.unwrap().text().unwrap()
}

/// Waits until something is so.
pub(crate) fn until(what: &str, seconds: u64, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(seconds), "never: {what}");
        sleep(Duration::from_millis(20));
    }
}
