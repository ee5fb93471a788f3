//! One tensor as it lies in a file, and reading it straight from there into the wanted dtype.
//!
//! The values are converted chunk by chunk from the mapped file into the result: besides the result itself, only a few
//! chunks exist at any time.

use super::rope_layout::RowOrder;
use crate::engine::files::bytes::Bytes;
use crate::engine::ops::quant::{Kind, Source};
use crate::engine::{Error, Result, interrupt};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;
use std::borrow::Cow;

/// Elements converted at once.
const CHUNK: usize = 1 << 16;

/// How a file stores numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// bfloat16.
    BF16,
    /// ggml blocks: several values with common scales.
    Blocks(GgmlDType),
}

impl Encoding {
    /// From ggml's type number.
    ///
    /// # Errors
    /// The name of a type that is not supported.
    pub fn from_ggml(number: u32) -> std::result::Result<Self, String> {
        use GgmlDType::*;
        Ok(match number {
            0 => Encoding::F32,
            1 => Encoding::F16,
            2 => Encoding::Blocks(Q4_0),
            3 => Encoding::Blocks(Q4_1),
            6 => Encoding::Blocks(Q5_0),
            7 => Encoding::Blocks(Q5_1),
            8 => Encoding::Blocks(Q8_0),
            10 => Encoding::Blocks(Q2K),
            11 => Encoding::Blocks(Q3K),
            12 => Encoding::Blocks(Q4K),
            13 => Encoding::Blocks(Q5K),
            14 => Encoding::Blocks(Q6K),
            28 => Encoding::F64,
            30 => Encoding::BF16,
            16 => return Err("IQ2_XXS".into()),
            17 => return Err("IQ2_XS".into()),
            18 => return Err("IQ3_XXS".into()),
            19 => return Err("IQ1_S".into()),
            20 => return Err("IQ4_NL".into()),
            21 => return Err("IQ3_S".into()),
            22 => return Err("IQ2_S".into()),
            23 => return Err("IQ4_XS".into()),
            29 => return Err("IQ1_M".into()),
            34 => return Err("TQ1_0".into()),
            35 => return Err("TQ2_0".into()),
            39 => return Err("MXFP4".into()),
            other => return Err(format!("number {other}")),
        })
    }

    /// Name as people write it, e.g. `bf16`, `q4_k`.
    pub fn name(self) -> &'static str {
        use GgmlDType::*;
        match self {
            Encoding::F64 => "f64",
            Encoding::F32 | Encoding::Blocks(F32) => "f32",
            Encoding::F16 | Encoding::Blocks(F16) => "f16",
            Encoding::BF16 | Encoding::Blocks(BF16) => "bf16",
            Encoding::Blocks(Q4_0) => "q4_0",
            Encoding::Blocks(Q4_1) => "q4_1",
            Encoding::Blocks(Q5_0) => "q5_0",
            Encoding::Blocks(Q5_1) => "q5_1",
            Encoding::Blocks(Q8_0) => "q8_0",
            Encoding::Blocks(Q8_1) => "q8_1",
            Encoding::Blocks(Q2K) => "q2_k",
            Encoding::Blocks(Q3K) => "q3_k",
            Encoding::Blocks(Q4K) => "q4_k",
            Encoding::Blocks(Q5K) => "q5_k",
            Encoding::Blocks(Q6K) => "q6_k",
            Encoding::Blocks(Q8K) => "q8_k",
        }
    }

    /// Bytes that `elements` values take; none on overflow.
    pub fn bytes_for(self, elements: usize) -> Option<u64> {
        let (block, bytes) = self.block();
        (elements.div_ceil(block) as u64).checked_mul(bytes as u64)
    }

    /// Values per block (1 for plain floats) and bytes per block.
    fn block(self) -> (usize, usize) {
        match self {
            Encoding::F64 => (1, 8),
            Encoding::F32 => (1, 4),
            Encoding::F16 | Encoding::BF16 => (1, 2),
            Encoding::Blocks(kind) => (kind.block_size(), kind.type_size()),
        }
    }
}

/// A tensor in a file. Its extent has been checked: reading it cannot run past the end.
#[derive(Debug, Clone)]
pub struct Stored {
    bytes: Bytes,
    start: usize,
    row_bytes: usize,
    shape: Vec<usize>,
    encoding: Encoding,
    order: RowOrder,
}

