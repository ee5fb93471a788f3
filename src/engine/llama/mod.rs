//! LLaMA: configuration, weights, model.

pub mod config;
pub mod weights;
