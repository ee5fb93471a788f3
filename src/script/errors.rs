//! Engine errors on their way through a script; defined with the bindings that throw them.

pub use crate::bindings::error::{ScriptError, to_rhai};
