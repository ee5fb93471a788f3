//! What an optimizer remembers of each parameter, and the one pass that updates both.
//!
//! On the CPU the remembered numbers lie interleaved, `[[m, v], [m, v], ..]`, so that one pass reads and writes
//! parameter, gradient and memory once; large parameters are shared among threads. On CUDA they are f32 tensors and the
//! update is a composition of candle operations.

use super::{NamedParam, OptimizerState, Remembered};
use crate::engine::error::{Error, Result};
use crate::engine::ops::cpu::{Elem, Exp};
use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Tensor as Value};
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Elements per task.
const CHUNK: usize = 16_384;

/// An optimizer's arithmetic for one parameter at one step, with `N` numbers remembered per element.
pub(super) trait Rule<const N: usize> {
    /// What the numbers are called in a saved state.
    const NAMES: [&'static str; N];

    /// (element, gradient, remembered) to (new element, newly remembered).
    fn host<A: Exp>(&self) -> impl Fn(A, A, [A; N]) -> (A, [A; N]) + Sync;

    /// The same for whole f32 tensors.
    fn device(&self, p: &Value, g: &Value, slots: &[Value; N]) -> Result<(Value, [Value; N])>;
}

/// What is remembered of one parameter.
#[derive(Debug, Clone)]
enum Slots<const N: usize> {
    Narrow(Vec<[f32; N]>),
    Wide(Vec<[f64; N]>),
    Device([Value; N]),
}

/// Parameters with what is remembered of each.
#[derive(Debug)]
pub(super) struct Memory<const N: usize> {
    params: Vec<NamedParam>,
    /// With the number of updates of the parameter; `None` before the first.
    slots: Vec<Option<(u64, Slots<N>)>>,
    steps: u64,
}

impl<const N: usize> Memory<N> {
    pub(super) fn new(params: Vec<NamedParam>) -> Self {
        Memory { slots: vec![None; params.len()], params, steps: 0 }
    }

