//! Talks to the server: protobuf over the Connect protocol, JSON over REST, both on the REST port.
//!
//! Connect (connectrpc.com/docs/protocol, unary): the body is the bare message, the answer too; a failure is another
//! status than 200 and JSON. Whatever does not answer, or says that it cannot now, is asked again a few times: the next
//! node first, then after a pause that grows and differs from run to run.

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
use crate::store::{Config, Error};

/// The path of the gRPC service on the REST port, since 1.38.3.
const CONNECT: &str = "v1/grpc-web/weaviate.v1.Weaviate";
/// All nodes are asked so many times …
const ROUNDS: u32 = 3;
/// … with a pause before the second round that doubles from then on.
const PAUSE: Duration = Duration::from_millis(250);
/// A question is answered within this time, or the node hangs: a call right after another node was killed may.
const READ_TIME: Duration = Duration::from_secs(30);
/// A node that cannot be connected to within this time is away.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No node answers, or none can serve it at present.
    Unavailable {
        why: String,
        /// Its certificate is not trusted.
        untrusted: bool,
        /// A node took the request and never answered: asking again would take as long.
        hung: bool,
    },
    /// The key is missing or wrong.
    Key(String),
    /// What was asked for is not there.
    Missing(String),
    /// The server will never do this.
    Refused(String),
}

impl Failure {
    /// The failure of the store at `at`.
    pub(super) fn of(self, at: &str) -> Error {
        let at = at.to_owned();
        match self {
            Self::Unavailable { why, untrusted, .. } => Error::Unavailable { at, why, untrusted },
            Self::Key(why) => Error::Key { at, why },
            Self::Missing(why) | Self::Refused(why) => Error::Failed { at, why },
        }
    }
}

/// A connection to the nodes of one cluster.
pub(super) struct Wire {
    client: Client,
    nodes: Vec<String>,
    /// The node that answered last.
    current: AtomicUsize,
    key: Option<HeaderValue>,
    /// Whether a node that answered was away later.
    stumbled: AtomicBool,
    /// Which nodes answered when they were asked last.
    alive: Vec<AtomicBool>,
    /// The longest an answer may take.
    linger: Duration,
}

impl Wire {
    /// Makes ready to talk; sends nothing.
    pub(super) fn new(config: &Config, nodes: &[String]) -> Result<Self, Error> {
        let failed = |why: String| Error::open(&nodes[0], &why);
        let linger = Duration::from_secs(config.timeout_s);
        // Fails where a provider is installed already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIME)
            .timeout(linger)
            .user_agent(concat!("ingest/", env!("CARGO_PKG_VERSION")));
        if nodes.iter().any(|node| key::is_here(node)) {
            // A proxy is for the way out.
            client = client.no_proxy();
        }
        if let Some(file) = &config.ca_file {
            let name =
                |cause: &dyn std::fmt::Display| failed(format!("{}: {cause}", file.display()));
            let pem = std::fs::read(file).map_err(|e| name(&e))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| name(&e))?;
            if authorities.is_empty() {
                return Err(name(&"holds no certificate"));
            }
            client = client.tls_certs_merge(authorities);
        }
        Ok(Self {
            client: client.build().map_err(|e| failed(causes(&e)))?,
            key: key::header(config, nodes)?,
            nodes: nodes.to_vec(),
            current: AtomicUsize::new(0),
            stumbled: AtomicBool::new(false),
            alive: nodes.iter().map(|_| AtomicBool::new(false)).collect(),
            linger,
        })
    }

    /// Whether a node died while we talked to it.
    pub(super) fn lost_node(&self) -> bool {
        self.stumbled.load(Ordering::Relaxed)
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
                "Search" | "Aggregate" => request.timeout(self.linger.min(READ_TIME)),
                _ => request.timeout(self.linger),
            };
            request
                .header(CONTENT_TYPE, "application/proto")
                .header("Connect-Protocol-Version", "1")
                .body(body.clone())
        })?;
        R::decode(reply).map_err(|e| Failure::Refused(format!("its answer cannot be read: {e}")))
    }

    /// Asks the REST API; an empty answer is null.
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
            .map_err(|e| Failure::Refused(format!("its answer is no JSON: {e}")))
    }

    fn send(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Bytes, Failure> {
        let mut round = 0;
        loop {
            let mut last = None;
            for _ in &self.nodes {
                let at = self.current.load(Ordering::Relaxed);
                match self.once(at % self.nodes.len(), &request) {
                    Err(away @ Failure::Unavailable { .. }) => last = Some(away),
                    done => return done,
                }
                // Another thread may have gone on to the next node already.
                let (next, order) = (at.wrapping_add(1), Ordering::Relaxed);
                let _ = self.current.compare_exchange(at, next, order, order);
            }
            round += 1;
            match last {
                Some(away @ Failure::Unavailable { hung: true, .. }) => return Err(away),
                Some(away) if round == ROUNDS => return Err(away),
                _ => thread::sleep(
                    PAUSE.mul_f32(2_f32.powi(round as i32 - 1) * (0.5 + fastrand::f32())),
                ),
            }
        }
    }

    fn once(
        &self,
        node: usize,
        request: &impl Fn(&str) -> RequestBuilder,
    ) -> Result<Bytes, Failure> {
        let mut request = request(&self.nodes[node]);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let away = |cause: reqwest::Error| {
            let hung = cause.is_timeout() && !cause.is_connect();
            // A node that answered before and now does not even connect was stopped or killed.
            if !hung && self.alive[node].swap(false, Ordering::Relaxed) {
                self.stumbled.store(true, Ordering::Relaxed);
            }
            let untrusted = is_untrusted(&cause);
            let why = causes(&cause.without_url());
            Failure::Unavailable {
                why,
                untrusted,
                hung,
            }
        };
        let response = request.send().map_err(away)?;
        let status = response.status();
        let body = response.bytes().map_err(away)?;
        self.alive[node].store(true, Ordering::Relaxed);
        if status.is_success() {
            return Ok(body);
        }
        Err(failure(status, &body))
    }
}

