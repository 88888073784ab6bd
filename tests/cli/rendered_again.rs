//! Pages that are rendered again: only from the file that was stored, and with its password.

use crate::desk::{Desk, manual};
use crate::support::pdf;

/// A stored file, replaced by another one.
fn replaced() -> Desk {
    let desk = Desk::tiny();
    desk.write("m.pdf", &pdf::good(&["first document", "seal kit"]));
    assert_eq!(desk.run(&["m.pdf"]).code, 0);
    desk.write("m.pdf", &pdf::good(&["second document", "other words"]));
    desk
}

#[test]
fn show_refuses_a_file_that_has_changed() {
    let desk = replaced();
    for more in [&[][..], &["--query", "seal"]] {
        let args = [&["show", "m.pdf", "1", "--out", "x.png"], more].concat();
        let done = desk.run(&args);
        assert_eq!(done.code, 1, "{}", done.err);
        assert!(
            done.err.contains("m.pdf has changed since it was stored")
                && done.err.contains("m.pdf` again"),
            "{}",
            done.err
        );
        assert!(!desk.path("x.png").exists());
    }
    let text = desk.run(&["show", "m.pdf", "1"]);
    assert!(text.out.contains("first document"), "{}", text.out);
    assert_eq!(desk.run(&["m.pdf"]).code, 0);
    let done = desk.run(&["show", "m.pdf", "1", "--out", "x.png"]);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn an_outline_is_not_read_from_a_file_that_has_changed() {
    let done = replaced().run(&["eval", "--outline", "m.pdf"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("m.pdf has changed since it was stored"),
        "{}",
        done.err
    );
}

#[test]
fn an_outline_opens_with_its_password() {
    let desk = Desk::tiny();
    let locked = manual("../tests/golden/pdf/locked.pdf");
    std::fs::copy(locked, desk.path("locked.pdf")).unwrap();
    let done = desk.run(&["locked.pdf", "--password", "secret"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let without = desk.run(&["eval", "--outline", "locked"]);
    assert!(
        without.err.contains("protected by a password") && without.err.contains("--password"),
        "{}",
        without.err
    );
    let with = desk.run(&["eval", "--outline", "locked", "--password", "secret"]);
    assert!(with.err.contains("it has no bookmarks"), "{}", with.err);
}

#[test]
fn render_workers_are_this_program_whatever_the_environment_says() {
    let desk = Desk::tiny().with("INGEST_WORKER_EXE", "/no/such/program");
    desk.write("pump.pdf", &pdf::good(&["seal kit"]));
    let done = desk.run(&["pump.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
}
