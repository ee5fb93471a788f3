//! Instruction data: from a file's bytes to padded batches with loss weights.
//!
//! ```text
//! source   a file or builtin, looked into: unpack -> json, csv, parquet or documents -> rows (objects, with their place)
//! forms    rows -> records: instructions, completions, conversations (turns), documents
//! split    any set -> subsets by index        template Record -> prompt and response text
//! tokenize Dataset -> Tokenized (ids, labels, what was cut and dropped)
//! loader   Tokenized -> optimizer windows     batch    examples -> one padded or packed micro-batch
//! cache    Tokenized, kept on disk by content  mix      several Tokenized by weight -> one
//! stream   a file larger than memory -> optimizer windows
//! plan     order, rows (packing) and micro-batches of an epoch, by position
//! metrics  answers -> exact match, ROUGE, chrF, GSM8K; losses -> mean and perplexity
//! ```
//!
//! Plain data, no gradients: `u32` token ids, `i64` labels with [`IGNORE_INDEX`] where nothing is to be learned.

pub mod batch;
pub mod cache;
mod chat;
mod csv;
pub mod documents;
mod encode;
pub mod forms;
mod json;
pub mod loader;
pub mod metrics;
pub mod mix;
mod packing;
mod parquet;
mod plan;
pub mod record;
pub mod rows;
mod sets;
pub mod source;
pub mod split;
pub mod stats;
pub mod stream;
pub mod template;
pub mod tokenize;
mod turns;
mod unpack;
pub mod view;
pub mod wording;

/// The label that says "do not learn this position", as in PyTorch's `cross_entropy(ignore_index=-100)`.
pub const IGNORE_INDEX: i64 = -100;
