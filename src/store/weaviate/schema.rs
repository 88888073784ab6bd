//! Weaviate schema: creates the collections of pages and manuals, and checks existing ones.

use std::collections::BTreeSet;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::properties::{
    ADDED, ADDED_TO_MANUALS, DESCRIPTION_TEXT, DESCRIPTION_VARIANTS, MANUAL, PAGE, TEXT_VECTORS,
    VARIANTS, check_properties, has_property, properties,
};
use super::transport::{Failure, Transport};
use crate::analysis;
use crate::store::config::{MAX_RAW_PAGES, serialized_name};
use crate::store::{Config, Error, Index, Quantiser};
use crate::vectors::Profile;

/// Named vector of a page; the name is that of Weaviate's own ColQwen recipe.
pub(super) const VECTOR: &str = "colqwen";
/// Named vector of a page's text.
pub(super) const TEXT_VECTOR: &str = "meaning";

/// Metadata of a page collection, stored as JSON in its description, since Weaviate has no other field for it.
#[derive(Serialize, Deserialize)]
pub(super) struct CollectionInfo {
    pub(super) about: String,
    pub(super) profile: Profile,
    /// [`analysis::VERSION`] of the variants that all pages have; 0: of none.
    #[serde(default)]
    pub(super) variants: u32,
    /// The tenants whose pages have them, in a collection where not all have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) tenants: BTreeSet<String>,
}

impl CollectionInfo {
    /// Whether all pages of a tenant, or without tenants all pages, have the current variants.
    fn has_current_variants(&self, tenant: &str) -> bool {
        self.variants == analysis::VERSION || self.tenants.contains(tenant)
    }
}

/// An existing collection.
#[derive(Clone, Debug)]
pub(super) struct Collection {
    pub(super) profile: Profile,
    pub(super) index: Index,
    quantiser: Quantiser,
    /// Whether the replication factor is above 1.
    pub(super) replicated: bool,
    /// Whether it has all properties; one created by an earlier version lacks some until the first write.
    pub(super) has_description_text: bool,
    pub(super) has_variants: bool,
    /// Whether all pages have their variants.
    pub(super) variants_are_current: bool,
    /// Whether it takes text vectors; one created by an earlier version does not until the first write.
    pub(super) has_text_vectors: bool,
}

impl Collection {
    /// Describes the index, for messages.
    pub(super) fn describe_index(&self) -> String {
        index_summary(self.index, self.quantiser)
    }
}

/// The index of a new collection: `store.index`, or by `store.expected_pages`.
fn new_index(config: &Config) -> Index {
    let by_size = match config.expected_pages > MAX_RAW_PAGES {
        true => Index::Muvera,
        false => Index::Raw,
    };
    config.index.unwrap_or(by_size)
}

/// Describes the index of a collection that does not exist yet, for messages.
pub(super) fn describe_planned_index(config: &Config) -> String {
    let how = index_summary(
        new_index(config),
        config.quantiser.unwrap_or(Quantiser::None),
    );
    let why = match config.index {
        Some(_) => String::new(),
        None => format!(" (store.expected_pages = {})", config.expected_pages),
    };
    format!("{how}{why}, new; the index cannot be changed later, `store.index` chooses another")
}

fn index_summary(index: Index, quantiser: Quantiser) -> String {
    format!(
        "{} index, quantiser {}",
        serialized_name(index),
        serialized_name(quantiser)
    )
}

/// Name of the collection of manuals.
pub(super) fn manuals(config: &Config) -> String {
    format!("{}Manual", config.collection)
}

/// Finds and checks the page collection; `None` if it does not exist.
pub(super) fn find_collection(
    transport: &Transport,
    config: &Config,
    location: &str,
) -> Result<Option<Collection>, Error> {
    let class = match transport.rest(&Method::GET, &format!("schema/{}", config.collection), None) {
        Ok(class) => class,
        Err(Failure::NotFound(_)) => return Ok(None),
        Err(failure) => return Err(failure.into_error(location)),
    };
    check_settings(config, &class, location)?;
    let info: CollectionInfo = class["description"]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| {
            Error::open(
                location,
                "the collection was created by another program; choose another one with `store.collection`",
            )
        })?;
    let variants_are_current = info.has_current_variants(&config.tenant);
    Ok(Some(Collection {
        profile: info.profile,
        index: index(&class),
        quantiser: quantiser(&class),
        replicated: class["replicationConfig"]["factor"].as_u64() > Some(1),
        has_description_text: has_property(&class, DESCRIPTION_TEXT),
        has_variants: has_property(&class, VARIANTS) && has_property(&class, DESCRIPTION_VARIANTS),
        variants_are_current,
        has_text_vectors: has_vector(&class, TEXT_VECTOR)
            && TEXT_VECTORS.iter().all(|name| has_property(&class, name)),
    }))
}

/// Creates both collections and the tenant if they do not exist.
pub(super) fn create_collections(
    transport: &Transport,
    config: &Config,
    profile: &Profile,
    location: &str,
) -> Result<(), Error> {
    for class in [manuals_class(config), pages_class(config, profile)] {
        let path = format!("schema/{}", class["class"].as_str().unwrap_or_default());
        match transport.rest(&Method::GET, &path, None) {
            Ok(existing) => {
                let added = match existing["class"] == config.collection.as_str() {
                    true => add_missing(transport, &path, &existing, &ADDED)
                        .and_then(|()| add_text_vector(transport, &path, &existing)),
                    false => add_missing(transport, &path, &existing, &ADDED_TO_MANUALS),
                };
                added.map_err(|e| e.into_error(location))?;
                check_properties(&existing, &class, location)?;
            }
            Err(Failure::NotFound(_)) => {
                create(transport, "schema", &class).map_err(|e| e.into_error(location))?
            }
            Err(failure) => return Err(failure.into_error(location)),
        }
        if !config.tenant.is_empty() {
            let tenants = json!([{"name": config.tenant}]);
            create(transport, &format!("{path}/tenants"), &tenants)
                .map_err(|e| e.into_error(location))?;
        }
    }
    Ok(())
}

