//! Outages: the server is killed, paused and started again under a queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ingest::queue::{Error, Kind, NewItem, PullRequest};

use crate::nats::Server;
use crate::support::{coordinator, items, names, publish, pull, pull_within};

fn names_of(items: &[NewItem]) -> Vec<String> {
    let mut names: Vec<String> = items.iter().map(|item| item.item.clone()).collect();
    names.sort();
    names
}

#[test]
fn everything_goes_on_after_the_server_was_killed() {
    let mut server = Server::start();
    let queue = coordinator(&server);
    let group = queue.create_group(Kind::Pages, "r").unwrap();
    publish(&queue, &items("r", 3));
    let held = pull(&group, 1);
    queue.publish_result("r", "a", b"first").unwrap();
    let mut results = queue.results("r").unwrap();
    assert_eq!(
        results.next(Duration::ZERO).unwrap().unwrap().payload,
        b"first"
    );
    let lead = queue.leads().create("lead", b"me").unwrap().unwrap();
    assert_eq!(queue.outage(), None);
    server.kill();
    while queue.outage().is_none() {
        sleep(Duration::from_millis(10));
    }
    assert_eq!(results.next(Duration::from_millis(100)).unwrap(), None);
    let away = group.pull(PullRequest {
        items: 1,
        expires: Duration::from_millis(100),
        min_pending: 0,
    });
    assert!(matches!(away, Err(Error::Away { .. })));
    std::thread::scope(|scope| {
        let result = scope.spawn(|| queue.publish_result("r", "b", b"second"));
        let more = scope.spawn(|| publish(&queue, &items("r", 40)));
        let renewed = scope.spawn(|| queue.leads().update("lead", b"me", lead));
        held[0].acknowledge().unwrap();
        server.restart();
        result.join().unwrap().unwrap();
        more.join().unwrap();
        assert!(renewed.join().unwrap().is_ok());
    });
    let next = results.next(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(next.payload, b"second");
    assert_eq!(queue.outage(), None);
    // All others once; the first one was acknowledged before it was published again, or after.
    let mut done = Vec::new();
    while let leases @ [_, ..] = &pull_within(&group, 16, Duration::from_secs(2))[..] {
        leases.iter().for_each(|lease| lease.acknowledge().unwrap());
        done.extend(names(leases));
    }
    done.sort();
    done.retain(|name| name != "0");
    assert_eq!(done, names_of(&items("r", 40)[1..]));
    let backlog = group.backlog().unwrap();
    assert_eq!((backlog.queued, backlog.in_hand), (0, 0));
}

#[test]
fn paused_server_delays_and_publishing_can_be_stopped() {
    let mut server = Server::start();
    let queue = coordinator(&server);
    let group = queue.create_group(Kind::Pages, "p").unwrap();
    publish(&queue, &items("p", 1));
    let lease = pull(&group, 1).remove(0);
    server.pause();
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| queue.publish(&items("p", 400), &stop));
        // Not acknowledged, and no error: it comes again.
        lease.acknowledge().unwrap();
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(6), "{waited:?}");
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(publishing.join().unwrap(), Err(Error::Stopped)));
    });
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    server.resume();
    publish(&queue, &items("p", 400));
    assert!(group.backlog().unwrap().queued >= 399);
}

#[test]
fn what_nobody_waits_for_leaves_before_the_end() {
    let server = Server::start();
    let queue = coordinator(&server);
    let group = queue.create_group(Kind::Pages, "end").unwrap();
    publish(&queue, &items("end", 50));
    {
        let worker = coordinator(&server);
        let leases = worker.group(Kind::Pages, "end").unwrap().unwrap();
        for lease in pull(&leases, 50) {
            lease.hand_back(None);
        }
    }
    let again = pull(&group, 50);
    assert_eq!(again.len(), 50);
    assert!(again.iter().all(|lease| lease.delivered() == 2));
}

#[test]
fn upload_is_tried_again_and_its_first_attempt_is_swept() {
    use sha2::{Digest, Sha256};
    let mut server = Server::start();
    let queue = coordinator(&server);
    let content = vec![7; 60_000_000];
    let digest = Sha256::digest(&content);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| queue.put_file(&digest, file.path()));
        sleep(Duration::from_millis(60));
        server.restart();
        upload.join().unwrap().unwrap();
    });
    // What the first attempt left.
    let swept = queue.sweep_files(Duration::ZERO).unwrap();
    assert!(swept.0 > 0 && swept.0 < 60_000_000, "{swept:?}");
    assert!(queue.has_file(&digest).unwrap());
    let to = tempfile::tempdir().unwrap();
    assert!(queue.get_file(&digest, &to.path().join("file")).unwrap());
}
