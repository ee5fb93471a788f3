//! Tensors with gradient history.
