//! What each operation of a training step allocates, saves and frees: the declaration that predictions are made from.
//!
//! One function for each file of `engine/ops` that a step goes through, with the same statements in the same order as
//! far as memory is concerned (on the CPU). An operation that begins to save or copy more changes here too;
//! `tests/plan.rs` compares the two and fails until it does.

use super::heap::{Heap, Sym};
use super::tape::{Tape, Var};
use crate::engine::ops::cpu::accumulator;
use crate::engine::ops::gemm::dense::{Form, Size};
use crate::engine::ops::products::{kernel, scratch};
use candle_core::DType;
use std::rc::Rc;

/// `ops::linear::compute_dtype`.
fn compute(tape: &Tape, x: &Var) -> DType {
    tape.amp.unwrap_or(x.value().dtype)
}

/// A product of `a` and `b`. Our kernels make the result and a little room for packing; so does candle, except that it has
/// none for bf16 and widens both, whole buffers at a time.
fn matmul(form: Form, size: Size, a: &Sym, b: &Sym) -> Sym {
    let (heap, dtype) = (a.heap(), a.dtype);
    operations(heap, size, dtype);
    if dtype != DType::BF16 || kernel(dtype) {
        let out = heap.tensor(size.m, size.n, dtype);
        drop(heap.bytes(scratch(form, size, dtype)));
        return out;
    }
    let _wide = (heap.bytes(4 * a.stored()), heap.bytes(4 * b.stored()));
    let _out = heap.bytes(4 * size.m * size.n);
    heap.tensor(size.m, size.n, dtype)
}

fn operations(heap: &Heap, Size { m, n, k }: Size, dtype: DType) {
    let count = 2.0 * m as f64 * n as f64 * k as f64;
    heap.did(|w| match dtype {
        DType::BF16 | DType::F16 => w.low_product += count,
        _ => w.product += count,
    });
}

/// `ops::products::product`: `x W^T` in `dtype`.
fn product(x: &Sym, w: &Sym, dtype: DType) -> Sym {
    let (x, w) = (x.to(dtype), w.to(dtype));
    matmul(Form::Nt, Size { m: x.rows, n: w.rows, k: x.cols }, &x, &w)
}

/// `ops::products::input_grad`: `dy W`.
fn input_grad(dy: &Sym, w: &Sym, dtype: DType) -> Sym {
    let (dy, w) = (dy.to(dtype), w.to(dtype));
    matmul(Form::Nn, Size { m: dy.rows, n: w.cols, k: dy.cols }, &dy, &w)
}

/// `ops::products::weight_grad`: `dy^T x`.
fn weight_grad(dy: &Sym, x: &Sym, dtype: DType) -> Sym {
    let (dy, x) = (dy.to(dtype), x.to(dtype));
    matmul(Form::Tn, Size { m: dy.cols, n: x.cols, k: dy.rows }, &dy, &x)
}

/// `ops::products::add_product`: in place where there is a kernel for it.
fn add_product(y: &Sym, x: &Sym, w: &Sym, dtype: DType) {
    if y.dtype == dtype && kernel(dtype) {
        let (x, w) = (x.to(dtype), w.to(dtype));
        let size = Size { m: x.rows, n: w.rows, k: x.cols };
        operations(y.heap(), size, dtype);
        return drop(y.heap().bytes(scratch(Form::Nt, size, dtype)));
    }
    let _term = {
        let sum = product(x, w, dtype);
        sum.like(dtype).to(y.dtype)
    };
    y.heap().did(|w| w.elements += y.len() as f64);
}

fn bias_grad(dy: &Sym, dtype: DType) -> Sym {
    dy.heap().tensor(1, dy.cols, dy.dtype).to(dtype)
}

fn affine(tape: &Tape, x: &Sym, weight: &Sym, bias: Option<&Var>, dtype: DType) -> Sym {
    if !tape.values.get() {
        return x.heap().placeholder(x.rows, weight.rows, dtype);
    }
    let value = product(x, weight, dtype);
    if bias.is_some() { value.like(dtype) } else { value }
}

