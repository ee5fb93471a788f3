//! GGUF: a header of typed metadata and tensor descriptions, then the tensors' data.
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.
//! candle's own reader is not used: it aborts on some damaged headers and cannot name the tensor that it stumbles over.

use super::bytes::{Bytes, Reader};
use crate::engine::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Data starts at a multiple of this where the file names no other.
const DEFAULT_ALIGNMENT: u64 = 32;
/// `GGML_MAX_DIMS`.
const MAX_DIMS: u32 = 4;

/// A metadata value. Numbers of all widths are widened.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer.
    Int(i64),
    /// Any float; an f32 is widened to the f64 with the same shortest decimal form, so that 1e-5 stays 1e-5.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// Text.
    Str(String),
    /// An array of integers.
    Ints(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f32>),
    /// An array of flags.
    Bools(Vec<bool>),
    /// An array of texts.
    Strs(Vec<String>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a flag",
            Value::Str(_) => "a text",
            Value::Ints(_) => "an array of integers",
            Value::Floats(_) => "an array of floats",
            Value::Bools(_) => "an array of flags",
            Value::Strs(_) => "an array of texts",
        }
    }
}

/// Where a tensor lies and what it is.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Name as in the file.
    pub name: String,
    /// Shape, outermost dimension first (GGUF itself stores it reversed).
    pub shape: Vec<usize>,
    /// ggml's number of the storage type.
    pub ggml_type: u32,
    /// Offset of the first byte in the file; not yet checked against its length.
    pub start: u64,
}

/// A GGUF file: its header read, its data mapped.
#[derive(Debug)]
pub struct Gguf {
    /// The file.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Bytes,
    /// Tensor descriptions in file order.
    pub tensors: Vec<TensorInfo>,
    metadata: BTreeMap<String, Value>,
}

