//! Text generation.

pub mod sampling;
pub mod stop;
