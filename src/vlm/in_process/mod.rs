//! In-process runner: Qwen2.5-VL or Qwen3-VL on MLX, without a server.

mod chat_template;
mod tokenizer;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Card, ChatRequest, Chunk, Config, Error, Finish, Part, REASONING_END, REASONING_START, Runner,
    Stream, stream_of, vision_precision,
};
use crate::checkpoint::{self, Json, Progress, Source, WeightFiles, Weights};
use crate::page::{PageImage, Size};
use crate::patch::{PatchSpec, Prepare, Prepared};
use crate::qwen::mlx::{
    self, Device, FinishReason, GenerationRequest, Generator, GeneratorConfig, TokenEvent,
};
use crate::qwen::{self, Family, image_processor, schema};
use chat_template::ChatTemplate;
use tokenizer::{DecodeState, Tokenizer};

/// Concurrent requests.
const LANES: usize = 4;
/// Context length in tokens if `config.json` has none.
const DEFAULT_CONTEXT_LENGTH: usize = 32_768;
/// Token that ends a message in all chat templates of the family.
const END_OF_MESSAGE: &str = "<|im_end|>";

/// Model in this process.
struct InProcess {
    card: Card,
    generator: Generator,
    template: ChatTemplate,
    tokenizer: Arc<Tokenizer>,
    patch_spec: PatchSpec,
}

/// Small files of a model, loaded before its weights are downloaded.
struct LoadedFiles {
    source: Source,
    json: Json,
    shape: qwen::Config,
    template: ChatTemplate,
    tokenizer: Tokenizer,
    patch_spec: PatchSpec,
}

/// Downloads the weights of a supported model.
pub(super) fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    Device::open(None)?;
    fetch_weights(&LoadedFiles::load(config)?.source, on_progress)?;
    Ok(())
}

/// Opens a model in a folder or on the hub. It may use `memory` bytes.
pub(super) fn open(config: &Config, memory: u64) -> Result<Box<dyn Runner>, Error> {
    let device = Device::open(None)?;
    let LoadedFiles {
        source,
        json,
        shape,
        template,
        tokenizer,
        patch_spec,
    } = LoadedFiles::load(config)?;
    let files = fetch_weights(&source, &mut |_, _, _| ())?;
    let token_side = (shape.vision.patch_size * shape.vision.spatial_merge_size) as u32;
    let generator_config = GeneratorConfig {
        tie_word_embeddings: ties_word_embeddings(&json),
        stop_tokens: stop_tokens(&source, &json, &tokenizer)?,
        context_length: text_config(&json, |part| part.number(&["max_position_embeddings"]))
            .unwrap_or(DEFAULT_CONTEXT_LENGTH),
        weights: weights_loader(config.model.clone(), files.clone(), &json, &shape),
        shape,
        device,
        memory_limit: memory,
    };
    let folder = files.base.first().and_then(|file| file.parent());
    let card = Card {
        name: format!("MLX in this process, {}", device.name()),
        model: config.model.clone(),
        lanes: LANES,
        interleave: 1,
        exclusive_prefill: false,
        pixels_per_token: token_side * token_side,
        remote: false,
        can_unload: true,
        warning: folder.and_then(vision_precision::check_folder),
    };
    Ok(Box::new(InProcess {
        card,
        generator: Generator::open(generator_config)?,
        template,
        tokenizer: Arc::new(tokenizer),
        patch_spec,
    }))
}

impl LoadedFiles {
    fn load(config: &Config) -> Result<Self, Error> {
        if config.model.is_empty() {
            return Err(Error::Unsupported(
                "no model is given: `--model` is a folder or a hub id".to_owned(),
            ));
        }
        let source = Source::find(&config.model)?;
        let json = Json::read(&source.file("config.json", &mut |_, _, _| ())?)?;
        let shape = qwen::Config::read(&json)?;
        if shape.family == Family::Qwen2 {
            return Err(json.unsupported("a Qwen2-VL").into());
        }
        let template = ChatTemplate::open(&source)?;
        let tokenizer = source.file("tokenizer.json", &mut |_, _, _| ())?;
        let tokenizer = Tokenizer::open(&tokenizer, shape.image_token)?;
        let sample = [
            Part::Image(Vec::new().into()),
            Part::Text("What is this?".to_owned()),
        ];
        let segments = tokenizer
            .encode_segments(&template.render(&sample)?)
            .map(|segments| segments.len());
        if segments.as_ref().ok() != Some(&2) {
            return Err(Error::Unsupported(format!(
                "the chat template of `{}` does not render an image as one token",
                config.model
            )));
        }
        Ok(Self {
            patch_spec: image_processor::from_source(&source, &shape.vision)?,
            source,
            json,
            shape,
            template,
            tokenizer,
        })
    }
}

