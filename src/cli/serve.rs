//! `ingest serve`: the library in a browser, and a REST interface.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::web;

use super::Common;
use super::interrupt::{self, STOP};
use super::passwords::PasswordArgs;
use super::ui::Ui;

/// Environment variable with the key of the server.
const KEY_VARIABLE: &str = "INGEST_SERVE_KEY";

/// Show the library in a browser, and serve it to other programs
///
/// Prints one URL. Files can be dropped on the page; every action is a REST call, described at URL/api/v1/openapi.json.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest serve --open
  ingest serve manuals/ --store library.db
  INGEST_SERVE_KEY=… ingest serve --address 0.0.0.0:7878")]
pub(super) struct ServeArgs {
    /// PDF file, image or folder to index first (can be repeated)
    #[arg(value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    address: Option<std::net::SocketAddr>,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    passwords: PasswordArgs,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &ServeArgs) -> Result<(), Diagnostic> {
    let mut settings = common.settings()?;
    if let Some(address) = args.address {
        settings.serve.address = address;
    }
    let options = web::Options {
        key: key(&settings)?,
        passwords: args.passwords.read()?,
        paths: args.paths.clone(),
    };
    interrupt::install_handler()?;
    let mut printed = Ok(());
    web::serve(&settings, options, &STOP, |url| {
        printed = ui.text(url);
        if args.open {
            open_browser(ui, url);
        }
    })?;
    printed
}

/// The key of the server; `None` if there is none.
fn key(settings: &Settings) -> Result<Option<String>, Diagnostic> {
    if let Ok(key) = std::env::var(KEY_VARIABLE) {
        return Ok(Some(key).filter(|key| !key.is_empty()));
    }
    let Some(file) = &settings.serve.key_file else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|why| {
        Diagnostic::usage(format!("{}: the key cannot be read: {why}", file.display()))
    })?;
    match text.trim() {
        "" => Err(Diagnostic::usage(format!(
            "{}: there is no key in it",
            file.display()
        ))),
        key => Ok(Some(key.to_owned())),
    }
}

/// Opens a URL with the program of the desktop.
fn open_browser(ui: &Ui, url: &str) {
    let program = match cfg!(target_os = "macos") {
        true => "open",
        false => "xdg-open",
    };
    let mut command = Command::new(program);
    let quiet = command
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Err(why) = quiet.spawn() {
        ui.warn(format!(
            "`{program}` cannot be started ({why}): open the URL yourself"
        ));
    }
}
