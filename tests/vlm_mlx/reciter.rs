//! In-process runner with the tiny model overfitted to the sample manuals (`tests/golden/reciter/README.md`): the same titles
//! as behind a server; and unsupported models.

use std::fs;
use std::path::Path;

use crate::sandbox::{CommandOutput, Sandbox, manual};
use crate::titles::{MANUALS, correct_titles, golden};

/// Model with random weights, one of each family.
fn random_model(family: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/qwen_vl")
        .join(family)
}

fn describe(sandbox: &Sandbox, model: &Path, more: &[&str]) -> CommandOutput {
    let model = model.display().to_string();
    let args = ["describe", "--runner", "mlx", "--model", &model];
    sandbox.run(&[&args[..], more].concat())
}

/// A library with both manuals.
fn library() -> Sandbox {
    let sandbox = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
    let files = MANUALS.map(manual);
    assert_eq!(sandbox.run(&[&files[0], &files[1]]).code, 0);
    sandbox
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn descriptions_of_the_sample_manuals_have_the_right_titles() {
    let sandbox = library();
    let done = describe(
        &sandbox,
        &golden("model"),
        &["--max-tokens", "300", "--json"],
    );
    let report = done.json();
    println!("{report}");
    let (titles, pages) = correct_titles(&sandbox);
    println!("{titles} of {pages} titles");
    assert_eq!((titles, pages), (53, 53), "{report}{}", done.err);
    // Two images per request; small ones, since the model makes few tokens of any.
    let sandbox = sandbox.with("INGEST_DESCRIBE_MEGAPIXELS", "0.2");
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
    let done = describe(&sandbox, &golden("model"), &pairs);
    let report = done.json();
    println!("{report}");
    assert_eq!(
        (done.code, &report["described"]),
        (0, &6.into()),
        "{report}"
    );
    assert_eq!(correct_titles(&sandbox), (53, 53));
}

#[test]
fn runs_skip_described_pages_and_nonsense_fails() {
    let sandbox = library();
    let some = ["--manual", MANUALS[0], "--redo", "failed", "--json"];
    let first = describe(
        &sandbox,
        &golden("model"),
        &[&some[..], &["--pages", "1-3"]].concat(),
    );
    assert_eq!(first.json()["described"], 3, "{}", first.err);
    for family in ["qwen2.5", "qwen3"] {
        let more = ["--pages", "1-5", "--max-tokens", "40", "--lanes", "3"];
        let done = describe(
            &sandbox,
            &random_model(family),
            &[&some[..], &more].concat(),
        );
        let report = done.json();
        let failed = report["failed"].as_array().unwrap();
        assert_eq!(
            (done.code, &report["kept"], failed.len()),
            (1, &3.into(), 2),
            "{report}"
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
        assert!(
            !report["retries"].as_object().unwrap().is_empty(),
            "{report}"
        );
    }
    let rest = describe(&sandbox, &golden("model"), &some);
    let report = rest.json();
    assert_eq!(
        (rest.code, &report["described"], &report["kept"]),
        (0, &24.into(), &3.into()),
        "{report}"
    );
}

#[test]
fn embedding_model_is_unloaded_before_describing() {
    let model = golden("model").display().to_string();
    let sandbox = || {
        Sandbox::tiny()
            .with("INGEST_EMBED_ENGINE", "mlx")
            .with("INGEST_DESCRIBE_RUNNER", "mlx")
            .with("INGEST_DESCRIBE_MODEL", &model)
            .with("INGEST_DESCRIBE_MEGAPIXELS", "0.4")
    };
    let file = manual(MANUALS[0]);
    let pages = [&file, "--pages", "4-6", "--describe"];
    let done = sandbox().run(&[&pages[..], &["--json"]].concat());
    let report = done.json();
    assert_eq!(
        report["descriptions"]["described"], 3,
        "{report}{}",
        done.err
    );
    let bytes = |report: &serde_json::Value, key: &str| report["mlx"][key].as_u64().unwrap();
    let (embedding, describing) = (&report, &report["descriptions"]);
    assert!(bytes(embedding, "peak") > 1_000_000, "{report}");
    assert!(
        bytes(embedding, "active") * 20 <= bytes(embedding, "peak"),
        "{report}"
    );
    // 849,024 parameters in f32.
    assert!(bytes(describing, "active") > 3_000_000, "{report}");
    assert!(bytes(describing, "peak") > bytes(describing, "active"));
    let text = sandbox().run(&pages).out;
    assert_eq!(text.matches("MLX memory: ").count(), 2, "{text}");
}

#[test]
fn bench_compares_models_in_the_process() {
    let sandbox = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.2");
    assert_eq!(
        sandbox.run(&[&manual(MANUALS[0]), "--pages", "4-7"]).code,
        0
    );
    let names =
        [golden("model"), random_model("qwen3")].map(|model| format!("mlx={}", model.display()));
    let options = [
        "--approach",
        "sequential,lanes",
        "--batch",
        "3",
        "--runs",
        "1",
    ];
    let candidates = ["--candidate", &names[0], "--candidate", &names[1], "--json"];
    let done = sandbox.run(&[&["bench", "describe"], &options[..], &candidates].concat());
    let report = done.json();
    let [correct, nonsense] = &report["candidates"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    let round = |candidate: &serde_json::Value| candidate["rows"][0]["rounds"][0].clone();
    assert_eq!(round(correct)["described"], 4, "{correct}{}", done.err);
    assert_eq!(correct["consistency"]["alone"], 1.0, "{correct}");
    assert_eq!(round(nonsense)["failed"], 4, "{nonsense}");
    assert_eq!(nonsense["verdict"]["grade"], "fail");
    for candidate in [correct, nonsense] {
        assert!(round(candidate)["peak"].as_u64().unwrap() > 10_000_000);
    }
    assert_eq!(report["rankings"]["overall"][0], names[0]);
}

/// Copy of the golden model with one file changed, or removed if `change` returns `None`.
fn altered(
    sandbox: &Sandbox,
    file: &str,
    change: impl Fn(String) -> Option<String>,
) -> std::path::PathBuf {
    let folder = sandbox.path("model");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(golden("model")).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, folder.join(from.file_name().unwrap())).unwrap();
    }
    let path = folder.join(file);
    match change(fs::read_to_string(&path).unwrap_or_default()) {
        Some(text) => fs::write(&path, text).unwrap(),
        None => fs::remove_file(&path).unwrap(),
    }
    folder
}

/// Exit code and error line of a run with this model.
fn error_of(sandbox: &Sandbox, model: &Path) -> (i32, String) {
    let done = describe(sandbox, model, &["--pages", "4", "--manual", MANUALS[0]]);
    let line = done.err.lines().find(|line| line.starts_with("error"));
    (done.code, line.unwrap_or(&done.err).to_owned())
}

/// A page that exceeds the context length fails; the other pages do not.
#[test]
fn a_prompt_that_exceeds_the_context_fails_alone() {
    let sandbox = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
    let wide = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pages/page_0.png");
    let small = sandbox.path("small.png").display().to_string();
    let image = image::open(wide).unwrap();
    image.thumbnail(120, 120).save(&small).unwrap();
    assert_eq!(sandbox.run(&[wide, &small]).code, 0);
    let short_context = altered(&sandbox, "config.json", |text| {
        let context = "\"max_position_embeddings\": ";
        Some(text.replace(&format!("{context}4096"), &format!("{context}114")))
    });
    let done = describe(&sandbox, &short_context, &["--json"]);
    let report = done.json();
    assert_eq!(
        (done.code, &report["described"]),
        (1, &1.into()),
        "{report}"
    );
    let failed = report["failed"].as_array().unwrap();
    assert_eq!(
        (failed.len(), &failed[0]["page"]),
        (1, &"page_0.png, page 1".into())
    );
    let why = failed[0]["why"].as_str().unwrap();
    assert!(
        why.ends_with("tokens with images, the context length is 114"),
        "{why}"
    );
}

#[test]
fn reasoning_without_answer_is_a_failure() {
    let sandbox = library();
    let reasoning = altered(&sandbox, "chat_template.jinja", |text| {
        Some(format!("{text}<think>\n"))
    });
    let done = describe(&sandbox, &reasoning, &["--pages", "4", "--json"]);
    let report = done.json();
    assert_eq!(report["failed"][0]["class"], "thinking", "{report}");
}

#[test]
fn unsupported_models_are_refused_in_one_line() {
    let sandbox = library();
    let config = |from: &'static str, to: &'static str| {
        altered(&sandbox, "config.json", move |text| {
            Some(text.replace(from, to))
        })
    };
    let (code, line) = error_of(&sandbox, &config("\"qwen2_5_vl\"", "\"llava\""));
    assert!(
        code == 2 && line.contains("model_type llava, which is none of qwen2_vl, "),
        "{line}"
    );
    let (code, line) = error_of(
        &sandbox,
        &config(
            "\"tie_word_embeddings\": true",
            "\"tie_word_embeddings\": false",
        ),
    );
    assert!(
        code == 2 && line.contains("`lm_head.weight` is missing"),
        "{line}"
    );
    let index = "{\"weight_map\": {\"x\": \"model-00001-of-00002.safetensors\"}}";
    let missing_shard = altered(&sandbox, "model.safetensors.index.json", |_| {
        Some(index.to_owned())
    });
    fs::remove_file(missing_shard.join("model.safetensors")).unwrap();
    let (code, line) = error_of(&sandbox, &missing_shard);
    assert!(
        code == 2 && line.contains("model-00001-of-00002.safetensors: no such file"),
        "{line}"
    );
    let folder = altered(&sandbox, "chat_template.jinja", |_| None);
    fs::remove_file(folder.join("model.safetensors.index.json")).unwrap();
    let (code, line) = error_of(&sandbox, &folder);
    assert!(
        code == 2 && line.contains("a model without a chat template"),
        "{line}"
    );
    let sandbox = sandbox.with("INGEST_LIMITS_MEMORY_LIMIT", "1MiB");
    let done = describe(&sandbox, &golden("model"), &[]);
    assert!(
        done.code == 2 && done.err.contains("MiB are allowed"),
        "{}",
        done.err
    );
}
