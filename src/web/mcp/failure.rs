//! Why a tool gave no answer, in words for a model: what happened, and what to do next. Without paths.

use rmcp::model::{CallToolResult, ContentBlock, ErrorData};

use super::super::problem::Problem;
use super::text::quoted;
use crate::library;
use crate::store::{self, ManualCard};

/// A failed call.
#[derive(Debug)]
pub(super) struct Failure {
    what: String,
    next: &'static str,
    /// Whether something was asked for that is not there.
    is_absent: bool,
}

impl Failure {
    /// Something else than what the tool takes.
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::new(
            what,
            "Call the tool again with arguments as its schema says.",
        )
    }

    /// A page that is not stored.
    pub(super) fn no_page(manual: &ManualCard, number: u32) -> Self {
        let (name, pages) = (quoted(manual.id.as_str()), manual.pages);
        let what = format!("Page {number} of {name} is not stored; the manual has {pages} pages.");
        Self::absent(
            what,
            "Pages count from 1 in the file, whatever is printed on them: use the numbers that search_manuals gives.",
        )
    }

    /// Something that is not in the library.
    pub(super) fn absent(what: impl Into<String>, next: &'static str) -> Self {
        Self {
            is_absent: true,
            ..Self::new(what, next)
        }
    }

    fn new(what: impl Into<String>, next: &'static str) -> Self {
        Self {
            what: what.into(),
            next,
            is_absent: false,
        }
    }

    fn text(&self) -> String {
        format!("{} {}", self.what, self.next)
    }

    /// Whether something was asked for that is not there.
    pub(super) fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// The result of a tool.
    pub(super) fn into_result(self) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text(self.text())])
    }

    /// The error of a resource.
    pub(super) fn into_error(self) -> ErrorData {
        match self.is_absent {
            true => ErrorData::resource_not_found(self.text(), None),
            false => ErrorData::internal_error(self.text(), None),
        }
    }
}

impl From<library::Error> for Failure {
    fn from(error: library::Error) -> Self {
        let library::Error::NoManual { name, nearest } = error else {
            return Problem::from(error).into();
        };
        let near = nearest.map(|nearest| format!(" The nearest name is {}.", quoted(&nearest)));
        let what = format!("There is no manual {}.", quoted(&name));
        Self::absent(
            what + &near.unwrap_or_default(),
            "Use a name exactly as list_manuals or search_manuals gives it.",
        )
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let (what, next) = match problem.kind() {
            "empty-library" => (
                "The library is empty.",
                "Tell the user to add manuals with `ingest FILE…` or on the page of `ingest serve`, then call again.",
            ),
            "no-such-page" => (
                "No page was found that could answer.",
                "Ask in other words.",
            ),
            "no-answering-model" => (
                "The model that answers cannot be used.",
                "Read the pages yourself with search_manuals and show_page, and tell the user to run `ingest ask`, which names the reason.",
            ),
            "no-answer" => (
                "The model gave no answer.",
                "Read the pages yourself with search_manuals and show_page.",
            ),
            "invalid-request" => (
                "An argument is out of range.",
                "Call the tool again with arguments as its schema says.",
            ),
            "busy" => ("Too many calls at once.", "Call again in a second."),
            "empty-question" => (
                "The question is empty.",
                "Call again with a question in words.",
            ),
            "no-meaning" => (
                "Nothing can be searched by meaning for this question.",
                "Call again with `mode` hybrid.",
            ),
            "unreadable" => (
                "The model of this library cannot read the letters of the question.",
                "Call again with `mode` text, or with the question in another language.",
            ),
            "file-moved" => (
                "The file of this manual is no longer where it was, so its pages cannot be drawn.",
                "Use read_page for the stored text, and tell the user to add the file again with `ingest FILE`.",
            ),
            "file-changed" | "file-unreadable" => (
                "The file of this manual has changed since it was stored, so this page cannot be drawn.",
                "Use read_page for the stored text, and tell the user to add the file again with `ingest FILE`.",
            ),
            "page-not-drawn" | "rendering-failed" => (
                "This page cannot be drawn.",
                "Use read_page for its text; `ingest show` tells the user the reason.",
            ),
            "model-unavailable" => (
                "The model that embedded this library cannot be opened.",
                "Call search_manuals with `mode` text, and tell the user to run `ingest check`.",
            ),
            "store-unavailable" => (
                "The server of the library does not answer.",
                "Tell the user to start it, then call again.",
            ),
            _ => (
                "The library could not be read.",
                "Tell the user to run `ingest check`, which names the reason.",
            ),
        };
        Self {
            is_absent: problem.is_empty_library(),
            ..Self::new(what, next)
        }
    }
}
