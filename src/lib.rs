//! # Architecture
//!
//! `ingest` is a search engine for PDF manuals by page image: every page is rendered, embedded as an image into a
//! multi-vector (late interaction, as in ColPali and ColQwen), stored, and ranked by MaxSim.
//!
//! ```text
//! PDF, image ──render──> page image + text ──prepare──> patches ──embed──> multi-vector ──store──> SQLite | Weaviate
//!            (PDFium in worker processes)   (patch)             (built-in | ColQwen on candle | MLX)   (outbox)
//! query ──embed──> multi-vector ──MaxSim──┐
//!       ──BM25 over text and descriptions─┴─search (fusion)──> ranked pages          stored pages ──annotate──> vlm
//! ```
//!
//! Modules in dependency order; each depends only on those above it, and the files inside a module form no circle
//! (`tests/architecture` checks both):
//!
//! | module | responsibility |
//! |---|---|
//! | [`page`] | page ids, page images, page sets, annotations, page errors |
//! | [`vectors`] | multi-vectors, MaxSim, patch maps, the profile that identifies the model of a collection |
//! | [`pooling`] | hierarchical token pooling: fewer vectors per page |
//! | [`units`] | bytes, seconds, pages per second: parse and print |
//! | [`patch`] | image preprocessing: page image to patches, bit for bit as the reference does |
//! | [`batch`] | batches limited by count and by cost |
//! | [`checkpoint`] | model files: hub or folder, safetensors, LoRA, quantization, digests |
//! | `linalg` | products with packed weights, attention, activations on a CPU |
//! | [`qwen`] | the Qwen-VL families: config, tensor schema, M-RoPE, window index, packed sequences |
//! | [`qwen::candle`] | their vision tower, decoder and encoder on candle (CPU, CUDA, Metal) |
//! | [`qwen::mlx`] | the same on MLX (feature `mlx`), and text generation with continuous batching |
//! | [`render`] | PDF and image files to page images, text layer, page labels, outline |
//! | [`embed`] | page images and queries to multi-vectors: the built-in model, ColQwen2, ColQwen2.5; texts to multi-vectors ([`embed::meaning`]) |
//! | [`self_test`] | does a device compute what the CPU does, how fast, and does it give the memory? |
//! | [`vlm`] | vision-language models that describe pages: prompts, replies, runners |
//! | [`analysis`] | text analysis for BM25: terms of a query; variants of codes, words and scripts without spaces |
//! | [`store`] | SQLite and Weaviate: writing, lookup (MaxSim, BM25), catalogue, outbox |
//! | [`measure`] | benchmark records, percentiles, memory sampling |
//! | [`queue`] | the work queue of many machines (NATS JetStream): items and leases, results, state, files |
//! | [`pipeline`] | the stages of `ingest FILE…` (render → prepare → embed → store), memory plan and batch size, run statistics and exit code, `sync` |
//! | [`chat`] | chat requests to a model: retries, time and memory limits, repetition |
//! | [`annotate`] | the run of `ingest describe`: selects pages, queries a runner, stores descriptions |
//! | [`search`] | a query to ranked pages; fusion of ranked lists; snippets |
//! | [`answer`] | a question and pages to an answer that cites them, checked |
//! | [`evaluate`] | nDCG, recall, MRR; datasets, and queries made from a manual's outline |
//! | [`heatmap`] | heat maps: where on a page a query matches |
//! | [`config`] | `config.toml`, user files, environment and flags to [`config::Settings`] |
//! | [`library`] | opens a store with its model, renders its pages again, for the command line or a server; memory limits |
//! | [`distributed`] | many machines fill one library: the coordinator of a run and its workers |
//! | [`diagnostic`] | any error to a message with hints |
//! | [`web`] | `ingest serve`: the page, the REST interface, jobs; `ingest mcp` and `/mcp`: tools of an assistant |
//! | [`reports`] | records to tables, Markdown, HTML, charts and mteb files |
//! | [`cli`] | the commands, one file each |
//!
//! ## How to add
//!
//! - **A ColQwen-like checkpoint of a known family:** a card in `embed/colqwen/cards/`, one line in
//!   `embed/colqwen/model_card.rs`.
//! - **A family of Qwen-VL:** a variant of [`qwen::Family`] and the fields of its `config.json` (`qwen/config.rs`), its tensors
//!   (`qwen/schema.rs`), positions (`qwen/rope.rs`), then the layers that are new in `qwen/candle/` and `qwen/mlx/`
//!   (`vision.rs`, `decoder.rs`, `kv_cache.rs`); golden files made by the reference in `tests/golden/`, compared in
//!   `tests/parity`.
//! - **Another model family:** a folder in `embed/` that implements [`embed::Embedder`], an arm in [`embed::open`] and
//!   [`embed::card`]; its preprocessing of pages is a variant of [`patch::Prepare`].
//! - **A store:** a folder in `store/` that implements [`store::Writer`], [`store::Lookup`] and [`store::Catalogue`], an arm
//!   in [`store::open`], and `tests/store_contract` run on it.
//! - **A runner of vision-language models:** a file in `vlm/server/` (or a folder beside `vlm/in_process/`) that implements
//!   [`vlm::Runner`], a variant of [`vlm::RunnerKind`], an arm in [`vlm::open`].
//! - **A command:** a file in `cli/` with its `Args` (doc comments are the help), a variant and an arm in `cli/mod.rs`, and a
//!   row of the options that it takes in `cli/supported.rs`.
//! - **A tool of assistants:** a file in `web/mcp/`, and a line in both lists of `web/mcp/tools.rs`.
//! - **A setting:** a line in `config.toml` (the compiled-in defaults) and a field of the section's `Config`.

pub mod analysis;
pub mod annotate;
pub mod answer;
pub mod batch;
pub mod chat;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod diagnostic;
pub mod distributed;
pub mod embed;
pub mod evaluate;
pub mod heatmap;
pub mod library;
mod linalg;
pub mod measure;
pub mod page;
pub mod patch;
pub mod pipeline;
pub mod pooling;
pub mod queue;
pub mod qwen;
pub mod render;
pub mod reports;
pub mod search;
pub mod self_test;
pub mod store;
pub mod units;
pub mod vectors;
pub mod vlm;
pub mod web;
