//! The queue on real NATS servers: items and leases, results, buckets, files; access and outages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod access;
mod cluster;
mod files;
mod items;
#[path = "../support/nats.rs"]
mod nats;
mod outages;
mod rights;
mod state;
mod support;
#[path = "../support/weaviate.rs"]
mod weaviate;
