//! Managed server process: started if no server responds, restarted when it exits, terminated with this process.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::NamedTempFile;

use crate::vlm::{Card, ChatRequest, Config, Error, Runner, Stream};

/// Time until a started server responds: it may load a large model from a disk.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// Time until a server exits after SIGTERM.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two checks of a starting or exiting server.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes from the end of the log that an error shows.
const LOG_TAIL_BYTES: usize = 600;

/// Process groups of the running servers that were started here.
static PROCESS_GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Kills all servers that were started here.
pub(in crate::vlm) fn kill_all() {
    let groups = std::mem::take(&mut *lock(&PROCESS_GROUPS));
    for group in groups {
        send_signal(group, Signal::KILL);
    }
}

/// Sends a signal to a process group; a group without processes is no error.
fn send_signal(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runner with the server process that was started for it.
pub(super) struct ManagedServer {
    card: Card,
    runner: Box<dyn Runner>,
    config: Config,
    server: Mutex<ServerProcess>,
}

impl ManagedServer {
    /// Starts the server and waits until it responds.
    pub(super) fn start(config: &Config) -> Result<Self, Error> {
        let mut server = ServerProcess::start(&config.command)?;
        let runner = server.wait_until_ready(config)?;
        Ok(Self {
            card: Card {
                can_unload: true,
                ..runner.card().clone()
            },
            runner,
            config: config.clone(),
            server: Mutex::new(server),
        })
    }

    /// Restarts the server if it has exited, and waits until it responds.
    fn ensure_running(&self) -> Result<(), Error> {
        let mut server = lock(&self.server);
        if server.exit_status().is_some() {
            self.restart(&mut server)?;
        }
        server.wait_until_ready(&self.config).map(drop)
    }

    fn restart(&self, server: &mut ServerProcess) -> Result<(), Error> {
        // Its remaining child processes hold the port, or memory.
        server.terminate();
        *server = ServerProcess::start(&self.config.command)?;
        Ok(())
    }
}

impl Runner for ManagedServer {
    fn card(&self) -> &Card {
        &self.card
    }

    fn run(&self, request: &ChatRequest) -> Result<Stream, Error> {
        match self.runner.run(request) {
            Err(Error::Unavailable { .. }) => {
                self.ensure_running()?;
                self.runner.run(request)
            }
            result => result,
        }
    }

    fn unload(&self) -> Result<(), Error> {
        if self.runner.card().can_unload {
            return self.runner.unload();
        }
        let mut server = lock(&self.server);
        self.restart(&mut server)?;
        server.wait_until_ready(&self.config).map(drop)
    }

    fn process(&self) -> Option<u32> {
        Some(lock(&self.server).child.id())
    }
}

/// Server process in a process group of its own, so that Ctrl-C in the terminal reaches only this program.
struct ServerProcess {
    child: Child,
    group: Pid,
    /// Program without its arguments, which may contain a key.
    program: String,
    log: NamedTempFile,
}

impl ServerProcess {
    fn start(command: &[String]) -> Result<Self, Error> {
        let program = command.first().cloned().unwrap_or_default();
        let failed = |cause: &dyn std::fmt::Display| Error::Unavailable {
            server: format!("`{program}`"),
            reason: format!("it cannot be started: {cause}"),
        };
        let log = NamedTempFile::new().map_err(|e| failed(&e))?;
        let stdout = File::options().append(true).open(log.path());
        let stdout = stdout.map_err(|e| failed(&e))?;
        let stderr = stdout.try_clone().map_err(|e| failed(&e))?;
        let child = Command::new(&program)
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(|e| failed(&e))?;
        let group = Pid::from_child(&child);
        lock(&PROCESS_GROUPS).push(group);
        Ok(Self {
            child,
            group,
            program,
            log,
        })
    }

    /// Waits until the server responds.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it exits or exceeds [`START_TIMEOUT`]; any other error of [`super::connect`].
    fn wait_until_ready(&mut self, config: &Config) -> Result<Box<dyn Runner>, Error> {
        let start = Instant::now();
        loop {
            match super::connect(config) {
                Err(Error::Unavailable { server, reason }) => {
                    if let Some(status) = self.exit_status() {
                        let program = &self.program;
                        let reason = format!("`{program}` exited, {status}: {}", self.log_tail());
                        return Err(Error::Unavailable { server, reason });
                    }
                    if start.elapsed() > START_TIMEOUT {
                        let waited = START_TIMEOUT.as_secs();
                        let reason = format!("{reason}, {waited} s after `{}`", self.program);
                        return Err(Error::Unavailable { server, reason });
                    }
                    thread::sleep(POLL_INTERVAL);
                }
                result => return result,
            }
        }
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Last bytes of its log.
    fn log_tail(&self) -> String {
        let log = std::fs::read(self.log.path()).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    fn terminate(&mut self) {
        // On SIGTERM it terminates its own children; the rest of the group is killed afterwards.
        send_signal(self.group, Signal::TERM);
        let start = Instant::now();
        while self.exit_status().is_none() && start.elapsed() < EXIT_TIMEOUT {
            thread::sleep(POLL_INTERVAL);
        }
        send_signal(self.group, Signal::KILL);
        drop(self.child.wait());
        lock(&PROCESS_GROUPS).retain(|group| *group != self.group);
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.terminate();
    }
}
