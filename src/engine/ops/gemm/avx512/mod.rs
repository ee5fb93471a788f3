//! Packed products for AVX-512, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
//!
//! One operand, *lanes*, is packed so that 32 of its vectors lie side by side in two registers for each term of the sum; the
//! other, *scalars*, is read where it lies, one element (a pair, in bf16) at a time, and multiplied into both: 14 scalars
//! by 32 lanes are 28 registers of sums, so that the kernel does 28 fused multiplications for 16 loads.
//!
//! | form | lanes | scalars | the tile of sums is written |
//! | --- | --- | --- | --- |
//! | `a b^T`, a has fewer rows | rows of a, transposed while packed | rows of b, in place | transposed |
//! | `a b^T`, b has fewer rows | rows of b, transposed while packed | rows of a, in place | as it is |
//! | `a b` | columns of b, copied | rows of a, in place | as it is |
//! | `a^T b` | columns of b, copied | columns of a, packed | as it is |
//!
//! So a layer's weight is never packed in its forward pass, and the packing of the activations, or in the backward pass of
//! the weight, is a few parts in a hundred of the work. A task is 64 lanes by a block of scalars; what it packs fits the
//! second-level cache.

mod bf16;
mod f32;
mod job;
pub(in crate::engine::ops) mod strip;
mod tile;
mod transpose;

use super::dense::{Form, Size, Update};
use half::bf16 as Bf16;
use job::{Job, Room};
use rayon::prelude::*;
use std::arch::x86_64::{__m512, __mmask16};
use std::mem::MaybeUninit;
use tile::Tile;

/// Scalars of a tile.
const R: usize = 14;
/// Lanes of a tile, in registers of 16.
const Z: usize = 2;
/// Lanes of a task.
const LANES: usize = 64;
/// Scalars that every panel of lanes is multiplied with before the next are read: they stay in the cache meanwhile.
const BLOCK: usize = 4 * R;
/// Lanes that are one task's, if no more of them and no more than [`PACKED`] bytes.
const FEW: usize = 256;
/// Bytes of the packed lanes of such a task: half of a second-level cache.
const PACKED: usize = 512 << 10;
/// Most terms of a sum that is made in one go, in units (elements, or pairs in bf16).
const TERMS: usize = 2048;
/// Terms that are packed at once of longer sums. Their partial sums are kept in f32, and a task has so many lanes that the
/// scalars, which are read from memory, are read a few times only.
const LONG_TERMS: usize = 512;
/// Most lanes of such a task.
const LONG_LANES: usize = 288;
/// Most scalars of such a task.
const LONG_SCALARS: usize = 6 * BLOCK;
/// Fewest scalars of a task, where there are as many.
const LEAST: usize = 3 * BLOCK;
/// Bytes of the scalars that a task reads where they lie: the tasks beside it find them in the last cache.
const SHARED: usize = 2 << 20;

/// Whether the processor has what the f32 kernel needs.
pub(super) fn f32_supported() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// Whether the processor has what the bf16 kernel needs.
pub(super) fn bf16_supported() -> bool {
    f32_supported()
        && is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

/// One operand: vector `i` has its term `p` at `data[i * vector + p * term]`; one of the strides is 1.
struct Operand<'a, T> {
    data: &'a [T],
    vector: usize,
    term: usize,
}

impl<T> Operand<'_, T> {
    fn at(&self, vector: usize, term: usize) -> *const T {
        let at = vector * self.vector + term * self.term;
        assert!(at < self.data.len(), "an operand's element");
        self.data[at..].as_ptr()
    }

    /// Packs `count` vectors from `from` on into `zs` registers a unit.
    ///
    /// # Safety
    /// As [`Kernel`] says; `out` holds `16 * zs` units for each of the sum's.
    unsafe fn pack<K: Kernel<T = T>>(
        &self,
        from: *const T,
        count: usize,
        zs: usize,
        terms: usize,
        out: &mut [MaybeUninit<K::Unit>],
    ) {
        let out = out.as_mut_ptr().cast();
        // SAFETY: the caller's.
        unsafe {
            match self.term {
                1 => K::pack_rows(from, self.vector, count, zs, terms, out),
                term => K::pack_cols(from, term, count, zs, terms, out),
            }
        }
    }
}

