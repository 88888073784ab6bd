//! The tiny model that knows our two manuals by heart (`tests/golden/reciter/HOW.md`), in the process: the same titles as
//! behind a server; and models that are none.

use std::fs;
use std::path::Path;

use crate::desk::{Desk, Done, manual};
use crate::titles::{MANUALS, golden, right};

fn describe(desk: &Desk, model: &Path, more: &[&str]) -> Done {
    let model = model.display().to_string();
    let args = ["describe", "--runner", "mlx", "--model", &model];
    desk.run(&[&args[..], more].concat())
}

/// Both manuals, stored.
fn shelf() -> Desk {
    let desk = Desk::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
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

/// The model of the golden folder with one file written anew, or left out where there is nothing to write.
fn altered(
    desk: &Desk,
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
fn refusal(desk: &Desk, model: &Path) -> (i32, String) {
    let done = describe(desk, model, &["--pages", "4", "--manual", MANUALS[0]]);
    let line = done.err.lines().find(|line| line.starts_with("error"));
    (done.code, line.unwrap_or(&done.err).to_owned())
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
    // A page that is too large for the model's context fails; that is no failure of the others.
    let narrow = config(
        "\"max_position_embeddings\": 4096",
        "\"max_position_embeddings\": 60",
    );
    let done = describe(
        &desk,
        &narrow,
        &["--pages", "4", "--manual", MANUALS[0], "--json"],
    );
    let why = done.json()["failed"][0]["why"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(why.contains("the model reads 60"), "{why}{}", done.err);
    let desk = desk.with("INGEST_LIMITS_MEMORY_LIMIT", "1MiB");
    let done = describe(&desk, &golden("model"), &[]);
    assert!(
        done.code == 1 && done.err.contains("MiB are allowed"),
        "{}",
        done.err
    );
}
