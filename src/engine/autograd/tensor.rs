//! [`Tensor`]: a candle tensor, what produced it, and, for a leaf, its accumulated gradient.

use super::node::Node;
use crate::engine::error::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor as Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A tensor with gradient history. Cloning is cheap and shares value, history and gradient.
///
/// A *leaf* was not produced by a recorded operation: data, or a parameter. A leaf that requires grad accumulates
/// into [`Tensor::grad`] during [`Tensor::backward`].
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

struct Inner {
    value: Value,
    producer: Option<(Arc<Node>, usize)>,
    requires_grad: AtomicBool,
    grad: Mutex<Option<Value>>,
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let grad = if self.requires_grad() { ", requires_grad" } else { "" };
        write!(f, "Tensor({:?}, {}{grad})", self.dims(), self.dtype().as_str())
    }
}

impl From<Value> for Tensor {
    fn from(value: Value) -> Self {
        Tensor::new(value)
    }
}

impl Tensor {
    /// A constant: a leaf that does not require grad.
    pub fn new(value: Value) -> Self {
        Tensor::leaf(value, false)
    }

    /// A trainable leaf. Only floating-point tensors can require grad.
    pub fn parameter(value: Value) -> Result<Self> {
        let t = Tensor::new(value);
        t.set_requires_grad(true)?;
        Ok(t)
    }

    fn leaf(value: Value, requires_grad: bool) -> Self {
        Tensor(Arc::new(Inner {
            value,
            producer: None,
            requires_grad: AtomicBool::new(requires_grad),
            grad: Mutex::new(None),
        }))
    }

    pub(super) fn produced(value: Value, node: Arc<Node>, output: usize) -> Self {
        Tensor(Arc::new(Inner {
            value,
            producer: Some((node, output)),
            requires_grad: AtomicBool::new(true),
            grad: Mutex::new(None),
        }))
    }

    /// The value, without history.
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    pub(super) fn producer(&self) -> Option<&(Arc<Node>, usize)> {
        self.0.producer.as_ref()
    }

    /// Whether gradients flow to or through this tensor.
    pub fn requires_grad(&self) -> bool {
        self.0.requires_grad.load(Ordering::Relaxed)
    }

    /// Freezes or unfreezes a leaf. Freezing drops its gradient.
    ///
    /// # Errors
    /// For a tensor that an operation produced, and for integer tensors.
    pub fn set_requires_grad(&self, on: bool) -> Result<()> {
        if !self.is_leaf() {
            return Err(Error::config_help(
                "requires_grad can only be set on a leaf; this tensor was computed from others",
                "call detach() first",
            ));
        }
        if on && !self.dtype().is_float() {
            return Err(Error::dtype(
                "requires_grad",
                format!("only floating-point tensors can require grad, this one is {}", self.dtype().as_str()),
            )
            .advise("convert it first with to(\"f32\")")
            .about("dtype", self.dtype()));
        }
        self.0.requires_grad.store(on, Ordering::Relaxed);
        if !on {
            self.zero_grad();
        }
        Ok(())
    }

    /// Whether no recorded operation produced this tensor.
    pub fn is_leaf(&self) -> bool {
        self.0.producer.is_none()
    }

    /// Whether the two are one tensor: same value, history and gradient.
    pub fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same value, outside the graph. Shares storage.
    pub fn detach(&self) -> Tensor {
        Tensor::new(self.0.value.clone())
    }

    /// The accumulated gradient: this tensor's shape and dtype. `None` before the first backward pass, after
    /// [`Tensor::zero_grad`], and on anything but a leaf that requires grad.
    pub fn grad(&self) -> Option<Value> {
        self.0.grad.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the gradient out, leaving `None`.
    pub fn take_grad(&self) -> Option<Value> {
        self.0.grad.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Replaces the gradient.
    pub fn set_grad(&self, grad: Option<Value>) {
        *self.0.grad.lock().unwrap_or_else(PoisonError::into_inner) = grad;
    }

    /// Drops the gradient.
    pub fn zero_grad(&self) {
        self.set_grad(None);
    }

    /// Adds `grad` to the accumulated gradient, in place after the first.
    pub(super) fn accumulate_grad(&self, grad: Value) -> Result<()> {
        let mut slot = self.0.grad.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(sum) => super::add::add_in_place(sum, &grad),
            None => {
                // A backward function may hand the same storage to several inputs: the leaf needs its own to add into.
                // Row by row, too: a broadcast or transposed gradient cannot be added into.
                *slot = Some(grad.force_contiguous()?);
                Ok(())
            }
        }
    }

    /// Overwrites the value in place, on the storage that everyone who shares this tensor sees.
    ///
    /// # Errors
    /// If shape or dtype differ, or the value is a non-contiguous view.
    pub fn assign(&self, value: &Value) -> Result<()> {
        if self.dims() != value.dims() || self.dtype() != value.dtype() {
            return Err(Error::shape(
                "assign",
                format!(
                    "cannot put {:?} {} into {:?} {}",
                    value.dims(),
                    value.dtype().as_str(),
                    self.dims(),
                    self.dtype().as_str()
                ),
            )
            .about("left", self.dims())
            .about("right", value.dims()));
        }
        if self.is_empty() {
            return Ok(());
        }
        let value = value.to_device(self.device())?.contiguous()?.flatten_all()?;
        // A flattened contiguous tensor is a view: writing to it writes to this tensor.
        Ok(self.0.value.flatten_all()?.slice_set(&value, 0, 0)?)
    }

    /// Dimensions.
    pub fn dims(&self) -> &[usize] {
        self.0.value.dims()
    }

    /// Shape.
    pub fn shape(&self) -> &Shape {
        self.0.value.shape()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.value.dtype()
    }

    /// Where the elements are.
    pub fn device(&self) -> &Device {
        self.0.value.device()
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.value.rank()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.value.elem_count()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of its elements.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype().size_in_bytes()
    }

    /// The one element of a one-element tensor, as a number.
    ///
    /// # Errors
    /// If there is not exactly one element.
    pub fn item(&self) -> Result<f64> {
        if self.len() != 1 {
            return Err(Error::shape_help(
                "item",
                format!("a tensor of shape {:?} has {} elements, not one", self.dims(), self.len()),
                "reduce it first, e.g. with mean() or sum(); to_array() gives all elements",
            )
            .about("shape", self.dims()));
        }
        Ok(self.0.value.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?[0])
    }

    /// Back-propagates from this one-element tensor, accumulating into the leaves' `.grad`. The graph is freed.
    ///
    /// # Errors
    /// If it has more than one element, has no history, or was already back-propagated.
    pub fn backward(&self) -> Result<()> {
        if self.len() != 1 {
            return Err(Error::shape_help(
                "backward",
                format!("gradients can be started from one number only, not from shape {:?}", self.dims()),
                "reduce it first, e.g. with mean() or sum()",
            )
            .about("shape", self.dims()));
        }
        let one = self.0.value.ones_like()?;
        super::backward(&[(self.clone(), one)])
    }
}
