//! Sixteen registers of sixteen 32-bit numbers, turned.

use std::arch::x86_64::*;

/// Lane `l` of result `j` is lane `j` of row `l`; rows that are not there count as zeros.
///
/// # Safety
/// Needs AVX-512F; to be inlined into a function that has it.
#[inline(always)]
pub(super) unsafe fn columns<const ROWS: usize>(rows: &[__m512; ROWS]) -> [__m512; 16] {
    // SAFETY: the caller's.
    unsafe {
        let mut r = [_mm512_setzero_ps(); 16];
        r[..ROWS].copy_from_slice(rows);
        let (d, s) = (|x| _mm512_castps_pd(x), |x| _mm512_castpd_ps(x));
        let mut t = r;
        // Pairs of rows, element by element; pairs of pairs; then quarters of registers, twice.
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for i in (0..16).step_by(4) {
            r[i] = s(_mm512_unpacklo_pd(d(t[i]), d(t[i + 2])));
            r[i + 1] = s(_mm512_unpackhi_pd(d(t[i]), d(t[i + 2])));
            r[i + 2] = s(_mm512_unpacklo_pd(d(t[i + 1]), d(t[i + 3])));
            r[i + 3] = s(_mm512_unpackhi_pd(d(t[i + 1]), d(t[i + 3])));
        }
        for i in 0..4 {
            t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 4]);
            t[i + 4] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 4]);
            t[i + 8] = _mm512_shuffle_f32x4::<0x88>(r[i + 8], r[i + 12]);
            t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(r[i + 8], r[i + 12]);
        }
        for i in 0..4 {
            r[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 8]);
            r[i + 4] = _mm512_shuffle_f32x4::<0x88>(t[i + 4], t[i + 12]);
            r[i + 8] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[i + 8]);
            r[i + 12] = _mm512_shuffle_f32x4::<0xdd>(t[i + 4], t[i + 12]);
        }
        r
    }
}

/// Turns `rows <= 16` vectors of 32-bit units, `vector` units apart from `x` on, into `units` groups of 16 from `out` on,
/// `apart` units from one to the next; what has no vector is zero.
///
/// # Safety
/// Needs AVX-512F; `x` and `out` hold that much.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn pack(x: *const f32, vector: usize, rows: usize, units: usize, out: *mut f32, apart: usize) {
    for first in (0..units).step_by(16) {
        let count = (units - first).min(16);
        let mask = super::first(count);
        // SAFETY: the caller's; the mask leaves out what is past the end of a vector.
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for (i, r) in r.iter_mut().enumerate().take(rows) {
                *r = _mm512_maskz_loadu_ps(mask, x.add(i * vector + first));
            }
            for (j, column) in columns(&r).into_iter().enumerate().take(count) {
                _mm512_storeu_ps(out.add((first + j) * apart), column);
            }
        }
    }
}
