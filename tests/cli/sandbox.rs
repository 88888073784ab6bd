//! Runs the program in a temporary folder with its own store and settings.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A tiny random checkpoint in the layout of the released one.
pub(crate) const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/colqwen2.5-tiny");

/// Exit code, stdout and stderr of a finished command.
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl CommandOutput {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{e}: {}\n{}", self.out, self.err))
    }

    /// Stdout, stderr and exit code as one text, for snapshots.
    pub(crate) fn transcript(&self) -> String {
        format!("{}{}[exit {}]", self.out, self.err, self.code)
    }
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// A temporary working folder and the environment of its commands.
pub(crate) struct Sandbox {
    pub(crate) folder: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
}

impl Sandbox {
    /// A sandbox with the tiny ColQwen2.5 alone: without the text model, which takes longer.
    pub(crate) fn tiny() -> Self {
        Self::of(TINY).with("INGEST_EMBED_MEANING", "false")
    }

    /// A sandbox with the default model.
    pub(crate) fn built_in() -> Self {
        Self::of("built-in")
    }

    fn of(model: &str) -> Self {
        let sandbox = Self {
            folder: tempfile::tempdir().unwrap(),
            env: Vec::new(),
        };
        sandbox
            .with("INGEST_STORE_URL", "library.db")
            .with("INGEST_EMBED_MODEL", model)
            // Not the GPU of a Mac: transcripts name the device, and bf16 rounds.
            .with("INGEST_EMBED_DEVICE", "cpu")
    }

    /// Adds an environment variable to every command; a later one of the same name wins.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Returns the command, isolated from the settings and library of the current user.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingest"));
        command
            .current_dir(self.folder.path())
            .args(args)
            .stdin(Stdio::null());
        let home = self.path("home");
        command
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"));
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
        command
            .env("XDG_CACHE_HOME", cache)
            .env_remove("WEAVIATE_API_KEY")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> CommandOutput {
        self.command(args).output().unwrap().into()
    }

    /// Runs a command as a user who may not read and write everything, also if the tests run as root. Its store is in the
    /// folder `out`, which everybody may write to. That user may not reach the program where it was built: a copy runs.
    pub(crate) fn run_as_user(&self, args: &[&str]) -> CommandOutput {
        let (program, out) = (self.path("ingest"), self.path("out"));
        if !program.exists() {
            // By another process: one that writes a program must have ended before any can run it.
            let mut copy = Command::new("cp");
            let copied = copy
                .arg(env!("CARGO_BIN_EXE_ingest"))
                .arg(&program)
                .status();
            assert!(copied.unwrap().success());
        }
        fs::create_dir_all(&out).unwrap();
        for folder in [self.folder.path(), &out] {
            fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
        }
        let configured = self.command(args);
        let mut command = Command::new(&program);
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .envs(configured.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .env("XDG_CACHE_HOME", &out)
            .env("XDG_DATA_HOME", &out)
            .env("INGEST_STORE_URL", out.join("library.db"));
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        command.output().unwrap().into()
    }

    /// Starts a command without waiting for it.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Searches with the queries on stdin; returns one JSON array per query.
    pub(crate) fn search(&self, queries: &[String], args: &[&str]) -> Vec<Value> {
        std::fs::write(self.path("queries.txt"), queries.join("\n")).unwrap();
        let input = std::fs::File::open(self.path("queries.txt")).unwrap();
        let command = [&["search", "-", "--json"], args].concat();
        let done: CommandOutput = self.command(&command).stdin(input).output().unwrap().into();
        assert_eq!(done.code, 0, "{}", done.err);
        let answers: Vec<_> = done
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), queries.len());
        answers
    }
}

/// Path of a sample manual.
pub(crate) fn manual(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("manuals")
        .join(name)
        .display()
        .to_string()
}

/// The entry of a manual in the `--json` report of a run.
pub(crate) fn manual_report(report: &Value, name: &str) -> Value {
    let manuals = report["manuals"].as_array().unwrap();
    let found = manuals
        .iter()
        .find(|m| m["manual"].as_str().unwrap().ends_with(name));
    found
        .unwrap_or_else(|| panic!("{name} is not in {report}"))
        .clone()
}