impl Stored {
    /// The tensor of `shape` at `start` in `bytes`.
    ///
    /// # Errors
    /// A message, without the tensor's name, if it does not fit into the file or its rows are no whole blocks.
    pub fn new(bytes: &Bytes, start: u64, encoding: Encoding, shape: Vec<usize>) -> std::result::Result<Self, String> {
        let (block, block_bytes) = encoding.block();
        let cols = shape.last().copied().unwrap_or(1);
        if !cols.is_multiple_of(block) {
            return Err(format!("rows of {cols} values are no whole number of {} blocks of {block}", encoding.name()));
        }
        let row_bytes = (cols / block).checked_mul(block_bytes);
        let outer = shape.iter().rev().skip(1).try_fold(1usize, |n, d| n.checked_mul(*d));
        let len = row_bytes.zip(outer).and_then(|(row, n)| row.checked_mul(n));
        let (Some(row_bytes), Some(len)) = (row_bytes, len) else {
            return Err(format!("the shape {shape:?} is impossibly large"));
        };
        let end = (len as u64).saturating_add(start);
        if end > bytes.len() as u64 {
            return Err(format!("the file is cut short: {} bytes are missing", end - bytes.len() as u64));
        }
        // `end` fits into the mapped file, so `start` fits into usize.
        Ok(Stored { bytes: bytes.clone(), start: start as usize, row_bytes, shape, encoding, order: RowOrder::Same })
    }

    /// The same tensor, its rows kept in `order` in the file.
    pub fn with_order(mut self, order: RowOrder) -> Self {
        self.order = order;
        self
    }

    /// Shape, outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the numbers are stored.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its blocks, rows in Hugging Face's order, if it is a matrix in a format that can be kept as it is.
    pub fn quantized(&self) -> Option<Source<'_>> {
        let kind = match self.encoding {
            Encoding::Blocks(GgmlDType::Q4_0) => Kind::Q4_0,
            Encoding::Blocks(GgmlDType::Q4_1) => Kind::Q4_1,
            Encoding::Blocks(GgmlDType::Q8_0) => Kind::Q8_0,
            _ => return None,
        };
        let &[rows, cols] = self.shape.as_slice() else { return None };
        let data = &self.bytes[self.start..];
        let row = move |row: usize| &data[self.order.source(row) * self.row_bytes..][..self.row_bytes];
        (rows > 0 && cols > 0).then(|| Source { kind, rows, cols, row: Box::new(row) })
    }

    /// The values in `dtype` on `device`, rows in Hugging Face's order.
    ///
    /// # Errors
    /// [`Error::DType`] for a dtype that is no float, [`Error::Interrupted`], or a failure of the device.
    pub fn load(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.shape.as_slice();
        Ok(match dtype {
            DType::F64 => Tensor::from_vec(self.values::<f64>()?, shape, device)?,
            DType::F32 => Tensor::from_vec(self.values::<f32>()?, shape, device)?,
            DType::F16 => Tensor::from_vec(self.values::<f16>()?, shape, device)?,
            DType::BF16 => Tensor::from_vec(self.values::<bf16>()?, shape, device)?,
            other => {
                return Err(Error::dtype(
                    "load",
                    format!("weights cannot be loaded as {other:?}; use f32, bf16, f16 or f64"),
                ));
            }
        })
    }

    /// The values as a vector.
    pub fn values<T: Element>(&self) -> Result<Vec<T>> {
        let mut out = vec![T::default(); self.elements()];
        if out.is_empty() {
            return Ok(out);
        }
        let (block, block_bytes) = self.encoding.block();
        let (cols, row_bytes) = match (self.shape.as_slice(), self.order) {
            // A vector out of order moves value by value.
            ([_] | [], RowOrder::Interleaved { .. }) if block == 1 => (1, block_bytes),
            ([_] | [], RowOrder::Interleaved { .. }) => {
                return Err(Error::dtype(
                    "load",
                    format!("a bias stored as {} is not supported", self.encoding.name()),
                ));
            }
            (shape, _) => (shape.last().copied().unwrap_or(1), self.row_bytes),
        };
        let rows_per_chunk = (CHUNK / cols).max(1);
        out.par_chunks_mut(rows_per_chunk * cols).enumerate().try_for_each(|(chunk, out)| {
            interrupt::poll()?;
            let first = chunk * rows_per_chunk;
            let rows = out.len() / cols;
            let data = &self.bytes[self.start..];
            let raw = match self.order {
                RowOrder::Same => Cow::Borrowed(&data[first * row_bytes..(first + rows) * row_bytes]),
                RowOrder::Interleaved { .. } => {
                    let mut gathered = Vec::with_capacity(rows * row_bytes);
                    for row in first..first + rows {
                        let at = self.order.source(row) * row_bytes;
                        gathered.extend_from_slice(&data[at..at + row_bytes]);
                    }
                    Cow::Owned(gathered)
                }
            };
            decode(self.encoding, &raw, out)
        })?;
        Ok(out)
    }
}

/// A float that tensors are made of.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// Rounded to nearest.
    fn from_f32(x: f32) -> Self;
    /// Rounded to nearest.
    fn from_f64(x: f64) -> Self;
    /// Converts many at once, which is quicker for the 16-bit floats.
    fn from_f32_slice(xs: &[f32], out: &mut [Self]) {
        out.iter_mut().zip(xs).for_each(|(o, x)| *o = Self::from_f32(*x));
    }
}

