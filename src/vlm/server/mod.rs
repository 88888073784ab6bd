//! Runners behind HTTP servers: the OpenAI chat API and Ollama's native API. Responses are always streamed, so that
//! dropping a stream closes the connection, which cancels the generation.

mod line_reader;
mod managed;
mod ollama;
mod openai;
mod web_page;

use std::io::Read;
use std::time::Duration;

use listeners::Protocol;
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde_json::Value;

use super::{Config, Error, Runner, RunnerKind};

/// Time limit of a request about the server or its models.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(20);
/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum characters of a server's error message that are shown.
const MAX_MESSAGE_CHARS: usize = 300;
/// Maximum number of models that a message lists.
const MAX_LISTED_MODELS: usize = 20;
/// Maximum bytes of a response that is not streamed.
const MAX_BODY_BYTES: u64 = 4 << 20;

pub(super) use managed::kill_all;

/// Connects to the configured server; starts it if it does not respond and a command is configured.
pub(super) fn open(config: &Config) -> Result<Box<dyn Runner>, Error> {
    match connect(config) {
        Err(Error::Unavailable { .. }) if !config.command.is_empty() => {
            Ok(Box::new(managed::ManagedServer::start(config)?))
        }
        result => result,
    }
}

/// Connects to the configured server.
fn connect(config: &Config) -> Result<Box<dyn Runner>, Error> {
    let transport = Transport::new(config)?;
    Ok(match config.runner {
        RunnerKind::Ollama => Box::new(ollama::open(transport, config)?),
        _ => Box::new(openai::open(transport, config)?),
    })
}

/// HTTP client of one server, with its base URL and API key.
#[derive(Clone)]
struct Transport {
    url: String,
    client: Client,
    key: Option<String>,
    /// Whether the server is on another machine.
    remote: bool,
    /// Its models, comma-separated, for messages.
    models: String,
}

