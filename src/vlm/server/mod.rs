//! Runners that are servers, over HTTP: OpenAI's chat and Ollama's own. Always streamed, so that dropping an answer
//! closes the connection, which ends the generation.

mod line_reader;
mod managed;
mod ollama;
mod openai;

use std::io::Read;
use std::time::Duration;

use listeners::Protocol;
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::Value;

use super::{Config, Error, Runner, RunnerKind};

/// How long a question about the server itself may take.
const SHORT: Duration = Duration::from_secs(20);
/// Time to reach it.
const CONNECT: Duration = Duration::from_secs(5);
/// Characters of what a server says of a failure.
const TOLD: usize = 300;
/// Bytes of a reply that is no stream.
const REPLY: u64 = 4 << 20;

pub(super) use managed::end_all;

pub(super) fn open(config: &Config) -> Result<Box<dyn Runner>, Error> {
    match there(config) {
        Err(Error::Unavailable { .. }) if !config.command.is_empty() => {
            Ok(Box::new(managed::ManagedServer::start(config)?))
        }
        other => other,
    }
}

/// The runner that answers at the address.
fn there(config: &Config) -> Result<Box<dyn Runner>, Error> {
    let wire = Wire::new(config)?;
    Ok(match config.runner {
        RunnerKind::Ollama => Box::new(ollama::open(wire, config)?),
        _ => Box::new(openai::open(wire, config)?),
    })
}

/// A server's address, and how to talk to it.
#[derive(Clone)]
struct Wire {
    url: String,
    client: Client,
    key: Option<String>,
    /// Whether it is another machine.
    remote: bool,
}

impl Wire {
    fn new(config: &Config) -> Result<Self, Error> {
        let default = match config.runner {
            RunnerKind::MlxVlm => "http://127.0.0.1:8080",
            RunnerKind::Ollama => "http://127.0.0.1:11434",
            _ => "http://127.0.0.1:8000",
        };
        let url = match config.url.trim().trim_end_matches('/') {
            "" => default.to_owned(),
            url => url.trim_end_matches("/v1").to_owned(),
        };
        let away = |why: String| Error::Unavailable {
            at: url.clone(),
            why,
        };
        let parsed = reqwest::Url::parse(&url).map_err(|e| away(e.to_string()))?;
        if !["http", "https"].contains(&parsed.scheme()) {
            return Err(away(
                "an address begins with http:// or https://".to_owned(),
            ));
        }
        let remote = !is_here(parsed.host_str().unwrap_or_default());
        let key = std::env::var("INGEST_RUNNER_KEY")
            .or_else(|_| std::env::var("OPENAI_API_KEY"))
            .ok()
            .filter(|key| !key.is_empty());
        if key.is_some() && remote && parsed.scheme() == "http" && !config.key_over_http {
            return Err(Error::KeyInTheClear { at: url });
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut client = Client::builder().connect_timeout(CONNECT).timeout(None);
        if !remote {
            // A proxy is for the way out.
            client = client.no_proxy();
        }
        let client = client.build().map_err(|e| away(e.to_string()))?;
        Ok(Self {
            url,
            client,
            key,
            remote,
        })
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// The process that listens there, if that is here and ours to see.
    fn process(&self) -> Option<u32> {
        let url = reqwest::Url::parse(&self.url).ok()?;
        let port = url.port_or_known_default().filter(|_| !self.remote)?;
        let listening = listeners::get_process_by_port(port, Protocol::TCP);
        Some(listening.ok()?.pid)
    }

    /// A short question that every server of this kind answers; the answer as JSON.
    fn get(&self, path: &str) -> Result<(Head, Value), Error> {
        let (head, body) = self.try_get(path)?;
        match head.status.is_success() && !body.is_null() {
            true => Ok((head, body)),
            false => Err(Error::UnexpectedServer {
                at: self.url.clone(),
                why: format!("{path} answers {}", head.status),
            }),
        }
    }

    /// A short question; the answer as JSON, null where it is none.
    fn try_get(&self, path: &str) -> Result<(Head, Value), Error> {
        let request = self
            .client
            .get(format!("{}{path}", self.url))
            .timeout(SHORT);
        let reply = self.signed(request).send().map_err(|e| self.away(&e))?;
        self.whole(reply)
    }

    /// A short question with a body of JSON; the answer as JSON.
    fn post(&self, path: &str, body: &Value) -> Result<(Head, Value), Error> {
        let reply = self.ask(path, body, SHORT)?;
        self.whole(reply)
    }

    fn whole(&self, reply: Response) -> Result<(Head, Value), Error> {
        let about = Head {
            status: reply.status(),
            server: reply
                .headers()
                .get("server")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        };
        if about.status == StatusCode::UNAUTHORIZED || about.status == StatusCode::FORBIDDEN {
            return Err(Error::Key {
                at: self.url.clone(),
            });
        }
        let mut body = Vec::new();
        reply
            .take(REPLY)
            .read_to_end(&mut body)
            .map_err(|e| Error::Disconnected(e.to_string()))?;
        Ok((about, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// A question whose answer is streamed.
    fn ask(&self, path: &str, body: &Value, deadline: Duration) -> Result<Response, Error> {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .timeout(deadline)
            .header("content-type", "application/json")
            .body(body.to_string());
        let reply =
            self.signed(request)
                .send()
                .map_err(|e| match e.is_timeout() && !e.is_connect() {
                    true => Error::Deadline(deadline.as_secs()),
                    false => self.away(&e),
                })?;
        if reply.status().is_success() {
            return Ok(reply);
        }
        let (about, body) = self.whole(reply)?;
        let why = message(&body);
        let busy = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        match busy.contains(&about.status) {
            // It loads its model, or has too much to do: the page is not to blame.
            true => Err(Error::Unavailable {
                at: self.url.clone(),
                why,
            }),
            false => Err(refusal(about.status, &why)),
        }
    }

    fn away(&self, cause: &reqwest::Error) -> Error {
        let mut why = cause.to_string();
        let mut inner = std::error::Error::source(cause);
        while let Some(cause) = inner {
            why = cause.to_string();
            inner = cause.source();
        }
        Error::Unavailable {
            at: self.url.clone(),
            why,
        }
    }
}

/// What stands above the body of a reply.
struct Head {
    status: StatusCode,
    server: String,
}

fn is_here(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// What servers write into the body of a failure: `{"error": "…"}`, `{"error": {"message": "…"}}`, `{"detail": …}`.
fn message(body: &Value) -> String {
    let error = &body["error"];
    let told = [&error["message"], error, &body["detail"], &body["message"]];
    let told = told.into_iter().find(|value| !value.is_null());
    let text = match told {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "it did not say why".to_owned(),
    };
    // Some repeat the whole question, pictures included.
    text.chars().take(TOLD).collect()
}

/// The failure that a status and some words mean.
fn refusal(status: StatusCode, why: &str) -> Error {
    let lower = why.to_lowercase();
    let memory = [
        "insufficient memory",
        "out of memory",
        "resource limit",
        "failed to allocate",
    ];
    if memory.iter().any(|words| lower.contains(words)) {
        return Error::Memory(why.to_owned());
    }
    match status.is_server_error() {
        true => Error::ModelFailed(why.to_owned()),
        false => Error::Refused(format!("{why} ({})", status.as_u16())),
    }
}
