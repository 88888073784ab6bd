//! Servers of our own: started where none answers, started again when they end, ended with us.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::NamedTempFile;

use crate::vlm::{Card, ChatRequest, Config, Error, Runner, Stream};

/// How long a server may take until it answers: large models come from a disk.
const START: Duration = Duration::from_secs(300);
/// How long it may take to end when it is told to.
const END: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes from the end of its log that are shown when it fails.
const TOLD: usize = 600;

/// Groups of processes that we started and that still run.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Ends the servers that we started, at once.
pub(in crate::vlm) fn end_all() {
    let groups = std::mem::take(&mut *lock(&GROUPS));
    for group in groups {
        end(group, Signal::KILL);
    }
}

/// Sends a signal to a group; one that is gone needs none.
fn end(group: Pid, how: Signal) {
    let _ = kill_process_group(group, how);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runner, and the server that we started for it.
pub(super) struct ManagedServer {
    card: Card,
    runner: Box<dyn Runner>,
    config: Config,
    server: Mutex<Server>,
}

impl ManagedServer {
    /// Starts the server and waits until it answers.
    pub(super) fn start(config: &Config) -> Result<Self, Error> {
        let mut server = Server::start(&config.command)?;
        let runner = server.answers(config)?;
        Ok(Self {
            card: Card {
                unloads: true,
                ..runner.card().clone()
            },
            runner,
            config: config.clone(),
            server: Mutex::new(server),
        })
    }

    /// Starts the server again if it has ended, and waits until it answers.
    fn ensure_running(&self) -> Result<(), Error> {
        let mut server = lock(&self.server);
        if server.ended().is_some() {
            self.restart(&mut server)?;
        }
        server.answers(&self.config).map(drop)
    }

    fn restart(&self, server: &mut Server) -> Result<(), Error> {
        // What is left of it holds the port, or memory.
        server.end();
        *server = Server::start(&self.config.command)?;
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
            done => done,
        }
    }

    fn unload(&self) -> Result<(), Error> {
        if self.runner.card().unloads {
            return self.runner.unload();
        }
        let mut server = lock(&self.server);
        self.restart(&mut server)?;
        server.answers(&self.config).map(drop)
    }

    fn process(&self) -> Option<u32> {
        Some(lock(&self.server).child.id())
    }
}

/// A server in a group of processes of its own: a Ctrl-C in the terminal is ours to handle.
struct Server {
    child: Child,
    group: Pid,
    /// The program alone: a key may stand behind it.
    program: String,
    log: NamedTempFile,
}

impl Server {
    fn start(command: &[String]) -> Result<Self, Error> {
        let program = command.first().cloned().unwrap_or_default();
        let away = |why: &dyn std::fmt::Display| Error::Unavailable {
            at: format!("`{program}`"),
            why: format!("it cannot be started: {why}"),
        };
        let log = NamedTempFile::new().map_err(|e| away(&e))?;
        let out = File::options().append(true).open(log.path());
        let out = out.map_err(|e| away(&e))?;
        let error = out.try_clone().map_err(|e| away(&e))?;
        let child = Command::new(&program)
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(error)
            .process_group(0)
            .spawn()
            .map_err(|e| away(&e))?;
        let group = Pid::from_child(&child);
        lock(&GROUPS).push(group);
        Ok(Self {
            child,
            group,
            program,
            log,
        })
    }

    /// Waits until it answers.
    fn answers(&mut self, config: &Config) -> Result<Box<dyn Runner>, Error> {
        let begun = Instant::now();
        loop {
            match super::there(config) {
                Err(Error::Unavailable { at, why }) => {
                    if let Some(status) = self.ended() {
                        let why =
                            format!("`{}` ended, {status}: {}", self.program, self.log_tail());
                        return Err(Error::Unavailable { at, why });
                    }
                    if begun.elapsed() > START {
                        let waited = START.as_secs();
                        let why = format!("{why}, {waited} s after `{}`", self.program);
                        return Err(Error::Unavailable { at, why });
                    }
                    thread::sleep(LOOK);
                }
                found => return found,
            }
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of its log.
    fn log_tail(&self) -> String {
        let log = std::fs::read(self.log.path()).unwrap_or_default();
        let end = &log[log.len().saturating_sub(TOLD)..];
        String::from_utf8_lossy(end).trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    fn end(&mut self) {
        // Told to end, it takes its own children along; what is left of the group then is killed.
        end(self.group, Signal::TERM);
        let begun = Instant::now();
        while self.ended().is_none() && begun.elapsed() < END {
            thread::sleep(LOOK);
        }
        end(self.group, Signal::KILL);
        drop(self.child.wait());
        lock(&GROUPS).retain(|group| *group != self.group);
    }
}
