//! `ingest describe`: real servers, and one that fails on demand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod bench;
mod failures;
mod fake;
mod json;
mod mlx;
mod ollama;
mod pages;
mod reciter;
#[path = "../cli/sandbox.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod sandbox;
#[path = "../support/shape.rs"]
mod shape;
mod shelf;
mod state;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod support;
#[path = "../support/titles.rs"]
mod titles;
mod tools;
