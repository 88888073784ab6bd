//! `ingest serve` as other programs and people use it: the real program on a free port, its REST interface and its page in
//! Chromium.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod adding;
mod answering;
mod ask;
mod chrome;
#[path = "../describe/fake_server.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod fake_server;
mod http;
mod key;
mod library;
mod life;
mod moved;
mod openapi;
mod page;
mod safety;
#[path = "../cli/sandbox.rs"]
#[allow(dead_code, reason = "this crate uses only some of it")]
mod sandbox;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod weaviate;
#[path = "../support/weaviate.rs"]
mod weaviate_server;
