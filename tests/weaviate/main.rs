//! The Weaviate store beyond the contract, on real servers: who may come in, what goes wrong, what must not be lost, how
//! pages move, and whether Weaviate's own client sees what we see.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod access;
mod cluster;
#[path = "../store_contract/making.rs"]
#[allow(dead_code, reason = "this binary uses its part")]
mod making;
mod moving;
mod outbox;
#[path = "../support/pdf.rs"]
mod pdf;
mod recall;
#[path = "../cli/sandbox.rs"]
#[allow(dead_code, reason = "this binary uses its part")]
mod sandbox;
#[path = "../support/weaviate.rs"]
mod server;
mod shelf;
mod trouble;
mod witness;
