//! Fake model server with scripted replies and failures, with the OpenAI chat API and Ollama's; real servers are tested in
//! `mlx.rs` and `ollama.rs`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// API of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Ollama,
}

/// Chat request as received.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    /// Index of the request, from 0.
    pub(crate) number: usize,
    /// Numbers of its pages, from their labels.
    pub(crate) pages: Vec<u32>,
    pub(crate) body: Value,
    /// Whether it is about the test image instead of pages.
    pub(crate) is_test: bool,
    /// Number of unload requests so far.
    pub(crate) unloads: usize,
}

/// Reply of the server.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Complete answer.
    Answer(String),
    /// Answer with the finish reason `length`.
    Truncated(String),
    /// Reasoning without an answer.
    Reasoning(String),
    /// Text repeated until the client disconnects.
    Repeat(String),
    /// Answer to a prompt of few tokens, as if its images were dropped.
    ImageDropped(String),
    /// HTTP status and error message.
    HttpError(u16, String),
    /// Web page with a status.
    Html(u16, &'static str),
    /// Beginning of an answer, then an error message within the stream.
    StreamError(String, String),
    /// Beginning of an answer, then the connection is closed.
    Disconnect(String),
    /// The connection is closed without a response.
    Close,
    /// Raw bytes of a body.
    Raw(Vec<u8>),
    /// No reply, for this time.
    Wait(Duration),
}

/// Models of a server with their capabilities.
type Models = Vec<(String, Vec<String>)>;

type Script = dyn Fn(&ReceivedRequest) -> Reply + Send + Sync;

