//! The tiny model that knows our two manuals by heart (`tests/golden/reciter/README.md`), in the process: the same titles as
//! behind a server; and models that are none.

use std::fs;
use std::path::Path;

use crate::sandbox::{CommandOutput, Sandbox, manual};
use crate::titles::{MANUALS, golden, right};

/// Random models, one of each family.
fn random(family: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/speaker")
        .join(family)
}

fn describe(desk: &Sandbox, model: &Path, more: &[&str]) -> CommandOutput {
    let model = model.display().to_string();
    let args = ["describe", "--runner", "mlx", "--model", &model];
    desk.run(&[&args[..], more].concat())
}

/// Both manuals, stored.
fn shelf() -> Sandbox {
    let desk = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
    let files = MANUALS.map(manual);
    assert_eq!(desk.run(&[&files[0], &files[1]]).code, 0);
    desk
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn our_manuals_are_recited_without_a_server() {
    let desk = shelf();
    let done = describe(&desk, &golden("model"), &["--max-tokens", "300", "--json"]);
    let told = done.json();
    println!("{told}");
    let (titles, pages) = right(&desk);
    println!("{titles} of {pages} titles");
    assert_eq!((titles, pages), (53, 53), "{told}{}", done.err);
    // Two pictures in one question; small ones, since the model makes few tokens of any.
    let desk = desk.with("INGEST_DESCRIBE_MEGAPIXELS", "0.2");
    let pairs = [
        "--manual",
        MANUALS[0],
        "--pages",
        "4-9",
        "--interleave",
        "2",
        "--lanes",
        "2",
        "--redo",
        "all",
        "--json",
    ];
    let done = describe(&desk, &golden("model"), &pairs);
    let told = done.json();
    println!("{told}");
    assert_eq!((done.code, &told["described"]), (0, &6.into()), "{told}");
    assert_eq!(right(&desk), (53, 53));
}

#[test]
fn what_was_described_is_kept_and_nonsense_fails() {
    let desk = shelf();
    let some = ["--manual", MANUALS[0], "--redo", "failed", "--json"];
    let first = describe(
        &desk,
        &golden("model"),
        &[&some[..], &["--pages", "1-3"]].concat(),
    );
    assert_eq!(first.json()["described"], 3, "{}", first.err);
    for family in ["qwen2.5", "qwen3"] {
        let more = ["--pages", "1-5", "--max-tokens", "40", "--lanes", "3"];
        let done = describe(&desk, &random(family), &[&some[..], &more].concat());
        let told = done.json();
        let failed = told["failed"].as_array().unwrap();
        assert_eq!(
            (done.code, &told["kept"], failed.len()),
            (1, &3.into(), 2),
            "{told}"
        );
        let nonsense = [
            "unparsable",
            "truncated",
            "repetition",
            "gibberish",
            "too-brief",
        ];
        for failure in failed {
            let class = failure["class"].as_str().unwrap();
            assert!(nonsense.contains(&class), "{failure}");
        }
        assert!(!told["retries"].as_object().unwrap().is_empty(), "{told}");
    }
    let rest = describe(&desk, &golden("model"), &some);
    let told = rest.json();
    assert_eq!(
        (rest.code, &told["described"], &told["kept"]),
        (0, &24.into(), &3.into()),
        "{told}"
    );
}

#[test]
fn embedding_gives_its_memory_back_before_describing() {
    let model = golden("model").display().to_string();
    let desk = || {
        Sandbox::tiny()
            .with("INGEST_EMBED_ENGINE", "mlx")
            .with("INGEST_DESCRIBE_RUNNER", "mlx")
            .with("INGEST_DESCRIBE_MODEL", &model)
            .with("INGEST_DESCRIBE_MEGAPIXELS", "0.4")
    };
    let file = manual(MANUALS[0]);
    let pages = [&file, "--pages", "4-6", "--describe"];
    let done = desk().run(&[&pages[..], &["--json"]].concat());
    let told = done.json();
    assert_eq!(told["descriptions"]["described"], 3, "{told}{}", done.err);
    let bytes = |part: &serde_json::Value, what: &str| part["mlx"][what].as_u64().unwrap();
    let (embedding, describing) = (&told, &told["descriptions"]);
    assert!(bytes(embedding, "peak") > 1_000_000, "{told}");
    assert!(
        bytes(embedding, "active") * 20 <= bytes(embedding, "peak"),
        "{told}"
    );
    // 849,024 parameters in f32.
    assert!(bytes(describing, "active") > 3_000_000, "{told}");
    assert!(bytes(describing, "peak") > bytes(describing, "active"));
    let people = desk().run(&pages).out;
    assert_eq!(people.matches("MLX memory: ").count(), 2, "{people}");
}

#[test]
fn candidates_in_the_process_are_compared() {
    let desk = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.2");
    assert_eq!(desk.run(&[&manual(MANUALS[0]), "--pages", "4-7"]).code, 0);
    let names = [golden("model"), random("qwen3")].map(|model| format!("mlx={}", model.display()));
    let ways = [
        "--approach",
        "sequential,lanes",
        "--batch",
        "3",
        "--runs",
        "1",
    ];
    let candidates = ["--candidate", &names[0], "--candidate", &names[1], "--json"];
    let done = desk.run(&[&["bench", "describe"], &ways[..], &candidates].concat());
    let report = done.json();
    let [knows, raves] = &report["candidates"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    let round = |candidate: &serde_json::Value| candidate["rows"][0]["rounds"][0].clone();
    assert_eq!(round(knows)["described"], 4, "{knows}{}", done.err);
    assert_eq!(knows["consistency"]["alone"], 1.0, "{knows}");
    assert_eq!(round(raves)["failed"], 4, "{raves}");
    assert_eq!(raves["verdict"]["grade"], "fail");
    for candidate in [knows, raves] {
        assert!(round(candidate)["peak"].as_u64().unwrap() > 10_000_000);
    }
    assert_eq!(report["rankings"]["overall"][0], names[0]);
}

/// The model of the golden folder with one file written anew, or left out where there is nothing to write.
fn altered(
    desk: &Sandbox,
    file: &str,
    change: impl Fn(String) -> Option<String>,
) -> std::path::PathBuf {
    let folder = desk.path("model");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(golden("model")).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, folder.join(from.file_name().unwrap())).unwrap();
    }
    let at = folder.join(file);
    match change(fs::read_to_string(&at).unwrap_or_default()) {
        Some(text) => fs::write(&at, text).unwrap(),
        None => fs::remove_file(&at).unwrap(),
    }
    folder
}

