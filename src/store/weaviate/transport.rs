//! HTTP transport: protobuf over the Connect protocol and JSON over REST, both on the REST port, with retries.
//!
//! Connect (connectrpc.com/docs/protocol, unary): the body is the bare message, as is the response; an error has
//! a status other than 200 and a JSON body. Unavailable nodes and transient errors are retried: on the next node first, then
//! after an exponential back-off with jitter.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use prost::Message;
use prost::bytes::Bytes;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::key;
use super::outage::{self, error_chain, is_transient};
use crate::store::{Config, Error, Outage};

/// The path of the gRPC service on the REST port, since 1.38.3.
const CONNECT: &str = "v1/grpc-web/weaviate.v1.Weaviate";
/// Number of attempts on all nodes.
const MAX_ATTEMPTS: u32 = 3;
/// Pause before the second attempt; doubles for each further one.
const INITIAL_BACKOFF: Duration = Duration::from_millis(250);
/// Timeout of a read: a call may hang if another node was killed just before.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of a connection; after it the node is unavailable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Error of a request.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No node responds, or none can serve it at present.
    Unavailable {
        why: String,
        outage: Outage,
        /// A node accepted the request and did not respond: a retry would take as long.
        hung: bool,
    },
    /// The key is missing or wrong.
    Key(String),
    /// The object does not exist.
    NotFound(String),
    /// The request is rejected permanently.
    Rejected(String),
}

impl Failure {
    /// Converts it to the error of the store at `location`.
    pub(super) fn into_error(self, location: &str) -> Error {
        let location = location.to_owned();
        match self {
            Self::Unavailable { why, outage, .. } => Error::Unavailable {
                location,
                why,
                outage,
            },
            Self::Key(why) => Error::Unauthorized { location, why },
            Self::NotFound(why) | Self::Rejected(why) => Error::Failed { location, why },
        }
    }
}

/// HTTP client of the nodes of one cluster.
pub(super) struct Transport {
    client: Client,
    nodes: Vec<String>,
    /// Index of the node to try first, modulo the number of nodes.
    current: AtomicUsize,
    key: Option<HeaderValue>,
    /// Whether a node became unavailable after it had responded.
    lost_node: AtomicBool,
    /// For each node, whether it responded to the last request.
    answered: Vec<AtomicBool>,
    /// Request timeout.
    timeout: Duration,
}

impl Transport {
    /// Builds the client; sends nothing.
    pub(super) fn new(config: &Config, nodes: &[String]) -> Result<Self, Error> {
        let failed = |why: String| Error::open(&nodes[0], &why);
        let timeout = Duration::from_secs(config.timeout_s);
        // Fails if a provider is installed already, which is fine.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .user_agent(concat!("ingest/", env!("CARGO_PKG_VERSION")));
        if nodes.iter().any(|node| key::is_local(node)) {
            // No proxy for local nodes.
            client = client.no_proxy();
        }
        if let Some(file) = &config.ca_file {
            let name =
                |cause: &dyn std::fmt::Display| failed(format!("{}: {cause}", file.display()));
            let pem = std::fs::read(file).map_err(|e| name(&e))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| name(&e))?;
            if authorities.is_empty() {
                return Err(name(&"contains no certificate"));
            }
            client = client.tls_certs_merge(authorities);
        }
        Ok(Self {
            client: client.build().map_err(|e| failed(error_chain(&e)))?,
            key: key::header(config, nodes)?,
            nodes: nodes.to_vec(),
            current: AtomicUsize::new(0),
            lost_node: AtomicBool::new(false),
            answered: nodes.iter().map(|_| AtomicBool::new(false)).collect(),
            timeout,
        })
    }

    /// Whether a node was lost during this session.
    pub(super) fn lost_node(&self) -> bool {
        self.lost_node.load(Ordering::Relaxed)
    }

    /// Calls a method of the gRPC service.
    pub(super) fn call<R: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<R, Failure> {
        let body = Bytes::from(request.encode_to_vec());
        let reply = self.send(|node| {
            let request = self.client.post(format!("{node}/{CONNECT}/{method}"));
            let request = match method {
                "Search" | "Aggregate" => request.timeout(self.timeout.min(READ_TIMEOUT)),
                _ => request.timeout(self.timeout),
            };
            request
                .header(CONTENT_TYPE, "application/proto")
                .header("Connect-Protocol-Version", "1")
                .body(body.clone())
        })?;
        R::decode(reply).map_err(|e| Failure::Rejected(format!("invalid response: {e}")))
    }

    /// Sends a REST request; an empty response is null.
    pub(super) fn rest(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let reply = self.send(|node| {
            let request = self
                .client
                .request(method.clone(), format!("{node}/v1/{path}"));
            match body {
                None => request,
                Some(body) => request
                    .header(CONTENT_TYPE, "application/json")
                    .body(body.to_string()),
            }
        })?;
        if reply.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&reply)
            .map_err(|e| Failure::Rejected(format!("the response is not JSON: {e}")))
    }

    fn send(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Bytes, Failure> {
        let mut attempts = 0;
        loop {
            let mut last = None;
            for _ in &self.nodes {
                let node = self.current.load(Ordering::Relaxed);
                match self.attempt(node % self.nodes.len(), &request) {
                    Err(unavailable @ Failure::Unavailable { .. }) => last = Some(unavailable),
                    done => return done,
                }
                // Another thread may have switched to the next node already.
                let (next, order) = (node.wrapping_add(1), Ordering::Relaxed);
                let _ = self.current.compare_exchange(node, next, order, order);
            }
            attempts += 1;
            match last {
                Some(unavailable @ Failure::Unavailable { hung: true, .. }) => {
                    return Err(unavailable);
                }
                Some(unavailable) if attempts == MAX_ATTEMPTS => return Err(unavailable),
                _ => thread::sleep(
                    INITIAL_BACKOFF
                        .mul_f32(2_f32.powi(attempts as i32 - 1) * (0.5 + fastrand::f32())),
                ),
            }
        }
    }

    fn attempt(
        &self,
        node: usize,
        request: &impl Fn(&str) -> RequestBuilder,
    ) -> Result<Bytes, Failure> {
        let mut request = request(&self.nodes[node]);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let unavailable = |cause: reqwest::Error| {
            let hung = cause.is_timeout() && !cause.is_connect();
            // A node that responded before and now refuses connections was stopped or killed.
            if !hung && self.answered[node].swap(false, Ordering::Relaxed) {
                self.lost_node.store(true, Ordering::Relaxed);
            }
            let outage = outage::of_connection(&cause);
            let why = outage::explain(outage, error_chain(&cause.without_url()));
            Failure::Unavailable { why, outage, hung }
        };
        let response = request.send().map_err(unavailable)?;
        let status = response.status();
        let body = response.bytes().map_err(unavailable)?;
        self.answered[node].store(true, Ordering::Relaxed);
        if status.is_success() {
            return Ok(body);
        }
        Err(classify(status, &body))
    }
}

