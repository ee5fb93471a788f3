//! What a value is, apart from its elements: shape, dtype, device, bytes. For the session's lists of variables.

use super::data::{Batch, Examples};
use super::llama::Model;
use super::optim::Parameters;
use crate::engine::autograd::Tensor;
use crate::engine::data::record::{Dataset, Record};
use crate::engine::data::split::Subset;
use crate::engine::device;
use rhai::{Array, Blob, Dynamic, ImmutableString, Map};

/// See the module's description; what a value does not have is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Sizes of the dimensions; the length of what has one.
    pub shape: Option<Vec<usize>>,
    /// Element type of tensors and weights.
    pub dtype: Option<String>,
    /// Where the elements are.
    pub device: Option<String>,
    /// Memory of its elements. What several values share is counted in each.
    pub bytes: Option<usize>,
}

/// Elements of one array or map that are looked at for its bytes.
const ELEMENTS: usize = 10_000;

/// The facts of `value`.
pub fn facts(value: &Dynamic) -> Facts {
    if let Some(t) = value.read_lock::<Tensor>() {
        return tensor(&t);
    }
    if let Some(m) = value.read_lock::<Model>() {
        let m = m.read();
        let held = m.parameters().iter().filter(|(_, p)| p.is_loaded()).map(|(_, p)| p.bytes()).sum();
        return Facts {
            shape: None,
            dtype: Some(m.dtype_name().to_string()),
            device: Some(device::name(&m.device)),
            bytes: Some(held),
        };
    }
    if let Some(p) = value.read_lock::<Parameters>() {
        let all: Vec<Facts> = p.iter().map(|(_, t)| tensor(t)).collect();
        let first = all.first().cloned().unwrap_or_default();
        let bytes = all.iter().filter_map(|f| f.bytes).sum();
        return Facts { shape: Some(vec![all.len()]), bytes: Some(bytes), ..first };
    }
    if let Some(d) = value.read_lock::<Dataset>() {
        let text = |r: &Record| {
            let extra = r.extra.iter().map(|(k, v)| k.len() + v.len());
            r.instruction.len() + r.input.len() + r.output.len() + extra.sum::<usize>()
        };
        return sized(d.len(), d.records().iter().map(|r| text(r)).sum());
    }
    if let Some(e) = value.read_lock::<Examples>() {
        let tokens: usize = e.0.examples().iter().map(|e| e.ids.len()).sum();
        return sized(e.0.len(), tokens * (size_of::<u32>() + size_of::<i64>()));
    }
    if let Some(b) = value.read_lock::<Batch>() {
        let bytes = b.0.rows * b.0.width * (size_of::<u32>() + size_of::<i64>());
        return Facts { shape: Some(vec![b.0.rows, b.0.width]), bytes: Some(bytes), ..Facts::default() };
    }
    plain(value)
}

fn tensor(t: &Tensor) -> Facts {
    let grad = t.grad().map_or(0, |g| g.elem_count() * g.dtype().size_in_bytes());
    Facts {
        shape: Some(t.dims().to_vec()),
        dtype: Some(t.dtype().as_str().to_string()),
        device: Some(device::name(t.device())),
        bytes: Some(t.len() * t.dtype().size_in_bytes() + grad),
    }
}

/// Values of Rhai's own types.
fn plain(value: &Dynamic) -> Facts {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return sized(text.chars().count(), text.len());
    }
    if let Some(blob) = value.read_lock::<Blob>() {
        return sized(blob.len(), blob.len());
    }
    if let Some(array) = value.read_lock::<Array>() {
        return sized(array.len(), inside(array.len(), array.iter()));
    }
    if let Some(map) = value.read_lock::<Map>() {
        let keys: usize = map.keys().map(|k| k.len()).sum();
        return sized(map.len(), keys + inside(map.len(), map.values()));
    }
    Facts::default()
}

fn sized(len: usize, bytes: usize) -> Facts {
    Facts { shape: Some(vec![len]), bytes: Some(bytes), ..Facts::default() }
}

/// Bytes of `n` values, of which the first few stand for all.
fn inside<'a>(n: usize, values: impl Iterator<Item = &'a Dynamic>) -> usize {
    let seen = n.min(ELEMENTS);
    let held: usize = values.take(seen).map(|v| size_of::<Dynamic>() + facts(v).bytes.unwrap_or(0)).sum();
    held * n / seen.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::engine;
    use super::*;

    fn of(script: &str) -> Facts {
        facts(&engine().eval::<Dynamic>(script).unwrap())
    }

    /// Protects `:vars` and `:mem`: a tensor's bytes with its gradient's, a container's with those of its elements.
    #[test]
    fn bytes_are_those_of_the_elements() {
        let t = of("let t = ones([2, 3], #{ dtype: \"bf16\", requires_grad: true }); t");
        assert_eq!((t.shape, t.dtype.as_deref(), t.bytes), (Some(vec![2, 3]), Some("bf16"), Some(12)));
        assert_eq!(of("let t = ones([4], #{ requires_grad: true }); (t * 2.0).sum().backward(); t").bytes, Some(32));
        let slot = size_of::<Dynamic>();
        assert_eq!(of("[ones([4]), \"abc\"]").bytes, Some(2 * slot + 16 + 3));
        assert_eq!(of("[\"é\", 1]").shape, Some(vec![2]));
        assert_eq!(of("let a = []; a.pad(20000, 1); a").bytes, Some(20_000 * slot));
        assert_eq!(of("\"é\"").bytes, Some(2));
        assert_eq!(of("1.5"), Facts::default());
    }

    /// Protects the model's line: weights and adapter count, gradients do not.
    #[test]
    fn models_have_their_weights() {
        let base = of("llama::load(\"builtin:stories260K\")");
        let adapted = of("let m = llama::load(\"builtin:stories260K\"); m.inject_lora(#{ rank: 2 }); m");
        assert_eq!((base.dtype.as_deref(), base.device.as_deref()), (Some("f32"), Some("cpu")));
        assert!(base.bytes.unwrap() >= 260_032 * 4 && adapted.bytes > base.bytes, "{base:?} {adapted:?}");
    }
}
