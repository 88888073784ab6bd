//! OpenAI chat API runner: mlx-vlm, llama.cpp, vLLM, LM Studio.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use super::line_reader::LineReader;
use super::{ResponseHead, Transport, error_message, list_of, model_error};
use crate::vlm::vision_precision;
use crate::vlm::{
    Card, ChatRequest, Chunk, Config, Error, Finish, Part, Runner, RunnerKind, Stream, stream_of,
};

/// Concurrent requests: servers of this kind batch them.
const LANES: usize = 8;
/// `repetition_context_size` in tokens; the default of mlx-vlm, 20, misses long phrases (mlx-vlm#1021).
const REPETITION_CONTEXT: u32 = 512;

/// Server with the OpenAI chat API and one of its models.
pub(super) struct OpenAi {
    transport: Transport,
    card: Card,
    /// Whether it is mlx-vlm, which has request fields of its own.
    is_mlx: bool,
}

pub(super) fn open(mut transport: Transport, config: &Config) -> Result<OpenAi, Error> {
    let (head, models) = transport.get("/v1/models")?;
    let is_mlx = config.runner == RunnerKind::MlxVlm || head.server.starts_with("mlx_vlm");
    let available: Vec<&str> = models["data"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|model| model["id"].as_str())
        .collect();
    transport.models = list_of(&available);
    // llama.cpp already lists its model while it is loading.
    let (health_head, health) = transport.try_get("/health")?;
    if health_head.status == StatusCode::SERVICE_UNAVAILABLE {
        return Err(Error::Unavailable {
            server: transport.url,
            reason: error_message(&health),
        });
    }
    let loaded = health["loaded_model"].as_str().filter(|_| is_mlx);
    let loaded = loaded.map(str::to_owned);
    let unknown = || Error::UnknownModel {
        server: transport.url.clone(),
        model: config.model.clone(),
        available: transport.models.clone(),
    };
    let model = match (config.model.as_str(), loaded, &available[..]) {
        ("", Some(loaded), _) => loaded,
        ("", None, [only]) => (*only).to_owned(),
        ("", ..) => return Err(unknown()),
        // mlx-vlm loads any requested model; other servers have a fixed list.
        (model, ..) if is_mlx || available.is_empty() || available.contains(&model) => {
            model.to_owned()
        }
        _ => return Err(unknown()),
    };
    let card = card(&transport, &head, model, is_mlx);
    Ok(OpenAi {
        transport,
        card,
        is_mlx,
    })
}

fn card(transport: &Transport, head: &ResponseHead, model: String, is_mlx: bool) -> Card {
    let family = model.to_lowercase().replace(['-', '_'], "");
    let is_qwen3 = family.contains("qwen3");
    Card {
        name: match head.server.as_str() {
            "" => transport.url.clone(),
            server => format!("{server} at {}", transport.url),
        },
        lanes: LANES,
        interleave: 1,
        // Requests that are prefilled in one batch lose the DeepStack features of all but the first (mlx-vlm 0.7.10).
        exclusive_prefill: is_mlx && family.contains("qwen3vl"),
        // 32 x 32 and 28 x 28 pixels.
        pixels_per_token: if is_qwen3 { 1024 } else { 784 },
        remote: transport.remote,
        can_unload: is_mlx,
        warning: vision_precision::check_folder(Path::new(&model)),
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
            body["repetition_context_size"] = REPETITION_CONTEXT.into();
        } else {
            body["chat_template_kwargs"] = json!({"enable_thinking": false});
        }
        let response =
            self.transport
                .post_streaming("/v1/chat/completions", &body, request.deadline)?;
        let mut events = ServerSentEvents {
            lines: LineReader::new(response, request.deadline),
            finish: Finish::default(),
        };
        Ok(stream_of(move || {
            let chunk = events.next_chunk();
            chunk.map(|chunk| chunk.unwrap_or(Chunk::Finished(events.finish)))
        }))
    }

    fn unload(&self) -> Result<(), Error> {
        match self.is_mlx {
            true => self
                .transport
                .post_streaming("/unload", &json!({}), super::CONTROL_TIMEOUT)
                .map(drop),
            false => Ok(()),
        }
    }

    fn process(&self) -> Option<u32> {
        self.transport.process()
    }
}

/// Streamed answer as server-sent events (SSE).
struct ServerSentEvents {
    lines: LineReader<Response>,
    finish: Finish,
}

impl ServerSentEvents {
    /// Returns the next chunk with text; `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        while let Some(line) = self.lines.next()? {
            let Some(data) = line.strip_prefix("data:").map(str::trim) else {
                continue; // Comment or event name.
            };
            if data == "[DONE]" {
                return Ok(None);
            }
            let event: Value = serde_json::from_str(data)
                .map_err(|_| Error::Protocol(data.chars().take(200).collect()))?;
            if !event["error"].is_null() {
                return Err(model_error(&error_message(&event)));
            }
            self.record_usage(&event);
            let delta = &event["choices"][0]["delta"];
            let text = |name: &str| delta[name].as_str().filter(|text| !text.is_empty());
            if let Some(text) = text("content") {
                return Ok(Some(Chunk::Text(text.to_owned())));
            }
            if let Some(text) = text("reasoning_content").or(text("reasoning")) {
                return Ok(Some(Chunk::Reasoning(text.to_owned())));
            }
        }
        match self.finish == Finish::default() {
            true => Err(Error::Disconnected(
                "the stream ended without a finish reason".to_owned(),
            )),
            false => Ok(None),
        }
    }

    fn record_usage(&mut self, event: &Value) {
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let usage = &event["usage"];
        self.finish.prompt_tokens = number(&usage["prompt_tokens"]).or(self.finish.prompt_tokens);
        self.finish.completion_tokens =
            number(&usage["completion_tokens"]).or(self.finish.completion_tokens);
        if let Some(reason) = event["choices"][0]["finish_reason"].as_str() {
            self.finish.truncated = reason == "length";
        }
    }
}