/// `ops::linear`. Saves x where the weight is trainable.
pub(super) fn linear(tape: &Tape, x: &Var, weight: &Var, bias: Option<&Var>) -> Var {
    let dtype = compute(tape, x);
    let value = affine(tape, x.value(), weight.value(), bias, dtype);
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    tape.record(value, &inputs, |needs| {
        let (x_dtype, w, needs) = (x.value().dtype, weight.value().clone(), needs.to_vec());
        let x = needs[1].then(|| x.value().clone());
        let b_dtype = bias.map(|b| b.value().dtype);
        Box::new(move |dy| {
            let dx = needs[0].then(|| input_grad(&dy, &w, dtype).to(x_dtype));
            let dw = x.map(|x| weight_grad(&dy, &x, dtype).to(w.dtype));
            let mut grads = vec![dx, dw];
            grads.extend(b_dtype.map(|b| needs[2].then(|| bias_grad(&dy, b))));
            grads
        })
    })
}

/// `ops::lora`. Saves x and `h = dropout(x) A^T`.
pub(super) fn lora_linear(
    tape: &Tape,
    x: &Var,
    weight: &Var,
    bias: Option<&Var>,
    [a, b]: [&Var; 2],
    dropout: bool,
) -> Var {
    let dtype = compute(tape, x);
    let low = tape.amp.unwrap_or(a.value().dtype);
    let dropped = move |x: &Sym| if dropout { x.like(x.dtype) } else { x.clone() };
    let value = affine(tape, x.value(), weight.value(), bias, dtype);
    let h = product(&dropped(x.value()), a.value(), low);
    if tape.values.get() {
        add_product(&value, &h, b.value(), low);
    }
    let mut inputs = vec![x, weight, a, b];
    inputs.extend(bias);
    tape.record(value, &inputs, |needs| {
        let needs = needs.to_vec();
        let b_dtype = bias.map(|b| b.value().dtype);
        let (x, w, a, b) = (x.value().clone(), weight.value().clone(), a.value().clone(), b.value().clone());
        Box::new(move |dy| {
            let scaled = dy.to(low).like(low);
            let dh = input_grad(&scaled, &b, low);
            let db = needs[3].then(|| weight_grad(&scaled, &h, low).to(b.dtype));
            drop(scaled);
            let da = needs[2].then(|| weight_grad(&dh, &dropped(&x), low).to(a.dtype));
            let dx = needs[0].then(|| {
                let dx = input_grad(&dy, &w, dtype).to(x.dtype);
                let _through = dropped(&input_grad(&dh, &a, low).to(x.dtype));
                dx.heap().did(|w| w.elements += dx.len() as f64);
                dx
            });
            let dw = needs[1].then(|| weight_grad(&dy, &x, dtype).to(w.dtype));
            let mut grads = vec![dx, dw, da, db];
            grads.extend(b_dtype.map(|b| needs[4].then(|| bias_grad(&dy, b))));
            grads
        })
    })
}

/// `ops::rms_norm`. Saves x.
pub(super) fn rms_norm(tape: &Tape, x: &Var, weight: &Var) -> Var {
    let wide = accumulator(x.value().dtype);
    let _weight = weight.value().to(wide);
    let value = x.value().like(x.value().dtype);
    tape.record(value, &[x, weight], |needs| {
        let (x, w, needs) = (x.value().clone(), weight.value().clone(), [needs[0], needs[1]]);
        Box::new(move |dy| {
            let (_w, _dy) = (w.to(wide), dy.to(x.dtype));
            let dx = needs[0].then(|| x.like(x.dtype));
            let dw = needs[1].then(|| x.heap().tensor(1, x.cols, wide).to(w.dtype));
            vec![dx, dw]
        })
    })
}

