//! A heap that only counts: tensors with a shape and no values, which take their bytes while they are held and give them
//! back when the last holder lets go, as real ones do. And a tally of the work that computing them would be.

use candle_core::DType;
use std::cell::Cell;
use std::rc::Rc;

/// What the arithmetic of a step amounts to, by what it is bound by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations of matrix products in f32 or f64.
    pub product: f64,
    /// Floating-point operations of matrix products in 16 bits.
    pub low_product: f64,
    /// Floating-point operations inside attention.
    pub attention: f64,
    /// Elements gone through by passes over whole tensors: norms, gates, sums, conversions.
    pub elements: f64,
    /// Elements of which an exponential is taken in the loss.
    pub exponentials: f64,
}

/// The counting heap.
#[derive(Debug, Default)]
pub(super) struct Heap {
    now: Cell<usize>,
    peak: Cell<usize>,
    work: Cell<Work>,
}

impl Heap {
    pub(super) fn now(&self) -> usize {
        self.now.get()
    }

    pub(super) fn peak(&self) -> usize {
        self.peak.get()
    }

    pub(super) fn reset_peak(&self) {
        self.peak.set(self.now.get());
    }

    pub(super) fn work(&self) -> Work {
        self.work.get()
    }

    /// Adds to the tally.
    pub(super) fn did(&self, add: impl FnOnce(&mut Work)) {
        let mut work = self.work.get();
        add(&mut work);
        self.work.set(work);
    }

    /// `rows x cols` elements of `dtype`.
    pub(super) fn tensor(self: &Rc<Self>, rows: usize, cols: usize, dtype: DType) -> Sym {
        let buffer = self.bytes(rows * cols * dtype.size_in_bytes());
        Sym { buffer: Rc::new(buffer), rows, cols, dtype }
    }

    /// `autograd::mode::placeholder`: one element that stands for `rows x cols`.
    pub(super) fn placeholder(self: &Rc<Self>, rows: usize, cols: usize, dtype: DType) -> Sym {
        Sym { rows, cols, ..self.tensor(1, 1, dtype) }
    }

    /// Memory that is no tensor, until the result is dropped.
    #[must_use = "the bytes are given back when this is dropped"]
    pub(super) fn bytes(self: &Rc<Self>, bytes: usize) -> Buffer {
        let now = self.now.get() + bytes;
        self.now.set(now);
        self.peak.set(self.peak.get().max(now));
        Buffer { heap: self.clone(), bytes }
    }
}

/// Bytes in use.
#[derive(Debug)]
pub(super) struct Buffer {
    heap: Rc<Heap>,
    bytes: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.heap.now.set(self.heap.now.get() - self.bytes);
    }
}

/// A tensor without values, seen as `[rows, cols]`. Cloning shares the buffer, as candle's tensors share their storage.
#[derive(Debug, Clone)]
pub(super) struct Sym {
    buffer: Rc<Buffer>,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) dtype: DType,
}

impl Sym {
    pub(super) fn heap(&self) -> &Rc<Heap> {
        &self.buffer.heap
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Elements of the buffer behind it, of which this may be a part.
    pub(super) fn stored(&self) -> usize {
        self.buffer.bytes / self.dtype.size_in_bytes()
    }

    /// Another of the same shape, in `dtype`.
    pub(super) fn like(&self, dtype: DType) -> Sym {
        self.heap().did(|w| w.elements += self.len() as f64);
        self.heap().tensor(self.rows, self.cols, dtype)
    }

    /// As `dtype`: itself if it is that already.
    pub(super) fn to(&self, dtype: DType) -> Sym {
        if self.dtype == dtype { self.clone() } else { self.like(dtype) }
    }

    /// The first `rows` rows, in the same buffer.
    pub(super) fn narrow(&self, rows: usize) -> Sym {
        Sym { rows, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects every prediction: views share, conversions copy, and what is dropped is given back.
    #[test]
    fn shares_and_gives_back() {
        let heap = Rc::new(Heap::default());
        let a = heap.tensor(4, 8, DType::F32);
        let view = a.narrow(3);
        assert_eq!((view.len(), view.stored(), heap.now()), (24, 32, 128));
        let same = a.to(DType::F32);
        drop(a.to(DType::BF16));
        assert_eq!((heap.now(), heap.peak()), (128, 192));
        drop((a, view, same));
        assert_eq!(heap.now(), 0);
    }
}
