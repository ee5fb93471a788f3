//! A tensor in another dtype. Between f32 and the 16-bit types over all threads, which candle does on one.

use super::cpu::{self, Elem, slice, vectorised};
use crate::engine::error::Result;
use candle_core::{DType, Tensor as Value, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

/// Elements of a task.
const CHUNK: usize = 32_768;

/// `value` in `dtype`, rounded to nearest even; `value` itself if it is.
pub(in crate::engine) fn convert(value: &Value, dtype: DType) -> Result<Value> {
    let from = value.dtype();
    if from == dtype {
        return Ok(value.clone());
    }
    if !value.device().is_cpu() || !value.is_contiguous() || value.elem_count() == 0 {
        return Ok(value.to_dtype(dtype)?);
    }
    match (from, dtype) {
        (DType::F32, DType::BF16) => each::<f32, bf16>(value),
        (DType::F32, DType::F16) => each::<f32, f16>(value),
        (DType::BF16, DType::F32) => each::<bf16, f32>(value),
        (DType::F16, DType::F32) => each::<f16, f32>(value),
        _ => Ok(value.to_dtype(dtype)?),
    }
}

fn each<A: Elem<Acc = f32> + WithDType, B: Elem<Acc = f32> + WithDType>(value: &Value) -> Result<Value> {
    let (storage, layout) = value.storage_and_layout();
    let data = slice::<A>(&storage, layout)?;
    let mut out = vec![B::zero(); data.len()];
    out.par_chunks_mut(CHUNK).zip(data.par_chunks(CHUNK)).for_each(|(out, data)| {
        vectorised(|| out.iter_mut().zip(data).for_each(|(o, x)| *o = B::down(x.up())));
    });
    cpu::tensor(out, value.dims())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Protects mixed precision: every kind of number becomes what candle makes of it, ties, denormals and NaN included.
    #[test]
    fn agrees_with_candle() -> Result<()> {
        let odd =
            [0.0, -0.0, 1e-42, 3.4e38, f32::INFINITY, f32::NEG_INFINITY, 65_519.9, 65_520.0, 1.003_906_3, 1.011_718_8];
        let many = (0..100_000u32).map(|i| f32::from_bits(i.wrapping_mul(42_953))).filter(|x| !x.is_nan());
        let values: Vec<f32> = odd.into_iter().chain(many).collect();
        let x = Value::new(values.as_slice(), &Device::Cpu)?;
        for dtype in [DType::BF16, DType::F16] {
            let (ours, theirs) = (convert(&x, dtype)?, x.to_dtype(dtype)?);
            let bits = |v: &Value| Ok::<_, crate::engine::Error>(v.to_dtype(DType::F64)?.to_vec1::<f64>()?);
            assert!(bits(&ours)?.iter().zip(bits(&theirs)?).all(|(a, b)| a.to_bits() == b.to_bits()), "{dtype:?}");
            let back = convert(&ours, DType::F32)?.to_vec1::<f32>()?;
            assert!(back == ours.to_dtype(DType::F32)?.to_vec1::<f32>()?);
            let nan = convert(&Value::new(&[f32::NAN], &Device::Cpu)?, dtype)?;
            assert!(nan.to_dtype(DType::F32)?.to_vec1::<f32>()?[0].is_nan());
        }
        let turned = x.narrow(0, 0, 64)?.reshape((8, 8))?.t()?;
        assert_eq!(convert(&turned, DType::BF16)?.dims(), [8, 8]);
        Ok(())
    }
}
