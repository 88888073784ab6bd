//! A describing model in the process: the part of `describe.py` that is ours.
//!
//! `peer-describe MODEL TOKENS LANES WORDS PICTURE…` asks about each picture by itself, so many questions at once, until all
//! answers have so many tokens. Prints the seconds of each of two turns, the second of which finds everything warm, and
//! what was answered, as JSON.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::error::Error;
use std::time::{Duration, Instant};

use ingest::config::{Settings, Sources};
use ingest::vlm::{self, ChatRequest, Chunk, Config, Part, Runner, RunnerKind};
use serde_json::json;

/// Bytes that the model may take.
const MEMORY: u64 = 4 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokens, lanes, text, pictures @ ..] = &words[..] else {
        return Err("MODEL TOKENS LANES WORDS PICTURE…".into());
    };
    let (tokens, lanes): (u32, usize) = (tokens.parse()?, lanes.parse()?);
    let config = Config {
        model: model.clone(),
        runner: RunnerKind::Mlx,
        ..Settings::resolve(&Sources::default())?.describe
    };
    let runner = vlm::open(&config, MEMORY)?;
    let requests: Vec<ChatRequest> = pictures
        .iter()
        .map(|picture| request(text, &std::fs::read(picture)?, tokens))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let (mut seconds, mut said) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let begun = Instant::now();
        said = all(&*runner, &requests, lanes)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    println!("{}", json!({"seconds": seconds, "said": said}));
    Ok(())
}

fn request(text: &str, picture: &[u8], tokens: u32) -> Result<ChatRequest, Box<dyn Error>> {
    Ok(ChatRequest {
        parts: vec![Part::Image(picture.into()), Part::Text(text.to_owned())],
        max_tokens: tokens,
        temperature: 0.0,
        deadline: Duration::from_secs(600),
    })
}

/// The answers to all questions, in order.
fn all(
    runner: &dyn Runner,
    requests: &[ChatRequest],
    lanes: usize,
) -> Result<Vec<String>, vlm::Error> {
    let mut said = Vec::with_capacity(requests.len());
    for together in requests.chunks(lanes.max(1)) {
        let streams: Vec<_> = together
            .iter()
            .map(|request| runner.run(request))
            .collect::<Result<_, _>>()?;
        for stream in streams {
            let mut text = String::new();
            for chunk in stream {
                if let Chunk::Text(more) = chunk? {
                    text.push_str(&more);
                }
            }
            said.push(text);
        }
    }
    Ok(said)
}
