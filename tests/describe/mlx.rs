//! The real `mlx_vlm.server`, on tiny models with random weights: they never say JSON, but everything else is real.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;

use crate::sandbox::{CommandOutput, Sandbox};
use crate::shelf::shelf;
use crate::tools::{free_port, get, run, script, tool, until};

/// The Python that runs the server, and the models, made once a run.
fn made() -> &'static (String, PathBuf) {
    static MADE: OnceLock<(String, PathBuf)> = OnceLock::new();
    MADE.get_or_init(|| {
        let python = tool("mlx-vlm.sh");
        let models = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-vlm");
        let maker = script("make_tiny_vlm.py");
        run(Command::new(&python).arg(maker).arg(&models));
        (python, models)
    })
}

/// One server at a time: they compute on the CPU.
static TURN: Mutex<()> = Mutex::new(());

/// A server; killed when it goes.
pub(crate) struct Server {
    child: Child,
    port: u16,
    model: PathBuf,
    log: tempfile::NamedTempFile,
    _turn: MutexGuard<'static, ()>,
}

impl Server {
    /// One of the tiny models.
    fn start(process_tree: &str) -> Self {
        Self::serve(made().1.join(process_tree))
    }

    /// A model in a folder.
    pub(crate) fn serve(model: PathBuf) -> Self {
        Self::serve_at(free_port(), model)
    }

    fn serve_at(port: u16, model: PathBuf) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (python, _) = made();
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
            _turn: turn,
        };
        until("the server answers", 180, || {
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

    /// What the server counted.
    fn metrics(&self) -> Value {
        get(&format!("{}/metrics", self.url())).unwrap()
    }

    /// Describes with it.
    pub(crate) fn describe(&self, desk: &Sandbox, more: &[&str]) -> CommandOutput {
        let url = self.url();
        desk.run(
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

/// Small pages and one attempt: the models compute on the CPU, and will say nonsense again.
fn small() -> Sandbox {
    shelf()
        .with("INGEST_DESCRIBE_MEGAPIXELS", "0.1")
        .with("INGEST_DESCRIBE_ATTEMPTS", "1")
}

/// The classes that nonsense can have.
const NONSENSE: [&str; 5] = [
    "unparsable",
    "truncated",
    "repetition",
    "gibberish",
    "too-brief",
];

#[test]
fn nonsense_of_a_real_server_ends_as_failed_pages() {
    for (process_tree, gated) in [("qwen2.5-vl", false), ("qwen3-vl", true)] {
        let server = Server::start(process_tree);
        let desk = small();
        let done = server.describe(&desk, &["--max-tokens", "40"]);
        let told = done.json();
        assert_eq!(done.code, 2, "{process_tree}: {told}{}", done.err);
        let failed = told["failed"].as_array().unwrap();
        assert_eq!(failed.len(), 3, "{told}");
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
        let asked = metrics["summary"]["requests_started"].as_u64().unwrap();
        assert_eq!(asked, 3, "{gated}: {metrics}");
        // Several pictures in one question, then each page alone.
        let done = server.describe(
            &desk,
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
        let pictures: Vec<u64> = metrics["recent"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["image_count"].as_u64().unwrap())
            .collect();
        assert!(pictures.contains(&3), "{pictures:?}");
    }
}

#[test]
fn a_page_that_takes_too_long_is_cancelled_at_the_server() {
    let server = Server::start("qwen2.5-vl");
    let desk = small().with("INGEST_DESCRIBE_DEADLINE_S", "6");
    let done = server.describe(&desk, &["--max-tokens", "6000", "--pages", "1"]);
    assert_eq!(done.code, 2, "{}", done.err);
    let class = done.json()["failed"][0]["class"].clone();
    assert!(class == "deadline" || class == "repetition", "{class}");
    until("the server stops", 20, || {
        let summary = &server.metrics()["summary"];
        let over = summary["in_flight"] == 0 && summary["requests_completed"] == 0;
        over && summary["last_error"]["error"] == "stream_closed_before_completion"
    });
}

#[test]
fn a_server_that_is_killed_in_mid_run_is_waited_for() {
    let server = Server::start("qwen2.5-vl");
    let port = server.port;
    let desk = small();
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
    let running = desk.start(&args);
    until("something is asked", 60, || {
        server.metrics()["summary"]["requests_started"] != 0
    });
    drop(server);
    let server = Server::serve_at(port, made().1.join("qwen2.5-vl"));
    let done = CommandOutput::from(running.wait_with_output().unwrap());
    let told = done.json();
    // Every page was asked in the end: none failed through the server.
    let failed = told["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 3, "{told}{}", done.err);
    for failure in failed {
        assert!(
            NONSENSE.contains(&failure["class"].as_str().unwrap()),
            "{failure}"
        );
    }
    assert!(done.err.contains("asking again in"), "{}", done.err);
    assert!(
        server.metrics()["summary"]["requests_started"]
            .as_u64()
            .unwrap()
            >= 3
    );
}