/// The first `count <= 16` lanes.
#[inline(always)]
pub(super) fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// What differs between the element types. A *unit* is what one step of the sum takes: an element of f32, a pair of bf16
/// (the last one filled up with a zero).
///
/// # Safety
/// Every function needs the processor features that the type's `supported` function asks for, and memory as it says.
trait Kernel: Sized {
    /// Type of operands and result.
    type T: Copy + Send + Sync;
    /// A packed unit.
    type Unit: Copy + Send;
    /// A register of them.
    type Units: Copy;
    /// Elements of a unit.
    const PAIR: usize;

    /// Packs `lanes <= 16 * zs` vectors from `x` on as `[units][16 * zs]`, where the terms of a vector are adjacent and vectors
    /// `vector` apart; lanes without a vector are zeros.
    unsafe fn pack_rows(x: *const Self::T, vector: usize, lanes: usize, zs: usize, terms: usize, out: *mut Self::Unit);
    /// The same where vectors are adjacent, and terms `term` apart.
    unsafe fn pack_cols(x: *const Self::T, term: usize, lanes: usize, zs: usize, terms: usize, out: *mut Self::Unit);
    /// One unit, wherever it lies, in every lane.
    unsafe fn scalar(x: *const u8) -> Self::Units;
    /// The packed units of 16 lanes.
    unsafe fn lanes(x: *const Self::Unit) -> Self::Units;
    /// `sums + x * y`, lane by lane.
    unsafe fn multiply_add(sums: __m512, x: Self::Units, y: Self::Units) -> __m512;
    /// Writes `count <= 16` elements: `to = factor * sums (+ to)`.
    unsafe fn store(sums: __m512, to: *mut Self::T, count: usize, update: Update);
    /// [`Tile::run`], compiled for the processor features.
    unsafe fn run<const R: usize, const Z: usize>(tile: &Tile<Self>);
}

/// Where tiles go: element (lane, scalar) is at `lane * lane_stride + scalar * scalar_stride`.
#[derive(Clone, Copy)]
struct Target<T> {
    data: *mut T,
    lane_stride: usize,
    scalar_stride: usize,
}

// SAFETY: tasks write disjoint tiles; `product` cuts them so.
unsafe impl<T: Send> Send for Target<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Target<T> {}

/// f32. What `c` holds matters only where the update adds to it.
pub(super) fn f32(form: Form, size: Size, a: &[f32], b: &[f32], c: &mut [MaybeUninit<f32>], update: Update) {
    assert!(f32_supported(), "AVX-512 was asked for first");
    product::<f32::F32>(form, size, a, b, c, update);
}

/// bf16 with sums in f32. What `c` holds matters only where the update adds to it.
pub(super) fn bf16(form: Form, size: Size, a: &[Bf16], b: &[Bf16], c: &mut [MaybeUninit<Bf16>], update: Update) {
    assert!(bf16_supported(), "AVX512-BF16 was asked for first");
    product::<bf16::Bf16Pairs>(form, size, a, b, c, update);
}

fn product<K: Kernel>(form: Form, size: Size, a: &[K::T], b: &[K::T], c: &mut [MaybeUninit<K::T>], update: Update) {
    let Size { m, n, k } = size;
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let rows = |data, stride| Operand { data, vector: stride, term: 1 };
    let cols = |data, stride| Operand { data, vector: 1, term: stride };
    let turned = turned(form, size);
    let (lanes, scalars) = match form {
        Form::Nt if turned => (rows(a, k), rows(b, k)),
        Form::Nt => (rows(b, k), rows(a, k)),
        Form::Nn => (cols(b, n), rows(a, k)),
        Form::Tn => (cols(b, n), cols(a, m)),
    };
    let (lane_count, scalar_count) = if turned { (m, n) } else { (n, m) };
    let (lane_stride, scalar_stride) = if turned { (n, 1) } else { (1, n) };
    let target = Target { data: c.as_mut_ptr().cast::<K::T>(), lane_stride, scalar_stride };
    let cut = Cut::new(lane_count, scalar_count, k.div_ceil(K::PAIR), size_of::<K::Unit>());
    (0..cut.tasks()).into_par_iter().for_each_init(Room::default, |room, task| {
        let (group, part) = (task % cut.groups, task / cut.groups);
        let job = Job::<K> {
            lanes: &lanes,
            scalars: &scalars,
            first_lane: group * cut.lanes,
            lane_count: cut.lanes.min(lane_count - group * cut.lanes),
            next_lane: if group + 1 < cut.groups { (group + 1) * cut.lanes } else { 0 },
            first_scalar: part * cut.scalars,
            scalar_count: cut.scalars.min(scalar_count - part * cut.scalars),
            k,
            terms: cut.terms,
            target,
            update,
        };
        // SAFETY: `f32` and `bf16` have asked for the processor's features; the operands have `m * k` and `n * k` elements and
        // `c` `m * n` (`dense` has checked), and no two tasks share a pair of lanes and scalars.
        unsafe { job.run(room) }
    });
}

