//! The two collections: pages with their vectors, manuals without. How they are made, and what a present one must be.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::transport::{Failure, Wire};
use crate::store::config::name;
use crate::store::{Config, Error, Index, Quantiser};
use crate::vectors::Profile;

/// The named vector of a page; the name that Weaviate's own recipe for ColQwen uses.
pub(super) const VECTOR: &str = "colqwen";
/// The property that BM25 looks at.
pub(super) const TEXT: &str = "text";

/// The property for what a describing run left at a page, JSON, and that for its words, which BM25 looks at.
pub(super) const DESCRIPTION: &str = "description";
pub(super) const SAID: &str = "said";

/// The properties of a page: name and type. `patches` and `thumbnail` are base64 and not of type `blob`: for that type the
/// server puts every letter through a regular expression, a third of its work on a page with MUVERA.
const PAGE: [(&str, &str); 16] = [
    ("manual", "text"),
    ("page_number", "int"),
    ("label", "text"),
    ("section", "text"),
    (TEXT, "text"),
    (DESCRIPTION, "text"),
    (SAID, "text"),
    ("blank", "boolean"),
    ("rows", "int"),
    ("origin", "text"),
    ("content", "text"),
    ("grid_columns", "int"),
    ("grid_rows", "int"),
    ("places", "text"),
    ("thumbnail", "text"),
    ("model", "text"),
];
/// The properties of a manual.
const MANUAL: [(&str, &str); 5] = [
    ("name", "text"),
    ("path", "text"),
    ("file", "text"),
    ("render", "text"),
    ("pages", "int"),
];
/// Those that searches narrow by.
const FILTERABLE: [&str; 5] = ["manual", "page_number", "section", "blank", "name"];

/// What a collection of pages is; kept as JSON in its description, since Weaviate has no better place.
#[derive(Serialize, Deserialize)]
struct Note {
    about: String,
    profile: Profile,
}

/// A collection that is there.
#[derive(Clone, Debug)]
pub(super) struct Collection {
    pub(super) profile: Profile,
    pub(super) index: Index,
    quantiser: Quantiser,
    /// Whether several nodes hold each page.
    pub(super) replicated: bool,
    /// Whether it has a place for the words of descriptions; one that an earlier version made has none until it is
    /// written to.
    pub(super) described: bool,
}

impl Collection {
    /// How it is indexed, for people.
    pub(super) fn describe(&self) -> String {
        described(self.index, self.quantiser)
    }
}

/// How a collection that is not there yet will be indexed, for people.
pub(super) fn planned(config: &Config) -> String {
    let how = described(config.index(), config.quantiser.unwrap_or(Quantiser::None));
    let why = match config.index {
        Some(_) => String::new(),
        None => format!(" (store.expected_pages = {})", config.expected_pages),
    };
    format!("{how}{why}, new; the index stands for ever, `store.index` chooses another")
}

fn described(index: Index, quantiser: Quantiser) -> String {
    format!("{} index, quantiser {}", name(index), name(quantiser))
}

/// The name of the collection of manuals beside that of pages.
pub(super) fn manuals(config: &Config) -> String {
    format!("{}Manual", config.collection)
}

/// Looks a collection of pages up; none when it is not there.
pub(super) fn find(wire: &Wire, config: &Config, at: &str) -> Result<Option<Collection>, Error> {
    let class = match wire.rest(&Method::GET, &format!("schema/{}", config.collection), None) {
        Ok(class) => class,
        Err(Failure::Missing(_)) => return Ok(None),
        Err(failure) => return Err(failure.of(at)),
    };
    compare(config, &class, at)?;
    let note: Note = class["description"]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| {
            Error::open(
                at,
                "another program made this collection; `store.collection` names another one",
            )
        })?;
    Ok(Some(Collection {
        profile: note.profile,
        index: index(&class),
        quantiser: quantiser(&class),
        replicated: class["replicationConfig"]["factor"].as_u64() > Some(1),
        described: has_words(&class),
    }))
}

/// Makes both collections, where they are not there, and the tenant.
pub(super) fn make(wire: &Wire, config: &Config, profile: &Profile, at: &str) -> Result<(), Error> {
    for class in [manuals_class(config), pages_class(config, profile)] {
        let path = format!("schema/{}", class["class"].as_str().unwrap_or_default());
        match wire.rest(&Method::GET, &path, None) {
            Ok(there) => {
                if there["class"] == config.collection.as_str() && !has_words(&there) {
                    let property = &properties(&[(SAID, "text")])[0];
                    create(wire, &format!("{path}/properties"), property).map_err(|e| e.of(at))?;
                }
                has_properties(&there, &class, at)?;
            }
            Err(Failure::Missing(_)) => create(wire, "schema", &class).map_err(|e| e.of(at))?,
            Err(failure) => return Err(failure.of(at)),
        }
        if !config.tenant.is_empty() {
            let tenants = json!([{"name": config.tenant}]);
            create(wire, &format!("{path}/tenants"), &tenants).map_err(|e| e.of(at))?;
        }
    }
    Ok(())
}

/// Another run may have made it a moment ago: that is as good.
fn create(wire: &Wire, path: &str, body: &Value) -> Result<(), Failure> {
    match wire.rest(&Method::POST, path, Some(body)) {
        Err(Failure::Refused(why)) if why.contains("already exists") => Ok(()),
        done => done.map(drop),
    }
}

