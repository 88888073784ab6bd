//! Items: queued once, leased, handed back, acknowledged, cancelled.

use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ingest::queue::{Backlog, Error, Kind, NewItem, PullRequest};

use crate::support::{LEASE, items, names, publish, pull, pull_within, shared};

#[test]
fn item_is_queued_once_until_it_is_acknowledged() {
    let queue = shared();
    let group = queue.create_group(Kind::Pages, "once").unwrap();
    let three = items("once", 3);
    publish(&queue, &three);
    publish(&queue, &three);
    let backlog = Backlog {
        queued: 3,
        in_hand: 0,
    };
    assert_eq!(group.backlog().unwrap(), backlog);
    let leases = pull(&group, 2);
    assert_eq!(names(&leases), ["0", "1"]);
    let first = &leases[0];
    assert_eq!((first.run(), first.delivered()), ("once", 1));
    assert_eq!(first.payload(), b"payload 0");
    // What is in hand is not queued again either.
    publish(&queue, &three);
    let backlog = Backlog {
        queued: 1,
        in_hand: 2,
    };
    assert_eq!(group.backlog().unwrap(), backlog);
    for lease in &leases {
        lease.acknowledge().unwrap();
    }
    publish(&queue, &three[..1]);
    assert_eq!(names(&pull(&group, 10)), ["0", "2"]);
}

#[test]
fn groups_and_kinds_do_not_share_items() {
    let queue = shared();
    assert!(queue.group(Kind::Pages, "nobody").unwrap().is_none());
    let pages = queue.create_group(Kind::Pages, "kinds").unwrap();
    queue.create_group(Kind::Describe, "kinds").unwrap();
    let describe = NewItem {
        kind: Kind::Describe,
        ..items("kinds", 1).remove(0)
    };
    publish(&queue, &[describe]);
    assert!(pull(&pages, 1).is_empty());
    let describe = queue.group(Kind::Describe, "kinds").unwrap().unwrap();
    assert_eq!(describe.lease(), LEASE);
    assert_eq!(pull(&describe, 1).len(), 1);
}

#[test]
fn lease_that_runs_out_goes_to_another_and_an_extended_one_stays() {
    let queue = shared();
    let group = queue.create_group(Kind::Pages, "leases").unwrap();
    publish(&queue, &items("leases", 2));
    let mut leases = pull(&group, 2);
    let kept = leases.remove(0);
    let start = Instant::now();
    while start.elapsed() < LEASE * 2 {
        kept.extend();
        sleep(LEASE / 4);
    }
    let again = pull(&group, 2);
    assert_eq!(names(&again), ["1"]);
    assert_eq!(again[0].delivered(), 2);
    // A late acknowledgement counts.
    leases[0].acknowledge().unwrap();
    kept.acknowledge().unwrap();
    again[0].acknowledge().unwrap();
    assert!(pull_within(&group, 2, LEASE + LEASE / 2).is_empty());
}

#[test]
fn item_that_is_handed_back_comes_again_at_once_or_later() {
    let queue = shared();
    let group = queue.create_group(Kind::Pages, "back").unwrap();
    publish(&queue, &items("back", 1));
    pull(&group, 1)[0].hand_back(None);
    let start = Instant::now();
    let again = pull_within(&group, 1, LEASE * 2);
    assert!(start.elapsed() < LEASE / 2, "it came when its lease ended");
    let delay = Duration::from_millis(600);
    again[0].hand_back(Some(delay));
    let start = Instant::now();
    let again = pull_within(&group, 1, LEASE * 2);
    let waited = start.elapsed();
    assert!(waited > delay / 2 && waited < LEASE, "{waited:?}");
    assert_eq!(again[0].delivered(), 3);
}

#[test]
fn slow_worker_leaves_the_last_items_to_others() {
    let queue = shared();
    let group = queue.create_group(Kind::Pages, "slow").unwrap();
    publish(&queue, &items("slow", 4));
    let slow = PullRequest {
        items: 1,
        expires: Duration::from_millis(200),
        min_pending: 3,
    };
    assert_eq!(group.pull(slow).unwrap().len(), 1);
    assert_eq!(group.pull(slow).unwrap().len(), 1);
    assert_eq!(group.pull(slow).unwrap().len(), 0);
    assert_eq!(pull(&group, 4).len(), 2);
}

#[test]
fn pull_waits_for_the_first_item_and_not_for_more() {
    let queue = shared();
    let group = queue.create_group(Kind::Pages, "waits").unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sleep(Duration::from_millis(300));
            publish(&queue, &items("waits", 1));
        });
        let leases = pull_within(&group, 8, Duration::from_secs(3));
        assert_eq!(leases.len(), 1);
    });
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(2), "{waited:?}");
}

#[test]
fn cancelled_run_is_gone_and_its_leases_are_harmless() {
    let queue = shared();
    let group = queue.create_group(Kind::Pages, "cancelled").unwrap();
    let other = NewItem {
        run: "goes-on".to_owned(),
        ..items("cancelled", 1).remove(0)
    };
    publish(&queue, &items("cancelled", 5));
    publish(&queue, &[other]);
    let leases = pull(&group, 2);
    assert_eq!(queue.cancel("cancelled").unwrap(), 5);
    leases[0].acknowledge().unwrap();
    let left = pull_within(&group, 9, LEASE * 2);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].run(), "goes-on");
}

#[test]
fn names_that_are_no_subjects_are_refused() {
    let queue = shared();
    let item = NewItem {
        item: "a.b".to_owned(),
        ..items("names", 1).remove(0)
    };
    let stop = AtomicBool::new(false);
    let refused = queue.publish(&[item], &stop).unwrap_err();
    assert!(matches!(&refused, Error::Name { name, .. } if name == "a.b"));
    for name in ["*", ">", "", "a b"] {
        assert!(
            matches!(queue.cancel(name), Err(Error::Name { .. })),
            "{name}"
        );
    }
}

#[test]
fn publishing_ends_when_it_is_told_to() {
    let queue = shared();
    let stop = AtomicBool::new(true);
    let stopped = queue.publish(&items("stopped", 3), &stop);
    assert!(matches!(stopped, Err(Error::Stopped)));
}

#[test]
fn queue_without_streams_says_that_no_run_was_started() {
    let server = crate::nats::Server::start();
    let queue = ingest::queue::Queue::connect(&crate::support::config(&server.url())).unwrap();
    assert!(queue.group(Kind::Pages, "any").unwrap().is_none());
    let missing = queue.runs().get("run").unwrap_err().to_string();
    assert!(missing.contains("no run has been started"), "{missing}");
}
