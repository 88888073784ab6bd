//! In-process vision-language model: the Rust side of `describe.py`.
//!
//! `peer-describe MODEL TOKENS LANES PROMPT IMAGE…` sends one request per image, LANES at a time, each with TOKENS answer tokens.
//! Prints the seconds of each of two rounds, the second of which is warm, and the answers, as JSON.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::error::Error;
use std::time::{Duration, Instant};

use ingest::config::{Settings, Sources};
use ingest::vlm::{self, ChatRequest, Chunk, Config, Part, Runner, RunnerKind};
use serde_json::json;

/// Bytes that the model may use.
const MEMORY: u64 = 4 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokens, lanes, prompt, images @ ..] = &args[..] else {
        return Err("MODEL TOKENS LANES PROMPT IMAGE…".into());
    };
    let (tokens, lanes): (u32, usize) = (tokens.parse()?, lanes.parse()?);
    let config = Config {
        model: model.clone(),
        runner: RunnerKind::Mlx,
        ..Settings::resolve(&Sources::default())?.describe
    };
    let runner = vlm::open(&config, MEMORY)?;
    let requests: Vec<ChatRequest> = images
        .iter()
        .map(|image| request(prompt, &std::fs::read(image)?, tokens))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let (mut seconds, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let start = Instant::now();
        answers = run_all(&*runner, &requests, lanes)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    println!("{}", json!({"seconds": seconds, "said": answers}));
    Ok(())
}

fn request(prompt: &str, image: &[u8], tokens: u32) -> Result<ChatRequest, Box<dyn Error>> {
    Ok(ChatRequest {
        parts: vec![Part::Image(image.into()), Part::Text(prompt.to_owned())],
        max_tokens: tokens,
        temperature: 0.0,
        deadline: Duration::from_secs(600),
    })
}

/// Runs all requests, `lanes` at a time, and returns their answers in order.
fn run_all(
    runner: &dyn Runner,
    requests: &[ChatRequest],
    lanes: usize,
) -> Result<Vec<String>, vlm::Error> {
    let mut answers = Vec::with_capacity(requests.len());
    for batch in requests.chunks(lanes.max(1)) {
        let streams: Vec<_> = batch
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
            answers.push(text);
        }
    }
    Ok(answers)
}
