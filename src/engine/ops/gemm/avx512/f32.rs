//! The f32 kernel.

use super::super::dense::Update;
use super::{Kernel, Tile, first, transpose};
use std::arch::x86_64::*;

pub(super) struct F32;

// `f32_supported` asks for AVX-512F.
impl Kernel for F32 {
    type T = f32;
    type Unit = f32;
    type Units = __m512;
    const PAIR: usize = 1;

    #[target_feature(enable = "avx512f")]
    unsafe fn pack_rows(x: *const f32, vector: usize, lanes: usize, zs: usize, terms: usize, out: *mut f32) {
        for z in 0..zs {
            let rows = lanes.saturating_sub(16 * z).min(16);
            let x = x.wrapping_add(16 * z * vector); // not read where there is no row
            // SAFETY: the caller's.
            unsafe { transpose::pack(x, vector, rows, terms, out.add(16 * z), 16 * zs) }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn pack_cols(x: *const f32, term: usize, lanes: usize, zs: usize, terms: usize, out: *mut f32) {
        for p in 0..terms {
            for z in 0..zs {
                let mask = first((lanes - 16 * z).min(16));
                // SAFETY: the caller's; the mask leaves out what is no lane.
                unsafe {
                    let lanes = _mm512_maskz_loadu_ps(mask, x.add(p * term + 16 * z));
                    _mm512_storeu_ps(out.add((p * zs + z) * 16), lanes);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn scalar(x: *const u8) -> __m512 {
        // SAFETY: the caller's; elements of a slice of f32 are aligned.
        unsafe { _mm512_set1_ps(x.cast::<f32>().read()) }
    }

    #[inline(always)]
    unsafe fn lanes(x: *const f32) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sums: __m512, x: __m512, y: __m512) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_fmadd_ps(x, y, sums) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m512, to: *mut f32, count: usize, update: Update) {
        let mask = first(count);
        // SAFETY: the caller's; the mask leaves out what is past `count`.
        unsafe {
            let mut y = _mm512_mul_ps(sums, _mm512_set1_ps(update.factor));
            if update.add {
                y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, to));
            }
            _mm512_mask_storeu_ps(to, mask, y);
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn run<const R: usize, const Z: usize>(tile: &Tile<Self>) {
        // SAFETY: the caller's.
        unsafe { tile.run::<R, Z>() }
    }
}
