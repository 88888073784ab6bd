//! `ingest mcp`: the library as tools of an assistant.

use std::io::IsTerminal;

use crate::diagnostic::Diagnostic;
use crate::web;

use super::Common;
use super::passwords::PasswordArgs;
use super::ui::Ui;

/// Give an assistant tools to search, show and read the manuals (Model Context Protocol)
///
/// An assistant starts this command itself, and talks with it over stdin and stdout; the README says how to tell it. The tools
/// only read. `ingest serve` has the same at URL/mcp.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest mcp
  ingest mcp --store library.db
  claude mcp add ingest -- ingest mcp")]
pub(super) struct McpArgs {
    #[command(flatten)]
    passwords: PasswordArgs,
}

pub(super) fn run(ui: &Ui, common: &Common, args: &McpArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let passwords = args.passwords.read()?;
    if std::io::stdin().is_terminal() {
        ui.info(
            "waiting for an assistant on stdin: it starts this command itself (Ctrl-C ends it)",
        );
    }
    Ok(web::serve_assistant(&settings, &passwords)?)
}
