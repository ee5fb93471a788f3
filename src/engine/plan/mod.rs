//! What a training step takes, in memory and time: measured on a model that is there, and foretold for one that is not.
//!
//! ```text
//! measure    one real step, by the counting allocator       split       where the bytes of a peak are
//! heap       a heap that only counts                        tape        autograd's tape over it
//! ops        what each operation allocates and saves        walk        a step gone through with shapes alone
//! recipe     settings and data to a plan                    source      a model's shape without its weights
//! rates      how fast this machine is                       fit         settings for a budget
//! techniques memory by technique                           describe    a plan as plain data and in words
//! ```

pub mod describe;
pub mod fit;
mod heap;
pub mod measure;
mod ops;
pub mod rates;
pub mod recipe;
pub mod source;
pub mod split;
mod tape;
pub mod techniques;
pub mod walk;

pub use fit::{Choice, Free, fit};
pub use heap::Work;
pub use measure::{Measured, StepOptions, measure_step};
pub use rates::Rates;
pub use recipe::{Lengths, Plan, Recipe, plan};
pub use source::ModelSource;
pub use split::{Phases, Split};
pub use techniques::{Technique, techniques};
pub use walk::{BatchShape, Foretold, StepShape, foretell};
