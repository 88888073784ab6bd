//! Fixtures: stored pages, their descriptions, and runs of `ingest describe`.

use serde_json::Value;

use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::sandbox::{CommandOutput, Sandbox};
use crate::support::pdf;

pub(crate) const PAGES: [&str; 3] = ["reset the alarm", "part 40-1177", "E-104 no flow"];

/// Reply with a description that differs for each page.
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

/// Correct reply: one object, or an array for several pages.
pub(crate) fn correct(pages: &[u32]) -> Reply {
    let all: Vec<String> = pages.iter().map(|&page| description(page)).collect();
    match &all[..] {
        [one] => Reply::Answer(one.clone()),
        all => Reply::Answer(format!("[{}]", all.join(", "))),
    }
}

/// A library with the pages of [`PAGES`].
pub(crate) fn library() -> Sandbox {
    library_of(&PAGES)
}

/// A library with pages of these texts; an empty text is a blank page.
pub(crate) fn library_of(pages: &[&str]) -> Sandbox {
    let sandbox = Sandbox::tiny();
    let drawn = |text: &&str| match text.is_empty() {
        true => (pdf::PLAIN, Vec::new()),
        false => (pdf::PLAIN, pdf::text_content(text)),
    };
    let pages: Vec<_> = pages.iter().map(drawn).collect();
    sandbox.write("pump.pdf", &pdf::pages(&pages, ""));
    let done = sandbox.run(&["pump.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
    sandbox
}

pub(crate) fn runner(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => "openai",
        Dialect::Ollama => "ollama",
    }
}

/// Runs `ingest describe` with a server.
pub(crate) fn describe(
    sandbox: &Sandbox,
    dialect: Dialect,
    fake: &FakeServer,
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
    sandbox.run(&[&args[..], more].concat())
}

/// Runs `ingest describe --json`: exit code and report.
pub(crate) fn describe_json(
    sandbox: &Sandbox,
    dialect: Dialect,
    fake: &FakeServer,
    more: &[&str],
) -> (i32, Value) {
    let done = describe(sandbox, dialect, fake, &[more, &["--json"]].concat());
    (done.code, done.json())
}
