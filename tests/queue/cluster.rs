//! Three servers, of which one dies.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ingest::queue::{Config, Kind, PullRequest, Queue};

use crate::nats::Cluster;
use crate::support::{config, items, publish};

/// The node that leads a stream: 0, 1 or 2.
fn leader(url: &str, stream: &str) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let name = runtime.block_on(async {
        let servers: Vec<_> = url.split(',').map(|one| one.parse().unwrap()).collect();
        let client = async_nats::connect::<Vec<async_nats::ServerAddr>>(servers)
            .await
            .unwrap();
        let stream = async_nats::jetstream::new(client)
            .get_stream(stream)
            .await
            .unwrap();
        let cluster = stream.cached_info().cluster.clone().unwrap();
        cluster.leader.unwrap()
    });
    name.strip_prefix("node").unwrap().parse::<usize>().unwrap() - 1
}

/// Works until it is told to stop; the names of the items that it acknowledged, each with its result published before.
fn work(queue: &Queue, stop: &AtomicBool) -> BTreeSet<String> {
    let group = queue.group(Kind::Pages, "r").unwrap().unwrap();
    let request = PullRequest {
        items: 4,
        expires: Duration::from_millis(500),
        min_pending: 0,
    };
    let mut done = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        match group.pull(request) {
            Ok(leases) => {
                for lease in leases {
                    let id = format!("{}-{}", lease.item(), lease.delivered());
                    queue
                        .publish_result("r", &id, lease.item().as_bytes())
                        .unwrap();
                    lease.acknowledge().unwrap();
                    done.insert(lease.item().to_owned());
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
    done
}

#[test]
fn run_goes_on_when_the_leader_dies() {
    let mut cluster = Cluster::of_three();
    let settings = Config {
        replicas: 3,
        ..config(&cluster.url())
    };
    let queue = Queue::connect(&settings).unwrap();
    queue.create().unwrap();
    let group = queue.create_group(Kind::Pages, "r").unwrap();
    let all = items("r", 400);
    publish(&queue, &all[..200]);
    let leader = leader(&cluster.url(), "ingest-work");
    let stop = AtomicBool::new(false);
    let worker = Queue::connect(&settings).unwrap();
    let done = std::thread::scope(|scope| {
        let working = scope.spawn(|| work(&worker, &stop));
        std::thread::sleep(Duration::from_millis(200));
        cluster.nodes[leader].kill();
        publish(&queue, &all[200..]);
        let mut results = queue.results("r").unwrap();
        let (mut named, start) = (BTreeSet::new(), Instant::now());
        while named.len() < 400 && start.elapsed() < Duration::from_secs(40) {
            if let Some(result) = results.next(Duration::from_secs(1)).unwrap() {
                named.insert(result.payload);
            }
        }
        assert_eq!(named.len(), 400);
        let backlog = group.backlog().unwrap();
        assert_eq!(backlog.queued, 0);
        stop.store(true, Ordering::Relaxed);
        working.join().unwrap()
    });
    assert_eq!(done.len(), 400);
    let one = Queue::connect(&config(&cluster.url())).unwrap();
    let mismatch = one.create().unwrap_err().to_string();
    assert!(
        mismatch.contains("the replicas 3, 1 is needed"),
        "{mismatch}"
    );
}
