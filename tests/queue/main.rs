//! The queue on real NATS servers: items and leases, results, buckets, files; access and outages. And runs of many machines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod access;
mod cluster;
#[path = "../describe/fake_server.rs"]
#[allow(dead_code, reason = "this binary uses its part")]
mod fake_server;
mod files;
mod items;
#[path = "../support/nats.rs"]
mod nats;
mod outages;
#[path = "../support/pdf.rs"]
mod pdf;
mod rights;
mod runs;
#[path = "../cli/sandbox.rs"]
#[allow(dead_code, reason = "this binary uses its part")]
mod sandbox;
mod state;
mod support;
#[path = "../support/weaviate.rs"]
mod weaviate;
