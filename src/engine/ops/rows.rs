//! Picking rows: the positions whose label counts, out of all positions of a batch.

use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::Tensor as Value;

/// Rows `indices` of `x` `[.., n]` taken as `[rows, n]`: `[indices, n]`. Each index at most once: the backward places
/// rows instead of adding them.
///
/// # Errors
/// If an index is out of range or occurs twice.
pub fn select_rows(x: &Tensor, indices: &[u32]) -> Result<Tensor> {
    let _span = profile::span("select_rows");
    let n = x.dims().last().copied().unwrap_or(0);
    let rows = x.len().checked_div(n).unwrap_or(0);
    let mut seen = vec![false; rows];
    for i in indices {
        match seen.get_mut(*i as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => {
                return Err(Error::shape("select_rows", format!("row {i} of {rows} is out of range or taken twice")));
            }
        }
    }
    let ids = Value::from_slice(indices, indices.len(), x.device())?;
    let value = if indices.is_empty() {
        Value::zeros((0, n), x.dtype(), x.device())?
    } else {
        x.value().contiguous()?.reshape((rows, n))?.index_select(&ids, 0)?
    };
    Ok(record("select_rows", value, &[x], |_| {
        let (dims, empty) = (x.dims().to_vec(), indices.is_empty());
        move |dy| {
            let zeros = Value::zeros((rows, n), dy.dtype(), dy.device())?;
            let dx = if empty { zeros } else { zeros.index_add(&ids, &dy.contiguous()?, 0)? };
            Ok(vec![Some(dx.reshape(dims)?)])
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};

    /// Protects the loss at label positions: gradients land in their rows, all others are zero.
    #[test]
    fn gradients() {
        check(&[sample(&[2, 3, 4], 1)], |t| select_rows(&t[0], &[4, 0, 5]));
        check(&[sample(&[4, 3], 1).t().unwrap()], |t| select_rows(&t[0], &[2]));
        check(&[sample(&[2, 3], 1)], |t| select_rows(&t[0], &[]));
        assert!(select_rows(&Tensor::new(sample(&[2, 3], 1)), &[2]).is_err());
        assert!(select_rows(&Tensor::new(sample(&[2, 3], 1)), &[1, 1]).is_err());
    }
}
