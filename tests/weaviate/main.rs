//! Weaviate store on real servers, beyond the contract: access, failures, outbox, sync, clusters, recall, and
//! interoperation with the official client.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod access;
mod cluster;
mod failures;
#[path = "../store_contract/fixtures.rs"]
#[allow(dead_code, reason = "this binary uses its part")]
mod fixtures;
mod interop;
mod library;
mod meaning;
mod outbox;
#[path = "../support/pdf.rs"]
mod pdf;
mod recall;
#[path = "../cli/sandbox.rs"]
#[allow(dead_code, reason = "this binary uses its part")]
mod sandbox;
#[path = "../support/weaviate.rs"]
mod server;
mod sync;
mod variants;
