//! Completions and the man page, made from the command line itself.

use clap::Command;
use clap_complete::Shell;

use crate::diagnostic::Diagnostic;

use super::ui::Ui;

/// Print completions for a shell
#[derive(clap::Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the man page
#[derive(clap::Args, Debug)]
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
