//! A Qwen2.5-VL or Qwen3-VL in this process, on MLX: the same questions and answers as from a server, without one.

mod chat_template;
mod tokenizer;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Card, ChatRequest, Chunk, Config, Error, Finish, Part, Runner, Stream, stream_of,
    vision_precision,
};
use crate::checkpoint::{self, Files, Json, Progress, Source, Weights};
use crate::page::{PageImage, Size};
use crate::patch::{PatchSpec, Prepare, Prepared};
use crate::qwen::mlx::{
    self, Device, FinishReason, GenerationRequest, Generator, GeneratorConfig, TokenEvent,
};
use crate::qwen::{self, Family, image_processor, schema};
use chat_template::ChatTemplate;
use tokenizer::Tokenizer;

/// Questions at once that suit it.
const LANES: usize = 4;
/// Tokens that a model reads, where it does not tell.
const CONTEXT: usize = 32_768;
/// The token that ends an answer in all chat templates of the family.
const END: &str = "<|im_end|>";
/// Where thoughts begin, in the question of a model that always thinks, and the token that ends them.
const THINK: &str = "<think>";
const THOUGHT: &str = "</think>";

/// A model in this process.
struct InProcess {
    card: Card,
    generator: Generator,
    template: ChatTemplate,
    tokenizer: Arc<Tokenizer>,
    pixels: PatchSpec,
}

/// What is known of a model before its weights are fetched.
struct LoadedFiles {
    source: Source,
    json: Json,
    shape: qwen::Config,
    template: ChatTemplate,
    tokenizer: Tokenizer,
    pixels: PatchSpec,
}

/// Fetches the weights of a model that can run here.
pub(super) fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    Device::open(None)?;
    files(&LoadedFiles::find(config)?.source, on_progress)?;
    Ok(())
}

/// Opens the model in a folder, or on the hub; `memory` is what it may take, in bytes.
pub(super) fn open(config: &Config, memory: u64) -> Result<Box<dyn Runner>, Error> {
    let device = Device::open(None)?;
    let LoadedFiles {
        source,
        json,
        shape,
        template,
        tokenizer,
        pixels,
    } = LoadedFiles::find(config)?;
    let files = files(&source, &mut |_, _, _| ())?;
    let side = (shape.vision.patch_size * shape.vision.spatial_merge_size) as u32;
    let generator_config = GeneratorConfig {
        tie_word_embeddings: is_tied(&json),
        stop_tokens: stop(&source, &json, &tokenizer)?,
        context_length: setting(&json, |part| part.number(&["max_position_embeddings"]))
            .unwrap_or(CONTEXT),
        weights: weights(config.model.clone(), files.clone(), &json, &shape),
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
        gated: false,
        pixels_per_token: side * side,
        remote: false,
        unloads: true,
        warning: folder.and_then(vision_precision::of_folder),
    };
    Ok(Box::new(InProcess {
        card,
        generator: Generator::open(generator_config)?,
        template,
        tokenizer: Arc::new(tokenizer),
        pixels,
    }))
}

