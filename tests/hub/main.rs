//! Downloads from the hub, with a local server in its place and the cache in a temporary folder.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use ingest::checkpoint;
use ingest::embed::meaning::{Meaning, Model};
use ingest::embed::{self, Config, Device, Engine, Error};

mod families;
#[path = "../support/multilingual.rs"]
mod multilingual;

/// A hub with a base, an adapter of it, a vision-language model, the multilingual text model, and tiny checkpoints under the
/// names of known models.
struct Hub {
    address: String,
    /// Number of requests so far.
    requests: Arc<AtomicUsize>,
    /// Number of weight downloads to interrupt halfway.
    interruptions: Arc<AtomicUsize>,
}

impl Hub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            requests: Arc::default(),
            interruptions: Arc::default(),
        };
        let (requests, interruptions) = (Arc::clone(&hub.requests), Arc::clone(&hub.interruptions));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (requests, interruptions) = (Arc::clone(&requests), Arc::clone(&interruptions));
                thread::spawn(move || respond(stream.unwrap(), &requests, &interruptions));
            }
        });
        hub
    }
}

/// Folder with the files of a repository.
fn folder(repository: &str) -> PathBuf {
    let name = match repository {
        "owner/base" => "colqwen2.5-tiny",
        "owner/adapter" => "colqwen2.5-lora",
        "owner/generator" => "qwen_vl/qwen3",
        "intfloat/multilingual-e5-small" => return multilingual().to_owned(),
        known => match families::folder(known) {
            Some(folder) => return folder,
            None => "none",
        },
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// Folder with the files of the multilingual text model.
fn multilingual() -> &'static Path {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        multilingual::write(folder.path());
        folder
    });
    FOLDER.path()
}

fn respond(stream: TcpStream, requests: &AtomicUsize, interruptions: &AtomicUsize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut start = 0;
    for line in lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        let line = line.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            start = range.split('-').next().unwrap().parse().unwrap();
        }
        if range_is_probe(&line) {
            start = usize::MAX;
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let mut parts = path.trim_start_matches('/').splitn(5, '/');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (repository, _, _, name) = (format!("{}/{}", part(), part()), part(), part(), part());
    let body = fs::read(folder(&repository).join(&name)).map(|bytes| match name.as_str() {
        "adapter_config.json" => String::from_utf8(bytes)
            .unwrap()
            .replace("../colqwen2.5-tiny", "owner/base")
            .into_bytes(),
        _ => bytes,
    });
    let mut stream = stream;
    let Ok(body) = body else {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    let total = body.len();
    let (start, end) = if start == usize::MAX {
        (0, 1)
    } else {
        (start, total)
    };
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nx-repo-commit: 0123\r\netag: \"{name}-{total}\"\r\n\
         Content-Range: bytes {start}-{}/{total}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        end - 1,
        end - start
    );
    let _ = stream.write_all(head.as_bytes());
    let is_interrupted = name.ends_with(".safetensors")
        && end == total
        && interruptions
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok();
    let end = if is_interrupted {
        start + (end - start) / 2
    } else {
        end
    };
    let _ = stream.write_all(&body[start..end]);
}

/// Whether a request only reads the size of a file: the hub's client requests one byte.
fn range_is_probe(line: &str) -> bool {
    line == "range: bytes=0-0"
}

fn config(model: &str) -> Config {
    Config {
        model: model.to_owned(),
        engine: Engine::Candle,
        device: Device::Cpu,
        max_visual_tokens: None,
        pool_factor: 1,
        width: None,
        meaning: None,
    }
}

/// Runs one of the tests below in a separate process, since the hub's environment variables are per process.
fn run_in_process(test: &str, hub: &Hub, home: &Path, offline: bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env("HF_ENDPOINT", &hub.address)
        .env("HF_HOME", home)
        .env("XDG_CACHE_HOME", home)
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_TOKEN")
        .env("HF_HUB_OFFLINE", if offline { "1" } else { "" });
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{test}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn adapter_and_base_are_downloaded_once() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    run_in_process("child_embeds", &hub, home.path(), false);
    assert!(hub.requests.load(Ordering::SeqCst) > 8);
    let before = hub.requests.load(Ordering::SeqCst);
    run_in_process("child_embeds", &hub, home.path(), true);
    assert_eq!(
        hub.requests.load(Ordering::SeqCst),
        before,
        "everything is cached"
    );
}

#[cfg(feature = "mlx")]
#[test]
fn vision_language_model_is_downloaded_once() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    run_in_process("child_describes", &hub, home.path(), false);
    let before = hub.requests.load(Ordering::SeqCst);
    run_in_process("child_describes", &hub, home.path(), true);
    assert_eq!(hub.requests.load(Ordering::SeqCst), before, "all is cached");
}

