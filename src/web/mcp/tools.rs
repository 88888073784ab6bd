//! The table of tools.

use std::future::Future;
use std::sync::{Arc, LazyLock};

use rmcp::model::{CallToolResult, ErrorData, JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::expected;
use super::failure::Failure;
use super::reader::Reader;
use super::{ask, manuals, pages, schema, search};

/// The tools, in the order in which they are listed.
pub(super) fn offered(reader: &Reader) -> Vec<Tool> {
    static ALL: LazyLock<[Tool; 5]> = LazyLock::new(|| {
        [
            search::tool(),
            pages::show_tool(),
            pages::read_tool(),
            manuals::tool(),
            ask::tool(),
        ]
        .map(only_reads)
    });
    let is_offered = |tool: &&Tool| tool.name != ask::NAME || reader.asker.is_configured();
    ALL.iter().filter(is_offered).cloned().collect()
}

/// Adds the hints: a tool changes nothing, and only the model that answers may be on another machine.
fn only_reads(tool: Tool) -> Tool {
    let hints = ToolAnnotations::new()
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(tool.name == ask::NAME);
    tool.with_annotations(hints)
}

/// Calls a tool. What it cannot do is a result too.
///
/// # Errors
/// If there is no such tool.
pub(super) async fn call(
    reader: &Arc<Reader>,
    name: &str,
    arguments: JsonObject,
) -> Result<CallToolResult, ErrorData> {
    let answer = match name {
        search::NAME => run(arguments, |a| search::run(reader, a)).await,
        pages::SHOW => run(arguments, |a| pages::show(reader, a)).await,
        pages::READ => run(arguments, |a| pages::read(reader, a)).await,
        manuals::NAME => run(arguments, |a| manuals::run(reader, a)).await,
        ask::NAME if reader.asker.is_configured() => run(arguments, |a| ask::run(reader, a)).await,
        _ => {
            let what = format!("there is no tool `{name}`");
            return Err(ErrorData::invalid_params(what, None));
        }
    };
    Ok(answer.unwrap_or_else(Failure::into_result))
}

async fn run<
    A: DeserializeOwned + JsonSchema,
    F: Future<Output = Result<CallToolResult, Failure>>,
>(
    arguments: JsonObject,
    tool: impl FnOnce(A) -> F,
) -> Result<CallToolResult, Failure> {
    match serde_json::from_value(Value::Object(arguments.clone())) {
        Ok(arguments) => tool(arguments).await,
        Err(why) => {
            let fault = expected::fault(&schema::input::<A>(), &arguments);
            let fault = fault.unwrap_or_else(|| why.to_string());
            Err(Failure::invalid(format!("Invalid arguments: {fault}.")))
        }
    }
}
