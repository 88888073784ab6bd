//! Parameters of requests: query strings whose names may repeat, and paths.

use axum::extract::{FromRequestParts, Path as AxumPath};
use axum::http::request::Parts;
use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::expected;
use super::problem::Problem;

/// The parameters of the query string. A name that repeats makes a list; an unknown name is an error.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + JsonSchema, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        let parsed: Result<T, _> = serde_html_form::from_str(text);
        parsed.map(Self).map_err(|why| {
            let fault = fault::<T>(text);
            Problem::invalid(fault.unwrap_or_else(|| why.to_string()))
        })
    }
}

/// What is wrong with the parameters of a query string.
fn fault<T: JsonSchema>(text: &str) -> Option<String> {
    let schema = schema_for!(T);
    let schema = schema.as_object()?;
    let known = schema.get("properties")?;
    let given: Vec<(String, String)> = serde_html_form::from_str(text).ok()?;
    let value = |name: &str, text: String| match expected::kind(&known[name]) {
        "integer" | "number" | "boolean" => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        "array" => Value::Array(vec![Value::String(text)]),
        _ => Value::String(text),
    };
    let mut all = Map::new();
    for (name, text) in given {
        let value = value(&name, text);
        all.insert(name, value);
    }
    expected::fault(schema, &all)
}

/// A parameter of the path, decoded.
pub(super) struct Path(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = AxumPath::<String>::from_request_parts(parts, state).await;
        path.map(|AxumPath(value)| Self(value))
            .map_err(|why| Problem::invalid(why.to_string()))
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> axum::extract::FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        let json = axum::Json::<T>::from_request(request, state).await;
        json.map(|axum::Json(value)| Self(value)).map_err(|why| {
            use axum::http::StatusCode;
            let (kind, hint) = match why.status() {
                StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "send less at once"),
                StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                    "wrong-type",
                    "send JSON, with the header `Content-Type: application/json`",
                ),
                _ => return Problem::invalid(why.body_text()),
            };
            Problem::new(why.status(), kind, why.body_text()).hint(hint)
        })
    }
}