impl LoadedFiles {
    fn find(config: &Config) -> Result<Self, Error> {
        if config.model.is_empty() {
            return Err(Error::Unsupported(
                "no model is named: `--model` is a folder or a hub id".to_owned(),
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
        let asked = [
            Part::Image(Vec::new().into()),
            Part::Text("What is this?".to_owned()),
        ];
        let stretches = tokenizer
            .encode_segments(&template.render(&asked)?)
            .map(|cut| cut.len());
        if stretches.as_ref().ok() != Some(&2) {
            return Err(Error::Unsupported(format!(
                "the chat template of `{}` does not make one token of a picture",
                config.model
            )));
        }
        Ok(Self {
            pixels: image_processor::from_source(&source, &shape.vision)?,
            source,
            json,
            shape,
            template,
            tokenizer,
        })
    }
}

/// Whether the table of words is the head as well.
fn is_tied(json: &Json) -> bool {
    let tied = |part: &Json| part.flag("tie_word_embeddings").then_some(());
    setting(json, tied).is_some()
}

/// A setting of the language model, from where it may stand.
fn setting<T>(json: &Json, get: impl Fn(&Json) -> Option<T>) -> Option<T> {
    json.part("text_config")
        .and_then(|part| get(&part))
        .or_else(|| get(json))
}

/// The files of the weights, fetched where needed.
fn files(source: &Source, on_progress: Progress) -> Result<Files, checkpoint::Error> {
    let names = checkpoint::shards(source)?;
    let fetch = |name: &String| source.file(name, &mut *on_progress);
    Ok(Files {
        base: names.iter().map(fetch).collect::<Result<_, _>>()?,
        adapter: None,
    })
}

/// What opens and checks the weights.
fn weights(
    model: String,
    files: Files,
    json: &Json,
    shape: &qwen::Config,
) -> Box<dyn Fn() -> Result<Weights, checkpoint::Error> + Send + Sync> {
    let schema = schema::language_model(shape, is_tied(json));
    Box::new(move || Weights::open_quantized(&model, &files, &schema))
}

/// The tokens that end an answer.
fn stop(
    source: &Source,
    config: &Json,
    tokenizer: &Tokenizer,
) -> Result<Vec<u32>, checkpoint::Error> {
    let named = |json: &Json| {
        let one = json.number(&["eos_token_id"]).map(|token| vec![token]);
        one.or_else(|| json.whole_numbers("eos_token_id"))
    };
    let mut stop = setting(config, named).unwrap_or_default();
    if let Some(file) = source.optional("generation_config.json")? {
        stop.extend(named(&Json::read(&file)?).unwrap_or_default());
    }
    let stop = stop.into_iter().map(|token| token as u32);
    Ok(stop.chain(tokenizer.token(END)).collect())
}

impl InProcess {
    /// The question as the model reads it, and whether its answer begins with thoughts.
    fn segments(&self, parts: &[Part]) -> Result<(Vec<mlx::Segment>, bool), Error> {
        let text = self.template.render(parts)?;
        let refused = |error: tokenizers::Error| Error::Refused(error.to_string());
        let thinking = text.trim_end().ends_with(THINK);
        let mut stretches = self
            .tokenizer
            .encode_segments(&text)
            .map_err(refused)?
            .into_iter();
        let images = parts.iter().filter_map(|part| match part {
            Part::Image(jpeg) => Some(self.picture(jpeg)),
            Part::Text(_) => None,
        });
        let mut segments: Vec<_> = stretches
            .next()
            .map(mlx::Segment::Text)
            .into_iter()
            .collect();
        for image in images {
            let Some(behind) = stretches.next() else {
                let why = "the chat template leaves a picture out";
                return Err(Error::Refused(why.to_owned()));
            };
            segments.extend([image?, mlx::Segment::Text(behind)]);
        }
        if stretches.next().is_some() {
            let why = "the chat template makes more of a picture than one token";
            return Err(Error::Refused(why.to_owned()));
        }
        Ok((segments, thinking))
    }

    fn picture(&self, jpeg: &[u8]) -> Result<mlx::Segment, Error> {
        let refused = |error: &dyn std::fmt::Display| Error::Refused(format!("picture: {error}"));
        let seen = image::load_from_memory(jpeg).map_err(|e| refused(&e))?;
        let seen = seen.into_rgb8();
        let size = Size::new(seen.width(), seen.height());
        let page = PageImage::new(size, seen.into_raw()).map_err(|e| refused(&e))?;
        let prepared = Prepare::Qwen(self.pixels.clone()).prepare(&page);
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
        let (segments, thinking) = self.segments(&request.parts)?;
        let question = GenerationRequest {
            segments,
            max_tokens: request.max_tokens as usize,
            temperature: request.temperature,
            // Each time another one: who asks again wants another answer.
            seed: RandomState::new().build_hasher().finish(),
        };
        // What does not fit now will not fit later: one page is refused, the others go on.
        let asked = self.generator.submit(question);
        let answer = asked.map_err(|error| Error::Refused(error.to_string()))?;
        let prompt = u32::try_from(answer.prompt_tokens).ok();
        let mut answer = TokenStream {
            answer,
            tokenizer: Arc::clone(&self.tokenizer),
            held: Vec::new(),
            thinking,
            deadline: request.deadline,
            by: Instant::now() + request.deadline,
            end: Finish {
                truncated: false,
                prompt_tokens: prompt,
                tokens: Some(0),
            },
        };
        Ok(stream_of(move || answer.next_chunk()))
    }

    fn unload(&self) -> Result<(), Error> {
        Ok(self.generator.unload()?)
    }

    fn process(&self) -> Option<u32> {
        Some(std::process::id())
    }
}

/// An answer, token by token.
struct TokenStream {
    answer: mlx::TokenStream,
    tokenizer: Arc<Tokenizer>,
    /// The beginning of a character.
    held: Vec<u32>,
    /// Whether what comes is not meant for others.
    thinking: bool,
    deadline: Duration,
    by: Instant,
    end: Finish,
}

impl TokenStream {
    fn next_chunk(&mut self) -> Result<Chunk, Error> {
        loop {
            let late = || Error::Deadline(self.deadline.as_secs());
            let said = self.answer.recv_deadline(self.by);
            match said.map_err(|error| error.map_or_else(late, Error::from))? {
                TokenEvent::Token(token) => {
                    self.end.tokens = self.end.tokens.map(|tokens| tokens + 1);
                    let text = self.tokenizer.decode_stream(token, &mut self.held);
                    if text.contains(THOUGHT) {
                        self.thinking = false;
                    } else if !text.is_empty() && self.thinking {
                        return Ok(Chunk::Reasoning(text));
                    } else if !text.is_empty() {
                        return Ok(Chunk::Text(text));
                    }
                }
                TokenEvent::Finished(reason) => {
                    self.end.truncated = reason == FinishReason::Length;
                    return Ok(Chunk::Finished(self.end));
                }
            }
        }
    }
}

impl From<mlx::Error> for Error {
    fn from(error: mlx::Error) -> Self {
        match error {
            mlx::Error::NotBuilt => Self::NotBuilt,
            mlx::Error::Memory(why) => Self::Memory(why),
            mlx::Error::Failed(why) => Self::ModelFailed(why),
            other => Self::Unsupported(other.to_string()),
        }
    }
}

impl From<checkpoint::Error> for Error {
    fn from(error: checkpoint::Error) -> Self {
        Self::Unsupported(error.to_string())
    }
}
