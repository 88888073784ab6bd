//! What users order: other settings, a stop, a cancellation, work without a coordinator; and a queue that is full.

use std::time::{Duration, Instant};

use ingest::distributed::RunState;
use rustix::process::Signal;

use super::machines::{Office, Running, wait_until, workers};
use crate::{nats, weaviate};

#[test]
fn a_worker_with_other_settings_is_refused() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    office.file("a.pdf", 3);
    let detached = office
        .desk
        .run(&["a.pdf", "--queue", &queue.url(), "--detach"]);
    assert_eq!(detached.code, 0, "{}", detached.err);
    let other = office
        .machine()
        .with("INGEST_RENDER_DPI", "100")
        .run(&["work"]);
    assert_eq!(other.code, 64, "{}", other.err);
    assert!(other.err.contains("render profile is"), "{}", other.err);
    assert!(!other.err.contains("model profile"), "{}", other.err);
}

#[test]
fn work_goes_on_without_a_coordinator_and_the_same_command_tells_the_result() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    office.file("a.pdf", 20);
    let detached = office
        .desk
        .run(&["a.pdf", "--queue", &queue.url(), "--detach"]);
    assert_eq!(detached.code, 0, "{}", detached.err);
    let _worker = Running::worker(&office.machine());
    let connection = office.queue();
    wait_until("20 pages", || {
        workers(&connection).iter().any(|worker| worker.pages == 20)
    });
    let followed = office.desk.run(&["a.pdf", "--json"]);
    assert_eq!(followed.code, 0, "{}", followed.err);
    let report = followed.json();
    assert_eq!(report["manuals"][0]["stored"], 20, "{report}");
    assert_eq!(report["workers"][0]["pages"], 20, "{report}");
    let again = office.desk.run(&["a.pdf", "--json"]).json();
    assert_eq!(again["manuals"][0]["unchanged"], 20, "{again}");
    let status = office.desk.run(&["queue", "status", "--json"]).json();
    assert!(
        status["runs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|run| run["state"] == "finished")
    );
}

/// A worker that is told to end hands its work back at once: nobody waits for its lease.
#[test]
fn a_worker_that_is_told_to_end_hands_its_work_back() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    office.file("a.pdf", 60);
    let slow = |machine: crate::sandbox::Sandbox| machine.with("INGEST_QUEUE_LEASE_S", "600");
    let machines = [slow(office.machine()), slow(office.machine())];
    let first = Running::worker(&machines[0]);
    let mut command = office.desk.command(&["a.pdf", "--json"]);
    command.env("INGEST_QUEUE_LEASE_S", "600");
    let coordinator = std::thread::spawn(move || command.output().unwrap());
    let connection = office.queue();
    wait_until("the first pages", || {
        workers(&connection).iter().any(|worker| worker.pages > 0)
    });
    first.signal(Signal::TERM);
    let ended = first.output();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let start = Instant::now();
    let _second = Running::worker(&machines[1]);
    let output = coordinator.join().unwrap();
    assert!(output.status.success());
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "a lease was waited for"
    );
    assert_eq!(office.stored().len(), 60);
}

#[test]
fn a_cancelled_run_ends_and_its_work_is_gone() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    office.file("a.pdf", 40);
    let coordinator = Running::start(&office.desk, &["a.pdf"]);
    let connection = office.queue();
    let running = || {
        ingest::distributed::runs(&connection)
            .map(|(runs, _)| runs)
            .unwrap_or_default()
    };
    wait_until("a run", || !running().is_empty());
    let id = running()[0].id.clone();
    let group = running()[0].group.id();
    let queued = || {
        let group = connection
            .group(ingest::queue::Kind::Pages, &group)
            .unwrap();
        group.map_or(0, |group| group.backlog().unwrap().queued)
    };
    wait_until("queued work", || queued() > 0);
    let cancelled = office.desk.run(&["queue", "cancel", &id]);
    assert_eq!(cancelled.code, 0, "{}", cancelled.err);
    let ended = coordinator.output();
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(ended.err.contains("stopped"), "{}", ended.err);
    assert_eq!(queued(), 0);
    assert!(running().iter().all(|run| run.state == RunState::Cancelled));
    let unknown = office.desk.run(&["queue", "cancel", "nonsense"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("no run `nonsense`"), "{}", unknown.err);
}

/// Files wait until those of manuals that are done were removed.
#[test]
fn a_full_queue_delays_a_run() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    for name in ["a.pdf", "b.pdf", "c.pdf"] {
        office.file(name, 4);
        // A comment makes the file as large as more than half of the queue's files.
        let mut bytes = std::fs::read(office.desk.path(name)).unwrap();
        bytes.extend(std::iter::repeat_n(b'%', 700_000));
        office.desk.write(name, &bytes);
    }
    let _worker = Running::worker(&office.machine());
    let mut command = office.desk.command(&["a.pdf", "b.pdf", "c.pdf"]);
    let output = command.env("INGEST_QUEUE_KEEP", "1 MB").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("is full"), "{said}");
    assert_eq!(office.stored().len(), 12);
}

#[test]
fn what_a_queue_cannot_do_is_refused() {
    let queue = nats::Server::start();
    let office = Office::new(&queue, weaviate::shared());
    office.file("a.pdf", 1);
    for (args, why) in [
        (
            &["a.pdf", "--detach", "--queue", ""][..],
            "--detach needs a queue",
        ),
        (
            &["a.pdf", "--describe"],
            "--describe cannot be used with a queue",
        ),
        (
            &["a.pdf", "--store", "library.db"],
            "is a file, which only one machine can fill",
        ),
        (
            &["a.pdf", "--queue", "nats://127.0.0.1:1"],
            "does not answer",
        ),
    ] {
        let refused = office.desk.run(args);
        assert!(refused.code >= 2, "{}", refused.err);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
}
