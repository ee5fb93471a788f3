//! The backward pass: reverse accumulation over the tape.

use super::add::{add_in_place, added};
use super::node::{Input, Node, bytes};
use super::{mode, stats, tensor::Tensor};
use crate::engine::error::{Error, Result};
use crate::engine::interrupt;
use crate::engine::profile::{self, Phase};
use candle_core::Tensor as Value;
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
    let _phase = profile::phase(Phase::Backward);
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
        let grads = {
            let _span = profile::span(node.op);
            let outputs: Vec<Option<Value>> = outputs.into_iter().map(|p| p.map(|p| p.grad)).collect();
            let came: usize = outputs.iter().flatten().map(bytes).sum();
            let grads = run(outputs)?;
            profile::work(0.0, node.input_bytes + came + grads.iter().flatten().map(bytes).sum::<usize>());
            grads
        };
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
            let _span = profile::span("sum of gradients");
            profile::work(0.0, 3 * bytes(&grad));
            add_in_place(&sum.grad, &grad)?;
            sum
        }
        Some(sum) => {
            let _span = profile::span("sum of gradients");
            profile::work(0.0, 3 * bytes(&grad));
            Pending { grad: added(&sum.grad, &grad)?, owned: true }
        }
    });
    Ok(())
}
