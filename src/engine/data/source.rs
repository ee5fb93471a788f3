//! Where records come from: a path, a gzipped path, or a set inside the binary (`builtin:seed-tasks`).

use super::parse::parse;
use super::record::{Dataset, Fields};
use crate::engine::error::{Error, Result, unknown_name};
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::Path;

/// Sets inside the binary: name after `builtin:`, JSON or JSONL bytes.
const BUILTIN: &[(&str, &[u8])] = &[("seed-tasks", crate::builtin::SEED_TASKS.as_bytes())];

/// Most bytes that a compressed file may unpack to: instruction sets are megabytes, and a gzip of a few megabytes can
/// hold terabytes of zeros.
const MAX_UNPACKED: u64 = 4 << 30;

/// Reads the records of `source`: `builtin:NAME`, or a path to JSON or JSONL, gzipped or not (told by content).
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read, [`Error::Config`] for an unknown builtin, [`Error::Format`] with line
/// and record for contents that do not fit.
pub fn load(source: &str, fields: &Fields) -> Result<Dataset> {
    match source.strip_prefix("builtin:") {
        Some(name) => match BUILTIN.iter().find(|(known, _)| *known == name) {
            Some((_, bytes)) => parse(source, bytes, fields),
            None => Err(unknown_name("builtin data set", name, BUILTIN.iter().map(|(known, _)| *known))),
        },
        None => {
            let path = Path::new(source);
            let bytes = std::fs::read(path).map_err(Error::io(path))?;
            from_bytes(source, &bytes, fields)
        }
    }
}

/// Reads the records of a file's `bytes`, unpacking them first if they are gzip; `name` is for messages.
pub fn from_bytes(name: &str, bytes: &[u8], fields: &Fields) -> Result<Dataset> {
    refuse_foreign(name, bytes)?;
    if bytes.starts_with(&[0x1F, 0x8B]) {
        return parse(name, &unpack(name, bytes, MAX_UNPACKED)?, fields);
    }
    parse(name, bytes, fields)
}

/// Names the formats that people bring by mistake, which says more than "not JSON".
fn refuse_foreign(name: &str, bytes: &[u8]) -> Result<()> {
    let what = match bytes {
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd-compressed",
        [b'B', b'Z', b'h', ..] => "bzip2-compressed",
        [0xFD, b'7', b'z', b'X', b'Z', ..] => "xz-compressed",
        _ => return Ok(()),
    };
    Err(Error::format(name, format!("this is {what}; unpack or convert it to JSON or JSONL (either may be .gz) first")))
}

fn unpack(name: &str, bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(limit + 1)
        .read_to_end(&mut unpacked)
        .map_err(|e| Error::format(name, format!("gzip: {e}: the file is damaged or cut off")))?;
    if unpacked.len() as u64 > limit {
        return Err(Error::format(
            name,
            format!("gzip: unpacks to more than {limit} bytes; unpack it and split it first"),
        ));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::split::Subset;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    const TEXT: &[u8] = b"[{\"instruction\": \"a\", \"output\": \"b\"}]";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Protects detection by content: the name says nothing about compression.
    #[test]
    fn gzip_is_told_by_content() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("plain.gz", TEXT.to_vec()), ("packed.json", gzip(TEXT))] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(load(path.to_str().unwrap(), &Fields::default()).unwrap().len(), 1);
        }
    }

    /// Protects against training on part of a set: a cut gzip file must not pass, nor a bomb exhaust memory.
    #[test]
    fn damaged_and_oversized_gzip_are_errors() {
        let packed = gzip(TEXT);
        let error = from_bytes("d.gz", &packed[..packed.len() - 6], &Fields::default()).unwrap_err().to_string();
        assert!(error.contains("damaged or cut off"), "{error}");
        let error = unpack("d.gz", &gzip(&[b' '; 100_000]), 50_000).unwrap_err().to_string();
        assert!(error.contains("more than 50000 bytes"), "{error}");
    }

    /// Protects the messages for what people try first: a missing file, an unknown builtin, a file of another kind.
    #[test]
    fn wrong_sources_are_explained() {
        let kind = |source: &str| load(source, &Fields::default()).unwrap_err();
        assert_eq!(kind("no/such/file.json").kind(), "io");
        assert!(kind("builtin:nope").to_string().contains("unknown builtin data set: `nope`"));
        let parquet = from_bytes("a.parquet", b"PAR1....", &Fields::default()).unwrap_err().to_string();
        assert!(parquet.contains("Parquet"), "{parquet}");
    }
}
