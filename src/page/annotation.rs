//! Annotation of a page: the result of describing it with a vision-language model.

use serde::{Deserialize, Serialize};

/// Result of describing a page; stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// Name of the model on its server.
    pub model: String,
    /// Description or failure.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Outcome of describing a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A description.
    Described(Description),
    /// No description, with the reason.
    Failed {
        /// The class of the failure, such as `repetition`.
        class: String,
        /// The reason, for people.
        why: String,
    },
}

/// Description of a page by a vision-language model. Lengths are limited by `vlm`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// Clockwise rotation in degrees that makes the page upright: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Whether the page is legible.
    pub legible: bool,
    /// Title of the page.
    pub title: String,
    /// Summary in a few sentences.
    pub summary: String,
    /// Topics.
    pub topics: Vec<String>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Part numbers, codes and similar identifiers, as printed.
    pub identifiers: Vec<Identifier>,
    /// Language of the page, as named by the model.
    pub language: String,
    /// The page whose description was reused: a near-duplicate.
    #[serde(rename = "twin_of", skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
}

/// A figure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figure {
    /// Label or caption.
    pub label: String,
    /// What the figure shows.
    #[serde(rename = "says")]
    pub content: String,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    /// Label or caption.
    pub label: String,
    /// Column headers.
    pub columns: Vec<String>,
    /// Content in a sentence.
    #[serde(rename = "says")]
    pub content: String,
}

/// A part number, code or value: text that is searched for literally.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifier {
    /// The identifier, as read by the model.
    pub text: String,
    /// Whether the text layer contains it too; otherwise it may be misread, and is not searched.
    pub confirmed: bool,
}

impl Annotation {
    /// The description; `None` if describing failed.
    pub fn description(&self) -> Option<&Description> {
        match &self.outcome {
            Outcome::Described(description) => Some(description),
            Outcome::Failed { .. } => None,
        }
    }

    /// Serialises to the stored JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the stored JSON; `None` if it is not an annotation.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Text for BM25 search; empty without a description.
    pub fn search_text(&self) -> String {
        let Some(page) = self.description() else {
            return String::new();
        };
        let mut lines = vec![page.title.as_str(), &page.summary];
        lines.extend(page.topics.iter().map(String::as_str));
        for figure in &page.figures {
            lines.extend([figure.label.as_str(), &figure.content]);
        }
        for table in &page.tables {
            lines.extend([table.label.as_str(), &table.content]);
            lines.extend(table.columns.iter().map(String::as_str));
        }
        let confirmed = page.identifiers.iter().filter(|one| one.confirmed);
        lines.extend(confirmed.map(|one| one.text.as_str()));
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_text_omits_unconfirmed_identifiers() {
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
        assert_eq!(annotation.search_text(), "Fault codes\nE-104");
        let failed = Annotation {
            model: "m".to_owned(),
            outcome: Outcome::Failed {
                class: "repetition".to_owned(),
                why: "it said the same again and again".to_owned(),
            },
        };
        assert_eq!(failed.search_text(), "");
        for one in [annotation, failed] {
            assert_eq!(Annotation::from_json(&one.to_json()), Some(one));
        }
        assert_eq!(Annotation::from_json("a pump"), None);
    }
}
