//! The rules of the source, checked: modules and the files in them depend on those before them only, files and functions
//! stay small, every file says what it is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use source::{Segments, imported, modules, named, read, rust_files};

/// The modules from bottom to top, with those each may use. A module that is not listed fails the test, as does a
/// permission that is not used.
const MAY_USE: &[(&str, &[&str])] = &[
    ("page", &[]),
    ("vectors", &[]),
    ("pooling", &["vectors"]),
    ("units", &[]),
    ("patch", &["page"]),
    ("batch", &[]),
    ("checkpoint", &[]),
    ("qwen", &["patch", "checkpoint"]),
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
        ],
    ),
    ("vlm", &["page", "units", "patch", "checkpoint", "qwen"]),
    ("store", &["page", "vectors", "pooling", "units"]),
    ("measure", &["units", "qwen"]),
    (
        "pipeline",
        &[
            "page", "vectors", "pooling", "units", "patch", "batch", "render", "embed", "store",
        ],
    ),
    ("annotate", &["page", "render", "vlm", "store"]),
    ("search", &["page", "embed", "store"]),
    ("evaluate", &["page", "render", "measure", "search"]),
    ("heatmap", &["page", "vectors"]),
    (
        "config",
        &["units", "render", "embed", "vlm", "store", "search"],
    ),
    (
        "report",
        &[
            "checkpoint",
            "qwen",
            "config",
            "embed",
            "vlm",
            "store",
            "pipeline",
            "annotate",
            "search",
        ],
    ),
    (
        "reports",
        &["page", "units", "measure", "pipeline", "evaluate"],
    ),
    (
        "cli",
        &[
            "page",
            "vectors",
            "units",
            "checkpoint",
            "qwen",
            "render",
            "embed",
            "vlm",
            "store",
            "measure",
            "pipeline",
            "annotate",
            "search",
            "evaluate",
            "heatmap",
            "config",
            "report",
            "reports",
        ],
    ),
];

/// Circles between files of a folder that are still there.
const KNOWN_CIRCLES: &[(&str, &[&str])] = &[("cli", &["describe", "ingest"])];

/// Lines a file may have.
const FILE: usize = 400;
/// Lines a function may have.
const FUNCTION: usize = 80;
/// Lines that nine functions of ten may have.
const MOST_FUNCTIONS: usize = 45;

fn all_files() -> Vec<PathBuf> {
    ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(folder))
        .collect()
}

/// What the source uses of each module: every path that its files name outside of it.
fn uses() -> BTreeMap<String, BTreeSet<(Segments, Segments)>> {
    let mut uses: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (module, text) in modules() {
        let own = uses.entry(module[0].clone()).or_default();
        let outside = named(&module, &text).into_iter();
        let outside = outside.filter(|path| path.first().is_some_and(|top| *top != module[0]));
        own.extend(outside.map(|path| (module.clone(), path)));
    }
    uses
}

#[test]
fn modules_use_what_they_may_and_nothing_is_allowed_in_vain() {
    let uses = uses();
    for (module, used) in &uses {
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(name, _)| name == module)
            .unwrap_or_else(|| panic!("unknown module {module}"));
        for (user, path) in used {
            let (user, path) = (user.join("::"), path.join("::"));
            let top = path.split(':').next().unwrap();
            assert!(allowed.contains(&top), "{user} may not use crate::{path}");
        }
        for permission in *allowed {
            let is_used = used.iter().any(|(_, path)| path[0] == *permission);
            assert!(is_used, "{module} may use {permission}, and does not");
        }
    }
    let listed: Vec<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let stray = listed.iter().find(|name| !uses.contains_key(**name));
    assert_eq!(stray, None, "there is no such module");
}

#[test]
fn the_table_is_in_order() {
    for (i, (module, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            assert!(
                MAY_USE[..i].iter().any(|(below, _)| below == used),
                "{module} looks up to {used}"
            );
        }
    }
}

/// For each folder its files and folders, each with those beside it that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graphs of all folders below `src/`. What a `mod.rs` defines is everybody's; what it takes from a child is that child's.
fn graphs() -> BTreeMap<String, Graph> {
    let modules = modules();
    let children = |folder: &[String]| -> BTreeSet<String> {
        let inside = modules.keys().filter(|m| m.starts_with(folder));
        inside
            .filter_map(|m| m.get(folder.len()).cloned())
            .collect()
    };
    let mut graphs: BTreeMap<String, Graph> = BTreeMap::new();
    for (module, text) in &modules {
        for path in named(module, text) {
            let both = module.iter().zip(&path);
            let shared = both.take_while(|(a, b)| a == b).count();
            let (folder, rest) = (&module[..shared], &path[shared..]);
            let (Some(user), Some(name), true) = (module.get(shared), rest.first(), shared > 0)
            else {
                continue;
            };
            let children = children(folder);
            let imported = || imported(&modules[folder], &children).remove(name);
            let used = children.get(name).cloned().or_else(imported);
            if let Some(used) = used.filter(|used| used != user) {
                let graph = graphs.entry(folder.join("/")).or_default();
                graph.entry(user.clone()).or_default().insert(used);
            }
        }
    }
    graphs
}

/// Takes away what uses nothing that is left, or is used by nothing that is left: circles remain.
fn circles(mut graph: Graph) -> Vec<String> {
    loop {
        let before = graph.clone();
        let used: BTreeSet<&String> = before.values().flatten().collect();
        graph.retain(|node, uses| !uses.is_empty() && used.contains(node));
        for uses in graph.values_mut() {
            uses.retain(|node| before.contains_key(node));
        }
        if graph == before {
            return graph.into_keys().collect();
        }
    }
}

#[test]
fn files_of_a_folder_have_an_order() {
    let circles: Vec<(String, Vec<String>)> = graphs()
        .into_iter()
        .map(|(folder, graph)| (folder, circles(graph)))
        .filter(|(_, circle)| !circle.is_empty())
        .collect();
    let known: Vec<_> = KNOWN_CIRCLES
        .iter()
        .map(|(folder, files)| {
            (
                (*folder).to_owned(),
                files.iter().map(|f| (*f).to_owned()).collect(),
            )
        })
        .collect::<Vec<(String, Vec<String>)>>();
    assert_eq!(circles, known);
}

#[test]
fn circles_remain_when_all_else_is_taken_away() {
    let edges = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "a")];
    let mut graph = Graph::new();
    for (user, used) in edges {
        let uses = graph.entry(user.to_owned()).or_default();
        uses.insert(used.to_owned());
    }
    assert_eq!(circles(graph.clone()), ["b", "c"]);
    graph.remove("c");
    assert!(circles(graph).is_empty());
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
        ("reqwest", "src/vlm/server src/store/weaviate"),
        ("prost", "src/store/weaviate"),
        ("pdfium_render", "src/render/"),
        ("rusqlite", "src/store/sqlite"),
        ("candle_core", "src/qwen/candle/"),
        ("mlx_rs", "src/qwen/mlx/"),
        ("hf_hub", "src/checkpoint/hub.rs"),
        ("parquet::", "src/evaluate/parquet_rows.rs"),
        ("kodama::", "src/pooling.rs"),
        ("minijinja", "src/vlm/in_process/chat_template.rs"),
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
