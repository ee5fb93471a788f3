//! Fine-tune LLaMA-family models with LoRA from Rhai scripts.
//!
//! Layers, each importing only what stands below it: `cli` -> `repl` -> `script` -> `bindings` -> [`engine`] -> candle.

#![deny(missing_docs)]
// Module pages name their private parts, for whoever reads the source beside them.
#![allow(rustdoc::private_intra_doc_links)]

pub mod bindings;
pub mod builtin;
pub mod cli;
pub mod engine;
pub mod repl;
pub mod script;