/// What a status other than success means.
fn failure(status: StatusCode, body: &[u8]) -> Failure {
    let why = message(status, body);
    match status.as_u16() {
        401 | 403 => Failure::Key(why),
        // So says the gRPC service of a key that it does not know.
        500 if why.contains("unauthorized") => Failure::Key(why),
        404 => Failure::Missing(why),
        429 if is_too_large(&why) => Failure::Refused(why),
        408 | 425 | 429 | 502..=504 | 520.. => unavailable(why),
        _ if passes(&why) => unavailable(why),
        _ => Failure::Refused(why),
    }
}

/// A server that answers, but not with what was asked for.
fn unavailable(why: String) -> Failure {
    Failure::Unavailable {
        why,
        untrusted: false,
        hung: false,
    }
}

/// Whether a connection failed because the certificate of the server is not trusted.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    // The source of an I/O error is that of the error in it, which may be the one looked for.
    let inner = error.downcast_ref().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| is_untrusted(inner)) || error.source().is_some_and(is_untrusted)
}

/// What the server says: Connect has `message`, REST a list of `error`, a proxy text of its own.
fn message(status: StatusCode, body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = [
        &json["message"],
        &json["error"][0]["message"],
        &json["error"],
    ]
    .into_iter()
    .find_map(Value::as_str);
    match said {
        Some(text) => text.chars().take(400).collect(),
        None => format!("it answers {status}"),
    }
}

fn is_too_large(message: &str) -> bool {
    ["larger than max", "message size", "too large", "exceeds"]
        .iter()
        .any(|sign| message.contains(sign))
}

/// Whether a refusal is one of the present state of the server, not of what it was asked.
pub(super) fn passes(message: &str) -> bool {
    const SIGNS: [&str; 17] = [
        "not enough memory",
        "read-only",
        "read only",
        "readonly",
        "no space left",
        "cannot achieve consistency level",
        "cannot reach enough replicas",
        "connection refused",
        "connection reset",
        "leader not found",
        "shutting down",
        "context deadline exceeded",
        "context canceled",
        "already shut",
        "shutdown in progress",
        "already closed",
        "broken pipe",
    ];
    let message = message.to_lowercase();
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// An error with its causes, those that say something new.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untrusted_certificate_is_known_by_its_type() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = std::io::Error::other(std::io::Error::other(refused));
        assert!(is_untrusted(&wrapped));
        assert!(!is_untrusted(&std::io::Error::other("no certificate here")));
    }

    #[test]
    fn answers_are_told_apart() {
        let of =
            |status, body: &str| failure(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        let overload = of(
            429,
            r#"{"code":"resource_exhausted","message":"too many requests"}"#,
        );
        assert!(matches!(overload, Failure::Unavailable { hung: false, .. }));
        let large = of(
            429,
            r#"{"code":"resource_exhausted","message":"max buffer size exceeds 9"}"#,
        );
        assert!(matches!(large, Failure::Refused(_)));
        assert!(matches!(of(401, ""), Failure::Key(_)));
        assert!(matches!(of(503, "<html>"), Failure::Unavailable { .. }));
        let full = of(500, r#"{"error":[{"message":"put: store is read-only"}]}"#);
        assert!(
            matches!(full, Failure::Unavailable { why, .. } if why == "put: store is read-only")
        );
        let wrong = of(422, r#"{"error":[{"message":"invalid object"}]}"#);
        assert!(matches!(wrong, Failure::Refused(why) if why == "invalid object"));
    }
}