/// The first line that is said of a model, and the exit code.
fn refusal(desk: &Sandbox, model: &Path) -> (i32, String) {
    let done = describe(desk, model, &["--pages", "4", "--manual", MANUALS[0]]);
    let line = done.err.lines().find(|line| line.starts_with("error"));
    (done.code, line.unwrap_or(&done.err).to_owned())
}

/// A page that is too large for the model's context fails by itself; the others go on.
#[test]
fn a_question_that_is_too_long_fails_alone() {
    let desk = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
    let wide = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pages/page_0.png");
    let small = desk.path("small.png").display().to_string();
    let picture = image::open(wide).unwrap();
    picture.thumbnail(120, 120).save(&small).unwrap();
    assert_eq!(desk.run(&[wide, &small]).code, 0);
    let narrow = altered(&desk, "config.json", |text| {
        let context = "\"max_position_embeddings\": ";
        Some(text.replace(&format!("{context}4096"), &format!("{context}114")))
    });
    let done = describe(&desk, &narrow, &["--json"]);
    let told = done.json();
    assert_eq!((done.code, &told["described"]), (1, &1.into()), "{told}");
    let failed = told["failed"].as_array().unwrap();
    assert_eq!(
        (failed.len(), &failed[0]["page"]),
        (1, &"page_0.png, page 1".into())
    );
    let why = failed[0]["why"].as_str().unwrap();
    assert!(
        why.ends_with("tokens with its pictures, the model reads 114"),
        "{why}"
    );
}

#[test]
fn thoughts_are_no_description() {
    let desk = shelf();
    let thinks = altered(&desk, "chat_template.jinja", |text| {
        Some(format!("{text}<think>\n"))
    });
    let done = describe(&desk, &thinks, &["--pages", "4", "--json"]);
    let told = done.json();
    assert_eq!(told["failed"][0]["class"], "thinking", "{told}");
}

#[test]
fn models_that_are_none_are_refused_in_one_line() {
    let desk = shelf();
    let config = |from: &'static str, to: &'static str| {
        altered(&desk, "config.json", move |text| {
            Some(text.replace(from, to))
        })
    };
    let (code, line) = refusal(&desk, &config("\"qwen2_5_vl\"", "\"llava\""));
    assert!(
        code == 1 && line.contains("model_type llava is not supported"),
        "{line}"
    );
    let (code, line) = refusal(
        &desk,
        &config(
            "\"tie_word_embeddings\": true",
            "\"tie_word_embeddings\": false",
        ),
    );
    assert!(
        code == 1 && line.contains("`lm_head.weight` is missing"),
        "{line}"
    );
    let index = "{\"weight_map\": {\"x\": \"model-00001-of-00002.safetensors\"}}";
    let torn = altered(&desk, "model.safetensors.index.json", |_| {
        Some(index.to_owned())
    });
    fs::remove_file(torn.join("model.safetensors")).unwrap();
    let (code, line) = refusal(&desk, &torn);
    assert!(
        code == 1 && line.contains("model-00001-of-00002.safetensors: no such file"),
        "{line}"
    );
    let folder = altered(&desk, "chat_template.jinja", |_| None);
    fs::remove_file(folder.join("model.safetensors.index.json")).unwrap();
    let (code, line) = refusal(&desk, &folder);
    assert!(
        code == 1 && line.contains("a model without a chat template"),
        "{line}"
    );
    let desk = desk.with("INGEST_LIMITS_MEMORY_LIMIT", "1MiB");
    let done = describe(&desk, &golden("model"), &[]);
    assert!(
        done.code == 1 && done.err.contains("MiB are allowed"),
        "{}",
        done.err
    );
}
