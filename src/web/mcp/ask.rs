//! The tool `ask`: an answer of the configured model that cites its pages. Only where a model is configured.

use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, Tool};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::asker::{AskAnswer, MAX_QUESTION, Reading, StopOnDrop};
use super::super::librarian::Desk;
use super::failure::Failure;
use super::reader::Reader;
use super::schema;
use super::text::quoted;
use crate::answer::{Citation, MAX_PAGES, Verdict};
use crate::library::Library;

pub(super) const NAME: &str = "ask";

const DESCRIPTION: &str = "\
Lets a vision-language model of the user read the best pages of the manuals and answer a question, with citations. Takes \
from seconds to minutes. Use it when you cannot look at pictures; otherwise search_manuals and show_page let you read the \
pages yourself. The answer is another model's: its numbers that do not stand on the cited pages are named.";

/// What to answer.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// The question.
    #[schemars(length(min = 1, max = MAX_QUESTION))]
    question: String,
    /// Name of the only manual to ask, as list_manuals gives it; empty: all.
    #[serde(default)]
    manual: String,
    /// Number of pages that the model reads; 0: as configured.
    #[serde(default)]
    #[schemars(range(max = MAX_PAGES))]
    pages: usize,
}

pub(super) fn tool() -> Tool {
    Tool::new(NAME, DESCRIPTION, schema::input::<Arguments>()).with_title("Ask the manuals")
}

pub(super) async fn run(
    reader: &Arc<Reader>,
    arguments: Arguments,
) -> Result<CallToolResult, Failure> {
    let asker = reader.asker.clone();
    let pages = (arguments.pages > 0).then_some(arguments.pages);
    let manuals = match arguments.manual.as_str() {
        "" => Vec::new(),
        name => vec![name.to_owned()],
    };
    let text = arguments.question.trim().to_owned();
    let question = asker.question(text, manuals.clone(), pages)?;
    let permit = asker.permit()?;
    let library = reader
        .read(move |_, library| {
            // A name that is not there is told with the nearest one.
            for name in &manuals {
                crate::library::manual_named(&*library.store, name)?;
            }
            Ok(library.clone())
        })
        .await?;
    let hits = {
        let (asker, question) = (asker.clone(), question.clone());
        let task = move |desk: &mut Desk, library: &Library| asker.hits(desk, library, &question);
        reader.ask(&library, task).await?
    };
    let reading = Reading {
        asker,
        library,
        question,
        hits,
        _permit: permit,
    };
    let stop = StopOnDrop::default();
    let flag = stop.flag();
    let answer = reader
        .read(move |_, _| Ok(reading.answer(&flag, &|_| ())?))
        .await?;
    Ok(CallToolResult::success(vec![ContentBlock::text(told(
        &answer,
    ))]))
}

/// An answer, its sources, and what to know about it.
fn told(answer: &AskAnswer) -> String {
    let AskAnswer { pages, answer, .. } = answer;
    let mut lines = vec![answer.answer.clone()];
    let (head, sources) = match answer.found {
        true => ("Sources:", &answer.citations),
        false => (
            "The pages that were read do not answer the question:",
            pages,
        ),
    };
    lines.push(head.to_owned());
    lines.extend(sources.iter().map(source));
    if answer.cut.is_some() {
        lines.push("The answer was cut: it is not whole.".to_owned());
    }
    for (verdict, what) in [
        (Verdict::NotConfirmed, "Not found on the cited pages"),
        (
            Verdict::CannotTell,
            "To be checked on the picture of the cited page",
        ),
    ] {
        let facts: Vec<&str> = answer.facts_with(verdict).collect();
        if !facts.is_empty() {
            lines.push(format!("{what}: {}.", facts.join(", ")));
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

fn source(citation: &Citation) -> String {
    let Citation { n, page, label, .. } = citation;
    let label = label.as_deref();
    let label = label.map(|label| format!(" (labelled {})", quoted(label)));
    let (manual, label) = (quoted(&citation.manual), label.unwrap_or_default());
    format!("[{n}] {manual}, page {page}{label}")
}
