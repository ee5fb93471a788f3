//! How much memory one tensor may ask for: sizes come from scripts and files, and an allocation that fails aborts.

use crate::engine::error::{Error, Result};
use crate::engine::memory;
use candle_core::DType;

/// Number of elements of a tensor of shape `dims`.
///
/// # Errors
/// [`Error::OutOfMemory`] if a tensor of that size and `dtype` does not fit into memory beside what is in use, and
/// [`Error::Shape`] if it has more than eight dimensions (what candle's iterators take).
pub fn elements(op: &'static str, dims: &[usize], dtype: DType) -> Result<usize> {
    const MAX_RANK: usize = 8;
    if dims.len() > MAX_RANK {
        return Err(Error::shape(
            op,
            format!("a tensor has at most {MAX_RANK} dimensions, {dims:?} has {}", dims.len()),
        ));
    }
    // Zero anywhere means no memory, whatever the others are; the product of the others must still be a number.
    let count = dims.iter().filter(|d| **d > 0).try_fold(1usize, |n, d| n.checked_mul(*d));
    let bytes = count.and_then(|n| n.checked_mul(dtype.size_in_bytes()));
    match count {
        Some(_) if bytes.is_some() && dims.contains(&0) => Ok(0),
        _ => {
            memory::check(|| format!("{op}: a tensor of shape {dims:?} in {}", dtype.as_str()), bytes)?;
            // Without a count there are no bytes, which the check refused.
            Ok(count.unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the process: a size that overflows or does not fit is an error, not an abort.
    #[test]
    fn hostile_sizes_are_refused() {
        assert_eq!(elements("zeros", &[2, 3], DType::F32).unwrap(), 6);
        assert_eq!(elements("zeros", &[0, 3], DType::F32).unwrap(), 0);
        for dims in [vec![usize::MAX, 2], vec![1 << 45], vec![0, usize::MAX, usize::MAX], vec![1; 9]] {
            assert!(elements("zeros", &dims, DType::F32).is_err(), "{dims:?}");
        }
    }
}
