//! Real Weaviate servers for tests: started on free ports, killed, frozen, brought back, cleared away.

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

/// The longest a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);
/// What Go says when somebody else has the port.
const CLASH: &str = "address already in use";
/// Between the usual services and the ports that the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// What a server's ports are for, in their order. Gossip and data are neighbours by convention.
const USES: [&str; 7] = [
    "PORT",
    "GRPC_PORT",
    "CLUSTER_GOSSIP_BIND_PORT",
    "CLUSTER_DATA_BIND_PORT",
    "RAFT_PORT",
    "RAFT_INTERNAL_RPC_PORT",
    "TLS_PORT",
];
/// The settings every server gets: elections are fast, memory is shared with other servers.
const USUAL: &str = "HOST=127.0.0.1 CLUSTER_HOSTNAME=node1 RAFT_BOOTSTRAP_EXPECT=1 \
    CLUSTER_IN_LOCALHOST=true CLUSTER_ADVERTISE_ADDR=127.0.0.1 CLUSTER_BIND_ADDR=127.0.0.1 \
    AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED=true AUTOSCHEMA_ENABLED=false \
    API_BASED_MODULES_DISABLED=true DISABLE_TELEMETRY=true GO_PROFILING_DISABLE=true \
    DISK_USE_READONLY_PERCENTAGE=0 RAFT_TIMEOUTS_MULTIPLIER=1 GOMEMLIMIT=2GiB LOG_FORMAT=text";

/// Keeps one server: takes an order a line and says after each whether the server lives.
/// When the orders end, for whatever reason, the server is killed and its folder goes.
const KEEPER: &str = r#"
folder=$1 megabytes=$2 server=
shift 2
cd "$folder" || exit 1
[ "$megabytes" = 0 ] || mount -t tmpfs -o "size=${megabytes}m" none data || exit 1
finish() { kill -KILL $server; wait; server=; } 2>/dev/null
while read -r order; do
    case $order in
    start) "$@" </dev/null >>log 2>&1 & server=$! ;;
    kill) finish ;;
    pause) kill -STOP $server ;;
    resume) kill -CONT $server ;;
    esac
    if kill -0 $server 2>/dev/null; then echo alive; else echo dead; fi
done
finish
[ "$megabytes" = 0 ] || umount data
cd / && rm -rf "$folder"
"#;

/// Ports that no other test takes meanwhile: the first says so, the others are for the server.
struct Ports {
    taken: TcpListener,
    first: u16,
}

impl Ports {
    fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let all = PORTS.step_by(1 + USES.len()).collect::<Vec<_>>();
        let next = || all[usize::from(NEXT.fetch_add(1, Ordering::Relaxed)) % all.len()];
        all.iter()
            .find_map(|_| Self::take(next()))
            .expect("a free block of ports")
    }

    fn take(first: u16) -> Option<Self> {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?;
        let at = |port| (Ipv4Addr::UNSPECIFIED, port);
        let free = |port| TcpListener::bind(at(port)).is_ok() && UdpSocket::bind(at(port)).is_ok();
        let mut ports = (first + 1..).take(USES.len());
        ports.all(free).then_some(Self { taken, first })
    }

    /// The port that a setting names.
    fn of(&self, setting: &str) -> u16 {
        let at = USES.iter().position(|name| *name == setting).unwrap();
        self.first + 1 + at as u16
    }
}

/// What a server is to be.
#[derive(Default)]
struct Plan<'a> {
    settings: &'a [(&'a str, &'a str)],
    tls: bool,
    /// The size of its disk; 0 for a folder on the disk at hand.
    megabytes: u32,
}

/// A running Weaviate. It ends with this value, and with the test process however that ends.
pub(crate) struct Server {
    keeper: Child,
    ports: Ports,
    folder: PathBuf,
    tls: bool,
    small: bool,
}

