//! The native library: tensors with gradients, the model, LoRA, optimizers, data, generation, runs.
//!
//! Nothing in here knows of the script language, prints, or exits: it calls back and returns errors.
//! Each module imports only what stands above it in this list.

pub mod autograd;
pub mod data;
pub mod device;
pub mod error;
pub mod generate;
pub mod interrupt;
pub mod llama;
pub mod lora;
pub mod memory;
pub mod ops;
pub mod optim;
pub mod progress;
pub mod rng;
pub mod run;
pub mod tokenizer;

pub use error::{Error, Result};
