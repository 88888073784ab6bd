//! How much memory a run takes at most: looked at while it runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::footprint;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks at the memory of this process and its children until it is asked for the peak.
pub struct MemorySampler {
    peak: Arc<AtomicU64>,
    /// The most that was shared with a GPU, plus one; 0 when the system never told.
    device: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    looking: Option<JoinHandle<()>>,
}

impl MemorySampler {
    /// Begins to look.
    pub fn start() -> Self {
        let (peak, device) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let over = Arc::<AtomicBool>::default();
        let (seen, shared, stop) = (peak.clone(), device.clone(), over.clone());
        let looking = thread::spawn(move || {
            let Ok(mut known) = System::new_with_specifics(sysinfo::RefreshKind::nothing()) else {
                return;
            };
            while !stop.load(Ordering::Relaxed) {
                seen.fetch_max(now(&mut known), Ordering::Relaxed);
                if let Some(bytes) = footprint::beyond_resident(std::process::id()) {
                    shared.fetch_max(bytes + 1, Ordering::Relaxed);
                }
                thread::park_timeout(PAUSE);
            }
        });
        Self {
            peak,
            device,
            over,
            looking: Some(looking),
        }
    }

    /// The most bytes that were resident at once, and the most that this process shared with a GPU beyond them, where
    /// the system tells.
    pub fn peak(mut self) -> (u64, Option<u64>) {
        self.end();
        let device = self.device.load(Ordering::Relaxed);
        (self.peak.load(Ordering::Relaxed), device.checked_sub(1))
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            looking.thread().unpark();
            drop(looking.join());
        }
    }
}

impl Drop for MemorySampler {
    fn drop(&mut self) {
        self.end();
    }
}

/// Resident bytes of this process and those that it started.
fn now(known: &mut System) -> u64 {
    let me = Pid::from_u32(std::process::id());
    process_tree(known, me).map(|(_, bytes)| bytes).sum()
}

/// A process, its children and theirs, with their resident bytes.
fn process_tree(known: &mut System, root: Pid) -> impl Iterator<Item = (Pid, u64)> {
    let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
    known.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let known = known.processes();
    let mut process_tree = HashSet::from([root]);
    loop {
        let children = known.iter().filter(|(pid, child)| {
            let is_ours = child
                .parent()
                .is_some_and(|parent| process_tree.contains(&parent));
            is_ours && !process_tree.contains(pid)
        });
        let children: Vec<Pid> = children.map(|(pid, _)| *pid).collect();
        if children.is_empty() {
            break;
        }
        process_tree.extend(children);
    }
    let ours = known
        .iter()
        .filter(move |(pid, _)| process_tree.contains(pid));
    ours.map(|(pid, process)| (*pid, process.memory()))
}

/// Bytes that another process and its children take, those shared with a GPU included where the system tells of them;
/// none when it is gone.
pub fn process_memory(process: u32) -> Option<u64> {
    let mut known = System::new_with_specifics(sysinfo::RefreshKind::nothing()).ok()?;
    let all = process_tree(&mut known, Pid::from_u32(process));
    let bytes = all.map(|(pid, bytes)| {
        let shared = footprint::beyond_resident(pid.as_u32());
        bytes + shared.unwrap_or(0)
    });
    Some(bytes.sum()).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_seen() {
        let watch = MemorySampler::start();
        let block = vec![1u8; 200_000_000];
        // A busy machine may take its time to look.
        for _ in 0..600 {
            if watch.peak.load(Ordering::Relaxed) > 200_000_000 {
                break;
            }
            thread::sleep(PAUSE);
        }
        std::hint::black_box(&block);
        assert!(watch.peak().0 > 200_000_000);
    }
}
