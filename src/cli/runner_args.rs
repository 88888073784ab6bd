//! The options that choose the vision-language model of a command.

use crate::diagnostic::Diagnostic;
use crate::vlm::{self, RunnerKind};

/// The runner; its model is `--model`.
#[derive(clap::Args, Debug)]
pub(super) struct RunnerArgs {
    /// Program that runs the model
    #[arg(long, value_enum)]
    runner: Option<RunnerKind>,
    /// Base URL of the server
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl RunnerArgs {
    /// Whether the address of a server is given.
    pub(super) fn has_url(&self) -> bool {
        self.url.is_some()
    }

    /// Overrides the settings of the runner.
    pub(super) fn override_config(&self, config: &mut vlm::Config, model: Option<&str>) {
        if self.runner.is_some() || self.url.is_some() {
            // `describe.command` starts the configured server, not the one given by these options.
            config.command.clear();
        }
        config.runner = self.runner.unwrap_or(config.runner);
        config.url = self.url.clone().unwrap_or(std::mem::take(&mut config.url));
        config.model = model.map_or_else(|| std::mem::take(&mut config.model), str::to_owned);
    }
}

/// Checks settings that options have overridden.
pub(super) fn validated(config: &vlm::Config) -> Result<(), Diagnostic> {
    let valid = config.validate();
    valid.map_err(|e| Diagnostic::usage(format!("--{} {}", e.key, e.reason)))
}
