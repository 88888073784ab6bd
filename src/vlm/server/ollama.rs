//! Ollama by its own interface: the one that carries `think`, `keep_alive` and the size of the context.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use super::line_reader::LineReader;
use super::{Wire, message, refusal};
use crate::vlm::vision_precision;
use crate::vlm::{
    Card, ChatRequest, Chunk, Config, Error, Finish, Part, Runner, Stream, stream_of,
};

/// Pages in one request: it runs one request of a Qwen-VL at a time, whatever is asked (`server/sched.go`).
const INTERLEAVED: usize = 8;
/// Tokens of a page of a megapixel, and of the words around it.
const PAGE: u32 = 1_536;

/// An Ollama.
pub(super) struct Ollama {
    wire: Wire,
    card: Card,
    /// Tokens of a question and its answer.
    context: u32,
}

pub(super) fn open(wire: Wire, config: &Config) -> Result<Ollama, Error> {
    let (_, version) = wire.get("/api/version")?;
    let (_, tags) = wire.get("/api/tags")?;
    let known: Vec<&str> = tags["models"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|model| model["name"].as_str())
        .collect();
    let wanted = config.model.as_str();
    let fits = |name: &&&str| **name == wanted || name.strip_suffix(":latest") == Some(wanted);
    let model = match (wanted, &known[..]) {
        ("", [only]) => Some(only),
        _ => known.iter().find(fits),
    };
    let model = model.ok_or_else(|| Error::Model {
        at: wire.url.clone(),
        model: wanted.to_owned(),
        known: known.join(", "),
    })?;
    let (_, show) = wire.post("/api/show", &json!({"model": model}))?;
    let card = Card {
        name: format!(
            "Ollama {} at {}",
            version["version"].as_str().unwrap_or("?"),
            wire.url
        ),
        model: (*model).to_owned(),
        lanes: 1,
        interleave: INTERLEAVED,
        gated: false,
        pixels_per_token: if model.contains("qwen3") { 1024 } else { 784 },
        remote: wire.remote,
        unloads: true,
        warning: vision_precision::of_tensors(&show),
    };
    let pages = match config.interleave {
        0 => INTERLEAVED,
        pages => pages,
    };
    let context = (pages as u32)
        .saturating_mul(PAGE + config.max_tokens)
        .saturating_add(PAGE);
    Ok(Ollama {
        wire,
        card,
        context,
    })
}

impl Runner for Ollama {
    fn card(&self) -> &Card {
        &self.card
    }

    fn run(&self, request: &ChatRequest) -> Result<Stream, Error> {
        let (mut words, mut images) = (Vec::new(), Vec::new());
        for part in &request.parts {
            words.push(match part {
                Part::Text(text) => text.as_str(),
                Part::Image(jpeg) => {
                    images.push(BASE64_STANDARD.encode(jpeg));
                    "[img]"
                }
            });
        }
        // Other options than before would load the model anew, so the context is the same for every question; cut or
        // shifted, it would lose pictures.
        let body = json!({
            "model": self.card.model,
            "messages": [{"role": "user", "content": words.join("\n"), "images": images}],
            "stream": true,
            "think": false,
            "truncate": false,
            "shift": false,
            "options": {
                "num_ctx": self.context, "num_predict": request.max_tokens, "temperature": request.temperature,
            },
        });
        let reply = self.wire.ask("/api/chat", &body, request.deadline)?;
        let mut answer = Answer {
            lines: LineReader::new(reply, request.deadline),
            end: None,
        };
        Ok(stream_of(move || answer.chunk()))
    }

    fn unload(&self) -> Result<(), Error> {
        let body = json!({"model": self.card.model, "keep_alive": 0});
        self.wire
            .ask("/api/generate", &body, super::SHORT)
            .map(drop)
    }

    fn process(&self) -> Option<u32> {
        self.wire.process()
    }
}

/// An answer in lines of JSON.
struct Answer {
    lines: LineReader<Response>,
    /// The end came with the last words.
    end: Option<Finish>,
}

impl Answer {
    fn chunk(&mut self) -> Result<Chunk, Error> {
        while self.end.is_none()
            && let Some(line) = self.lines.next()?
        {
            let event: Value = serde_json::from_str(&line)
                .map_err(|_| Error::Protocol(line.chars().take(200).collect()))?;
            if !event["error"].is_null() {
                return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, &message(&event)));
            }
            if event["done"] == true {
                let number = |name: &str| event[name].as_u64().and_then(|n| u32::try_from(n).ok());
                self.end = Some(Finish {
                    truncated: event["done_reason"] == "length",
                    prompt_tokens: number("prompt_eval_count"),
                    tokens: number("eval_count"),
                });
            }
            let text = |name: &str| {
                let text = event["message"][name].as_str();
                text.filter(|text| !text.is_empty()).map(str::to_owned)
            };
            if let Some(text) = text("content") {
                return Ok(Chunk::Text(text));
            }
            if let Some(text) = text("thinking") {
                return Ok(Chunk::Reasoning(text));
            }
        }
        // It ends an answer that goes round in circles without a word (`llm/server.go`, `tokenRepeat`).
        self.end.map(Chunk::Finished).ok_or(Error::Repetition)
    }
}
