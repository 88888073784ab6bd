//! Parity of Qwen2.5-VL and Qwen3-VL on MLX with mlx-vlm: visual features, and the logits after each token of a prompt with two
//! images and after each of 16 tokens of the answer (`tests/golden/qwen_vl/README.md`).

use std::time::{Duration, Instant};

use ingest::qwen::mlx::{
    Device, FinishReason, GenerationRequest, Generator, GeneratorConfig, Segment, TokenEvent,
    TokenStream,
};

use super::models::{Expected, expected, generator_config};
use super::reference::cut;

/// Visual features, and the logits after each token, with a prompt prefilled in chunks.
fn computed(generator: &Generator, expected: &Expected, chunk: usize) -> [Vec<Vec<f32>>; 2] {
    let (prompt, answer) = (expected.prompt.clone(), expected.answer.clone());
    let activations = generator.activations(prompt, answer, chunk).unwrap();
    let rows = |name: &str| {
        let named = activations.iter().filter(|one| one.name == name);
        named
            .flat_map(|one| cut(&one.values, one.width))
            .collect::<Vec<_>>()
    };
    let mut visual = rows("vit.out");
    visual.extend(rows("vit.deepstack"));
    [visual, rows("lm.logits")]
}

fn max_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differ = |(a, b): (&f32, &f32)| (a - b).abs();
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    // Unlike `f32::max`, this order keeps NaN.
    pairs.map(differ).max_by(f32::total_cmp).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn largest(rows: &[Vec<f32>]) -> f32 {
    rows.iter().flatten().fold(0.0, |most, x| most.max(x.abs()))
}

fn equals(model: &str, tolerance: f32) {
    let expected = expected(model);
    let generator = Generator::open(generator_config(model)).unwrap();
    let [visual, logits] = computed(&generator, &expected, usize::MAX);
    for (name, ours, theirs) in [
        ("visual features", &visual, &expected.visual),
        ("logits", &logits, &expected.logits),
    ] {
        let (difference, largest) = (max_difference(ours, theirs), largest(theirs));
        eprintln!("{model}: {name} up to {largest:.1} differ by {difference:.1e}");
        assert!(difference <= tolerance, "{model}, {name}: {difference:e}");
    }
    for chunk in [7, 64] {
        let difference = max_difference(&computed(&generator, &expected, chunk)[1], &logits);
        eprintln!("{model}: prefill in chunks of {chunk} differs by {difference:.1e}");
        assert!(difference <= tolerance, "{model}, {chunk}: {difference:e}");
    }
}

#[test]
fn generators_equal_the_reference() {
    equals("qwen2.5", 1e-4);
    equals("qwen3", 1e-4);
}

#[test]
fn generators_in_4_bits_equal_the_reference() {
    equals("qwen2.5-4bit", 1e-3);
    equals("qwen3-4bit", 1e-3);
}

/// GPUs compute in bf16. Each row of the logits and visual features has nearly the same direction as in f32.
#[test]
fn generators_in_bf16_are_close_to_the_reference() {
    for model in ["qwen2.5", "qwen3", "qwen2.5-4bit", "qwen3-4bit"] {
        let expected = expected(model);
        let generator = Generator::open(GeneratorConfig {
            device: Device::CpuBf16,
            ..generator_config(model)
        });
        let [visual, logits] = computed(&generator.unwrap(), &expected, 64);
        for (name, ours, theirs) in [
            ("visual features", &visual, &expected.visual),
            ("logits", &logits, &expected.logits),
        ] {
            assert_eq!(ours.len(), theirs.len());
            let cosines = ours.iter().zip(theirs).map(|(a, b)| cosine(a, b));
            let least = cosines.min_by(f32::total_cmp).unwrap();
            eprintln!("{model}: {name} in bf16, least cosine {least:.4}");
            assert!(least >= 0.99, "{model}, {name}: {least}");
        }
    }
}

