//! Rows of activations as 8-bit integers: `x ≈ scale * code`, with one scale for each block of 32 neighbours.
//!
//! `scale = max |x| / 127`, codes are rounded to nearest: as ggml's Q8_0 and Q8_1, which llama.cpp multiplies quantized
//! weights with. A block that holds a number which is not finite has NaN for its scale, so that a product shows it.

use super::blocks::BLOCK;

/// Rows of activations, quantized.
#[derive(Debug, Clone, Default)]
pub struct Activations {
    /// `[rows, cols]`.
    pub(super) codes: Vec<i8>,
    /// `[rows, cols / 32]`.
    pub(super) scales: Vec<f32>,
    /// Sum of each block's codes, `[rows, cols / 32]`.
    pub(super) sums: Vec<i32>,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl Activations {
    /// Quantizes `x` `[rows, cols]`; `cols` is a multiple of 32.
    pub fn new(x: &[f32], cols: usize) -> Self {
        let blocks = x.len() / BLOCK;
        let mut codes = vec![0i8; x.len()];
        let (mut scales, mut sums) = (vec![0.0; blocks], vec![0; blocks]);
        super::vectorised(|| {
            let all = x.as_chunks::<BLOCK>().0.iter().zip(codes.as_chunks_mut::<BLOCK>().0);
            for ((x, codes), (scale, sum)) in all.zip(scales.iter_mut().zip(&mut sums)) {
                (*scale, *sum) = quantize(x, codes);
            }
        });
        Activations { codes, scales, sums, rows: x.len().checked_div(cols).unwrap_or(0), cols }
    }
}

/// The block's scale, and the sum of its codes.
#[inline(always)]
fn quantize(x: &[f32; BLOCK], codes: &mut [i8; BLOCK]) -> (f32, i32) {
    /// 1.5 * 2^23: adding it to a small number leaves that number, rounded to nearest even, in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let mut largest = [0f32; 16];
    let mut finite = [0f32; 16];
    for x in x.as_chunks::<16>().0 {
        for lane in 0..16 {
            let size = x[lane].abs();
            largest[lane] = if size > largest[lane] { size } else { largest[lane] };
            finite[lane] += x[lane] * 0.0; // NaN unless x is finite
        }
    }
    let mut half = 8;
    while half > 0 {
        for lane in 0..half {
            largest[lane] = if largest[lane + half] > largest[lane] { largest[lane + half] } else { largest[lane] };
            finite[lane] += finite[lane + half];
        }
        half /= 2;
    }
    let scale = largest[0] / 127.0;
    // A block of the smallest numbers there are is a block of zeros.
    let inverse = if scale >= f32::MIN_POSITIVE { scale.recip() } else { 0.0 };
    let mut sum = 0;
    for (code, x) in codes.iter_mut().zip(x) {
        let rounded = (x * inverse + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
        *code = rounded as i8;
        sum += i32::from(*code);
    }
    (scale + finite[0], sum)
}
