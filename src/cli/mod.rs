//! The commands.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    if args
        .into_iter()
        .nth(1)
        .is_some_and(|first| first == "render-worker")
    {
        return crate::render::worker::serve();
    }
    ExitCode::SUCCESS
}
