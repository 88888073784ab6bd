//! A real Ollama, built from source, with a tiny model of known output: `Bright page: a drawing …` if it gets an image,
//! `Nothing page: …` if not (`tests/support/make_tiny_ollama.py`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::library::{describe, library};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::tools::{free_port, get, post, run, script, tool, until};

/// Output of the model for a page image, as far as a failure quotes it.
pub(crate) const OUTPUT: &str = "Bright page: a drawing of one pump, with its motor";

/// Folder of a model: after its last word, `stop` ends, `circle` starts again, `stuck` repeats that word.
fn model(ending: &str) -> PathBuf {
    static LOCK: Mutex<()> = Mutex::new(());
    static PYTHON: OnceLock<String> = OnceLock::new();
    let _lock = LOCK.lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tiny-ollama-{ending}"));
    if !folder.join("Modelfile").exists() {
        let python = PYTHON.get_or_init(|| tool("python.sh"));
        let maker = script("make_tiny_ollama.py");
        run(Command::new(python).arg(maker).arg(&folder).arg(ending));
    }
    folder
}

/// Server with some of the models, each named after its ending; terminated with its runners on drop.
pub(crate) struct Ollama {
    child: Child,
    pub(crate) url: String,
    home: tempfile::TempDir,
}

impl Ollama {
    pub(crate) fn start(endings: &[&str]) -> Self {
        let program = tool("ollama.sh");
        let host = format!("127.0.0.1:{}", free_port());
        let home = tempfile::tempdir().unwrap();
        let log = File::create(home.path().join("log")).unwrap();
        let command = |args: &[&str]| {
            let mut command = Command::new(&program);
            command.args(args).env_clear().env("OLLAMA_HOST", &host);
            command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            command.env("HOME", home.path()).stdin(Stdio::null());
            command.env("OLLAMA_MODELS", home.path());
            command
        };
        let mut serve = command(&["serve"]);
        let serve = serve.stdout(log.try_clone().unwrap()).stderr(log);
        let child = serve.spawn().unwrap();
        let url = format!("http://{host}");
        until("Ollama responds", 60, || {
            get(&format!("{url}/api/version")).is_some()
        });
        for ending in endings {
            let file = model(ending).join("Modelfile").display().to_string();
            run(&mut command(&["create", ending, "-f", &file]));
        }
        Self { child, url, home }
    }

    /// Runs `ingest describe --json` with it.
    pub(crate) fn describe(&self, sandbox: &Sandbox, model: &str, more: &[&str]) -> CommandOutput {
        let args = ["describe", "--runner", "ollama", "--url", &self.url];
        sandbox.run(&[&args[..], &["--model", model, "--json"], more].concat())
    }

    /// Number of loaded models.
    fn loaded(&self) -> usize {
        let models = get(&format!("{}/api/ps", self.url)).unwrap();
        models["models"].as_array().unwrap().len()
    }

    /// Terminates the server; returns its URL and the folder with its models.
    pub(crate) fn end(mut self) -> (String, tempfile::TempDir) {
        let home = std::mem::replace(&mut self.home, tempfile::tempdir().unwrap());
        (self.url.clone(), home)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }
}

impl Drop for Ollama {
    fn drop(&mut self) {
        // On SIGTERM it terminates its runners; on SIGKILL they would stay.
        drop(
            Command::new("kill")
                .arg(self.child.id().to_string())
                .status(),
        );
        drop(self.child.wait());
    }
}

/// Processes that run the models of a server.
pub(crate) fn runners(server: u32) -> Vec<String> {
    let parent = server.to_string();
    let done = Command::new("pgrep")
        .args(["-P", &parent])
        .output()
        .unwrap();
    let listed = String::from_utf8(done.stdout).unwrap();
    listed.lines().map(str::to_owned).collect()
}

/// Small page images and one attempt: a retry gives the same answer.
pub(crate) fn small() -> Sandbox {
    library()
        .with("INGEST_DESCRIBE_MEGAPIXELS", "0.2")
        .with("INGEST_DESCRIBE_ATTEMPTS", "1")
}

