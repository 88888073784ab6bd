//! Files of questions about stored pages, such as `manuals/questions.json`.

use std::path::Path;

use serde::Deserialize;

use super::error::Error;
use crate::page::{ManualId, PageId};

/// The kind of questions that no page answers.
const ABSENT: &str = "absent";

/// A question of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Question {
    /// Its text.
    #[serde(rename = "question")]
    pub text: String,
    /// The manual that it is about.
    pub manual: String,
    /// The pages that answer it; none if it is absent.
    pub pages: Vec<u32>,
    /// The strings that a right answer contains, all of them.
    #[serde(default)]
    pub answers: Vec<String>,
    /// Its kind.
    #[serde(default)]
    kind: String,
}

impl Question {
    /// Whether no page answers it, by design: the right answer is a refusal.
    pub fn is_absent(&self) -> bool {
        self.kind == ABSENT
    }

    /// The ids of the pages that answer it.
    pub fn page_ids(&self) -> impl Iterator<Item = PageId> {
        let manual = ManualId::new(&self.manual);
        self.pages.iter().map(move |&n| PageId::new(&manual, n))
    }
}

/// Reads a JSON list of {question, manual, pages, answers, kind}; answers and kind may be omitted.
///
/// # Errors
/// [`Error::File`] when the file cannot be read or has no questions, [`Error::Question`] when a question has no pages but is not
/// of the kind `absent`, or has pages although it is.
pub fn read_questions(file: &Path) -> Result<Vec<Question>, Error> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::file(file, &e))?;
    let all: Vec<Question> = serde_json::from_str(&text).map_err(|e| Error::file(file, &e))?;
    if all.is_empty() {
        return Err(Error::file(file, &"the file has no questions"));
    }
    for question in &all {
        let why = match (question.pages.is_empty(), question.is_absent()) {
            (true, false) => "has no pages; a question without an answer has the kind `absent`",
            (false, true) => "has pages, but its kind is `absent`",
            _ => continue,
        };
        return Err(Error::Question {
            file: file.to_owned(),
            question: question.text.clone(),
            why,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Question>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("questions.json");
        std::fs::write(&file, text).unwrap();
        read_questions(&file).map_err(|e| e.to_string())
    }

    #[test]
    fn only_absent_questions_have_no_pages() {
        let all = read(
            r#"[{"question": "How hot?", "manual": "pump.pdf", "pages": [2]},
                {"question": "E-9?", "manual": "pump.pdf", "pages": [], "answers": [], "kind": "absent"}]"#,
        );
        let absent: Vec<bool> = all.unwrap().iter().map(Question::is_absent).collect();
        assert_eq!(absent, [false, true]);
        for (entry, why) in [
            (r#""pages": []"#, "`E-9?` has no pages"),
            (r#""pages": [], "kind": "lexical""#, "`E-9?` has no pages"),
            (r#""pages": [3], "kind": "absent""#, "`E-9?` has pages"),
        ] {
            let text = format!(r#"[{{"question": "E-9?", "manual": "pump.pdf", {entry}}}]"#);
            let error = read(&text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
