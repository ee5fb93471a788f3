//! Hyper-parameters of a LLaMA model.
