//! Real Weaviate servers for tests: start on free ports, kill, pause, restart, clean up.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Maximum time until a server is ready.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Go's error message if a port is in use.
const PORT_IN_USE: &str = "address already in use";
/// Between well-known ports and the ephemeral ports of the system.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Settings of a server's ports, in order. Gossip and data ports are adjacent by convention.
const PORT_SETTINGS: [&str; 7] = [
    "PORT",
    "GRPC_PORT",
    "CLUSTER_GOSSIP_BIND_PORT",
    "CLUSTER_DATA_BIND_PORT",
    "RAFT_PORT",
    "RAFT_INTERNAL_RPC_PORT",
    "TLS_PORT",
];
/// Settings of every server: fast elections, limited memory.
const DEFAULT_SETTINGS: &str = "HOST=127.0.0.1 CLUSTER_HOSTNAME=node1 RAFT_BOOTSTRAP_EXPECT=1 \
    CLUSTER_IN_LOCALHOST=true CLUSTER_ADVERTISE_ADDR=127.0.0.1 CLUSTER_BIND_ADDR=127.0.0.1 \
    AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED=true AUTOSCHEMA_ENABLED=false \
    API_BASED_MODULES_DISABLED=true DISABLE_TELEMETRY=true GO_PROFILING_DISABLE=true \
    DISK_USE_READONLY_PERCENTAGE=0 RAFT_TIMEOUTS_MULTIPLIER=1 GOMEMLIMIT=2GiB LOG_FORMAT=text";

/// Supervises one server: reads one command per line and prints after each whether the server is alive.
/// At the end of its input, for whatever reason, it kills the server and deletes its folder.
const SUPERVISOR: &str = include_str!("supervise.sh");

/// A reserved block of ports: the first one is bound as a lock, the others are for the server.
struct Ports {
    guard: TcpListener,
    first: u16,
}

impl Ports {
    fn reserve() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let all = PORTS.step_by(1 + PORT_SETTINGS.len()).collect::<Vec<_>>();
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
        let mut ports = (first + 1..).take(PORT_SETTINGS.len());
        ports.all(free).then_some(Self { guard, first })
    }

    /// The port of a setting.
    fn of(&self, setting: &str) -> u16 {
        let index = PORT_SETTINGS
            .iter()
            .position(|name| *name == setting)
            .unwrap();
        self.first + 1 + index as u16
    }
}

/// Options of a server.
#[derive(Default)]
struct ServerOptions<'a> {
    settings: &'a [(&'a str, &'a str)],
    tls: bool,
    /// The size of its disk; 0 for an ordinary folder.
    megabytes: u32,
}

/// A running Weaviate server. It is killed when this value is dropped or the test process ends.
pub(crate) struct Server {
    supervisor: Child,
    ports: Ports,
    folder: PathBuf,
    tls: bool,
    small_disk: bool,
}

