//! `GET /api/v1/openapi.json`: the OpenAPI 3.1 document, made from the table of routes and the types of their bodies.

use axum::http::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::ProblemBody;

type SchemaOf = fn(&mut SchemaGenerator) -> Value;

/// What a route takes and answers.
pub(super) struct Operation {
    id: &'static str,
    summary: &'static str,
    query: Option<SchemaOf>,
    body: Option<(&'static str, SchemaOf)>,
    answers: Vec<Answer>,
    problems: Vec<u16>,
}

struct Answer {
    status: u16,
    description: &'static str,
    content: Option<(&'static str, SchemaOf)>,
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn binary(_: &mut SchemaGenerator) -> Value {
    json!({})
}

fn text(_: &mut SchemaGenerator) -> Value {
    json!({"type": "string"})
}

impl Operation {
    pub(super) fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            query: None,
            body: None,
            answers: Vec::new(),
            problems: vec![401, 403],
        }
    }

    /// The parameters of the query string.
    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(schema::<T>);
        self.problems.push(400);
        self
    }

    /// A JSON body.
    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(("application/json", schema::<T>));
        self.problems.extend([400, 413, 415]);
        self
    }

    /// A body of bytes.
    pub(super) fn raw_body(mut self) -> Self {
        self.body = Some(("application/octet-stream", binary));
        self.problems.extend([400, 413, 415, 507]);
        self
    }

    /// Answers with JSON.
    pub(super) fn json<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, Some(("application/json", schema::<T>)))
    }

    /// Answers with bytes of a media type.
    pub(super) fn bytes(self, media_type: &'static str, description: &'static str) -> Self {
        self.answer(200, description, Some((media_type, binary)))
    }

    /// Answers with text of a media type.
    pub(super) fn text(self, media_type: &'static str, description: &'static str) -> Self {
        self.answer(200, description, Some((media_type, text)))
    }

    /// Answers without a body.
    pub(super) fn empty(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, None)
    }

    fn answer(
        mut self,
        status: u16,
        description: &'static str,
        content: Option<(&'static str, SchemaOf)>,
    ) -> Self {
        self.answers.push(Answer {
            status,
            description,
            content,
        });
        self
    }

    /// The statuses of its errors, besides those that follow from the rest.
    pub(super) fn problems(mut self, statuses: &[u16]) -> Self {
        self.problems.extend(statuses);
        self
    }

    fn document(&self, path: &str, generator: &mut SchemaGenerator) -> Value {
        let mut parameters = path_parameters(path);
        if let Some(query) = self.query {
            parameters.extend(query_parameters(query(generator), generator));
        }
        let mut responses = Map::new();
        for answer in &self.answers {
            let new = || json!({"description": answer.description});
            let status = answer.status.to_string();
            // An answer of several media types is added once for each.
            let response = responses.entry(status).or_insert_with(new);
            if let Some((media_type, schema)) = answer.content {
                response["content"][media_type] = json!({"schema": schema(generator)});
            }
        }
        let problem = schema::<ProblemBody>(generator);
        let mut statuses = self.problems.clone();
        statuses.sort_unstable();
        for status in statuses {
            let content = json!({"application/problem+json": {"schema": problem}});
            let response = json!({"description": reason(status), "content": content});
            responses.insert(status.to_string(), response);
        }
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if let Some((media_type, schema)) = self.body {
            operation["requestBody"] = json!({
                "required": true,
                "content": {media_type: {"schema": schema(generator)}},
            });
        }
        operation
    }
}

fn reason(status: u16) -> &'static str {
    let status = axum::http::StatusCode::from_u16(status).ok();
    status
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error")
}

/// The parameters in braces of a path.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name| {
        let schema = json!({"type": "string", "minLength": 1});
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    };
    names.map(parameter).collect()
}

/// The properties of an object as parameters of the query string.
fn query_parameters(reference: Value, generator: &SchemaGenerator) -> Vec<Value> {
    let name = reference["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next());
    let object = name
        .and_then(|name| generator.definitions().get(name))
        .cloned();
    let object = object.unwrap_or(reference);
    let required = object["required"].as_array().cloned().unwrap_or_default();
    let properties = object["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema
            .as_object_mut()
            .and_then(|schema| schema.remove("description"));
        without_null(&mut schema);
        json!({
            "name": name,
            "in": "query",
            "required": required.contains(&json!(name)),
            "description": description,
            "schema": schema,
        })
    };
    properties.into_iter().map(parameter).collect()
}

/// A parameter of a query string is there or not; it is never null.
fn without_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(types) = object.get("type").and_then(Value::as_array) {
        let only = types.iter().find(|kind| *kind != "null").cloned();
        object.insert("type".to_owned(), only.unwrap_or_default());
    }
    if let Some(choices) = object.get("anyOf").and_then(Value::as_array) {
        let only = choices
            .iter()
            .find(|choice| choice["type"] != "null")
            .cloned();
        *schema = only.unwrap_or_default();
    }
}

/// The document of some operations, each with its method and path.
pub(super) fn document(
    operations: impl Iterator<Item = (Method, &'static str, Operation)>,
) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for (method, path, operation) in operations {
        let described = operation.document(path, &mut generator);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ingest",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Search of PDF manuals by page image. Pages count from 1.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "../../"}],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    })
}
