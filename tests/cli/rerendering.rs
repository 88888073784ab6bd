//! Rendering stored pages again: only from the unchanged file, and with its password.

use crate::sandbox::{Sandbox, manual};
use crate::support::pdf;

/// A sandbox with an indexed file that was then replaced.
fn with_replaced_file() -> Sandbox {
    let sandbox = Sandbox::tiny();
    sandbox.write("m.pdf", &pdf::good(&["first document", "seal kit"]));
    assert_eq!(sandbox.run(&["m.pdf"]).code, 0);
    sandbox.write("m.pdf", &pdf::good(&["second document", "other words"]));
    sandbox
}

#[test]
fn show_rejects_a_changed_file() {
    let sandbox = with_replaced_file();
    for more in [&[][..], &["--query", "seal"]] {
        let args = [&["show", "m.pdf", "1", "--out", "x.png"], more].concat();
        let done = sandbox.run(&args);
        assert_eq!(done.code, 1, "{}", done.err);
        assert!(
            done.err.contains("m.pdf has changed since it was stored")
                && done.err.contains("m.pdf` again"),
            "{}",
            done.err
        );
        assert!(!sandbox.path("x.png").exists());
    }
    let text = sandbox.run(&["show", "m.pdf", "1"]);
    assert!(text.out.contains("first document"), "{}", text.out);
    assert_eq!(sandbox.run(&["m.pdf"]).code, 0);
    let done = sandbox.run(&["show", "m.pdf", "1", "--out", "x.png"]);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn eval_outline_rejects_a_changed_file() {
    let done = with_replaced_file().run(&["eval", "--outline", "m.pdf"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("m.pdf has changed since it was stored"),
        "{}",
        done.err
    );
}

#[test]
fn eval_outline_opens_a_protected_file() {
    let sandbox = Sandbox::tiny();
    let locked = manual("../tests/golden/pdf/locked.pdf");
    std::fs::copy(locked, sandbox.path("locked.pdf")).unwrap();
    let done = sandbox.run(&["locked.pdf", "--password", "secret"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let without = sandbox.run(&["eval", "--outline", "locked"]);
    assert!(
        without.err.contains("protected by a password") && without.err.contains("--password"),
        "{}",
        without.err
    );
    let with = sandbox.run(&["eval", "--outline", "locked", "--password", "secret"]);
    assert!(with.err.contains("it has no bookmarks"), "{}", with.err);
}

#[test]
fn render_worker_executable_ignores_the_environment() {
    let sandbox = Sandbox::tiny().with("INGEST_WORKER_EXE", "/no/such/program");
    sandbox.write("pump.pdf", &pdf::good(&["seal kit"]));
    let done = sandbox.run(&["pump.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
}
