//! Text generation.

pub mod sampling;
