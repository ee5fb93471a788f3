//! `a b^T` for a few rows of `a`: every row of `b` is read once and multiplied into all of them. Reading is the work.

use super::super::{cpu::Elem, team};
use super::avx512::first;
use super::dense::{Size, Update};
use half::bf16 as Bf16;
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::ops::Range;

/// Most rows of `a` that this is good for.
pub(super) const ROWS: usize = 8;
/// Rows of `b` that are one task's.
const TASK: usize = 256;
/// Bytes of `b` that are one task's where there is one row of `a`, about.
const TASK_BYTES: usize = 64 << 10;

/// f32; the processor has AVX-512F.
pub(super) fn f32(size: Size, a: &[f32], b: &[f32], c: &mut [f32], update: Update) {
    columns(size, b, c, update, |b| {
        // SAFETY: `dense` has asked for the processor's features.
        unsafe { row_f32(a, b, size.m) }
    });
}

/// bf16 with sums in f32; the processor has AVX512-BF16.
pub(super) fn bf16(size: Size, a: &[Bf16], b: &[Bf16], c: &mut [Bf16], update: Update) {
    columns(size, b, c, update, |b| {
        // SAFETY: `dense` has asked for the processor's features.
        unsafe { row_bf16(a, b, size.m) }
    });
}

/// Fills `c` `[m, n]` a column at a time: `sums(row j of b)` are the products with the rows of `a`.
fn columns<T: Elem<Acc = f32>>(
    Size { m, n, k }: Size,
    b: &[T],
    c: &mut [T],
    update: Update,
    sums: impl Fn(&[T]) -> [f32; ROWS] + Sync,
) {
    let updated = |c: &mut T, sum: f32| {
        let before = if update.add { c.up() } else { 0.0 };
        *c = T::down(update.factor * sum + before);
    };
    if m == 1 {
        let (rows, out) = ((TASK_BYTES / (k * size_of::<T>())).max(1), Out(c.as_mut_ptr()));
        return team::each(n.div_ceil(rows), &|task| {
            let part = task * rows..((task + 1) * rows).min(n);
            // SAFETY: `c` has `n` elements, and no two tasks have the same ones.
            let c = unsafe { out.part(&part) };
            let b = b[part.start * k..part.end * k].chunks_exact(k);
            c.iter_mut().zip(b).for_each(|(c, row)| updated(c, sums(row)[0]));
        });
    }
    let tasks: Vec<Vec<[f32; ROWS]>> =
        b.par_chunks(TASK * k).map(|rows| rows.chunks_exact(k).map(&sums).collect()).collect();
    for (j, sums) in tasks.into_iter().flatten().enumerate() {
        sums.into_iter().enumerate().take(m).for_each(|(i, sum)| updated(&mut c[i * n + j], sum));
    }
}

/// What tasks write parts of.
struct Out<T>(*mut T);

// SAFETY: no two tasks write the same part.
unsafe impl<T: Send> Sync for Out<T> {}

impl<T> Out<T> {
    /// # Safety
    /// The part is inside, and nobody else has it.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, part: &Range<usize>) -> &mut [T] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(part.start), part.len()) }
    }
}

/// Registers of sums for each row: enough to hide the latency of the additions.
const CHAINS: usize = 4;

/// What differs between the element types.
///
/// # Safety
/// Every function needs the processor features that `avx512`'s `supported` functions ask for.
trait Terms {
    type T;
    /// A register of [`Terms::COUNT`] terms.
    type V: Copy;
    const COUNT: usize;
    /// The first `count` terms from `x` on, zeros behind them.
    unsafe fn load(x: *const Self::T, count: usize) -> Self::V;
    /// `sums + x * y`.
    unsafe fn multiply_add(sums: __m512, x: Self::V, y: Self::V) -> __m512;
}

impl Terms for f32 {
    type T = f32;
    type V = __m512;
    const COUNT: usize = 16;

    #[inline(always)]
    unsafe fn load(x: *const f32, count: usize) -> __m512 {
        // SAFETY: the caller's; the mask leaves out what is past `count`.
        unsafe { _mm512_maskz_loadu_ps(first(count), x) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sums: __m512, x: __m512, y: __m512) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_fmadd_ps(x, y, sums) }
    }
}

impl Terms for Bf16 {
    type T = Bf16;
    type V = __m512bh;
    const COUNT: usize = 32;

    #[inline(always)]
    unsafe fn load(x: *const Bf16, count: usize) -> __m512bh {
        let mask = ((1u64 << count) - 1) as __mmask32;
        // SAFETY: the caller's; the mask leaves out what is past `count`. The types transmuted are 64 bytes each.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_maskz_loadu_epi16(mask, x.cast())) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sums: __m512, x: __m512bh, y: __m512bh) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_dpbf16_ps(sums, x, y) }
    }
}

/// The products of one row of `b` with `m` rows of `a`.
#[inline(always)]
unsafe fn row<K: Terms>(a: &[K::T], b: &[K::T], m: usize) -> [f32; ROWS] {
    let k = b.len();
    let mut out = [0.0; ROWS];
    for (i, out) in out.iter_mut().enumerate().take(m) {
        let a = &a[i * k..(i + 1) * k];
        // SAFETY: the caller's; a load ends where the rows do.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); CHAINS];
            for block in (0..k).step_by(K::COUNT * CHAINS) {
                for (chain, sums) in sums.iter_mut().enumerate() {
                    let at = (block + K::COUNT * chain).min(k);
                    let count = (k - at).min(K::COUNT);
                    let (x, y) = (K::load(a.as_ptr().add(at), count), K::load(b.as_ptr().add(at), count));
                    *sums = K::multiply_add(*sums, x, y);
                }
            }
            let pairs = [_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])];
            *out = _mm512_reduce_add_ps(_mm512_add_ps(pairs[0], pairs[1]));
        }
    }
    out
}

#[target_feature(enable = "avx512f")]
unsafe fn row_f32(a: &[f32], b: &[f32], m: usize) -> [f32; ROWS] {
    // SAFETY: the caller's.
    unsafe { row::<f32>(a, b, m) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn row_bf16(a: &[Bf16], b: &[Bf16], m: usize) -> [f32; ROWS] {
    // SAFETY: the caller's.
    unsafe { row::<Bf16>(a, b, m) }
}
