//! Cells on AVX-512: integer products with VNNI, and weights as f32 or bf16.
//!
//! `vpdpbusd` multiplies four unsigned bytes with four signed ones and adds the products to a 32-bit sum, exactly: with a
//! row of weights in each lane, eight of them are a block's sum for sixteen rows, and twice eight that of both bytes of the
//! activations. For a block with codes `q` and activations `s a`: `Σ w x = d s (Σ q a - zero Σ a) + m s Σ a`.
//! The sums stay below 2^31: `32 * 255 * 32639`.

use super::activations::Activations;
use super::blocks::{BLOCK, GROUP, HALVES, Kind, REGISTER};
use half::bf16;
use std::arch::x86_64::*;

/// Whether the processor has what [`products`] needs.
pub(super) fn products_supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// Whether the processor has what [`unpack_f32`] and [`unpack_bf16`] need.
pub(super) fn unpack_supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
}

/// Sixteen f16 as f32.
#[inline(always)]
unsafe fn halves(at: *const u8) -> __m512 {
    // SAFETY: the caller's: 32 bytes are there, and the processor has AVX-512F.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
}

/// All codes of a cell whose codes begin at `at`, a byte each: weights `4 v .. 4 v + 4` of each row in register `v`.
#[inline(always)]
unsafe fn codes(kind: Kind, at: *const u8) -> [__m512i; 8] {
    // SAFETY: the caller's: the codes of a cell are there, and the processor has AVX-512BW.
    unsafe {
        let register = |v: usize| _mm512_loadu_si512(at.add(v * REGISTER).cast());
        if kind == Kind::Q8_0 {
            return std::array::from_fn(register);
        }
        let low = _mm512_set1_epi8(15);
        let both: [__m512i; 4] = std::array::from_fn(register);
        std::array::from_fn(|v| match v {
            0..4 => _mm512_and_si512(both[v], low),
            _ => _mm512_and_si512(_mm512_srli_epi16::<4>(both[v - 4]), low),
        })
    }
}

/// Offset of a cell's codes.
const fn codes_at(kind: Kind) -> usize {
    match kind {
        Kind::Q4_1 => 2 * HALVES,
        Kind::Q4_0 | Kind::Q8_0 => HALVES,
    }
}

/// `M` rows of activations by the sixteen rows of one group.
#[inline(always)]
unsafe fn group<const M: usize>(kind: Kind, cells: &[u8], x: &Activations) -> [[f32; GROUP]; M] {
    let blocks = x.cols / BLOCK;
    assert!(x.rows >= M && cells.len() == blocks * kind.cell_bytes(), "activations fit the cells");
    // SAFETY: the caller's processor features; the assertion says that cells and activations have `blocks` blocks.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); M];
        for block in 0..blocks {
            let cell = cells.as_ptr().add(block * kind.cell_bytes());
            let d = halves(cell);
            let q = codes(kind, cell.add(codes_at(kind)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let at = row * blocks + block;
                let a = x.codes.as_ptr().add(2 * at * BLOCK).cast::<i32>();
                let four = |v: usize| _mm512_set1_epi32(a.add(v).read_unaligned());
                let (scale, total) = (*x.scales.get_unchecked(at), *x.sums.get_unchecked(at));
                let zero = _mm512_setzero_si512();
                let (mut high, mut low) = ([zero; 2], [_mm512_set1_epi32(-kind.zero() * total), zero]);
                for v in 0..4 {
                    high[0] = _mm512_dpbusd_epi32(high[0], q[v], four(v));
                    high[1] = _mm512_dpbusd_epi32(high[1], q[v + 4], four(v + 4));
                    low[0] = _mm512_dpbusd_epi32(low[0], q[v], four(v + 8));
                    low[1] = _mm512_dpbusd_epi32(low[1], q[v + 4], four(v + 12));
                }
                let high = _mm512_slli_epi32::<8>(_mm512_add_epi32(high[0], high[1]));
                let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(high, _mm512_add_epi32(low[0], low[1])));
                *sums = _mm512_fmadd_ps(dot, _mm512_mul_ps(d, _mm512_set1_ps(scale)), *sums);
                if kind == Kind::Q4_1 {
                    *sums = _mm512_fmadd_ps(halves(cell.add(HALVES)), _mm512_set1_ps(scale * total as f32), *sums);
                }
            }
        }
        sums.map(|s| std::mem::transmute::<__m512, [f32; GROUP]>(s))
    }
}

