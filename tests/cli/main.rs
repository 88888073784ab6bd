//! End-to-end tests of the program: commands, bad input, interruptions, and the two manuals with their questions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod bad_input;
mod bench;
mod browser;
mod commands;
mod compression;
mod datasets;
mod embedding;
mod eval;
mod folders;
mod full_disk;
mod hints;
mod interrupted;
mod json;
mod manuals;
mod meaning;
#[path = "../support/multilingual.rs"]
mod multilingual;
mod mutate;
mod mutations;
mod names;
mod old_stores;
mod output_files;
mod rerendering;
mod sandbox;
mod seeds;
#[path = "../support/shape.rs"]
mod shape;
mod stdin;
mod store_address;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod twins;
mod words;
