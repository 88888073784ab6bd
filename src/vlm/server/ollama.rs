//! Ollama runner, through its native API: only that has `think`, `keep_alive` and `num_ctx`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use super::line_reader::LineReader;
use super::{Transport, error_message, list_of, model_error};
use crate::vlm::vision_precision;
use crate::vlm::{
    Card, ChatRequest, Chunk, Config, Error, Finish, Part, Runner, Stream, stream_of,
};

/// Pages per request: Ollama runs one Qwen-VL request at a time (`server/sched.go`).
const INTERLEAVE: usize = 8;
/// Prompt tokens per page: an image of one megapixel and the text around it.
const PROMPT_TOKENS_PER_PAGE: u32 = 1_536;

/// Ollama server with one of its models.
pub(super) struct Ollama {
    transport: Transport,
    card: Card,
    /// Context length (`num_ctx`): tokens of a prompt and its answer.
    context_length: u32,
}

pub(super) fn open(mut transport: Transport, config: &Config) -> Result<Ollama, Error> {
    let (_, version) = transport.get("/api/version")?;
    let (_, tags) = transport.get("/api/tags")?;
    let available: Vec<&str> = tags["models"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|model| model["name"].as_str())
        .collect();
    transport.models = list_of(&available);
    let configured = config.model.as_str();
    let matches =
        |name: &&&str| **name == configured || name.strip_suffix(":latest") == Some(configured);
    let model = match (configured, &available[..]) {
        ("", [only]) => Some(only),
        _ => available.iter().find(matches),
    };
    let model = model.ok_or_else(|| Error::UnknownModel {
        server: transport.url.clone(),
        model: configured.to_owned(),
        available: transport.models.clone(),
    })?;
    let shown = show(&transport, model)?;
    if takes_images(&shown) == Some(false) {
        let has_vision = |model: &&str| {
            show(&transport, model).is_ok_and(|shown| takes_images(&shown) == Some(true))
        };
        let with_vision: Vec<&str> = available.iter().copied().filter(has_vision).collect();
        return Err(Error::NoVision {
            server: transport.url.clone(),
            model: (*model).to_owned(),
            available: list_of(&with_vision),
        });
    }
    let card = Card {
        name: format!(
            "Ollama {} at {}",
            version["version"].as_str().unwrap_or("?"),
            transport.url
        ),
        model: (*model).to_owned(),
        lanes: 1,
        interleave: INTERLEAVE,
        exclusive_prefill: false,
        pixels_per_token: if model.contains("qwen3") { 1024 } else { 784 },
        remote: transport.remote,
        can_unload: true,
        warning: vision_precision::check_tensors(&shown),
    };
    let pages = match config.interleave {
        0 => INTERLEAVE,
        pages => pages,
    };
    let context_length = (pages as u32)
        .saturating_mul(PROMPT_TOKENS_PER_PAGE + config.max_tokens)
        .saturating_add(PROMPT_TOKENS_PER_PAGE);
    Ok(Ollama {
        transport,
        card,
        context_length,
    })
}

/// Facts about a model.
fn show(transport: &Transport, model: &str) -> Result<Value, Error> {
    let (_, show) = transport.post("/api/show", &json!({"model": model}))?;
    Ok(show)
}

/// Whether a model takes images; `None` if an older server does not tell.
fn takes_images(show: &Value) -> Option<bool> {
    let capabilities = show["capabilities"].as_array()?;
    Some(capabilities.iter().any(|capability| capability == "vision"))
}

impl Runner for Ollama {
    fn card(&self) -> &Card {
        &self.card
    }

    fn run(&self, request: &ChatRequest) -> Result<Stream, Error> {
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        for part in &request.parts {
            texts.push(match part {
                Part::Text(text) => text.as_str(),
                Part::Image(jpeg) => {
                    images.push(BASE64_STANDARD.encode(jpeg));
                    "[img]"
                }
            });
        }
        // Ollama reloads the model if an option changes, so `num_ctx` is the same for every request. Truncating or
        // shifting the context would drop images.
        let body = json!({
            "model": self.card.model,
            "messages": [{"role": "user", "content": texts.join("\n"), "images": images}],
            "stream": true,
            "think": false,
            "truncate": false,
            "shift": false,
            "options": {
                "num_ctx": self.context_length, "num_predict": request.max_tokens, "temperature": request.temperature,
            },
        });
        let response = self
            .transport
            .post_streaming("/api/chat", &body, request.deadline)?;
        let mut stream = JsonLines {
            lines: LineReader::new(response, request.deadline),
            finish: None,
        };
        Ok(stream_of(move || stream.next_chunk()))
    }

    fn unload(&self) -> Result<(), Error> {
        let body = json!({"model": self.card.model, "keep_alive": 0});
        self.transport
            .post_streaming("/api/generate", &body, super::CONTROL_TIMEOUT)
            .map(drop)
    }

    fn process(&self) -> Option<u32> {
        self.transport.process()
    }
}

/// Streamed answer as JSON lines.
struct JsonLines {
    lines: LineReader<Response>,
    /// Set by the last line, which may also hold text.
    finish: Option<Finish>,
}

impl JsonLines {
    fn next_chunk(&mut self) -> Result<Chunk, Error> {
        while self.finish.is_none()
            && let Some(line) = self.lines.next()?
        {
            let event: Value = serde_json::from_str(&line)
                .map_err(|_| Error::Protocol(line.chars().take(200).collect()))?;
            if !event["error"].is_null() {
                return Err(model_error(&error_message(&event)));
            }
            if event["done"] == true {
                let number = |name: &str| event[name].as_u64().and_then(|n| u32::try_from(n).ok());
                self.finish = Some(Finish {
                    truncated: event["done_reason"] == "length",
                    prompt_tokens: number("prompt_eval_count"),
                    completion_tokens: number("eval_count"),
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
        // Ollama closes the stream of an answer that repeats itself without a last line (`llm/server.go`, `tokenRepeat`).
        self.finish.map(Chunk::Finished).ok_or(Error::Repetition)
    }
}
