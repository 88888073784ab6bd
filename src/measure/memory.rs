//! Peak memory of a run, by periodic sampling.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::footprint;

/// Sampling interval.
const INTERVAL: Duration = Duration::from_millis(50);

/// Samples the memory of this process and its children on a thread, until [`Self::peak`] or drop.
pub struct MemorySampler {
    peak: Arc<AtomicU64>,
    /// Peak of the memory shared with a GPU, plus one; 0 if the system never reported it.
    device: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemorySampler {
    /// Starts sampling.
    pub fn start() -> Self {
        let (peak, device) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let stop = Arc::<AtomicBool>::default();
        let (max_resident, gpu_shared, stopped) = (peak.clone(), device.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let Ok(mut system) = System::new_with_specifics(sysinfo::RefreshKind::nothing()) else {
                return;
            };
            while !stopped.load(Ordering::Relaxed) {
                max_resident.fetch_max(resident_bytes(&mut system), Ordering::Relaxed);
                if let Some(bytes) = footprint::non_resident_footprint(std::process::id()) {
                    gpu_shared.fetch_max(bytes + 1, Ordering::Relaxed);
                }
                thread::park_timeout(INTERVAL);
            }
        });
        Self {
            peak,
            device,
            stop,
            thread: Some(thread),
        }
    }

    /// Stops sampling. Returns the peak resident bytes, and the peak bytes that this process shared with a GPU beyond them,
    /// `None` where the system does not report it.
    pub fn peak(mut self) -> (u64, Option<u64>) {
        self.stop_thread();
        let device = self.device.load(Ordering::Relaxed);
        (self.peak.load(Ordering::Relaxed), device.checked_sub(1))
    }

    fn stop_thread(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

impl Drop for MemorySampler {
    fn drop(&mut self) {
        self.stop_thread();
    }
}

/// Resident bytes of this process and its descendants.
fn resident_bytes(system: &mut System) -> u64 {
    let pid = Pid::from_u32(std::process::id());
    process_tree(system, pid).map(|(_, bytes)| bytes).sum()
}

/// A process and its descendants, each with its resident bytes.
fn process_tree(system: &mut System, root: Pid) -> impl Iterator<Item = (Pid, u64)> {
    let refresh = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, refresh);
    let processes = system.processes();
    let mut tree = HashSet::from([root]);
    loop {
        let children = processes.iter().filter(|(pid, child)| {
            let is_ours = child.parent().is_some_and(|parent| tree.contains(&parent));
            is_ours && !tree.contains(pid)
        });
        let children: Vec<Pid> = children.map(|(pid, _)| *pid).collect();
        if children.is_empty() {
            break;
        }
        tree.extend(children);
    }
    let members = processes.iter().filter(move |(pid, _)| tree.contains(pid));
    members.map(|(pid, process)| (*pid, process.memory()))
}

/// Resident bytes of another process and its descendants, plus memory shared with a GPU where the system reports it; `None`
/// if the process does not exist.
pub fn process_memory(process: u32) -> Option<u64> {
    let mut system = System::new_with_specifics(sysinfo::RefreshKind::nothing()).ok()?;
    let all = process_tree(&mut system, Pid::from_u32(process));
    let bytes = all.map(|(pid, bytes)| {
        let gpu_shared = footprint::non_resident_footprint(pid.as_u32());
        bytes + gpu_shared.unwrap_or(0)
    });
    Some(bytes.sum()).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_includes_a_large_allocation() {
        let sampler = MemorySampler::start();
        let block = vec![1u8; 200_000_000];
        // On a busy machine a sample may be late.
        for _ in 0..600 {
            if sampler.peak.load(Ordering::Relaxed) > 200_000_000 {
                break;
            }
            thread::sleep(INTERVAL);
        }
        std::hint::black_box(&block);
        assert!(sampler.peak().0 > 200_000_000);
    }
}
