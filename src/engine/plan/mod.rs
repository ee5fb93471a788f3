//! What a training step takes, in memory and time: measured on a model that is there, and foretold for one that is not.
//!
//! ```text
//! split    where the bytes of a peak are           measure  one real step, by the counting allocator
//! heap     a heap that only counts                 tape     autograd's tape over it
//! ops      what each operation allocates, saves    walk     a step gone through: the prediction
//! ```

mod heap;
pub mod measure;
mod ops;
pub mod split;
mod tape;
pub mod walk;

pub use heap::Work;
pub use measure::{Measured, StepOptions, measure_step};
pub use split::{Phases, Split};
pub use walk::{BatchShape, Foretold, StepShape, foretell};