    pub(super) fn params(&self) -> &[NamedParam] {
        &self.params
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Bytes of what is remembered now, and of what will be.
    pub(super) fn bytes(&self) -> Remembered {
        let of = |p: &Value| N * p.elem_count() * wide(p.dtype()).size_in_bytes();
        let each = self.params.iter().zip(&self.slots).map(|((_, p), slots)| (of(p.value()), slots.is_some()));
        each.fold(Remembered { now: 0, full: 0 }, |sum, (bytes, has)| Remembered {
            now: sum.now + if has { bytes } else { 0 },
            full: sum.full + bytes,
        })
    }

    /// Updates every parameter that has a gradient by the rule of its own n-th update, from 1.
    pub(super) fn step<R: Rule<N>>(&mut self, rule: impl Fn(u64) -> R) -> Result<()> {
        for ((name, p), slots) in self.params.iter().zip(&mut self.slots) {
            let Some(grad) = p.grad() else { continue };
            if grad.dims() != p.dims() || grad.dtype() != p.dtype() {
                return Err(Error::shape(
                    "step",
                    format!(
                        "the gradient of `{name}` is {:?} {}, not {:?} {}",
                        grad.dims(),
                        grad.dtype().as_str(),
                        p.dims(),
                        p.dtype().as_str()
                    ),
                ));
            }
            let (n, slots) = match slots {
                Some(slots) => slots,
                None => slots.insert((0, Slots::zeros(p.value())?)),
            };
            slots.update(&rule(*n + 1), p.value(), &grad)?;
            *n += 1;
        }
        self.steps += 1;
        Ok(())
    }

    pub(super) fn state<R: Rule<N>>(&self) -> Result<OptimizerState> {
        let mut tensors = Vec::new();
        for ((name, p), slots) in self.params.iter().zip(&self.slots) {
            let Some((n, slots)) = slots else { continue };
            for (quantity, value) in R::NAMES.iter().zip(slots.tensors(p.value())?) {
                tensors.push((format!("{name}.{quantity}"), value));
            }
            tensors.push((format!("{name}.step"), Value::new(*n as i64, &candle_core::Device::Cpu)?));
        }
        Ok(OptimizerState { steps: self.steps, tensors })
    }

    pub(super) fn load_state<R: Rule<N>>(&mut self, state: &OptimizerState) -> Result<()> {
        let wrong = |message: String| Error::config(format!("the saved optimizer state does not fit: {message}"));
        let mut saved: HashMap<&str, &Value> = state.tensors.iter().map(|(n, v)| (n.as_str(), v)).collect();
        let mut all = Vec::with_capacity(self.params.len());
        for (name, p) in &self.params {
            let Some(step) = saved.remove(format!("{name}.step").as_str()) else {
                all.push(None);
                continue;
            };
            if step.elem_count() != 1 {
                return Err(wrong(format!("`{name}.step` has shape {:?}", step.dims())));
            }
            let n = step.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?[0]; // one element: checked above
            let n = u64::try_from(n).map_err(|_| wrong(format!("`{name}.step` is {n}")))?;
            let mut values = Vec::with_capacity(N);
            for quantity in R::NAMES {
                let key = format!("{name}.{quantity}");
                let value = saved.remove(key.as_str()).ok_or_else(|| wrong(format!("`{key}` is missing")))?;
                if value.dims() != p.dims() {
                    return Err(wrong(format!("`{key}` is {:?}, the parameter {:?}", value.dims(), p.dims())));
                }
                values.push(value.clone());
            }
            all.push(Some((n, Slots::from_tensors(p.value(), &values)?)));
        }
        if let Some(key) = saved.keys().min() {
            return Err(wrong(format!("`{key}` belongs to no parameter of this optimizer")));
        }
        (self.slots, self.steps) = (all, state.steps);
        Ok(())
    }
}

impl<const N: usize> Slots<N> {
    fn zeros(p: &Value) -> Result<Self> {
        Ok(match (p.device().is_cpu(), p.dtype()) {
            (true, DType::F64) => Slots::Wide(vec![[0.0; N]; p.elem_count()]),
            (true, _) => Slots::Narrow(vec![[0.0; N]; p.elem_count()]),
            (false, dtype) => Slots::Device(array(|_| Ok(Value::zeros(p.dims(), wide(dtype), p.device())?))?),
        })
    }

    fn from_tensors(p: &Value, values: &[Value]) -> Result<Self> {
        fn interleaved<A: Exp, const N: usize>(values: &[Value], n: usize) -> Result<Vec<[A; N]>> {
            let mut out = vec![[A::zero(); N]; n];
            for (slot, value) in values.iter().enumerate() {
                let value = value.to_dtype(A::DTYPE)?.to_device(&candle_core::Device::Cpu)?.flatten_all()?;
                for (o, v) in out.iter_mut().zip(value.to_vec1::<A>()?) {
                    o[slot] = v;
                }
            }
            Ok(out)
        }
        Ok(match (p.device().is_cpu(), p.dtype()) {
            (true, DType::F64) => Slots::Wide(interleaved(values, p.elem_count())?),
            (true, _) => Slots::Narrow(interleaved(values, p.elem_count())?),
            // `copy`: a loaded tensor may be shared with whoever loaded it.
            (false, d) => Slots::Device(array(|i| Ok(values[i].to_dtype(wide(d))?.to_device(p.device())?.copy()?))?),
        })
    }

    fn tensors(&self, p: &Value) -> Result<Vec<Value>> {
        fn split<A: Exp, const N: usize>(slots: &[[A; N]], p: &Value) -> Result<Vec<Value>> {
            (0..N)
                .map(|i| {
                    let one: Vec<A> = slots.iter().map(|s| s[i]).collect();
                    Ok(Value::from_vec(one, p.dims(), p.device())?)
                })
                .collect()
        }
        match self {
            Slots::Narrow(slots) => split(slots, p),
            Slots::Wide(slots) => split(slots, p),
            Slots::Device(values) => Ok(values.to_vec()),
        }
    }