/// Failure class and reason of all failed pages.
pub(crate) fn failures(report: &Value) -> Vec<(String, String)> {
    let failed = report["failed"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    failed
        .map(|failure| (text(&failure["class"]), text(&failure["why"])))
        .collect()
}

#[test]
fn images_reach_the_model_alone_and_several_per_request() {
    let server = Ollama::start(&["stop"]);
    for interleave in ["1", "3"] {
        let sandbox = small();
        let done = server.describe(&sandbox, "stop", &["--interleave", interleave]);
        let report = done.json();
        assert_eq!(done.code, 2, "{report}{}", done.err);
        let failed = failures(&report);
        assert_eq!(failed.len(), 3, "{report}");
        for (class, why) in failed {
            assert_eq!(class, "unparsable", "{why}");
            assert!(why.starts_with(OUTPUT), "{why}");
        }
        let retries = &report["retries"];
        let expected = if interleave == "1" {
            Value::Null
        } else {
            3.into()
        };
        assert_eq!(retries["unparsable"], expected, "{report}");
    }
}

#[test]
fn ollama_renders_texts_and_images_in_our_order() {
    let server = Ollama::start(&["stop"]);
    let fake = FakeServer::start(Dialect::Ollama, |_| Reply::Answer("[]".to_owned()));
    let sandbox = small();
    describe(&sandbox, Dialect::Ollama, &fake, &["--interleave", "3"]);
    let mut body = fake.requests()[0].body.clone();
    body["model"] = "stop".into();
    body["stream"] = false.into();
    // Ollama then replies with the rendered prompt.
    body["_debug_render_only"] = true.into();
    let reply = post(&format!("{}/api/chat", server.url), &body);
    let reply: Value = serde_json::from_str(&reply).unwrap();
    let debug = &reply["_debug_info"];
    assert_eq!(debug["image_count"], 3, "{reply}");
    let prompt = debug["rendered_template"].as_str().unwrap();
    let order = [
        "Page 1 of 3",
        "[img-0]",
        "Page 2 of 3",
        "[img-1]",
        "Page 3 of 3",
        "[img-2]",
        "JSON",
    ];
    let positions: Vec<_> = order.iter().map(|text| prompt.rfind(text)).collect();
    assert!(
        positions.is_sorted() && positions[0].is_some(),
        "{positions:?}: {prompt}"
    );
}

/// CPU time of a process so far.
fn cpu_time(process: &str) -> String {
    run(Command::new("ps").args(["-o", "time=", "-p", process]))
}

#[test]
fn endless_answers_are_cancelled() {
    let server = Ollama::start(&["circle", "stuck"]);
    // `circle` repeats its sentences: `ingest` cancels it. `stuck` repeats one word: Ollama closes the stream.
    // Otherwise each would run for a minute.
    for model in ["circle", "stuck"] {
        let sandbox = small();
        let more = ["--interleave", "1", "--max-tokens", "90000", "--pages", "1"];
        let done = server.describe(&sandbox, model, &more);
        let failed = failures(&done.json());
        let class: Vec<_> = failed.iter().map(|(class, _)| class.as_str()).collect();
        assert_eq!(class, ["repetition"], "{model}: {}", done.out);
        until("the runner is idle", 20, || {
            let times = || -> Vec<String> {
                let all = runners(server.child.id());
                all.iter().map(|runner| cpu_time(runner)).collect()
            };
            let before = times();
            thread::sleep(Duration::from_secs(2));
            before == times()
        });
    }
}

#[test]
fn a_killed_ollama_runner_fails_no_page() {
    let server = Ollama::start(&["stop"]);
    let killed = AtomicBool::new(false);
    let (finished, pid) = (AtomicBool::new(false), server.child.id());
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            // Only once the model is loaded: Ollama may wait for ever for a runner that died while loading.
            while !finished.load(Ordering::Relaxed) && !killed.load(Ordering::Relaxed) {
                let all = if server.loaded() == 1 {
                    runners(pid)
                } else {
                    Vec::new()
                };
                for runner in all {
                    let done = Command::new("kill").args(["-9", &runner]).status();
                    killed.store(done.unwrap().success(), Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let done = server.describe(&small(), "stop", &["--interleave", "1"]);
        finished.store(true, Ordering::Relaxed);
        done
    });
    assert!(killed.load(Ordering::Relaxed));
    let report = done.json();
    let failed = failures(&report);
    assert_eq!(failed.len(), 3, "{report}{}", done.err);
    for (_, why) in failed {
        assert!(why.starts_with(OUTPUT), "{why}: {}", server.log());
    }
    // The model is loaded again, and `keep_alive` 0 unloads it.
    assert_eq!(server.loaded(), 1);
    let unload = json!({"model": "stop", "keep_alive": 0});
    post(&format!("{}/api/generate", server.url), &unload);
    until("the model is unloaded", 20, || server.loaded() == 0);
}
