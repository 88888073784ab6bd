//! Shell completions and the man page, generated from the clap command.

use clap::Command;
use clap_complete::Shell;

use crate::diagnostic::Diagnostic;

use super::ui::Ui;

/// Print completions for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest completions bash > ~/.local/share/bash-completion/completions/ingest
  ingest completions zsh > ~/.zfunc/_ingest
  ingest completions fish > ~/.config/fish/completions/ingest.fish")]
pub(super) struct CompletionsArgs {
    /// Shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the man page
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest man | man -l -
  ingest man > ~/.local/share/man/man1/ingest.1")]
pub(super) struct ManArgs {}

pub(super) fn completions(
    ui: &Ui,
    mut command: Command,
    args: &CompletionsArgs,
) -> Result<(), Diagnostic> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "ingest", &mut script);
    ui.bytes(&script)
}

pub(super) fn man(ui: &Ui, command: Command) -> Result<(), Diagnostic> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    ui.bytes(&page)
}
