//! The schemas of tools, without what clients stumble over: references, and formats such as `uint32`.

use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};

/// What a tool takes.
pub(super) fn input<T: JsonSchema>() -> Arc<JsonObject> {
    of::<T>(SchemaSettings::draft2020_12())
}

/// What a tool answers.
pub(super) fn output<T: JsonSchema>() -> Arc<JsonObject> {
    of::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn of<T: JsonSchema>(mut settings: SchemaSettings) -> Arc<JsonObject> {
    settings.inline_subschemas = true;
    let without_format = RecursiveTransform(|schema: &mut Schema| drop(schema.remove("format")));
    let generator = settings.with_transform(without_format).into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    for key in ["$schema", "title", "description"] {
        schema.remove(key);
    }
    Arc::new(schema.as_object().cloned().unwrap_or_default())
}