/// Adds those of some properties that a collection of an earlier version lacks.
fn add_missing(
    transport: &Transport,
    path: &str,
    existing: &Value,
    added: &[(&str, &str)],
) -> Result<(), Failure> {
    let is_missing = |(name, _): &&(&str, &str)| !has_property(existing, name);
    for added in added.iter().filter(is_missing) {
        let property = &properties(&[*added])[0];
        create(transport, &format!("{path}/properties"), property)?;
    }
    Ok(())
}

/// Adds the named vector that a collection of an earlier version lacks. A server that refuses it stores pages without text
/// vectors.
fn add_text_vector(transport: &Transport, path: &str, existing: &Value) -> Result<(), Failure> {
    if has_vector(existing, TEXT_VECTOR) {
        return Ok(());
    }
    // Read again: an update with other properties than the collection has is refused.
    let mut class = transport.rest(&Method::GET, path, None)?;
    class["vectorConfig"][TEXT_VECTOR] = text_vector_config(quantiser(&class));
    match transport.rest(&Method::PUT, path, Some(&class)) {
        Err(Failure::Rejected(_)) => Ok(()),
        done => done.map(drop),
    }
}

/// Posts to the schema API; an object that a concurrent run has created is not an error.
fn create(transport: &Transport, path: &str, body: &Value) -> Result<(), Failure> {
    match transport.rest(&Method::POST, path, Some(body)) {
        Err(Failure::Rejected(why)) if why.contains("already exists") => Ok(()),
        done => done.map(drop),
    }
}

/// The common part of both classes. Stop words are removed from queries by `query_terms`, so the server has none: a query of
/// stop words only still finds pages.
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
    let info = CollectionInfo {
        about: "Pages of PDF manuals, stored by `ingest`".to_owned(),
        profile: profile.clone(),
        variants: analysis::VERSION,
        tenants: BTreeSet::new(),
    };
    class["description"] = json!(info).to_string().into();
    let (index, quantiser) = (
        new_index(config),
        config.quantiser.unwrap_or(Quantiser::None),
    );
    class["vectorConfig"] = json!({
        VECTOR: vector_config(json!({"enabled": index == Index::Muvera}), quantiser),
        TEXT_VECTOR: text_vector_config(quantiser),
    });
    class
}

/// The settings of the text vectors: MUVERA also where images have a raw index, since 53 pages take 29 s if both are raw and
/// 17 s so. Its encoding has 10,240 values: on 1,686 pages the first three of 68 of our 70 questions are those of an exact
/// search, with the 2,560 values of the server's default of 59.
fn text_vector_config(quantiser: Quantiser) -> Value {
    let muvera = json!({"enabled": true, "ksim": 4, "dprojections": 32, "repetitions": 20});
    vector_config(muvera, quantiser)
}

/// The settings of a named vector.
fn vector_config(muvera: Value, quantiser: Quantiser) -> Value {
    // Scores are dot products for any `distance`; rows have length 1, so `dot` is the accurate setting.
    let mut settings = json!({
        "distance": "dot",
        "skipDefaultQuantization": true,
        "multivector": {
            "enabled": true,
            "aggregation": "maxSim",
            "muvera": muvera,
        },
    });
    match quantiser {
        Quantiser::None => {}
        Quantiser::Rq8 => settings["rq"] = json!({"enabled": true, "bits": 8}),
        Quantiser::Rq1 => settings["rq"] = json!({"enabled": true, "bits": 1}),
        Quantiser::Bq => settings["bq"] = json!({"enabled": true}),
    }
    json!({
        "vectorizer": {"none": {}},
        "vectorIndexType": "hnsw",
        "vectorIndexConfig": settings,
    })
}

fn has_vector(class: &Value, name: &str) -> bool {
    class["vectorConfig"][name].is_object()
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

/// Checks that a collection has the configured settings; unset ones accept any value.
fn check_settings(config: &Config, class: &Value, location: &str) -> Result<(), Error> {
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
        (
            "index",
            serialized_name(index(class)),
            config.index.map(serialized_name),
        ),
        (
            "quantiser",
            serialized_name(quantiser(class)),
            config.quantiser.map(serialized_name),
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
        Some((what, found, Some(wanted))) => Err(Error::SettingMismatch {
            location: location.to_owned(),
            what: what.to_owned(),
            found,
            wanted,
        }),
        _ => check_properties(class, &json!({"properties": properties(&PAGE)}), location),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::Address;

    #[test]
    fn expected_pages_choose_the_index() {
        let mut config = Config::new(Address::File(PathBuf::new()));
        assert_eq!(new_index(&config), Index::Raw);
        config.expected_pages = MAX_RAW_PAGES + 1;
        assert_eq!(new_index(&config), Index::Muvera);
        config.index = Some(Index::Raw);
        assert_eq!(new_index(&config), Index::Raw);
    }
}
