//! Real NATS servers for tests: start on free ports, kill, pause, restart, clean up.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::weaviate::supervised::{self, Ports, Supervised, tool};

/// Ports of a server: clients, other servers of its cluster.
const CLIENTS: u16 = 0;
const CLUSTER: u16 = 1;

/// Options of a server.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Further lines of its configuration.
    pub(crate) config: String,
    /// Its certificate and key, for connections with TLS only.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Keeps no streams.
    pub(crate) without_jetstream: bool,
}

/// A running NATS server. It is killed when this value is dropped or the test process ends.
pub(crate) struct Server {
    process: Supervised,
    ports: Ports,
    tls: bool,
}

impl Server {
    /// Starts an empty server with JetStream and without authentication.
    pub(crate) fn start() -> Self {
        Self::with(&Options::default())
    }

    /// Starts one with further lines of configuration.
    pub(crate) fn configured(config: &str) -> Self {
        Self::with(&Options {
            config: config.to_owned(),
            ..Options::default()
        })
    }

    /// Starts one with options.
    pub(crate) fn with(options: &Options) -> Self {
        start_all(|| vec![Self::launch(options, Ports::reserve(), "")]).remove(0)
    }

    fn launch(options: &Options, ports: Ports, cluster: &str) -> Self {
        static SERVER: OnceLock<PathBuf> = OnceLock::new();
        let folder = Supervised::new_folder("nats");
        let config = folder.join("nats.conf");
        fs::write(&config, configuration(options, &ports, &folder, cluster)).unwrap();
        let mut command = Command::new(SERVER.get_or_init(|| tool("nats-server.sh")));
        command.arg("--config").arg(config);
        let mut server = Self {
            process: Supervised::new("NATS", folder, 0, &command),
            ports,
            tls: options.tls.is_some(),
        };
        server.process.send_command("start");
        server
    }

    fn wait(&mut self) -> Result<(), String> {
        let port = self.port();
        self.process.wait(|_| is_ready(port))
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }

    /// The port in `url()`.
    pub(crate) fn port(&self) -> u16 {
        self.ports.get(CLIENTS)
    }

    /// Kills it with SIGKILL and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it if alive, and restarts it with the same ports and data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process.send_command("start");
        let started = self.wait();
        assert_eq!(started, Ok(()), "on the second start:\n{}", self.log());
    }

    /// Pauses it (SIGSTOP): connections stay open without responses.
    pub(crate) fn pause(&mut self) {
        self.process.send_command("pause");
    }

    /// Resumes it.
    pub(crate) fn resume(&mut self) {
        self.process.send_command("resume");
    }

    /// The last 20 lines of its log.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

fn configuration(options: &Options, ports: &Ports, folder: &Path, cluster: &str) -> String {
    let mut lines = vec![
        format!("listen: \"127.0.0.1:{}\"", ports.get(CLIENTS)),
        cluster.to_owned(),
        options.config.clone(),
    ];
    if !options.without_jetstream {
        let data = folder.join("data");
        lines.push(format!(
            "jetstream {{ store_dir: {data:?}, max_mem: 64MB, max_file: 2GB }}"
        ));
    }
    if let Some((certificate, key)) = &options.tls {
        lines.push(format!(
            "tls {{ cert_file: {certificate:?}, key_file: {key:?} }}"
        ));
    }
    lines.join("\n")
}

/// Whether it greets a client.
fn is_ready(port: u16) -> bool {
    let greeting = || {
        let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        line.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut answer = [0; 4];
        line.read_exact(&mut answer)?;
        std::io::Result::Ok(&answer == b"INFO")
    };
    greeting().unwrap_or(false)
}

fn start_all(launch: impl Fn() -> Vec<Server>) -> Vec<Server> {
    supervised::start_all(launch, |server| {
        server.wait().map_err(|why| (why, server.log()))
    })
}

/// One server for all tests of a binary; each should use its own runs and groups.
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
        let nodes = start_all(|| {
            let ports: [Ports; 3] = std::array::from_fn(|_| Ports::reserve());
            let route = |ports: &Ports| format!("\"nats://127.0.0.1:{}\"", ports.get(CLUSTER));
            let routes = ports.each_ref().map(route).join(", ");
            let node = |(name, ports): (&str, Ports)| {
                let cluster = format!(
                    "server_name: {name}\ncluster {{ name: test, listen: \"127.0.0.1:{}\", routes: [{routes}] }}",
                    ports.get(CLUSTER)
                );
                Server::launch(&Options::default(), ports, &cluster)
            };
            let names = ["node1", "node2", "node3"];
            names.into_iter().zip(ports).map(node).collect()
        });
        Self { nodes }
    }

    /// The addresses of all nodes.
    pub(crate) fn url(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(Server::url).collect();
        urls.join(",")
    }
}
