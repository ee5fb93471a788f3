//! A task of a product: some lanes by some scalars.

use super::super::dense::Update;
use super::tile::Tile;
use super::{BLOCK, Kernel, Operand, R, Target, Z};
use std::mem::MaybeUninit;

/// What a task multiplies, and where to.
pub(super) struct Job<'a, K: Kernel> {
    pub(super) lanes: &'a Operand<'a, K::T>,
    pub(super) scalars: &'a Operand<'a, K::T>,
    pub(super) first_lane: usize,
    pub(super) lane_count: usize,
    /// The first lane of the task after this one; 0: none.
    pub(super) next_lane: usize,
    pub(super) first_scalar: usize,
    pub(super) scalar_count: usize,
    pub(super) k: usize,
    /// Units of a sum that are packed at once.
    pub(super) terms: usize,
    pub(super) target: Target<K::T>,
    pub(super) update: Update,
}

/// Vectors whose beginnings are a multiple of this apart all meet in a few places of the first-level cache.
pub(super) const PAGE: usize = 4096;
/// Of a cache.
pub(super) const LINE: usize = 64;

/// How scalars are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Where they lie.
    InPlace,
    /// From a copy whose vectors do not meet in the cache.
    Copied,
    /// Turned, as a panel of one register: their units are not adjacent, or not whole.
    Packed,
}

/// What a task needs besides its operands; kept for the thread's next one. Nothing in it is read before it was written.
pub(super) struct Room<U> {
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
    pub(super) unsafe fn run(&self, room: &mut Room<K::Unit>) {
        let units = self.k.div_ceil(K::PAIR);
        let width = self.lane_count.next_multiple_of(16);
        make_room(&mut room.lanes, width * units.min(self.terms));
        if units > self.terms {
            make_room(&mut room.sums, self.sums_width() * self.scalar_count.next_multiple_of(R));
        }
        for unit in (0..units).step_by(self.terms) {
            let count = self.terms.min(units - unit);
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

    /// What tile `tile` of the first block fetches meanwhile for the task after this one, where the terms of its lanes lie apart: of
    /// panel `panel` one memory line of one term of each unit. Where that begins, and the bytes to the next.
    fn ahead(&self, panel: usize, tile: usize, unit: usize) -> Option<(*const u8, usize)> {
        let bytes = size_of::<K::T>();
        let lines = 16 * Z * bytes / LINE;
        let (line, term) = (tile % lines, unit * K::PAIR + tile / lines);
        let lane = self.next_lane + panel * 16 * Z + line * LINE / bytes;
        let there = self.lanes.term != 1 && self.next_lane > 0 && lane < self.lanes.term && term < self.k;
        (there && tile < lines * K::PAIR).then(|| (self.lanes.at(lane, term).cast(), self.lanes.term * bytes * K::PAIR))
    }

    /// Registers of panel `panel`, and its lanes.
    fn panel(&self, panel: usize) -> (usize, usize) {
        let lanes = (self.lane_count - panel * 16 * Z).min(16 * Z);
        (lanes.div_ceil(16), lanes)
    }

    /// Lanes of whole panels.
    fn sums_width(&self) -> usize {
        self.lane_count.next_multiple_of(16 * Z)
    }

    /// How the kernel reads the scalars.
    fn reading(&self) -> Reading {
        let whole = self.scalars.term == 1 && self.k.is_multiple_of(K::PAIR);
        match (self.scalars.vector * size_of::<K::T>()).is_multiple_of(PAGE) {
            _ if !whole => Reading::Packed,
            true => Reading::Copied,
            false => Reading::InPlace,
        }
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
        let (bytes, reading) = (size_of::<K::Unit>(), self.reading());
        // Of a copy: one line more than a vector has.
        let apart = units + LINE / bytes;
        let (row, step) = match reading {
            Reading::InPlace => (self.scalars.vector * size_of::<K::T>(), bytes),
            Reading::Copied => (apart * bytes, bytes),
            Reading::Packed => (bytes, 16 * bytes),
        };
        let tile_size = if reading == Reading::Copied { R * apart } else { 16 * units };
        if reading != Reading::InPlace {
            make_room(&mut room.scalars, BLOCK.div_ceil(R) * tile_size);
            for (tile, first) in block.clone().step_by(R).enumerate() {
                let count = R.min(block.end - first);
                let out = &mut room.scalars[tile * tile_size..][..tile_size];
                if reading == Reading::Copied {
                    for i in 0..count {
                        let from = self.scalars.at(self.first_scalar + first + i, unit * K::PAIR);
                        // SAFETY: the vector has as many units left, and the room is one for each scalar.
                        unsafe { std::ptr::copy_nonoverlapping(from.cast(), out[i * apart..].as_mut_ptr(), units) };
                    }
                    continue;
                }
                let from = self.scalars.at(self.first_scalar + first, unit * K::PAIR);
                // SAFETY: the caller's; one register holds the tile's scalars.
                unsafe { self.scalars.pack::<K>(from, count, 1, terms, out) }
            }
        }
        let total = self.k.div_ceil(K::PAIR);
        for panel in 0..self.lane_count.div_ceil(16 * Z) {
            let (zs, lanes) = self.panel(panel);
            for (tile, first) in block.clone().step_by(R).enumerate() {
                let count = R.min(block.end - first);
                let scalars = match reading {
                    Reading::InPlace => self.scalars.at(self.first_scalar + first, unit * K::PAIR).cast::<u8>(),
                    _ => room.scalars[tile * tile_size..].as_ptr().cast::<u8>(),
                };
                let sums = if total > self.terms {
                    room.sums[first * self.sums_width() + panel * 16 * Z * R..].as_mut_ptr().cast::<f32>()
                } else {
                    std::ptr::null_mut()
                };
                let lanes_at = room.lanes[panel * 16 * Z * units..].as_ptr().cast();
                let ahead = if block.start == 0 { self.ahead(panel, tile, unit) } else { None };
                let (ahead, ahead_step) = ahead.unwrap_or((lanes_at as *const u8, 0));
                let tile = Tile::<K> {
                    ahead,
                    ahead_step,
                    units,
                    scalars,
                    row,
                    step,
                    lanes: lanes_at,
                    lane_step: 16 * zs,
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
