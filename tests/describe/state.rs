//! The model and its server over a whole run: state, memory, address, and who started it.

use std::process::Command;

use serde_json::Value;

use crate::fake::{Asked, Dialect, Fake, Reply};
use crate::ollama::{Ollama, SEEN, failures, runners, small};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::shelf::{describe, description, shelf, shelf_of, tally};
use crate::tools::{get, run, tool, until};

/// Twelve pages, one asked about again after each four.
fn canary() -> Sandbox {
    let texts: Vec<String> = (0..12).map(|n| format!("text of page {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    shelf_of(&texts).with("INGEST_DESCRIBE_CANARY_EVERY", "4")
}

/// A model that loses its mind with its seventh question.
fn losing(asked: &Asked, is_cured: bool) -> Reply {
    let said = description(asked.pages[0] + 10);
    match asked.number >= 6 && !is_cured {
        true => Reply::Say(said.replace("Another page", "A boat on the sea, seen from land,")),
        false => Reply::Say(said),
    }
}

#[test]
fn a_model_that_says_something_else_of_the_same_page_is_loaded_anew() {
    let desk = canary();
    let fake = Fake::start(Dialect::Ollama, |asked| losing(asked, asked.unloads > 0));
    let one = ["--lanes", "1", "--interleave", "1"];
    let (code, told) = tally(&desk, Dialect::Ollama, &fake, &one);
    assert_eq!((code, &told["described"]), (0, &12.into()), "{told}");
    assert_eq!(told["retries"]["state"], 4, "{told}");
    assert_eq!(desk.run(&["describe", "--export", "all.jsonl"]).code, 0);
    let all = std::fs::read_to_string(desk.path("all.jsonl")).unwrap();
    assert_eq!(all.lines().count(), 12);
    assert!(!all.contains("A boat"), "{all}");
    // Page 1 is asked about alone, greedily, and always in the same words.
    let greedy = |asked: &&Asked| asked.body["options"]["temperature"] == 0.0;
    let questions = fake.questions();
    let greedy: Vec<&Asked> = questions.iter().filter(greedy).collect();
    assert_eq!(
        greedy.len(),
        5,
        "at first, three times after four pages, and once more"
    );
    assert!(
        greedy
            .iter()
            .all(|asked| asked.body == greedy[0].body && asked.pages == [1])
    );
}

#[test]
fn a_model_that_does_not_recover_is_given_up() {
    let desk = canary();
    let fake = Fake::start(Dialect::Ollama, |asked| losing(asked, false));
    let one = ["--lanes", "1", "--interleave", "1"];
    let (code, told) = tally(&desk, Dialect::Ollama, &fake, &one);
    assert_eq!(code, 1, "{told}");
    let failed = failures(&told);
    assert_eq!(failed.len(), 4, "{told}");
    for (class, why) in failed {
        assert!(
            class == "state" && why.contains("says something else"),
            "{class}: {why}"
        );
    }
    assert_eq!(
        told["described"], 4,
        "those before the last good look: {told}"
    );
}

#[test]
fn pages_that_leave_the_machine_are_announced_and_their_memory_is_not_ours() {
    let desk = shelf();
    let mut fake = Fake::start(Dialect::OpenAi, |asked| {
        Reply::Say(description(asked.pages[0]))
    });
    let told = describe(&desk, Dialect::OpenAi, &fake, &["--pages", "1"]);
    assert!(!told.err.contains("another machine"), "{}", told.err);
    assert!(!told.out.contains("model memory: —"), "{}", told.out);
    // Not an address of the loop, although it leads there.
    fake.url = fake.url.replace("127.0.0.1", "0.0.0.0");
    let told = describe(&desk, Dialect::OpenAi, &fake, &["--pages", "2-3"]);
    assert_eq!(told.code, 0, "{}", told.err);
    let times = told
        .err
        .matches("pages are sent to another machine")
        .count();
    assert_eq!(times, 1, "{}", told.err);
    assert!(told.out.contains("model memory: —"), "{}", told.out);
}

#[test]
fn a_model_that_takes_too_much_memory_is_stopped() {
    let server = Ollama::start(&["stop"]);
    let one = ["--interleave", "1"];
    // The server alone takes some 60 MB, with a loaded model 350.
    let desk = small().with("INGEST_LIMITS_MEMORY_LIMIT", "120 MB");
    let done = server.describe(&desk, "stop", &one);
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    assert!(
        done.err.contains("of the 0.1 GB that it may"),
        "{}",
        done.err
    );
    assert!(
        done.err.contains("what is described is stored"),
        "{}",
        done.err
    );
    let told = done.json();
    assert_eq!(failures(&told).len(), 1, "page 1 was asked about: {told}");
    assert!(told["memory"].as_u64().unwrap() > 200_000_000, "{told}");
    // With room for it the run goes on where it ended.
    let desk = desk.with("INGEST_LIMITS_MEMORY_LIMIT", "0");
    let done = server.describe(&desk, "stop", &one);
    let told = done.json();
    assert_eq!(
        (failures(&told).len(), &told["kept"]),
        (2, &1.into()),
        "{told}{}",
        done.err
    );
}

#[test]
fn a_model_is_loaded_anew_as_often_as_that_is_wanted() {
    let server = Ollama::start(&["stop"]);
    let desk = small().with("INGEST_DESCRIBE_UNLOAD_EVERY", "1");
    let done = server.describe(&desk, "stop", &["--interleave", "1"]);
    assert_eq!(failures(&done.json()).len(), 3, "{}", done.err);
    let log = server.log();
    let starts = log.lines().filter(|line| line.contains("starting runner"));
    assert_eq!(starts.filter(|line| line.contains("--model")).count(), 3);
}

/// Describes with a server that the settings start; `also` is done once it runs, with its process.
fn kept(desk: &Sandbox, command: &[&str], url: &str, also: impl FnOnce(u32)) -> CommandOutput {
    let settings = toml::Table::from_iter([
        ("runner".to_owned(), "ollama".into()),
        ("url".to_owned(), url.into()),
        ("command".to_owned(), command.to_vec().into()),
    ]);
    let settings = toml::Table::from_iter([("describe".to_owned(), settings.into())]);
    desk.write("ingest.toml", settings.to_string().as_bytes());
    let args = ["describe", "--json", "--interleave", "1"];
    let running = desk.start(&args);
    also(running.id());
    running.wait_with_output().unwrap().into()
}

#[test]
fn a_server_that_we_start_is_watched_and_ended() {
    let (url, home) = Ollama::start(&["stop"]).end();
    let folder = home.path().display().to_string();
    let host = url.trim_start_matches("http://");
    let desk = small()
        .with("OLLAMA_HOST", host)
        .with("OLLAMA_MODELS", &folder)
        .with("HOME", &folder);
    let program = tool("ollama.sh");
    let done = kept(&desk, &[&program, "serve"], &url, |ingest| {
        // Killed once it runs the model, which it leaves behind. At its start it looks for GPUs in other processes.
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
    let told = done.json();
    let failed = failures(&told);
    assert_eq!(failed.len(), 3, "{told}{}", done.err);
    for (_, why) in failed {
        assert!(why.starts_with(SEEN), "{why}");
    }
    assert!(told["memory"].as_u64().unwrap() > 100_000_000, "{told}");
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
    let desk = shelf();
    let url = "http://127.0.0.1:9";
    let done = kept(
        &desk,
        &["sh", "-c", "echo no such model; exit 3"],
        url,
        |_| {},
    );
    assert_eq!(done.code, 1, "{}", done.err);
    let why = "ended, exit status: 3: no such model";
    assert!(done.err.contains(why), "{}", done.err);
    let done = kept(&desk, &["no-such-server"], url, |_| {});
    assert!(
        done.err
            .contains("`no-such-server` is away: it cannot be started"),
        "{}",
        done.err
    );
    assert_eq!(serde_json::from_str::<Value>(&done.out).ok(), None);
}
