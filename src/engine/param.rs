//! A model parameter: loaded, or known by its shape alone.
//!
//! Shapes-only parameters let a 7-billion-parameter model be built, counted and planned for without its memory.

use super::autograd::Tensor;
use super::error::{Error, Result};
use candle_core::DType;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A parameter. Cloning shares it.
#[derive(Debug, Clone)]
pub enum Param {
    /// With its values.
    Loaded(Tensor),
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
        }
    }

    /// Dimensions.
    pub fn dims(&self) -> &[usize] {
        match self {
            Param::Loaded(t) => t.dims(),
            Param::Shape(dims, ..) => dims,
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Param::Loaded(t) => t.dtype(),
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
        self.len() * self.dtype().size_in_bytes()
    }

    /// Whether it is trained.
    pub fn requires_grad(&self) -> bool {
        match self {
            Param::Loaded(t) => t.requires_grad(),
            Param::Shape(_, _, on) => on.load(Ordering::Relaxed),
        }
    }

    /// Freezes or unfreezes it.
    pub fn set_requires_grad(&self, on: bool) -> Result<()> {
        match self {
            Param::Loaded(t) => t.set_requires_grad(on),
            Param::Shape(_, _, flag) => {
                flag.store(on, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}
