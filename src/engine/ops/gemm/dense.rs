//! Products of row-major matrices: `x W^T`, `dy W`, `dy^T x`, spread over all threads.
//!
//! Each element of a result is one sum, over the inner dimension in its order: how the work is cut, and so the number of
//! threads, changes no bit of it.

use super::view::Mat;
use half::bf16;
use rayon::prelude::*;
#[cfg(target_arch = "x86_64")]
use std::mem::MaybeUninit;

/// Which product of `a` and `b`, both row-major, makes `c` `[m, n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `a` `[m, k]`, `b` `[n, k]`: `c = a b^T`, a layer's forward.
    Nt,
    /// `a` `[m, k]`, `b` `[k, n]`: `c = a b`, the gradient of its input.
    Nn,
    /// `a` `[k, m]`, `b` `[k, n]`: `c = a^T b`, the gradient of its weight.
    Tn,
}

/// The sizes of a product: `c` is `[m, n]`, the sum goes over `k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
}

/// What becomes of the product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Factor on the product.
    pub factor: f32,
    /// Whether it is added to what `c` holds, or replaces it.
    pub add: bool,
}

impl Update {
    /// `c = product`.
    pub const SET: Update = Update { factor: 1.0, add: false };
    /// `c += factor * product`.
    pub fn add(factor: f32) -> Self {
        Update { factor, add: true }
    }
}

/// Element types that have a product here.
pub trait Element: Copy + Send + Sync + 'static {
    /// `c = update(product)`.
    ///
    /// # Panics
    /// If a slice does not have the size that `form` and `size` give it: callers have checked shapes.
    fn product(form: Form, size: Size, a: &[Self], b: &[Self], c: &mut [Self], update: Update);
    /// `factor` times the product.
    ///
    /// # Panics
    /// As [`Element::product`].
    fn fresh(form: Form, size: Size, a: &[Self], b: &[Self], factor: f32) -> Vec<Self>;
    /// Bytes that [`Element::product`] takes beside its operands, as far as they are ours and not the `gemm` crate's.
    fn scratch(form: Form, size: Size) -> usize;
}

#[cfg(target_arch = "x86_64")]
fn scratch(form: Form, size: Size, pair: usize) -> usize {
    if form == Form::Nt && size.m <= super::dot::ROWS {
        return if size.m == 1 { 0 } else { super::dot::ROWS * size.n * size_of::<f32>() };
    }
    super::avx512::room(form, size, pair)
}

fn check<T, C>(size: Size, a: &[T], b: &[T], c: &[C]) {
    let Size { m, n, k } = size;
    assert_eq!((a.len(), b.len(), c.len()), (m * k, n * k, m * n), "operands of a product");
}

/// Elements that are there already.
#[cfg(target_arch = "x86_64")]
fn given<T: Copy>(c: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: the same layout; nobody who gets this slice writes anything uninitialised into it.
    unsafe { &mut *(std::ptr::from_mut(c) as *mut [MaybeUninit<T>]) }
}

/// The elements of a result that `write` fills: all of them, as the kernels do without adding. Zeros first would take as long
/// as a tenth of a product.
#[cfg(target_arch = "x86_64")]
fn filled<T: Copy>(len: usize, write: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut c = Vec::with_capacity(len);
    write(&mut c.spare_capacity_mut()[..len]);
    // SAFETY: there is room for `len`, and all of it was written.
    unsafe { c.set_len(len) };
    c
}

impl Element for f32 {
    fn product(form: Form, size: Size, a: &[f32], b: &[f32], c: &mut [f32], update: Update) {
        check(size, a, b, c);
        #[cfg(target_arch = "x86_64")]
        if super::avx512::f32_supported() && size.k > 0 {
            if form == Form::Nt && size.m <= super::dot::ROWS {
                return super::dot::f32(size, a, b, c, update);
            }
            return super::avx512::f32(form, size, a, b, given(c), update);
        }
        portable(form, size, a, b, c, update);
    }