/// Classifies a status other than success.
fn classify(status: StatusCode, body: &[u8]) -> Failure {
    let why = message(status, body);
    match status.as_u16() {
        401 | 403 => Failure::Key(why),
        // The response of the gRPC service to an unknown key.
        500 if why.contains("unauthorized") => Failure::Key(why),
        404 => Failure::NotFound(why),
        429 if is_too_large(&why) => Failure::Rejected(why),
        408 | 425 | 429 | 502..=504 | 520.. => unavailable(why),
        _ if is_transient(&why) => unavailable(why),
        _ => Failure::Rejected(why),
    }
}

/// A server that responds, but is unavailable at present.
fn unavailable(why: String) -> Failure {
    let outage = outage::of_response(&why);
    Failure::Unavailable {
        why: outage::explain(outage, why),
        outage,
        hung: false,
    }
}

/// The error message of a response: Connect has `message`, REST a list of `error`, a proxy its own text.
fn message(status: StatusCode, body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = [
        &json["message"],
        &json["error"][0]["message"],
        &json["error"],
    ]
    .into_iter()
    .find_map(Value::as_str);
    match text {
        Some(text) => text.chars().take(400).collect(),
        None => format!("status {status}"),
    }
}

fn is_too_large(message: &str) -> bool {
    ["larger than max", "message size", "too large", "exceeds"]
        .iter()
        .any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_classified_by_status_and_message() {
        let classified =
            |status, body: &str| classify(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        let overload = classified(
            429,
            r#"{"code":"resource_exhausted","message":"too many requests"}"#,
        );
        assert!(matches!(overload, Failure::Unavailable { hung: false, .. }));
        let large = classified(
            429,
            r#"{"code":"resource_exhausted","message":"max buffer size exceeds 9"}"#,
        );
        assert!(matches!(large, Failure::Rejected(_)));
        assert!(matches!(classified(401, ""), Failure::Key(_)));
        assert!(matches!(
            classified(503, "<html>"),
            Failure::Unavailable { .. }
        ));
        let full = classified(500, r#"{"error":[{"message":"put: store is read-only"}]}"#);
        assert!(
            matches!(full, Failure::Unavailable { outage: Outage::ReadOnly, why, .. } if why.contains("its disk is nearly full (put: store is read-only)"))
        );
        let loading =
            "could not find index for class A. It might have been deleted in the meantime";
        assert!(is_transient(loading));
        let wrong = classified(422, r#"{"error":[{"message":"invalid object"}]}"#);
        assert!(matches!(wrong, Failure::Rejected(why) if why == "invalid object"));
    }
}