pub(crate) struct FakeServer {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    models: Arc<Mutex<Models>>,
    /// Number of replies that the client cancelled.
    pub(crate) cancelled: Arc<AtomicUsize>,
    /// Maximum number of concurrent requests.
    pub(crate) max_concurrent: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Shared {
    dialect: Dialect,
    script: Arc<Script>,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    models: Arc<Mutex<Models>>,
    cancelled: Arc<AtomicUsize>,
    concurrent: Arc<AtomicUsize>,
    max_concurrent: Arc<AtomicUsize>,
    unloads: Arc<AtomicUsize>,
}

impl FakeServer {
    pub(crate) fn start(
        dialect: Dialect,
        script: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared {
            dialect,
            script: Arc::new(script),
            received: Arc::default(),
            models: Arc::default(),
            cancelled: Arc::default(),
            concurrent: Arc::default(),
            max_concurrent: Arc::default(),
            unloads: Arc::default(),
        };
        let fake = Self {
            url,
            received: shared.received.clone(),
            models: shared.models.clone(),
            cancelled: shared.cancelled.clone(),
            max_concurrent: shared.max_concurrent.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        fake
    }

    /// Sets the models; without any, there is `tiny`, whose capabilities are unknown.
    pub(crate) fn with_models(self, models: &[(&str, &[&str])]) -> Self {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let models = models.iter();
        *self.models.lock().unwrap() = models
            .map(|(name, capabilities)| ((*name).to_owned(), owned(capabilities)))
            .collect();
        self
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.received.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (path, body) = read_request(&stream)?;
        if !["/v1/chat/completions", "/api/chat"].contains(&path.as_str()) {
            if ["/unload", "/api/generate"].contains(&path.as_str()) {
                self.unloads.fetch_add(1, Ordering::SeqCst);
            }
            let models = self.models.lock().unwrap().clone();
            let response = match path.as_str() {
                "/v1/models" => json!({"data": [{"id": "tiny"}]}),
                "/api/tags" if models.is_empty() => json!({"models": [{"name": "tiny:latest"}]}),
                "/api/tags" => {
                    let names = models.iter().map(|(name, _)| json!({"name": name}));
                    json!({"models": names.collect::<Vec<_>>()})
                }
                "/api/show" => {
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    let model = models.iter().find(|(name, _)| body["model"] == **name);
                    model.map_or(json!({}), |(_, all)| json!({"capabilities": all}))
                }
                "/api/version" => json!({"version": "0.0.0"}),
                _ => json!({}),
            };
            return respond(
                &mut stream,
                200,
                "application/json",
                response.to_string().as_bytes(),
            );
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        let request = {
            let mut all = self.received.lock().unwrap();
            let request = ReceivedRequest {
                number: all.len(),
                pages: labels(&body.to_string()),
                is_test: body.to_string().contains("test image"),
                body,
                unloads: self.unloads.load(Ordering::SeqCst),
            };
            all.push(request.clone());
            request
        };
        let concurrent = self.concurrent.fetch_add(1, Ordering::SeqCst) + 1;
        self.max_concurrent.fetch_max(concurrent, Ordering::SeqCst);
        let result = self.reply(&mut stream, (self.script)(&request));
        self.concurrent.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn reply(&self, stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
        if let Reply::HttpError(status, message) = reply {
            let body = json!({"error": message}).to_string();
            return respond(stream, status, "application/json", body.as_bytes());
        }
        if let Reply::Html(status, page) = reply {
            return respond(stream, status, "text/html; charset=utf-8", page.as_bytes());
        }
        if let Reply::Close = reply {
            return Ok(());
        }
        if let Reply::Wait(time) = reply {
            thread::sleep(time);
            return Ok(());
        }
        // A wrong length makes the client notice the disconnect.
        let length = match reply {
            Reply::Disconnect(_) => "content-length: 100000\r\n",
            _ => "",
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
        stream.write_all(format!("{head}{length}\r\n").as_bytes())?;
        match reply {
            Reply::Answer(text) => {
                self.text(stream, "content", &text)?;
                self.finish(stream, false, 2_000)
            }
            Reply::Truncated(text) => {
                self.text(stream, "content", &text)?;
                self.finish(stream, true, 2_000)
            }
            Reply::ImageDropped(text) => {
                self.text(stream, "content", &text)?;
                self.finish(stream, false, 40)
            }
            Reply::Reasoning(text) => {
                let name = if self.dialect == Dialect::Ollama {
                    "thinking"
                } else {
                    "reasoning_content"
                };
                self.text(stream, name, &text)?;
                self.finish(stream, true, 2_000)
            }
            Reply::Repeat(text) => loop {
                if let Err(cause) = self.text(stream, "content", &text) {
                    self.cancelled.fetch_add(1, Ordering::SeqCst);
                    return Err(cause);
                }
                thread::sleep(Duration::from_millis(2));
            },
            Reply::StreamError(text, message) => {
                self.text(stream, "content", &text)?;
                self.line(stream, &json!({"error": message}))
            }
            Reply::Disconnect(text) => self.text(stream, "content", &text),
            Reply::Raw(bytes) => stream.write_all(&bytes),
            Reply::HttpError(..) | Reply::Html(..) | Reply::Wait(_) | Reply::Close => {
                unreachable!()
            }
        }
    }

    /// Streams a text in small chunks.
    fn text(&self, stream: &mut TcpStream, name: &str, text: &str) -> std::io::Result<()> {
        let letters: Vec<char> = text.chars().collect();
        for chunk in letters.chunks(7) {
            let chunk: String = chunk.iter().collect();
            let event = match self.dialect {
                Dialect::OpenAi => json!({"choices": [{"delta": {name: chunk}}]}),
                Dialect::Ollama => {
                    json!({"message": {"role": "assistant", name: chunk}, "done": false})
                }
            };
            self.line(stream, &event)?;
        }
        Ok(())
    }

    fn finish(
        &self,
        stream: &mut TcpStream,
        truncated: bool,
        prompt_tokens: u32,
    ) -> std::io::Result<()> {
        let reason = if truncated { "length" } else { "stop" };
        match self.dialect {
            Dialect::Ollama => self.line(
                stream,
                &json!({"message": {"content": ""}, "done": true, "done_reason": reason,
                        "prompt_eval_count": prompt_tokens, "eval_count": 50}),
            ),
            Dialect::OpenAi => {
                self.line(
                    stream,
                    &json!({"choices": [{"delta": {}, "finish_reason": reason}]}),
                )?;
                let usage = json!({"prompt_tokens": prompt_tokens, "completion_tokens": 50});
                self.line(stream, &json!({"choices": [], "usage": usage}))?;
                stream.write_all(b"data: [DONE]\n\n")
            }
        }
    }

    fn line(&self, stream: &mut TcpStream, event: &Value) -> std::io::Result<()> {
        let line = match self.dialect {
            Dialect::OpenAi => format!("data: {event}\n\n"),
            Dialect::Ollama => format!("{event}\n"),
        };
        stream.write_all(line.as_bytes())
    }
}

fn respond(stream: &mut TcpStream, status: u16, kind: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

/// Path and body of a request.
fn read_request(stream: &TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((path, body))
}

/// Page numbers of all labels such as `Page 3 of 9 of`.
fn labels(text: &str) -> Vec<u32> {
    let all = text.split("Page ").skip(1);
    all.filter_map(|rest| {
        let (number, rest) = rest.split_once(' ')?;
        rest.starts_with("of ").then(|| number.parse().ok())?
    })
    .collect()
}
