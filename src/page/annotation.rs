//! What a describing run leaves at a page.

use serde::{Deserialize, Serialize};

/// What a describing run left at a page; kept as JSON in every store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The model that was asked, by its name at the server.
    pub model: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A description.
    Described(Description),
    /// None, and why not.
    Failed {
        /// The class of the failure, such as `repetition`.
        class: String,
        /// What happened, in words.
        why: String,
    },
}

/// What is on a page, as a vision-language model saw it. Lengths are bounded by `describe`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// Degrees that the page should be turned clockwise to be read: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Whether the model could read it.
    pub legible: bool,
    /// What the page is headed.
    pub title: String,
    /// What it says, in a few sentences.
    pub summary: String,
    /// What it is about.
    pub topics: Vec<String>,
    /// Its figures.
    pub figures: Vec<Figure>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Part numbers, codes and the like, as printed.
    pub identifiers: Vec<Identifier>,
    /// The language it is written in, as the model calls it.
    pub language: String,
    /// The page whose description this is: one that looks and reads the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twin_of: Option<String>,
}

/// A figure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figure {
    /// Its label or caption.
    pub label: String,
    /// What it shows.
    pub says: String,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    /// Its label or caption.
    pub label: String,
    /// The heads of its columns.
    pub columns: Vec<String>,
    /// What it tells.
    pub says: String,
}

/// A part number, a code, a value: what people look for by its letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifier {
    /// As the model read it.
    pub text: String,
    /// Whether the text layer has it too; one that only the model saw may be misread, and is not searched.
    pub confirmed: bool,
}

impl Annotation {
    /// The description, if there is one.
    pub fn description(&self) -> Option<&Description> {
        match &self.outcome {
            Outcome::Described(description) => Some(description),
            Outcome::Failed { .. } => None,
        }
    }

    /// As stores keep it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a store kept; none where it is not ours.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The words that a search looks through; empty where there is no description.
    pub fn words(&self) -> String {
        let Some(page) = self.description() else {
            return String::new();
        };
        let mut lines = vec![page.title.as_str(), &page.summary];
        lines.extend(page.topics.iter().map(String::as_str));
        for figure in &page.figures {
            lines.extend([figure.label.as_str(), &figure.says]);
        }
        for table in &page.tables {
            lines.extend([table.label.as_str(), &table.says]);
            lines.extend(table.columns.iter().map(String::as_str));
        }
        let sure = page.identifiers.iter().filter(|one| one.confirmed);
        lines.extend(sure.map(|one| one.text.as_str()));
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sure_is_searched() {
        let description = Description {
            title: "Fault codes".to_owned(),
            identifiers: [("E-104", true), ("E-999", false)]
                .map(|(text, confirmed)| Identifier {
                    text: text.to_owned(),
                    confirmed,
                })
                .to_vec(),
            ..Description::default()
        };
        let annotation = Annotation {
            model: "m".to_owned(),
            outcome: Outcome::Described(description),
        };
        assert_eq!(annotation.words(), "Fault codes\nE-104");
        let failed = Annotation {
            model: "m".to_owned(),
            outcome: Outcome::Failed {
                class: "repetition".to_owned(),
                why: "it said the same again and again".to_owned(),
            },
        };
        assert_eq!(failed.words(), "");
        for one in [annotation, failed] {
            assert_eq!(Annotation::from_json(&one.to_json()), Some(one));
        }
        assert_eq!(Annotation::from_json("a pump"), None);
    }
}
