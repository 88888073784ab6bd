//! Properties of the collections of pages and manuals.

use serde_json::{Value, json};

use crate::store::Error;

/// Property of the text layer, searched by BM25.
pub(super) const TEXT: &str = "text";

/// Properties of a page's annotation (JSON) and of its text, which BM25 searches.
pub(super) const DESCRIPTION: &str = "description";
pub(super) const DESCRIPTION_TEXT: &str = "said";

/// Properties of the variants of both texts ([`crate::analysis::variants`]), which BM25 searches with them.
pub(super) const VARIANTS: &str = "variants";
pub(super) const DESCRIPTION_VARIANTS: &str = "said_variants";

/// Property of the digest of what the text vectors of a page were made from; a page that never had any lacks it.
pub(super) const TEXT_DIGEST: &str = "text_digest";
/// Properties of a page that has text vectors: the profile of their model, and the token of each row, decimal, separated
/// by spaces. Both are used in filters.
pub(super) const TEXT_PROFILE: &str = "text_profile";
pub(super) const TEXT_TOKENS: &str = "text_tokens";
/// Property of the size of its text vectors, at two bytes a value as for those of the image.
pub(super) const TEXT_BYTES: &str = "text_bytes";
/// Property of the words that were read from the image of a page without a text layer, which BM25 searches.
pub(super) const WORDS_READ: &str = "words_read";

/// Property of a manual: its [`crate::store::LastRun`], JSON.
pub(super) const LAST_RUN: &str = "last_run";

/// The properties of text vectors.
pub(super) const TEXT_VECTORS: [&str; 5] = [
    TEXT_DIGEST,
    TEXT_PROFILE,
    TEXT_TOKENS,
    TEXT_BYTES,
    WORDS_READ,
];

/// The properties that a collection of pages of an earlier version lacks.
pub(super) const ADDED: [(&str, &str); 8] = [
    (DESCRIPTION_TEXT, "text"),
    (VARIANTS, "text"),
    (DESCRIPTION_VARIANTS, "text"),
    (TEXT_DIGEST, "text"),
    (TEXT_PROFILE, "text"),
    (TEXT_TOKENS, "text"),
    (TEXT_BYTES, "int"),
    (WORDS_READ, "text"),
];
/// The properties that a collection of manuals of an earlier version lacks.
pub(super) const ADDED_TO_MANUALS: [(&str, &str); 1] = [(LAST_RUN, "text")];

/// The properties of a page: name and type. `places` and `thumbnail` are base64 and not of type `blob`: for that type the
/// server matches a regular expression against every character, a third of its work on a page with MUVERA.
pub(super) const PAGE: [(&str, &str); 23] = [
    ("manual", "text"),
    ("page_number", "int"),
    ("label", "text"),
    ("section", "text"),
    (TEXT, "text"),
    (DESCRIPTION, "text"),
    (DESCRIPTION_TEXT, "text"),
    (VARIANTS, "text"),
    (DESCRIPTION_VARIANTS, "text"),
    ("blank", "boolean"),
    ("rows", "int"),
    ("origin", "text"),
    ("content", "text"),
    ("grid_columns", "int"),
    ("grid_rows", "int"),
    ("places", "text"),
    ("thumbnail", "text"),
    ("model", "text"),
    (TEXT_DIGEST, "text"),
    (TEXT_PROFILE, "text"),
    (TEXT_TOKENS, "text"),
    (TEXT_BYTES, "int"),
    (WORDS_READ, "text"),
];
/// The properties of a manual.
pub(super) const MANUAL: [(&str, &str); 6] = [
    ("name", "text"),
    ("path", "text"),
    ("file", "text"),
    ("render", "text"),
    ("pages", "int"),
    (LAST_RUN, "text"),
];
/// Properties used in filters.
const FILTERABLE: [&str; 7] = [
    "manual",
    "page_number",
    "section",
    "blank",
    "name",
    TEXT_PROFILE,
    TEXT_TOKENS,
];

pub(super) fn properties(all: &[(&str, &str)]) -> Value {
    let property = |&(name, kind): &(&str, &str)| {
        let mut property = json!({"name": name, "dataType": [kind]});
        property["indexFilterable"] = FILTERABLE.contains(&name).into();
        if kind == "text" {
            let is_prose = name == TEXT || name == DESCRIPTION_TEXT;
            let is_variants = [VARIANTS, DESCRIPTION_VARIANTS, WORDS_READ].contains(&name);
            property["tokenization"] = match (is_prose, is_variants || name == TEXT_TOKENS) {
                (true, _) => "word",
                (_, true) => "whitespace",
                _ => "field",
            }
            .into();
            property["indexSearchable"] = (is_prose || is_variants).into();
        }
        if name == TEXT || name == DESCRIPTION_TEXT {
            // As in SQLite: `ölstand` and `olstand` are the same term.
            property["textAnalyzer"] = json!({"asciiFold": true});
        }
        if name == "page_number" {
            property["indexRangeFilters"] = true.into();
        }
        property
    };
    all.iter().map(property).collect()
}

pub(super) fn has_property(class: &Value, name: &str) -> bool {
    let mut properties = class["properties"].as_array().into_iter().flatten();
    properties.any(|property| property["name"] == name)
}

/// Checks that a class has the properties of another with the same types; those that are added later are optional.
pub(super) fn check_properties(found: &Value, wanted: &Value, location: &str) -> Result<(), Error> {
    let list = |class: &Value| class["properties"].as_array().cloned().unwrap_or_default();
    let kind = |property: &Value| {
        property["dataType"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let found = list(found);
    let is_added = |property: &Value| {
        let mut added = ADDED.iter().chain(&ADDED_TO_MANUALS);
        added.any(|(name, _)| property["name"] == *name)
    };
    for property in list(wanted).iter().filter(|property| !is_added(property)) {
        let same = found.iter().find(|other| other["name"] == property["name"]);
        let (found, wanted) = (same.map_or("missing".to_owned(), kind), kind(property));
        if found != wanted {
            return Err(Error::SettingMismatch {
                location: location.to_owned(),
                what: property["name"].as_str().unwrap_or_default().to_owned(),
                found,
                wanted,
            });
        }
    }
    Ok(())
}
