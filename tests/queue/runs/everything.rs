//! Everything goes wrong in one run, and nothing is lost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::machines::{LEASE, Office, Running, wait_until, workers};
use crate::{nats, pdf, weaviate};

/// Number of runs, each with other moments: `INGEST_KILL_RUNS=20 cargo test --test queue nothing_is_lost` takes minutes.
const RUNS: &str = "INGEST_KILL_RUNS";

/// Workers, coordinators, the queue and the store are killed or stopped in one run. The store then has what one machine alone
/// stores, bit for bit; the torn file and the page that cannot be drawn are told once; a page is counted once.
#[test]
fn nothing_is_lost() {
    let runs = std::env::var(RUNS).map_or(1, |runs| runs.parse().unwrap());
    for seed in 0..runs {
        everything_goes_wrong(&mut fastrand::Rng::with_seed(seed));
    }
}

fn everything_goes_wrong(random: &mut fastrand::Rng) {
    let mut moment = |at_most: u64| sleep(Duration::from_millis(random.u64(0..=at_most)));
    let (mut queue_server, mut store) = (nats::Server::start(), weaviate::Server::start());
    let office = Office::new(&queue_server, &store);
    office.file("a.pdf", 90);
    office.file("b.pdf", 50);
    office.desk.write("broken.pdf", &pdf::broken_stream());
    office.desk.write("torn.pdf", b"%PDF-1.7 torn");
    let files = ["a.pdf", "b.pdf", "broken.pdf", "torn.pdf"];
    let expected = office.expected(&files);
    let command = [&files[..], &["--json"]].concat();

    let machines: Vec<_> = (0..3).map(|_| office.machine()).collect();
    let mut running: Vec<Running> = machines.iter().map(Running::worker).collect();
    let first = Running::start(&office.desk, &command);
    let queue = office.queue();
    let done = |queue| {
        workers(queue)
            .iter()
            .map(|worker| worker.pages)
            .sum::<u64>()
    };
    wait_until("the first pages", || done(&queue) > 8);
    moment(2_000);
    // A second coordinator waits, and goes on when the first one dies.
    let second = Running::start(&office.desk, &command);
    running[0] = Running::worker(&machines[0]);
    moment(1_000);
    first.signal(Signal::KILL);
    let taken_over = Instant::now();
    moment(500);
    queue_server.kill();
    moment(600);
    queue_server.restart();
    running[1].signal(Signal::STOP);
    moment(500);
    store.pause();
    sleep(Duration::from_secs(2));
    store.resume();
    sleep(LEASE);
    running[1].signal(Signal::CONT);
    let second = second.output();
    assert!(
        taken_over.elapsed() < Duration::from_secs(90),
        "{}",
        second.err
    );

    assert_eq!(second.code, 1, "{}", second.err);
    assert!(
        second.err.contains("this machine takes over if it stops"),
        "{}",
        second.err
    );
    let report = second.json();
    let manuals = report["manuals"].as_array().unwrap();
    let count = |index: usize, name: &str| manuals[index][name].as_u64().unwrap();
    assert_eq!(
        [count(0, "stored"), count(1, "stored")],
        [90, 50],
        "{report}"
    );
    assert_eq!(
        count(2, "stored") + manuals[2]["failed"].as_array().unwrap().len() as u64,
        2
    );
    assert!(manuals[3]["error"].is_string(), "{report}");
    assert_eq!(second.err.matches("torn.pdf").count(), 1, "{}", second.err);
    assert_eq!(office.stored(), expected);
}
