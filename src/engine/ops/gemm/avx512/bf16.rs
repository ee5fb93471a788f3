//! The bf16 kernel: `vdpbf16ps` adds the products of two pairs of bf16 to an f32, two terms of the sum in one instruction.
//!
//! It rounds to nearest even and takes denormal numbers for zero (Intel, "Intel 64 and IA-32 Architectures Software
//! Developer's Manual", volume 2, VDPBF16PS).

use super::super::dense::Update;
use super::{Kernel, Tile, first, transpose};
use half::bf16;
use std::arch::x86_64::*;

pub(super) struct Bf16Pairs;

// `bf16_supported` asks for AVX-512F, BW, VL and BF16.
impl Kernel for Bf16Pairs {
    type T = bf16;
    type Unit = u32;
    type Units = __m512bh;
    const PAIR: usize = 2;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn pack_rows(x: *const bf16, vector: usize, lanes: usize, zs: usize, terms: usize, out: *mut u32) {
        if vector.is_multiple_of(2) && terms.is_multiple_of(2) {
            for z in 0..zs {
                let rows = (lanes - 16 * z).min(16);
                // SAFETY: the caller's; a pair is a unit of 32 bits, which need not be aligned here.
                unsafe {
                    let x = x.add(16 * z * vector).cast::<f32>();
                    transpose::pack(x, vector / 2, rows, terms / 2, out.add(16 * z).cast::<f32>(), 16 * zs);
                }
            }
            return;
        }
        for p in 0..terms.div_ceil(2) {
            for lane in 0..16 * zs {
                let bits = |term: usize| {
                    if lane < lanes && term < terms {
                        // SAFETY: the caller's: the vector has that term.
                        u32::from(unsafe { x.add(lane * vector + term).read() }.to_bits())
                    } else {
                        0
                    }
                };
                let pair = bits(2 * p) | bits(2 * p + 1) << 16;
                // SAFETY: the caller's.
                unsafe { out.add(p * 16 * zs + lane).write(pair) };
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn pack_cols(x: *const bf16, term: usize, lanes: usize, zs: usize, terms: usize, out: *mut u32) {
        for z in 0..zs {
            let mask = first((lanes - 16 * z).min(16));
            for p in 0..terms.div_ceil(2) {
                // SAFETY: the caller's; masks leave out what is no lane, and the term after an odd last one is not read.
                unsafe {
                    let at = x.add(2 * p * term + 16 * z).cast::<i16>();
                    let low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, at));
                    let high = if 2 * p + 1 < terms {
                        _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, at.add(term)))
                    } else {
                        _mm512_setzero_si512()
                    };
                    let pairs = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
                    _mm512_storeu_si512(out.add((p * zs + z) * 16).cast(), pairs);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn scalar(x: *const u8) -> __m512bh {
        // SAFETY: the caller's; a pair of bf16 is aligned to two bytes. The types of the transmutation are 64 bytes each.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(x.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn lanes(x: *const u32) -> __m512bh {
        // SAFETY: as above.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(x.cast())) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sums: __m512, x: __m512bh, y: __m512bh) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_dpbf16_ps(sums, x, y) }
    }

    #[inline(always)]
    unsafe fn store(sums: __m512, to: *mut bf16, count: usize, update: Update) {
        let (mask, to) = (first(count), to.cast::<i16>());
        // SAFETY: the caller's; the mask leaves out what is past `count`. The types of the transmutation are 32 bytes each.
        unsafe {
            let mut y = _mm512_mul_ps(sums, _mm512_set1_ps(update.factor));
            if update.add {
                let before = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, to));
                y = _mm512_add_ps(y, _mm512_castsi512_ps(_mm512_slli_epi32::<16>(before)));
            }
            let low = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(y));
            _mm256_mask_storeu_epi16(to, mask, low);
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run<const R: usize, const Z: usize>(tile: &Tile<Self>) {
        // SAFETY: the caller's.
        unsafe { tile.run::<R, Z>() }
    }
}
