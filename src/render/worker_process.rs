//! The parent's side of one worker process: requests, replies with a deadline, memory limit, and termination.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::memory::Slots;
use super::protocol::{FrameReader, Handshake, Reply, Request, send};

/// Interval at which a waiting parent checks for cancellation, deadline and memory.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Whether the parent checks the worker's memory; on Linux the worker has an address space limit instead.
const POLL_MEMORY: bool = !cfg!(target_os = "linux");

/// How to start a worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerConfig {
    /// The executable.
    pub(super) exe: PathBuf,
    /// First message to the worker.
    pub(super) handshake: Handshake,
    /// Maximum time of a reply.
    pub(super) deadline: Duration,
}

/// Why there is no reply. The worker cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WorkerFailure {
    /// The deadline passed.
    TimedOut,
    /// The process exited, or had to be stopped.
    Died(String),
    /// The caller cancelled the request.
    Cancelled,
}

/// A running worker process; killed on drop.
pub(super) struct Worker {
    child: Child,
    socket: UnixStream,
    frames: FrameReader,
    slots: Slots,
    config: WorkerConfig,
    memory_monitor: MemoryMonitor,
    /// Serial number of the file it has open.
    pub(super) file: Option<u64>,
}

impl Worker {
    /// Starts a worker process and sends the handshake.
    pub(super) fn start(config: &WorkerConfig) -> io::Result<Self> {
        let (slots, memory) = Slots::create(config.handshake.slot_bytes as usize)?;
        let (mut socket, worker_socket) = UnixStream::pair()?;
        let child = spawn(&config.exe, worker_socket, memory)?;
        socket.set_read_timeout(Some(POLL_INTERVAL))?;
        let memory_monitor = MemoryMonitor::new(child.id(), config.handshake.memory);
        let started = send(&mut socket, &config.handshake);
        let worker = Self {
            child,
            socket,
            frames: FrameReader::default(),
            slots,
            config: config.clone(),
            memory_monitor,
            file: None,
        };
        started.map(|()| worker)
    }

    /// Whether the process is running.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a request; at most [`SLOTS`](super::memory::SLOTS) may be outstanding.
    pub(super) fn send(&mut self, request: &Request) -> Result<(), WorkerFailure> {
        send(&mut self.socket, request).map_err(|_| self.exit_failure())
    }

    /// Waits for the next reply, until the deadline or until `is_cancelled` returns true.
    pub(super) fn receive(
        &mut self,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Reply, WorkerFailure> {
        let started = Instant::now();
        loop {
            match self.frames.read_message(&mut self.socket) {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) if is_cancelled() => return Err(WorkerFailure::Cancelled),
                Ok(None) if started.elapsed() >= self.config.deadline => {
                    return Err(WorkerFailure::TimedOut);
                }
                Ok(None) => self.memory_monitor.check()?,
                Err(e) if e.kind() == ErrorKind::InvalidData => {
                    return Err(WorkerFailure::Died("invalid reply".into()));
                }
                Err(_) => return Err(self.exit_failure()),
            }
        }
    }

    /// Copies the first `bytes` of an image slot out of the shared memory.
    pub(super) fn copy_image(&self, slot: usize, bytes: u64) -> Option<Vec<u8>> {
        self.slots.copy(slot, usize::try_from(bytes).ok()?)
    }

    fn exit_failure(&mut self) -> WorkerFailure {
        // The socket closes slightly before the process exits.
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return WorkerFailure::Died(status.to_string()),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL_INTERVAL / 20),
                Ok(None) => return WorkerFailure::Died("it closed its socket".into()),
                Err(e) => return WorkerFailure::Died(e.to_string()),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the process in its own process group: a Ctrl-C in the terminal reaches only the parent.
fn spawn(exe: &Path, socket: UnixStream, memory: File) -> io::Result<Child> {
    Command::new(exe)
        .arg("render-worker")
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::from(memory))
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Checks the resident memory of a process, where the system enforces no limit.
struct MemoryMonitor {
    system: Option<System>,
    pid: Pid,
    limit: u64,
}

impl MemoryMonitor {
    fn new(pid: u32, limit: u64) -> Self {
        Self {
            system: None,
            pid: Pid::from_u32(pid),
            limit,
        }
    }

    fn check(&mut self) -> Result<(), WorkerFailure> {
        if POLL_MEMORY && self.resident() > self.limit {
            return Err(WorkerFailure::Died("it exceeded its memory limit".into()));
        }
        Ok(())
    }

    /// Resident bytes of the process.
    fn resident(&mut self) -> u64 {
        let refresh = ProcessRefreshKind::nothing().with_memory();
        let only = ProcessesToUpdate::Some(&[self.pid]);
        if self.system.is_none() {
            self.system = System::new().ok();
        }
        let Some(system) = &mut self.system else {
            return 0;
        };
        system.refresh_processes_specifics(only, true, refresh);
        system.process(self.pid).map_or(0, |p| p.memory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitor_measures_this_process() {
        let mut memory_monitor = MemoryMonitor::new(std::process::id(), 1);
        assert!(memory_monitor.resident() > 1 << 20);
    }
}
