//! The queue alone: many tiny items through a real server, with worker processes that only acknowledge.

use std::process::{Child, Command};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ingest::queue::{Config, Kind, NewItem, PullRequest, Queue};
use ingest::units::ByteSize;

use super::Result;

/// Items of a load run.
const ITEMS: usize = 200_000;
/// Worker processes.
const WORKERS: usize = 8;
/// Items of a pull.
const PULL: usize = 64;
/// The group and the run of all items.
const NAME: &str = "load";

fn connect(url: &str) -> Result<Queue> {
    let config = Config {
        keep: ByteSize(100_000_000),
        ..Config::new(url.parse::<ingest::queue::Servers>()?)
    };
    Ok(Queue::connect(&config)?)
}

/// Publishes all items to the server `pid`, starts the workers, and prints a row a second until the queue is empty.
pub(super) fn load(url: &str, pid: u32) -> Result<()> {
    let queue = connect(url)?;
    queue.create()?;
    let group = queue.create_group(Kind::Pages, NAME)?;
    let item = |number: usize| NewItem {
        kind: Kind::Pages,
        group: NAME.to_owned(),
        run: NAME.to_owned(),
        item: number.to_string(),
        payload: vec![b'.'; 160],
    };
    let items: Vec<NewItem> = (0..ITEMS).map(item).collect();
    let start = Instant::now();
    queue.publish(&items, &AtomicBool::new(false))?;
    let published = start.elapsed().as_secs_f64();
    drop(items);
    println!("published: {:.0} items/s", ITEMS as f64 / published);
    let program = std::env::current_exe()?;
    let start_worker = |_| Command::new(&program).args(["drain", url]).spawn();
    let mut workers: Vec<Child> = (0..WORKERS)
        .map(start_worker)
        .collect::<std::io::Result<_>>()?;
    println!("| seconds | left | server, MB | this process, MB |");
    println!("|---|---|---|---|");
    let start = Instant::now();
    loop {
        let backlog = group.backlog()?;
        let left = backlog.queued + backlog.in_hand;
        let megabytes =
            |pid: u32| super::memory(&pid.to_string(), "VmRSS:").unwrap_or(0) / 1_000_000;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "| {seconds:.0} | {left} | {} | {} |",
            megabytes(pid),
            megabytes(std::process::id())
        );
        if left == 0 {
            println!("acknowledged: {:.0} items/s", ITEMS as f64 / seconds);
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for worker in &mut workers {
        worker.wait()?;
    }
    Ok(())
}

/// Acknowledges items until none is left.
pub(super) fn drain(url: &str) -> Result<()> {
    let queue = connect(url)?;
    let group = queue.group(Kind::Pages, NAME)?.ok_or("no group")?;
    loop {
        let leases = group.pull(PullRequest {
            items: PULL,
            expires: Duration::from_secs(1),
            min_pending: 0,
        })?;
        if leases.is_empty() {
            return Ok(());
        }
        for lease in leases {
            lease.acknowledge()?;
        }
    }
}