    fn fresh(form: Form, size: Size, a: &[f32], b: &[f32], factor: f32) -> Vec<f32> {
        let (Size { m, n, .. }, update) = (size, Update { factor, add: false });
        #[cfg(target_arch = "x86_64")]
        if super::avx512::f32_supported() && size.k > 0 && (form != Form::Nt || m > super::dot::ROWS) {
            return filled(m * n, |c| {
                check(size, a, b, c);
                super::avx512::f32(form, size, a, b, c, update);
            });
        }
        let mut c = vec![0.0; m * n];
        f32::product(form, size, a, b, &mut c, update);
        c
    }

    fn scratch(form: Form, size: Size) -> usize {
        #[cfg(target_arch = "x86_64")]
        if super::avx512::f32_supported() {
            return scratch(form, size, 1);
        }
        let _ = (form, size);
        0
    }
}

impl Element for bf16 {
    fn product(form: Form, size: Size, a: &[bf16], b: &[bf16], c: &mut [bf16], update: Update) {
        check(size, a, b, c);
        #[cfg(target_arch = "x86_64")]
        if super::avx512::bf16_supported() && size.k > 0 {
            if form == Form::Nt && size.m <= super::dot::ROWS {
                return super::dot::bf16(size, a, b, c, update);
            }
            return super::avx512::bf16(form, size, a, b, given(c), update);
        }
        let wide = |x: &[bf16]| x.par_iter().map(|x| x.to_f32()).collect::<Vec<f32>>();
        let mut sum = wide(c);
        portable(form, size, &wide(a), &wide(b), &mut sum, update);
        c.par_iter_mut().zip(&sum).for_each(|(c, s)| *c = bf16::from_f32(*s));
    }

    fn fresh(form: Form, size: Size, a: &[bf16], b: &[bf16], factor: f32) -> Vec<bf16> {
        let (Size { m, n, .. }, update) = (size, Update { factor, add: false });
        #[cfg(target_arch = "x86_64")]
        if super::avx512::bf16_supported() && size.k > 0 && (form != Form::Nt || m > super::dot::ROWS) {
            return filled(m * n, |c| {
                check(size, a, b, c);
                super::avx512::bf16(form, size, a, b, c, update);
            });
        }
        let mut c = vec![bf16::ZERO; m * n];
        bf16::product(form, size, a, b, &mut c, update);
        c
    }

    fn scratch(form: Form, size: Size) -> usize {
        #[cfg(target_arch = "x86_64")]
        if super::avx512::bf16_supported() {
            return scratch(form, size, 2);
        }
        // Widened copies of all three.
        let Size { m, n, k } = size;
        let _ = form;
        size_of::<f32>() * (m * k + n * k + m * n)
    }
}

/// Columns of the result that are one task's: enough for the packing of the left side to pay, the same for any number of
/// threads.
const COLUMNS: usize = 192;

