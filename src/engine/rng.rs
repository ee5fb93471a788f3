//! Counter-based random numbers: Philox4x32-10.
//!
//! A draw is a pure function of `(seed, counter)`, so a dropout mask is regenerated instead of stored, a recomputed
//! segment sees the mask it saw the first time, the result does not depend on the thread count, and a resumed run
//! continues the same stream by restoring two integers.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

use std::cell::Cell;

/// Blocks that [`Stream::blocks`] makes at once.
pub const BLOCKS: usize = 16;

// Multipliers and key increments of Philox4x32.
const M: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const W: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The four 32-bit words of block `counter` in the stream of `seed`.
#[inline]
pub fn philox(seed: u64, counter: u64) -> [u32; 4] {
    philox_4x32_10([counter as u32, (counter >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32])
}

#[inline]
fn philox_4x32_10(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            k = [k[0].wrapping_add(W[0]), k[1].wrapping_add(W[1])];
        }
        let p0 = M[0] * u64::from(c[0]);
        let p1 = M[1] * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
    }
    c
}

/// A stretch of one stream, set aside for one operation: its element `i` is word `i % 4` of block `start + i / 4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    start: u64,
}

impl Stream {
    /// A stream of its own, beginning at block 0.
    pub fn new(seed: u64) -> Self {
        Stream { seed, start: 0 }
    }

    /// The words of block `block`, elements `4 * block .. 4 * block + 4`.
    #[inline]
    pub fn block(&self, block: u64) -> [u32; 4] {
        philox(self.seed, self.start.wrapping_add(block))
    }

    /// The words of [`BLOCKS`] blocks from `first` on: word `w` of block `first + b` is `[w][b]`. The same numbers as
    /// [`Stream::block`]'s, arranged so that vectors can make them.
    #[inline(always)]
    pub fn blocks(&self, first: u64) -> [[u32; BLOCKS]; 4] {
        let mut c = [[0u32; BLOCKS]; 4];
        let [low, high, ..] = &mut c;
        for (b, (low, high)) in low.iter_mut().zip(high).enumerate() {
            let counter = self.start.wrapping_add(first + b as u64);
            (*low, *high) = (counter as u32, (counter >> 32) as u32);
        }
        let mut k = [self.seed as u32, (self.seed >> 32) as u32];
        for round in 0..10 {
            if round > 0 {
                k = [k[0].wrapping_add(W[0]), k[1].wrapping_add(W[1])];
            }
            let [c0, c1, c2, c3] = &mut c;
            for (((c0, c1), c2), c3) in c0.iter_mut().zip(c1).zip(c2).zip(c3) {
                let (p0, p1) = (M[0] * u64::from(*c0), M[1] * u64::from(*c2));
                (*c0, *c1) = ((p1 >> 32) as u32 ^ *c1 ^ k[0], p1 as u32);
                (*c2, *c3) = ((p0 >> 32) as u32 ^ *c3 ^ k[1], p0 as u32);
            }
        }
        c
    }

    /// Element `i` as 32 random bits.
    #[inline]
    pub fn bits(&self, i: u64) -> u32 {
        self.block(i / 4)[(i % 4) as usize]
    }

    /// Element `i`, uniform in [0, 1).
    #[inline]
    pub fn uniform(&self, i: u64) -> f64 {
        f64::from(self.bits(i)) * (1.0 / 4_294_967_296.0)
    }

    /// Element `i`, standard normal (Box-Muller over elements `2i` and `2i + 1`: takes twice as many).
    pub fn normal(&self, i: u64) -> f64 {
        let u = 1.0 - self.uniform(2 * i); // (0, 1]: the logarithm stays finite
        let v = self.uniform(2 * i + 1);
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// An index below `n`, from element `i`. `n` must be at least 1.
    pub fn below(&self, i: u64, n: usize) -> usize {
        let bits = (u64::from(self.bits(2 * i)) << 32) | u64::from(self.bits(2 * i + 1));
        ((u128::from(bits) * n as u128) >> 64) as usize
    }
}

/// Position of the session's stream: all that a saved run needs to continue it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RngState {
    /// Set by `seed(n)`.
    pub seed: u64,
    /// Blocks handed out so far.
    pub offset: u64,
}

thread_local! {
    static SESSION: Cell<RngState> = const { Cell::new(RngState { seed: 0, offset: 0 }) };
    static SEEDED: Cell<u64> = const { Cell::new(0) };
}

/// Starts the session's stream anew.
pub fn seed(seed: u64) {
    SEEDED.set(SEEDED.get() + 1);
    SESSION.set(RngState { seed, offset: 0 });
}

/// The session's stream as it was at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    state: RngState,
    seeded: u64,
}

/// Keeps the session's stream, for what draws from it in between and should leave no trace.
pub fn keep() -> Kept {
    Kept { state: state(), seeded: SEEDED.get() }
}

impl Kept {
    /// Puts the stream back, unless it was seeded since: then that is what was wanted.
    pub fn put_back(self) {
        if self.seeded == SEEDED.get() {
            restore(self.state);
        }
    }
}

/// The session's stream position.
pub fn state() -> RngState {
    SESSION.get()
}

/// Puts the session's stream where it was.
pub fn restore(state: RngState) {
    SESSION.set(state);
}

/// Sets aside `elements` of the session's stream.
pub fn take(elements: usize) -> Stream {
    let at = SESSION.get();
    SESSION.set(RngState { offset: at.offset + (elements as u64).div_ceil(4), ..at });
    Stream { seed: at.seed, start: at.offset }
}

/// `0..n` in an order that depends on `seed` and nothing else (Fisher-Yates).
pub fn permutation(n: usize, seed: u64) -> Vec<usize> {
    let stream = Stream::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, stream.below(i as u64, i + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects dropout masks: blocks made together are those made one by one, across the carry into the high word.
    #[test]
    fn blocks_are_blocks() {
        let stream = Stream { seed: 0x1234_5678_9abc_def0, start: u64::from(u32::MAX) - 5 };
        let together = stream.blocks(3);
        for (b, block) in (3..).take(BLOCKS).enumerate() {
            assert_eq!(together.map(|words| words[b]), stream.block(block));
        }
    }

    /// Known-answer vectors of the authors' Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn matches_random123() {
        assert_eq!(philox_4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox_4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox_4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// Protects resuming: the same position must give the same draws.
    #[test]
    fn restored_state_repeats_the_stream() {
        seed(7);
        take(5);
        let at = state();
        let first = take(8);
        restore(at);
        assert_eq!(first, take(8));
    }

    /// Protects a paused run: draws at the prompt leave no trace, a seed set there does.
    #[test]
    fn kept_streams_come_back() {
        seed(7);
        take(5);
        let at = state();
        let kept = keep();
        take(100);
        kept.put_back();
        assert_eq!(state(), at);
        let kept = keep();
        seed(9);
        take(4);
        kept.put_back();
        assert_eq!(state(), RngState { seed: 9, offset: 1 });
    }

    /// Protects data order: every index exactly once, and another seed another order.
    #[test]
    fn permutation_is_one() {
        let mut p = permutation(100, 3);
        assert_ne!(p, permutation(100, 4));
        p.sort_unstable();
        assert_eq!(p, (0..100).collect::<Vec<_>>());
    }

    /// Protects initialisation: mean and variance of the normal draws.
    #[test]
    fn normal_has_unit_variance() {
        let s = Stream::new(1);
        let x: Vec<f64> = (0..20_000).map(|i| s.normal(i)).collect();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.05, "mean {mean}, variance {var}");
    }
}
