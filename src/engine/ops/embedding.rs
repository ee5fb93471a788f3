//! Embedding: row `id` of a table for each token id. The backward adds each position's gradient to its row.

use super::cpu;
use super::weight::Weight;
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{DType, Tensor as Value};

/// Rows of `table` `[vocab, n]` at `ids` (`[..]`, integers): `[.., n]`.
///
/// # Errors
/// If an id is not below `vocab`, or `ids` are not integers.
pub fn embedding<'a>(table: impl Into<Weight<'a>>, ids: &Value) -> Result<Tensor> {
    let _span = profile::span("embedding");
    let table = table.into();
    let [vocab, n] = *table.dims() else {
        return Err(Error::shape("embedding", format!("the table must be [vocab, n], not {:?}", table.dims())));
    };
    if !matches!(ids.dtype(), DType::U32 | DType::I64 | DType::U8) {
        return Err(Error::dtype("embedding", format!("ids must be integers, not {}", ids.dtype().as_str()))
            .advise("convert them with to(\"i64\")")
            .about("dtype", ids.dtype()));
    }
    let mut dims = ids.dims().to_vec();
    dims.push(n);
    let flat = ids.flatten_all()?.to_dtype(DType::I64)?;
    if flat.elem_count() > 0 {
        let out_of_range = flat.to_vec1::<i64>()?.into_iter().find(|id| *id < 0 || *id >= vocab as i64);
        if let Some(id) = out_of_range {
            return Err(Error::shape(
                "embedding",
                format!(
                    "token id {id} is outside the vocabulary of {vocab}, whose ids go from 0 to {}",
                    vocab.saturating_sub(1)
                ),
            )
            .advise("was the text encoded by another model's tokenizer?")
            .about("id", id)
            .about("vocab", vocab));
        }
    }
    let flat = flat.to_dtype(DType::U32)?;
    let value = if flat.elem_count() == 0 {
        Value::zeros(dims, table.dtype(), table.leaf().device())?
    } else {
        match table {
            Weight::Dense(table) => table.value().contiguous()?.index_select(&flat, 0)?.reshape(dims)?,
            Weight::Quantized(table, _) => {
                let mut out = vec![0.0; flat.elem_count() * n];
                for (id, row) in flat.to_vec1::<u32>()?.into_iter().zip(out.chunks_exact_mut(n.max(1))) {
                    table.matrix().row(id as usize, row);
                }
                cpu::tensor(out, &dims)?
            }
        }
    };
    Ok(record("embedding", value, &[table.leaf()], |_| {
        let dtype = table.dtype();
        move |dy| {
            // Many positions add up in one row: sixteen bits would lose them.
            let acc = super::cpu::accumulator(dtype);
            let sum = Value::zeros((vocab, n), acc, dy.device())?;
            if flat.elem_count() == 0 {
                return Ok(vec![Some(sum.to_dtype(dtype)?)]);
            }
            let dy = dy.to_dtype(acc)?.contiguous()?.reshape((flat.elem_count(), n))?;
            Ok(vec![Some(sum.index_add(&flat, &dy, 0)?.to_dtype(dtype)?)])
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use candle_core::Device;

    /// Protects full training: repeated ids add up, empty batches work, a foreign id is an error and no panic.
    #[test]
    fn gradients() -> Result<()> {
        let ids = Value::new(&[[1u32, 0, 1], [3, 3, 3]], &Device::Cpu)?;
        check(&[sample(&[4, 2], 1)], |t| embedding(&t[0], &ids));
        check(&[sample(&[2, 4], 1).t()?], |t| embedding(&t[0], &ids));
        let none = Value::zeros((1, 0), DType::U32, &Device::Cpu)?;
        check(&[sample(&[4, 2], 1)], |t| embedding(&t[0], &none));
        let table = Tensor::new(sample(&[3, 2], 1));
        assert!(embedding(&table, &ids).unwrap_err().to_string().contains("token id 3"));
        Ok(())
    }
}
