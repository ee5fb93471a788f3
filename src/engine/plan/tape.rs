//! The tape of `engine/autograd`, over tensors without values: the same nodes, freed in the same order.
//!
//! Each function here has its twin there, statement by statement where it matters for what is alive when: `record`,
//! `backward` with its pending gradients, accumulation into leaves, `checkpoint`.

use super::heap::{Heap, Sym};
use crate::engine::autograd::checkpoint::Pass;
use candle_core::DType;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// From the result's gradient to the inputs' gradients; owns what it saved.
pub(super) type Back = Box<dyn FnOnce(Sym) -> Vec<Option<Sym>>>;

/// A segment that can be run twice.
pub(super) type Segment = dyn Fn(&Var, Pass) -> Var;

/// Heap and modes of one walk through a step.
#[derive(Debug)]
pub(super) struct Tape {
    pub(super) heap: Rc<Heap>,
    /// Autocast's dtype.
    pub(super) amp: Option<DType>,
    /// Whether results have values.
    pub(super) values: Cell<bool>,
    grad: Cell<bool>,
    touched: Cell<bool>,
    order: Cell<u64>,
}

struct Node {
    order: u64,
    inputs: RefCell<Vec<Option<Input>>>,
    back: RefCell<Option<Back>>,
}

#[derive(Clone)]
enum Input {
    Node(Rc<Node>),
    Leaf(Var),
}

/// A tensor with history.
#[derive(Clone)]
pub(super) struct Var(Rc<Inner>);

struct Inner {
    value: Sym,
    producer: Option<Rc<Node>>,
    needs: bool,
    grad: RefCell<Option<Sym>>,
}

impl Var {
    pub(super) fn leaf(value: Sym, needs: bool) -> Var {
        Var(Rc::new(Inner { value, producer: None, needs, grad: RefCell::new(None) }))
    }

    pub(super) fn value(&self) -> &Sym {
        &self.0.value
    }

    pub(super) fn needs(&self) -> bool {
        self.0.needs
    }

    pub(super) fn take_grad(&self) -> Option<Sym> {
        self.0.grad.borrow_mut().take()
    }

    /// Bytes of its gradient now.
    pub(super) fn grad_bytes(&self) -> usize {
        self.0.grad.borrow().as_ref().map_or(0, |g| g.len() * g.dtype.size_in_bytes())
    }

    fn accumulate(&self, grad: Sym) {
        let mut slot = self.0.grad.borrow_mut();
        match &*slot {
            Some(sum) => sum.heap().did(|w| w.elements += sum.len() as f64),
            None => *slot = Some(grad.like(grad.dtype)),
        }
    }
}

impl Tape {
    pub(super) fn new(heap: Rc<Heap>, amp: Option<DType>) -> Tape {
        Tape {
            heap,
            amp,
            values: Cell::new(true),
            grad: Cell::new(true),
            touched: Cell::new(false),
            order: Cell::new(0),
        }
    }

    pub(super) fn grad_enabled(&self) -> bool {
        self.grad.get()
    }

    /// Wraps the result of an operation; `make` is called only if it is recorded.
    pub(super) fn record(&self, value: Sym, inputs: &[&Var], make: impl FnOnce(&[bool]) -> Back) -> Var {
        let needs: Vec<bool> = inputs.iter().map(|v| v.needs()).collect();
        if !needs.contains(&true) {
            return Var::leaf(value, false);
        }
        if !self.grad.get() {
            self.touched.set(true);
            return Var::leaf(value, false);
        }
        self.push(value, inputs, make(&needs))
    }

    fn push(&self, value: Sym, inputs: &[&Var], back: Back) -> Var {
        let input = |v: &&Var| {
            v.needs().then(|| match &v.0.producer {
                Some(node) => Input::Node(node.clone()),
                None => Input::Leaf((*v).clone()),
            })
        };
        let order = self.order.get();
        self.order.set(order + 1);
        let node =
            Node { order, inputs: RefCell::new(inputs.iter().map(input).collect()), back: RefCell::new(Some(back)) };
        Var(Rc::new(Inner { value, producer: Some(Rc::new(node)), needs: true, grad: RefCell::new(None) }))
    }

    /// Runs `f` on `input` keeping nothing of it but the input, and again in backward.
    pub(super) fn checkpoint(self: &Rc<Self>, f: Rc<Segment>, input: &Var) -> Var {
        let touched = self.touched.replace(false);
        let grad = self.grad.replace(false);
        let output = f(input, Pass::First).value().clone();
        self.grad.set(grad);
        let inside = self.touched.get();
        self.touched.set(touched || inside);
        if !inside {
            return Var::leaf(output, false);
        }
        let (saved, needs, tape) = (input.value().clone(), input.needs(), self.clone());
        let replay = move |grad: Sym| {
            let input = Var::leaf(saved, needs);
            let on = tape.grad.replace(true);
            let output = f(&input, Pass::Replay);
            tape.grad.set(on);
            // The roots stay alive through the whole pass.
            let root = (output, grad);
            tape.backward(&root.0, root.1.clone());
            vec![input.take_grad()]
        };
        self.push(output, &[input], Box::new(replay))
    }

    /// Reverse accumulation from `root`.
    pub(super) fn backward(&self, root: &Var, grad: Sym) {
        struct Pending {
            node: Rc<Node>,
            grad: Sym,
            owned: bool,
        }
        fn deliver(arrived: &mut BTreeMap<u64, Pending>, node: Rc<Node>, grad: Sym) {
            let pending = match arrived.remove(&node.order) {
                None => Pending { node, grad, owned: false },
                Some(sum) if sum.owned => {
                    sum.grad.heap().did(|w| w.elements += grad.len() as f64);
                    sum
                }
                Some(sum) => Pending { node, grad: sum.grad.like(sum.grad.dtype), owned: true },
            };
            arrived.insert(pending.node.order, pending);
        }
        let on = self.grad.replace(false);
        let mut arrived = BTreeMap::new();
        if let Some(node) = &root.0.producer {
            deliver(&mut arrived, node.clone(), grad);
        }
        while let Some((_, Pending { node, grad, .. })) = arrived.pop_last() {
            let Some(back) = node.back.take() else { continue };
            let inputs = node.inputs.take();
            for (input, grad) in inputs.into_iter().zip(back(grad)) {
                match (input, grad) {
                    (Some(Input::Node(next)), Some(grad)) => deliver(&mut arrived, next, grad),
                    (Some(Input::Leaf(leaf)), Some(grad)) => leaf.accumulate(grad),
                    _ => {}
                }
            }
        }
        self.grad.set(on);
    }
}
