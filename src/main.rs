//! Binary entry point; everything else is in the library.

fn main() -> std::process::ExitCode {
    ingest::cli::run(std::env::args_os())
}
