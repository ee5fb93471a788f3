//! LLaMA: configuration, weights in every shipped format, and the trainable model.

pub mod attention;
mod batched;
pub mod block;
pub mod cache;
pub mod checkpointing;
pub mod config;
pub mod init;
pub mod loss;
pub mod model;
pub mod params;
pub mod positions;
mod snapshot;
pub mod weights;

pub use config::LlamaConfig;
pub use model::Llama;

#[cfg(test)]
mod tests;
