//! A Qwen2.5-VL on MLX equals mlx-vlm: the scores of every word behind each token of a question with two pictures, and
//! behind each of 16 tokens of the answer (`tests/golden/speaker/HOW.md`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use ingest::checkpoint::{Files, Json, Weights};
use ingest::mlx::{Piece, Question, Recipe, Said, Speaker, Unit};
use ingest::patch::{PatchGrid, Patches};
use ingest::qwen::{self, schema};

use super::reference::cut;

/// Patches down and across.
const GRIDS: [(u32, u32); 2] = [(10, 14), (4, 10)];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/speaker")
        .join(name)
}

fn recipe(model: &str) -> Recipe {
    let json = Json::read(&golden(model).join("config.json")).unwrap();
    let shape = qwen::Config::read(&json).unwrap();
    let files = Files {
        base: vec![golden(model).join("model.safetensors")],
        adapter: None,
    };
    let schema = schema::words(&shape, false);
    let model = model.to_owned();
    Recipe {
        weights: Box::new(move || Weights::open_packed(&model, &files, &schema)),
        shape,
        tied: false,
        stop: Vec::new(),
        context: 8192,
        unit: Unit::open(None).unwrap(),
        memory: 1 << 30,
    }
}

/// Patches by the rule of `make_speaker.py`.
fn picture(number: u64) -> Patches {
    let (rows, columns) = GRIDS[number as usize];
    let grid = PatchGrid {
        rows,
        columns,
        merge: 2,
    };
    let floats = grid.patches() as u64 * 1176;
    let value = |at: u64| ((at * 7919 + number * 104_729) % 2003) as f64 / 1001.5 - 1.0;
    Patches {
        grid,
        rows: (0..floats).map(|at| value(at) as f32).collect(),
    }
}

struct Theirs {
    question: Vec<Piece>,
    answer: Vec<u32>,
    scores: Vec<Vec<f32>>,
}

fn theirs(model: &str) -> Theirs {
    let file = golden(&format!("{model}.safetensors"));
    let all = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
    let numbers = |name: &str| all[name].to_vec1::<u32>().unwrap();
    let rows = |tensor: &Tensor| tensor.to_vec2::<f32>().unwrap();
    let tokens = numbers("tokens");
    // The token of a picture is the only one that repeats so often.
    let image = tokens.windows(3).find(|w| w[0] == w[1] && w[1] == w[2]);
    let image = image.unwrap()[0];
    let mut stretches = tokens
        .split(|&token| token == image)
        .filter(|stretch| !stretch.is_empty())
        .map(|stretch| Piece::Text(stretch.to_vec()));
    let mut next = || stretches.next().unwrap();
    let question = vec![
        next(),
        Piece::Image(picture(0)),
        next(),
        Piece::Image(picture(1)),
        next(),
    ];
    let mut scores = rows(&all["prefill"]);
    scores.extend(rows(&all["steps"]));
    Theirs {
        question,
        answer: numbers("answer"),
        scores,
    }
}

/// The scores behind each token, read in stretches.
fn ours(speaker: &Speaker, theirs: &Theirs, stretch: usize) -> Vec<Vec<f32>> {
    let taps = speaker.inside(theirs.question.clone(), theirs.answer.clone(), stretch);
    let taps = taps.unwrap();
    taps.iter()
        .flat_map(|tap| cut(&tap.values, tap.width))
        .collect()
}

fn most(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differ = |(a, b): (&f32, &f32)| (a - b).abs();
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    // Unlike `f32::max`, this order keeps what is not a number.
    pairs.map(differ).max_by(f32::total_cmp).unwrap()
}

fn equals(model: &str, tolerance: f32) {
    let (theirs, speaker) = (theirs(model), Speaker::open(recipe(model)).unwrap());
    let whole = ours(&speaker, &theirs, usize::MAX);
    let differs = most(&whole, &theirs.scores);
    let scale = theirs
        .scores
        .iter()
        .flatten()
        .fold(0f32, |m, x| m.max(x.abs()));
    eprintln!("{model}: scores up to {scale:.1} differ by {differs:.1e}");
    assert!(differs <= tolerance, "{model}: {differs:e}");
    for stretch in [7, 64] {
        let differs = most(&ours(&speaker, &theirs, stretch), &whole);
        eprintln!("{model}: read {stretch} tokens at a time, differs by {differs:.1e}");
        assert!(differs <= tolerance, "{model}, {stretch}: {differs:e}");
    }
}

#[test]
fn a_speaker_equals_the_reference() {
    equals("model", 1e-4);
}

#[test]
fn a_speaker_in_4_bits_equals_the_reference() {
    equals("model-4bit", 1e-3);
}

/// What is said to a question, and how it ends.
fn say(speaker: &Speaker, questions: &[Question]) -> Vec<(Vec<u32>, Said)> {
    let by = Instant::now() + Duration::from_secs(120);
    let asked: Vec<_> = questions
        .iter()
        .map(|question| speaker.ask(question.clone()).unwrap())
        .collect();
    let heard = |answer: &ingest::mlx::Answer| {
        let mut tokens = Vec::new();
        loop {
            match answer.next_by(by).unwrap() {
                Said::Token(token) => tokens.push(token),
                end => return (tokens, end),
            }
        }
    };
    asked.iter().map(heard).collect()
}

fn question(pieces: Vec<Piece>, max_tokens: usize, temperature: f32) -> Question {
    Question {
        pieces,
        max_tokens,
        temperature,
    }
}

#[test]
fn several_questions_at_once_are_answered_as_each_alone() {
    let theirs = theirs("model");
    let speaker = Speaker::open(recipe("model")).unwrap();
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
        assert_eq!(together.1, Said::End { truncated: true });
    }
    assert_ne!(together[0].0, together[4].0, "warm answers are others");
}

#[test]
fn an_answer_that_nobody_waits_for_ends_and_a_dropped_model_comes_back() {
    let theirs = theirs("model");
    let speaker = Speaker::open(recipe("model")).unwrap();
    let long = question(theirs.question.clone(), 7000, 0.0);
    let begun = Instant::now();
    let answer = speaker.ask(long).unwrap();
    answer.next_by(begun + Duration::from_secs(60)).unwrap();
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
    let theirs = theirs("model");
    let asked = |recipe, max_tokens| {
        Speaker::open(recipe)
            .and_then(|speaker| speaker.ask(question(theirs.question.clone(), max_tokens, 0.0)))
            .err()
            .map(|error| error.to_string())
    };
    let narrow = Recipe {
        context: 64,
        ..recipe("model")
    };
    let why = asked(narrow, 8).unwrap();
    assert!(
        why.ends_with("tokens with its pictures, the model reads 64"),
        "{why}"
    );
    let small = |memory| Recipe {
        memory,
        ..recipe("model")
    };
    let why = asked(small(1 << 20), 8).unwrap();
    assert_eq!(
        why,
        "MLX is out of memory: 2 MiB are needed, 1 MiB are allowed"
    );
    let why = asked(small(2 << 20), 8000).unwrap();
    assert_eq!(
        why,
        "MLX is out of memory: 6 MiB are needed beside 2 MiB of weights, 2 MiB are allowed"
    );
}
