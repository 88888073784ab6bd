//! Arguments as people guess them: names of commands and options that exist elsewhere, and queries that begin with `-`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::diagnostic::Diagnostic;

/// Names that other programs have for a command of this one.
const GUESSED_COMMANDS: [(&str, &[&str]); 6] = [
    ("search", &["query", "find", "grep", "lookup"]),
    ("ask", &["answer", "chat"]),
    ("remove", &["rm", "delete", "del", "forget", "drop"]),
    ("list", &["ls", "dir"]),
    ("show", &["view", "open", "cat", "page"]),
    ("FILE…", &["add", "index", "import", "ingest"]),
];
/// The commands whose words are a query.
const QUERY_COMMANDS: [&str; 2] = ["search", "ask"];
/// Names that other programs have for `search -k`.
const GUESSED_COUNTS: [&str; 9] = [
    "-n", "--n", "--k", "--top-k", "--topk", "--top", "--limit", "--max", "--num",
];

/// Returns a usage error if the first path is, or resembles, the name of a command, and does not exist. If it exists and has
/// a name that other programs have for a command, the others tell: one of them must exist.
pub(super) fn reject_guessed_command(paths: &[PathBuf]) -> Result<(), Diagnostic> {
    let Some((first, others)) = paths.split_first() else {
        return Ok(());
    };
    let typed = first.to_string_lossy().to_lowercase();
    let guessed = GUESSED_COMMANDS
        .iter()
        .find(|(_, names)| names.contains(&&*typed));
    let guessed = guessed.map(|(command, _)| (*command).to_owned());
    let (command, missing) = match guessed {
        Some(command) if first.exists() && !others.iter().any(|path| path.exists()) => {
            (Some(command), others.first())
        }
        _ if first.exists() => (None, None),
        guessed => (guessed.or_else(|| similar_command(&typed)), Some(first)),
    };
    match (command, missing) {
        (Some(command), Some(missing)) => {
            let error = format!("no such file: `{}`", missing.display());
            Err(Diagnostic::usage(error).hint(format!("did you mean `ingest {command}`?")))
        }
        _ => Ok(()),
    }
}

/// The command whose name has the fewest typing errors, at most a third of the letters.
fn similar_command(typed: &str) -> Option<String> {
    let command_line = super::command_line();
    let visible = command_line.get_subcommands().filter(|c| !c.is_hide_set());
    let ranked = visible.map(|command| {
        let name = command.get_name();
        (strsim::damerau_levenshtein(name, typed), name)
    });
    let (errors, name) = ranked.min()?;
    (errors <= typed.chars().count() / 3).then(|| name.to_owned())
}

/// The usage error of a guessed command whose options made the arguments invalid, as `-k` of `ask` does.
pub(super) fn guessed_command_of(args: &[OsString]) -> Option<Diagnostic> {
    let root = built();
    let typed = args.get(first_word(&root, args)?..)?;
    if root.find_subcommand(&typed[0]).is_some() {
        return None;
    }
    let words = split(&root, typed).into_iter();
    let words: Vec<PathBuf> = words
        .filter(|(_, value)| value.is_none())
        .map(|(word, _)| PathBuf::from(word))
        .filter(|word| !word.to_string_lossy().starts_with('-'))
        .collect();
    reject_guessed_command(&words).err()
}

/// Moves the words of a query behind `--` if one of them begins with `-`, such as `-20 °C` or `-E409`, and writes the value
/// of an option that begins so as `--option=value`; `None` if there is none. For arguments that cannot be parsed as they are.
pub(super) fn with_query_last(args: &[OsString]) -> Option<Vec<OsString>> {
    let root = built();
    let is_asking = |at: &usize| QUERY_COMMANDS.iter().any(|name| args[*at] == *name);
    let name = first_word(&root, args).filter(is_asking)?;
    let command = root.find_subcommand(&args[name])?;
    let (before, typed) = args.split_at(name + 1);
    let end = typed.iter().position(|arg| arg == "--");
    let (typed, rest) = typed.split_at(end.unwrap_or(typed.len()));
    let (mut options, mut words, mut found) = (before.to_vec(), Vec::new(), false);
    for (arg, value) in split(command, typed) {
        let is_query = is_query_of(command, value.unwrap_or(arg));
        found |= is_query;
        match value {
            Some(value) if is_query => options.push(joined(arg, value)),
            Some(value) => options.extend([arg.clone(), value.clone()]),
            None if is_query || !is_option(arg) => words.push(arg.clone()),
            None => options.push(arg.clone()),
        }
    }
    words.extend(rest.iter().skip(1).cloned());
    options.push("--".into());
    options.extend(words);
    found.then_some(options)
}

/// The command line with the options that each command takes over from `ingest`.
fn built() -> Command {
    let mut root = super::command_line();
    root.build();
    root
}

/// Index of the first argument, after the name of the program, that is neither an option of the command nor the value of one.
fn first_word(command: &Command, args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(arg) = args.get(at).filter(|arg| is_option(arg)) {
        at += 1 + usize::from(awaits_value(command, arg));
    }
    (at < args.len()).then_some(at)
}

