//! The command-line interface: parsing and dispatch; one file per subcommand.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{FromArgMatches, Parser, Subcommand};

use crate::diagnostic::{Diagnostic, USAGE};

mod arguments;
mod ask;
mod bench;
mod check;
mod describe;
mod describe_queue;
mod describe_run;
mod distribute;
mod dry_run;
mod embed;
mod eval;
mod ingest;
mod interrupt;
mod list;
mod mcp;
mod models;
mod options;
mod output_file;
mod passwords;
mod progress;
mod queue;
mod rates;
mod reading_args;
mod remove;
mod run;
mod runner_args;
mod search;
mod self_test;
mod serve;
mod shell;
mod show;
mod supported;
mod sync;
mod temporary;
mod ui;
mod work;

use options::Common;
use ui::Ui;

/// Search PDF manuals by page, using page images (ColPali-style multi-vectors)
///
/// `ingest FILE…` indexes PDF files, images and folders; `ingest search QUERY` finds the pages that answer a query.
#[derive(Parser, Debug)]
#[command(
    name = "ingest",
    version,
    arg_required_else_help = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  ingest manuals/*.pdf
  ingest manuals/*.pdf --dry-run
  ingest search \"What does fault code E-108 mean?\""
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
    Ask(ask::AskArgs),
    Show(show::ShowArgs),
    List(list::ListArgs),
    Remove(remove::RemoveArgs),
    Sync(sync::SyncArgs),
    Describe(describe::DescribeArgs),
    Embed(embed::EmbedArgs),
    Models(models::ModelsArgs),
    Bench(Box<bench::BenchArgs>),
    Eval(eval::EvalArgs),
    Serve(serve::ServeArgs),
    Mcp(mcp::McpArgs),
    Work(work::WorkArgs),
    Queue(queue::QueueArgs),
    Check(check::CheckArgs),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
    /// Render pages for the parent process
    #[command(hide = true)]
    RenderWorker,
}

/// Writes a text file.
fn write(file: &Path, text: &str) -> Result<(), Diagnostic> {
    output_file::write(file, text.as_bytes())
}

fn command_line() -> clap::Command {
    options::command_line::<Cli>()
}

fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = match try_parse(args) {
        Err(error) => match arguments::with_query_last(args) {
            Some(args) => try_parse(&args),
            None => Err(error),
        },
        matches => matches,
    };
    Cli::from_arg_matches(&matches.map_err(arguments::name_count_option)?)
}

fn try_parse(args: &[OsString]) -> Result<clap::ArgMatches, clap::Error> {
    let mut command = command_line();
    let matches = command.try_get_matches_from_mut(args)?;
    options::reject_unsupported(&mut command, &matches)?;
    Ok(matches)
}

/// Parses the arguments, runs the command, prints its error and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => {
            ui::print_clap(&e);
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            match arguments::guessed_command_of(&args) {
                Some(diagnostic) => Ui::new(&Common::default()).report(&diagnostic),
                None => ui::print_clap(&e),
            }
            return USAGE.into();
        }
    };
    let mut ui = Ui::new(&cli.common);
    match dispatch(&mut ui, cli) {
        Ok(code) => code,
        Err(diagnostic) => {
            ui.report(&diagnostic);
            diagnostic.exit.into()
        }
    }
}

fn dispatch(ui: &mut Ui, cli: Cli) -> Result<ExitCode, Diagnostic> {
    let common = &cli.common;
    let done = |result: Result<(), Diagnostic>| result.map(|()| ExitCode::SUCCESS);
    if cli.command.is_some() && !cli.ingest.paths.is_empty() {
        let argument = cli.ingest.paths[0].display();
        return Err(Diagnostic::usage(format!(
            "unexpected argument `{argument}` before the command"
        )));
    }
    match cli.command {
        None => ingest::run(ui, common, &cli.ingest),
        Some(Command::Search(args)) => search::run(ui, common, &args),
        Some(Command::Ask(args)) => ask::run(ui, common, &args),
        Some(Command::Show(args)) => done(show::run(ui, common, &args)),
        Some(Command::List(args)) => done(list::run(ui, common, &args)),
        Some(Command::Remove(args)) => done(remove::run(ui, common, &args)),
        Some(Command::Sync(args)) => sync::run(ui, common, &args),
        Some(Command::Describe(args)) => describe::run(ui, common, &args),
        Some(Command::Embed(args)) => embed::run(ui, common, &args),
        Some(Command::Models(args)) => done(models::run(ui, common, &args)),
        Some(Command::Bench(args)) => bench::run(ui, common, &args),
        Some(Command::Eval(args)) => done(eval::run(ui, common, &args)),
        Some(Command::Serve(args)) => done(serve::run(ui, common, &args)),
        Some(Command::Mcp(args)) => done(mcp::run(ui, common, &args)),
        Some(Command::Work(args)) => work::run(ui, common, &args),
        Some(Command::Queue(args)) => done(queue::run(ui, common, &args)),
        Some(Command::Check(args)) => check::run(ui, common, &args),
        Some(Command::Completions(args)) => done(shell::completions(
            ui,
            options::for_completions::<Cli>(),
            &args,
        )),
        Some(Command::Man(_)) => done(shell::man(ui, command_line())),
        Some(Command::RenderWorker) => Ok(crate::render::worker::serve()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_passes_clap_assertions() {
        command_line().debug_assert();
    }

    fn parsed(args: &[&str]) -> Result<Cli, clap::Error> {
        let args = [&["ingest"], args].concat();
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        parse(&args)
    }

    #[test]
    fn first_argument_is_a_file_or_a_command() {
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
    fn global_options_are_accepted_before_and_after_the_command() {
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
    fn unsupported_global_options_are_rejected() {
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
            let expected = format!("error: unexpected argument '{flag}' found");
            assert!(text.starts_with(&expected), "{text}");
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
    fn help_lists_supported_global_options_only() {
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
