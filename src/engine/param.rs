//! A model parameter: loaded, kept quantized, or known by its shape alone.
//!
//! Shapes-only parameters let a 7-billion-parameter model be built, counted and planned for without its memory.

use super::autograd::Tensor;
use super::error::{Error, Result};
use super::ops::quant::Kind;
use super::ops::weight::{Precision, Quantized, Weight};
use candle_core::DType;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A parameter. Cloning shares it.
#[derive(Debug, Clone)]
pub enum Param {
    /// With its values.
    Loaded(Tensor),
    /// As blocks, frozen for good.
    Quantized(Quantized),
    /// Without: dimensions, dtype, and whether it is trainable.
    Shape(Vec<usize>, DType, Arc<AtomicBool>),
}

impl From<Tensor> for Param {
    fn from(t: Tensor) -> Self {
        Param::Loaded(t)
    }
}

impl Param {
    /// A frozen parameter without values.
    pub fn shape_only(dims: &[usize], dtype: DType) -> Self {
        Param::Shape(dims.to_vec(), dtype, Arc::new(AtomicBool::new(false)))
    }

    /// The tensor.
    ///
    /// # Errors
    /// If only the shape is known.
    pub fn tensor(&self) -> Result<&Tensor> {
        match self {
            Param::Loaded(t) => Ok(t),
            Param::Shape(..) => Err(Error::config_help(
                "this model has shapes but no weights, so it can be counted but not run",
                "build it with init: \"random\", or load weights",
            )),
            Param::Quantized(q) => Err(Error::config_help(
                format!("a weight that is kept as {} has no tensor of its numbers", q.matrix().kind().name()),
                "load the model with dtype: \"f32\" or \"bf16\"",
            )),
        }
    }

    /// As a weight that inputs are multiplied with.
    ///
    /// # Errors
    /// If only the shape is known.
    pub fn weight(&self, precision: Precision) -> Result<Weight<'_>> {
        match self {
            Param::Quantized(q) => Ok(Weight::Quantized(q, precision)),
            _ => self.tensor().map(Weight::Dense),
        }
    }

    /// The format of its blocks, if it is kept quantized.
    pub fn quantized(&self) -> Option<Kind> {
        match self {
            Param::Quantized(q) => Some(q.matrix().kind()),
            _ => None,
        }
    }

    /// Name of the dtype of its elements, or of the format of its blocks.
    pub fn dtype_name(&self) -> &'static str {
        self.quantized().map_or(self.dtype().as_str(), Kind::name)
    }

    /// Whether its values are there.
    pub fn is_loaded(&self) -> bool {
        !matches!(self, Param::Shape(..))
    }

    /// Dimensions.
    pub fn dims(&self) -> &[usize] {
        match self {
            Param::Loaded(t) => t.dims(),
            Param::Quantized(q) => q.dims(),
            Param::Shape(dims, ..) => dims,
        }
    }

    /// Element type; for a quantized one that of the numbers that it stands for.
    pub fn dtype(&self) -> DType {
        match self {
            Param::Loaded(t) => t.dtype(),
            Param::Quantized(_) => DType::F32,
            Param::Shape(_, dtype, _) => *dtype,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the elements.
    pub fn bytes(&self) -> usize {
        match self {
            Param::Quantized(q) => q.matrix().bytes(),
            _ => self.len() * self.dtype().size_in_bytes(),
        }
    }

    /// Whether it is trained.
    pub fn requires_grad(&self) -> bool {
        match self {
            Param::Loaded(t) => t.requires_grad(),
            Param::Quantized(_) => false,
            Param::Shape(_, _, on) => on.load(Ordering::Relaxed),
        }
    }

    /// Freezes or unfreezes it.
    ///
    /// # Errors
    /// If it is to be trained and is kept quantized.
    pub fn set_requires_grad(&self, on: bool) -> Result<()> {
        match self {
            Param::Loaded(t) => t.set_requires_grad(on),
            Param::Quantized(_) if !on => Ok(()),
            Param::Quantized(q) => Err(Error::config_help(
                format!("a weight that is kept as {} cannot be trained", q.matrix().kind().name()),
                "load the model with dtype: \"f32\", or train an adapter: inject_lora(#{ .. })",
            )),
            Param::Shape(_, _, flag) => {
                flag.store(on, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}