#[test]
fn interrupted_download_fails_and_can_be_repeated() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    hub.interruptions.store(1, Ordering::SeqCst);
    run_in_process("child_is_interrupted", &hub, home.path(), false);
    run_in_process("child_embeds", &hub, home.path(), false);
}

#[test]
fn text_model_is_downloaded_once() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    run_in_process("child_embeds_text", &hub, home.path(), false);
    let before = hub.requests.load(Ordering::SeqCst);
    assert!(before >= 3);
    run_in_process("child_embeds_text", &hub, home.path(), true);
    assert_eq!(hub.requests.load(Ordering::SeqCst), before, "all is cached");
}

#[test]
fn uncached_model_fails_offline() {
    let (hub, home) = (Hub::start(), tempfile::tempdir().unwrap());
    run_in_process("child_fails_offline", &hub, home.path(), true);
    assert_eq!(hub.requests.load(Ordering::SeqCst), 0);
}

#[test]
#[ignore = "run by the tests above"]
fn child_embeds() {
    let local = config(&folder("owner/adapter").display().to_string());
    let mut events = Vec::new();
    embed::fetch(&config("owner/adapter"), &mut |name, done, total| {
        events.push((name.to_owned(), done == total));
    })
    .unwrap();
    assert!(events.is_empty() || events.contains(&("model.safetensors".to_owned(), true)));
    let hub = embed::card(&config("owner/adapter")).unwrap();
    assert_eq!(hub.profile.model, "owner/adapter");
    assert_eq!(hub.profile.id, embed::card(&local).unwrap().profile.id);
    let query = |config| {
        embed::open(config)
            .unwrap()
            .embed_query("torque of the M8 bolt")
            .unwrap()
    };
    assert_eq!(query(&config("owner/adapter")), query(&local));
}

#[test]
#[ignore = "run by the tests above"]
fn child_embeds_text() {
    let config = Config {
        meaning: Some(Model::Multilingual),
        ..config(embed::BUILT_IN)
    };
    let mut events = Vec::new();
    embed::fetch(&config, &mut |name, done, total| {
        events.push((name.to_owned(), done == total));
    })
    .unwrap();
    assert!(events.is_empty() || events.contains(&("model.safetensors".to_owned(), true)));
    let model = Meaning::open(Model::Multilingual).unwrap();
    let page = model.embed_page("Press mute.").unwrap().unwrap();
    assert_eq!(page.tokens, [12, 13]);
    let query = model.embed_query("取扱 mute").unwrap().unwrap();
    assert_eq!(query.profile, Model::Multilingual.profile());
    assert_eq!(query.tokens, [13]);
}

#[test]
#[ignore = "run by the tests above"]
fn child_is_interrupted() {
    match embed::fetch(&config("owner/adapter"), &mut |_, _, _| ()) {
        Err(Error::Files(checkpoint::Error::Hub { model, .. })) => {
            assert_eq!(model, "owner/base/model.safetensors")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "run by the tests above"]
fn child_fails_offline() {
    match embed::card(&config("owner/adapter")) {
        Err(Error::Files(checkpoint::Error::Hub { why, .. })) => {
            assert!(why.contains("HF_HUB_OFFLINE"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    match Meaning::open(Model::Multilingual).map(drop) {
        Err(checkpoint::Error::Hub { why, .. }) => {
            assert!(why.contains("HF_HUB_OFFLINE"), "{why}")
        }
        other => panic!("{other:?}"),
    }
}

#[cfg(feature = "mlx")]
#[test]
#[ignore = "run by the tests above"]
fn child_describes() {
    use ingest::config::{Settings, Sources};
    use ingest::vlm::{self, ChatRequest, Chunk, Part, RunnerKind};

    let config = vlm::Config {
        runner: RunnerKind::Mlx,
        model: "owner/generator".to_owned(),
        ..Settings::resolve(&Sources::default()).unwrap().describe
    };
    let mut events = Vec::new();
    vlm::fetch(&config, &mut |name, done, total| {
        events.push((name.to_owned(), done == total));
    })
    .unwrap();
    assert!(events.is_empty() || events.contains(&("model.safetensors".to_owned(), true)));
    let runner = vlm::open(&config, 1 << 30).unwrap();
    let request = ChatRequest {
        parts: vec![Part::Text("What is on this page?".to_owned())],
        max_tokens: 3,
        temperature: 0.0,
        deadline: std::time::Duration::from_secs(60),
    };
    let chunks: Vec<Chunk> = runner
        .run(&request)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let end = chunks.last().unwrap();
    assert!(
        matches!(end, Chunk::Finished(end) if end.completion_tokens <= Some(3)),
        "{chunks:?}"
    );
}
