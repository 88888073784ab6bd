//! The global options: which command supports which, and the settings they override.

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory};

use super::supported::supports;
use crate::config::{Settings, Sources};
use crate::diagnostic::Diagnostic;
use crate::embed::{self, Device, Engine};

/// The global options.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(super) struct Common {
    /// Store: a SQLite file, or the http(s):// URLs of a Weaviate cluster, separated by commas
    #[arg(long, global = true, hide_short_help = true, value_name = "STORE")]
    pub(super) store: Vec<String>,
    /// Queue of many machines: the nats:// or tls:// URLs of a NATS cluster, separated by commas
    #[arg(long, global = true, hide_short_help = true, value_name = "URL")]
    pub(super) queue: Option<String>,
    /// Model: `built-in`, a hub id such as vidore/colqwen2.5-v0.2, or a checkpoint folder
    #[arg(long, global = true, hide_short_help = true, value_name = "MODEL")]
    pub(super) model: Vec<String>,
    /// Backend that runs ColQwen
    #[arg(long, global = true, hide_short_help = true, value_enum)]
    pub(super) engine: Option<Engine>,
    /// Device that runs the model
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_enum,
        value_delimiter = ','
    )]
    pub(super) device: Vec<Device>,
    /// Pages per batch; reduced if memory is short
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "PAGES",
        value_delimiter = ','
    )]
    pub(super) batch_size: Vec<u32>,
    /// Pool each page's vectors by this factor (hierarchical token pooling); 3 keeps one third
    #[arg(long, global = true, hide_short_help = true, value_name = "FACTOR", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) pool_factor: Option<u32>,
    /// Named resource limits of the configuration, such as `studio`
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Additional configuration file, overrides the others
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true, hide_short_help = true)]
    pub(super) json: bool,
    /// Print errors only
    #[arg(long, short, global = true, hide_short_help = true)]
    pub(super) quiet: bool,
    /// Print more detail
    #[arg(long, short, global = true, hide_short_help = true)]
    pub(super) verbose: bool,
}

/// One combination of the options that `bench` and `eval` vary.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides {
    pub(super) store: Option<String>,
    pub(super) model: Option<String>,
    pub(super) device: Option<Device>,
    pub(super) batch_size: Option<u32>,
    workers: Option<u32>,
}

impl Common {
    /// Resolves the settings.
    ///
    /// # Errors
    /// When an option has several values, which only `bench` and `eval` support.
    pub(super) fn settings(&self) -> Result<Settings, Diagnostic> {
        let counts = [
            ("--store", self.store.len()),
            ("--model", self.model.len()),
            ("--device", self.device.len()),
            ("--batch-size", self.batch_size.len()),
        ];
        if let Some((flag, _)) = counts.iter().find(|(_, values)| *values > 1) {
            return Err(Diagnostic::usage(format!("{flag} takes one value here"))
                .hint("`ingest bench` and `ingest eval` compare several values"));
        }
        self.settings_for(&self.combinations(&[])[0])
    }

    /// The value of `--model`.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.first().map(String::as_str)
    }

    /// The model whose pages are read, if `--model` is given; else those of the model used last.
    ///
    /// # Errors
    /// When `--pool-factor` is given alone: it would be ignored.
    pub(super) fn selected_model<'s>(
        &self,
        settings: &'s Settings,
    ) -> Result<Option<&'s embed::Config>, Diagnostic> {
        match (self.model(), self.pool_factor) {
            (None, Some(_)) => Err(Diagnostic::usage("--pool-factor needs --model here")
                .hint("pages are read as they were stored: both options together select them")),
            (model, _) => Ok(model.map(|_| &settings.embed)),
        }
    }

    /// Returns every combination of the given values; options without a value keep their setting.
    pub(super) fn combinations(&self, workers: &[u32]) -> Vec<Overrides> {
        let all = vec![Overrides::default()];
        let all = cross(all, &self.store, |overrides, value| overrides.store = value);
        let all = cross(all, &self.model, |overrides, value| overrides.model = value);
        let all = cross(all, &self.device, |overrides, value| {
            overrides.device = value
        });
        let all = cross(all, &self.batch_size, |overrides, value| {
            overrides.batch_size = value;
        });
        cross(all, workers, |overrides, value| overrides.workers = value)
    }

    pub(super) fn settings_for(&self, overrides: &Overrides) -> Result<Settings, Diagnostic> {
        if let Some(store) = &overrides.store {
            require_address("--store", store)?;
        }
        let mut flags: Vec<(&'static str, toml::Value)> = Vec::new();
        let mut flag =
            |key, value: Option<toml::Value>| flags.extend(value.map(|value| (key, value)));
        flag("store.url", overrides.store.clone().map(Into::into));
        flag("queue.url", self.queue.clone().map(Into::into));
        flag("embed.model", overrides.model.clone().map(Into::into));
        let device = overrides.device.and_then(|d| toml::Value::try_from(d).ok());
        flag("embed.device", device);
        let engine = self.engine.and_then(|e| toml::Value::try_from(e).ok());
        flag("embed.engine", engine);
        flag("embed.pool_factor", self.pool_factor.map(Into::into));
        flag("limits.batch_size", overrides.batch_size.map(Into::into));
        flag("render.workers", overrides.workers.map(Into::into));
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

/// Checks that a store is named: the empty address is the default store, and an unset shell variable.
pub(super) fn require_address(flag: &str, address: &str) -> Result<(), Diagnostic> {
    match address.trim() {
        "" => Err(Diagnostic::usage(format!("{flag} is empty")).hint(
            "give a file, such as `library.db`, or a server, such as `http://localhost:8080`",
        )),
        _ => Ok(()),
    }
}

/// Reads a number of pages that may not be 0.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(e) => Err(format!("{e}")),
    }
}

