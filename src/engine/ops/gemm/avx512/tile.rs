//! A tile of a product: up to 14 scalars by 32 lanes, whose sums stay in registers.

use super::super::dense::Update;
use super::{Kernel, Target, transpose};
use std::arch::x86_64::{__m512, _MM_HINT_T1, _mm_prefetch, _mm512_setzero_ps};

/// One tile's work. Scalar `i` has its unit `p` at `scalars + i * row + p * step` bytes, lane `l` at
/// `lanes[l + p * lane_step]`.
pub(super) struct Tile<K: Kernel> {
    pub(super) units: usize,
    /// What is fetched from memory meanwhile: a line at each step of the sum, so many bytes apart. Any address will do.
    pub(super) ahead: *const u8,
    pub(super) ahead_step: usize,
    pub(super) scalars: *const u8,
    pub(super) row: usize,
    pub(super) step: usize,
    pub(super) lanes: *const K::Unit,
    pub(super) lane_step: usize,
    pub(super) lane_count: usize,
    /// Whether the sums begin here, or go on from `sums`.
    pub(super) first: bool,
    /// Whether they end here, or are kept in `sums`.
    pub(super) last: bool,
    pub(super) sums: *mut f32,
    pub(super) target: Target<K::T>,
    pub(super) at: usize,
    pub(super) update: Update,
}

impl<K: Kernel> Tile<K> {
    /// Runs the kernel for `count` scalars and `zs` registers of lanes.
    ///
    /// # Safety
    /// As [`Tile::run`].
    pub(super) unsafe fn dispatch(&self, count: usize, zs: usize) {
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
            let (mut scalars, mut lanes, mut ahead) = (self.scalars, self.lanes, self.ahead);
            for _ in 0..self.units {
                let units: [K::Units; ZS] = std::array::from_fn(|z| K::lanes(lanes.add(16 * z)));
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(self.ahead_step);
                for (i, sums) in sums.iter_mut().enumerate() {
                    let scalar = K::scalar(scalars.add(i * self.row));
                    for z in 0..ZS {
                        sums[z] = K::multiply_add(sums[z], scalar, units[z]);
                    }
                }
                lanes = lanes.wrapping_add(self.lane_step);
                scalars = scalars.wrapping_add(self.step);
            }
            sums
        }
    }

    /// # Safety
    /// `lanes` holds `16 * ZS` units for each of the sum's, `sums` (if it is used) the tile, and the target the tile's elements.
    #[inline(always)]
    pub(super) unsafe fn run<const ROWS: usize, const ZS: usize>(&self) {
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