impl Element for f64 {
    fn from_f32(x: f32) -> Self {
        f64::from(x)
    }
    fn from_f64(x: f64) -> Self {
        x
    }
}

impl Element for f32 {
    fn from_f32(x: f32) -> Self {
        x
    }
    fn from_f64(x: f64) -> Self {
        x as f32
    }
}

macro_rules! half_element {
    ($t:ty) => {
        impl Element for $t {
            fn from_f32(x: f32) -> Self {
                <$t>::from_f32(x)
            }
            fn from_f64(x: f64) -> Self {
                <$t>::from_f64(x)
            }
            fn from_f32_slice(xs: &[f32], out: &mut [Self]) {
                out.convert_from_f32_slice(xs);
            }
        }
    };
}
half_element!(f16);
half_element!(bf16);

/// Converts `raw`, which holds exactly `out.len()` values.
fn decode<T: Element>(encoding: Encoding, raw: &[u8], out: &mut [T]) -> Result<()> {
    match encoding {
        Encoding::F64 => {
            let values = raw.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b));
            out.iter_mut().zip(values).for_each(|(o, x)| *o = T::from_f64(x));
        }
        Encoding::F32 => {
            let values: Vec<f32> = raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            T::from_f32_slice(&values, out);
        }
        Encoding::F16 => {
            let values: Vec<f16> = raw.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
            through_f32(&values, out);
        }
        Encoding::BF16 => {
            let values: Vec<bf16> = raw.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect();
            through_f32(&values, out);
        }
        Encoding::Blocks(kind) => {
            // candle wants blocks at aligned addresses, which a file does not promise.
            let mut aligned = vec![0u64; raw.len().div_ceil(8)];
            let copy = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut aligned)[..raw.len()];
            copy.copy_from_slice(raw);
            let storage = QStorage::from_data(Cow::Borrowed(copy), &Device::Cpu, kind)?;
            let values = QTensor::new(storage, out.len())?.dequantize(&Device::Cpu)?.to_vec1::<f32>()?;
            T::from_f32_slice(&values, out);
        }
    }
    Ok(())
}

/// 16-bit floats to `T`, by way of f32, which holds all of them exactly.
fn through_f32<H, T: Element>(values: &[H], out: &mut [T])
where
    [H]: HalfFloatSliceExt,
{
    let mut wide = vec![0f32; values.len()];
    values.convert_to_f32_slice(&mut wide);
    T::from_f32_slice(&wide, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(values: &[f32], shape: &[usize]) -> Stored {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Stored::new(&Bytes::Static(Vec::leak(bytes)), 0, Encoding::F32, shape.to_vec()).unwrap()
    }

    /// Protects loading: rows land where the order says, in every dtype, across chunk borders.
    #[test]
    fn rows_are_reordered() {
        let (rows, cols) = (64, 2 * CHUNK / 16);
        let values: Vec<f32> = (0..rows * cols).map(|i| (i / cols) as f32).collect();
        let stored = stored(&values, &[rows, cols]).with_order(RowOrder::Interleaved { head_dim: 8 });
        for dtype in [DType::F32, DType::BF16, DType::F16, DType::F64] {
            let t = stored.load(dtype, &Device::Cpu).unwrap();
            assert_eq!(t.dtype(), dtype);
            let first = t.narrow(1, cols - 1, 1).unwrap().flatten_all().unwrap().to_dtype(DType::F32).unwrap();
            let expected: Vec<f32> = [0, 2, 4, 6, 1, 3, 5, 7].map(|x| x as f32).to_vec();
            assert_eq!(first.to_vec1::<f32>().unwrap()[..8], expected);
        }
        assert!(stored.load(DType::U8, &Device::Cpu).is_err());
    }

    /// Protects biases: a vector is reordered value by value.
    #[test]
    fn vectors_are_reordered() {
        let bias = stored(&[0., 1., 2., 3.], &[4]).with_order(RowOrder::Interleaved { head_dim: 4 });
        assert_eq!(bias.values::<f32>().unwrap(), [0., 2., 1., 3.]);
    }

    /// Protects against reading past the end and against overflowing sizes.
    #[test]
    fn extents_are_checked() {
        let bytes = Bytes::Static(&[0; 10]);
        let new = |start, shape: &[usize]| Stored::new(&bytes, start, Encoding::F32, shape.to_vec());
        assert!(new(2, &[2]).is_ok());
        assert!(new(3, &[2]).unwrap_err().contains("1 bytes are missing"));
        assert!(new(u64::MAX, &[2]).is_err());
        assert!(new(0, &[usize::MAX, 8]).unwrap_err().contains("impossibly large"));
        let blocks = Stored::new(&bytes, 0, Encoding::Blocks(GgmlDType::Q4_0), vec![31]);
        assert!(blocks.unwrap_err().contains("q4_0 blocks of 32"));
    }
}
