//! Nodes of the tape, and recording them.

use super::mode;
use super::stats;
use super::tensor::Tensor;
use crate::engine::error::Result;
use crate::engine::profile;
use candle_core::Tensor as Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Gradients of the outputs (`None`: nobody used that output) to gradients of the inputs (`None`: not wanted).
pub type BackwardFn = Box<dyn FnOnce(Vec<Option<Value>>) -> Result<Vec<Option<Value>>> + Send>;

/// One recorded operation.
pub(super) struct Node {
    pub(super) op: &'static str,
    /// Creation order: descending order is a valid order for backward.
    pub(super) order: u64,
    pub(super) inputs: Mutex<Vec<Option<Input>>>,
    pub(super) outputs: usize,
    /// Of the operation's inputs, for profiles; 0 if none was being made.
    pub(super) input_bytes: usize,
    backward: Mutex<Option<BackwardFn>>,
}

/// Where an input's gradient goes.
#[derive(Clone)]
pub(super) enum Input {
    Node(Arc<Node>, usize),
    Leaf(Tensor),
}

impl Node {
    /// The backward function, which can be taken once: what it saved is freed when it has run.
    pub(super) fn take_backward(&self) -> Option<BackwardFn> {
        self.backward.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn take_inputs(&self) -> Vec<Option<Input>> {
        std::mem::take(&mut self.inputs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Node {
    // A chain of a hundred thousand nodes (a script that sums losses) must not recurse a hundred thousand deep.
    fn drop(&mut self) {
        stats::node_dropped();
        let mut pending = self.take_inputs();
        drop(self.take_backward());
        while let Some(input) = pending.pop() {
            if let Some(Input::Node(node, _)) = input
                && let Some(node) = Arc::into_inner(node)
            {
                drop(node.take_backward());
                pending.append(&mut node.take_inputs());
            }
        }
    }
}

static ORDER: AtomicU64 = AtomicU64::new(0);

/// Bytes of a tensor's elements.
pub(super) fn bytes(value: &Value) -> usize {
    value.elem_count() * value.dtype().size_in_bytes()
}

fn bytes_of(inputs: &[&Tensor]) -> usize {
    inputs.iter().map(|t| bytes(t.value())).sum()
}

/// Whether an operation on `inputs` has to be recorded.
///
/// With grad mode off this also tells an enclosing checkpoint that something trainable was touched.
fn wanted(inputs: &[&Tensor]) -> bool {
    let any = inputs.iter().any(|t| t.requires_grad());
    if any && !mode::grad_enabled() {
        mode::touch();
        return false;
    }
    any
}

/// Wraps the result `value` of `op` on `inputs`.
///
/// `make` is called only if the operation is recorded, with a flag per input that says whether its gradient is wanted;
/// it returns the function from the result's gradient to the inputs' gradients, which owns what it saved.
pub fn record<M, F>(op: &'static str, value: Value, inputs: &[&Tensor], make: M) -> Tensor
where
    M: FnOnce(&[bool]) -> F,
    F: FnOnce(Value) -> Result<Vec<Option<Value>>> + Send + 'static,
{
    if profile::on() {
        profile::work(0.0, bytes_of(inputs) + bytes(&value));
    }
    if !wanted(inputs) {
        return Tensor::new(value);
    }
    let node = push(op, inputs, 1, |needs| {
        let backward = make(needs);
        Box::new(move |mut grads| match grads.pop().flatten() {
            Some(grad) => backward(grad),
            None => Ok(Vec::new()),
        })
    });
    Tensor::produced(value, node, 0)
}

/// As [`record`], for an operation with several results.
pub fn record_many<M>(op: &'static str, values: Vec<Value>, inputs: &[&Tensor], make: M) -> Vec<Tensor>
where
    M: FnOnce(&[bool]) -> BackwardFn,
{
    if profile::on() {
        profile::work(0.0, bytes_of(inputs) + values.iter().map(bytes).sum::<usize>());
    }
    if !wanted(inputs) {
        return values.into_iter().map(Tensor::new).collect();
    }
    let node = push(op, inputs, values.len(), make);
    values.into_iter().enumerate().map(|(i, v)| Tensor::produced(v, node.clone(), i)).collect()
}

/// Records a node whether or not an input requires grad: for a checkpoint, whose parameters are hidden inside.
pub(super) fn record_always(
    op: &'static str,
    values: Vec<Value>,
    inputs: &[&Tensor],
    backward: BackwardFn,
) -> Vec<Tensor> {
    let node = push(op, inputs, values.len(), |_| backward);
    values.into_iter().enumerate().map(|(i, v)| Tensor::produced(v, node.clone(), i)).collect()
}

fn push(op: &'static str, inputs: &[&Tensor], outputs: usize, make: impl FnOnce(&[bool]) -> BackwardFn) -> Arc<Node> {
    let needs: Vec<bool> = inputs.iter().map(|t| t.requires_grad()).collect();
    let backward = make(&needs);
    let input_bytes = if profile::on() { bytes_of(inputs) } else { 0 };
    let inputs = inputs
        .iter()
        .map(|t| {
            t.requires_grad().then(|| match t.producer() {
                Some((node, output)) => Input::Node(node.clone(), *output),
                None => Input::Leaf((*t).clone()),
            })
        })
        .collect();
    stats::node_recorded(op);
    Arc::new(Node {
        op,
        order: ORDER.fetch_add(1, Ordering::Relaxed),
        inputs: Mutex::new(inputs),
        outputs,
        input_bytes,
        backward: Mutex::new(Some(backward)),
    })
}
