//! The commands: what was typed, dispatched. One file a subcommand.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{FromArgMatches, Parser, Subcommand};

use crate::diagnostic::{Diagnostic, USAGE};

mod bench;
mod check;
mod describe;
mod describe_run;
mod dry_run;
mod embed;
mod eval;
mod ingest;
mod interrupt;
mod list;
mod models;
mod options;
mod progress;
mod rates;
mod remove;
mod run;
mod search;
mod shell;
mod show;
mod sync;
mod temporary;
mod ui;

use options::Common;
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

/// Writes a text file.
fn write(file: &Path, text: &str) -> Result<(), Diagnostic> {
    std::fs::write(file, text).map_err(|e| Diagnostic::new(format!("{}: {e}", file.display())))
}

/// The names of the commands.
fn commands() -> Vec<String> {
    let command = command_line();
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    shown.map(|c| c.get_name().to_owned()).collect()
}

fn command_line() -> clap::Command {
    options::command_line::<Cli>()
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = command_line();
    let matches = command.try_get_matches_from_mut(args)?;
    options::check(&mut command, &matches)?;
    Cli::from_arg_matches(&matches)
}

/// Runs the program: parses, dispatches, tells what went wrong, returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(args) {
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

fn dispatch(ui: &mut Ui, cli: Cli) -> Result<ExitCode, Diagnostic> {
    let common = &cli.common;
    let done = |result: Result<(), Diagnostic>| result.map(|()| ExitCode::SUCCESS);
    if cli.command.is_some() && !cli.ingest.paths.is_empty() {
        let stray = cli.ingest.paths[0].display();
        return Err(Diagnostic::usage(format!(
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
        Some(Command::Completions(args)) => done(shell::completions(ui, command_line(), &args)),
        Some(Command::Man(_)) => done(shell::man(ui, command_line())),
        Some(Command::RenderWorker) => Ok(crate::render::worker::serve()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command_line().debug_assert();
    }

    fn parsed(args: &[&str]) -> Result<Cli, clap::Error> {
        let args = [&["ingest"], args].concat();
        parse(args.into_iter().map(OsString::from))
    }

    #[test]
    fn files_and_commands_live_side_by_side() {
        let cli = parsed(&["a.pdf", "b.pdf", "--batch-size", "8"]).unwrap();
        assert_eq!(
            (cli.ingest.paths.len(), cli.common.batch_size),
            (2, vec![8])
        );
        let cli = parsed(&["search", "reset the panel", "--store", "x.db"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Search(_))));
        assert!(parsed(&["--no-such-flag"]).is_err());
    }

    #[test]
    fn options_stand_before_a_command_or_after_it() {
        for args in [
            ["--json", "list", "--store", "x.db"],
            ["--store", "x.db", "list", "--json"],
            ["--store", "x.db", "--json", "list"],
        ] {
            let cli = parsed(&args).unwrap();
            assert_eq!(
                (cli.common.json, cli.common.store),
                (true, vec!["x.db".to_owned()])
            );
        }
    }

    #[test]
    fn a_command_refuses_options_that_it_does_not_take() {
        for (args, flag) in [
            (&["list", "--batch-size", "4"][..], "--batch-size"),
            (&["--engine", "mlx", "remove", "pump"], "--engine"),
            (&["remove", "pump", "--json"], "--json"),
            (&["describe", "--device", "cpu"], "--device"),
            (
                &[
                    "bench",
                    "describe",
                    "--candidate",
                    "ollama=x",
                    "--model",
                    "y",
                ],
                "--model",
            ),
            (&["man", "--quiet"], "--quiet"),
        ] {
            let error = parsed(args).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::UnknownArgument);
            let text = error.to_string();
            let says = format!("error: unexpected argument '{flag}' found");
            assert!(text.starts_with(&says), "{text}");
            assert!(
                text.contains(&format!(
                    "Usage: ingest {}",
                    args.iter()
                        .find(|a| !a.starts_with('-') && **a != "mlx")
                        .unwrap()
                )),
                "{text}"
            );
        }
    }

    #[test]
    fn help_shows_the_options_that_a_command_takes() {
        let help = |args: &[&str]| parsed(args).unwrap_err().to_string();
        let long = help(&["list", "--help"]);
        assert!(
            long.contains("Global options:") && long.contains("--pool-factor"),
            "{long}"
        );
        assert!(
            !long.contains("--batch-size") && !long.contains("--device"),
            "{long}"
        );
        let short = help(&["list", "-h"]);
        assert!(!short.contains("--store"), "{short}");
    }
}
