//! Stored pages, a server, and the program between them.

use serde_json::Value;

use crate::fake::{Dialect, Fake};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::support::pdf;

pub(crate) const PAGES: [&str; 3] = ["reset the alarm", "part 40-1177", "E-104 no flow"];

/// A description that says something of its own about each page.
pub(crate) fn description(page: u32) -> String {
    let (title, summary, code) = match page {
        1 => (
            "Resetting the alarm",
            "How somebody silences the buzzer of the panel.",
            "K-1",
        ),
        2 => (
            "Spare parts",
            "Which gaskets can be ordered for the compressor.",
            "40-1177",
        ),
        3 => (
            "Fault codes",
            "Why the circulator stands still in winter.",
            "E-104",
        ),
        _ => (
            "Another page",
            "Something else that is written on this page.",
            "Z-9",
        ),
    };
    format!(
        "{{\"page\": {page}, \"rotation\": 0, \"legible\": true, \"title\": \"{title}\", \"summary\": \"{summary} ({page})\", \
         \"topics\": [\"maintenance\"], \"identifiers\": [\"{code}\"], \"language\": \"en\"}}"
    )
}

/// Three pages, stored.
pub(crate) fn shelf() -> Sandbox {
    shelf_of(&PAGES)
}

/// Pages that say something, or are blank, stored.
pub(crate) fn shelf_of(pages: &[&str]) -> Sandbox {
    let desk = Sandbox::tiny();
    let drawn = |text: &&str| match text.is_empty() {
        true => (pdf::PLAIN, Vec::new()),
        false => (pdf::PLAIN, pdf::says(text)),
    };
    let pages: Vec<_> = pages.iter().map(drawn).collect();
    desk.write("pump.pdf", &pdf::pages(&pages, ""));
    let done = desk.run(&["pump.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
    desk
}

pub(crate) fn runner(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => "openai",
        Dialect::Ollama => "ollama",
    }
}

/// Describes with a server.
pub(crate) fn describe(
    desk: &Sandbox,
    dialect: Dialect,
    fake: &Fake,
    more: &[&str],
) -> CommandOutput {
    let args = [
        "describe",
        "--runner",
        runner(dialect),
        "--url",
        &fake.url,
        "--model",
        "tiny",
    ];
    desk.run(&[&args[..], more].concat())
}

/// The JSON of a run.
pub(crate) fn tally(desk: &Sandbox, dialect: Dialect, fake: &Fake, more: &[&str]) -> (i32, Value) {
    let done = describe(desk, dialect, fake, &[more, &["--json"]].concat());
    (done.code, done.json())
}
