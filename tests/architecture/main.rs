//! Architecture tests: modules and files depend only on earlier ones, without cycles; files and functions are short; every
//! file begins with a module doc.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod source;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use source::{Segments, child_imports, modules, read, references, rust_files};
use table::ALLOWED_DEPENDENCIES;

/// Maximum lines of a file.
const MAX_FILE_LINES: usize = 400;
/// Maximum lines of a function.
const MAX_FUNCTION_LINES: usize = 80;
/// Maximum lines of nine functions in ten.
const MAX_P90_FUNCTION_LINES: usize = 45;

fn all_files() -> Vec<PathBuf> {
    ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(folder))
        .collect()
}

/// For each module, the paths outside of it that its files reference, each with the referencing file.
fn uses() -> BTreeMap<String, BTreeSet<(Segments, Segments)>> {
    let mut uses: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (module, text) in modules() {
        let own = uses.entry(module[0].clone()).or_default();
        let outside = references(&module, &text).into_iter();
        let outside = outside.filter(|path| path.first().is_some_and(|top| *top != module[0]));
        own.extend(outside.map(|path| (module.clone(), path)));
    }
    uses
}

#[test]
fn modules_use_only_allowed_modules_and_every_permission_is_used() {
    let uses = uses();
    for (module, used) in &uses {
        let (_, allowed) = ALLOWED_DEPENDENCIES
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
            assert!(is_used, "{module} may use {permission}, but does not");
        }
    }
    let declared: Vec<&str> = ALLOWED_DEPENDENCIES.iter().map(|(name, _)| *name).collect();
    let unknown = declared.iter().find(|name| !uses.contains_key(**name));
    assert_eq!(unknown, None, "there is no such module");
}

#[test]
fn table_is_in_dependency_order() {
    for (i, (module, allowed)) in ALLOWED_DEPENDENCIES.iter().enumerate() {
        for used in *allowed {
            assert!(
                ALLOWED_DEPENDENCIES[..i]
                    .iter()
                    .any(|(below, _)| below == used),
                "{module} uses {used}, which is not above it in the table"
            );
        }
    }
}

/// Dependencies between the children (files and folders) of one folder.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graphs of all folders below `src/`. Items defined in a `mod.rs` are no edge; items it imports from a child count as the child's.
fn graphs() -> BTreeMap<String, Graph> {
    let modules = modules();
    let children = |folder: &[String]| -> BTreeSet<String> {
        let descendants = modules.keys().filter(|m| m.starts_with(folder));
        descendants
            .filter_map(|m| m.get(folder.len()).cloned())
            .collect()
    };
    let mut graphs: BTreeMap<String, Graph> = BTreeMap::new();
    for (module, text) in &modules {
        for path in references(module, text) {
            let both = module.iter().zip(&path);
            let shared = both.take_while(|(a, b)| a == b).count();
            let (folder, rest) = (&module[..shared], &path[shared..]);
            let (Some(user), Some(name), true) = (module.get(shared), rest.first(), shared > 0)
            else {
                continue;
            };
            let children = children(folder);
            let imported = || child_imports(&modules[folder], &children).remove(name);
            let used = children.get(name).cloned().or_else(imported);
            if let Some(used) = used.filter(|used| used != user) {
                let graph = graphs.entry(folder.join("/")).or_default();
                graph.entry(user.clone()).or_default().insert(used);
            }
        }
    }
    graphs
}

/// Repeatedly removes nodes without outgoing or incoming edges; returns the rest, which contains the cycles.
fn cycles(mut graph: Graph) -> Vec<String> {
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
fn files_of_a_folder_have_no_cycles() {
    let cycles: Vec<(String, Vec<String>)> = graphs()
        .into_iter()
        .map(|(folder, graph)| (folder, cycles(graph)))
        .filter(|(_, cycle)| !cycle.is_empty())
        .collect();
    assert!(cycles.is_empty(), "{cycles:?}");
}

#[test]
fn cycles_returns_only_nodes_of_cycles() {
    let edges = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "a")];
    let mut graph = Graph::new();
    for (user, used) in edges {
        let uses = graph.entry(user.to_owned()).or_default();
        uses.insert(used.to_owned());
    }
    assert_eq!(cycles(graph.clone()), ["b", "c"]);
    graph.remove("c");
    assert!(cycles(graph).is_empty());
}

#[test]
fn files_are_short_and_begin_with_a_module_doc() {
    for path in all_files() {
        let text = read(&path);
        let lines = text.lines().count();
        assert!(
            lines <= MAX_FILE_LINES,
            "{} has {lines} lines, {MAX_FILE_LINES} are allowed",
            path.display()
        );
        assert!(
            text.starts_with("//!"),
            "{} does not begin with a module doc (`//!`)",
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
fn functions_are_short() {
    let mut lengths = Vec::new();
    for path in rust_files("src") {
        for (name, length) in functions(&read(&path)) {
            assert!(
                length <= MAX_FUNCTION_LINES,
                "{}: `{name}` has {length} lines, {MAX_FUNCTION_LINES} are allowed",
                path.display()
            );
            lengths.push(length);
        }
    }
    lengths.sort_unstable();
    assert!(
        lengths.len() > 100,
        "too few functions found: {}",
        lengths.len()
    );
    let nine_of_ten = lengths[lengths.len() * 9 / 10];
    assert!(
        nine_of_ten <= MAX_P90_FUNCTION_LINES,
        "a tenth of the functions has at least {nine_of_ten} lines"
    );
}

#[test]
fn external_crates_are_used_only_in_their_modules() {
    for (library, allowed_paths) in [
        ("reqwest", "src/vlm/server src/store/weaviate"),
        ("prost", "src/store/weaviate"),
        ("pdfium_render", "src/render/"),
        ("rusqlite", "src/store/sqlite"),
        ("candle_core", "src/qwen/candle/"),
        ("candle_metal", "src/qwen/candle/"),
        ("objc2", "src/qwen/candle/"),
        ("mlx_rs", "src/qwen/mlx/"),
        ("hf_hub", "src/checkpoint/hub.rs"),
        ("parquet::", "src/evaluate/parquet_rows.rs"),
        ("kodama::", "src/pooling.rs"),
        ("minijinja", "src/vlm/in_process/chat_template.rs"),
        ("axum", "src/web/"),
        ("tokio::", "src/web/ src/queue/"),
        ("async_nats", "src/queue/"),
        ("tower_http", "src/web/"),
        ("schemars", "src/web/ src/answer/"),
        ("rmcp", "src/web/mcp/"),
    ] {
        for path in rust_files("src") {
            let path_in_repo = path
                .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let is_used = read(&path)
                .lines()
                .any(|l| !l.trim_start().starts_with("//") && l.contains(library));
            assert!(
                !is_used
                    || allowed_paths
                        .split(' ')
                        .any(|allowed| path_in_repo.starts_with(allowed)),
                "{path_in_repo} uses {library}, which is restricted to {allowed_paths}"
            );
        }
    }
}
