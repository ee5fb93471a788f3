//! LoRA: low-rank adapters on linear layers, their configuration, and their files in PEFT's layout.
//!
//! Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; the `peft` package.

pub mod config;
pub mod file;
pub mod linear;

pub use config::{LoraConfig, Targets};
pub use linear::{Adapter, Linear};
