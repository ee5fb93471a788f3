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
mod transpose;

use super::dense::{Form, Size, Update};
use half::bf16 as Bf16;
use rayon::prelude::*;
use std::arch::x86_64::{__m512, __mmask16, _mm512_setzero_ps};
use std::mem::MaybeUninit;

/// Scalars of a tile.
const R: usize = 14;
/// Lanes of a tile, in registers of 16.
const Z: usize = 2;
/// Lanes of a task.
const LANES: usize = 64;
/// Scalars that every panel of lanes is multiplied with before the next are read: they stay in the cache meanwhile.
const BLOCK: usize = 4 * R;
/// Terms of a sum that are packed at once, in units (elements, or pairs in bf16).
const TERMS: usize = 2048;
/// Most scalars of a task whose sums are longer than that: their partial sums are kept in f32.
const LONG: usize = 64 * R;

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
fn first(count: usize) -> __mmask16 {
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

/// f32.
pub(super) fn f32(form: Form, size: Size, a: &[f32], b: &[f32], c: &mut [f32], update: Update) {
    assert!(f32_supported(), "AVX-512 was asked for first");
    product::<f32::F32>(form, size, a, b, c, update);
}

/// bf16 with sums in f32.
pub(super) fn bf16(form: Form, size: Size, a: &[Bf16], b: &[Bf16], c: &mut [Bf16], update: Update) {
    assert!(bf16_supported(), "AVX512-BF16 was asked for first");
    product::<bf16::Bf16Pairs>(form, size, a, b, c, update);
}

fn product<K: Kernel>(form: Form, size: Size, a: &[K::T], b: &[K::T], c: &mut [K::T], update: Update) {
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
    let target = Target { data: c.as_mut_ptr(), lane_stride, scalar_stride };
    let groups = lane_count.div_ceil(LANES);
    let chunk = chunk(groups, scalar_count, k.div_ceil(K::PAIR) > TERMS);
    (0..groups * scalar_count.div_ceil(chunk)).into_par_iter().for_each_init(Room::default, |room, task| {
        let (group, part) = (task % groups, task / groups);
        let job = Job::<K> {
            lanes: &lanes,
            scalars: &scalars,
            first_lane: group * LANES,
            lane_count: LANES.min(lane_count - group * LANES),
            first_scalar: part * chunk,
            scalar_count: chunk.min(scalar_count - part * chunk),
            k,
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

/// Bytes of all [`Room`]s that exist at once, for elements of which a unit holds `pair`.
pub(super) fn room(form: Form, size: Size, pair: usize) -> usize {
    let Size { m, n, k } = size;
    let (lanes, scalars) = if turned(form, size) { (m, n) } else { (n, m) };
    let (units, groups) = (k.div_ceil(pair), lanes.div_ceil(LANES));
    let chunk = chunk(groups.max(1), scalars, units > TERMS);
    let packed = units.min(TERMS) * lanes.min(LANES).next_multiple_of(16);
    let in_place = form != Form::Tn && k.is_multiple_of(pair);
    let gathered = if in_place { 0 } else { BLOCK.div_ceil(R) * 16 * units.min(TERMS) };
    let sums = if units > TERMS { LANES * chunk.min(scalars).next_multiple_of(R) } else { 0 };
    let tasks = groups * scalars.div_ceil(chunk);
    size_of::<f32>() * (packed + gathered + sums) * tasks.min(rayon::current_num_threads())
}

/// Scalars of a task: a multiple of the block; few enough for every thread to find work, enough for the packing of the
/// lanes, which each task does anew, to be little.
fn chunk(groups: usize, scalars: usize, long: bool) -> usize {
    let parts = (4 * rayon::current_num_threads()).div_ceil(groups);
    let chunk = scalars.div_ceil(parts).max(3 * BLOCK).next_multiple_of(BLOCK);
    if long { chunk.min(LONG) } else { chunk }
}

struct Job<'a, K: Kernel> {
    lanes: &'a Operand<'a, K::T>,
    scalars: &'a Operand<'a, K::T>,
    first_lane: usize,
    lane_count: usize,
    first_scalar: usize,
    scalar_count: usize,
    k: usize,
    target: Target<K::T>,
    update: Update,
}

/// What a task needs besides its operands; kept for the thread's next one. Nothing in it is read before it was written.
struct Room<U> {
    lanes: Vec<MaybeUninit<U>>,
    scalars: Vec<MaybeUninit<U>>,
    sums: Vec<MaybeUninit<f32>>,
}

impl<U> Default for Room<U> {
    fn default() -> Self {
        Room { lanes: Vec::new(), scalars: Vec::new(), sums: Vec::new() }
    }
}

/// Gives `buffer` room for `count` elements, whatever they are: filling them with zeros would cost as much as the packing.
fn make_room<T>(buffer: &mut Vec<MaybeUninit<T>>, count: usize) {
    buffer.clear();
    buffer.reserve_exact(count);
    // SAFETY: there is room for `count`, and what may be uninitialised needs no initialisation.
    unsafe { buffer.set_len(count) };
}

impl<K: Kernel> Job<'_, K> {
    /// # Safety
    /// As [`Kernel`] says; the job's lanes and scalars are inside its operands and its target, and nobody else writes there.
    unsafe fn run(&self, room: &mut Room<K::Unit>) {
        let units = self.k.div_ceil(K::PAIR);
        let width = self.lane_count.next_multiple_of(16);
        make_room(&mut room.lanes, width * units.min(TERMS));
        if units > TERMS {
            make_room(&mut room.sums, LANES * self.scalar_count.next_multiple_of(R));
        }
        for unit in (0..units).step_by(TERMS) {
            let count = TERMS.min(units - unit);
            let terms = (count * K::PAIR).min(self.k - unit * K::PAIR);
            for panel in 0..width.div_ceil(16 * Z) {
                // SAFETY: the panel's part of the room holds `16 * zs * count` units; the lanes are inside the operand.
                unsafe { self.pack_panel(panel, unit, count, terms, &mut room.lanes) };
            }
            for block in (0..self.scalar_count).step_by(BLOCK) {
                let end = (block + BLOCK).min(self.scalar_count);
                // SAFETY: the scalars are inside the operand.
                unsafe { self.block(block..end, unit, count, terms, room) };
            }
        }
    }

    /// Registers of panel `panel`, and its lanes.
    fn panel(&self, panel: usize) -> (usize, usize) {
        let lanes = (self.lane_count - panel * 16 * Z).min(16 * Z);
        (lanes.div_ceil(16), lanes)
    }

    unsafe fn pack_panel(
        &self,
        panel: usize,
        unit: usize,
        units: usize,
        terms: usize,
        out: &mut [MaybeUninit<K::Unit>],
    ) {
        let (zs, lanes) = self.panel(panel);
        let from = self.lanes.at(self.first_lane + panel * 16 * Z, unit * K::PAIR);
        let out = &mut out[panel * 16 * Z * units..][..16 * zs * units];
        // SAFETY: the caller's.
        unsafe { self.lanes.pack::<K>(from, lanes, zs, terms, out) }
    }

    /// All lanes by some scalars, over `units` units from `unit` on.
    unsafe fn block(
        &self,
        block: std::ops::Range<usize>,
        unit: usize,
        units: usize,
        terms: usize,
        room: &mut Room<K::Unit>,
    ) {
        // In place where a vector's units are adjacent and whole; else packed as a panel of one register.
        let in_place = self.scalars.term == 1 && self.k.is_multiple_of(K::PAIR);
        let bytes = size_of::<K::Unit>();
        let (row, step) = if in_place { (self.scalars.vector * size_of::<K::T>(), bytes) } else { (bytes, 16 * bytes) };
        if !in_place {
            make_room(&mut room.scalars, BLOCK.div_ceil(R) * 16 * units);
            for (tile, first) in block.clone().step_by(R).enumerate() {
                let count = R.min(block.end - first);
                let from = self.scalars.at(self.first_scalar + first, unit * K::PAIR);
                let out = &mut room.scalars[tile * 16 * units..][..16 * units];
                // SAFETY: the caller's; one register holds the tile's scalars.
                unsafe { self.scalars.pack::<K>(from, count, 1, terms, out) }
            }
        }
        let total = self.k.div_ceil(K::PAIR);
        for panel in 0..self.lane_count.div_ceil(16 * Z) {
            let (zs, lanes) = self.panel(panel);
            for (tile, first) in block.clone().step_by(R).enumerate() {
                let count = R.min(block.end - first);
                let scalars = if in_place {
                    self.scalars.at(self.first_scalar + first, unit * K::PAIR).cast::<u8>()
                } else {
                    room.scalars[tile * 16 * units..].as_ptr().cast::<u8>()
                };
                let sums = if total > TERMS {
                    room.sums[first * LANES + panel * 16 * Z * R..].as_mut_ptr().cast::<f32>()
                } else {
                    std::ptr::null_mut()
                };
                let tile = Tile::<K> {
                    units,
                    scalars,
                    row,
                    step,
                    lanes: room.lanes[panel * 16 * Z * units..].as_ptr().cast(),
                    lane_count: lanes,
                    first: unit == 0,
                    last: unit + units == total,
                    sums,
                    target: self.target,
                    at: (self.first_lane + panel * 16 * Z) * self.target.lane_stride
                        + (self.first_scalar + first) * self.target.scalar_stride,
                    update: self.update,
                };
                // SAFETY: the caller's; `count` and `zs` say how much of the tile there is.
                unsafe { tile.dispatch(count, zs) };
            }
        }
    }
}

/// One tile's work.
struct Tile<K: Kernel> {
    units: usize,
    scalars: *const u8,
    row: usize,
    step: usize,
    lanes: *const K::Unit,
    lane_count: usize,
    /// Whether the sums begin here, or go on from `sums`.
    first: bool,
    /// Whether they end here, or are kept in `sums`.
    last: bool,
    sums: *mut f32,
    target: Target<K::T>,
    at: usize,
    update: Update,
}

impl<K: Kernel> Tile<K> {
    unsafe fn dispatch(&self, count: usize, zs: usize) {
        macro_rules! by_size {
            ($($r:literal)*) => {
                match (count, zs) {
                    $(($r, 1) => unsafe { K::run::<$r, 1>(self) },
                    ($r, _) => unsafe { K::run::<$r, 2>(self) },)*
                    _ => unreachable!("a tile has 1 to 14 scalars"),
                }
            };
        }
        // SAFETY (each arm): the caller's.
        by_size!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }

    /// The sums, with those that `sums` holds. They are returned, and used elsewhere: where anything borrows the array the
    /// compiler keeps it in memory, at half the speed.
    ///
    /// # Safety
    /// As [`Tile::run`].
    #[inline(always)]
    unsafe fn multiply<const ROWS: usize, const ZS: usize>(&self) -> [[__m512; ZS]; ROWS] {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = if self.first {
                [[_mm512_setzero_ps(); ZS]; ROWS]
            } else {
                self.sums.cast::<[[__m512; ZS]; ROWS]>().read_unaligned()
            };
            let (mut scalars, mut lanes) = (self.scalars, self.lanes);
            for _ in 0..self.units {
                let units: [K::Units; ZS] = std::array::from_fn(|z| K::lanes(lanes.add(16 * z)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let scalar = K::scalar(scalars.add(i * self.row));
                    for z in 0..ZS {
                        sums[z] = K::multiply_add(sums[z], scalar, units[z]);
                    }
                }
                lanes = lanes.wrapping_add(16 * ZS);
                scalars = scalars.wrapping_add(self.step);
            }
            sums
        }
    }

    /// # Safety
    /// `lanes` holds `16 * ZS * units` units, `sums` (if it is used) the tile, and the target the tile's elements.
    #[inline(always)]
    unsafe fn run<const ROWS: usize, const ZS: usize>(&self) {
        // SAFETY: the caller's.
        unsafe {
            let sums = self.multiply::<ROWS, ZS>();
            if !self.last {
                self.sums.cast::<[[__m512; ZS]; ROWS]>().write_unaligned(sums);
                return;
            }
            let to = self.target.data.add(self.at);
            for z in 0..ZS {
                let lanes = 16.min(self.lane_count - 16 * z);
                if self.target.scalar_stride == 1 {
                    let turned = transpose::columns(&std::array::from_fn::<_, ROWS, _>(|i| sums[i][z]));
                    for (lane, sums) in turned.into_iter().enumerate().take(lanes) {
                        K::store(sums, to.add((16 * z + lane) * self.target.lane_stride), ROWS, self.update);
                    }
                } else {
                    for (i, sums) in sums.iter().enumerate() {
                        K::store(sums[z], to.add(i * self.target.scalar_stride + 16 * z), lanes, self.update);
                    }
                }
            }
        }
    }
}
