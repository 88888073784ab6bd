//! Model and server during a run: degradation, memory, address, managed process.

use std::process::Command;

use serde_json::Value;

use crate::fake_server::{Dialect, FakeServer, ReceivedRequest, Reply};
use crate::library::{describe, describe_json, description, library, library_of};
use crate::ollama::{OUTPUT, Ollama, failures, runners, small};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::tools::{get, run, tool, until};

/// Twelve pages; one is described again after every four.
fn canary() -> Sandbox {
    let texts: Vec<String> = (0..12).map(|n| format!("text of page {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    library_of(&texts).with("INGEST_DESCRIBE_CANARY_EVERY", "4")
}

/// A model that gives wrong answers from its seventh request on, unless `is_reloaded`.
fn degrading(request: &ReceivedRequest, is_reloaded: bool) -> Reply {
    let answer = description(request.pages[0] + 10);
    match request.number >= 6 && !is_reloaded {
        true => Reply::Answer(answer.replace("Another page", "A boat on the sea, seen from land,")),
        false => Reply::Answer(answer),
    }
}

#[test]
fn a_degraded_model_is_reloaded_and_its_pages_are_described_again() {
    let sandbox = canary();
    let fake = FakeServer::start(Dialect::Ollama, |request| {
        degrading(request, request.unloads > 0)
    });
    let one = ["--lanes", "1", "--interleave", "1"];
    let (code, report) = describe_json(&sandbox, Dialect::Ollama, &fake, &one);
    assert_eq!((code, &report["described"]), (0, &12.into()), "{report}");
    assert_eq!(report["retries"]["state"], 4, "{report}");
    assert_eq!(sandbox.run(&["describe", "--export", "all.jsonl"]).code, 0);
    let all = std::fs::read_to_string(sandbox.path("all.jsonl")).unwrap();
    assert_eq!(all.lines().count(), 12);
    assert!(!all.contains("A boat"), "{all}");
    // Page 1 is always described alone, with greedy decoding and the same prompt.
    let greedy = |request: &&ReceivedRequest| request.body["options"]["temperature"] == 0.0;
    let requests = fake.requests();
    let greedy: Vec<&ReceivedRequest> = requests.iter().filter(greedy).collect();
    assert_eq!(
        greedy.len(),
        5,
        "at the start, three times after four pages, and once after the reload"
    );
    assert!(
        greedy
            .iter()
            .all(|request| request.body == greedy[0].body && request.pages == [1])
    );
}

#[test]
fn a_model_that_stays_degraded_after_a_reload_ends_the_run() {
    let sandbox = canary();
    let fake = FakeServer::start(Dialect::Ollama, |request| degrading(request, false));
    let one = ["--lanes", "1", "--interleave", "1"];
    let (code, report) = describe_json(&sandbox, Dialect::Ollama, &fake, &one);
    assert_eq!(code, 1, "{report}");
    let failed = failures(&report);
    assert_eq!(failed.len(), 4, "{report}");
    for (class, why) in failed {
        assert!(
            class == "state" && why.contains("still differs from the first one"),
            "{class}: {why}"
        );
    }
    assert_eq!(
        report["described"], 4,
        "those before the last good check: {report}"
    );
}

#[test]
fn a_remote_server_is_announced_and_its_memory_is_not_measured() {
    let sandbox = library();
    let mut fake = FakeServer::start(Dialect::OpenAi, |request| {
        Reply::Answer(description(request.pages[0]))
    });
    let done = describe(&sandbox, Dialect::OpenAi, &fake, &["--pages", "1"]);
    assert!(!done.err.contains("another machine"), "{}", done.err);
    assert!(!done.out.contains("model memory: —"), "{}", done.out);
    // Not a loopback address, although it reaches this machine.
    fake.url = fake.url.replace("127.0.0.1", "0.0.0.0");
    let done = describe(&sandbox, Dialect::OpenAi, &fake, &["--pages", "2-3"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let times = done
        .err
        .matches("pages are sent to another machine")
        .count();
    assert_eq!(times, 1, "{}", done.err);
    assert!(done.out.contains("model memory: —"), "{}", done.out);
}

#[test]
fn a_run_ends_if_the_model_exceeds_the_memory_limit() {
    let server = Ollama::start(&["stop"]);
    let one = ["--interleave", "1"];
    // The server alone takes some 60 MB, with a loaded model 350.
    let sandbox = small().with("INGEST_LIMITS_MEMORY_LIMIT", "120 MB");
    let done = server.describe(&sandbox, "stop", &one);
    assert_eq!(done.code, 2, "{}{}", done.out, done.err);
    assert!(done.err.contains("of its 0.1 GB limit"), "{}", done.err);
    assert!(
        done.err.contains("described pages are stored"),
        "{}",
        done.err
    );
    let report = done.json();
    assert_eq!(failures(&report).len(), 1, "page 1 was sent: {report}");
    assert!(report["memory"].as_u64().unwrap() > 200_000_000, "{report}");
    // Without the limit, the next run continues.
    let sandbox = sandbox.with("INGEST_LIMITS_MEMORY_LIMIT", "0");
    let done = server.describe(&sandbox, "stop", &one);
    let report = done.json();
    assert_eq!(
        (failures(&report).len(), &report["kept"]),
        (2, &1.into()),
        "{report}{}",
        done.err
    );
}

#[test]
fn unload_every_reloads_the_model_after_that_many_pages() {
    let server = Ollama::start(&["stop"]);
    let sandbox = small().with("INGEST_DESCRIBE_UNLOAD_EVERY", "1");
    let done = server.describe(&sandbox, "stop", &["--interleave", "1"]);
    assert_eq!(failures(&done.json()).len(), 3, "{}", done.err);
    let log = server.log();
    let starts = log.lines().filter(|line| line.contains("starting runner"));
    assert_eq!(starts.filter(|line| line.contains("--model")).count(), 3);
}

/// Describes with a managed server; `while_running` is called with the process id of `ingest`.
fn describe_managed(
    sandbox: &Sandbox,
    command: &[&str],
    url: &str,
    while_running: impl FnOnce(u32),
) -> CommandOutput {
    let settings = toml::Table::from_iter([
        ("runner".to_owned(), "ollama".into()),
        ("url".to_owned(), url.into()),
        ("command".to_owned(), command.to_vec().into()),
    ]);
    let settings = toml::Table::from_iter([("describe".to_owned(), settings.into())]);
    sandbox.write("ingest.toml", settings.to_string().as_bytes());
    let args = ["describe", "--json", "--interleave", "1"];
    let running = sandbox.start(&args);
    while_running(running.id());
    running.wait_with_output().unwrap().into()
}

#[test]
fn a_managed_server_is_restarted_and_terminated() {
    let (url, home) = Ollama::start(&["stop"]).end();
    let folder = home.path().display().to_string();
    let host = url.trim_start_matches("http://");
    let sandbox = small()
        .with("OLLAMA_HOST", host)
        .with("OLLAMA_MODELS", &folder)
        .with("HOME", &folder);
    let program = tool("ollama.sh");
    let done = describe_managed(&sandbox, &[&program, "serve"], &url, |ingest| {
        // Killed once it runs the model, whose process stays behind. At its start, Ollama looks for GPUs in other
        // child processes.
        until("the server runs the model", 60, || {
            let runs = |server: &&String| {
                let args = ["-P", server.as_str(), "-f", "--", "--model"];
                Command::new("pgrep")
                    .args(args)
                    .output()
                    .unwrap()
                    .status
                    .success()
            };
            let servers = runners(ingest);
            let Some(server) = servers.iter().find(runs) else {
                return false;
            };
            run(Command::new("kill").args(["-9", server]));
            true
        });
    });
    let report = done.json();
    let failed = failures(&report);
    assert_eq!(failed.len(), 3, "{report}{}", done.err);
    for (_, why) in failed {
        assert!(why.starts_with(OUTPUT), "{why}");
    }
    assert!(report["memory"].as_u64().unwrap() > 100_000_000, "{report}");
    assert!(
        get(&format!("{url}/api/version")).is_none(),
        "it is still there"
    );
    let left = Command::new("pgrep")
        .args(["-f", &folder])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(left.stdout).unwrap(),
        "",
        "a runner is left"
    );
}

#[test]
fn a_server_that_cannot_be_started_says_why() {
    let sandbox = library();
    let url = "http://127.0.0.1:9";
    let done = describe_managed(
        &sandbox,
        &["sh", "-c", "echo no such model; exit 3"],
        url,
        |_| {},
    );
    assert_eq!(done.code, 2, "{}", done.err);
    let why = "exited, exit status: 3: no such model";
    assert!(done.err.contains(why), "{}", done.err);
    let done = describe_managed(&sandbox, &["no-such-server"], url, |_| {});
    assert!(
        done.err
            .contains("`no-such-server` is unavailable: it cannot be started"),
        "{}",
        done.err
    );
    assert_eq!(serde_json::from_str::<Value>(&done.out).ok(), None);
}