/// Whether the token embeddings are the LM head as well.
fn ties_word_embeddings(json: &Json) -> bool {
    let tied = |part: &Json| part.flag("tie_word_embeddings").then_some(());
    text_config(json, tied).is_some()
}

/// Value of the language model's configuration: in `text_config`, or at the top level of older files.
fn text_config<T>(json: &Json, get: impl Fn(&Json) -> Option<T>) -> Option<T> {
    json.part("text_config")
        .and_then(|part| get(&part))
        .or_else(|| get(json))
}

/// Paths of the weights, downloaded if missing.
fn fetch_weights(source: &Source, on_progress: Progress) -> Result<WeightFiles, checkpoint::Error> {
    let names = checkpoint::shards(source)?;
    let fetch = |name: &String| source.file(name, &mut *on_progress);
    Ok(WeightFiles {
        base: names.iter().map(fetch).collect::<Result<_, _>>()?,
        adapter: None,
    })
}

/// Returns a function that opens and checks the weights.
fn weights_loader(
    model: String,
    files: WeightFiles,
    json: &Json,
    shape: &qwen::Config,
) -> Box<dyn Fn() -> Result<Weights, checkpoint::Error> + Send + Sync> {
    let schema = schema::language_model(shape, ties_word_embeddings(json));
    Box::new(move || Weights::open_quantized(&model, &files, &schema))
}

/// Ids of the tokens that end an answer.
fn stop_tokens(
    source: &Source,
    config: &Json,
    tokenizer: &Tokenizer,
) -> Result<Vec<u32>, checkpoint::Error> {
    let eos = |json: &Json| {
        let single = json.number(&["eos_token_id"]).map(|token| vec![token]);
        single.or_else(|| json.whole_numbers("eos_token_id"))
    };
    let mut tokens = text_config(config, eos).unwrap_or_default();
    if let Some(file) = source.optional("generation_config.json")? {
        tokens.extend(eos(&Json::read(&file)?).unwrap_or_default());
    }
    let tokens = tokens.into_iter().map(|token| token as u32);
    Ok(tokens.chain(tokenizer.token_id(END_OF_MESSAGE)).collect())
}

impl InProcess {
    /// Renders and encodes a prompt; also returns whether the answer begins with reasoning.
    fn segments(&self, parts: &[Part]) -> Result<(Vec<mlx::Segment>, bool), Error> {
        let text = self.template.render(parts)?;
        let refused = |error: tokenizers::Error| Error::Refused(error.to_string());
        let is_reasoning = text.trim_end().ends_with(REASONING_START);
        let mut texts = self
            .tokenizer
            .encode_segments(&text)
            .map_err(refused)?
            .into_iter();
        let images = parts.iter().filter_map(|part| match part {
            Part::Image(jpeg) => Some(self.image_segment(jpeg)),
            Part::Text(_) => None,
        });
        let mut segments: Vec<_> = texts.next().map(mlx::Segment::Text).into_iter().collect();
        for image in images {
            let Some(text) = texts.next() else {
                let reason = "the chat template omits an image";
                return Err(Error::Refused(reason.to_owned()));
            };
            segments.extend([image?, mlx::Segment::Text(text)]);
        }
        if texts.next().is_some() {
            let reason = "the chat template renders an image as more than one token";
            return Err(Error::Refused(reason.to_owned()));
        }
        Ok((segments, is_reasoning))
    }

