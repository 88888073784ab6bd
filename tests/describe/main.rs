//! `ingest describe` with real model servers and with a fake one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod ask;
mod bench;
mod eval_ask;
mod exit_codes;
mod failures;
mod fake_server;
mod files;
mod json;
mod library;
mod mlx;
mod ollama;
mod pages;
mod panics;
mod poison;
mod reciter;
#[path = "../cli/sandbox.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod sandbox;
mod server;
#[path = "../support/shape.rs"]
mod shape;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod support;
mod terminal;
#[path = "../support/titles.rs"]
mod titles;
mod tools;
