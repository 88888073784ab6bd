//! Advice about inputs that cannot be read.

use std::path::{Path, PathBuf};

use crate::render::{self, FileKind};

/// What to do about a protected file.
pub const PASSWORD_HINT: &str = "set `--password WORD`, or `--password-file FILE` or INGEST_PASSWORD, which other users cannot see";

/// What to do if the inputs are the words of a question.
const QUESTION_HINT: &str = "to ask a question: `ingest search \"…\"`";

/// What to do about inputs that are together the words of a question: several, none of them a file.
pub fn words_hint(paths: &[PathBuf]) -> Option<&'static str> {
    let is_word = |path: &PathBuf| {
        let word = path.to_string_lossy();
        is_text(word.trim_end_matches(['.', ',', '?', '!']))
            && !is_question(&word)
            && !path.exists()
    };
    (paths.len() > 1 && paths.iter().all(is_word)).then_some(QUESTION_HINT)
}

/// Whether an input is several words.
fn is_question(path: &str) -> bool {
    path.split_whitespace().nth(1).is_some() && is_text(path)
}

/// Whether an input can be a word or a sentence: the path of a file has a suffix or a folder.
fn is_text(path: &str) -> bool {
    !path.contains(['.', '/'])
}

/// What to do about an input that cannot be read; `cause` is `None` if it was not opened.
pub fn input_hint(path: &Path, cause: Option<&render::Error>) -> Option<&'static str> {
    let path = path.to_string_lossy();
    let is_url = || {
        let scheme = path.split_once(":/").map(|(scheme, _)| scheme);
        scheme.is_some_and(|s| s.len() > 1 && s.chars().all(|c| c.is_ascii_alphanumeric()))
    };
    match cause {
        Some(cause) => file_hint(cause),
        None if path == "-" => Some(
            "a PDF must be a file, standard input is not read: save it, then `ingest FILE.pdf`",
        ),
        None if is_url() => {
            Some("an address is not fetched: download the file first, then `ingest FILE.pdf`")
        }
        None if is_question(&path) => Some(QUESTION_HINT),
        None => None,
    }
}

/// What to do about a file that cannot be opened.
pub(super) fn file_hint(error: &render::Error) -> Option<&'static str> {
    let render::Error::Foreign(kind) = error else {
        return match error {
            render::Error::Password { .. } => Some(PASSWORD_HINT),
            render::Error::Truncated => Some("download it again, or copy it again"),
            render::Error::NoBytes => {
                Some("download it again, or copy it again: the last time nothing was written")
            }
            _ => None,
        };
    };
    Some(match kind {
        FileKind::Html => {
            "the download was probably a sign-in page or an error message: open it in a browser, then download the PDF again"
        }
        FileKind::Text => {
            "if it was a download, it is probably an error message: open it in an editor; else export it as PDF first"
        }
        FileKind::Zip => {
            "if it is a document, export it as PDF first; if it is an archive, unpack it first"
        }
        FileKind::Archive => "unpack it first",
        FileKind::Office | FileKind::RichText => "export it as PDF first",
        FileKind::PostScript => "convert it to PDF first, as with `ps2pdf`",
        FileKind::Djvu => "convert it to PDF first, as with `ddjvu -format=pdf`",
        FileKind::Svg | FileKind::Heic | FileKind::OtherPicture => "export it as PDF or PNG first",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_are_no_files_get_a_hint() {
        let hint = |path: &str| input_hint(Path::new(path), None);
        for address in [
            "https://host/manual.pdf",
            "ftp://host/a",
            "s3://bucket/a.pdf",
            "http:/host/a.pdf",
        ] {
            assert!(hint(address).unwrap().contains("not fetched"), "{address}");
        }
        assert!(hint("-").unwrap().contains("must be a file"));
        assert!(
            hint("how do I reset the alarm?")
                .unwrap()
                .contains("ingest search")
        );
        for file in [
            "pump.pdf",
            "heat pump.pdf",
            "/manuals/a b",
            "C:/manuals/a.pdf",
        ] {
            assert_eq!(hint(file), None, "{file}");
        }
    }

    #[test]
    fn several_words_are_a_question() {
        for (words, is_question) in [
            (&["reset", "the", "alarm", "panel."][..], true),
            (&["what", "is", "E-108?"], true),
            (&["alarm"], false),
            (&["reset", "pump.pdf"], false),
            (&["manuals/a", "manuals/b"], false),
            (&["reset", "src"], false),
            (&["reset the", "alarm"], false),
        ] {
            let paths: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
            assert_eq!(words_hint(&paths).is_some(), is_question, "{words:?}");
        }
    }
}