impl Server {
    /// An empty server that asks nobody for a key.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One with further environment variables.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(&Plan {
            settings,
            ..Plan::default()
        })
    }

    /// One whose `url()` is https; its gRPC stays plain.
    pub(crate) fn over_tls(certificate: &Path, key: &Path, settings: &[(&str, &str)]) -> Self {
        let paths = [("TLS_CERTIFICATE", certificate), ("TLS_PRIVATE_KEY", key)];
        let paths = paths.map(|(name, path)| (name, path.to_str().unwrap()));
        Self::of(&Plan {
            settings: &[settings, &paths].concat(),
            tls: true,
            ..Plan::default()
        })
    }

    /// One whose data lie on a disk of this size; wants Linux, and leave to make namespaces.
    pub(crate) fn on_disk_of(megabytes: u32) -> Self {
        Self::of(&Plan {
            megabytes,
            ..Plan::default()
        })
    }

    fn of(plan: &Plan) -> Self {
        ready(|| vec![Self::launch(plan, Ports::free())]).remove(0)
    }

    /// Starts one without waiting for it.
    fn launch(plan: &Plan, ports: Ports) -> Self {
        let folder = tempfile::TempDir::with_prefix("weaviate-").unwrap().keep();
        fs::create_dir(folder.join("data")).unwrap();
        let mut server = Self {
            keeper: keeper(plan, &ports, &folder),
            ports,
            folder,
            tls: plan.tls,
            small: plan.megabytes > 0,
        };
        server.order("start");
        server
    }

    /// Gives an order; says whether the server lives.
    fn order(&mut self, word: &str) -> bool {
        let mut answer = String::new();
        if writeln!(self.keeper.stdin.as_mut().unwrap(), "{word}").is_ok() {
            // One line is all there is, so nothing is lost with the buffer.
            let mut answers = BufReader::new(self.keeper.stdout.as_mut().unwrap());
            answers.read_line(&mut answer).unwrap();
        }
        assert!(!answer.is_empty(), "no keeper of Weaviate:\n{}", self.log());
        answer.trim() == "alive"
    }

    /// Waits until the server is ready for work.
    fn wait(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let alive = self.order("look");
            match (self.whole_log().contains(CLASH), alive) {
                (true, _) => return Err(CLASH.to_owned()),
                (_, false) => return Err("died".to_owned()),
                _ if self.is_ready() => return Ok(()),
                _ => sleep(Duration::from_millis(50)),
            }
        }
        Err(format!("is not ready after {} s", PATIENCE.as_secs()))
    }

    /// Whether it says that it is ready, and takes calls over gRPC.
    fn is_ready(&self) -> bool {
        let ask = || {
            let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.of("PORT")))?;
            line.set_read_timeout(Some(Duration::from_secs(5)))?;
            line.write_all(b"GET /v1/.well-known/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            let mut answer = [0; 12];
            line.read_exact(&mut answer)?;
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.of("GRPC_PORT")))?;
            std::io::Result::Ok(&answer == b"HTTP/1.1 200")
        };
        ask().unwrap_or(false)
    }

    /// Where it answers, without a slash at the end.
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

    /// The folder of its data; for a small disk as this process sees into the other namespace.
    pub(crate) fn data(&self) -> PathBuf {
        let data = self.folder.join("data");
        if !self.small {
            return data;
        }
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(data.strip_prefix("/").unwrap())
    }

    /// Kills it without warning and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        assert!(!self.order("kill"), "Weaviate survived:\n{}", self.log());
    }

    /// Kills it if it lives, and brings it back with its ports and its data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.order("start");
        assert_eq!(self.wait(), Ok(()), "on the second start:\n{}", self.log());
    }

    /// Freezes it: connections stay open, nothing is answered.
    pub(crate) fn pause(&mut self) {
        self.order("pause");
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) {
        self.order("resume");
    }

    /// Takes all the room there is on a small disk.
    pub(crate) fn fill_disk(&self) {
        assert!(self.small, "this would fill the disk of the machine");
        let mut filler = File::create(self.data().join("filler")).unwrap();
        std::io::copy(&mut std::io::repeat(0), &mut filler).unwrap_err();
    }

    /// Gives the room back.
    pub(crate) fn free_disk(&self) {
        fs::remove_file(self.data().join("filler")).unwrap();
    }

    /// The last words of the server.
    pub(crate) fn log(&self) -> String {
        let all = self.whole_log();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// All it has said, also before it was started again.
    pub(crate) fn whole_log(&self) -> String {
        let bytes = fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Server {
    /// `wait` closes the pipe of orders first, and that ends the server.
    fn drop(&mut self) {
        let _ = self.keeper.wait();
    }
}

/// Launches servers and waits until all are ready; tries other ports when somebody else was faster.
fn ready(launch: impl Fn() -> Vec<Server>) -> Vec<Server> {
    for _ in 0..5 {
        let mut servers = launch();
        let failed = |server: &mut Server| server.wait().err().map(|why| (why, server.log()));
        match servers.iter_mut().find_map(failed) {
            None => return servers,
            Some((why, _)) if why == CLASH => {}
            Some((why, log)) => panic!("Weaviate {why}:\n{log}"),
        }
    }
    panic!("Weaviate found its ports taken five times");
}

/// The process that keeps a server, out of reach of the terminal's Ctrl-C.
fn keeper(plan: &Plan, ports: &Ports, folder: &Path) -> Child {
    use std::os::unix::process::CommandExt;
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    let server = SERVER.get_or_init(|| tool("weaviate-server.sh"));
    let mut command = Command::new("bash");
    if plan.megabytes > 0 {
        command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash"]);
    }
    command
        .args(["-c", KEEPER, "keeper"])
        .arg(folder)
        .arg(plan.megabytes.to_string())
        .arg(server)
        .args([
            "--scheme=http",
            "--read-timeout=600s",
            "--write-timeout=600s",
        ])
        .args(plan.tls.then_some("--scheme=https"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PERSISTENCE_DATA_PATH", folder.join("data"))
        .envs(USES.map(|setting| (setting, ports.of(setting).to_string())))
        .envs(USUAL.split(' ').filter_map(|one| one.split_once('=')))
        .envs(plan.settings.iter().copied())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()))
}

/// What a script beside this file provides: a path. The script talks on stderr.
pub(crate) fn tool(script: &str) -> PathBuf {
    let script = format!("{}/tests/support/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut bash = Command::new("bash");
    let done = bash.arg(&script).stderr(Stdio::inherit()).output().unwrap();
    let path = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{script} failed");
    PathBuf::from(path.trim())
}

/// One server for all tests of a binary; each should use a collection of its own.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

/// Servers that hold the same data.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// Three nodes: `node1`, `node2` and `node3`.
    pub(crate) fn of_three() -> Self {
        let nodes = ready(Self::launch);
        Self { nodes }
    }

    fn launch() -> Vec<Server> {
        let ports: [Ports; 3] = std::array::from_fn(|_| Ports::free());
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
                // A node that was away catches up in seconds instead of a minute.
                ("ASYNC_REPLICATION_FREQUENCY", "2s"),
                ("ASYNC_REPLICATION_PROPAGATION_DELAY", "1s"),
            ];
            let plan = Plan {
                settings,
                ..Plan::default()
            };
            Server::launch(&plan, ports)
        };
        names.into_iter().zip(ports).map(node).collect()
    }
}
