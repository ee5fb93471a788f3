//! Token ids: arrays of ints in scripts, `u32` in the engine.

use crate::engine::{Error, Result};
use rhai::{Array, INT};

/// The ids in `array`.
///
/// # Errors
/// If an item is not a whole number from 0 to 2^32 - 1.
pub(super) fn token_ids(array: &Array) -> Result<Vec<u32>> {
    let id = |(i, item): (usize, &rhai::Dynamic)| {
        item.as_int().ok().and_then(|id: INT| u32::try_from(id).ok()).ok_or_else(|| {
            Error::config(format!("token ids must be ints from 0 up; item {i} is {item} ({})", item.type_name()))
        })
    };
    array.iter().enumerate().map(id).collect()
}
