//! The commands: what was typed, dispatched. One file a subcommand.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Settings, Sources};
use crate::embed::{Device, Engine};
use crate::report::{Report, USAGE};

mod bench;
mod check;
mod describe;
mod describe_run;
mod dry_run;
mod embed;
mod eval;
mod html;
mod ingest;
mod interrupt;
mod list;
mod models;
mod progress;
mod rates;
mod remove;
mod run;
mod search;
mod shell;
mod show;
mod sync;
mod table;
mod temporary;
mod ui;

use ui::Ui;

/// Make shelves of PDF manuals searchable by page, from the pixels of the page
///
/// `ingest manuals/*.pdf` stores every page, `ingest search "…"` finds the page that answers.
#[derive(Parser, Debug)]
#[command(
    name = "ingest",
    version,
    arg_required_else_help = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    ingest: ingest::IngestArgs,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand, Debug)]
enum Command {
    Search(search::SearchArgs),
    Show(show::ShowArgs),
    List(list::ListArgs),
    Remove(remove::RemoveArgs),
    Sync(sync::SyncArgs),
    Describe(describe::DescribeArgs),
    Embed(embed::EmbedArgs),
    Models(models::ModelsArgs),
    Bench(bench::BenchArgs),
    Eval(eval::EvalArgs),
    Check(check::CheckArgs),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
    /// Render pages for another process of this program
    #[command(hide = true)]
    RenderWorker,
}

/// What every command heeds.
#[derive(clap::Args, Debug)]
struct Common {
    /// Where pages are kept: a SQLite file, or the http(s):// addresses of a Weaviate cluster, commas between
    #[arg(long, global = true, value_name = "STORE")]
    store: Vec<String>,
    /// `built-in`, a hub id such as vidore/colqwen2.5-v0.2, or a folder with a checkpoint
    #[arg(long, global = true, value_name = "MODEL")]
    model: Vec<String>,
    /// What computes ColQwen
    #[arg(long, global = true, value_enum)]
    engine: Option<Engine>,
    /// Where the model runs
    #[arg(long, global = true, value_enum, value_delimiter = ',')]
    device: Vec<Device>,
    /// Pages a batch holds; shrinks before memory runs out
    #[arg(long, global = true, value_name = "PAGES", value_delimiter = ',')]
    batch_size: Vec<u32>,
    /// Keep a page's rows at one in so many, each the mean of rows that resemble each other
    #[arg(long, global = true, value_name = "FACTOR", value_parser = clap::value_parser!(u32).range(1..=64))]
    pool_factor: Option<u32>,
    /// Named limits of the configuration, such as `studio`
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// A configuration file to lay over the others
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing but what failed
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Say more
    #[arg(long, short, global = true)]
    verbose: bool,
}

/// One combination of the flags that `bench` and `eval` vary.
#[derive(Clone, Debug, Default)]
struct Choice {
    store: Option<String>,
    model: Option<String>,
    device: Option<Device>,
    batch_size: Option<u32>,
    workers: Option<u32>,
}

impl Common {
    /// The settings; only `bench` and `eval` take several values of a flag.
    fn settings(&self) -> Result<Settings, Report> {
        let many = [
            ("--store", self.store.len()),
            ("--model", self.model.len()),
            ("--device", self.device.len()),
            ("--batch-size", self.batch_size.len()),
        ];
        if let Some((flag, _)) = many.iter().find(|(_, values)| *values > 1) {
            return Err(Report::usage(format!("{flag} takes one value here"))
                .hint("`ingest bench` and `ingest eval` compare several"));
        }
        self.settings_for(&self.choices(&[])[0])
    }

    /// The model that was named.
    fn model(&self) -> Option<&str> {
        self.model.first().map(String::as_str)
    }