/// `ops::swiglu`. Saves gate and up.
pub(super) fn swiglu(tape: &Tape, gate: &Var, up: &Var) -> Var {
    let value = gate.value().like(gate.value().dtype);
    tape.record(value, &[gate, up], |_| {
        let (g, u) = (gate.value().clone(), up.value().clone());
        Box::new(move |dy| {
            let _dy = dy.to(g.dtype);
            vec![Some(g.like(g.dtype)), Some(u.like(u.dtype))]
        })
    })
}

/// `ops::residual`. Saves nothing.
pub(super) fn residual(tape: &Tape, x: &Var, branch: &Var) -> Var {
    let value = if tape.values.get() {
        let _branch = branch.value().to(x.value().dtype);
        x.value().like(x.value().dtype)
    } else {
        x.value().heap().placeholder(x.value().rows, x.value().cols, x.value().dtype)
    };
    tape.record(value, &[x, branch], |needs| {
        let (needs, dtype) = ([needs[0], needs[1]], branch.value().dtype);
        Box::new(move |dy| {
            let branch = needs[1].then(|| dy.to(dtype));
            vec![needs[0].then_some(dy), branch]
        })
    })
}

/// `ops::rope` of `[batch * seq, heads * head_dim]`. Saves the tables, which are shared.
pub(super) fn rope(tape: &Tape, x: &Var) -> Var {
    let value = x.value().like(x.value().dtype);
    tape.record(value, &[x], |_| Box::new(|dy| vec![Some(dy.like(dy.dtype))]))
}

/// Sizes that attention works with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    /// Threads that work on heads at once.
    pub(super) threads: usize,
}

impl Attention {
    /// Scratch of our f32 kernel, forward and backward, where it is the one.
    fn kernel(&self, dtype: DType) -> Option<[usize; 2]> {
        let heads = [self.heads, self.kv_heads, self.head_dim];
        crate::engine::ops::attention::scratch([self.batch, self.seq], heads, self.threads)
            .filter(|_| dtype == DType::F32)
    }

    /// Scratch of the threads: the scores of a block of query rows, whose buffer grows by doubling.
    fn scores(&self, buffers: usize) -> usize {
        const BLOCK: usize = 64;
        let width = if self.seq > BLOCK { self.seq.next_multiple_of(BLOCK).next_power_of_two() } else { self.seq };
        self.threads.min(self.batch * self.heads) * buffers * 4 * BLOCK.min(self.seq) * width
    }

    /// Floating-point operations of `products` products over what a causal mask leaves.
    fn operations(&self, products: usize) -> f64 {
        (products * self.batch * self.heads * self.head_dim) as f64 * (self.seq * (self.seq + 1)) as f64
    }
}

/// `ops::attention` on the CPU. Saves q, k, v, the result and the log-sum-exp of each row.
pub(super) fn attention(tape: &Tape, q: &Var, k: &Var, v: &Var, sizes: Attention) -> Var {
    let heap = tape.heap.clone();
    let (dtype, wide) = (q.value().dtype, accumulator(q.value().dtype));
    let tokens = q.value().rows;
    let one_lse = move |heap: &Rc<_>| Heap::tensor(heap, tokens, sizes.heads, wide);
    let (out, lse) = {
        heap.did(|w| w.attention += sizes.operations(2));
        let _prepared = [q, k, v].map(|t| t.value().to(wide));
        let (out, lse) = match sizes.kernel(wide) {
            Some([scratch, _]) => {
                let results = (q.value().like(wide), one_lse(&heap));
                drop(heap.bytes(scratch));
                results
            }
            None => {
                let tasks = (q.value().like(wide), one_lse(&heap));
                drop(heap.bytes(sizes.scores(1)));
                let out = q.value().like(wide);
                drop(tasks);
                (out, one_lse(&heap))
            }
        };
        (out.to(dtype), lse)
    };
    let saved = out.clone();
    tape.record(out, &[q, k, v], |_| {
        let (q, k, v) = (q.value().clone(), k.value().clone(), v.value().clone());
        Box::new(move |dy| {
            heap.did(|w| w.attention += sizes.operations(5));
            let _prepared = [&q, &k, &v, &saved, &dy].map(|t| t.to(wide));
            let _lse = &lse;
            if let Some([_, scratch]) = sizes.kernel(wide) {
                let grads = [&q, &k, &v].map(|x| x.like(wide));
                drop(heap.bytes(scratch));
                return grads.into_iter().map(|g| Some(g.to(dtype))).collect();
            }
            // Keys' and values' gradients of each query head, summed over its group afterwards.
            let _tasks = [q.like(wide), q.like(wide), q.like(wide)];
            drop(heap.bytes(sizes.scores(2)));
            let dq = q.like(wide).to(dtype);
            let mut result = vec![Some(dq)];
            for x in [&k, &v] {
                let _sums = x.like(wide);
                result.push(Some(x.like(wide).to(dtype)));
            }
            result
        })
    })
}

