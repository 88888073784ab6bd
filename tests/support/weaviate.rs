//! Real Weaviate servers for tests: start on free ports, kill, pause, restart, clean up.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

#[path = "supervised.rs"]
pub(crate) mod supervised;

pub(crate) use supervised::tool;
use supervised::{Ports, Supervised};

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

/// The port of a setting.
fn port_of(ports: &Ports, setting: &str) -> u16 {
    let index = PORT_SETTINGS
        .iter()
        .position(|name| *name == setting)
        .unwrap();
    ports.get(index as u16)
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
    process: Supervised,
    ports: Ports,
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
        let folder = Supervised::new_folder("weaviate");
        let command = command(options, &ports, &folder);
        let mut server = Self {
            process: Supervised::new("Weaviate", folder, options.megabytes, &command),
            ports,
            tls: options.tls,
            small_disk: options.megabytes > 0,
        };
        server.process.send_command("start");
        server
    }

    /// Waits until the server is ready.
    fn wait(&mut self) -> Result<(), String> {
        let (port, grpc) = (port_of(&self.ports, "PORT"), self.grpc_port());
        self.process.wait(|_| is_ready(port, grpc))
    }

    /// Its URL, without a trailing slash.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }

    /// The port in `url()`.
    pub(crate) fn port(&self) -> u16 {
        let setting = if self.tls { "TLS_PORT" } else { "PORT" };
        port_of(&self.ports, setting)
    }

    pub(crate) fn grpc_port(&self) -> u16 {
        port_of(&self.ports, "GRPC_PORT")
    }

    /// Its data folder; for a small disk, as visible from this namespace.
    pub(crate) fn data(&self) -> PathBuf {
        let data = self.process.folder.join("data");
        if !self.small_disk {
            return data;
        }
        let root = PathBuf::from(format!("/proc/{}/root", self.process.id()));
        root.join(data.strip_prefix("/").unwrap())
    }

    /// Kills it with SIGKILL and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it if alive, and restarts it with the same ports and data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process.send_command("start");
        assert_eq!(self.wait(), Ok(()), "on the second start:\n{}", self.log());
    }

    /// Pauses it (SIGSTOP): connections stay open without responses.
    pub(crate) fn pause(&mut self) {
        self.process.send_command("pause");
    }

    /// Resumes it.
    pub(crate) fn resume(&mut self) {
        self.process.send_command("resume");
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
        self.process.log()
    }

    /// The whole log, including that before a restart.
    pub(crate) fn full_log(&self) -> String {
        self.process.full_log()
    }
}

/// Whether its readiness probe succeeds and its gRPC port accepts connections.
fn is_ready(port: u16, grpc: u16) -> bool {
    let request = || {
        let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        line.set_read_timeout(Some(Duration::from_secs(5)))?;
        line.write_all(b"GET /v1/.well-known/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = [0; 12];
        line.read_exact(&mut answer)?;
        TcpStream::connect((Ipv4Addr::LOCALHOST, grpc))?;
        std::io::Result::Ok(&answer == b"HTTP/1.1 200")
    };
    request().unwrap_or(false)
}

/// Launches servers and waits until all are ready.
fn start_all(launch: impl Fn() -> Vec<Server>) -> Vec<Server> {
    supervised::start_all(launch, |server| {
        server.wait().map_err(|why| (why, server.log()))
    })
}

/// The command of a server.
fn command(options: &ServerOptions, ports: &Ports, folder: &Path) -> Command {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(SERVER.get_or_init(|| tool("weaviate-server.sh")));
    command
        .args([
            "--scheme=http",
            "--read-timeout=600s",
            "--write-timeout=600s",
        ])
        .args(options.tls.then_some("--scheme=https"))
        .env("PERSISTENCE_DATA_PATH", folder.join("data"))
        .envs(PORT_SETTINGS.map(|setting| (setting, port_of(ports, setting).to_string())))
        .envs(
            DEFAULT_SETTINGS
                .split(' ')
                .filter_map(|one| one.split_once('=')),
        )
        .envs(options.settings.iter().copied());
    command
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
            let all = all.map(|(host, ports)| format!("{host}:{}", port_of(ports, setting)));
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
