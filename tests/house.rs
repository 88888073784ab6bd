//! The rules of the house, checked: rooms look down only, files and functions stay small, every file says what it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from bottom to top, with those each may use. A room that is not listed fails the test.
const MAY_USE: &[(&str, &[&str])] = &[
    ("page", &[]),
    ("vectors", &[]),
    ("pooling", &["vectors"]),
    ("units", &[]),
    ("patch", &["page"]),
    ("batch", &["patch"]),
    ("checkpoint", &[]),
    ("qwen", &["patch", "checkpoint"]),
    ("mlx", &["patch", "checkpoint", "qwen"]),
    ("render", &["page", "units"]),
    (
        "embed",
        &[
            "page",
            "vectors",
            "pooling",
            "units",
            "patch",
            "checkpoint",
            "qwen",
            "mlx",
        ],
    ),
    ("describe", &["page", "patch", "checkpoint", "qwen", "mlx"]),
    ("store", &["page", "vectors", "pooling", "units"]),
    ("measure", &["units", "mlx"]),
    (
        "pipeline",
        &[
            "page", "vectors", "pooling", "units", "patch", "batch", "render", "embed", "store",
        ],
    ),
    ("annotate", &["page", "render", "describe", "store"]),
    ("search", &["page", "vectors", "embed", "store"]),
    ("evaluate", &["page", "render"]),
    ("heatmap", &["page", "vectors"]),
    (
        "config",
        &["units", "render", "embed", "describe", "store", "search"],
    ),
    (
        "library",
        &[
            "page", "vectors", "units", "patch", "mlx", "render", "embed", "store", "pipeline",
            "heatmap", "config",
        ],
    ),
    (
        "report",
        &[
            "checkpoint",
            "mlx",
            "config",
            "library",
            "render",
            "embed",
            "describe",
            "store",
            "pipeline",
            "annotate",
            "search",
        ],
    ),
    (
        "cli",
        &[
            "page",
            "vectors",
            "units",
            "patch",
            "checkpoint",
            "mlx",
            "render",
            "embed",
            "describe",
            "store",
            "measure",
            "pipeline",
            "annotate",
            "search",
            "evaluate",
            "config",
            "library",
            "report",
        ],
    ),
];

/// Lines a file may have.
const FILE: usize = 400;
/// Lines a function may have.
const FUNCTION: usize = 80;
/// Lines that nine functions of ten may have.
const MOST_FUNCTIONS: usize = 45;

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "no Rust file in {folder}");
    files.sort();
    files
}

fn all_files() -> Vec<PathBuf> {
    ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(folder))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The room a file of `src/` belongs to; none for the map, the doorbell and the build script.
fn room(path: &Path) -> Option<String> {
    let inside = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy();
    let name = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
    (!["lib", "main", "build"].contains(&name.as_str())).then_some(name)
}

/// Names that directly follow `crate::`, also inside braces.
fn crate_uses(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|l| l.split("//").next().unwrap_or(l))
        .collect::<Vec<_>>()
        .join("\n");
    let name = |s: &str| {
        s.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => names.push(name(rest)),
            Some(list) => names.extend(top_level(list).iter().map(|part| name(part))),
        }
    }
    names
}

/// The parts of a brace list up to its closing brace, split at commas outside inner braces.
fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                parts.last_mut().unwrap().push(c);
            }
        }
    }
    parts
        .iter()
        .map(|p| p.trim().to_owned())
        .filter(|p| !p.is_empty())
        .collect()
}

#[test]
fn rooms_look_down_only() {
    for path in rust_files("src") {
        let Some(room) = room(&path) else { continue };
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("unknown room {room}"));
        for used in crate_uses(&read(&path)) {
            let fine = used == room || allowed.contains(&used.as_str());
            assert!(fine, "{} may not use crate::{used}", path.display());
        }
    }
}

#[test]
fn the_table_is_in_order() {
    for (i, (room, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            assert!(
                MAY_USE[..i].iter().any(|(below, _)| below == used),
                "{room} looks up to {used}"
            );
        }
    }
}

#[test]
fn the_checker_sees_uses() {
    let text = "use crate::{page::PageId, store::{self, Hit}};\nlet x = crate::units::y(); // crate::nothing";
    assert_eq!(crate_uses(text), ["page", "store", "units"]);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for path in all_files() {
        let text = read(&path);
        let lines = text.lines().count();
        assert!(
            lines <= FILE,
            "{} has {lines} lines, {FILE} are allowed",
            path.display()
        );
        assert!(
            text.starts_with("//!"),
            "{} does not begin by saying what it is (`//!`)",
            path.display()
        );
    }
}

/// Lengths of the functions of a rustfmt-formatted file, signature to closing brace.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        if !words.contains(&"fn")
            || line.trim_end().ends_with(';')
            || line.trim_start().starts_with("//")
        {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));

        if line.trim_end().ends_with('}') {
            found.push((line.trim().to_owned(), 1));
        } else if let Some(length) = lines[start..].iter().position(|l| *l == close) {
            found.push((line.trim().to_owned(), length + 1));
        }
    }
    found
}

#[test]
fn functions_fit_a_screen() {
    let mut lengths = Vec::new();
    for path in rust_files("src") {
        for (name, length) in functions(&read(&path)) {
            assert!(
                length <= FUNCTION,
                "{}: `{name}` has {length} lines, {FUNCTION} are allowed",
                path.display()
            );
            lengths.push(length);
        }
    }
    lengths.sort_unstable();
    assert!(
        lengths.len() > 100,
        "the checker finds too few functions: {}",
        lengths.len()
    );
    let nine_of_ten = lengths[lengths.len() * 9 / 10];
    assert!(
        nine_of_ten <= MOST_FUNCTIONS,
        "a tenth of the functions has more than {nine_of_ten} lines"
    );
}

#[test]
fn foreign_libraries_have_one_address() {
    for (library, home) in [
        ("reqwest", "src/describe/server src/store/weaviate"),
        ("prost", "src/store/weaviate"),
        ("pdfium_render", "src/render/"),
        ("rusqlite", "src/store/sqlite"),
        ("candle_core", "src/embed/"),
        ("mlx_rs", "src/mlx/"),
        ("hf_hub", "src/checkpoint/hub.rs"),
        ("parquet::", "src/evaluate/table.rs"),
        ("kodama::", "src/pooling.rs"),
        ("minijinja", "src/describe/mlx/template.rs"),
    ] {
        for path in rust_files("src") {
            let inside = path
                .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let named = read(&path)
                .lines()
                .any(|l| !l.trim_start().starts_with("//") && l.contains(library));
            assert!(
                !named || home.split(' ').any(|home| inside.starts_with(home)),
                "{inside} names {library}, which lives in {home}"
            );
        }
    }
}