/// By the `gemm` crate, a task per stretch of columns.
fn portable(form: Form, size: Size, a: &[f32], b: &[f32], c: &mut [f32], update: Update) {
    let Size { m, n, k } = size;
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !update.add {
            c.fill(0.0);
        }
        return;
    }
    let left = if form == Form::Tn { Mat::new(a, k, m, m).t() } else { Mat::new(a, m, k, k) };
    let out = super::view::Columns::new(c, n);
    (0..n.div_ceil(COLUMNS)).into_par_iter().for_each(|task| {
        let columns = task * COLUMNS..((task + 1) * COLUMNS).min(n);
        let right = match form {
            Form::Nt => Mat::new(&b[columns.start * k..columns.end * k], columns.len(), k, k).t(),
            _ => Mat::new(&b[columns.start..], k, columns.len(), n),
        };
        out.gemm(columns, left, right, update.factor, update.add);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let words = (0..n as u64).map(|i| crate::engine::rng::philox(seed, i)[0]);
        words.map(|w| (w >> 16) as f32 / 32768.0 - 1.0).collect()
    }

    /// In f64, element by element.
    fn reference(form: Form, size: Size, a: &[f32], b: &[f32], c: &[f32], update: Update) -> Vec<f64> {
        let Size { m, n, k } = size;
        let at = |i: usize, j: usize, p: usize| match form {
            Form::Nt => (a[i * k + p], b[j * k + p]),
            Form::Nn => (a[i * k + p], b[p * n + j]),
            Form::Tn => (a[p * m + i], b[p * n + j]),
        };
        let element = |e: usize| {
            let terms = (0..k).map(|p| at(e / n, e % n, p));
            let sum: f64 = terms.map(|(x, y)| f64::from(x) * f64::from(y)).sum();
            f64::from(update.factor) * sum + if update.add { f64::from(c[e]) } else { 0.0 }
        };
        (0..m * n).map(element).collect()
    }

    const SIZES: [(usize, usize, usize); 12] = [
        (1, 1, 1),
        (1, 33, 7),
        (3, 5, 2),
        (8, 29, 64),
        (9, 14, 15),
        (16, 16, 16),
        (31, 57, 33),
        (64, 300, 17),
        (65, 15, 96),
        (100, 43, 130),
        (37, 61, 2500),
        (2, 3, 2049),
    ];

    /// Protects every product of the model: all forms, odd sizes, tails of every tile, long sums that are cut, with and
    /// without adding, against f64.
    #[test]
    fn every_form_and_size() {
        for (m, n, k) in SIZES {
            let size = Size { m, n, k };
            for form in [Form::Nt, Form::Nn, Form::Tn] {
                for update in [Update::SET, Update::add(-0.5), Update { factor: 2.0, add: false }] {
                    let (a, b, c) = (numbers(m * k, 1), numbers(n * k, 2), numbers(m * n, 3));
                    let want = reference(form, size, &a, &b, &c, update);
                    let bound = 1e-5 * (k as f64).sqrt().max(1.0) * 2.0;
                    let mut got = c.clone();
                    f32::product(form, size, &a, &b, &mut got, update);
                    let mut plain = c.clone();
                    portable(form, size, &a, &b, &mut plain, update);
                    for (e, w) in want.iter().enumerate() {
                        let (g, p) = (f64::from(got[e]), f64::from(plain[e]));
                        assert!((g - w).abs() < bound, "f32 {form:?} {size:?} {update:?}: {e}: {g} {w}");
                        assert!((p - w).abs() < bound, "portable {form:?} {size:?} {update:?}: {e}: {p} {w}");
                    }
                }
            }
        }
    }

    /// Protects bf16: operands as they are stored, sums in f32, one rounding at the end.
    #[test]
    fn bf16_sums_in_f32() {
        let low = |x: &[f32]| x.iter().map(|x| bf16::from_f32(*x)).collect::<Vec<_>>();
        let wide = |x: &[bf16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
        for (m, n, k) in SIZES {
            let size = Size { m, n, k };
            for form in [Form::Nt, Form::Nn, Form::Tn] {
                for update in [Update::SET, Update::add(0.5)] {
                    let (a, b, c) = (low(&numbers(m * k, 1)), low(&numbers(n * k, 2)), low(&numbers(m * n, 3)));
                    let want = reference(form, size, &wide(&a), &wide(&b), &wide(&c), update);
                    let mut got = c.clone();
                    bf16::product(form, size, &a, &b, &mut got, update);
                    for (e, w) in want.iter().enumerate() {
                        let bound = 1e-4 * (k as f64).sqrt() + w.abs() / 256.0;
                        assert!((f64::from(got[e]) - w).abs() < bound, "{form:?} {size:?}: {e}: {} {w}", got[e]);
                    }
                }
            }
        }
    }

    /// Protects what is said above: how the work is cut changes no bit.
    #[test]
    fn threads_change_nothing() {
        let size = Size { m: 150, n: 700, k: 90 };
        let (a, b) = (numbers(150 * 90, 1), numbers(700 * 90, 2));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0.0; 150 * 700];
            pool.install(|| f32::product(Form::Nt, size, &a, &b, &mut c, Update::SET));
            c
        };
        assert!(run(1) == run(3) && run(1) == run(8));
    }
}