impl Server {
    /// Starts an empty server without authentication.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with additional environment variables.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(&ServerOptions {
            settings,
            ..ServerOptions::default()
        })
    }

    /// Starts one whose `url()` is https; its gRPC is unencrypted.
    pub(crate) fn over_tls(certificate: &Path, key: &Path, settings: &[(&str, &str)]) -> Self {
        let paths = [("TLS_CERTIFICATE", certificate), ("TLS_PRIVATE_KEY", key)];
        let paths = paths.map(|(name, path)| (name, path.to_str().unwrap()));
        Self::of(&ServerOptions {
            settings: &[settings, &paths].concat(),
            tls: true,
            ..ServerOptions::default()
        })
    }

    /// Starts one with its data on a disk of this size; requires Linux and permission to create namespaces.
    pub(crate) fn on_disk_of(megabytes: u32) -> Self {
        Self::of(&ServerOptions {
            megabytes,
            ..ServerOptions::default()
        })
    }

    fn of(options: &ServerOptions) -> Self {
        start_all(|| vec![Self::launch(options, Ports::reserve())]).remove(0)
    }

    /// Starts one without waiting until it is ready.
    fn launch(options: &ServerOptions, ports: Ports) -> Self {
        let folder = tempfile::TempDir::with_prefix("weaviate-").unwrap().keep();
        fs::create_dir(folder.join("data")).unwrap();
        let mut server = Self {
            supervisor: supervisor(options, &ports, &folder),
            ports,
            folder,
            tls: options.tls,
            small_disk: options.megabytes > 0,
        };
        server.send_command("start");
        server
    }

    /// Sends a command to the supervisor; returns whether the server is alive.
    fn send_command(&mut self, word: &str) -> bool {
        let mut answer = String::new();
        if writeln!(self.supervisor.stdin.as_mut().unwrap(), "{word}").is_ok() {
            // The reply is one line, so dropping the buffer loses nothing.
            let mut answers = BufReader::new(self.supervisor.stdout.as_mut().unwrap());
            answers.read_line(&mut answer).unwrap();
        }
        assert!(
            !answer.is_empty(),
            "the supervisor of Weaviate ended:\n{}",
            self.log()
        );
        answer.trim() == "alive"
    }

    /// Waits until the server is ready.
    fn wait(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < START_TIMEOUT {
            let alive = self.send_command("check");
            match (self.full_log().contains(PORT_IN_USE), alive) {
                (true, _) => return Err(PORT_IN_USE.to_owned()),
                (_, false) => return Err("died".to_owned()),
                _ if self.is_ready() => return Ok(()),
                _ => sleep(Duration::from_millis(50)),
            }
        }
        Err(format!("is not ready after {} s", START_TIMEOUT.as_secs()))
    }

    /// Whether its readiness probe succeeds and its gRPC port accepts connections.
    fn is_ready(&self) -> bool {
        let request = || {
            let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.of("PORT")))?;
            line.set_read_timeout(Some(Duration::from_secs(5)))?;
            line.write_all(b"GET /v1/.well-known/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            let mut answer = [0; 12];
            line.read_exact(&mut answer)?;
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.of("GRPC_PORT")))?;
            std::io::Result::Ok(&answer == b"HTTP/1.1 200")
        };
        request().unwrap_or(false)
    }

    /// Its URL, without a trailing slash.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }

    /// The port in `url()`.
    pub(crate) fn port(&self) -> u16 {
        let setting = if self.tls { "TLS_PORT" } else { "PORT" };
        self.ports.of(setting)
    }

    pub(crate) fn grpc_port(&self) -> u16 {
        self.ports.of("GRPC_PORT")
    }

    /// Its data folder; for a small disk, as visible from this namespace.
    pub(crate) fn data(&self) -> PathBuf {
        let data = self.folder.join("data");
        if !self.small_disk {
            return data;
        }
        let root = PathBuf::from(format!("/proc/{}/root", self.supervisor.id()));
        root.join(data.strip_prefix("/").unwrap())
    }

    /// Kills it with SIGKILL and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        assert!(
            !self.send_command("kill"),
            "Weaviate survived:\n{}",
            self.log()
        );
    }

    /// Kills it if alive, and restarts it with the same ports and data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.send_command("start");
        assert_eq!(self.wait(), Ok(()), "on the second start:\n{}", self.log());
    }

    /// Pauses it (SIGSTOP): connections stay open without responses.
    pub(crate) fn pause(&mut self) {
        self.send_command("pause");
    }

    /// Resumes it.
    pub(crate) fn resume(&mut self) {
        self.send_command("resume");
    }

    /// Fills a small disk.
    pub(crate) fn fill_disk(&self) {
        assert!(self.small_disk, "this would fill the disk of the machine");
        let mut filler = File::create(self.data().join("filler")).unwrap();
        std::io::copy(&mut std::io::repeat(0), &mut filler).unwrap_err();
    }

    /// Frees the disk again.
    pub(crate) fn free_disk(&self) {
        fs::remove_file(self.data().join("filler")).unwrap();
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

impl Drop for Server {
    /// `wait` closes the command pipe first, which ends the supervisor and the server.
    fn drop(&mut self) {
        let _ = self.supervisor.wait();
    }
}

/// Launches servers and waits until all are ready; retries with other ports if one was in use.
fn start_all(launch: impl Fn() -> Vec<Server>) -> Vec<Server> {
    for _ in 0..5 {
        let mut servers = launch();
        let failed = |server: &mut Server| server.wait().err().map(|why| (why, server.log()));
        match servers.iter_mut().find_map(failed) {
            None => return servers,
            Some((why, _)) if why == PORT_IN_USE => {}
            Some((why, log)) => panic!("Weaviate {why}:\n{log}"),
        }
    }
    panic!("the ports of Weaviate were in use five times");
}

/// Starts the supervisor of a server in a process group of its own, so that Ctrl-C does not reach it.
fn supervisor(options: &ServerOptions, ports: &Ports, folder: &Path) -> Child {
    use std::os::unix::process::CommandExt;
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    let server = SERVER.get_or_init(|| tool("weaviate-server.sh"));
    let mut command = Command::new("bash");
    if options.megabytes > 0 {
        command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash"]);
    }
    command
        .args(["-c", SUPERVISOR, "supervisor"])
        .arg(folder)
        .arg(options.megabytes.to_string())
        .arg(server)
        .args([
            "--scheme=http",
            "--read-timeout=600s",
            "--write-timeout=600s",
        ])
        .args(options.tls.then_some("--scheme=https"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PERSISTENCE_DATA_PATH", folder.join("data"))
        .envs(PORT_SETTINGS.map(|setting| (setting, ports.of(setting).to_string())))
        .envs(
            DEFAULT_SETTINGS
                .split(' ')
                .filter_map(|one| one.split_once('=')),
        )
        .envs(options.settings.iter().copied())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()))
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

/// One server for all tests of a binary; each should use its own collection.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

/// A cluster of servers.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// Three nodes: `node1`, `node2` and `node3`.
    pub(crate) fn of_three() -> Self {
        let nodes = start_all(Self::launch);
        Self { nodes }
    }

    fn launch() -> Vec<Server> {
        let ports: [Ports; 3] = std::array::from_fn(|_| Ports::reserve());
        let names = ["node1", "node2", "node3"];
        let list = |hosts: [&str; 3], setting| {
            let all = hosts.iter().zip(&ports);
            let all = all.map(|(host, ports)| format!("{host}:{}", ports.of(setting)));
            all.collect::<Vec<_>>().join(",")
        };
        let raft = list(names, "RAFT_PORT");
        let gossip = list(["127.0.0.1"; 3], "CLUSTER_GOSSIP_BIND_PORT");
        let node = |(name, ports)| {
            let settings = &[
                ("CLUSTER_HOSTNAME", name),
                ("RAFT_BOOTSTRAP_EXPECT", "3"),
                ("RAFT_JOIN", &raft),
                ("CLUSTER_JOIN", &gossip),
                // A restarted node catches up in seconds instead of a minute.
                ("ASYNC_REPLICATION_FREQUENCY", "2s"),
                ("ASYNC_REPLICATION_PROPAGATION_DELAY", "1s"),
            ];
            let options = ServerOptions {
                settings,
                ..ServerOptions::default()
            };
            Server::launch(&options, ports)
        };
        names.into_iter().zip(ports).map(node).collect()
    }
}
