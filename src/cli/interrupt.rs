//! Ctrl-C (SIGINT): the first one stops the run after the current batch, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::diagnostic::Diagnostic;

/// Set by the first Ctrl-C: stop after the current batch.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handler: the first Ctrl-C sets [`STOP`], the second exits. May be called once per process.
pub(super) fn install_handler() -> Result<(), Diagnostic> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            exit_now();
        }
    })
    .map_err(|e| Diagnostic::new(format!("cannot handle Ctrl-C: {e}")))
}

#[expect(
    clippy::exit,
    reason = "a second Ctrl-C; the transactions of the store leave nothing half-written"
)]
fn exit_now() {
    super::temporary::remove_all();
    crate::vlm::kill_servers();
    std::process::exit(130);
}
