//! A saved state: named tensors and JSON in one file, `state.safetensors`.
//!
//! The file is a valid safetensors file (8 bytes header length, JSON header, data) whose `__metadata__` holds the JSON
//! as text under `meta`, its CRC-32 under `meta_crc32`, and under `tensors` the tensors' order and a CRC-32 each, over
//! name, dtype, shape and bytes. It replaces the previous one atomically and is synced, so that a kill or a power cut
//! leaves one whole state or the other; a damaged file is told apart from a whole one and never half read.
//!
//! Format: <https://github.com/huggingface/safetensors#format>.

use super::atomic::write_atomic_with;
use crate::engine::{Error, Result, interrupt};
use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const FORMAT: &str = "lora-host state 1";
/// The safetensors library's own bound on a header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// Everything a run needs to go on: tensors bit for bit, and JSON for the rest.
///
/// Integers of 64 bits and finite floats in `meta` read back exactly; for others see [`super::number`].
#[derive(Debug, Clone)]
pub struct RunState {
    /// Named tensors in a fixed order: adapter, optimizer moments.
    pub tensors: Vec<(String, Tensor)>,
    /// Counters, positions, scalar states.
    pub meta: Value,
}

impl RunState {
    /// Replaces the state at `path` by this one, atomically and durably.
    ///
    /// Errors: a name given twice, a dtype that has no place in the format, the disk. The old file is then untouched.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let tensors = self.tensors.iter().map(|(name, t)| Entry::new(name, t)).collect::<Result<Vec<_>>>()?;
        let mut names = HashSet::new();
        if let Some(twice) = tensors.iter().find(|e| e.name == "__metadata__" || !names.insert(e.name)) {
            return Err(Error::config(format!("saved state: the tensor name `{}` is taken", twice.name)));
        }
        let header = self.header(&tensors)?;
        write_atomic_with(path, |out| {
            let io = || Error::io(path);
            out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io())?;
            out.write_all(&header).map_err(io())?;
            for entry in in_file_order(&tensors) {
                out.write_all(&bytes(&entry.tensor)?).map_err(io())?;
            }
            Ok(())
        })
    }

    fn header(&self, tensors: &[Entry<'_>]) -> Result<Vec<u8>> {
        let text = |value: &Value| serde_json::to_string(value).map_err(|e| Error::config(format!("saved state: {e}")));
        let mut sums = Vec::new();
        for entry in tensors {
            sums.push(json!([entry.name, checksum(entry.name, entry.dtype, &entry.shape, &bytes(&entry.tensor)?)]));
        }
        let meta = text(&self.meta)?;
        let mut header = Map::new();
        let facts = json!({"format": FORMAT, "meta_crc32": crc(&[meta.as_bytes()]), "meta": meta, "tensors": text(&sums.into())?});
        header.insert("__metadata__".into(), facts);
        let mut at = 0;
        for entry in in_file_order(tensors) {
            let info =
                TensorInfo { dtype: entry.dtype, shape: entry.shape.clone(), data_offsets: (at, at + entry.bytes) };
            header.insert(entry.name.into(), json!(info));
            at += entry.bytes;
        }
        let mut header = text(&Value::Object(header))?.into_bytes();
        header.resize(header.len().next_multiple_of(8), b' '); // the format wants the data aligned
        if header.len() as u64 > MAX_HEADER {
            return Err(Error::config(format!(
                "saved state: {} bytes of names and values, at most {MAX_HEADER} are possible; keep large data in tensors",
                header.len()
            )));
        }
        Ok(header)
    }

    /// Reads the state at `path` onto `device`. Nothing is returned unless all of it is intact.
    ///
    /// Errors: a file that is cut short, damaged, not a saved state, or of another format version.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<RunState> {
        let path = path.as_ref();
        let mut file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let (header, start) = read_header(path, &mut file, length)?;
        let bad = |message: String| Error::format(path, message);
        let facts = header.metadata().as_ref().ok_or_else(|| bad("not a saved state: no metadata".into()))?;
        let (meta, order) = read_facts(facts).map_err(bad)?;

        let data = header.data_len() as u64;
        if length - start != data {
            let message = format!("damaged: {} bytes of tensors, the header promises {data}", length - start);
            return Err(bad(message));
        }
        if order.len() != header.tensors().len() {
            return Err(bad(format!("damaged: {} tensors, {} checksums", header.tensors().len(), order.len())));
        }
        let sums: HashMap<&str, &str> = order.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
        let mut loaded = HashMap::new();
        for name in header.offset_keys() {
            interrupt::poll()?;
            let Some(info) = header.info(&name) else { continue };
            // Bounded by the file's own length, which was checked above.
            let mut buffer = vec![0; info.data_offsets.1 - info.data_offsets.0];
            file.read_exact(&mut buffer).map_err(Error::io(path))?;
            if sums.get(name.as_str()) != Some(&checksum(&name, info.dtype, &info.shape, &buffer).as_str()) {
                return Err(bad(format!("damaged: the checksum of tensor `{name}` does not match")));
            }
            let dtype =
                DType::try_from(info.dtype).map_err(|_| bad(format!("tensor `{name}`: dtype {:?}", info.dtype)))?;
            loaded.insert(name, Tensor::from_raw_buffer(&buffer, dtype, &info.shape, device)?);
        }
        let mut tensors = Vec::with_capacity(order.len());
        for (name, _) in order {
            let tensor = loaded.remove(&name).ok_or_else(|| bad(format!("damaged: tensor `{name}` is missing")))?;
            tensors.push((name, tensor));
        }
        Ok(RunState { tensors, meta })
    }
}

