//! Arguments as people guess them: names of commands and options that exist elsewhere, and queries that begin with `-`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::diagnostic::Diagnostic;

/// Names that other programs have for a command of this one.
const GUESSED_COMMANDS: [(&str, &[&str]); 5] = [
    ("search", &["ask", "query", "find", "grep", "lookup"]),
    ("remove", &["rm", "delete", "del", "forget", "drop"]),
    ("list", &["ls", "dir"]),
    ("show", &["view", "open", "cat", "page"]),
    ("FILE…", &["add", "index", "import", "ingest"]),
];
/// Names that other programs have for `search -k`.
const GUESSED_COUNTS: [&str; 9] = [
    "-n", "--n", "--k", "--top-k", "--topk", "--top", "--limit", "--max", "--num",
];

/// Returns a usage error if a path does not exist and is, or resembles, the name of a command.
pub(super) fn reject_guessed_command(path: &Path) -> Result<(), Diagnostic> {
    let typed = path.to_string_lossy();
    let guessed = GUESSED_COMMANDS
        .iter()
        .find(|(_, names)| names.contains(&&*typed.to_lowercase()));
    let command_line = super::command_line();
    let similar = || {
        let visible = command_line.get_subcommands().filter(|c| !c.is_hide_set());
        let mut names = visible.map(clap::Command::get_name);
        names.find(|name| strsim::damerau_levenshtein(name, &typed) <= 2)
    };
    let command = guessed.map(|(command, _)| *command).or_else(similar);
    match command {
        Some(command) if !path.exists() => {
            Err(Diagnostic::usage(format!("no such file: `{typed}`"))
                .hint(format!("did you mean `ingest {command}`?")))
        }
        _ => Ok(()),
    }
}

/// The usage error of a guessed command whose options made the arguments invalid, as `-k` of `ask` does.
pub(super) fn guessed_command_of(args: &[OsString]) -> Option<Diagnostic> {
    let is_command = |name: &&OsString| super::command_line().find_subcommand(name).is_some();
    let is_option = |arg: &&OsString| arg.to_string_lossy().starts_with('-');
    let first = args.iter().skip(1).find(|arg| !is_option(arg))?;
    match is_command(&first) {
        true => None,
        false => reject_guessed_command(Path::new(first)).err(),
    }
}

/// Moves queries that begin with `-` behind `--`, such as `-20 °C`; `None` if there is none. For arguments that cannot be
/// parsed as they are.
pub(super) fn with_query_last(args: &[OsString]) -> Option<Vec<OsString>> {
    let search = args.iter().position(|arg| arg == "search")?;
    let end = args.iter().position(|arg| arg == "--");
    let end = end.filter(|end| *end > search).unwrap_or(args.len());
    let (before, rest) = args.split_at(end);
    let (command, typed) = before.split_at(search + 1);
    let (queries, others): (Vec<_>, Vec<_>) = typed.iter().partition(|arg| is_query(arg));
    if queries.is_empty() {
        return None;
    }
    let separator = OsString::from("--");
    let others = command.iter().chain(others).chain([&separator]);
    let queries = queries.into_iter().chain(rest.iter().skip(1));
    Some(others.chain(queries).cloned().collect())
}

/// Whether an argument begins with `-` and cannot be an option: its name would have a space, or begin with no letter.
fn is_query(arg: &OsStr) -> bool {
    let arg = arg.to_string_lossy();
    let Some(name) = arg.strip_prefix('-').filter(|name| !name.is_empty()) else {
        return false;
    };
    let name = name.strip_prefix('-').unwrap_or(name);
    let name = name.split('=').next().unwrap_or_default();
    !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.contains(char::is_whitespace)
}

/// Names `-k` in the error of an option that other programs have instead.
pub(super) fn name_count_option(mut error: clap::Error) -> clap::Error {
    let is_guessed = |value: &ContextValue| match value {
        ContextValue::String(option) => GUESSED_COUNTS.contains(&option.as_str()),
        _ => false,
    };
    let of_search = error
        .get(ContextKind::Usage)
        .is_some_and(|usage| usage.to_string().contains("ingest search"));
    let guessed = error.get(ContextKind::InvalidArg).is_some_and(is_guessed);
    if error.kind() == ErrorKind::UnknownArgument && of_search && guessed {
        error.remove(ContextKind::SuggestedArg);
        let tip = "the number of pages is set by '-k' ('--count')".into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_that_begin_with_a_hyphen_are_moved_behind_two() {
        let moved = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            with_query_last(&args).map(|args| {
                let args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
                args.collect::<Vec<_>>().join("|")
            })
        };
        for (args, expected) in [
            (
                &["search", "-20 °C", "-k", "3"][..],
                "search|-k|3|--|-20 °C",
            ),
            (&["search", "-°", "--", "-x"], "search|--|-°|-x"),
            (
                &["search", "--help me please"],
                "search|--|--help me please",
            ),
            (&["search", "-k alarm"], "search|--|-k alarm"),
        ] {
            assert_eq!(moved(args).as_deref(), Some(expected));
        }
        for others in [
            &["search", "x", "--manual=heat pump.pdf"][..],
            &["search", "-", "--json"],
            &["-20 °C", "search"],
            &["show", "-20 °C"],
        ] {
            assert_eq!(moved(others), None);
        }
    }
}
