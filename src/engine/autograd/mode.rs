//! Per-thread modes: whether operations are recorded, and the dtype that matmul-class operations compute in.

use crate::engine::error::{Result, unknown_name};
use candle_core::{DType, Device, Tensor as Value};
use std::cell::Cell;

/// Mixed-precision policy, as PyTorch's autocast: matmul-class operations (linear, LoRA, matmul, attention) compute in
/// the low dtype; norms, softmax and losses stay in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Autocast {
    /// Every operation computes in its inputs' dtype.
    #[default]
    Off,
    /// bfloat16: f32's range, 8 bits of precision; needs no gradient scaler.
    Bf16,
    /// float16: 11 bits of precision, overflows at 65,504; use with a gradient scaler.
    F16,
}

impl Autocast {
    /// `"off"`, `"bf16"` or `"f16"`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "off" => Ok(Autocast::Off),
            "bf16" => Ok(Autocast::Bf16),
            "f16" => Ok(Autocast::F16),
            _ => Err(unknown_name("autocast dtype", name, ["off", "bf16", "f16"])),
        }
    }

    /// The name that [`Autocast::parse`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Autocast::Off => "off",
            Autocast::Bf16 => "bf16",
            Autocast::F16 => "f16",
        }
    }

    /// The dtype matmul-class operations compute in; `None` when off.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Autocast::Off => None,
            Autocast::Bf16 => Some(DType::BF16),
            Autocast::F16 => Some(DType::F16),
        }
    }
}

thread_local! {
    static GRAD: Cell<bool> = const { Cell::new(true) };
    static AUTOCAST: Cell<Autocast> = const { Cell::new(Autocast::Off) };
    static TOUCHED: Cell<bool> = const { Cell::new(false) };
    static HISTORY: Cell<bool> = const { Cell::new(false) };
}

/// Whether operations on this thread are recorded.
pub fn grad_enabled() -> bool {
    GRAD.get()
}

/// The thread's autocast policy.
pub fn autocast() -> Autocast {
    AUTOCAST.get()
}

/// Restores the previous mode when dropped.
#[derive(Debug)]
#[must_use = "the mode ends when the guard is dropped"]
pub struct ModeGuard {
    grad: bool,
    autocast: Autocast,
    history: bool,
}

impl ModeGuard {
    fn save() -> Self {
        ModeGuard { grad: GRAD.get(), autocast: AUTOCAST.get(), history: HISTORY.get() }
    }
}

impl Drop for ModeGuard {
    fn drop(&mut self) {
        GRAD.set(self.grad);
        AUTOCAST.set(self.autocast);
        HISTORY.set(self.history);
    }
}

/// Nothing is recorded until the guard is dropped.
pub fn no_grad_guard() -> ModeGuard {
    let guard = ModeGuard::save();
    GRAD.set(false);
    guard
}

/// Operations are recorded again until the guard is dropped.
pub fn enable_grad_guard() -> ModeGuard {
    let guard = ModeGuard::save();
    GRAD.set(true);
    guard
}

/// Matmul-class operations compute by `policy` until the guard is dropped.
pub fn autocast_guard(policy: Autocast) -> ModeGuard {
    let guard = ModeGuard::save();
    AUTOCAST.set(policy);
    guard
}

/// Until the guard is dropped, `linear`, `lora_linear` and `residual` are recorded, and their results have a shape but no
/// value to speak of: for the last operations of a segment that is run again for its history alone.
pub fn history_guard() -> ModeGuard {
    let guard = ModeGuard::save();
    HISTORY.set(true);
    guard
}

/// Whether results are to have values: not under [`history_guard`].
pub(crate) fn values_wanted() -> bool {
    !HISTORY.get()
}

/// In the place of a value that nobody looks at: zeros of one element's memory. `None` where the value is wanted.
pub(crate) fn placeholder(dims: &[usize], dtype: DType, device: &Device) -> Result<Option<Value>> {
    if values_wanted() {
        return Ok(None);
    }
    Ok(Some(Value::zeros(1, dtype, device)?.broadcast_as(dims)?))
}

/// Notes that an unrecorded operation had an input that requires grad.
pub(super) fn touch() {
    TOUCHED.set(true);
}

/// Runs `f` and says whether an operation in it would have been recorded.
pub(super) fn watch<T>(f: impl FnOnce() -> T) -> (T, bool) {
    let before = TOUCHED.replace(false);
    let result = f();
    let touched = TOUCHED.get();
    TOUCHED.set(before || touched);
    (result, touched)
}
