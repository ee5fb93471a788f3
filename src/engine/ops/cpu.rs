//! What the CPU kernels share: element types with their accumulation type, slices of contiguous tensors, threading.

use crate::engine::error::{Error, Result};
use candle_core::{DType, Device, Layout, Storage, Tensor as Value, WithDType};
use half::{bf16, f16};
use std::mem::MaybeUninit;

/// An element type the kernels take. Arithmetic is done in [`Elem::Acc`]: f64 for f64, f32 for everything else.
pub trait Elem: WithDType {
    /// Type of accumulators and of intermediate values.
    type Acc: Exp + std::iter::Sum + Default;
    /// Widens.
    fn up(self) -> Self::Acc;
    /// Rounds to nearest even.
    fn down(x: Self::Acc) -> Self;
}

/// An accumulation type whose exponential the compiler can vectorise.
pub trait Exp: super::gemm::Scalar + WithDType {
    /// `e^x`; exact to about 1 ulp (f64) or 2 ulp (f32).
    fn fast_exp(self) -> Self;
}

impl Exp for f64 {
    #[inline(always)]
    fn fast_exp(self) -> f64 {
        self.exp()
    }
}

impl Exp for f32 {
    // Range reduction to [-ln 2 / 2, ln 2 / 2] and a degree-6 polynomial, without a branch or a call. Source: Cephes,
    // `expf`.
    #[inline(always)]
    fn fast_exp(self) -> f32 {
        const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
        let x = self.min(88.7);
        let shifted = x * std::f32::consts::LOG2_E + SHIFT;
        let n = shifted - SHIFT;
        let r = n.mul_add_or_not(-0.693_359_4, x);
        let r = n.mul_add_or_not(2.121_944_4e-4, r);
        let mut p = 1.987_569_1e-4;
        for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = r.mul_add_or_not(p, c);
        }
        let p = (r * r).mul_add_or_not(p, r) + 1.0;
        let exponent = (shifted.to_bits() << 23).wrapping_add(127 << 23);
        let y = p * f32::from_bits(exponent);
        if x < -87.0 {
            0.0
        } else if self.is_nan() {
            f32::NAN
        } else {
            y
        }
    }
}

trait MulAdd {
    fn mul_add_or_not(self, b: f32, c: f32) -> f32;
}

impl MulAdd for f32 {
    // Without an FMA target the real `mul_add` is a slow library call, and the result must not depend on the build.
    #[inline(always)]
    fn mul_add_or_not(self, b: f32, c: f32) -> f32 {
        self * b + c
    }
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
elem!(bf16, f32, |x: bf16| f32::from_bits(u32::from(x.to_bits()) << 16), to_bf16);
elem!(f16, f32, f16::to_f32, f16::from_f32);

/// As [`bf16::from_f32`], without branches: so a loop of it can be vectorised.
#[inline(always)]
fn to_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let even = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    bf16::from_bits(if x.is_nan() { quiet } else { even } as u16)
}

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

/// As [`dispatch`], over the accumulation types only.
macro_rules! dispatch_acc {
    ($op:literal, $dtype:expr, $A:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F64 => {
                type $A = f64;
                $body
            }
            candle_core::DType::F32 => {
                type $A = f32;
                $body
            }
            other => {
                Err($crate::engine::error::Error::dtype($op, format!("computes in f32 or f64, not {}", other.as_str())))
            }
        }
    };
}
pub(crate) use dispatch_acc;

/// The elements of a contiguous CPU tensor, given what `storage_and_layout` returned.
pub fn slice<'a, T: WithDType>(storage: &'a Storage, layout: &Layout) -> Result<&'a [T]> {
    let Storage::Cpu(cpu) = storage else {
        return Err(Error::device("a CPU kernel was given a tensor of another device"));
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

/// Room for `len` elements that a kernel is about to write: zeros first would be a pass of their own.
pub fn room<T>(len: usize) -> Vec<MaybeUninit<T>> {
    let mut room = Vec::with_capacity(len);
    // SAFETY: there is room for `len`, and what may be uninitialised needs no initialisation.
    unsafe { room.set_len(len) };
    room
}

/// The elements of a [`room`].
///
/// # Safety
/// All of them have been written.
pub unsafe fn written<T>(room: Vec<MaybeUninit<T>>) -> Vec<T> {
    let mut room = std::mem::ManuallyDrop::new(room);
    // SAFETY: the same allocation, of elements of the same layout, which are there as the caller says.
    unsafe { Vec::from_raw_parts(room.as_mut_ptr().cast(), room.len(), room.capacity()) }
}

/// Runs `f` compiled for the widest vectors of this processor (AVX2 or AVX-512 on x86-64): loops over slices inside it, and
/// inside what is inlined into it, are vectorised for them. The compiler fuses and reorders nothing, so that results are
/// those of any other processor.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// The largest element; minus infinity for none. NaNs are passed over.
#[inline(always)]
pub fn max<A: Exp>(x: &[A]) -> A {
    let larger = |m: &mut A, x: &A| *m = if *x > *m { *x } else { *m };
    let mut lanes = [A::neg_infinity(); LANES];
    let mut whole = x.chunks_exact(LANES);
    for chunk in &mut whole {
        lanes.iter_mut().zip(chunk).for_each(|(m, x)| larger(m, x));
    }
    lanes.iter_mut().zip(whole.remainder()).for_each(|(m, x)| larger(m, x));
    lanes.into_iter().fold(A::neg_infinity(), |m, x| if x > m { x } else { m })
}

/// Partial sums of [`sum`].
const LANES: usize = 16;

/// The sum of `f(0) .. f(n)`, as [`LANES`] sums of every so-manieth term, added in pairs: vectors can do that, and it rounds
/// less than one long sum.
#[inline(always)]
pub fn sum<A: Exp>(n: usize, f: impl Fn(usize) -> A) -> A {
    let mut lanes = [A::zero(); LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    for (lane, i) in (whole..n).enumerate() {
        lanes[lane] += f(i);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `value` as `dtype`, contiguous; no copy if it is both already.
pub fn prepared(value: &Value, dtype: DType) -> Result<Value> {
    Ok(super::convert::convert(value, dtype)?.contiguous()?)
}

/// How many rows of `width` elements one task should take: about 16 Ki elements, so that small tensors stay on one
/// thread and large ones spread.
pub fn rows_per_task(width: usize) -> usize {
    (16_384 / width.max(1)).max(1)
}

/// The dtype that kernels compute `dtype` in: f64 for f64, f32 for the rest.
pub fn accumulator(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// `x` as an accumulation type.
pub fn acc<A: Exp>(x: f64) -> A {
    <A as num_traits::NumCast>::from(x).unwrap_or_else(A::nan) // every f64 converts to f32 or f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects softmax: the vectorised exponential against the library's, over its whole range.
    #[test]
    fn fast_exp_is_exact_enough() {
        for i in -86_000..88_000 {
            let x = i as f32 * 1e-3;
            let (got, want) = (x.fast_exp(), (f64::from(x)).exp());
            assert!((f64::from(got) - want).abs() <= 3e-7 * want, "exp({x}) = {got}, not {want}");
        }
        assert_eq!(f32::NEG_INFINITY.fast_exp(), 0.0);
        assert_eq!(0f32.fast_exp(), 1.0);
        assert!(f32::NAN.fast_exp().is_nan());
    }
}
