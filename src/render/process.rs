//! One worker process, seen from its parent: asked, waited for with a deadline, and stopped when it must be.

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
use super::protocol::{Hello, Inbox, Reply, Request, send};

/// How often a waiting parent looks up.
const TICK: Duration = Duration::from_millis(100);
/// Elsewhere than on Linux the parent checks the worker's memory.
const WATCH: bool = !cfg!(target_os = "linux");

/// How to start a worker.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// The executable.
    pub(super) exe: PathBuf,
    /// What it is told first.
    pub(super) hello: Hello,
    /// How long an answer may take.
    pub(super) deadline: Duration,
}

/// Why there is no answer. The worker is of no more use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// It took too long.
    Deadline,
    /// The process ended, or had to be ended.
    Died(String),
    /// The caller does not want the answer any more.
    Unwanted,
}

/// A running worker; dropped, it is stopped.
pub(super) struct Worker {
    child: Child,
    line: UnixStream,
    inbox: Inbox,
    slots: Slots,
    recipe: Recipe,
    watch: Watch,
    /// Which of the parent's files it has open.
    pub(super) file: Option<u64>,
}

impl Worker {
    /// Starts a worker.
    pub(super) fn start(recipe: &Recipe) -> io::Result<Self> {
        let (slots, memory) = Slots::create(recipe.hello.slot_bytes as usize)?;
        let (mut line, theirs) = UnixStream::pair()?;
        let child = spawn(&recipe.exe, theirs, memory)?;
        line.set_read_timeout(Some(TICK))?;
        let watch = Watch::new(child.id(), recipe.hello.memory);
        let started = send(&mut line, &recipe.hello);
        let worker = Self {
            child,
            line,
            inbox: Inbox::default(),
            slots,
            recipe: recipe.clone(),
            watch,
            file: None,
        };
        started.map(|()| worker)
    }

    /// Whether the process is still there.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a request; at most [`SLOTS`](super::memory::SLOTS) may be unanswered.
    pub(super) fn ask(&mut self, request: &Request) -> Result<(), Lost> {
        send(&mut self.line, request).map_err(|_| self.died())
    }

    /// Waits for the next answer, until the deadline or until it is `unwanted`.
    pub(super) fn answer(&mut self, unwanted: impl Fn() -> bool) -> Result<Reply, Lost> {
        let started = Instant::now();
        loop {
            match self.inbox.receive(&mut self.line) {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) if unwanted() => return Err(Lost::Unwanted),
                Ok(None) if started.elapsed() >= self.recipe.deadline => {
                    return Err(Lost::Deadline);
                }
                Ok(None) => self.watch.check()?,
                Err(e) if e.kind() == ErrorKind::InvalidData => {
                    return Err(Lost::Died("its answer makes no sense".into()));
                }
                Err(_) => return Err(self.died()),
            }
        }
    }

    /// Copies a picture out of the shared memory.
    pub(super) fn picture(&self, slot: usize, bytes: u64) -> Option<Vec<u8>> {
        self.slots.copy(slot, usize::try_from(bytes).ok()?)
    }

    fn died(&mut self) -> Lost {
        // The line breaks an instant before the process is gone.
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Lost::Died(status.to_string()),
                Ok(None) if Instant::now() < until => std::thread::sleep(TICK / 20),
                Ok(None) => return Lost::Died("it hung up".into()),
                Err(e) => return Lost::Died(e.to_string()),
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

/// Starts the process, in a group of its own: a Ctrl-C in the terminal is the parent's to handle.
fn spawn(exe: &Path, line: UnixStream, memory: File) -> io::Result<Child> {
    Command::new(exe)
        .arg("render-worker")
        .stdin(Stdio::from(OwnedFd::from(line)))
        .stdout(Stdio::from(memory))
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Looks at the memory a process takes, where the system has no limit of its own.
struct Watch {
    system: Option<System>,
    pid: Pid,
    limit: u64,
}

impl Watch {
    fn new(pid: u32, limit: u64) -> Self {
        Self {
            system: None,
            pid: Pid::from_u32(pid),
            limit,
        }
    }

    fn check(&mut self) -> Result<(), Lost> {
        if WATCH && self.resident() > self.limit {
            return Err(Lost::Died("it took more memory than it may".into()));
        }
        Ok(())
    }

    /// Bytes the process has in memory.
    fn resident(&mut self) -> u64 {
        let what = ProcessRefreshKind::nothing().with_memory();
        let only = ProcessesToUpdate::Some(&[self.pid]);
        if self.system.is_none() {
            self.system = System::new().ok();
        }
        let Some(system) = &mut self.system else {
            return 0;
        };
        system.refresh_processes_specifics(only, true, what);
        system.process(self.pid).map_or(0, |p| p.memory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watch_sees_this_process() {
        let mut watch = Watch::new(std::process::id(), 1);
        assert!(watch.resident() > 1 << 20);
    }
}
