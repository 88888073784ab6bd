//! `ingest mcp` and `POST /mcp` of `ingest serve` as assistants use them: by hand, and with the official clients.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "../serve/answering.rs"]
mod answering;
mod ask;
mod clients;
#[path = "../describe/fake_server.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod fake_server;
mod hostile;
#[path = "../serve/http.rs"]
#[allow(dead_code, reason = "this crate uses only some of it")]
mod http;
mod missing;
mod protocol;
mod remote;
#[path = "../cli/sandbox.rs"]
#[allow(dead_code, reason = "this crate uses only some of it")]
mod sandbox;
#[path = "../serve/server.rs"]
#[allow(dead_code, reason = "this crate uses only some of it")]
mod server;
mod session;
#[path = "../support/mod.rs"]
mod support;
mod tools;