impl Transport {
    fn new(config: &Config) -> Result<Self, Error> {
        let default_url = match config.runner {
            RunnerKind::MlxVlm => "http://127.0.0.1:8080",
            RunnerKind::Ollama => "http://127.0.0.1:11434",
            _ => "http://127.0.0.1:8000",
        };
        let url = match config.url.trim().trim_end_matches('/') {
            "" => default_url.to_owned(),
            url => url.trim_end_matches("/v1").to_owned(),
        };
        let unavailable = |reason: String| Error::Unavailable {
            server: url.clone(),
            reason,
        };
        let parsed = reqwest::Url::parse(&url).map_err(|e| unavailable(e.to_string()))?;
        if !["http", "https"].contains(&parsed.scheme()) {
            return Err(unavailable(
                "the URL must begin with http:// or https://".to_owned(),
            ));
        }
        let remote = !is_loopback(parsed.host_str().unwrap_or_default());
        let key = std::env::var("INGEST_RUNNER_KEY")
            .or_else(|_| std::env::var("OPENAI_API_KEY"))
            .ok()
            .filter(|key| !key.is_empty());
        if key.is_some() && remote && parsed.scheme() == "http" && !config.key_over_http {
            return Err(Error::UnencryptedKey { server: url });
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(None);
        if !remote {
            // Proxies of the environment are for other machines.
            client = client.no_proxy();
        }
        let client = client.build().map_err(|e| unavailable(e.to_string()))?;
        Ok(Self {
            url,
            client,
            key,
            remote,
            models: String::new(),
        })
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Id of the process that listens on the port; `None` if it is on another machine or of another user.
    fn process(&self) -> Option<u32> {
        let url = reqwest::Url::parse(&self.url).ok()?;
        let port = url.port_or_known_default().filter(|_| !self.remote)?;
        let listening = listeners::get_process_by_port(port, Protocol::TCP);
        Some(listening.ok()?.pid)
    }

    /// GET request that every server of the kind answers with JSON.
    ///
    /// # Errors
    /// [`Error::UnexpectedServer`] if the status is not 2xx or the body is not JSON.
    fn get(&self, path: &str) -> Result<(ResponseHead, Value), Error> {
        let (head, body) = self.try_get(path)?;
        match head.status.is_success() && !body.is_null() {
            true => Ok((head, body)),
            false => Err(Error::UnexpectedServer {
                server: self.url.clone(),
                reason: match head.page.as_deref() {
                    Some(page) => format!("{path} returns {}: `{page}`", head.status),
                    None => format!("{path} returns {}", head.status),
                },
            }),
        }
    }

    /// GET request with any status; the body is null if it is not JSON.
    fn try_get(&self, path: &str) -> Result<(ResponseHead, Value), Error> {
        let request = self
            .client
            .get(format!("{}{path}", self.url))
            .timeout(CONTROL_TIMEOUT);
        let response = self
            .authorize(request)
            .send()
            .map_err(|e| self.unavailable(&e))?;
        let (head, body) = self.read_json(response)?;
        match head.status {
            StatusCode::FORBIDDEN => Err(self.unauthorized()),
            _ => Ok((head, body)),
        }
    }

    /// POST request about the server or its models, with JSON in both directions.
    fn post(&self, path: &str, body: &Value) -> Result<(ResponseHead, Value), Error> {
        let response = self.post_streaming(path, body, CONTROL_TIMEOUT)?;
        self.read_json(response)
    }

    fn read_json(&self, response: Response) -> Result<(ResponseHead, Value), Error> {
        let mut head = ResponseHead {
            page: None,
            status: response.status(),
            server: response
                .headers()
                .get("server")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        };
        if head.status == StatusCode::UNAUTHORIZED {
            return Err(self.unauthorized());
        }
        let mut body = Vec::new();
        response
            .take(MAX_BODY_BYTES)
            .read_to_end(&mut body)
            .map_err(|e| Error::Disconnected(e.to_string()))?;
        let json = serde_json::from_slice(&body).unwrap_or_default();
        if json == Value::Null {
            head.page = web_page::first_words(&body);
        }
        Ok((head, json))
    }

    /// POST request with a streamed response of status 2xx; any other status is an error.
    fn post_streaming(
        &self,
        path: &str,
        body: &Value,
        deadline: Duration,
    ) -> Result<Response, Error> {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .timeout(deadline)
            .header("content-type", "application/json")
            .body(body.to_string());
        let response = self.authorize(request).send().map_err(|e| {
            match e.is_timeout() && !e.is_connect() {
                true => Error::Deadline(deadline.as_secs()),
                false if e.is_connect() => self.unavailable(&e),
                false => Error::Disconnected(innermost(&e)),
            }
        })?;
        let is_page = web_page::is_html(response.headers());
        if response.status().is_success() && !is_page {
            return Ok(response);
        }
        let (head, body) = self.read_json(response)?;
        let page = head.page.map(|words| format!("`{words}`"));
        if head.status.is_success() {
            let words = page.unwrap_or_default();
            return Err(Error::Protocol(format!(
                "a web page {words} instead of an answer (HTTP {})",
                head.status.as_u16()
            )));
        }
        let reason = page.unwrap_or_else(|| error_message(&body));
        Err(self.status_error(head.status, reason))
    }

    /// Error for a status other than 2xx.
    fn status_error(&self, status: StatusCode, reason: String) -> Error {
        let server = self.url.clone();
        let busy = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_EARLY,
        ];
        if busy.contains(&status) {
            // It loads its model, or is overloaded: not the fault of the page.
            return Error::Unavailable { server, reason };
        }
        if [StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT].contains(&status) {
            // A proxy in front of a server that exited, or did not answer.
            return Error::Gateway {
                server,
                status: status.as_u16(),
                reason,
            };
        }
        match model_error(&reason) {
            cause @ Error::OutOfMemory(_) => cause,
            cause @ Error::ModelFailed(_) if status.is_server_error() => cause,
            _ => Error::Rejected {
                server,
                status: status.as_u16(),
                reason,
                available: self.models.clone(),
            },
        }
    }

    fn unauthorized(&self) -> Error {
        Error::Unauthorized {
            server: self.url.clone(),
        }
    }

    /// [`Error::Unavailable`] with the innermost cause.
    fn unavailable(&self, cause: &reqwest::Error) -> Error {
        Error::Unavailable {
            server: self.url.clone(),
            reason: innermost(cause),
        }
    }
}

/// The innermost cause of an error.
fn innermost(cause: &reqwest::Error) -> String {
    let mut reason = cause.to_string();
    let mut inner = std::error::Error::source(cause);
    while let Some(cause) = inner {
        reason = cause.to_string();
        inner = cause.source();
    }
    reason
}

/// A list of models for a message.
fn list_of(models: &[&str]) -> String {
    let listed = models.len().min(MAX_LISTED_MODELS);
    match models.len() - listed {
        0 => models.join(", "),
        more => format!("{}, and {more} more", models[..listed].join(", ")),
    }
}

/// Status and `Server` header of a response.
struct ResponseHead {
    status: StatusCode,
    server: String,
    /// The first words of a body that is not JSON.
    page: Option<String>,
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Error message in a response body: `{"error": "…"}`, `{"error": {"message": "…"}}`, `{"detail": …}`.
fn error_message(body: &Value) -> String {
    let error = &body["error"];
    let fields = [&error["message"], error, &body["detail"], &body["message"]];
    let text = match fields.into_iter().find(|value| !value.is_null()) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "no error message".to_owned(),
    };
    // Some servers repeat the whole request, images included.
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Error for the message of a model that failed.
fn model_error(message: &str) -> Error {
    let lower = message.to_lowercase();
    let contains_any = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    let out_of_memory = [
        "insufficient memory",
        "out of memory",
        "out_of_memory",
        "not enough memory",
        "[metal::malloc]",
        "failed to allocate",
    ];
    if contains_any(&out_of_memory) {
        return Error::OutOfMemory(message.to_owned());
    }
    // llama.cpp and Ollama answer 500 if the model has no vision encoder.
    let images = ["image", "vision", "multimodal", "mmproj", "picture"];
    let not_supported = [
        "not support",
        "unsupported",
        "not a multimodal",
        "not a vision",
        "missing data required for",
    ];
    match contains_any(&images) && contains_any(&not_supported) {
        true => Error::Refused(message.to_owned()),
        false => Error::ModelFailed(message.to_owned()),
    }
}