    fn image_segment(&self, jpeg: &[u8]) -> Result<mlx::Segment, Error> {
        let refused = |error: &dyn std::fmt::Display| Error::Refused(format!("image: {error}"));
        let image = image::load_from_memory(jpeg).map_err(|e| refused(&e))?;
        let image = image.into_rgb8();
        let size = Size::new(image.width(), image.height());
        let page = PageImage::new(size, image.into_raw()).map_err(|e| refused(&e))?;
        let prepared = Prepare::Qwen(self.patch_spec.clone()).prepare(&page);
        match prepared.map_err(|e| refused(&e))? {
            Prepared::Qwen(patches) => Ok(mlx::Segment::Image(patches)),
            Prepared::Gray(_) => Err(refused(&"not in colour")),
        }
    }
}

impl Runner for InProcess {
    fn card(&self) -> &Card {
        &self.card
    }

    fn run(&self, request: &ChatRequest) -> Result<Stream, Error> {
        let (segments, is_reasoning) = self.segments(&request.parts)?;
        let generation = GenerationRequest {
            segments,
            max_tokens: request.max_tokens as usize,
            temperature: request.temperature,
            // Random, so that a retry gives another answer.
            seed: RandomState::new().build_hasher().finish(),
        };
        // A request that can never fit fails alone; other pages are not affected.
        let tokens = self.generator.submit(generation);
        let tokens = tokens.map_err(|error| Error::Refused(error.to_string()))?;
        let prompt_tokens = u32::try_from(tokens.prompt_tokens).ok();
        let mut stream = TextStream {
            tokens,
            tokenizer: Arc::clone(&self.tokenizer),
            decode_state: DecodeState::default(),
            is_reasoning,
            time_limit: request.deadline,
            deadline: Instant::now() + request.deadline,
            finish: Finish {
                truncated: false,
                prompt_tokens,
                completion_tokens: Some(0),
            },
        };
        Ok(stream_of(move || stream.next_chunk()))
    }

    fn unload(&self) -> Result<(), Error> {
        Ok(self.generator.unload()?)
    }

    fn process(&self) -> Option<u32> {
        Some(std::process::id())
    }
}

/// Answer as text, decoded token by token.
struct TextStream {
    tokens: mlx::TokenStream,
    tokenizer: Arc<Tokenizer>,
    decode_state: DecodeState,
    /// Whether the current tokens are reasoning.
    is_reasoning: bool,
    time_limit: Duration,
    deadline: Instant,
    finish: Finish,
}

impl TextStream {
    fn next_chunk(&mut self) -> Result<Chunk, Error> {
        loop {
            let timeout = || Error::Deadline(self.time_limit.as_secs());
            let event = self.tokens.recv_deadline(self.deadline);
            match event.map_err(|error| error.map_or_else(timeout, Error::from))? {
                TokenEvent::Token(token) => {
                    self.finish.completion_tokens = self.finish.completion_tokens.map(|n| n + 1);
                    let decoded = self
                        .tokenizer
                        .decode_stream(token, &mut self.decode_state)
                        .map_err(|error| Error::ModelFailed(error.to_string()))?;
                    match decoded {
                        None => {}
                        Some(text) if text.contains(REASONING_END) => self.is_reasoning = false,
                        Some(text) if self.is_reasoning => return Ok(Chunk::Reasoning(text)),
                        Some(text) => return Ok(Chunk::Text(text)),
                    }
                }
                TokenEvent::Finished(reason) => {
                    self.finish.truncated = reason == FinishReason::Length;
                    return Ok(Chunk::Finished(self.finish));
                }
            }
        }
    }
}

impl From<mlx::Error> for Error {
    fn from(error: mlx::Error) -> Self {
        match error {
            mlx::Error::NotBuilt => Self::NotBuilt,
            mlx::Error::Memory(reason) => Self::OutOfMemory(reason),
            mlx::Error::Failed(reason) => Self::ModelFailed(reason),
            other => Self::Unsupported(other.to_string()),
        }
    }
}

impl From<checkpoint::Error> for Error {
    fn from(error: checkpoint::Error) -> Self {
        Self::Unsupported(error.to_string())
    }
}
