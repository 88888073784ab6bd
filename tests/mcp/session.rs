//! A running `ingest mcp` and its stdin and stdout.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::server::{pump, text};

/// The newest revision, without a handshake.
pub(crate) const STATELESS: &str = "2026-07-28";
/// The newest revision with a handshake.
pub(crate) const HANDSHAKE: &str = "2025-11-25";

/// A running `ingest mcp`; it is killed at the end.
pub(crate) struct Session {
    pub(crate) sandbox: Sandbox,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    next: u64,
}

/// A sandbox whose library has one manual of three pages, `pump.pdf`.
pub(crate) fn with_pump() -> Sandbox {
    add_pump(Sandbox::built_in())
}

/// Stores `pump.pdf` in the library of a sandbox.
pub(crate) fn add_pump(sandbox: Sandbox) -> Sandbox {
    add_file(sandbox, "pump.pdf", &pump())
}

/// A sandbox whose library has one manual.
pub(crate) fn with_file(name: &str, bytes: &[u8]) -> Sandbox {
    add_file(Sandbox::built_in(), name, bytes)
}

fn add_file(sandbox: Sandbox, name: &str, bytes: &[u8]) -> Sandbox {
    sandbox.write(name, bytes);
    let done = sandbox.run(&[name]);
    assert_eq!(done.code, 0, "{}", done.err);
    sandbox
}

impl Session {
    /// Starts the program without a word.
    pub(crate) fn start(sandbox: Sandbox) -> Self {
        let mut command = sandbox.command(&["mcp"]);
        let pipes = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            sandbox,
            next: 1,
        }
    }

    /// Starts the program and shakes hands.
    pub(crate) fn shaken(sandbox: Sandbox) -> Self {
        let mut session = Self::start(sandbox);
        let answer = session.initialize(HANDSHAKE);
        assert_eq!(answer["result"]["protocolVersion"], HANDSHAKE, "{answer}");
        session
    }

    /// Shakes hands; returns the answer.
    pub(crate) fn initialize(&mut self, version: &str) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client});
        let answer = self.request("initialize", params);
        self.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        answer
    }

    pub(crate) fn line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// The next message.
    pub(crate) fn read(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    /// Sends a request and returns its answer.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.line(&request.to_string());
        let answer = self.read();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Sends a request and returns its result.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer = self.request(method, params);
        let result = answer.get("result");
        result.unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// Calls a tool.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Calls a tool that fails; returns what it says.
    pub(crate) fn failure(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        assert_eq!(result.get("structuredContent"), None, "{result}");
        text(&result["content"][0]["text"]).to_owned()
    }

    /// Closes stdin; returns the rest of stdout, stderr and the exit code.
    pub(crate) fn end(mut self) -> (String, String, Option<i32>) {
        drop(self.stdin.take());
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        let status = self.child.wait().unwrap();
        (out, err, status.code())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first text of a result.
pub(crate) fn said(result: &Value) -> &str {
    assert_ne!(result["isError"], true, "{result}");
    text(&result["content"][0]["text"])
}

/// The picture of a result, which has one text before it and nothing else.
pub(crate) fn picture(result: &Value) -> image::RgbImage {
    said(result);
    assert_eq!(result.get("structuredContent"), None);
    let content = result["content"].as_array().unwrap();
    assert_eq!(content.len(), 2, "{result}");
    assert_eq!(content[1]["type"], "image");
    assert_eq!(content[1]["mimeType"], "image/jpeg");
    let base64 = text(&content[1]["data"]);
    assert!(result.to_string().len() < 1 << 20, "{} bytes", base64.len());
    decoded(base64)
}

/// A JPEG in base64.
pub(crate) fn decoded(base64: &str) -> image::RgbImage {
    let jpeg = base64::engine::general_purpose::STANDARD.decode(base64);
    let image = image::load_from_memory(&jpeg.unwrap()).unwrap();
    image.to_rgb8()
}

/// What a request without a handshake carries.
pub(crate) fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}