/// The products of all rows of `x`, at most eight, with the sixteen rows of a group: `out[row]`.
///
/// # Safety
/// Needs what [`products_supported`] asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn products(kind: Kind, cells: &[u8], x: &Activations, out: &mut [[f32; GROUP]; super::ROWS]) {
    macro_rules! by_rows {
        ($($m:literal)*) => {
            match (kind, x.rows) {
                $((Kind::Q4_0, $m) => out[..$m].copy_from_slice(&unsafe { group::<$m>(Kind::Q4_0, cells, x) }),
                (Kind::Q4_1, $m) => out[..$m].copy_from_slice(&unsafe { group::<$m>(Kind::Q4_1, cells, x) }),
                (Kind::Q8_0, $m) => out[..$m].copy_from_slice(&unsafe { group::<$m>(Kind::Q8_0, cells, x) }),)*
                _ => unreachable!("one to eight rows"),
            }
        };
    }
    // SAFETY (each arm): the caller's.
    by_rows!(1 2 3 4 5 6 7 8)
}

/// A four by four matrix of 32-bit numbers in each 128-bit lane, turned.
#[inline(always)]
unsafe fn turn(x: [__m512i; 4]) -> [__m512i; 4] {
    // SAFETY: the caller's: AVX-512F.
    unsafe {
        let (a, b) = (_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
        let (c, d) = (_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
        [
            _mm512_unpacklo_epi64(a, c),
            _mm512_unpackhi_epi64(a, c),
            _mm512_unpacklo_epi64(b, d),
            _mm512_unpackhi_epi64(b, d),
        ]
    }
}

/// The weights of the first `rows` rows of a group, `store(row, column, sixteen weights)`.
#[inline(always)]
unsafe fn unpack(kind: Kind, cells: &[u8], rows: usize, store: impl Fn(usize, usize, __m512)) {
    for (block, cell) in cells.chunks_exact(kind.cell_bytes()).enumerate() {
        // SAFETY: the caller's processor features; the cell is whole. The types of the transmutations are 64 bytes each.
        unsafe {
            let numbers = |at: usize| std::mem::transmute::<__m512, [f32; GROUP]>(halves(cell.as_ptr().add(at)));
            let (d, m) = (numbers(0), (kind == Kind::Q4_1).then(|| numbers(HALVES)));
            let q = codes(kind, cell.as_ptr().add(codes_at(kind)));
            // After the turn lane `l` of register `r` has sixteen codes of row `4 l + r`.
            for (half, q) in [turn([q[0], q[1], q[2], q[3]]), turn([q[4], q[5], q[6], q[7]])].into_iter().enumerate() {
                for (r, q) in q.into_iter().enumerate() {
                    let lanes = std::mem::transmute::<__m512i, [__m128i; 4]>(q);
                    for (l, q) in lanes.into_iter().enumerate().filter(|(l, _)| 4 * l + r < rows) {
                        let row = 4 * l + r;
                        let q = _mm512_sub_epi32(_mm512_cvtepu8_epi32(q), _mm512_set1_epi32(kind.zero()));
                        // Not fused: the numbers are those that ggml and candle make of the block.
                        let mut w = _mm512_mul_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(d[row]));
                        if let Some(m) = m {
                            w = _mm512_add_ps(w, _mm512_set1_ps(m[row]));
                        }
                        store(row, block * BLOCK + 16 * half, w);
                    }
                }
            }
        }
    }
}

/// [`unpack`], compiled for each kind.
#[inline(always)]
unsafe fn unpack_kind(kind: Kind, cells: &[u8], rows: usize, store: impl Fn(usize, usize, __m512)) {
    // SAFETY (each arm): the caller's.
    match kind {
        Kind::Q4_0 => unsafe { unpack(Kind::Q4_0, cells, rows, store) },
        Kind::Q4_1 => unsafe { unpack(Kind::Q4_1, cells, rows, store) },
        Kind::Q8_0 => unsafe { unpack(Kind::Q8_0, cells, rows, store) },
    }
}

/// The weights of a group's rows, row-major, as many rows as `out` has.
///
/// # Safety
/// Needs what [`unpack_supported`] asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn unpack_f32(kind: Kind, cells: &[u8], out: &mut [f32], cols: usize) {
    let (rows, to) = (out.len() / cols, out.as_mut_ptr());
    assert!(rows <= GROUP && cells.len() == cols / BLOCK * kind.cell_bytes(), "whole rows of a group");
    // SAFETY: the caller's; row and column are inside `out`.
    unsafe { unpack_kind(kind, cells, rows, |row, col, w| _mm512_storeu_ps(to.add(row * cols + col), w)) }
}

/// As [`unpack_f32`], rounded to nearest even.
///
/// # Safety
/// As [`unpack_f32`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn unpack_bf16(kind: Kind, cells: &[u8], out: &mut [bf16], cols: usize) {
    let (rows, to) = (out.len() / cols, out.as_mut_ptr());
    assert!(rows <= GROUP && cells.len() == cols / BLOCK * kind.cell_bytes(), "whole rows of a group");
    // SAFETY: as above; the types of the transmutation are 32 bytes each.
    unsafe {
        unpack_kind(kind, cells, rows, |row, col, w| {
            let low = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(w));
            _mm256_storeu_si256(to.add(row * cols + col).cast(), low);
        });
    }
}