fn properties(all: &[(&str, &str)]) -> Value {
    let property = |&(name, kind): &(&str, &str)| {
        let mut property = json!({"name": name, "dataType": [kind]});
        property["indexFilterable"] = FILTERABLE.contains(&name).into();
        if kind == "text" {
            let is_prose = name == TEXT || name == SAID;
            property["tokenization"] = if is_prose { "word" } else { "field" }.into();
            property["indexSearchable"] = is_prose.into();
        }
        if name == TEXT || name == SAID {
            // As SQLite does it: `ölstand` and `olstand` are one word.
            property["textAnalyzer"] = json!({"asciiFold": true});
        }
        if name == "page_number" {
            property["indexRangeFilters"] = true.into();
        }
        property
    };
    all.iter().map(property).collect()
}

/// What both collections share. Stop words are dropped from questions by us, so that a lone one still finds something.
fn class(config: &Config, name: &str, all: &[(&str, &str)]) -> Value {
    let mut class = json!({
        "class": name,
        "properties": properties(all),
        "invertedIndexConfig": {"stopwords": {"preset": "none"}},
        "replicationConfig": {"factor": config.replication.unwrap_or(1)},
    });
    if config.tenant.is_empty() {
        if let Some(shards) = config.shards {
            class["shardingConfig"] = json!({"desiredCount": shards});
        }
    } else {
        class["multiTenancyConfig"] = json!({"enabled": true});
    }
    class
}

fn manuals_class(config: &Config) -> Value {
    let mut class = class(config, &manuals(config), &MANUAL);
    class["description"] = "Manuals whose pages `ingest` stores".into();
    class
}

fn pages_class(config: &Config, profile: &Profile) -> Value {
    let mut class = class(config, &config.collection, &PAGE);
    let note = Note {
        about: "Pages of PDF manuals, stored by `ingest`".to_owned(),
        profile: profile.clone(),
    };
    class["description"] = json!(note).to_string().into();
    // Scores are plain dot products whatever `distance` says; rows are of length 1, so `dot` tells the truth.
    let mut index = json!({
        "distance": "dot",
        "skipDefaultQuantization": true,
        "multivector": {
            "enabled": true,
            "aggregation": "maxSim",
            "muvera": {"enabled": config.index() == Index::Muvera},
        },
    });
    match config.quantiser.unwrap_or(Quantiser::None) {
        Quantiser::None => {}
        Quantiser::Rq8 => index["rq"] = json!({"enabled": true, "bits": 8}),
        Quantiser::Rq1 => index["rq"] = json!({"enabled": true, "bits": 1}),
        Quantiser::Bq => index["bq"] = json!({"enabled": true}),
    }
    class["vectorConfig"][VECTOR] = json!({
        "vectorizer": {"none": {}},
        "vectorIndexType": "hnsw",
        "vectorIndexConfig": index,
    });
    class
}

fn vector_index(class: &Value) -> &Value {
    &class["vectorConfig"][VECTOR]["vectorIndexConfig"]
}

fn index(class: &Value) -> Index {
    match vector_index(class)["multivector"]["muvera"]["enabled"].as_bool() {
        Some(true) => Index::Muvera,
        _ => Index::Raw,
    }
}

fn quantiser(class: &Value) -> Quantiser {
    let on = |kind: &str| vector_index(class)[kind]["enabled"] == true;
    match vector_index(class)["rq"]["bits"].as_u64() {
        Some(1) if on("rq") => Quantiser::Rq1,
        _ if on("rq") => Quantiser::Rq8,
        _ if on("bq") => Quantiser::Bq,
        _ => Quantiser::None,
    }
}

/// Refuses a collection that is not as the settings say; what they leave open may be as it is.
fn compare(config: &Config, class: &Value, at: &str) -> Result<(), Error> {
    let vectors = vector_index(class);
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let pairs = [
        ("vector", text(&vectors["distance"]), Some("dot".to_owned())),
        (
            "multi-vectors",
            text(&vectors["multivector"]["enabled"]),
            Some("true".to_owned()),
        ),
        ("index", name(index(class)), config.index.map(name)),
        (
            "quantiser",
            name(quantiser(class)),
            config.quantiser.map(name),
        ),
        (
            "replication",
            text(&class["replicationConfig"]["factor"]),
            config.replication.map(|n| n.to_string()),
        ),
        (
            "shards",
            text(&class["shardingConfig"]["desiredCount"]),
            config.shards.map(|n| n.to_string()),
        ),
        (
            "tenants",
            text(&class["multiTenancyConfig"]["enabled"]),
            Some((!config.tenant.is_empty()).to_string()),
        ),
    ];
    let differing = pairs
        .into_iter()
        .find(|(_, found, wanted)| wanted.as_ref().is_some_and(|w| w != found));
    match differing {
        Some((what, found, Some(wanted))) => Err(Error::Differs {
            at: at.to_owned(),
            what: what.to_owned(),
            found,
            wanted,
        }),
        _ => has_properties(class, &json!({"properties": properties(&PAGE)}), at),
    }
}

fn has_words(class: &Value) -> bool {
    let mut properties = class["properties"].as_array().into_iter().flatten();
    properties.any(|property| property["name"] == SAID)
}

/// Refuses a class that lacks properties of another, but for the words of descriptions, or has them of another type.
fn has_properties(found: &Value, wanted: &Value, at: &str) -> Result<(), Error> {
    let list = |class: &Value| class["properties"].as_array().cloned().unwrap_or_default();
    let kind = |property: &Value| {
        property["dataType"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let found = list(found);
    for property in list(wanted)
        .iter()
        .filter(|property| property["name"] != SAID)
    {
        let same = found.iter().find(|other| other["name"] == property["name"]);
        let (found, wanted) = (same.map_or("missing".to_owned(), kind), kind(property));
        if found != wanted {
            return Err(Error::Differs {
                at: at.to_owned(),
                what: property["name"].as_str().unwrap_or_default().to_owned(),
                found,
                wanted,
            });
        }
    }
    Ok(())
}
