//! Errors of the interface: `application/problem+json` (RFC 9457) with hints.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::{answer, embed, library, search, store};

/// A failed request.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    kind: &'static str,
    detail: String,
    hints: Vec<String>,
}

/// What a failed request answers.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct ProblemBody {
    /// Stable name of the kind of error.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened.
    detail: String,
    /// What can be done.
    hints: Vec<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            hints: Vec::new(),
        }
    }

    /// A request that cannot be understood.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail)
            .hint("the interface is described in `api/v1/openapi.json`")
    }

    /// The server has as many questions as it can hold.
    pub(super) fn busy() -> Self {
        let detail = "the server is busy with other questions";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).hint("ask again in a second")
    }

    /// Something that should not happen.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            .hint("the log of the server may say more; please report it")
    }

    /// Whether nothing is stored yet.
    pub(super) fn is_empty_library(&self) -> bool {
        self.kind == "empty-library"
    }

    /// Stable name of the kind of error.
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether the model cannot be opened, or failed.
    pub(super) fn is_model_unavailable(&self) -> bool {
        self.kind == "model-unavailable"
    }

    /// Whether a page is not stored.
    pub(super) fn is_absent_page(&self) -> bool {
        self.kind == "no-such-page"
    }

    /// Whether the server was too busy.
    pub(super) fn is_busy(&self) -> bool {
        self.kind == "busy"
    }

    /// No page was found for an answer.
    pub(super) fn no_pages() -> Self {
        let detail = "no page was found that could answer";
        Self::new(StatusCode::NOT_FOUND, "no-such-page", detail).hint("ask in other words")
    }

    /// There is no model that could answer.
    pub(super) fn no_model(why: Diagnostic) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE, "no-answering-model", why).hint(
            "start a model that reads pages, such as `ollama run qwen2.5vl:3b`, and set it in `[describe]`",
        )
    }

    /// What is sent for it.
    pub(super) fn into_body(self) -> ProblemBody {
        let title = self.status.canonical_reason().unwrap_or_default();
        ProblemBody {
            r#type: format!("urn:ingest:{}", self.kind),
            title: title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            hints: self.hints,
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The message and the hints of an error, with a status.
    fn of(status: StatusCode, kind: &'static str, error: impl Into<Diagnostic>) -> Self {
        let Diagnostic { message, hints, .. } = error.into();
        Self {
            status,
            kind,
            detail: message,
            hints,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self.into_body())).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        let (status, kind) = match &error {
            store::Error::Empty { .. } | store::Error::NoCollection { .. } => {
                (StatusCode::NOT_FOUND, "empty-library")
            }
            store::Error::Locked { .. } => (StatusCode::CONFLICT, "locked"),
            store::Error::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            store::Error::Unavailable { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable")
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "store-failed"),
        };
        Self::of(status, kind, error)
    }
}

impl From<answer::Error> for Problem {
    fn from(error: answer::Error) -> Self {
        match error {
            answer::Error::Runner(why) => Self::no_model(why.into()),
            error => Self::of(StatusCode::BAD_GATEWAY, "no-answer", error),
        }
    }
}

impl From<embed::Error> for Problem {
    fn from(error: embed::Error) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE, "model-unavailable", error)
    }
}

impl From<search::Error> for Problem {
    fn from(error: search::Error) -> Self {
        match error {
            search::Error::Embed(error) => error.into(),
            search::Error::Store(error) => error.into(),
            search::Error::Empty => Self::of(StatusCode::BAD_REQUEST, "empty-question", error)
                .hint("write a question into `q`"),
            search::Error::NoTextVectors(_)
            | search::Error::UnknownWords(_)
            | search::Error::OtherTextModel { .. } => {
                Self::of(StatusCode::CONFLICT, "no-meaning", error)
            }
            search::Error::Unreadable => Self::of(StatusCode::CONFLICT, "unreadable", error),
        }
    }
}

impl From<library::Error> for Problem {
    fn from(error: library::Error) -> Self {
        let (status, kind) = match error {
            library::Error::Embed(error) => return error.into(),
            library::Error::Store(error) => return error.into(),
            library::Error::NoManual { .. } => (StatusCode::NOT_FOUND, "no-such-manual"),
            library::Error::NoPage(_)
            | library::Error::NoId(_)
            | library::Error::NoPages(_)
            | library::Error::NoLabel { .. } => (StatusCode::NOT_FOUND, "no-such-page"),
            library::Error::File(store::FileError::Unreadable { .. }) => {
                (StatusCode::GONE, "file-moved")
            }
            library::Error::File(_) => {
                return Self::of(StatusCode::GONE, "file-changed", error)
                    .hint("add the file again");
            }
            library::Error::Manual { .. } => {
                return Self::of(StatusCode::GONE, "file-unreadable", error)
                    .hint("add the file again");
            }
            library::Error::Page { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "page-not-drawn"),
            library::Error::Render(_)
            | library::Error::Prepare(_)
            | library::Error::Embedding(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "rendering-failed")
            }
        };
        Self::of(status, kind, error)
    }
}