/// Returns every combination of `all` with each value, or with `None` if there are no values.
fn cross<T: Clone>(
    all: Vec<Overrides>,
    values: &[T],
    set: impl Fn(&mut Overrides, Option<T>),
) -> Vec<Overrides> {
    let values: Vec<Option<T>> = match values {
        [] => vec![None],
        values => values.iter().cloned().map(Some).collect(),
    };
    let with = |overrides: &Overrides, value: &Option<T>| {
        let mut overrides = overrides.clone();
        set(&mut overrides, value.clone());
        overrides
    };
    all.iter()
        .flat_map(|overrides| {
            values
                .iter()
                .map(|value| with(overrides, value))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Returns the clap command; the help of each subcommand lists the options that it supports.
pub(super) fn command_line<C: CommandFactory>() -> Command {
    let root = C::command();
    let options = root.get_arguments().filter(|arg| arg.is_global_set());
    let options: Vec<Arg> = options.cloned().collect();
    root.mut_subcommands(|command| with_options(command, "", &options))
}

/// Returns the clap command for completions: each command with the options that it supports, and no others.
pub(super) fn for_completions<C: CommandFactory>() -> Command {
    let root = C::command().mut_args(|arg| arg.global(false));
    let command = C::command();
    let options = command.get_arguments().filter(|arg| arg.is_global_set());
    let options: Vec<Arg> = options.map(|arg| arg.clone().global(false)).collect();
    let visible = root.get_subcommands().filter(|c| !c.is_hide_set());
    // A new command, because a hidden subcommand cannot be taken out of one.
    Command::new("ingest")
        .version(env!("CARGO_PKG_VERSION"))
        .args(root.get_arguments())
        .subcommands(visible.map(|c| with_supported(c.clone(), "", &options)))
}

/// Adds the supported options.
fn with_supported(command: Command, parent: &str, options: &[Arg]) -> Command {
    let name = format!("{parent}{}", command.get_name());
    let supported = options
        .iter()
        .filter(|option| supports(&name, option.get_id().as_str()))
        .cloned();
    let name = format!("{name} ");
    command
        .args(supported)
        .mut_subcommands(|command| with_supported(command, &name, options))
}

/// Adds the unsupported options as hidden ones, so that [`reject_unsupported`] can report them.
fn with_options(command: Command, parent: &str, options: &[Arg]) -> Command {
    let name = format!("{parent}{}", command.get_name());
    let unsupported = options
        .iter()
        .filter(|option| !supports(&name, option.get_id().as_str()))
        .map(|option| option.clone().hide(true));
    let name = format!("{name} ");
    command
        .args(unsupported)
        .mut_subcommands(|command| with_options(command, &name, options))
}

/// Returns clap's unknown-argument error if an unsupported option is given, before or after the command.
pub(super) fn reject_unsupported(
    root: &mut Command,
    matches: &ArgMatches,
) -> Result<(), clap::Error> {
    if matches.subcommand().is_none() {
        return Ok(());
    }
    // Options of `ingest FILE` before a command.
    let of_ingest = |option: &&Arg| !option.is_global_set() && is_typed(option, matches);
    let flag = root.get_arguments().find(of_ingest).and_then(long_flag);
    if let Some(flag) = flag {
        return Err(unknown_argument(root, flag));
    }
    let (mut command, mut matches, mut names) = (root, matches, Vec::new());
    while let Some((name, inner)) = matches.subcommand() {
        let Some(inner_command) = command.find_subcommand_mut(name) else {
            return Ok(());
        };
        (command, matches) = (inner_command, inner);
        names.push(name);
    }
    let name = names.join(" ");
    let is_unsupported = |option: &&Arg| {
        option.is_global_set()
            && !supports(&name, option.get_id().as_str())
            && is_typed(option, matches)
    };
    let unsupported = command.get_arguments().find(is_unsupported);
    match unsupported.and_then(long_flag) {
        None => Ok(()),
        Some(flag) => Err(unknown_argument(command, flag)),
    }
}

/// Whether an option is given on the command line.
fn is_typed(option: &Arg, matches: &ArgMatches) -> bool {
    matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// An option as it is typed; `None` for a positional argument.
fn long_flag(option: &Arg) -> Option<String> {
    option.get_long().map(|long| format!("--{long}"))
}

fn unknown_argument(command: &mut Command, flag: String) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::UnknownArgument).with_cmd(command);
    let usage = ContextValue::StyledStr(command.render_usage());
    error.insert(ContextKind::InvalidArg, ContextValue::String(flag));
    error.insert(ContextKind::Usage, usage);
    error
}
