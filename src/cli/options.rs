//! The options that several commands share: which command takes which, and the settings they make.

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory};

use crate::config::{Settings, Sources};
use crate::diagnostic::Diagnostic;
use crate::embed::{Device, Engine};

/// The options that several commands share.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(super) struct Common {
    /// Where pages are kept: a SQLite file, or the http(s):// addresses of a Weaviate cluster, commas between
    #[arg(long, global = true, hide_short_help = true, value_name = "STORE")]
    pub(super) store: Vec<String>,
    /// `built-in`, a hub id such as vidore/colqwen2.5-v0.2, or a folder with a checkpoint
    #[arg(long, global = true, hide_short_help = true, value_name = "MODEL")]
    pub(super) model: Vec<String>,
    /// What computes ColQwen
    #[arg(long, global = true, hide_short_help = true, value_enum)]
    pub(super) engine: Option<Engine>,
    /// Where the model runs
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_enum,
        value_delimiter = ','
    )]
    pub(super) device: Vec<Device>,
    /// Pages a batch holds; shrinks before memory runs out
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "PAGES",
        value_delimiter = ','
    )]
    pub(super) batch_size: Vec<u32>,
    /// Keep a page's rows at one in so many, each the mean of rows that resemble each other
    #[arg(long, global = true, hide_short_help = true, value_name = "FACTOR", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) pool_factor: Option<u32>,
    /// Named limits of the configuration, such as `studio`
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// A configuration file to lay over the others
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true, hide_short_help = true)]
    pub(super) json: bool,
    /// Say nothing but what failed
    #[arg(long, short, global = true, hide_short_help = true)]
    pub(super) quiet: bool,
    /// Say more
    #[arg(long, short, global = true, hide_short_help = true)]
    pub(super) verbose: bool,
}

/// One combination of the flags that `bench` and `eval` vary.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) store: Option<String>,
    pub(super) model: Option<String>,
    pub(super) device: Option<Device>,
    pub(super) batch_size: Option<u32>,
    workers: Option<u32>,
}

impl Common {
    /// The settings; only `bench` and `eval` take several values of a flag.
    pub(super) fn settings(&self) -> Result<Settings, Diagnostic> {
        let many = [
            ("--store", self.store.len()),
            ("--model", self.model.len()),
            ("--device", self.device.len()),
            ("--batch-size", self.batch_size.len()),
        ];
        if let Some((flag, _)) = many.iter().find(|(_, values)| *values > 1) {
            return Err(Diagnostic::usage(format!("{flag} takes one value here"))
                .hint("`ingest bench` and `ingest eval` compare several"));
        }
        self.settings_for(&self.choices(&[])[0])
    }

    /// The model that was named.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.first().map(String::as_str)
    }

    /// Every combination of the values given; what was not given is left to the settings.
    pub(super) fn choices(&self, workers: &[u32]) -> Vec<Choice> {
        let all = vec![Choice::default()];
        let all = cross(all, &self.store, |choice, value| choice.store = value);
        let all = cross(all, &self.model, |choice, value| choice.model = value);
        let all = cross(all, &self.device, |choice, value| choice.device = value);
        let all = cross(all, &self.batch_size, |choice, value| {
            choice.batch_size = value;
        });
        cross(all, workers, |choice, value| choice.workers = value)
    }

    pub(super) fn settings_for(&self, choice: &Choice) -> Result<Settings, Diagnostic> {
        let mut flags: Vec<(&'static str, toml::Value)> = Vec::new();
        let mut flag =
            |key, value: Option<toml::Value>| flags.extend(value.map(|value| (key, value)));
        flag("store.url", choice.store.clone().map(Into::into));
        flag("embed.model", choice.model.clone().map(Into::into));
        let device = choice.device.and_then(|d| toml::Value::try_from(d).ok());
        flag("embed.device", device);
        let engine = self.engine.and_then(|e| toml::Value::try_from(e).ok());
        flag("embed.engine", engine);
        flag("embed.pool_factor", self.pool_factor.map(Into::into));
        flag("limits.batch_size", choice.batch_size.map(Into::into));
        flag("render.workers", choice.workers.map(Into::into));
        let env = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Ok(Settings::resolve(&Sources {
            file: self.config.clone(),
            profile: self.profile.clone(),
            env: env
                .filter(|(name, _)| name.starts_with("INGEST_"))
                .collect(),
            flags,
        })?)
    }
}

