//! The weight of a linear map: a tensor, or a frozen matrix that stays quantized.
//!
//! A quantized weight is multiplied in one of two ways:
//!
//! - [`Precision::Exact`], for training: it is dequantized into the dtype of the product, which is then that of a dense
//!   weight, bit for bit, forward and backward. Nothing of the copy outlives the product.
//! - [`Precision::Quick`], for inference: up to eight rows of `x` are multiplied in integers, as llama.cpp does; more rows in
//!   bf16, where the processor has kernels for it.
//!
//! Source of the first: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", 2023.

use super::convert::convert;
use super::quant::Matrix;
use super::{products, quantized};
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use candle_core::{DType, Device, Tensor as Value};

/// How products with a quantized weight are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As those with the dequantized weight.
    Exact,
    /// In fewer bits.
    Quick,
}

impl Precision {
    /// Of a model that is in `training`, or not.
    pub fn of(training: bool) -> Self {
        if training { Precision::Exact } else { Precision::Quick }
    }
}

/// A frozen weight that stays quantized. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Quantized {
    matrix: Matrix,
    dims: [usize; 2],
    /// Stands for the weight among an operation's inputs: it has no elements, and never requires grad.
    leaf: Tensor,
}

impl Quantized {
    /// The weight with these blocks.
    pub fn new(matrix: Matrix) -> Result<Self> {
        let leaf = Tensor::new(Value::zeros(0, DType::F32, &Device::Cpu)?);
        Ok(Quantized { dims: matrix.dims(), matrix, leaf })
    }

    /// Its blocks.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// `[out, in]`.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }
}

/// The weight of an operation.
#[derive(Debug, Clone, Copy)]
pub enum Weight<'a> {
    /// A tensor.
    Dense(&'a Tensor),
    /// Blocks.
    Quantized(&'a Quantized, Precision),
}

impl<'a> From<&'a Tensor> for Weight<'a> {
    fn from(weight: &'a Tensor) -> Self {
        Weight::Dense(weight)
    }
}

impl<'a> Weight<'a> {
    /// `[out, in]`, for a weight that is one.
    pub fn dims(&self) -> &'a [usize] {
        match self {
            Weight::Dense(weight) => weight.dims(),
            Weight::Quantized(weight, _) => weight.dims(),
        }
    }

    /// The blocks of a quantized weight that may be multiplied in fewer bits.
    pub(super) fn quick(&self) -> Option<&'a Matrix> {
        match self {
            Weight::Quantized(weight, Precision::Quick) => Some(&weight.matrix),
            _ => None,
        }
    }

    /// The dtype of its numbers, and of its gradient where it has one.
    pub(super) fn dtype(&self) -> DType {
        match self {
            Weight::Dense(weight) => weight.dtype(),
            Weight::Quantized(..) => DType::F32,
        }
    }

    /// What an operation records for it.
    pub(super) fn leaf(&self) -> &'a Tensor {
        match self {
            Weight::Dense(weight) => weight,
            Weight::Quantized(weight, _) => &weight.leaf,
        }
    }

    /// What backward keeps of it.
    pub(super) fn held(&self) -> Held {
        match self {
            Weight::Dense(weight) => Held::Dense(weight.value().clone()),
            Weight::Quantized(weight, _) => Held::Quantized(weight.matrix.clone()),
        }
    }

    /// `x W^T` in `dtype`.
    pub(super) fn product(&self, x: &Value, dtype: DType) -> Result<Value> {
        let (q, precision) = match self {
            Weight::Dense(weight) => return products::product(x, weight.value(), dtype),
            Weight::Quantized(q, precision) => (q, precision),
        };
        let all = match precision {
            Precision::Exact => return quantized::product(x, &q.matrix, dtype),
            Precision::Quick => quantized::quick(x, &[&q.matrix], dtype)?,
        };
        all.into_iter().next().ok_or_else(|| Error::config("a product without a result"))
    }

    /// The weight in `dtype`.
    pub(super) fn dense(&self, dtype: DType) -> Result<Value> {
        match self {
            Weight::Dense(weight) => convert(weight.value(), dtype),
            Weight::Quantized(weight, _) => quantized::dense(&weight.matrix, dtype),
        }
    }
}

/// A weight that a backward function owns.
pub(super) enum Held {
    Dense(Value),
    Quantized(Matrix),
}

impl Held {
    /// `factor * dy W` in `dtype`.
    pub(super) fn input_grad(&self, dy: &Value, dtype: DType, factor: f64) -> Result<Value> {
        match self {
            Held::Dense(weight) => products::input_grad(dy, weight, dtype, factor),
            Held::Quantized(matrix) => products::input_grad(dy, &quantized::dense(matrix, dtype)?, dtype, factor),
        }
    }

    /// As [`Weight::dtype`].
    pub(super) fn dtype(&self) -> DType {
        match self {
            Held::Dense(weight) => weight.dtype(),
            Held::Quantized(_) => DType::F32,
        }
    }
}
