//! Responses of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;

/// Time between comments that keep the connection alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A response of events that a proxy must not collect before it passes them on.
pub(super) fn response(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = events.into_response();
    let header = HeaderName::from_static("x-accel-buffering");
    let headers = response.headers_mut();
    headers.insert(header, HeaderValue::from_static("no"));
    response
}
