//! Reading models from disk: every format, whole and damaged.

#[path = "../common/mod.rs"]
mod common;

mod chats;
mod gguf;
mod huggingface;
mod llama2c;
mod meta;
mod paths;
mod quantized;
mod tiny;
mod tokenizers;
