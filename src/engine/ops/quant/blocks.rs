//! Blocks of 32 weights with common scales, as GGUF files have them, and the layout that we keep them in.
//!
//! A weight is `w = d (q - zero) + m`, with an unsigned code `q` and a scale `d` (in Q4_1 also an offset `m`) for each 32
//! neighbours of a row:
//!
//! | kind | in a file, for each block | code | zero | bits a weight |
//! | --- | --- | --- | --- | --- |
//! | Q4_0 | d f16, 16 bytes of codes | 4 bits | 8 | 4.5 |
//! | Q4_1 | d f16, m f16, 16 bytes of codes | 4 bits | 0 | 5 |
//! | Q8_0 | d f16, 32 signed bytes | the byte + 128 | 128 | 8.5 |
//!
//! Byte `i` of 4-bit codes has that of weight `i` in its low half and that of weight `i + 16` in its high half.
//! Source: ggml, `ggml-common.h` and `ggml-quants.c`.
//!
//! In memory the same bits stand in another order, as llama.cpp's repacked types have it: the blocks of [`GROUP`] rows at
//! one place of the columns are a *cell*: their scales, their offsets, then their codes four bytes of each row at a time. A
//! register of a cell's codes then has a row in each lane, so that a product needs no sum across lanes, and a group of
//! rows is read from front to back.

use half::f16;

/// Weights with common scales.
pub const BLOCK: usize = 32;
/// Rows whose blocks stand side by side.
pub const GROUP: usize = 16;
/// Bytes of one scale or offset for each row of a group.
pub(super) const HALVES: usize = GROUP * size_of::<f16>();
/// Bytes of four code bytes for each row of a group: a register.
pub(super) const REGISTER: usize = GROUP * 4;

/// A format of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and an offset.
    Q4_1,
    /// 8 bits and a scale.
    Q8_0,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Q4_0, Kind::Q4_1, Kind::Q8_0];

    /// ggml's name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Q4_0 => "q4_0",
            Kind::Q4_1 => "q4_1",
            Kind::Q8_0 => "q8_0",
        }
    }

    /// The code that stands for zero.
    pub const fn zero(self) -> i32 {
        match self {
            Kind::Q4_0 => 8,
            Kind::Q4_1 => 0,
            Kind::Q8_0 => 128,
        }
    }

    /// Bytes of a block in a file.
    pub const fn block_bytes(self) -> usize {
        self.head_bytes() + self.code_bytes()
    }

    /// Bytes of a cell.
    pub const fn cell_bytes(self) -> usize {
        GROUP * self.block_bytes()
    }

    /// Bytes of a block's scale, and offset.
    const fn head_bytes(self) -> usize {
        match self {
            Kind::Q4_1 => 4,
            Kind::Q4_0 | Kind::Q8_0 => 2,
        }
    }

    /// Bytes of a block's codes.
    pub(super) const fn code_bytes(self) -> usize {
        match self {
            Kind::Q8_0 => BLOCK,
            Kind::Q4_0 | Kind::Q4_1 => BLOCK / 2,
        }
    }

    /// Bytes of `rows` by `cols` weights in memory: whole groups.
    pub const fn bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match rows.div_ceil(GROUP).checked_mul(cols / BLOCK) {
            Some(cells) => cells.checked_mul(self.cell_bytes()),
            None => None,
        }
    }
}

/// Puts the rows of a group, blocks as in a file, into the group's cells.
pub(super) fn pack_group(kind: Kind, rows: &[&[u8]], cells: &mut [u8]) {
    match kind {
        Kind::Q4_0 => pack(Kind::Q4_0, rows, cells),
        Kind::Q4_1 => pack(Kind::Q4_1, rows, cells),
        Kind::Q8_0 => pack(Kind::Q8_0, rows, cells),
    }
}

/// [`pack_group`], compiled for each kind.
#[inline(always)]
fn pack(kind: Kind, rows: &[&[u8]], cells: &mut [u8]) {
    // The sign bit turned is 128 added.
    let turn = if kind == Kind::Q8_0 { 0x8080_8080u32 } else { 0 };
    for (block, cell) in cells.chunks_exact_mut(kind.cell_bytes()).enumerate() {
        let (heads, registers) = cell.split_at_mut(GROUP * kind.head_bytes());
        for (lane, row) in rows.iter().enumerate() {
            let (head, codes) = row[block * kind.block_bytes()..][..kind.block_bytes()].split_at(kind.head_bytes());
            for (half, heads) in head.as_chunks::<2>().0.iter().zip(heads.chunks_exact_mut(HALVES)) {
                heads[2 * lane..][..2].copy_from_slice(half);
            }
            for (four, register) in codes.as_chunks::<4>().0.iter().zip(registers.as_chunks_mut::<REGISTER>().0) {
                register[4 * lane..][..4].copy_from_slice(&(u32::from_le_bytes(*four) ^ turn).to_le_bytes());
            }
        }
    }
}

/// A cell, row by row.
pub(super) struct Cell<'a> {
    kind: Kind,
    heads: &'a [u8],
    registers: &'a [[u8; REGISTER]],
}

impl<'a> Cell<'a> {
    pub(super) fn new(kind: Kind, cell: &'a [u8]) -> Self {
        let (heads, registers) = cell.split_at(GROUP * kind.head_bytes());
        Cell { kind, heads, registers: registers.as_chunks().0 }
    }

    fn half(&self, at: usize) -> f32 {
        f16::from_le_bytes([self.heads[2 * at], self.heads[2 * at + 1]]).to_f32()
    }

    /// Scales of the rows.
    pub(super) fn scales(&self) -> [f32; GROUP] {
        std::array::from_fn(|lane| self.half(lane))
    }

    /// Offsets of the rows, where the kind has them.
    pub(super) fn offsets(&self) -> Option<[f32; GROUP]> {
        (self.kind == Kind::Q4_1).then(|| std::array::from_fn(|lane| self.half(GROUP + lane)))
    }

    /// Register `v < 8` of codes, a byte each: weights `4 v .. 4 v + 4` of each row.
    #[inline(always)]
    pub(super) fn codes(&self, v: usize) -> [u8; REGISTER] {
        match self.kind {
            Kind::Q8_0 => self.registers[v],
            _ if v < 4 => self.registers[v].map(|c| c & 15),
            _ => self.registers[v - 4].map(|c| c >> 4),
        }
    }
}

/// The weights of row `lane` of a group, one cell after the other.
pub(super) fn unpack_row(kind: Kind, cells: &[u8], lane: usize, out: &mut [f32]) {
    for (cell, out) in cells.chunks_exact(kind.cell_bytes()).zip(out.chunks_exact_mut(BLOCK)) {
        let cell = Cell::new(kind, cell);
        let (d, m) = (cell.half(lane), if kind == Kind::Q4_1 { cell.half(GROUP + lane) } else { 0.0 });
        for (v, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let registers = match kind {
                Kind::Q8_0 => &cell.registers[v],
                _ => &cell.registers[v % 4],
            };
            for (out, byte) in out.iter_mut().zip(&registers[4 * lane..4 * lane + 4]) {
                let code = match kind {
                    Kind::Q8_0 => *byte,
                    _ if v < 4 => byte & 15,
                    _ => byte >> 4,
                };
                *out = (i32::from(code) - kind.zero()) as f32 * d + m;
            }
        }
    }
}
