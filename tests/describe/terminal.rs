//! Answers of a model with control characters: escaped wherever they are printed.

use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::library::{describe, description, library};

/// No control character but line ends, and nothing that hides or reorders text.
fn assert_harmless(output: &str) {
    let harmful = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!output.contains(harmful), "{output:?}");
}

#[test]
fn control_characters_of_answers_are_escaped() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        let answer = description(request.pages[0]);
        let answer = answer.replace("Spare parts", r"Spare \u001b[31m parts\u202e\nnext");
        Reply::Answer(answer.replace("maintenance", r"maintenance\u0007"))
    });
    let alone = ["--interleave", "1", "--lanes", "1", "--verbose"];
    let done = describe(&sandbox, Dialect::OpenAi, &fake, &alone);
    assert_eq!(done.code, 0, "{}", done.err);
    let shown = sandbox.run(&["show", "pump.pdf", "2"]);
    let found = sandbox.run(&["search", "gaskets"]);
    for done in [&done, &shown, &found] {
        assert_harmless(&done.out);
        assert_harmless(&done.err);
    }
    for done in [&shown, &found] {
        assert!(
            done.out.contains(r"Spare \x1b[31m parts\u{202e}"),
            "{}",
            done.out
        );
    }
}
