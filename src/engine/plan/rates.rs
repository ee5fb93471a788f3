//! How fast this machine does each kind of a step's arithmetic: measured in a moment, on the operations themselves.
//!
//! A step's time is then the sum of its work over these rates. That leaves out what depends on shapes (narrow products
//! are slower), on memory (a model that does not fit the caches is slower), and the interpreter; docs/performance/plan.md
//! says how far off it is.

use super::heap::Work;
use crate::engine::autograd::{Tensor, no_grad_guard};
use crate::engine::error::Result;
use crate::engine::ops::attention::{AttentionConfig, attention};
use crate::engine::ops::cross_entropy::{Reduction, cross_entropy};
use crate::engine::ops::{linear::linear, residual::residual, rms_norm::rms_norm, swiglu::swiglu};
use candle_core::{DType, Device, Tensor as Value};
use serde::Serialize;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Floating-point operations of f32 products.
    pub product: f64,
    /// Floating-point operations of bf16 products; f16 is taken for as fast.
    pub low_product: f64,
    /// Floating-point operations of attention.
    pub attention: f64,
    /// Elements of passes over tensors.
    pub elements: f64,
    /// Exponentials of the loss.
    pub exponentials: f64,
}

/// Time spent on each rate.
const TIME: Duration = Duration::from_millis(60);

impl Rates {
    /// This machine's CPU, measured once in a process.
    ///
    /// # Errors
    /// Out of memory.
    pub fn of_this_machine() -> Result<Rates> {
        static KNOWN: OnceLock<Rates> = OnceLock::new();
        if let Some(rates) = KNOWN.get() {
            return Ok(*rates);
        }
        let rates = measure()?;
        Ok(*KNOWN.get_or_init(|| rates))
    }

    /// Seconds that `work` takes.
    pub fn seconds(&self, work: &Work) -> f64 {
        work.product / self.product
            + work.low_product / self.low_product
            + work.attention / self.attention
            + work.elements / self.elements
            + work.exponentials / self.exponentials
    }
}

/// `amount` over the best time of `f`.
fn rate(amount: f64, mut f: impl FnMut() -> Result<Tensor>) -> Result<f64> {
    // The first also starts threads and touches memory.
    std::hint::black_box(f()?);
    let (began, mut best) = (Instant::now(), Duration::MAX);
    while best == Duration::MAX || began.elapsed() < TIME {
        let start = Instant::now();
        std::hint::black_box(f()?);
        best = best.min(start.elapsed());
    }
    Ok(amount / best.as_secs_f64().max(1e-9))
}

fn measure() -> Result<Rates> {
    let _mode = no_grad_guard();
    let random = |dims: &[usize], dtype: DType| -> Result<Tensor> {
        Ok(Tensor::new(Value::rand(-1f32, 1f32, dims, &Device::Cpu)?.to_dtype(dtype)?))
    };
    const ROWS: usize = 256;
    const WIDTH: usize = 768;
    let product = |dtype| -> Result<f64> {
        let (x, w) = (random(&[ROWS, WIDTH], dtype)?, random(&[WIDTH, WIDTH], dtype)?);
        rate(2.0 * (ROWS * WIDTH * WIDTH) as f64, || linear(&x, &w, None))
    };
    let x = random(&[ROWS, WIDTH], DType::F32)?;
    let weight = random(&[WIDTH], DType::F32)?;
    // The passes of a block in about their proportions; each goes through its result once.
    let passes = rate(4.0 * (ROWS * WIDTH) as f64, || {
        let y = rms_norm(&x, &weight, 1e-5)?;
        let y = swiglu(&y, &x)?;
        residual(&x, &Tensor::new(y.value().to_dtype(DType::BF16)?))
    })?;
    const HEADS: usize = 8;
    const HEAD: usize = 64;
    let q = random(&[1, ROWS, HEADS, HEAD], DType::F32)?;
    let config = AttentionConfig { causal: true, scale: None, documents: None };
    let attended = 2.0 * (HEADS * HEAD * ROWS * (ROWS + 1)) as f64;
    const CLASSES: usize = 8192;
    let logits = random(&[64, CLASSES], DType::F32)?;
    let labels = vec![1i64; 64];
    Ok(Rates {
        product: product(DType::F32)?,
        low_product: product(DType::BF16)?,
        attention: rate(attended, || attention(&q, &q, &q, &config))?,
        elements: passes,
        exponentials: rate((64 * CLASSES) as f64, || cross_entropy(&logits, &labels, -100, Reduction::Mean))?,
    })
}