    fn update<R: Rule<N>>(&mut self, rule: &R, p: &Value, grad: &Value) -> Result<()> {
        if p.elem_count() == 0 {
            return Ok(());
        }
        let grad = grad.contiguous()?;
        macro_rules! pass {
            ($t:ty, $slots:expr) => {
                p.inplace_op2(&grad, &Pass::<$t, _, N> { slots: Mutex::new($slots), rule: rule.host() })?
            };
        }
        match (self, p.dtype()) {
            (Slots::Wide(slots), DType::F64) => pass!(f64, slots),
            (Slots::Narrow(slots), DType::F32) => pass!(f32, slots),
            (Slots::Narrow(slots), DType::BF16) => pass!(bf16, slots),
            (Slots::Narrow(slots), DType::F16) => pass!(f16, slots),
            (Slots::Device(values), dtype) => {
                let wide = wide(dtype);
                let (new, remembered) = rule.device(&p.to_dtype(wide)?, &grad.to_dtype(wide)?, values)?;
                p.flatten_all()?.slice_set(&new.to_dtype(dtype)?.contiguous()?.flatten_all()?, 0, 0)?;
                *values = remembered;
            }
            (_, other) => {
                return Err(Error::dtype("step", format!("cannot update a {} parameter", other.as_str())));
            }
        }
        Ok(())
    }
}

fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// An array of tensors, or the first error.
fn array<const N: usize>(make: impl Fn(usize) -> Result<Value>) -> Result<[Value; N]> {
    let values = (0..N).map(make).collect::<Result<Vec<_>>>()?;
    // The vector has N elements by construction, so the conversion cannot fail.
    values.try_into().map_err(|_| Error::config("an array of tensors has the wrong length"))
}

/// Elements of a CPU storage, to be changed.
trait ElemMut: Elem {
    fn of(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! elem_mut {
    ($($t:ty: $variant:ident),*) => {$(
        impl ElemMut for $t {
            fn of(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                if let CpuStorage::$variant(data) = storage { Some(data) } else { None }
            }
        }
    )*};
}
elem_mut!(f64: F64, f32: F32, bf16: BF16, f16: F16);

/// The pass over one parameter.
struct Pass<'a, T: Elem, F, const N: usize> {
    slots: Mutex<&'a mut Vec<[T::Acc; N]>>,
    rule: F,
}

impl<T, F, const N: usize> InplaceOp2 for Pass<'_, T, F, N>
where
    T: ElemMut,
    F: Fn(T::Acc, T::Acc, [T::Acc; N]) -> (T::Acc, [T::Acc; N]) + Sync,
{
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, pl: &Layout, g: &CpuStorage, gl: &Layout) -> candle_core::Result<()> {
        let (Some((p0, p1)), Some((g0, g1))) = (pl.contiguous_offsets(), gl.contiguous_offsets()) else {
            candle_core::bail!("optimizer step: a strided parameter or gradient");
        };
        let g = &g.as_slice::<T>()?[g0..g1];
        let Some(p) = T::of(p) else { candle_core::bail!("optimizer step: the parameter is not {:?}", T::DTYPE) };
        let p = &mut p[p0..p1];
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let task = |p: &mut [T], g: &[T], slots: &mut [[T::Acc; N]]| {
            for ((p, g), slot) in p.iter_mut().zip(g).zip(slots) {
                let (new, remembered) = (self.rule)(p.up(), g.up(), *slot);
                *p = T::down(new);
                *slot = remembered;
            }
        };
        if p.len() <= CHUNK {
            task(p, g, &mut slots[..]);
        } else {
            p.par_chunks_mut(CHUNK)
                .zip(g.par_chunks(CHUNK))
                .zip(slots.par_chunks_mut(CHUNK))
                .for_each(|((p, g), slots)| task(p, g, slots));
        }
        Ok(())
    }
}
