//! Real servers for tests: a block of free ports, a process that is killed with the test, its log.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Maximum time until a server is ready.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Go's error message if a port is in use.
const PORT_IN_USE: &str = "address already in use";
/// Between well-known ports and the ephemeral ports of the system.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Ports of a server.
const PORTS_PER_SERVER: u16 = 7;

/// Supervises one server: reads one command per line and prints after each whether the server is alive.
/// At the end of its input, for whatever reason, it kills the server and deletes its folder.
const SUPERVISOR: &str = include_str!("supervise.sh");

/// A reserved block of ports: the first one is bound as a lock, the others are for the server.
pub(crate) struct Ports {
    _guard: TcpListener,
    first: u16,
}

impl Ports {
    pub(crate) fn reserve() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let all = PORTS
            .step_by(1 + usize::from(PORTS_PER_SERVER))
            .collect::<Vec<_>>();
        let next = || all[usize::from(NEXT.fetch_add(1, Ordering::Relaxed)) % all.len()];
        all.iter()
            .find_map(|_| Self::take(next()))
            .expect("a free block of ports")
    }

    fn take(first: u16) -> Option<Self> {
        let guard = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
        let address = |port| (Ipv4Addr::UNSPECIFIED, port);
        let free = |port| {
            TcpListener::bind(address(port)).is_ok() && UdpSocket::bind(address(port)).is_ok()
        };
        let mut ports = (first + 1..).take(PORTS_PER_SERVER.into());
        ports.all(free).then_some(Self {
            _guard: guard,
            first,
        })
    }

    /// One of the ports of the server, from 0.
    pub(crate) fn get(&self, index: u16) -> u16 {
        assert!(index < PORTS_PER_SERVER, "a block has fewer ports");
        self.first + 1 + index
    }
}

/// A server process in a new folder. It is killed when this value is dropped or the test process ends.
pub(crate) struct Supervised {
    supervisor: Child,
    pub(crate) folder: PathBuf,
    name: &'static str,
}

impl Supervised {
    /// A new folder for the files of a server, which its supervisor removes.
    pub(crate) fn new_folder(name: &str) -> PathBuf {
        let folder = tempfile::TempDir::with_prefix(format!("{name}-"));
        let folder = folder.unwrap().keep();
        fs::create_dir(folder.join("data")).unwrap();
        folder
    }

    /// Prepares a server in its folder; `megabytes` is the size of its disk, 0 for an ordinary folder.
    pub(crate) fn new(
        name: &'static str,
        folder: PathBuf,
        megabytes: u32,
        server: &Command,
    ) -> Self {
        let supervisor = supervisor(&folder, megabytes, server);
        Self {
            supervisor,
            folder,
            name,
        }
    }

    /// Process id of its supervisor.
    pub(crate) fn id(&self) -> u32 {
        self.supervisor.id()
    }

    /// Sends a command to the supervisor; returns whether the server is alive.
    pub(crate) fn send_command(&mut self, word: &str) -> bool {
        let mut answer = String::new();
        if writeln!(self.supervisor.stdin.as_mut().unwrap(), "{word}").is_ok() {
            // The reply is one line, so dropping the buffer loses nothing.
            let mut answers = BufReader::new(self.supervisor.stdout.as_mut().unwrap());
            answers.read_line(&mut answer).unwrap();
        }
        let (name, log) = (self.name, || self.log());
        assert!(
            !answer.is_empty(),
            "the supervisor of {name} ended:\n{}",
            log()
        );
        answer.trim() == "alive"
    }

    /// Waits until the server is ready.
    pub(crate) fn wait(&mut self, is_ready: impl Fn(&Self) -> bool) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < START_TIMEOUT {
            let alive = self.send_command("check");
            match (self.full_log().contains(PORT_IN_USE), alive) {
                (true, _) => return Err(PORT_IN_USE.to_owned()),
                (_, false) => return Err("died".to_owned()),
                _ if is_ready(self) => return Ok(()),
                _ => sleep(Duration::from_millis(50)),
            }
        }
        Err(format!("is not ready after {} s", START_TIMEOUT.as_secs()))
    }

    /// Kills it with SIGKILL and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        let survived = self.send_command("kill");
        assert!(!survived, "{} survived:\n{}", self.name, self.log());
    }

    /// The last 20 lines of its log.
    pub(crate) fn log(&self) -> String {
        let all = self.full_log();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The whole log, including that before a restart.
    pub(crate) fn full_log(&self) -> String {
        let bytes = fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Supervised {
    /// `wait` closes the command pipe first, which ends the supervisor and the server.
    fn drop(&mut self) {
        let _ = self.supervisor.wait();
    }
}

/// Starts the supervisor of a server in a process group of its own, so that Ctrl-C does not reach it.
fn supervisor(folder: &Path, megabytes: u32, server: &Command) -> Child {
    let mut command = Command::new("bash");
    if megabytes > 0 {
        command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash"]);
    }
    let set = server.get_envs();
    let set = set.filter_map(|(name, value)| Some((name, value?)));
    command
        .args(["-c", SUPERVISOR, "supervisor"])
        .arg(folder)
        .arg(megabytes.to_string())
        .arg(server.get_program())
        .args(server.get_args())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(set)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()))
}

/// Launches servers and waits until all are ready; retries with other ports if one was in use.
pub(crate) fn start_all<S>(
    launch: impl Fn() -> Vec<S>,
    wait: impl Fn(&mut S) -> Result<(), (String, String)>,
) -> Vec<S> {
    for _ in 0..5 {
        let mut servers = launch();
        match servers.iter_mut().find_map(|server| wait(server).err()) {
            None => return servers,
            Some((why, _)) if why == PORT_IN_USE => {}
            Some((why, log)) => panic!("a server {why}:\n{log}"),
        }
    }
    panic!("the ports of a server were in use five times");
}

/// Runs a script in this folder and returns the path that it prints; its messages go to stderr.
pub(crate) fn tool(script: &str) -> PathBuf {
    let script = format!("{}/tests/support/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut bash = Command::new("bash");
    let done = bash.arg(&script).stderr(Stdio::inherit()).output().unwrap();
    let path = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{script} failed");
    PathBuf::from(path.trim())
}
