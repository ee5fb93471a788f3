//! The native library: tensors with gradients, the model, LoRA, optimizers, data, generation, runs.
//!
//! Nothing in here knows of the script language, prints, or exits: it calls back and returns errors.
//! Each module imports only what stands above it in this list.

pub mod error;
pub mod interrupt;
pub mod memory;
pub mod device;
pub mod rng;
pub mod autograd;
pub mod param;
pub mod ops;
pub mod tokenizer;
pub mod lora;
pub mod llama;
pub mod optim;
pub mod data;
pub mod generate;
pub mod run;

pub use error::{Error, Result};
