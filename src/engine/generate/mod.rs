//! Text generation: choosing tokens, knowing when to stop, the decoding loop.

pub mod decode;
pub mod sampling;
pub mod stop;

pub use decode::{GenerateConfig, Generated};
