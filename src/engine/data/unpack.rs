//! Compressed files, unpacked as they are read: gzip and zstd, told by their first bytes.

use super::rows::{Input, failed};
use crate::engine::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::io::{self, Cursor, ErrorKind, Read};

/// How often a file may be compressed, one around the other.
const MAX_LAYERS: usize = 2;

/// A file's bytes under its compression.
pub(super) struct Unpacked {
    pub input: Input,
    /// Whether there was any.
    pub packed: bool,
}

impl Unpacked {
    /// Looks at the first bytes of `raw`. What is compressed may unpack to `limit` bytes.
    pub(super) fn open(name: &str, raw: Input, limit: u64) -> Result<Self> {
        let mut input = raw;
        for layer in 0.. {
            let (head, whole) = peek(input, 4).map_err(|e| failed(name, e))?;
            let how = match head.as_slice() {
                [0x1F, 0x8B, ..] => "gzip",
                [0x28, 0xB5, 0x2F, 0xFD] => "zstd",
                _ => return Ok(Unpacked { input: whole, packed: layer > 0 }),
            };
            if layer == MAX_LAYERS {
                break;
            }
            let inner: Input = match how {
                "gzip" => Box::new(MultiGzDecoder::new(io::BufReader::new(whole))),
                _ => Box::new(zstd::stream::read::Decoder::new(whole).map_err(|e| failed(name, e))?),
            };
            input = Box::new(Bounded { inner, how, limit, left: limit });
        }
        Err(Error::format(name, format!("compressed more than {MAX_LAYERS} times over; unpack it first")))
    }
}

/// The first `n` bytes of `input`, or all of it, and the whole of it.
pub(super) fn peek(mut input: Input, n: usize) -> io::Result<(Vec<u8>, Input)> {
    let mut head = Vec::new();
    input.by_ref().take(n as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(input))))
}

/// A decoder that says what is wrong with the file, and stops at a limit.
struct Bounded {
    inner: Input,
    how: &'static str,
    limit: u64,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let invalid = |what: String| io::Error::new(ErrorKind::InvalidData, format!("{}: {what}", self.how));
        match self.inner.read(buffer) {
            Ok(n) if n as u64 > self.left => {
                Err(invalid(format!("unpacks to more than {} bytes; unpack it and split it first", self.limit)))
            }
            Ok(n) => {
                self.left -= n as u64;
                Ok(n)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Err(e),
            Err(e) => Err(invalid(format!("{e}: the file is damaged or cut off"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::source::{ReadOptions, from_bytes, load, open};
    use crate::engine::data::split::Subset;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    const TEXT: &[u8] = b"[{\"instruction\": \"a\", \"output\": \"b\"}]";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    /// Protects detection by content: the name says nothing about compression.
    #[test]
    fn compression_is_told_by_content() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("plain.gz", TEXT.to_vec()),
            ("packed.json", gzip(TEXT)),
            ("packed", zst(TEXT)),
            ("twice.jsonl", zst(&gzip(TEXT))),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(load(path.to_str().unwrap(), &ReadOptions::default()).unwrap().len(), 1, "{name}");
        }
        let often = (0..5).fold(TEXT.to_vec(), |bytes, _| zst(&bytes));
        assert!(from_bytes("d", &often, &ReadOptions::default()).unwrap_err().to_string().contains("2 times over"));
    }

    /// Protects against training on part of a set: a cut file must not pass, wherever it is cut.
    #[test]
    fn cut_files_are_errors() {
        let lines: String = (0..300).map(|i| format!("{{\"instruction\": \"{i}\", \"output\": \"b\"}}\n")).collect();
        for (packed, how) in [(gzip(lines.as_bytes()), "gzip"), (zst(lines.as_bytes()), "zstd")] {
            for cut in [6, packed.len() / 2, packed.len() - 1] {
                let error = from_bytes("d.jsonl", &packed[..cut], &ReadOptions::default()).unwrap_err().to_string();
                assert!(error.starts_with(&format!("d.jsonl: {how}: ")) && error.contains("cut off"), "{cut}: {error}");
            }
        }
    }

    /// Protects memory from a file of a few kilobytes that holds gigabytes.
    #[test]
    fn bombs_stop_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut zeros = vec![b' '; 4 << 20];
        zeros.extend_from_slice(TEXT);
        for (name, bytes) in [("b.gz", gzip(&zeros)), ("b.zst", zst(&zeros)), ("c.zst", zst(&zst(&zeros)))] {
            let path = dir.path().join(name);
            assert!(bytes.len() < 50_000);
            std::fs::write(&path, bytes).unwrap();
            let read = |limit| {
                open(path.to_str().unwrap(), &ReadOptions::default(), limit)
                    .and_then(Iterator::collect::<Result<Vec<_>>>)
            };
            let error = read(1 << 20).unwrap_err().to_string();
            assert!(error.contains("unpacks to more than 1048576 bytes"), "{error}");
            assert_eq!(read(5 << 20).unwrap().len(), 1);
        }
    }
}
