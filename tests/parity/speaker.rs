//! A Qwen2.5-VL and a Qwen3-VL on MLX equal mlx-vlm: what the vision tower sees, the scores of every word behind each token
//! of a question with two pictures, and behind each of 16 tokens of the answer (`tests/golden/speaker/README.md`).

use std::time::{Duration, Instant};

use ingest::qwen::mlx::{
    Device, FinishReason, GenerationRequest, Generator, GeneratorConfig, Segment, TokenEvent,
};

use super::models::{Theirs, recipe, theirs};
use super::reference::cut;

/// What the vision tower sees, and the scores behind each token, read in stretches.
fn ours(speaker: &Generator, theirs: &Theirs, stretch: usize) -> [Vec<Vec<f32>>; 2] {
    let taps = speaker.activations(theirs.question.clone(), theirs.answer.clone(), stretch);
    let taps = taps.unwrap();
    let rows = |name: &str| {
        let named = taps.iter().filter(|hook| hook.name == name);
        named
            .flat_map(|hook| cut(&hook.values, hook.width))
            .collect::<Vec<_>>()
    };
    let mut seen = rows("vit.out");
    seen.extend(rows("vit.deep"));
    [seen, rows("lm.scores")]
}

fn most(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differ = |(a, b): (&f32, &f32)| (a - b).abs();
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    // Unlike `f32::max`, this order keeps what is not a number.
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
    let (theirs, speaker) = (theirs(model), Generator::open(recipe(model)).unwrap());
    let [seen, scores] = ours(&speaker, &theirs, usize::MAX);
    for (what, ours, theirs) in [
        ("seen", &seen, &theirs.seen),
        ("scores", &scores, &theirs.scores),
    ] {
        let (differs, largest) = (most(ours, theirs), largest(theirs));
        eprintln!("{model}: {what} up to {largest:.1} differ by {differs:.1e}");
        assert!(differs <= tolerance, "{model}, {what}: {differs:e}");
    }
    for stretch in [7, 64] {
        let differs = most(&ours(&speaker, &theirs, stretch)[1], &scores);
        eprintln!("{model}: read {stretch} tokens at a time, differs by {differs:.1e}");
        assert!(differs <= tolerance, "{model}, {stretch}: {differs:e}");
    }
}

#[test]
fn speakers_equal_the_reference() {
    equals("qwen2.5", 1e-4);
    equals("qwen3", 1e-4);
}

#[test]
fn speakers_in_4_bits_equal_the_reference() {
    equals("qwen2.5-4bit", 1e-3);
    equals("qwen3-4bit", 1e-3);
}

/// bf16 is what a GPU computes in. Each row of scores, and of what the vision tower sees, points the same way.
#[test]
fn speakers_in_bf16_say_nearly_the_same() {
    for model in ["qwen2.5", "qwen3", "qwen2.5-4bit", "qwen3-4bit"] {
        let theirs = theirs(model);
        let speaker = Generator::open(GeneratorConfig {
            device: Device::CpuBf16,
            ..recipe(model)
        });
        let [seen, scores] = ours(&speaker.unwrap(), &theirs, 64);
        for (what, ours, theirs) in [
            ("seen", &seen, &theirs.seen),
            ("scores", &scores, &theirs.scores),
        ] {
            assert_eq!(ours.len(), theirs.len());
            let cosines = ours.iter().zip(theirs).map(|(a, b)| cosine(a, b));
            let least = cosines.min_by(f32::total_cmp).unwrap();
            eprintln!("{model}: {what} in bf16, least cosine {least:.4}");
            assert!(least >= 0.99, "{model}, {what}: {least}");
        }
    }
}

/// What is said to a question, and how it ends.
fn say(speaker: &Generator, questions: &[GenerationRequest]) -> Vec<(Vec<u32>, TokenEvent)> {
    let by = Instant::now() + Duration::from_secs(120);
    let asked: Vec<_> = questions
        .iter()
        .map(|question| speaker.submit(question.clone()).unwrap())
        .collect();
    let heard = |answer: &ingest::qwen::mlx::TokenStream| {
        let mut tokens = Vec::new();
        loop {
            match answer.recv_deadline(by).unwrap() {
                TokenEvent::Token(token) => tokens.push(token),
                end => return (tokens, end),
            }
        }
    };
    asked.iter().map(heard).collect()
}

fn question(segments: Vec<Segment>, max_tokens: usize, temperature: f32) -> GenerationRequest {
    GenerationRequest {
        segments,
        max_tokens,
        temperature,
        seed: 0,
    }
}

#[test]
fn several_questions_at_once_are_answered_as_each_alone() {
    for model in ["qwen2.5", "qwen3"] {
        together_as_alone(model);
    }
}

fn together_as_alone(model: &str) {
    let theirs = theirs(model);
    let speaker = Generator::open(recipe(model)).unwrap();
    let part = |from: usize, to: usize| theirs.question[from..to].to_vec();
    let questions = [
        question(part(0, 5), 16, 0.0),
        question(part(0, 3), 40, 0.0),
        question(part(2, 5), 3, 0.0),
        question(part(0, 1), 300, 0.8),
        question(part(0, 5), 16, 0.8),
    ];
    let together = say(&speaker, &questions);
    assert_eq!(together[0].0, theirs.answer);
    for (question, together) in questions.iter().zip(&together) {
        let alone = say(&speaker, std::slice::from_ref(question));
        assert_eq!(&alone[0], together);
        assert_eq!(together.0.len(), question.max_tokens);
        assert_eq!(together.1, TokenEvent::Finished(FinishReason::Length));
    }
    assert_ne!(together[0].0, together[4].0, "warm answers are others");
    let again = GenerationRequest {
        seed: 1 << 40,
        ..questions[4].clone()
    };
    assert_ne!(say(&speaker, &[again])[0].0, together[4].0, "another seed");
}

#[test]
fn an_answer_that_nobody_waits_for_ends_and_a_dropped_model_comes_back() {
    let theirs = theirs("qwen2.5");
    let speaker = Generator::open(recipe("qwen2.5")).unwrap();
    let long = question(theirs.question.clone(), 7000, 0.0);
    let begun = Instant::now();
    let answer = speaker.submit(long).unwrap();
    answer
        .recv_deadline(begun + Duration::from_secs(60))
        .unwrap();
    drop(answer);
    let short = question(theirs.question.clone(), 16, 0.0);
    assert_eq!(
        say(&speaker, std::slice::from_ref(&short))[0].0,
        theirs.answer
    );
    speaker.unload().unwrap();
    assert_eq!(say(&speaker, &[short])[0].0, theirs.answer);
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let theirs = theirs("qwen2.5");
    let asked = |recipe, max_tokens| {
        Generator::open(recipe)
            .and_then(|speaker| speaker.submit(question(theirs.question.clone(), max_tokens, 0.0)))
            .err()
            .map(|error| error.to_string())
    };
    let narrow = GeneratorConfig {
        context_length: 64,
        ..recipe("qwen2.5")
    };
    let why = asked(narrow, 8).unwrap();
    assert!(
        why.ends_with("tokens with its pictures, the model reads 64"),
        "{why}"
    );
    let small = |memory| GeneratorConfig {
        memory,
        ..recipe("qwen2.5")
    };
    let why = asked(small(1 << 20), 8).unwrap();
    assert_eq!(
        why,
        "MLX is out of memory: 2 MiB are needed, 1 MiB are allowed"
    );
    let why = asked(small(2 << 20), 8000).unwrap();
    assert_eq!(
        why,
        "MLX is out of memory: 10 MiB are needed beside 2 MiB of weights, 2 MiB are allowed"
    );
}
