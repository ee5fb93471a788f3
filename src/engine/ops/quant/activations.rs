//! Rows of activations as integers of 16 bits in two bytes: `x ≈ scale (256 high + low)`, with one scale for each block of 32
//! neighbours.
//!
//! `scale = max |x| / 32512`, so that `high` is at most 127: ggml's Q8_0, which llama.cpp multiplies quantized weights with,
//! and eight more bits. Decoding waits for the weights to be read, so that the second half of the product costs little, and
//! results are those of the dequantized weights to four digits, not to two. A block that holds a number which is not finite
//! has NaN for its scale, so that a product shows it.

use super::blocks::BLOCK;

/// Largest code, `256 * 127`.
const MOST: f32 = 32_512.0;

/// Rows of activations, quantized.
#[derive(Debug, Clone, Default)]
pub struct Activations {
    /// `[rows, cols / 32, 2, 32]`: the high bytes of a block, then its low ones.
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
        let mut codes = vec![0i8; 2 * x.len()];
        let (mut scales, mut sums) = (vec![0.0; blocks], vec![0; blocks]);
        super::vectorised(|| {
            let all = x.as_chunks::<BLOCK>().0.iter().zip(codes.as_chunks_mut::<{ 2 * BLOCK }>().0);
            for ((x, codes), (scale, sum)) in all.zip(scales.iter_mut().zip(&mut sums)) {
                (*scale, *sum) = quantize(x, codes);
            }
        });
        Activations { codes, scales, sums, rows: x.len().checked_div(cols).unwrap_or(0), cols }
    }
}

/// The block's scale, and the sum of its codes.
#[inline(always)]
fn quantize(x: &[f32; BLOCK], codes: &mut [i8; 2 * BLOCK]) -> (f32, i32) {
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
    let scale = largest[0] / MOST;
    // A block of the smallest numbers there are is a block of zeros.
    let inverse = if scale >= f32::MIN_POSITIVE { scale.recip() } else { 0.0 };
    let mut sum = 0;
    let (high, low) = codes.split_at_mut(BLOCK);
    for ((high, low), x) in high.iter_mut().zip(low).zip(x) {
        let code = (x * inverse + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
        // `low` is from -128 to 127: the bits below, read with their sign.
        *low = code as i8;
        *high = ((code - i32::from(*low)) >> 8) as i8;
        sum += code;
    }
    (scale + finite[0], sum)
}