/// One tensor on the CPU, contiguous, with what the header says of it.
struct Entry<'a> {
    name: &'a str,
    tensor: Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
}

impl<'a> Entry<'a> {
    fn new(name: &'a str, tensor: &Tensor) -> Result<Self> {
        let dtype = match tensor.dtype() {
            DType::U8 => Dtype::U8,
            DType::U32 => Dtype::U32,
            DType::I16 => Dtype::I16,
            DType::I32 => Dtype::I32,
            DType::I64 => Dtype::I64,
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            other => {
                return Err(Error::dtype("save_state", format!("tensor `{name}` is {other:?}, which cannot be saved")));
            }
        };
        let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        Ok(Entry { name, shape: tensor.dims().to_vec(), tensor, dtype, bytes })
    }
}

/// Widest elements first, so that every tensor's data is aligned in the file.
fn in_file_order<'t, 'a>(tensors: &'t [Entry<'a>]) -> Vec<&'t Entry<'a>> {
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort_by_key(|e| std::cmp::Reverse(e.tensor.dtype().size_in_bytes()));
    sorted
}

/// The elements of a contiguous CPU tensor, little-endian.
fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(Error::device("saved state: a tensor is not on the CPU"));
    };
    let at = layout.start_offset()..layout.start_offset() + layout.shape().elem_count();
    macro_rules! little_endian {
        ($v:expr) => {
            $v[at].iter().flat_map(|x| x.to_le_bytes()).collect()
        };
    }
    Ok(match storage {
        CpuStorage::U8(v) => v[at].to_vec(),
        CpuStorage::U32(v) => little_endian!(v),
        CpuStorage::I16(v) => little_endian!(v),
        CpuStorage::I32(v) => little_endian!(v),
        CpuStorage::I64(v) => little_endian!(v),
        CpuStorage::BF16(v) => little_endian!(v),
        CpuStorage::F16(v) => little_endian!(v),
        CpuStorage::F32(v) => little_endian!(v),
        CpuStorage::F64(v) => little_endian!(v),
        _ => return Err(Error::dtype("save_state", format!("{:?} cannot be saved", tensor.dtype()))),
    })
}

fn checksum(name: &str, dtype: Dtype, shape: &[usize], data: &[u8]) -> String {
    crc(&[name.as_bytes(), format!("|{dtype:?}|{shape:?}|").as_bytes(), data])
}

fn crc(parts: &[&[u8]]) -> String {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    format!("{:08x}", hasher.finalize())
}

/// The parsed header and the offset at which the data begins.
fn read_header(path: &Path, file: &mut File, length: u64) -> Result<(Metadata, u64)> {
    let cut = |what: &str| Error::format(path, format!("damaged: the file ends within its {what} ({length} bytes)"));
    let mut size = [0; 8];
    if length < 8 {
        return Err(cut("first 8 bytes"));
    }
    file.read_exact(&mut size).map_err(Error::io(path))?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER {
        return Err(Error::format(path, format!("not a saved state: a header of {size} bytes")));
    }
    if size > length - 8 {
        return Err(cut("header"));
    }
    let mut header = vec![0; size as usize]; // at most MAX_HEADER
    file.read_exact(&mut header).map_err(Error::io(path))?;
    let header = serde_json::from_slice(&header)
        .map_err(|e| Error::format(path, format!("damaged: the header cannot be read: {e}")))?;
    Ok((header, 8 + size))
}

