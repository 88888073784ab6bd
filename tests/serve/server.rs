//! A running `ingest serve` in a temporary folder.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::http::{self, Answer, Connection};
use crate::sandbox::Sandbox;
use crate::support::pdf;

/// Longest wait for something that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A running server; it is killed at the end.
pub(crate) struct Server {
    pub(crate) sandbox: Sandbox,
    child: Child,
    /// What it printed: its URL.
    pub(crate) url: String,
    /// Address and port.
    pub(crate) address: String,
    stdout: Option<BufReader<std::process::ChildStdout>>,
}

/// Waits until something is there.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Server {
    /// Starts the server on a free port and waits for its URL.
    pub(crate) fn start(sandbox: Sandbox, args: &[&str]) -> Self {
        let mut all = vec!["serve"];
        if !args.contains(&"--address") {
            all.extend(["--address", "127.0.0.1:0"]);
        }
        all.extend(args);
        let mut child = sandbox.start(&all);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        if url.is_empty() {
            let mut why = String::new();
            child.stderr.unwrap().read_to_string(&mut why).unwrap();
            panic!("the server does not start: {why}");
        }
        let url = url.trim().to_owned();
        let address = url.strip_prefix("http://").unwrap();
        let (address, _) = address.split_once('/').unwrap();
        Self {
            address: address.replace("0.0.0.0", "127.0.0.1"),
            sandbox,
            child,
            url,
            stdout: Some(stdout),
        }
    }

    /// A server whose library has one manual of three pages, `pump.pdf`, in the folder of the sandbox.
    pub(crate) fn with_pump(sandbox: Sandbox) -> Self {
        let file = sandbox.write("pump.pdf", &pump());
        let server = Self::start(sandbox, &[file.to_str().unwrap()]);
        server.all_jobs_end();
        server.ready();
        server
    }

    /// Waits until questions are answered by all lists.
    pub(crate) fn ready(&self) {
        wait("the model", || {
            (self.get("/readyz").status == 200).then_some(())
        });
    }

    pub(crate) fn send(
        &self,
        route: (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        http::send(&self.address, route, headers, body)
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send(("GET", target), &[], b"")
    }

    pub(crate) fn delete(&self, target: &str) -> Answer {
        self.send(("DELETE", target), &[], b"")
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        let json = [("Content-Type", "application/json")];
        self.send(("POST", target), &json, body.to_string().as_bytes())
    }

    /// Uploads a file; `name` is percent-encoded.
    pub(crate) fn upload(&self, name: &str, bytes: &[u8]) -> Answer {
        let target = format!("/api/v1/manuals?name={name}");
        self.send(("POST", &target), &[], bytes)
    }

    /// Uploads a file and waits until its job is over; returns the job.
    pub(crate) fn add(&self, name: &str, bytes: &[u8]) -> Value {
        let job = self.upload(name, bytes).json(202);
        self.job_end(job["job"]["id"].as_str().unwrap())
    }

    pub(crate) fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{id}")).json(200)
    }

    /// Waits until a job is over.
    pub(crate) fn job_end(&self, id: &str) -> Value {
        wait("the end of a job", || {
            Some(self.job(id)).filter(|job| !["queued", "running"].contains(&text(&job["state"])))
        })
    }

    pub(crate) fn jobs(&self) -> Vec<Value> {
        let list = self.get("/api/v1/jobs").json(200);
        list["jobs"].as_array().unwrap().clone()
    }

    pub(crate) fn all_jobs_end(&self) {
        for job in self.jobs() {
            self.job_end(text(&job["id"]));
        }
    }

    /// The names of the manuals.
    pub(crate) fn manuals(&self) -> Vec<String> {
        let list = self.get("/api/v1/manuals").json(200);
        let manuals = list["manuals"].as_array().unwrap().iter();
        manuals
            .map(|manual| text(&manual["name"]).to_owned())
            .collect()
    }

    /// A page of `pump.pdf`.
    pub(crate) fn page(&self, number: u32) -> Value {
        let target = format!(
            "/api/v1/pages?manual={}&page={number}",
            self.manuals()[0].replace('/', "%2F")
        );
        self.get(&target).json(200)
    }

    pub(crate) fn events(&self) -> Events {
        let route = ("GET", "/api/v1/events");
        Events(Connection::open(&self.address, route, &[], b""))
    }

    /// The files of the folder of uploads.
    pub(crate) fn uploads(&self) -> Vec<String> {
        uploads(&self.sandbox)
    }

    /// The process ids of its render workers.
    pub(crate) fn render_workers(&self) -> Vec<String> {
        let server = self.child.id().to_string();
        let found = Command::new("pgrep")
            .args(["-P", &server, "-f", "render-worker"])
            .output()
            .unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        found.lines().map(str::to_owned).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills the server and returns its sandbox.
    pub(crate) fn kill(mut self) -> Sandbox {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.take_sandbox()
    }

    /// Presses Ctrl-C; returns the sandbox, how it ended, and everything it printed.
    pub(crate) fn interrupt(mut self) -> (Sandbox, ExitStatus, String) {
        self.signal(Signal::INT);
        let status = wait("the end of the server", || self.child.try_wait().unwrap());
        let mut printed = self.url.clone();
        self.stdout
            .take()
            .unwrap()
            .read_to_string(&mut printed)
            .unwrap();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut printed).unwrap();
        (self.take_sandbox(), status, printed)
    }

    fn take_sandbox(&mut self) -> Sandbox {
        std::mem::replace(&mut self.sandbox, Sandbox::built_in())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events of a server.
pub(crate) struct Events(Connection);

impl Events {
    /// The next event: its name and data.
    pub(crate) fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let line = self.0.line().expect("the stream of events ended");
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }
}

pub(crate) fn uploads(sandbox: &Sandbox) -> Vec<String> {
    let folder = std::fs::read_dir(sandbox.path("library-uploads"));
    let entries = folder.into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name != "jobs.json").collect();
    names.sort();
    names
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The file of the manual `pump.pdf`.
pub(crate) fn pump() -> Vec<u8> {
    pdf::good(&[
        "pressure relief valve",
        "purge with nitrogen",
        "alarm E-108",
    ])
}

/// A file of many pages, which takes a while.
pub(crate) fn thick(pages: usize) -> Vec<u8> {
    let texts: Vec<String> = (1..=pages)
        .map(|n| format!("chapter {n} of many"))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    pdf::good(&texts)
}

/// Adds files of the server's disk.
pub(crate) fn add_paths(server: &Server, paths: &[&str]) -> Answer {
    server.post("/api/v1/jobs", &json!({"paths": paths}))
}
