//! The real `mlx_vlm.server` with tiny models of random weights: their answers are never JSON.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;

use crate::library::library;
use crate::sandbox::{CommandOutput, Sandbox};
use crate::tools::{free_port, get, run, script, tool, until};

/// Python interpreter of the server and folder of the models, made once per run.
fn environment() -> &'static (String, PathBuf) {
    static MADE: OnceLock<(String, PathBuf)> = OnceLock::new();
    MADE.get_or_init(|| {
        let python = tool("mlx-vlm.sh");
        let models = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-vlm");
        let maker = script("make_tiny_vlm.py");
        run(Command::new(&python).arg(maker).arg(&models));
        (python, models)
    })
}

/// One server at a time, as they compute on the CPU.
static EXCLUSIVE: Mutex<()> = Mutex::new(());

/// Server process; killed on drop.
pub(crate) struct Server {
    child: Child,
    port: u16,
    model: PathBuf,
    log: tempfile::NamedTempFile,
    _exclusive: MutexGuard<'static, ()>,
}

impl Server {
    /// Serves one of the tiny models.
    pub(crate) fn start(family: &str) -> Self {
        Self::serve(environment().1.join(family))
    }

    /// Serves the model in a folder.
    pub(crate) fn serve(model: PathBuf) -> Self {
        Self::serve_at(free_port(), model)
    }

    fn serve_at(port: u16, model: PathBuf) -> Self {
        let exclusive = EXCLUSIVE.lock().unwrap_or_else(PoisonError::into_inner);
        let (python, _) = environment();
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(python)
            .args([
                "-m",
                "mlx_vlm.server",
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--model",
            ])
            .arg(&model)
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null())
            .stdout(File::create(log.path()).unwrap())
            .stderr(File::options().append(true).open(log.path()).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            port,
            model,
            log,
            _exclusive: exclusive,
        };
        until("the server responds", 180, || {
            let ended = server.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(server.log.path()).unwrap_or_default();
            assert!(ended.is_none(), "{ended:?}: {}", log());
            get(&format!("{}/health", server.url())).is_some()
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Metrics of the server.
    fn metrics(&self) -> Value {
        get(&format!("{}/metrics", self.url())).unwrap()
    }

    /// Runs `ingest describe --json` with it.
    pub(crate) fn describe(&self, sandbox: &Sandbox, more: &[&str]) -> CommandOutput {
        let url = self.url();
        sandbox.run(
            &[
                &["describe", "--runner", "mlx-vlm", "--url", &url, "--json"],
                more,
            ]
            .concat(),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Small page images and one attempt: the models compute on the CPU, and a retry gives nonsense again.
fn small() -> Sandbox {
    library()
        .with("INGEST_DESCRIBE_MEGAPIXELS", "0.1")
        .with("INGEST_DESCRIBE_ATTEMPTS", "1")
}

/// Possible failure classes of nonsense.
const NONSENSE: [&str; 5] = [
    "unparsable",
    "truncated",
    "repetition",
    "gibberish",
    "too-brief",
];

#[test]
fn nonsense_of_mlx_vlm_is_a_failure_and_requests_have_the_expected_fields() {
    for family in ["qwen2.5-vl", "qwen3-vl"] {
        let server = Server::start(family);
        let sandbox = small();
        let done = server.describe(&sandbox, &["--max-tokens", "40"]);
        let report = done.json();
        assert_eq!(done.code, 2, "{family}: {report}{}", done.err);
        let failed = report["failed"].as_array().unwrap();
        assert_eq!(failed.len(), 3, "{report}");
        for failure in failed {
            assert!(
                NONSENSE.contains(&failure["class"].as_str().unwrap()),
                "{failure}"
            );
        }
        let metrics = server.metrics();
        let model = server.model.display().to_string();
        for entry in metrics["recent"].as_array().unwrap() {
            assert_eq!(
                (&entry["stream"], &entry["image_count"]),
                (&true.into(), &1.into()),
                "{entry}"
            );
            assert_eq!(
                (&entry["model"], &entry["thinking_enabled"]),
                (&model.as_str().into(), &false.into())
            );
        }
        let requests = metrics["summary"]["requests_started"].as_u64().unwrap();
        assert_eq!(requests, 3, "{metrics}");
        // Several images in one request, then each page alone.
        let done = server.describe(
            &sandbox,
            &[
                "--max-tokens",
                "20",
                "--interleave",
                "3",
                "--lanes",
                "1",
                "--redo",
                "all",
            ],
        );
        assert_eq!(done.code, 2, "{}", done.err);
        let metrics = server.metrics();
        let image_counts: Vec<u64> = metrics["recent"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["image_count"].as_u64().unwrap())
            .collect();
        assert!(image_counts.contains(&3), "{image_counts:?}");
    }
}

#[test]
fn deadline_cancels_the_request_at_the_server() {
    let server = Server::start("qwen2.5-vl");
    let sandbox = small().with("INGEST_DESCRIBE_DEADLINE_S", "6");
    let done = server.describe(&sandbox, &["--max-tokens", "6000", "--pages", "1"]);
    assert_eq!(done.code, 2, "{}", done.err);
    let class = done.json()["failed"][0]["class"].clone();
    assert!(class == "deadline" || class == "repetition", "{class}");
    until("the server stops", 20, || {
        let summary = &server.metrics()["summary"];
        // A request about a test image is answered: the server is there.
        let count = |key: &str| summary[key].as_u64().unwrap();
        let cancelled = count("requests_started") > count("requests_completed");
        cancelled
            && summary["in_flight"] == 0
            && summary["last_error"]["error"] == "stream_closed_before_completion"
    });
}

#[test]
fn a_run_waits_for_a_killed_server_to_come_back() {
    let server = Server::start("qwen2.5-vl");
    let port = server.port;
    let sandbox = small();
    let url = server.url();
    let args = [
        "describe",
        "--runner",
        "mlx-vlm",
        "--url",
        &url,
        "--json",
        "--max-tokens",
        "4000",
        "--lanes",
        "1",
    ];
    let running = sandbox.start(&args);
    until("a request has started", 60, || {
        server.metrics()["summary"]["requests_started"] != 0
    });
    drop(server);
    let server = Server::serve_at(port, environment().1.join("qwen2.5-vl"));
    let done = CommandOutput::from(running.wait_with_output().unwrap());
    let report = done.json();
    // Every page was sent in the end: none has the class `server`.
    let failed = report["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 3, "{report}{}", done.err);
    for failure in failed {
        assert!(
            NONSENSE.contains(&failure["class"].as_str().unwrap()),
            "{failure}"
        );
    }
    assert!(done.err.contains("retrying in"), "{}", done.err);
    assert!(
        server.metrics()["summary"]["requests_started"]
            .as_u64()
            .unwrap()
            >= 3
    );
}
