//! The page: HTML, styles and scripts, compiled in.

use std::sync::LazyLock;

use axum::extract::{Path as Paths, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::app::Shared;
use super::problem::Problem;

const INDEX: &str = include_str!("page/index.html");

/// A file: its name and content.
type Asset = (&'static str, &'static [u8]);

/// The files beside the page.
macro_rules! assets {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("page/", $name)))),*]
    };
}

const ASSETS: &[Asset] = &assets!["adding.js" "answer.js" "api.js" "app.css" "app.js" "base.css" "dom.js" "filters.js" "heat.js" "keys.js" "library.css" "library.js" "marks.js" "notices.js" "picture.js" "places.js" "results.js" "search.js" "server.js" "session.js" "state.js" "theme.js" "uploads.js" "viewer.css" "viewer.js" "zoom.js"];

/// Changes with any file of the page: its address.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (name, content) in ASSETS {
        hash.update(name);
        hash.update(content);
    }
    let digest = hash.finalize();
    digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
});

/// The page. Its addresses are relative to the path that the server has behind a proxy.
pub(super) async fn index(State(app): State<Shared>, headers: HeaderMap) -> Response {
    let forwarded = headers
        .get("x-forwarded-prefix")
        .and_then(|value| value.to_str().ok());
    let forwarded = forwarded
        .map(|prefix| prefix.trim_end_matches('/'))
        .filter(|prefix| is_path(prefix));
    let base = forwarded.unwrap_or(&app.access.base);
    let html = INDEX
        .replace("<base href=\"/\">", &format!("<base href=\"{base}/\">"))
        .replace("assets/", &format!("assets/{}/", *VERSION));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, html).into_response()
}

/// Whether a text is a path that can stand in HTML.
fn is_path(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-_.~%".contains(c);
    text.starts_with('/') && !text.starts_with("//") && text.chars().all(allowed)
}

/// A file of the page.
pub(super) async fn asset(Paths((_, name)): Paths<(String, String)>) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|(known, _)| *known == name);
    let Some((name, content)) = asset else {
        let detail = format!("the page has no file `{name}`");
        let problem = Problem::new(StatusCode::NOT_FOUND, "no-such-file", detail);
        return Err(problem.hint("load the page again"));
    };
    let kind = match name.ends_with(".css") {
        true => "text/css; charset=utf-8",
        false => "text/javascript; charset=utf-8",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, *content).into_response())
}