impl Gguf {
    /// Whether `bytes` begin like a GGUF file.
    pub fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(b"GGUF")
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Format`] for another version, a damaged header, or a header that is cut short.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(path, Bytes::map(path)?)
    }

    fn parse(path: &Path, bytes: Bytes) -> Result<Self> {
        let mut r = Reader::new(path, &bytes);
        if r.take(4, "the magic number")? != b"GGUF" {
            return Err(r.error("not a GGUF file: it does not begin with `GGUF`"));
        }
        match r.u32("the version")? {
            2 | 3 => {}
            v if v.swap_bytes() <= 3 => return Err(r.error("a big-endian GGUF file; only little-endian is supported")),
            v => return Err(r.error(format!("GGUF version {v} is not supported; 2 and 3 are"))),
        }
        let tensor_count = r.u64("the number of tensors")?;
        let entry_count = r.u64("the number of metadata entries")?;
        let mut metadata = BTreeMap::new();
        for _ in 0..entry_count {
            let key = string(&mut r, "a metadata key")?;
            let kind = r.u32("a value type")?;
            let value = value(&mut r, kind, &key)?;
            metadata.insert(key, value);
        }
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(tensor_info(&mut r)?);
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Int(n)) if *n > 0 && *n <= 1 << 20 => *n as u64,
            Some(other) => return Err(r.error(format!("`general.alignment` is {other:?}"))),
        };
        let data = (r.position() as u64).next_multiple_of(alignment);
        for tensor in &mut tensors {
            tensor.start = data
                .checked_add(tensor.start)
                .ok_or_else(|| Error::format(path, format!("tensor `{}` lies at an impossible offset", tensor.name)))?;
        }
        Ok(Gguf { path: path.to_path_buf(), bytes, tensors, metadata })
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    fn mismatch(&self, key: &str, wanted: &str, found: &Value) -> Error {
        Error::format(&self.path, format!("metadata `{key}` must be {wanted}, found {}", found.kind()))
    }

    /// The text under `key`, if there is one.
    ///
    /// # Errors
    /// A value of another type; likewise for the other accessors.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Str(s)) => Ok(Some(s)),
            Some(other) => Err(self.mismatch(key, "a text", other)),
        }
    }

    /// The count under `key`.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Int(n)) if *n >= 0 => Ok(usize::try_from(*n).ok()),
            Some(Value::Int(n)) => Err(Error::format(&self.path, format!("metadata `{key}` is {n}, expected a count"))),
            Some(other) => Err(self.mismatch(key, "an integer", other)),
        }
    }

    /// The number under `key`.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(Value::Int(n)) => Ok(Some(*n as f64)),
            Some(other) => Err(self.mismatch(key, "a number", other)),
        }
    }

    /// The flag under `key`.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(self.mismatch(key, "a flag", other)),
        }
    }

    /// The token id under `key`.
    pub fn id(&self, key: &str) -> Result<Option<u32>> {
        Ok(self.size(key)?.and_then(|n| u32::try_from(n).ok()))
    }

    /// The texts under `key`.
    pub fn strs(&self, key: &str) -> Result<Option<&[String]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Strs(all)) => Ok(Some(all)),
            Some(other) => Err(self.mismatch(key, "an array of texts", other)),
        }
    }

    /// The integers under `key`.
    pub fn ints(&self, key: &str) -> Result<Option<&[i64]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Ints(all)) => Ok(Some(all)),
            Some(other) => Err(self.mismatch(key, "an array of integers", other)),
        }
    }

    /// The floats under `key`.
    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Floats(all)) => Ok(Some(all)),
            Some(other) => Err(self.mismatch(key, "an array of floats", other)),
        }
    }
}

fn string(r: &mut Reader, what: &str) -> Result<String> {
    let len = r.u64(what)?;
    // A length beyond the address space is beyond the file too: `take` reports it.
    let bytes = r.take(usize::try_from(len).unwrap_or(usize::MAX), what)?;
    // Some writers count a closing zero byte, and some vocabularies hold invalid UTF-8.
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn int(r: &mut Reader, kind: u32, key: &str) -> Result<Option<i64>> {
    Ok(Some(match kind {
        0 => i64::from(r.u8(key)?),
        1 => i64::from(r.u8(key)? as i8),
        2 => i64::from(r.u16(key)?),
        3 => i64::from(r.u16(key)? as i16),
        4 => i64::from(r.u32(key)?),
        5 => i64::from(r.i32(key)?),
        10 => {
            let n = r.u64(key)?;
            i64::try_from(n).map_err(|_| r.error(format!("metadata `{key}` is {n}, which is too large")))?
        }
        11 => r.u64(key)? as i64,
        _ => return Ok(None),
    }))
}

fn flag(r: &mut Reader, key: &str) -> Result<bool> {
    match r.u8(key)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(r.error(format!("metadata `{key}`: a flag holds {other}"))),
    }
}

fn value(r: &mut Reader, kind: u32, key: &str) -> Result<Value> {
    if let Some(n) = int(r, kind, key)? {
        return Ok(Value::Int(n));
    }
    match kind {
        6 => {
            let x = r.f32(key)?;
            Ok(Value::Float(x.to_string().parse().unwrap_or(f64::from(x))))
        }
        7 => flag(r, key).map(Value::Bool),
        8 => string(r, key).map(Value::Str),
        9 => array(r, key),
        12 => r.f64(key).map(Value::Float),
        other => Err(r.error(format!("metadata `{key}` has the unknown value type {other}"))),
    }
}

fn array(r: &mut Reader, key: &str) -> Result<Value> {
    let kind = r.u32(key)?;
    let len = r.u64(key)?;
    let smallest = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        other => return Err(r.error(format!("metadata `{key}` is an array of the unsupported type {other}"))),
    };
    let needed = len.saturating_mul(smallest);
    if needed > r.remaining() as u64 {
        let missing = needed - r.remaining() as u64;
        return Err(r.error(format!(
            "the file is cut short: metadata `{key}` lists {len} elements, and at least {missing} bytes are missing"
        )));
    }
    // The check above bounds what is allocated by the file's own size.
    let n = len as usize;
    match kind {
        6 => collect(n, || r.f32(key)).map(Value::Floats),
        7 => collect(n, || flag(r, key)).map(Value::Bools),
        8 => collect(n, || string(r, key)).map(Value::Strs),
        12 => collect(n, || r.f64(key).map(|x| x as f32)).map(Value::Floats),
        _ => collect(n, || Ok(int(r, kind, key)?.unwrap_or(0))).map(Value::Ints),
    }
}

fn collect<T>(n: usize, mut next: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    (0..n).map(|_| next()).collect()
}

fn tensor_info(r: &mut Reader) -> Result<TensorInfo> {
    let name = string(r, "a tensor name")?;
    let dims = r.u32("a tensor's rank")?;
    if dims > MAX_DIMS {
        return Err(r.error(format!("tensor `{name}` has {dims} dimensions; at most {MAX_DIMS} are possible")));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let n = r.u64("a tensor's shape")?;
        shape.push(usize::try_from(n).map_err(|_| r.error(format!("tensor `{name}` has a dimension of {n}")))?);
    }
    shape.reverse();
    let ggml_type = r.u32("a tensor's type")?;
    let start = r.u64("a tensor's offset")?;
    Ok(TensorInfo { name, shape, ggml_type, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: Vec<u8>) -> Result<Gguf> {
        Gguf::parse(Path::new("x.gguf"), Bytes::Static(Vec::leak(bytes)))
    }

    fn header(tensors: u64, entries: u64) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend(tensors.to_le_bytes());
        out.extend(entries.to_le_bytes());
        out
    }

    fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        let mut out = (key.len() as u64).to_le_bytes().to_vec();
        out.extend(key.as_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(value);
        out
    }

    /// Protects configurations: an f32 epsilon of 1e-5 must not become 9.99999974e-6.
    #[test]
    fn floats_keep_their_decimal_form() {
        let mut bytes = header(0, 1);
        bytes.extend(entry("eps", 6, &1e-5f32.to_le_bytes()));
        assert_eq!(parse(bytes).unwrap().float("eps").unwrap(), Some(1e-5));
    }

    /// Protects against headers that lie: every one is an error, and none allocates what it claims.
    #[test]
    fn hostile_headers_are_refused() {
        let mut huge_array = header(0, 1);
        let mut claim = 8u32.to_le_bytes().to_vec();
        claim.extend((u64::MAX / 2).to_le_bytes());
        huge_array.extend(entry("a", 9, &claim));
        let mut huge_string = header(0, 1);
        huge_string.extend(u64::MAX.to_le_bytes());
        let mut zero_alignment = header(0, 1);
        zero_alignment.extend(entry("general.alignment", 4, &0u32.to_le_bytes()));
        let before = crate::engine::memory::current();
        for (bytes, needle) in [
            (header(u64::MAX, 0), "missing"),
            (header(0, u64::MAX), "missing"),
            (huge_array, "missing"),
            (huge_string, "missing"),
            (zero_alignment, "alignment"),
            (b"GGUF\0\0\0\x03".to_vec(), "big-endian"),
            (b"GGUF\x01\0\0\0".to_vec(), "version 1"),
            (b"GGML\x01\0\0\0".to_vec(), "not a GGUF"),
        ] {
            let message = parse(bytes).unwrap_err().to_string();
            assert!(message.contains(needle), "{message}");
        }
        assert!(crate::engine::memory::current() < before + (64 << 20));
    }
}
