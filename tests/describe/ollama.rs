//! A real Ollama, built from its source, on a tiny model whose words are known: `Bright page: a drawing …` where it saw
//! a page, `Nothing page: …` where no picture reached it (`tests/support/make_tiny_ollama.py`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{Dialect, Fake, Reply};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::shelf::{describe, shelf};
use crate::tools::{free_port, get, post, run, script, tool, until};

/// What the model says of a page that it saw, as far as a record of a failure goes.
pub(crate) const SEEN: &str = "Bright page: a drawing of one pump, with its motor";

/// The folder of a model: `stop` ends after its last word, `circle` begins anew, `stuck` repeats it for ever.
fn model(ending: &str) -> PathBuf {
    static MADE: Mutex<()> = Mutex::new(());
    static PYTHON: OnceLock<String> = OnceLock::new();
    let _turn = MADE.lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tiny-ollama-{ending}"));
    if !folder.join("Modelfile").exists() {
        let python = PYTHON.get_or_init(|| tool("python.sh"));
        let maker = script("make_tiny_ollama.py");
        run(Command::new(python).arg(maker).arg(&folder).arg(ending));
    }
    folder
}

/// A server with some of the models, each named after how it ends; killed with its runners when it goes.
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
        until("Ollama answers", 60, || {
            get(&format!("{url}/api/version")).is_some()
        });
        for ending in endings {
            let file = model(ending).join("Modelfile").display().to_string();
            run(&mut command(&["create", ending, "-f", &file]));
        }
        Self { child, url, home }
    }

    /// Describes the pages of a desk.
    pub(crate) fn describe(&self, desk: &Sandbox, model: &str, more: &[&str]) -> CommandOutput {
        let args = ["describe", "--runner", "ollama", "--url", &self.url];
        desk.run(&[&args[..], &["--model", model, "--json"], more].concat())
    }

    /// The models that are loaded.
    fn loaded(&self) -> usize {
        let known = get(&format!("{}/api/ps", self.url)).unwrap();
        known["models"].as_array().unwrap().len()
    }

    /// Ends the server; its address and the folder with its models.
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
        // Told to end it takes its runners along; killed it would leave them.
        drop(
            Command::new("kill")
                .arg(self.child.id().to_string())
                .status(),
        );
        drop(self.child.wait());
    }
}

/// The processes that run models for a server.
pub(crate) fn runners(server: u32) -> Vec<String> {
    let parent = server.to_string();
    let done = Command::new("pgrep")
        .args(["-P", &parent])
        .output()
        .unwrap();
    let listed = String::from_utf8(done.stdout).unwrap();
    listed.lines().map(str::to_owned).collect()
}

/// Small pages and one attempt: the models say the same again.
pub(crate) fn small() -> Sandbox {
    shelf()
        .with("INGEST_DESCRIBE_MEGAPIXELS", "0.2")
        .with("INGEST_DESCRIBE_ATTEMPTS", "1")
}

/// The classes and words of all failed pages.
pub(crate) fn failures(told: &Value) -> Vec<(String, String)> {
    let failed = told["failed"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    failed
        .map(|failure| (text(&failure["class"]), text(&failure["why"])))
        .collect()
}

#[test]
fn pages_reach_the_model_alone_and_together() {
    let server = Ollama::start(&["stop"]);
    for together in ["1", "3"] {
        let desk = small();
        let done = server.describe(&desk, "stop", &["--interleave", together]);
        let told = done.json();
        assert_eq!(done.code, 2, "{told}{}", done.err);
        let failed = failures(&told);
        assert_eq!(failed.len(), 3, "{told}");
        for (class, why) in failed {
            assert_eq!(class, "unparsable", "{why}");
            assert!(why.starts_with(SEEN), "{why}");
        }
        let asked_again = &told["retries"];
        let expected = if together == "1" {
            Value::Null
        } else {
            3.into()
        };
        assert_eq!(asked_again["unparsable"], expected, "{told}");
    }
}

#[test]
fn what_we_ask_is_put_before_the_model_in_our_order() {
    let server = Ollama::start(&["stop"]);
    let fake = Fake::start(Dialect::Ollama, |_| Reply::Say("[]".to_owned()));
    let desk = small();
    describe(&desk, Dialect::Ollama, &fake, &["--interleave", "3"]);
    let mut body = fake.questions()[0].body.clone();
    body["model"] = "stop".into();
    body["stream"] = false.into();
    // Answers with what the model would be given.
    body["_debug_render_only"] = true.into();
    let said = post(&format!("{}/api/chat", server.url), &body);
    let said: Value = serde_json::from_str(&said).unwrap();
    let given = &said["_debug_info"];
    assert_eq!(given["image_count"], 3, "{said}");
    let given = given["rendered_template"].as_str().unwrap();
    let order = [
        "Page 1 of 3",
        "[img-0]",
        "Page 2 of 3",
        "[img-1]",
        "Page 3 of 3",
        "[img-2]",
        "JSON",
    ];
    let places: Vec<_> = order.iter().map(|words| given.rfind(words)).collect();
    assert!(
        places.is_sorted() && places[0].is_some(),
        "{places:?}: {given}"
    );
}

/// The processor time that a process has taken so far.
fn time_of(process: &str) -> String {
    run(Command::new("ps").args(["-o", "time=", "-p", process]))
}

#[test]
fn answers_that_never_end_are_ended() {
    let server = Ollama::start(&["circle", "stuck"]);
    // One says the same sentences again: we end it. The other says one word for ever: Ollama ends it, without a word.
    // Left alone, each would go on for a minute.
    for model in ["circle", "stuck"] {
        let desk = small();
        let more = ["--interleave", "1", "--max-tokens", "90000", "--pages", "1"];
        let done = server.describe(&desk, model, &more);
        let failed = failures(&done.json());
        let class: Vec<_> = failed.iter().map(|(class, _)| class.as_str()).collect();
        assert_eq!(class, ["repetition"], "{model}: {}", done.out);
        until("the runner rests", 20, || {
            let times = || -> Vec<String> {
                let all = runners(server.child.id());
                all.iter().map(|runner| time_of(runner)).collect()
            };
            let before = times();
            thread::sleep(Duration::from_secs(2));
            before == times()
        });
    }
}

#[test]
fn a_runner_that_is_killed_costs_no_page() {
    let server = Ollama::start(&["stop"]);
    let killed = AtomicBool::new(false);
    let (over, pid) = (AtomicBool::new(false), server.child.id());
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            // Once the model is loaded and works: Ollama may wait for ever for a runner that died while it loaded.
            while !over.load(Ordering::Relaxed) && !killed.load(Ordering::Relaxed) {
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
        over.store(true, Ordering::Relaxed);
        done
    });
    assert!(killed.load(Ordering::Relaxed));
    let told = done.json();
    let failed = failures(&told);
    assert_eq!(failed.len(), 3, "{told}{}", done.err);
    for (_, why) in failed {
        assert!(why.starts_with(SEEN), "{why}: {}", server.log());
    }
    // It is loaded anew, and goes when it is told to.
    assert_eq!(server.loaded(), 1);
    let unload = json!({"model": "stop", "keep_alive": 0});
    post(&format!("{}/api/generate", server.url), &unload);
    until("the model is unloaded", 20, || server.loaded() == 0);
}
