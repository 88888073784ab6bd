//! Results and buckets.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::support::shared;

const SHORT: Duration = Duration::from_millis(200);

fn all_results(queue: &ingest::queue::Queue, run: &str) -> Vec<String> {
    let mut results = queue.results(run).unwrap();
    let mut all = Vec::new();
    while let Some(message) = results.next(SHORT).unwrap() {
        all.push(String::from_utf8(message.payload).unwrap());
    }
    all
}

#[test]
fn results_come_in_order_from_the_first_one_and_as_they_arrive() {
    let queue = shared();
    for number in 0..300 {
        let text = number.to_string();
        queue
            .publish_result("order", &text, text.as_bytes())
            .unwrap();
        queue
            .publish_result("other", &text, b"of another run")
            .unwrap();
    }
    let mut results = queue.results("order").unwrap();
    let mut last = 0;
    for number in 0..300 {
        let message = results.next(SHORT).unwrap().unwrap();
        assert_eq!(message.payload, number.to_string().as_bytes());
        assert!(message.sequence > last);
        last = message.sequence;
        let age = SystemTime::now().duration_since(message.received).unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
    }
    assert_eq!(results.next(SHORT).unwrap(), None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sleep(SHORT);
            queue.publish_result("order", "late", b"late").unwrap();
        });
        let late = results.next(Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!(late.payload, b"late");
    });
    assert_eq!(all_results(&queue, "order").len(), 301);
    queue.remove_results("order").unwrap();
    assert!(all_results(&queue, "order").is_empty());
    assert_eq!(all_results(&queue, "other").len(), 300);
}

#[test]
fn result_with_the_same_id_is_stored_once_a_run() {
    let queue = shared();
    for run in ["twice", "twice-2"] {
        queue.publish_result(run, "a", b"first").unwrap();
        queue.publish_result(run, "a", b"second").unwrap();
        assert_eq!(all_results(&queue, run), ["first"]);
    }
}

#[test]
fn values_are_exchanged_only_at_the_revision_that_was_seen() {
    let queue = shared();
    let bucket = queue.runs();
    assert_eq!(bucket.get("cas.a").unwrap(), None);
    let first = bucket.create("cas.a", b"1").unwrap().unwrap();
    assert_eq!(bucket.create("cas.a", b"x").unwrap(), None);
    let second = bucket.update("cas.a", b"2", first).unwrap().unwrap();
    assert_eq!(bucket.update("cas.a", b"x", first).unwrap(), None);
    let entry = bucket.get("cas.a").unwrap().unwrap();
    assert_eq!(
        (entry.value.as_slice(), entry.revision),
        (&b"2"[..], second)
    );
    let age = SystemTime::now().duration_since(entry.written).unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
    bucket.delete("cas.a").unwrap();
    assert_eq!(bucket.get("cas.a").unwrap(), None);
    assert!(bucket.create("cas.a", b"again").unwrap().is_some());
    assert!(bucket.put("cas.a", b"3").unwrap() > second);
}

#[test]
fn entries_are_those_below_a_prefix() {
    let queue = shared();
    let bucket = queue.runs();
    assert!(bucket.entries("list.").unwrap().is_empty());
    for number in 0..600 {
        bucket.put(&format!("list.m.{number:03}"), b"v").unwrap();
    }
    bucket.put("list.m.007", b"newer").unwrap();
    bucket.delete("list.m.008").unwrap();
    bucket.put("list-2.m", b"other").unwrap();
    let entries = bucket.entries("list.").unwrap();
    assert_eq!(entries.len(), 599);
    assert!(entries.is_sorted_by_key(|(key, _)| key.clone()));
    assert_eq!(entries[7].0, "list.m.007");
    assert_eq!(entries[7].1.value, b"newer");
    assert_eq!(entries[8].0, "list.m.009");
    assert_eq!(bucket.get("list.m.007").unwrap().unwrap(), entries[7].1);
}

#[test]
fn lead_that_is_not_renewed_is_free_after_some_seconds() {
    let queue = shared();
    let leads = queue.leads();
    let mut mine = leads.create("lead", b"me").unwrap().unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_secs(1));
        mine = leads.update("lead", b"me", mine).unwrap().unwrap();
        assert_eq!(leads.create("lead", b"you").unwrap(), None);
    }
    let start = Instant::now();
    while leads.create("lead", b"you").unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(8));
        sleep(SHORT);
    }
    assert!(
        start.elapsed() > Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(leads.update("lead", b"me", mine).unwrap(), None);
}
