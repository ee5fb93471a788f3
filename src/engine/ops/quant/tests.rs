//! Every format, by both kernels, against candle's reading of the same blocks and against plain products in f64.

use super::blocks::{BLOCK, GROUP};
use super::*;
use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::{bf16, f16};
use std::borrow::Cow;

fn words(n: usize, seed: u64) -> impl Iterator<Item = u32> {
    (0..n as u64).map(move |i| crate::engine::rng::philox(seed, i)[0])
}

/// Activations between -2 and 2.
pub(in crate::engine::ops) fn activations(n: usize, seed: u64) -> Vec<f32> {
    words(n, seed).map(|w| (w >> 8) as f32 / (1 << 22) as f32 - 2.0).collect()
}

/// Blocks as a file has them: any codes, scales and offsets of usual sizes and both signs.
fn file(kind: Kind, rows: usize, cols: usize, seed: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = words(rows * cols / BLOCK * kind.block_bytes(), seed).map(|w| (w >> 16) as u8).collect();
    let halves = if kind == Kind::Q4_1 { 2 } else { 1 };
    let numbers = activations(1 << 12, seed + 1);
    for (block, numbers) in bytes.chunks_exact_mut(kind.block_bytes()).zip(numbers.chunks(2).cycle()) {
        for (i, x) in numbers.iter().enumerate().take(halves) {
            block[2 * i..][..2].copy_from_slice(&f16::from_f32(x / 40.0).to_le_bytes());
        }
    }
    bytes
}

fn pack(kind: Kind, rows: usize, cols: usize, bytes: &[u8]) -> Matrix {
    let row_bytes = cols / BLOCK * kind.block_bytes();
    let row = Box::new(move |i: usize| &bytes[i * row_bytes..][..row_bytes]);
    Matrix::pack::<()>(&[Source { kind, rows, cols, row }], |_| Ok(())).unwrap().remove(0)
}

/// A matrix of `kind`, always the same one.
pub(in crate::engine::ops) fn matrix(kind: Kind, rows: usize, cols: usize) -> Matrix {
    pack(kind, rows, cols, &file(kind, rows, cols, 7))
}

/// Candle's numbers of the same blocks.
fn by_candle(kind: Kind, rows: usize, cols: usize, bytes: &[u8]) -> Vec<f32> {
    let dtype = match kind {
        Kind::Q4_0 => GgmlDType::Q4_0,
        Kind::Q4_1 => GgmlDType::Q4_1,
        Kind::Q8_0 => GgmlDType::Q8_0,
    };
    let mut aligned = vec![0u64; bytes.len().div_ceil(8)];
    let copy = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut aligned)[..bytes.len()];
    copy.copy_from_slice(bytes);
    let storage = QStorage::from_data(Cow::Borrowed(copy), &Device::Cpu, dtype).unwrap();
    let values = QTensor::new(storage, (rows, cols)).unwrap().dequantize(&Device::Cpu).unwrap();
    values.flatten_all().unwrap().to_vec1().unwrap()
}

const SIZES: [(usize, usize); 6] = [(1, 32), (3, 64), (16, 96), (17, 32), (40, 576), (100, 1536)];

/// Protects every product with a quantized weight: its numbers are candle's, bit for bit, read row by row, by either kernel,
/// and in bf16; groups that are not full end where they should.
#[test]
fn numbers_are_candles() {
    for kind in Kind::ALL {
        for (rows, cols) in SIZES {
            let bytes = file(kind, rows, cols, 7);
            let (matrix, want) = (pack(kind, rows, cols, &bytes), by_candle(kind, rows, cols, &bytes));
            let mut fast = vec![f32::NAN; rows * cols];
            matrix.rows_f32(0, &mut fast);
            assert!(fast == want, "{kind:?} {rows} x {cols}");
            let mut low = vec![bf16::NAN; rows * cols];
            matrix.rows_bf16(0, &mut low);
            assert!(low.iter().zip(&want).all(|(l, w)| *l == bf16::from_f32(*w)), "bf16, {kind:?} {rows} x {cols}");
            let mut row = vec![f32::NAN; cols];
            for (i, want) in want.chunks(cols).enumerate() {
                matrix.row(i, &mut row);
                assert!(row == want, "row {i} of {kind:?} {rows} x {cols}");
            }
            if rows > GROUP {
                let mut rest = vec![f32::NAN; (rows - GROUP) * cols];
                matrix.rows_f32(GROUP, &mut rest);
                assert!(rest == want[GROUP * cols..], "rows from {GROUP} on");
            }
        }
    }
}

/// Protects decoding: products of one to eight rows in integers agree with those of the dequantized weight to four digits of
/// their terms' size, by the kernel for this processor and by the portable one.
#[test]
fn products_agree_with_dequantized() {
    for kind in Kind::ALL {
        for (n, k) in SIZES {
            let matrix = matrix(kind, n, k);
            let mut w = vec![0.0; n * k];
            matrix.rows_f32(0, &mut w);
            for rows in 1..=ROWS {
                let x = activations(rows * k, 3);
                let quantized = Activations::new(&x, k);
                let mut got = vec![f32::NAN; rows * n];
                multiply(&quantized, &mut [Product { matrix: &matrix, out: &mut got }]);
                let mut plain = [[0.0; GROUP]; ROWS];
                for (at, got) in got.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let terms = (0..k).map(|p| f64::from(x[i * k + p]) * f64::from(w[j * k + p]));
                    let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t * t));
                    let bound = 2e-4 * f64::sqrt(size) + 1e-6;
                    assert!((f64::from(*got) - sum).abs() < bound, "{kind:?} {n} x {k}, {rows} rows: {got} {sum}");
                    portable::products(kind, matrix.group(j / GROUP), &quantized, &mut plain);
                    let plain = plain[i][j % GROUP];
                    assert!((f64::from(plain) - sum).abs() < bound, "portable {kind:?} {n} x {k}: {plain} {sum}");
                }
            }
        }
    }
}

/// Protects several products at once, and the number of threads: each is what it is alone.
#[test]
fn together_as_alone() {
    let (a, b) = (matrix(Kind::Q4_1, 700, 576), matrix(Kind::Q8_0, 33, 576));
    let x = Activations::new(&activations(2 * 576, 3), 576);
    let alone = |m: &Matrix| {
        let mut out = vec![0.0; 2 * m.dims()[0]];
        multiply(&x, &mut [Product { matrix: m, out: &mut out }]);
        out
    };
    let (mut both_a, mut both_b) = (vec![0.0; 1400], vec![0.0; 66]);
    let both = &mut [Product { matrix: &a, out: &mut both_a }, Product { matrix: &b, out: &mut both_b }];
    multiply(&x, both);
    assert!(both_a == alone(&a) && both_b == alone(&b));
}

/// Protects the report of a run gone wrong: a number that is not finite makes its row's products NaN, and no other's; zeros
/// and the smallest numbers give zeros.
#[test]
fn what_is_not_finite_shows() {
    let matrix = matrix(Kind::Q4_1, 20, 64);
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = activations(3 * 64, 3);
        x[64 + 40] = wrong;
        x[..64].fill(0.0);
        x[5] = 1e-44;
        let mut out = vec![0.0; 60];
        multiply(&Activations::new(&x, 64), &mut [Product { matrix: &matrix, out: &mut out }]);
        assert!(out[..20].iter().all(|x| *x == 0.0), "{out:?}");
        assert!(out[20..40].iter().all(|x| x.is_nan()) && out[40..].iter().all(|x| x.is_finite()), "{out:?}");
    }
}
