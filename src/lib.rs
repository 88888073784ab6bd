//! # The house
//!
//! `ingest` makes shelves of PDF manuals searchable by page, from the pixels of the page: every page is rendered,
//! embedded as an image into a *multi-vector* (n rows, late interaction), stored, and found again by MaxSim.
//!
//! Read the modules in this order; each uses only those before it (`tests/architecture` keeps it so):
//!
//! | room | what it knows |
//! |---|---|
//! | [`page`] | what a page is: its id, its picture, what can go wrong with it |
//! | [`vectors`] | multi-vectors, MaxSim, and the profile of the model that made them |
//! | [`pooling`] | fewer rows a page, each the mean of rows that resemble each other |
//! | [`units`] | parse and print bytes, seconds, rates |
//! | [`patch`] | from a picture to what a model eats; pure maths, bit for bit the reference |
//! | [`batch`] | grouping pages under a memory cap |
//! | [`checkpoint`] | the files of a model: from a folder or the hub, checked, whatever computes with them |
//! | [`qwen`] | what a model of the Qwen-VL families is: its shape, tensors, positions; pure maths |
//! | [`mlx`] | those models on MLX, in a thread of their own (feature `mlx`) |
//! | [`render`] | PDF and image files to page pictures, text, outline (PDFium in worker processes) |
//! | [`embed`] | pages and questions to multi-vectors: the built-in model, ColQwen2, ColQwen2.5 |
//! | [`describe`] | pages to words: vision-language models behind servers |
//! | [`store`] | where pages are kept and looked up: SQLite, or Weaviate with an outbox before it |
//! | [`measure`] | the record that every measured number is kept in |
//! | [`pipeline`] | render → prepare → embed → store, on bounded channels; and from store to store |
//! | [`annotate`] | a second pass: stored pages are described |
//! | [`search`] | a question to ranked pages; fusion of ranked lists |
//! | [`evaluate`] | nDCG, recall, MRR; the questions that an outline asks |
//! | [`heatmap`] | where a page matched |
//! | [`config`] | `config.toml`, checked once |
//! | [`library`] | an opened library: store, model and page images, for every face |
//! | [`diagnostic`] | any error to advice and an exit code |
//! | [`reports`] | records as tables, Markdown, HTML with charts, files of `mteb` |
//! | [`cli`] | the commands |

pub mod annotate;
pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod diagnostic;
pub mod embed;
pub mod evaluate;
pub mod heatmap;
pub mod library;
pub mod measure;
pub mod page;
pub mod patch;
pub mod pipeline;
pub mod pooling;
pub mod qwen;
pub mod render;
pub mod reports;
pub mod search;
pub mod store;
pub mod units;
pub mod vectors;
pub mod vlm;
