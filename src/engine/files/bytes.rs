//! A file's bytes, memory-mapped or built into the program, and a reader that says where a file ends too early.

use crate::engine::{Error, Result};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// Bytes that live as long as anyone needs them; cloning shares them.
#[derive(Clone)]
pub enum Bytes {
    /// A mapped file: read on demand by the operating system, not on the heap.
    Mapped(Arc<memmap2::Mmap>),
    /// Part of the program.
    Static(&'static [u8]),
}

impl Bytes {
    /// Maps `path`. The file must not be changed while the result is alive.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or is a directory.
    pub fn map(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        if metadata.is_dir() {
            return Err(Error::format(path, "is a directory, expected a file"));
        }
        if metadata.len() == 0 {
            return Ok(Bytes::Static(&[]));
        }
        // SAFETY: the map is only read. Another process that truncates the file meanwhile would end this one with
        // SIGBUS; every program that maps its weights accepts that, and no memory of ours is corrupted by it.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::io(path))?;
        Ok(Bytes::Mapped(Arc::new(map)))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

/// Reads little-endian values from front to back.
pub struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`, which came from `path`.
    pub fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Reader { path, bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error about this file.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::format(self.path, message)
    }

    /// The next `n` bytes; `what` says what they are, for the error.
    ///
    /// # Errors
    /// [`Error::Format`] saying how many bytes are missing.
    pub fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match rest.get(..n) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(self.error(format!(
                "the file is cut short: {what} takes {n} bytes at offset {}, and {} of them are missing",
                self.at,
                n - rest.len()
            ))),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`Reader::take`]; likewise for the other numbers.
    pub fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    /// A 16-bit unsigned number.
    pub fn u16(&mut self, what: &str) -> Result<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// A 32-bit unsigned number.
    pub fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// A 32-bit signed number.
    pub fn i32(&mut self, what: &str) -> Result<i32> {
        self.array(what).map(i32::from_le_bytes)
    }

    /// A 64-bit unsigned number.
    pub fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A 32-bit float.
    pub fn f32(&mut self, what: &str) -> Result<f32> {
        self.array(what).map(f32::from_le_bytes)
    }

    /// A 64-bit float.
    pub fn f64(&mut self, what: &str) -> Result<f64> {
        self.array(what).map(f64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the message of every truncated file: it says how much is missing, and nothing is read past the end.
    #[test]
    fn missing_bytes_are_counted() {
        let mut reader = Reader::new(Path::new("f"), &[1, 0, 0, 0, 9]);
        assert_eq!(reader.u32("a number").unwrap(), 1);
        let message = reader.u64("another").unwrap_err().to_string();
        assert!(message.contains("7 of them are missing"), "{message}");
        assert!(reader.take(usize::MAX, "a lot").is_err());
        assert_eq!(reader.u8("the last").unwrap(), 9);
    }
}