/// Submits requests together; returns the tokens and the last event of each.
fn generate(generator: &Generator, requests: &[GenerationRequest]) -> Vec<(Vec<u32>, TokenEvent)> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let streams: Vec<_> = requests
        .iter()
        .map(|request| generator.submit(request.clone()).unwrap())
        .collect();
    let collect = |stream: &TokenStream| {
        let mut tokens = Vec::new();
        loop {
            match stream.recv_deadline(deadline).unwrap() {
                TokenEvent::Token(token) => tokens.push(token),
                finished => return (tokens, finished),
            }
        }
    };
    streams.iter().map(collect).collect()
}

fn request(segments: Vec<Segment>, max_tokens: usize, temperature: f32) -> GenerationRequest {
    GenerationRequest {
        segments,
        max_tokens,
        temperature,
        seed: 0,
    }
}

#[test]
fn concurrent_requests_equal_each_request_alone() {
    for model in ["qwen2.5", "qwen3"] {
        batch_equals_alone(model);
    }
}

fn batch_equals_alone(model: &str) {
    let expected = expected(model);
    let generator = Generator::open(generator_config(model)).unwrap();
    let part = |from: usize, to: usize| expected.prompt[from..to].to_vec();
    let requests = [
        request(part(0, 5), 16, 0.0),
        request(part(0, 3), 40, 0.0),
        request(part(2, 5), 3, 0.0),
        request(part(0, 1), 300, 0.8),
        request(part(0, 5), 16, 0.8),
    ];
    let together = generate(&generator, &requests);
    assert_eq!(together[0].0, expected.answer);
    for (request, together) in requests.iter().zip(&together) {
        let alone = generate(&generator, std::slice::from_ref(request));
        assert_eq!(&alone[0], together);
        assert_eq!(together.0.len(), request.max_tokens);
        assert_eq!(together.1, TokenEvent::Finished(FinishReason::Length));
    }
    assert_ne!(
        together[0].0, together[4].0,
        "temperature 0.8 differs from greedy"
    );
    let again = GenerationRequest {
        seed: 1 << 40,
        ..requests[4].clone()
    };
    assert_ne!(
        generate(&generator, &[again])[0].0,
        together[4].0,
        "another seed"
    );
}

#[test]
fn dropped_stream_is_cancelled_and_unloaded_model_is_loaded_again() {
    let expected = expected("qwen2.5");
    let generator = Generator::open(generator_config("qwen2.5")).unwrap();
    let long = request(expected.prompt.clone(), 7000, 0.0);
    let deadline = Instant::now() + Duration::from_secs(60);
    let stream = generator.submit(long).unwrap();
    stream.recv_deadline(deadline).unwrap();
    drop(stream);
    let short = request(expected.prompt.clone(), 16, 0.0);
    let answer = generate(&generator, std::slice::from_ref(&short));
    assert_eq!(answer[0].0, expected.answer);
    generator.unload().unwrap();
    assert_eq!(generate(&generator, &[short])[0].0, expected.answer);
}

#[test]
fn request_that_cannot_fit_is_refused() {
    let expected = expected("qwen2.5");
    let refusal = |config, max_tokens| {
        let request = request(expected.prompt.clone(), max_tokens, 0.0);
        Generator::open(config)
            .and_then(|generator| generator.submit(request))
            .err()
            .map(|error| error.to_string())
    };
    let narrow = GeneratorConfig {
        context_length: 64,
        ..generator_config("qwen2.5")
    };
    let why = refusal(narrow, 8).unwrap();
    assert!(
        why.ends_with("tokens with images, the context length is 64"),
        "{why}"
    );
    let small = |memory_limit| GeneratorConfig {
        memory_limit,
        ..generator_config("qwen2.5")
    };
    let why = refusal(small(1 << 20), 8).unwrap();
    assert_eq!(
        why,
        "MLX is out of memory: 2 MiB are needed, 1 MiB are allowed"
    );
    let why = refusal(small(2 << 20), 8000).unwrap();
    assert_eq!(
        why,
        "MLX is out of memory: 9 MiB are needed in addition to 2 MiB of weights, 2 MiB are allowed"
    );
}