/// Every choice with every value; with `None` where there is no value.
fn cross<T: Clone>(
    choices: Vec<Choice>,
    values: &[T],
    set: impl Fn(&mut Choice, Option<T>),
) -> Vec<Choice> {
    let values: Vec<Option<T>> = match values {
        [] => vec![None],
        values => values.iter().cloned().map(Some).collect(),
    };
    let with = |choice: &Choice, value: &Option<T>| {
        let mut choice = choice.clone();
        set(&mut choice, value.clone());
        choice
    };
    let all = choices.iter();
    all.flat_map(|choice| {
        values
            .iter()
            .map(|value| with(choice, value))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// Options that every command takes that reads settings.
const ALWAYS: [&str; 3] = ["config", "quiet", "verbose"];
/// The other options that a command takes, by their ids. `ingest FILE` takes all; commands that are not listed none.
const TAKEN: &[(&str, &[&str])] = &[
    (
        "search",
        &[
            "store",
            "json",
            "model",
            "pool_factor",
            "profile",
            "engine",
            "device",
        ],
    ),
    (
        "show",
        &[
            "store",
            "json",
            "model",
            "pool_factor",
            "profile",
            "engine",
            "device",
        ],
    ),
    ("list", &["store", "json", "model", "pool_factor"]),
    ("remove", &["store", "model", "pool_factor"]),
    ("sync", &["store", "json", "model", "pool_factor"]),
    ("describe", &["store", "json", "model", "profile"]),
    (
        "embed",
        &[
            "model",
            "pool_factor",
            "profile",
            "engine",
            "device",
            "batch_size",
        ],
    ),
    (
        "models",
        &["store", "json", "model", "profile", "engine", "device"],
    ),
    ("bench", &ALL),
    ("bench describe", &["store", "json", "profile"]),
    ("eval", &ALL),
    ("check", &ALL),
];
/// All of them.
const ALL: [&str; 8] = [
    "store",
    "json",
    "model",
    "pool_factor",
    "profile",
    "engine",
    "device",
    "batch_size",
];

/// Whether a command takes an option, by the names of the command after `ingest`.
fn takes(command: &str, option: &str) -> bool {
    let taken = TAKEN.iter().find(|(name, _)| *name == command);
    taken.is_some_and(|(_, options)| ALWAYS.contains(&option) || options.contains(&option))
}

/// The command line, in which every command shows the options that it takes.
pub(super) fn command_line<C: CommandFactory>() -> Command {
    let root = C::command();
    let options = root.get_arguments().filter(|arg| arg.is_global_set());
    let options: Vec<Arg> = options.cloned().collect();
    root.mut_subcommands(|command| with_options(command, "", &options))
}

/// A command with the options that it does not take: hidden, because [`check`] must see them.
fn with_options(command: Command, parent: &str, options: &[Arg]) -> Command {
    let name = format!("{parent}{}", command.get_name());
    let strays = options
        .iter()
        .filter(|option| !takes(&name, option.get_id().as_str()))
        .map(|option| option.clone().hide(true));
    let name = format!("{name} ");
    command
        .args(strays)
        .mut_subcommands(|command| with_options(command, &name, options))
}

/// Refuses options that the command does not take, wherever they stand, as clap refuses unknown ones.
pub(super) fn check(root: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let (mut command, mut matches, mut names) = (root, matches, Vec::new());
    while let Some((name, inner)) = matches.subcommand() {
        let Some(inner_command) = command.find_subcommand_mut(name) else {
            return Ok(());
        };
        (command, matches) = (inner_command, inner);
        names.push(name);
    }
    let name = names.join(" ");
    let is_stray = |option: &&Arg| {
        let id = option.get_id().as_str();
        let is_given = || matches.value_source(id) == Some(ValueSource::CommandLine);
        option.is_global_set() && !takes(&name, id) && is_given()
    };
    let stray = command.get_arguments().find(is_stray);
    let flag = stray
        .and_then(Arg::get_long)
        .map(|long| format!("--{long}"));
    match flag.filter(|_| !names.is_empty()) {
        None => Ok(()),
        Some(flag) => {
            let mut error = clap::Error::new(ErrorKind::UnknownArgument).with_cmd(command);
            let usage = ContextValue::StyledStr(command.render_usage());
            error.insert(ContextKind::InvalidArg, ContextValue::String(flag));
            error.insert(ContextKind::Usage, usage);
            Err(error)
        }
    }
}
