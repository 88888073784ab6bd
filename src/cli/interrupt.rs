//! Ctrl-C (SIGINT): the first one asks the run to stop after the batch in hand, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::diagnostic::Diagnostic;

/// Set by the first Ctrl-C: finish the batch in hand.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

/// Installs the handler: from now on the first Ctrl-C sets [`STOP`], the second exits. Once in a process.
pub(super) fn install_handler() -> Result<(), Diagnostic> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            exit_now();
        }
    })
    .map_err(|e| Diagnostic::new(format!("Ctrl-C cannot be watched: {e}")))
}

#[expect(
    clippy::exit,
    reason = "a second Ctrl-C: nothing is half-written, the store's transactions see to that"
)]
fn exit_now() {
    super::temporary::remove_all();
    crate::vlm::kill_servers();
    std::process::exit(130);
}
