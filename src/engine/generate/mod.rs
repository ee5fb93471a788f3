//! Text generation: choosing tokens, knowing when to stop, the decoding loop, many answers at once.

mod answer;
pub mod batch;
pub mod decode;
pub mod sampling;
pub mod stop;

pub use batch::BatchLimits;
pub use decode::{GenerateConfig, Generated};
