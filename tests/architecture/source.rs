//! What the source files name: paths of modules, resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The segments of a path.
pub(crate) type Segments = Vec<String>;

/// The Rust files of a folder at the top of the source tree, sorted.
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

/// The module that a file of `src/` is; `None` for the roots `lib.rs`, `main.rs` and `build.rs`.
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

/// All modules of `src/` with their text.
pub(crate) fn modules() -> BTreeMap<Segments, String> {
    let files = rust_files("src");
    let with_text = |path: &PathBuf| Some((module(path)?, read(path)));
    files.iter().filter_map(with_text).collect()
}

/// The absolute paths that the text of a module names by `crate::`, `super::` or `self::`, without `crate`.
pub(crate) fn named(module: &[String], text: &str) -> BTreeSet<Segments> {
    let code = without_comments(text);
    // What stands in a module for tests sees the file as its parent.
    let tests = code.find("\nmod tests {").unwrap_or(code.len());
    let mut all = BTreeSet::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            let continues = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$';
            if before.is_some_and(continues) {
                continue;
            }
            let mut here = module.to_vec();
            if at > tests {
                here.push("tests".to_owned());
            }
            let paths = tree(&code[at..]).into_iter();
            all.extend(paths.filter_map(|(path, _)| absolute(&here, &path)));
        }
    }
    all
}

/// The names that a `mod.rs` takes from its own children, each with the child.
pub(crate) fn imported(text: &str, children: &BTreeSet<String>) -> BTreeMap<String, String> {
    let code = without_comments(text);
    let mut names = BTreeMap::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].rsplit('\n').next().unwrap_or_default();
        if !before.is_empty() && !before.starts_with("pub") {
            continue;
        }
        for (path, name) in tree(&code[at + "use ".len()..]) {
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

/// A path as seen from the crate's root.
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

/// The paths at the start of some code, those in braces one by one, each with the name that it brings.
fn tree(code: &str) -> Vec<(Segments, String)> {
    let code = code.trim_start();
    if let Some(list) = code.strip_prefix('{') {
        return items(list).iter().flat_map(|item| tree(item)).collect();
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '*';
    let end = code.find(|c| !is_name(c)).unwrap_or(code.len());
    let (name, rest) = (code[..end].to_owned(), &code[end..]);
    if let Some(inner) = rest.strip_prefix("::") {
        let longer = |(path, last): (Segments, String)| {
            let last = if last == "self" { name.clone() } else { last };
            ([vec![name.clone()], path].concat(), last)
        };
        return tree(inner).into_iter().map(longer).collect();
    }
    let other = rest.trim_start().strip_prefix("as ");
    let other = other.map(|other| other.trim_start().chars().take_while(|c| is_name(*c)));
    let brings = other.map_or_else(|| name.clone(), Iterator::collect);
    match name.is_empty() {
        true => Vec::new(),
        false => vec![(vec![name], brings)],
    }
}

/// The items of a brace list up to its closing brace, split at commas outside of inner braces.
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
fn paths_are_seen_and_resolved() {
    let text = "use crate::{page::PageId, store::{self, Hit as H}};\n\
                use super::super::ui::Ui;\n\
                let x = crate::units::y(); // crate::nothing\n\
                let z = super::kit::open(self::inner::F);\n\
                #[cfg(test)]\nmod tests {\n    use super::own;\n}";
    let module = ["cli", "bench", "run"].map(str::to_owned);
    let named: Vec<String> = named(&module, text).iter().map(|p| p.join("::")).collect();
    assert_eq!(
        named,
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
fn imports_from_children_are_seen() {
    let text = "pub use dataset::{Dataset, Error as Why};\nuse crate::page::PageId;\nuse self::fit::mapping;\n\
                    pub(super) use table::{self, Row};";
    let children = ["dataset", "fit", "table"].map(str::to_owned).into();
    let imported: Vec<(String, String)> = imported(text, &children).into_iter().collect();
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
