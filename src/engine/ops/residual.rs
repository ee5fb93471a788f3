//! Residual sum `x + branch` in the dtype of `x`: the stream stays in f32 while autocast computes the branch in 16 bits.

use super::convert::convert;
use crate::engine::autograd::{Tensor, add::added, mode, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;

/// `x + branch`: both of one shape; the result has the dtype of `x`.
///
/// # Errors
/// If the shapes differ.
pub fn residual(x: &Tensor, branch: &Tensor) -> Result<Tensor> {
    let _span = profile::span("residual");
    if x.dims() != branch.dims() {
        return Err(Error::shape("residual", format!("x {:?} and branch {:?} differ", x.dims(), branch.dims())));
    }
    let value = match mode::placeholder(x.dims(), x.dtype(), x.value().device())? {
        Some(placeholder) => placeholder,
        None => added(x.value(), &convert(branch.value(), x.dtype())?)?,
    };
    Ok(record("residual", value, &[x, branch], |needs| {
        let (needs, dtype) = ([needs[0], needs[1]], branch.dtype());
        move |dy| {
            let branch = if needs[1] { Some(convert(&dy, dtype)?) } else { None };
            Ok(vec![needs[0].then_some(dy), branch])
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};

    /// Protects the residual stream's gradient.
    #[test]
    fn gradients() {
        check(&[sample(&[2, 3], 1), sample(&[3, 2], 2).t().unwrap()], |t| residual(&t[0], &t[1]));
        check(&[sample(&[0, 3], 1), sample(&[0, 3], 2)], |t| residual(&t[0], &t[1]));
        check(&[sample(&[2, 3], 1)], |t| residual(&t[0], &t[0]));
    }
}
