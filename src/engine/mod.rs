//! The native library: tensors with gradients, the model, LoRA, optimizers, data, generation, runs.
//!
//! Nothing in here knows of the script language, prints, or exits: it calls back and returns errors.
//! The modules are in the order of their layers: each imports only what stands above it (`cargo layers` tests it).

pub mod error;
pub mod atomic;
pub mod memory;
pub mod pause;
pub mod interrupt;
pub mod progress;
pub mod workers;
pub mod device;
pub mod machine;
pub mod rng;
pub mod number;
pub mod figure;
pub mod files;
pub mod profile;
pub mod hub;
pub mod autograd;
pub mod ops;
pub mod param;
pub mod lora;
pub mod tokenizer;
pub mod llama;
pub mod optim;
pub mod data;
pub mod plan;
pub mod generate;
pub mod evaluate;
pub mod report;
pub mod run;

pub use error::{Error, Result};
