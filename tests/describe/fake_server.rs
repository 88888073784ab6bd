//! A server that says what a test wants, in both dialects. Real ones are asked in `mlx.rs` and `ollama.rs`;
//! this one fails on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How a server talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Ollama,
}

/// A question as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Which question this is, from 0.
    pub(crate) number: usize,
    /// The pages it is about, as they are labelled.
    pub(crate) pages: Vec<u32>,
    pub(crate) body: Value,
    /// Times that the model was unloaded so far.
    pub(crate) unloads: usize,
}

/// What the server does.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Says this and ends well.
    Say(String),
    /// Says this until its tokens run out.
    Cut(String),
    /// Only thinks.
    Think(String),
    /// Says this again and again until nobody listens.
    Repeat(String),
    /// Looks at no picture.
    Blind(String),
    /// Refuses with a status and a message.
    Refuse(u16, String),
    /// Begins to say this and fails within the stream.
    Fail(String, String),
    /// Begins to say this and hangs up.
    HangUp(String),
    /// Sends these bytes as they are.
    RawTensor(Vec<u8>),
    /// Says nothing for so long.
    Wait(Duration),
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

pub(crate) struct Fake {
    pub(crate) url: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    /// Questions that the client closed before their end.
    pub(crate) closed: Arc<AtomicUsize>,
    /// The most questions at once.
    pub(crate) most: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Shared {
    dialect: Dialect,
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<Asked>>>,
    closed: Arc<AtomicUsize>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    unloads: Arc<AtomicUsize>,
}

impl Fake {
    pub(crate) fn start(
        dialect: Dialect,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared {
            dialect,
            script: Arc::new(script),
            asked: Arc::default(),
            closed: Arc::default(),
            now: Arc::default(),
            most: Arc::default(),
            unloads: Arc::default(),
        };
        let fake = Self {
            url,
            asked: shared.asked.clone(),
            closed: shared.closed.clone(),
            most: shared.most.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        fake
    }

    pub(crate) fn questions(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (path, body) = request(&stream)?;
        if !["/v1/chat/completions", "/api/chat"].contains(&path.as_str()) {
            if ["/unload", "/api/generate"].contains(&path.as_str()) {
                self.unloads.fetch_add(1, Ordering::SeqCst);
            }
            let told = match path.as_str() {
                "/v1/models" => json!({"data": [{"id": "tiny"}]}),
                "/api/tags" => json!({"models": [{"name": "tiny:latest"}]}),
                "/api/version" => json!({"version": "0.0.0"}),
                _ => json!({}),
            };
            return answer(
                &mut stream,
                200,
                "application/json",
                told.to_string().as_bytes(),
            );
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        let asked = {
            let mut all = self.asked.lock().unwrap();
            let asked = Asked {
                number: all.len(),
                pages: labels(&body.to_string()),
                body,
                unloads: self.unloads.load(Ordering::SeqCst),
            };
            all.push(asked.clone());
            asked
        };
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let done = self.reply(&mut stream, (self.script)(&asked));
        self.now.fetch_sub(1, Ordering::SeqCst);
        done
    }

    fn reply(&self, stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
        if let Reply::Refuse(status, why) = reply {
            let told = json!({"error": why}).to_string();
            return answer(stream, status, "application/json", told.as_bytes());
        }
        if let Reply::Wait(time) = reply {
            thread::sleep(time);
            return Ok(());
        }
        // A reply that is cut short must be seen to be.
        let length = match reply {
            Reply::HangUp(_) => "content-length: 100000\r\n",
            _ => "",
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
        stream.write_all(format!("{head}{length}\r\n").as_bytes())?;
        match reply {
            Reply::Say(text) => {
                self.words(stream, "content", &text)?;
                self.end(stream, false, 2_000)
            }
            Reply::Cut(text) => {
                self.words(stream, "content", &text)?;
                self.end(stream, true, 2_000)
            }
            Reply::Blind(text) => {
                self.words(stream, "content", &text)?;
                self.end(stream, false, 40)
            }
            Reply::Think(text) => {
                let name = if self.dialect == Dialect::Ollama {
                    "thinking"
                } else {
                    "reasoning_content"
                };
                self.words(stream, name, &text)?;
                self.end(stream, true, 2_000)
            }
            Reply::Repeat(text) => loop {
                if let Err(cause) = self.words(stream, "content", &text) {
                    self.closed.fetch_add(1, Ordering::SeqCst);
                    return Err(cause);
                }
                thread::sleep(Duration::from_millis(2));
            },
            Reply::Fail(text, why) => {
                self.words(stream, "content", &text)?;
                self.line(stream, &json!({"error": why}))
            }
            Reply::HangUp(text) => self.words(stream, "content", &text),
            Reply::RawTensor(bytes) => stream.write_all(&bytes),
            Reply::Refuse(..) | Reply::Wait(_) => unreachable!(),
        }
    }

    /// Words in small pieces.
    fn words(&self, stream: &mut TcpStream, name: &str, text: &str) -> std::io::Result<()> {
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(7) {
            let piece: String = piece.iter().collect();
            let event = match self.dialect {
                Dialect::OpenAi => json!({"choices": [{"delta": {name: piece}}]}),
                Dialect::Ollama => {
                    json!({"message": {"role": "assistant", name: piece}, "done": false})
                }
            };
            self.line(stream, &event)?;
        }
        Ok(())
    }

    fn end(&self, stream: &mut TcpStream, cut: bool, prompt: u32) -> std::io::Result<()> {
        let reason = if cut { "length" } else { "stop" };
        match self.dialect {
            Dialect::Ollama => self.line(
                stream,
                &json!({"message": {"content": ""}, "done": true, "done_reason": reason,
                        "prompt_eval_count": prompt, "eval_count": 50}),
            ),
            Dialect::OpenAi => {
                self.line(
                    stream,
                    &json!({"choices": [{"delta": {}, "finish_reason": reason}]}),
                )?;
                let usage = json!({"prompt_tokens": prompt, "completion_tokens": 50});
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

fn answer(stream: &mut TcpStream, status: u16, kind: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

/// The path and the body of a request.
fn request(stream: &TcpStream) -> std::io::Result<(String, Vec<u8>)> {
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

/// The numbers of `Page 3 of 9 of`.
fn labels(text: &str) -> Vec<u32> {
    let all = text.split("Page ").skip(1);
    all.filter_map(|rest| {
        let (number, rest) = rest.split_once(' ')?;
        rest.starts_with("of ").then(|| number.parse().ok())?
    })
    .collect()
}
