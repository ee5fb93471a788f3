//! The backward pass: reverse accumulation over the tape.

use super::node::{Input, Node};
use super::{mode, stats, tensor::Tensor};
use crate::engine::error::{Error, Result};
use crate::engine::interrupt;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor as Value};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// A node in the heap: the latest recorded comes first, so that all its consumers have been seen.
struct Ready(Arc<Node>);

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        self.0.order == other.0.order
    }
}
impl Eq for Ready {}
impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ready {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.order.cmp(&other.0.order)
    }
}

/// A gradient on its way to a node. `owned`: nobody else sees its storage, so that it may be added into.
struct Pending {
    grad: Value,
    owned: bool,
}

/// The gradients that a node's outputs have collected so far.
type Outputs = Vec<Option<Pending>>;

/// Back-propagates from `roots` (each with the gradient to start from: its shape and dtype), accumulating into the
/// leaves' `.grad`. What each node saved is dropped as soon as its gradient has passed.
///
/// # Errors
/// If a root has no history, a gradient's shape does not fit, or part of the graph was already freed by an earlier
/// backward pass.
pub fn backward(roots: &[(Tensor, Value)]) -> Result<()> {
    let _mode = mode::no_grad_guard();
    let mut heap = BinaryHeap::new();
    let mut arrived: HashMap<u64, Outputs> = HashMap::new();
    for (root, grad) in roots {
        if root.dims() != grad.dims() {
            return Err(Error::shape(
                "backward",
                format!("a gradient of shape {:?} does not fit a tensor of shape {:?}", grad.dims(), root.dims()),
            )
            .about("left", root.dims())
            .about("right", grad.dims()));
        }
        match root.producer() {
            Some((node, output)) => deliver(&mut heap, &mut arrived, node, *output, grad.clone())?,
            None if root.requires_grad() => root.accumulate_grad(grad.clone())?,
            None => {
                return Err(Error::config_help(
                    "backward: this tensor does not depend on anything that requires grad",
                    "was it computed inside no_grad, detached, or is every parameter frozen?",
                ));
            }
        }
    }
    while let Some(Ready(node)) = heap.pop() {
        interrupt::poll()?;
        let outputs = arrived.remove(&node.order).unwrap_or_default();
        let Some(run) = node.take_backward() else {
            return Err(Error::config_help(
                format!("backward: the graph through `{}` was already freed by an earlier backward()", node.op),
                "compute the loss again, or add the losses before one backward()",
            ));
        };
        let inputs = node.take_inputs();
        let grads = run(outputs.into_iter().map(|p| p.map(|p| p.grad)).collect())?;
        stats::node_executed(node.op, grads.iter().flatten().count());
        for (input, grad) in inputs.into_iter().zip(grads) {
            match (input, grad) {
                (Some(Input::Node(next, output)), Some(grad)) => {
                    deliver(&mut heap, &mut arrived, &next, output, grad)?;
                }
                (Some(Input::Leaf(leaf)), Some(grad)) => leaf.accumulate_grad(grad)?,
                (Some(Input::Node(..)), None) | (Some(Input::Leaf(_)), None) | (None, _) => {}
            }
        }
    }
    Ok(())
}

fn deliver(
    heap: &mut BinaryHeap<Ready>,
    arrived: &mut HashMap<u64, Outputs>,
    node: &Arc<Node>,
    output: usize,
    grad: Value,
) -> Result<()> {
    let outputs = arrived.entry(node.order).or_insert_with(|| {
        heap.push(Ready(node.clone()));
        std::iter::repeat_with(|| None).take(node.outputs).collect()
    });
    let slot = &mut outputs[output];
    *slot = Some(match slot.take() {
        None => Pending { grad, owned: false },
        Some(sum) if sum.owned => {
            add_in_place(&sum.grad, &grad)?;
            sum
        }
        Some(sum) => Pending { grad: (&sum.grad + &grad)?, owned: true },
    });
    Ok(())
}

struct AddAssign;

impl InplaceOp2 for AddAssign {
    fn name(&self) -> &'static str {
        "add_assign"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> candle_core::Result<()> {
        fn add<T: Copy + std::ops::AddAssign>(sum: &mut [T], l1: &Layout, term: &[T], l2: &Layout) {
            let n = l1.shape().elem_count();
            let (a, b) = (l1.start_offset(), l2.start_offset());
            sum[a..a + n].iter_mut().zip(&term[b..b + n]).for_each(|(s, t)| *s += *t);
        }
        match (s1, s2) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => add(a, l1, b, l2),
            (CpuStorage::F64(a), CpuStorage::F64(b)) => add(a, l1, b, l2),
            (CpuStorage::BF16(a), CpuStorage::BF16(b)) => add(a, l1, b, l2),
            (CpuStorage::F16(a), CpuStorage::F16(b)) => add(a, l1, b, l2),
            (a, b) => candle_core::bail!("add_assign: {:?} += {:?}", a.dtype(), b.dtype()),
        }
        Ok(())
    }
}

/// `sum += term`. `sum` is contiguous and nobody else looks at its storage.
pub(crate) fn add_in_place(sum: &Value, term: &Value) -> Result<()> {
    let term = term.contiguous()?;
    if sum.device().is_cpu() {
        sum.inplace_op2(&term, &AddAssign)?;
    } else if sum.elem_count() > 0 {
        let total = (sum + &term)?.flatten_all()?;
        sum.flatten_all()?.slice_set(&total, 0, 0)?;
    }
    Ok(())
}