/// The JSON and the names with their checksums; an error text otherwise.
#[allow(clippy::type_complexity)]
fn read_facts(facts: &HashMap<String, String>) -> std::result::Result<(Value, Vec<(String, String)>), String> {
    let fact = |name: &str| facts.get(name).ok_or_else(|| format!("not a saved state: no `{name}` in its metadata"));
    let format = fact("format")?;
    if format != FORMAT {
        return Err(format!("format `{format}`; this program reads `{FORMAT}`"));
    }
    let meta = fact("meta")?;
    if crc(&[meta.as_bytes()]) != *fact("meta_crc32")? {
        return Err("damaged: the checksum of the metadata does not match".into());
    }
    let meta = serde_json::from_str(meta).map_err(|e| format!("damaged: metadata: {e}"))?;
    let order = serde_json::from_str(fact("tensors")?).map_err(|e| format!("damaged: tensor list: {e}"))?;
    Ok((meta, order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn sample() -> RunState {
        let cpu = &Device::Cpu;
        let odd = [0.0f32, -0.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 4.0, 1.0 / 3.0];
        let t = |name: &str, t: candle_core::Result<Tensor>| (name.to_string(), t.unwrap());
        RunState {
            tensors: vec![
                t("u8", Tensor::new(&[1u8, 255, 3], cpu)),
                t("f32", Tensor::new(&odd, cpu)),
                t("f64", Tensor::new(&odd.map(|x| f64::from(x) / 7.0), cpu)),
                t("bf16", Tensor::new(&odd.map(bf16::from_f32), cpu)),
                t("f16", Tensor::new(&odd.map(f16::from_f32), cpu)),
                t("u32", Tensor::new(&[u32::MAX, 0], cpu)),
                t("i64", Tensor::new(&[i64::MIN, i64::MAX], cpu)),
                t("scalar", Tensor::new(2.5f32, cpu)),
                t("empty", Tensor::zeros((0, 4), DType::F32, cpu)),
                t("view", Tensor::arange(0u32, 12, cpu).and_then(|t| t.reshape((3, 4))?.t()?.narrow(0, 1, 2))),
            ],
            meta: json!({"seed": u64::MAX, "neg": i64::MIN, "x": 0.1 + 0.2, "text": "\"<ä\n"}),
        }
    }

    /// Protects resuming bit for bit: every dtype, NaN and -0 included, views, scalars, empty ones, order, exact numbers.
    #[test]
    fn state_round_trips_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        let saved = sample();
        saved.save(&path).unwrap();
        let loaded = RunState::load(&path, &Device::Cpu).unwrap();
        assert_eq!(loaded.meta, saved.meta);
        assert_eq!(loaded.tensors.len(), saved.tensors.len());
        for ((n, a), (m, b)) in saved.tensors.iter().zip(&loaded.tensors) {
            assert_eq!((n, a.dtype(), a.dims()), (m, b.dtype(), b.dims()));
            assert_eq!(bytes(&a.contiguous().unwrap()).unwrap(), bytes(b).unwrap(), "{n}");
        }
        // Others can read it too.
        let view = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!(view["view"].to_vec2::<u32>().unwrap(), [[1, 5, 9], [2, 6, 10]]);
    }

    /// Protects from half a state: every truncation and every single flipped bit is an error that says so.
    #[test]
    fn every_damage_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        sample().save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let damaged = dir.path().join("damaged");
        for length in 0..whole.len() {
            std::fs::write(&damaged, &whole[..length]).unwrap();
            let e = RunState::load(&damaged, &Device::Cpu).unwrap_err();
            assert!(e.kind() == "format" && e.to_string().contains("damaged"), "{length} bytes: {e}");
        }
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 1 << (i % 8);
            std::fs::write(&damaged, &bytes).unwrap();
            match RunState::load(&damaged, &Device::Cpu) {
                Err(e) => assert_eq!(e.kind(), "format", "byte {i}: {e}"),
                // Padding may be another blank; what is read must then be what was saved.
                Ok(state) => assert!(whole[i] == b' ' && state.meta == sample().meta, "byte {i} went unnoticed"),
            }
        }
    }

    /// Protects the previous state: a save that cannot succeed leaves it in place.
    #[test]
    fn failed_save_keeps_the_previous_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        sample().save(&path).unwrap();
        let mut twice = sample();
        twice.tensors.push(twice.tensors[0].clone());
        assert!(twice.save(&path).unwrap_err().to_string().contains("`u8` is taken"));
        RunState::load(&path, &Device::Cpu).unwrap();
    }

    /// Protects from hostile headers: a promise of terabytes allocates nothing, another program's file is named as such.
    #[test]
    fn hostile_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let file = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        let huge = r#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
        let overflow = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
        for bytes in [u64::MAX.to_le_bytes().to_vec(), file(huge), file(overflow), file("{}"), file("[]"), file("")] {
            std::fs::write(&path, bytes).unwrap();
            let e = RunState::load(&path, &Device::Cpu).unwrap_err();
            assert_eq!(e.kind(), "format", "{e}");
        }
        candle_core::safetensors::save(&HashMap::from([("w", sample().tensors[1].1.clone())]), &path).unwrap();
        assert!(RunState::load(&path, &Device::Cpu).unwrap_err().to_string().contains("not a saved state"));
    }
}
