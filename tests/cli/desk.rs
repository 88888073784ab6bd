//! A folder to work in, with a store and settings of its own, and the program.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A checkpoint of the real layout, random and tiny: fast, and as real as the loading code.
pub(crate) const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/colqwen2.5-tiny");

/// What a finished command left behind.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{e}: {}\n{}", self.out, self.err))
    }

    /// Code, stdout and stderr as one text, for transcripts; seconds, the folder and rates are blotted out.
    pub(crate) fn transcript(&self) -> String {
        format!("{}{}[exit {}]", self.out, self.err, self.code)
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
}

impl Desk {
    /// Works with the tiny ColQwen2.5.
    pub(crate) fn tiny() -> Self {
        Self::of(TINY)
    }

    /// Works with the defaults.
    pub(crate) fn built_in() -> Self {
        Self::of("built-in")
    }

    fn of(model: &str) -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
            env: Vec::new(),
        };
        desk.with("INGEST_STORE_URL", "library.db")
            .with("INGEST_EMBED_MODEL", model)
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

    /// The command, ready to run in the folder; settings and library of the person at the machine are out of reach.
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

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.command(args).output().unwrap().into()
    }

    /// Starts a command and leaves it running.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Questions on stdin; one JSON array a question.
    pub(crate) fn ask(&self, questions: &[String], args: &[&str]) -> Vec<Value> {
        std::fs::write(self.path("questions.txt"), questions.join("\n")).unwrap();
        let input = std::fs::File::open(self.path("questions.txt")).unwrap();
        let command = [&["search", "-", "--json"], args].concat();
        let done: Done = self.command(&command).stdin(input).output().unwrap().into();
        assert_eq!(done.code, 0, "{}", done.err);
        let answers: Vec<_> = done
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), questions.len());
        answers
    }
}

/// One of our two manuals.
pub(crate) fn manual(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("manuals")
        .join(name)
        .display()
        .to_string()
}

/// What became of a manual in a run's `--json` report.
pub(crate) fn outcome(report: &Value, name: &str) -> Value {
    let manuals = report["manuals"].as_array().unwrap();
    let found = manuals
        .iter()
        .find(|m| m["manual"].as_str().unwrap().ends_with(name));
    found
        .unwrap_or_else(|| panic!("{name} is not in {report}"))
        .clone()
}
