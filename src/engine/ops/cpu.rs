//! What the CPU kernels share: element types with their accumulation type, slices of contiguous tensors, threading.

use crate::engine::error::{Error, Result};
use candle_core::{DType, Device, Layout, Storage, Tensor as Value, WithDType};
use half::{bf16, f16};

/// An element type the kernels take. Arithmetic is done in [`Elem::Acc`]: f64 for f64, f32 for everything else.
pub trait Elem: WithDType {
    /// Type of accumulators and of intermediate values.
    type Acc: num_traits::Float + num_traits::FloatConst + std::iter::Sum + std::ops::AddAssign + Send + Sync + Default;
    /// Widens.
    fn up(self) -> Self::Acc;
    /// Rounds to nearest even.
    fn down(x: Self::Acc) -> Self;
}

macro_rules! elem {
    ($t:ty, $acc:ty, $up:expr, $down:expr) => {
        impl Elem for $t {
            type Acc = $acc;
            #[inline(always)]
            fn up(self) -> $acc {
                $up(self)
            }
            #[inline(always)]
            fn down(x: $acc) -> Self {
                $down(x)
            }
        }
    };
}
elem!(f64, f64, |x| x, |x| x);
elem!(f32, f32, |x| x, |x| x);
elem!(bf16, f32, bf16::to_f32, bf16::from_f32);
elem!(f16, f32, f16::to_f32, f16::from_f32);

/// Runs `$body` with `$T` bound to the Rust type of the floating-point `$dtype`; other dtypes are an error of `$op`.
macro_rules! dispatch {
    ($op:literal, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            candle_core::DType::F16 => {
                type $T = half::f16;
                $body
            }
            other => Err($crate::engine::error::Error::dtype(
                $op,
                format!("takes f64, f32, bf16 or f16 tensors, not {}", other.as_str()),
            )),
        }
    };
}
pub(crate) use dispatch;

/// The elements of a contiguous CPU tensor, given what `storage_and_layout` returned.
pub fn slice<'a, T: WithDType>(storage: &'a Storage, layout: &Layout) -> Result<&'a [T]> {
    let Storage::Cpu(cpu) = storage else {
        return Err(Error::Device("a CPU kernel was given a tensor of another device".into()));
    };
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| Error::config("a CPU kernel was given a strided view; it needs contiguous()"))?;
    Ok(&cpu.as_slice::<T>()?[start..end])
}

/// Calls `$body` with the named slices of contiguous CPU tensors: `slices!([x: T = &value, ..] => body)`.
macro_rules! slices {
    ([$($name:ident : $T:ty = $value:expr),+ $(,)?] => $body:expr) => {{
        $(let $name = $value.storage_and_layout();)+
        $(let $name: &[$T] = $crate::engine::ops::cpu::slice::<$T>(&$name.0, $name.1)?;)+
        $body
    }};
}
pub(crate) use slices;

/// A CPU tensor that owns `data`.
pub fn tensor<T: WithDType>(data: Vec<T>, dims: &[usize]) -> Result<Value> {
    Ok(Value::from_vec(data, dims, &Device::Cpu)?)
}

/// `value` as `dtype`, contiguous; no copy if it is both already.
pub fn prepared(value: &Value, dtype: DType) -> Result<Value> {
    Ok(value.to_dtype(dtype)?.contiguous()?)
}

/// How many rows of `width` elements one task should take: about 16 Ki elements, so that small tensors stay on one
/// thread and large ones spread.
pub fn rows_per_task(width: usize) -> usize {
    (16_384 / width.max(1)).max(1)
}
