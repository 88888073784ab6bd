//! Chromium, driven over the DevTools protocol: messages of JSON on a pair of pipes, each followed by a zero byte.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::server::PATIENCE;

/// A browser with one page.
pub(crate) struct Chrome {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    last_id: u64,
    /// What the page wrote to the console, with uncaught errors and failed requests.
    pub(crate) console: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Chrome {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let works = |name: &&str| {
            let version = Command::new(name).arg("--version").output();
            version.is_ok_and(|done| done.status.success())
        };
        let program = names.into_iter().find(works);
        let program = program.expect("the tests need Chromium (Debian: apt-get install chromium)");
        // Chromium reads commands from file 3 and writes answers to file 4.
        let pipes = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", pipes, program])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-quic",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--remote-debugging-pipe", "--mute-audio"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut chrome = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            session: None,
            last_id: 0,
            console: Vec::new(),
            _profile: profile,
        };
        let target = chrome.command("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = chrome.command("Target.attachToTarget", attach);
        chrome.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chrome.command(&format!("{domain}.enable"), json!({}));
        }
        chrome.size(1280, 800, false);
        chrome.scheme("light");
        chrome
    }

    /// Sends a command and waits for its result.
    pub(crate) fn command(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.answer(method, parameters);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Sends a command and waits for its answer, which may be an error.
    fn answer(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let bytes = [message.to_string().as_bytes(), b"\0"].concat();
        self.input.write_all(&bytes).unwrap();
        loop {
            let mut answer = Vec::new();
            self.output.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "Chromium has ended");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.last_id {
                return answer;
            }
            self.hear(&answer);
        }
    }

    fn hear(&mut self, event: &Value) {
        let parameters = &event["params"];
        let line = match event["method"].as_str() {
            Some("Runtime.consoleAPICalled") => parameters["args"].to_string(),
            Some("Runtime.exceptionThrown") => parameters["exceptionDetails"].to_string(),
            Some("Log.entryAdded") => parameters["entry"].to_string(),
            _ => return,
        };
        self.console.push(line);
    }

    /// The value of an expression; a promise is awaited.
    pub(crate) fn js(&mut self, expression: &str) -> Value {
        let done = self.command("Runtime.evaluate", evaluation(expression));
        assert!(done["exceptionDetails"].is_null(), "{expression}: {done}");
        done["result"]["value"].clone()
    }

    /// Waits until an expression is true; a page that is being left has no true one.
    pub(crate) fn until(&mut self, expression: &str) {
        let start = Instant::now();
        let guarded =
            format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        let is_true = |chrome: &mut Self| {
            let answer = chrome.answer("Runtime.evaluate", evaluation(&guarded));
            answer["result"]["result"]["value"] == json!(true)
        };
        while !is_true(self) {
            if start.elapsed() > PATIENCE {
                self.picture("failed");
                panic!("not in time: {expression}\n{:#?}", self.console);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.js("window.old = true");
        self.command("Page.navigate", json!({"url": url}));
        self.until("!window.old && document.readyState == 'complete'");
    }

    pub(crate) fn reload(&mut self) {
        self.js("window.old = true");
        self.command("Page.reload", json!({}));
        self.until("!window.old && document.readyState == 'complete'");
    }

    pub(crate) fn size(&mut self, width: u32, height: u32, phone: bool) {
        let scale = if phone { 2 } else { 1 };
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone});
        self.command("Emulation.setDeviceMetricsOverride", metrics);
        self.command(
            "Emulation.setTouchEmulationEnabled",
            json!({"enabled": phone}),
        );
    }

    /// `light` or `dark`.
    pub(crate) fn scheme(&mut self, scheme: &str) {
        let feature = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.command("Emulation.setEmulatedMedia", json!({"features": feature}));
    }

    /// Presses a key: a letter, or a name such as `ArrowDown`.
    pub(crate) fn key(&mut self, key: &str) {
        let (code, text) = match key {
            "ArrowDown" => (40, ""),
            "ArrowUp" => (38, ""),
            "ArrowLeft" => (37, ""),
            "ArrowRight" => (39, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            letter => (u32::from(letter.to_uppercase().as_bytes()[0]), letter),
        };
        let mut press =
            json!({"type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code});
        if text.is_empty() {
            press["type"] = json!("rawKeyDown");
        }
        self.command("Input.dispatchKeyEvent", press.clone());
        press["type"] = json!("keyUp");
        self.command("Input.dispatchKeyEvent", press);
    }

    pub(crate) fn write(&mut self, text: &str) {
        for letter in text.chars() {
            self.key(&letter.to_string());
        }
    }

    pub(crate) fn click(&mut self, selector: &str) {
        self.js(&format!(
            "document.querySelector({}).click()",
            json!(selector)
        ));
    }

    /// Saves a screenshot among the files of the tests; returns its bytes.
    pub(crate) fn picture(&mut self, name: &str) -> Vec<u8> {
        let done = self.command("Page.captureScreenshot", json!({"format": "png"}));
        let text = done["data"].as_str().unwrap();
        let png = base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap();
        let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/screenshots");
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(format!("{folder}/{name}.png"), &png).unwrap();
        png
    }

    /// Nothing was written to the console.
    pub(crate) fn is_silent(&mut self) {
        self.js("0");
        assert!(self.console.is_empty(), "{:#?}", self.console);
    }
}

/// The parameters that evaluate an expression.
fn evaluation(expression: &str) -> Value {
    json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true})
}

impl Drop for Chrome {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