/// `ops::embedding`. Saves the ids.
pub(super) fn embedding(tape: &Tape, table: &Var, tokens: usize) -> Var {
    let (heap, t) = (tape.heap.clone(), table.value());
    let ids = heap.bytes(4 * tokens);
    heap.did(|w| w.elements += (tokens * t.cols) as f64);
    let value = heap.tensor(tokens, t.cols, t.dtype);
    let (rows, cols, dtype) = (t.rows, t.cols, t.dtype);
    tape.record(value, &[table], |_| {
        Box::new(move |dy| {
            let _ids = ids;
            let wide = accumulator(dtype);
            let sum = heap.tensor(rows, cols, wide);
            let _dy = dy.to(wide);
            vec![Some(sum.like(wide).to(dtype))]
        })
    })
}

/// `ops::rows`: the `labels` rows of x that a label is predicted from. Saves their indices.
pub(super) fn select_rows(tape: &Tape, x: &Var, labels: usize) -> Var {
    let (heap, dtype, rows, cols) = (tape.heap.clone(), x.value().dtype, x.value().rows, x.value().cols);
    heap.did(|w| w.elements += (labels * cols) as f64);
    let value = heap.tensor(labels, cols, dtype);
    tape.record(value, &[x], |_| {
        Box::new(move |dy| {
            let zeros = heap.tensor(rows, cols, dy.dtype);
            vec![Some(zeros.like(dy.dtype))]
        })
    })
}

/// `ops::head_loss`. Saves the gradients that it has computed already.
pub(super) fn head_loss(tape: &Tape, hidden: &Var, weight: &Var) -> Var {
    let heap = tape.heap.clone();
    let (h, w) = (hidden.value(), weight.value());
    let (dtype, wide) = (compute(tape, hidden), accumulator(h.dtype));
    let needs = [hidden, weight].map(|v| tape.grad_enabled() && v.needs());
    let chunk = crate::engine::ops::head_loss::chunk_rows(w.rows, h.rows);
    let projection = w.to(dtype);
    let mut parts = Vec::new();
    let mut d_weight: Option<Sym> = None;
    for start in (0..h.rows).step_by(chunk) {
        let part = h.narrow(chunk.min(h.rows - start));
        let logits = product(&part, &projection, dtype).to(wide);
        heap.did(|work| work.exponentials += logits.len() as f64);
        if needs[0] {
            parts.push(input_grad(&logits, &projection, dtype).to(wide));
        }
        if needs[1] {
            let part = weight_grad(&logits, &part, dtype).to(wide);
            d_weight.get_or_insert(part);
        }
    }
    drop(projection);
    let d_hidden = if parts.len() > 1 { Some(h.like(wide)) } else { parts.pop() };
    let value = heap.tensor(1, 1, wide);
    tape.record(value, &[hidden, weight], |_| {
        let (h_dtype, w_dtype) = (h.dtype, w.dtype);
        Box::new(move |_| {
            let scaled = |grad: Option<Sym>, dtype| grad.map(|g| g.like(g.dtype).to(dtype));
            vec![scaled(d_hidden, h_dtype), scaled(d_weight, w_dtype)]
        })
    })
}
