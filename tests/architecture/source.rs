//! Source parser: the module paths that each file references, resolved to absolute paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The segments of a path.
pub(crate) type Segments = Vec<String>;

/// The Rust files of a folder in the repository root, sorted.
pub(crate) fn rust_files(folder: &str) -> Vec<PathBuf> {
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

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Module path of a file in `src/`; `None` for the roots `lib.rs`, `main.rs` and the build script.
pub(crate) fn module(path: &Path) -> Option<Segments> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inside = path.strip_prefix(src).unwrap().with_extension("");
    let mut module: Segments = inside
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let is_root = ["lib", "main", "build"].contains(&module[0].as_str());
    (!is_root).then_some(module)
}

/// All modules of `src/` with their source text.
pub(crate) fn modules() -> BTreeMap<Segments, String> {
    let files = rust_files("src");
    let with_text = |path: &PathBuf| Some((module(path)?, read(path)));
    files.iter().filter_map(with_text).collect()
}

/// The absolute paths that a module references by `crate::`, `super::` or `self::`, without `crate`.
pub(crate) fn references(module: &[String], text: &str) -> BTreeSet<Segments> {
    let code = without_comments(text);
    // The parent of code in the test module is the file itself.
    let tests = code.find("\nmod tests {").unwrap_or(code.len());
    let mut all = BTreeSet::new();
    for root in ["crate::", "super::", "self::"] {
        for (offset, _) in code.match_indices(root) {
            let before = code[..offset].chars().next_back();
            let continues = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$';
            if before.is_some_and(continues) {
                continue;
            }
            let mut scope = module.to_vec();
            if offset > tests {
                scope.push("tests".to_owned());
            }
            let paths = use_tree(&code[offset..]).into_iter();
            all.extend(paths.filter_map(|(path, _)| absolute(&scope, &path)));
        }
    }
    all
}

/// The names that a `mod.rs` imports from its own children, each with the child.
pub(crate) fn child_imports(text: &str, children: &BTreeSet<String>) -> BTreeMap<String, String> {
    let code = without_comments(text);
    let mut names = BTreeMap::new();
    for (offset, _) in code.match_indices("use ") {
        let before = code[..offset].rsplit('\n').next().unwrap_or_default();
        if !before.is_empty() && !before.starts_with("pub") {
            continue;
        }
        for (path, name) in use_tree(&code[offset + "use ".len()..]) {
            let path = match path.first().map(String::as_str) {
                Some("self") => &path[1..],
                _ => &path[..],
            };
            if path.len() > 1 && children.contains(&path[0]) {
                names.insert(name, path[0].clone());
            }
        }
    }
    names
}

fn without_comments(text: &str) -> String {
    let code = text.lines().map(|l| l.split("//").next().unwrap_or(l));
    code.collect::<Vec<_>>().join("\n")
}

/// Resolves a path relative to a module to a path from the crate root.
fn absolute(module: &[String], path: &[String]) -> Option<Segments> {
    let mut absolute = module.to_vec();
    for part in path {
        match part.as_str() {
            "crate" => absolute.clear(),
            "super" => drop(absolute.pop()?),
            "self" => {}
            name => absolute.push(name.to_owned()),
        }
    }
    Some(absolute)
}

/// Parses the use tree at the start of `code`: all paths, braces expanded, each with the name it brings into scope.
fn use_tree(code: &str) -> Vec<(Segments, String)> {
    let code = code.trim_start();
    if let Some(list) = code.strip_prefix('{') {
        return items(list).iter().flat_map(|item| use_tree(item)).collect();
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '*';
    let end = code.find(|c| !is_name(c)).unwrap_or(code.len());
    let (name, rest) = (code[..end].to_owned(), &code[end..]);
    if let Some(inner) = rest.strip_prefix("::") {
        let prepend = |(path, name_in_scope): (Segments, String)| {
            let name_in_scope = if name_in_scope == "self" {
                name.clone()
            } else {
                name_in_scope
            };
            ([vec![name.clone()], path].concat(), name_in_scope)
        };
        return use_tree(inner).into_iter().map(prepend).collect();
    }
    let alias = rest.trim_start().strip_prefix("as ");
    let alias = alias.map(|alias| alias.trim_start().chars().take_while(|c| is_name(*c)));
    let name_in_scope = alias.map_or_else(|| name.clone(), Iterator::collect);
    match name.is_empty() {
        true => Vec::new(),
        false => vec![(vec![name], name_in_scope)],
    }
}

/// The items of a brace list up to its closing brace, split at commas outside inner braces.
fn items(list: &str) -> Vec<String> {
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().unwrap().push(c);
            }
        }
    }
    items
}

#[test]
fn references_are_found_and_resolved() {
    let text = "use crate::{page::PageId, store::{self, Hit as H}};\n\
                use super::super::ui::Ui;\n\
                let x = crate::units::y(); // crate::nothing\n\
                let z = super::kit::open(self::inner::F);\n\
                #[cfg(test)]\nmod tests {\n    use super::own;\n}";
    let module = ["cli", "bench", "run"].map(str::to_owned);
    let references: Vec<String> = references(&module, text)
        .iter()
        .map(|p| p.join("::"))
        .collect();
    assert_eq!(
        references,
        [
            "cli::bench::kit::open",
            "cli::bench::run::inner::F",
            "cli::bench::run::own",
            "cli::ui::Ui",
            "page::PageId",
            "store",
            "store::Hit",
            "units::y"
        ]
    );
}

#[test]
fn imports_from_children_are_found() {
    let text = "pub use dataset::{Dataset, Error as Why};\nuse crate::page::PageId;\nuse self::fit::mapping;\n\
                    pub(super) use table::{self, Row};";
    let children = ["dataset", "fit", "table"].map(str::to_owned).into();
    let imported: Vec<(String, String)> = child_imports(text, &children).into_iter().collect();
    let expected = [
        ("Dataset", "dataset"),
        ("Row", "table"),
        ("Why", "dataset"),
        ("mapping", "fit"),
        ("table", "table"),
    ];
    let expected = expected.map(|(name, child)| (name.to_owned(), child.to_owned()));
    assert_eq!(imported, expected);
}