/// The arguments of a command, each option with the value that follows it.
fn split<'a>(command: &Command, args: &'a [OsString]) -> Vec<(&'a OsString, Option<&'a OsString>)> {
    let mut args = args.iter();
    let mut split = Vec::new();
    while let Some(arg) = args.next() {
        let value = awaits_value(command, arg).then(|| args.next()).flatten();
        split.push((arg, value));
    }
    split
}

/// Whether an argument is one or more options, not a word; a single `-` is one.
fn is_option(arg: &OsStr) -> bool {
    arg.len() > 1 && arg.to_string_lossy().starts_with('-')
}

/// Whether an argument is an option of a command that takes the next argument as its value.
fn awaits_value(command: &Command, arg: &OsStr) -> bool {
    let arg = arg.to_string_lossy();
    let takes_value = |option: &Arg| option.get_action().takes_values();
    match (arg.strip_prefix("--"), arg.strip_prefix('-')) {
        (Some(name), _) => {
            let option = command.get_arguments().find(|o| o.get_long() == Some(name));
            option.is_some_and(takes_value)
        }
        (None, Some(letters)) => matches!(letters_of(command, letters), Letters::AwaitValue),
        (None, None) => false,
    }
}

/// What the letters after one `-` are.
enum Letters {
    /// Options without a value, or with one in the same argument.
    Options,
    /// Options; the value of the last one is the next argument.
    AwaitValue,
    /// One of them is no option.
    Unknown,
}

fn letters_of(command: &Command, letters: &str) -> Letters {
    for (at, letter) in letters.char_indices() {
        let option = command
            .get_arguments()
            .find(|o| o.get_short() == Some(letter));
        match option.map(|option| option.get_action().takes_values()) {
            None => return Letters::Unknown,
            Some(true) if at + letter.len_utf8() == letters.len() => return Letters::AwaitValue,
            Some(true) => return Letters::Options,
            Some(false) => {}
        }
    }
    Letters::Options
}

/// An option with its value, as one argument.
fn joined(option: &OsStr, value: &OsStr) -> OsString {
    let mut joined = option.to_owned();
    joined.push("=");
    joined.push(value);
    joined
}

/// Whether an argument begins with `-` and is meant as a word: as the name of an option it would have a space or begin with no
/// letter, or it is several letters after one `-` that are no options. One unknown letter, or a long name, is a wrong option.
fn is_query_of(command: &Command, arg: &OsStr) -> bool {
    let arg = arg.to_string_lossy();
    let Some(name) = arg.strip_prefix('-').filter(|name| !name.is_empty()) else {
        return false;
    };
    let long = name.strip_prefix('-');
    let word = long.unwrap_or(name).split('=').next().unwrap_or_default();
    if !word.starts_with(|c: char| c.is_ascii_alphabetic()) || word.contains(char::is_whitespace) {
        return true;
    }
    let is_long_name = || {
        let mut options = command.get_arguments();
        options.any(|option| option.get_long() == Some(word))
    };
    let is_count = || GUESSED_COUNTS.contains(&arg.trim_end_matches(|c: char| c.is_ascii_digit()));
    long.is_none()
        && word.chars().count() > 1
        && matches!(letters_of(command, name), Letters::Unknown)
        && !is_long_name()
        && !is_count()
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
            let args = [&["ingest"], args].concat();
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            with_query_last(&args).map(|args| {
                let args = args.iter().skip(1);
                let args = args.map(|arg| arg.to_string_lossy().into_owned());
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
            (&["search", "-E409", "--json"], "search|--json|--|-E409"),
            (
                &["search", "LED", "-k", "3", "-LED"],
                "search|-k|3|--|LED|-LED",
            ),
            (&["search", "-quick", "-hot"], "search|--|-quick|-hot"),
            (
                &["search", "--manual", "-1 b.pdf", "alarm"],
                "search|--manual=-1 b.pdf|--|alarm",
            ),
            (
                &["--store", "search", "search", "-E409", "-qk", "3"],
                "--store|search|search|-qk|3|--|-E409",
            ),
        ] {
            assert_eq!(moved(args).as_deref(), Some(expected));
        }
        for others in [
            &["search", "x", "--manual=heat pump.pdf"][..],
            &["search", "-", "--json"],
            &["-20 °C", "search"],
            &["show", "-20 °C"],
            &["search", "x", "-qv", "-k10", "-n3", "-n", "3"],
            &["search", "x", "-json", "--no-such-option", "-E"],
            &["--store", "search", "show", "-E409"],
        ] {
            assert_eq!(moved(others), None, "{others:?}");
        }
    }

    #[test]
    fn the_value_of_an_option_is_no_command() {
        let guessed = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            guessed_command_of(&args).map(|diagnostic| diagnostic.hints.concat())
        };
        let hint = Some("did you mean `ingest search`?".to_owned());
        assert_eq!(
            guessed(&["ingest", "--store", "a.db", "find", "-k", "3"]),
            hint
        );
        assert_eq!(
            guessed(&["ingest", "--store", "find", "search", "--bad"]),
            None
        );
        assert_eq!(guessed(&["ingest", "--store", "find"]), None);
    }

    #[test]
    fn short_names_resemble_no_command() {
        for (typed, command) in [
            ("a", None),
            ("md", None),
            ("mna", Some("man")),
            ("serach", Some("search")),
            ("pump", None),
        ] {
            assert_eq!(similar_command(typed).as_deref(), command, "{typed}");
        }
    }
}