    /// Every combination of the values given; what was not given is left to the settings.
    fn choices(&self, workers: &[u32]) -> Vec<Choice> {
        fn or_none<T: Clone>(values: &[T]) -> Vec<Option<T>> {
            match values {
                [] => vec![None],
                values => values.iter().cloned().map(Some).collect(),
            }
        }
        let mut all = vec![Choice::default()];
        let mut vary = |change: &dyn Fn(&Choice) -> Vec<Choice>| {
            all = all.iter().flat_map(change).collect();
        };
        vary(&|c| {
            or_none(&self.store)
                .into_iter()
                .map(|store| Choice { store, ..c.clone() })
                .collect()
        });
        vary(&|c| {
            or_none(&self.model)
                .into_iter()
                .map(|model| Choice { model, ..c.clone() })
                .collect()
        });
        vary(&|c| {
            or_none(&self.device)
                .into_iter()
                .map(|device| Choice {
                    device,
                    ..c.clone()
                })
                .collect()
        });
        vary(&|c| {
            or_none(&self.batch_size)
                .into_iter()
                .map(|batch_size| Choice {
                    batch_size,
                    ..c.clone()
                })
                .collect()
        });
        vary(&|c| {
            or_none(workers)
                .into_iter()
                .map(|workers| Choice {
                    workers,
                    ..c.clone()
                })
                .collect()
        });
        all
    }

    fn settings_for(&self, choice: &Choice) -> Result<Settings, Report> {
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

/// The names of the commands.
fn commands() -> Vec<String> {
    let command = Cli::command();
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    shown.map(|c| c.get_name().to_owned()).collect()
}

/// Runs the program: parses, dispatches, tells what went wrong, returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { USAGE } else { 0 };
            drop(e.print());
            return code.into();
        }
    };
    let mut ui = Ui::new(&cli.common);
    match dispatch(&mut ui, cli) {
        Ok(code) => code,
        Err(report) => {
            ui.report(&report);
            report.exit.into()
        }
    }
}

fn dispatch(ui: &mut Ui, cli: Cli) -> Result<ExitCode, Report> {
    let common = &cli.common;
    let done = |result: Result<(), Report>| result.map(|()| ExitCode::SUCCESS);
    if cli.command.is_some() && !cli.ingest.paths.is_empty() {
        let stray = cli.ingest.paths[0].display();
        return Err(Report::usage(format!(
            "`{stray}` stands before a command; commands come first"
        )));
    }
    match cli.command {
        None => ingest::run(ui, common, &cli.ingest),
        Some(Command::Search(args)) => search::run(ui, common, &args),
        Some(Command::Show(args)) => done(show::run(ui, common, &args)),
        Some(Command::List(args)) => done(list::run(ui, common, &args)),
        Some(Command::Remove(args)) => done(remove::run(ui, common, &args)),
        Some(Command::Sync(args)) => sync::run(ui, common, &args),
        Some(Command::Describe(args)) => describe::run(ui, common, &args),
        Some(Command::Embed(args)) => embed::run(ui, common, &args),
        Some(Command::Models(args)) => done(models::run(ui, common, &args)),
        Some(Command::Bench(args)) => bench::run(ui, common, &args),
        Some(Command::Eval(args)) => done(eval::run(ui, common, &args)),
        Some(Command::Check(args)) => check::run(ui, common, &args),
        Some(Command::Completions(args)) => done(shell::completions(ui, Cli::command(), &args)),
        Some(Command::Man(_)) => done(shell::man(ui, Cli::command())),
        Some(Command::RenderWorker) => Ok(crate::render::worker::serve()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn files_and_commands_live_side_by_side() {
        let cli = Cli::try_parse_from(["ingest", "a.pdf", "b.pdf", "--batch-size", "8"]).unwrap();
        assert_eq!(
            (cli.ingest.paths.len(), cli.common.batch_size),
            (2, vec![8])
        );
        let cli = Cli::try_parse_from(["ingest", "search", "reset the panel", "--store", "x.db"])
            .unwrap();
        assert!(matches!(cli.command, Some(Command::Search(_))));
        assert!(Cli::try_parse_from(["ingest", "--no-such-flag"]).is_err());
    }
}
