//! The chat interface of OpenAI, as mlx-vlm, llama.cpp, vLLM and LM Studio speak it.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use super::line_reader::LineReader;
use super::{Head, Wire, message, refusal};
use crate::vlm::vision_precision;
use crate::vlm::{
    Card, ChatRequest, Chunk, Config, Error, Finish, Part, Runner, RunnerKind, Stream, stream_of,
};

/// Requests at once for servers that batch them.
const LANES: usize = 8;
/// Tokens back that repetition is looked for; the default of mlx-vlm, 20, misses long phrases (mlx-vlm#1021).
const BACK: u32 = 512;

/// A server of this kind.
pub(super) struct OpenAi {
    wire: Wire,
    card: Card,
    /// Whether it is mlx-vlm, with fields of its own.
    is_mlx: bool,
}

pub(super) fn open(wire: Wire, config: &Config) -> Result<OpenAi, Error> {
    let (head, models) = wire.get("/v1/models")?;
    let is_mlx = config.runner == RunnerKind::MlxVlm || head.server.starts_with("mlx_vlm");
    let known: Vec<&str> = models["data"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|model| model["id"].as_str())
        .collect();
    // llama.cpp lists its model while it loads it.
    let (state, health) = wire.try_get("/health")?;
    if state.status == StatusCode::SERVICE_UNAVAILABLE {
        return Err(Error::Unavailable {
            at: wire.url,
            why: message(&health),
        });
    }
    let loaded = health["loaded_model"].as_str().filter(|_| is_mlx);
    let loaded = loaded.map(str::to_owned);
    let unknown = || Error::Model {
        at: wire.url.clone(),
        model: config.model.clone(),
        known: known.join(", "),
    };
    let model = match (config.model.as_str(), loaded, &known[..]) {
        ("", Some(loaded), _) => loaded,
        ("", None, [only]) => (*only).to_owned(),
        ("", ..) => return Err(unknown()),
        // mlx-vlm loads what it is asked for; the others have what they have.
        (model, ..) if is_mlx || known.is_empty() || known.contains(&model) => model.to_owned(),
        _ => return Err(unknown()),
    };
    let card = card(&wire, &head, model, is_mlx);
    Ok(OpenAi { wire, card, is_mlx })
}

fn card(wire: &Wire, head: &Head, model: String, is_mlx: bool) -> Card {
    let family = model.to_lowercase().replace(['-', '_'], "");
    let is_third = family.contains("qwen3");
    Card {
        name: match head.server.as_str() {
            "" => wire.url.clone(),
            server => format!("{server} at {}", wire.url),
        },
        lanes: LANES,
        interleave: 1,
        // Requests that prefill together lose the DeepStack features of all but the first (mlx-vlm 0.7.10).
        gated: is_mlx && family.contains("qwen3vl"),
        // 28 x 28 and 32 x 32 pixels.
        pixels_per_token: if is_third { 1024 } else { 784 },
        remote: wire.remote,
        unloads: is_mlx,
        warning: vision_precision::of_folder(Path::new(&model)),
        model,
    }
}

impl Runner for OpenAi {
    fn card(&self) -> &Card {
        &self.card
    }

    fn run(&self, request: &ChatRequest) -> Result<Stream, Error> {
        let part = |part: &Part| match part {
            Part::Text(text) => json!({"type": "text", "text": text}),
            Part::Image(jpeg) => {
                let url = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg));
                json!({"type": "image_url", "image_url": {"url": url}})
            }
        };
        let content: Vec<Value> = request.parts.iter().map(part).collect();
        let mut body = json!({
            "model": self.card.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        if self.is_mlx {
            body["enable_thinking"] = false.into();
            body["repetition_context_size"] = BACK.into();
        } else {
            body["chat_template_kwargs"] = json!({"enable_thinking": false});
        }
        let reply = self
            .wire
            .ask("/v1/chat/completions", &body, request.deadline)?;
        let mut answer = Answer {
            lines: LineReader::new(reply, request.deadline),
            end: Finish::default(),
        };
        Ok(stream_of(move || {
            let chunk = answer.chunk();
            chunk.map(|chunk| chunk.unwrap_or(Chunk::Finished(answer.end)))
        }))
    }

    fn unload(&self) -> Result<(), Error> {
        match self.is_mlx {
            true => self.wire.ask("/unload", &json!({}), super::SHORT).map(drop),
            false => Ok(()),
        }
    }

    fn process(&self) -> Option<u32> {
        self.wire.process()
    }
}

/// An answer in server-sent events.
struct Answer {
    lines: LineReader<Response>,
    end: Finish,
}

impl Answer {
    /// The next piece; none at the end.
    fn chunk(&mut self) -> Result<Option<Chunk>, Error> {
        while let Some(line) = self.lines.next()? {
            let Some(data) = line.strip_prefix("data:").map(str::trim) else {
                continue; // Comments and the names of events.
            };
            if data == "[DONE]" {
                return Ok(None);
            }
            let event: Value = serde_json::from_str(data)
                .map_err(|_| Error::Protocol(data.chars().take(200).collect()))?;
            if !event["error"].is_null() {
                return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, &message(&event)));
            }
            self.note(&event);
            let delta = &event["choices"][0]["delta"];
            let text = |name: &str| delta[name].as_str().filter(|text| !text.is_empty());
            if let Some(text) = text("content") {
                return Ok(Some(Chunk::Text(text.to_owned())));
            }
            if let Some(text) = text("reasoning_content").or(text("reasoning")) {
                return Ok(Some(Chunk::Reasoning(text.to_owned())));
            }
        }
        match self.end == Finish::default() {
            true => Err(Error::Disconnected(
                "the stream ended without an end".to_owned(),
            )),
            false => Ok(None),
        }
    }

    fn note(&mut self, event: &Value) {
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let usage = &event["usage"];
        self.end.prompt_tokens = number(&usage["prompt_tokens"]).or(self.end.prompt_tokens);
        self.end.tokens = number(&usage["completion_tokens"]).or(self.end.tokens);
        if let Some(reason) = event["choices"][0]["finish_reason"].as_str() {
            self.end.truncated = reason == "length";
        }
    }
}