/// Whether the lanes are rows of the result, not columns: where that leaves less to pack.
fn turned(form: Form, Size { m, n, .. }: Size) -> bool {
    form == Form::Nt && m <= n
}

/// How a product is cut into tasks.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Lanes of a task, and how many such groups there are.
    lanes: usize,
    groups: usize,
    /// Scalars of a task, and how many such parts there are.
    scalars: usize,
    parts: usize,
    /// Units of a sum that are packed at once.
    terms: usize,
}

impl Cut {
    /// Scalars of a task: few enough for every thread to find as much work as the others, enough for the packing of the
    /// lanes, which each task does anew, to be little.
    fn new(lane_count: usize, scalar_count: usize, units: usize, unit_bytes: usize) -> Cut {
        let threads = rayon::current_num_threads();
        let long = units > TERMS;
        if !long && lane_count <= FEW && lane_count.next_multiple_of(16) * units * unit_bytes <= PACKED {
            // Few lanes are one group: the scalars, a layer's weight mostly, come from memory once, a part to each thread.
            let parts =
                (scalar_count / LEAST).clamp(1, 2 * threads).next_multiple_of(threads).min(scalar_count.div_ceil(R));
            let scalars = scalar_count.div_ceil(parts).next_multiple_of(R);
            let lanes = lane_count.next_multiple_of(16);
            return Cut { lanes, groups: 1, scalars, parts: scalar_count.div_ceil(scalars), terms: TERMS };
        }
        let mut most = if long { LONG_LANES } else { LANES };
        if !long && scalar_count < 2 * LEAST && !lane_count.div_ceil(most).is_multiple_of(threads) {
            most = 16 * Z;
        }
        let groups = lane_count.div_ceil(most).max(1);
        let lanes = if long { lane_count.div_ceil(groups).next_multiple_of(16 * Z) } else { most };
        let limit = if long { LONG_SCALARS } else { (SHARED / (units * unit_bytes).max(1)).max(LEAST) };
        let most_parts = (scalar_count / LEAST).max(1);
        let mut parts = (4 * threads).div_ceil(groups).min(most_parts).max(scalar_count.div_ceil(limit));
        while !(groups * parts).is_multiple_of(threads) && groups * parts < 8 * threads && parts < most_parts {
            parts += 1;
        }
        let scalars = scalar_count.div_ceil(parts).next_multiple_of(R);
        let terms = if long { LONG_TERMS } else { TERMS };
        Cut { lanes, groups, scalars, parts: scalar_count.div_ceil(scalars), terms }
    }

    fn tasks(&self) -> usize {
        self.groups * self.parts
    }
}

/// Bytes of all [`Room`]s that exist at once, for elements of which a unit holds `pair`.
pub(super) fn room(form: Form, size: Size, pair: usize) -> usize {
    let Size { m, n, k } = size;
    let (lanes, scalars) = if turned(form, size) { (m, n) } else { (n, m) };
    let units = k.div_ceil(pair);
    let cut = Cut::new(lanes, scalars, units, size_of::<f32>());
    let at_once = units.min(cut.terms);
    let packed = at_once * lanes.min(cut.lanes).next_multiple_of(16);
    let gathered = match () {
        () if form == Form::Tn || !k.is_multiple_of(pair) => BLOCK.div_ceil(R) * 16 * at_once,
        () if (k / pair * size_of::<f32>()).is_multiple_of(job::PAGE) => {
            BLOCK * (at_once + job::LINE / size_of::<f32>())
        }
        () => 0,
    };
    let long = units > cut.terms;
    let sums = if long {
        lanes.min(cut.lanes).next_multiple_of(16 * Z) * cut.scalars.min(scalars).next_multiple_of(R)
    } else {
        0
    };
    size_of::<f32>() * (packed + gathered + sums) * cut.tasks().min(rayon::current_num_threads())
}
