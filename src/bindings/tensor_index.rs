//! Indexing: `t[i]`, `t[-1]`, `t[0..2]`, `t[[1, 2..3, ()]]`, `t[ids]`.
//!
//! An int takes one element of a dimension, which goes away; a range narrows it, a negative end counts from the end, and
//! ranges are cut at the ends, as in Python; `()` takes the whole dimension. A tensor of integers selects along the first.
//! Elements cannot be assigned to: Rhai would call an index setter after every method of `t[i]`, too.

use super::ScriptResult;
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::{index, shape};
use candle_core::DType;
use rhai::{Array, Dynamic, Engine, INT};
use std::ops::{Range, RangeInclusive};

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_indexer_get(|t: &mut Tensor, i: INT| -> ScriptResult<Tensor> { Ok(shape::select(t, 0, i)?) })
        .register_indexer_get(|t: &mut Tensor, r: Range<INT>| -> ScriptResult<Tensor> {
            Ok(slice(t, 0, r.start, Some(r.end))?)
        })
        .register_indexer_get(|t: &mut Tensor, r: RangeInclusive<INT>| -> ScriptResult<Tensor> {
            Ok(slice(t, 0, *r.start(), after(*r.end()))?)
        })
        .register_indexer_get(|t: &mut Tensor, list: Array| -> ScriptResult<Tensor> { Ok(several(t, &list)?) })
        .register_indexer_get(|t: &mut Tensor, ids: Tensor| -> ScriptResult<Tensor> { Ok(by_tensor(t, &ids)?) });
}

/// The end after inclusive end `end`; `None`: the end of the dimension, which is after -1.
fn after(end: INT) -> Option<INT> {
    if end == -1 { None } else { Some(end.saturating_add(1)) }
}

fn slice(t: &Tensor, dim: i64, start: INT, end: Option<INT>) -> Result<Tensor> {
    let Some(size) = t.dims().get(dim as usize).map(|n| *n as INT) else {
        return Err(Error::shape("index", format!("shape {:?} has no dimension {dim} to slice", t.dims())));
    };
    let place = |i: INT| if i < 0 { i.saturating_add(size).max(0) } else { i.min(size) };
    let (start, end) = (place(start), end.map_or(size, place));
    shape::narrow(t, dim, start, (end - start).max(0))
}

fn several(t: &Tensor, list: &Array) -> Result<Tensor> {
    if list.len() > t.rank() {
        return Err(Error::shape("index", format!("{} indices for shape {:?}", list.len(), t.dims())));
    }
    let mut t = t.clone();
    let mut dim = 0;
    for item in list {
        if let Ok(i) = item.as_int() {
            t = shape::select(&t, dim, i)?;
            continue; // the next dimension has moved to this place
        }
        if let Some(r) = item.read_lock::<Range<INT>>() {
            t = slice(&t, dim, r.start, Some(r.end))?;
        } else if let Some(r) = item.read_lock::<RangeInclusive<INT>>() {
            t = slice(&t, dim, *r.start(), after(*r.end()))?;
        } else if !item.is_unit() {
            return Err(Error::config(format!(
                "an index is an int, a range or () for a whole dimension, not {item} ({})",
                super::options_map::type_name(item)
            )));
        }
        dim += 1;
    }
    Ok(t)
}

fn by_tensor(t: &Tensor, ids: &Tensor) -> Result<Tensor> {
    if ids.dtype() == DType::U8 {
        return Err(Error::config_help(
            "u8 tensors are masks and do not index: the result's shape would depend on values",
            "use where(mask, a, b), or an i64 tensor of indices",
        ));
    }
    let flat = index::index_select(t, 0, &shape::flatten(ids, 0, -1)?)?;
    let sizes: Vec<i64> = ids.dims().iter().chain(&flat.dims()[1..]).map(|n| *n as i64).collect();
    shape::reshape(&flat, &sizes)
}

/// Indices given as an int tensor or an array of ints.
pub(super) fn indices(what: &str, value: &Dynamic, like: &Tensor) -> Result<Tensor> {
    if let Some(t) = value.read_lock::<Tensor>() {
        return Ok(t.clone());
    }
    let list = super::tensor::int_list(what, value)?;
    Ok(Tensor::new(candle_core::Tensor::new(list.as_slice(), like.device())?))
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    fn at(index: &str) -> String {
        run(&format!("let t = arange(12).reshape(3, 4); t{index}.to_array()"))
    }

    /// Protects indexing: every form, negative ones, Python's cut at the ends.
    #[test]
    fn forms() {
        assert_eq!(at("[1]"), "[4, 5, 6, 7]");
        assert_eq!(at("[-1]"), "[8, 9, 10, 11]");
        assert_eq!(at("[0][2]"), "2");
        assert_eq!(at("[1..3]"), "[[4, 5, 6, 7], [8, 9, 10, 11]]");
        assert_eq!(at("[1..=1]"), "[[4, 5, 6, 7]]");
        assert_eq!(at("[[1, 2..3]]"), "[6]");
        assert_eq!(at("[[(), 0]]"), "[0, 4, 8]");
        assert_eq!(at("[[0..2, -2..100]]"), "[[2, 3], [6, 7]]");
        assert_eq!(at("[[0, 1..-1]]"), "[1, 2]");
        assert_eq!(at("[[0, 1..=-1]]"), "[1, 2, 3]");
        assert_eq!(at("[2..1]"), "[]");
        assert_eq!(at("[tensor([2, 0])]"), "[[8, 9, 10, 11], [0, 1, 2, 3]]");
        assert_eq!(at("[tensor([[0], [1]])][[(), 0, 1]]"), "[1, 5]");
    }

    /// Protects the person: what was asked, what there is.
    #[test]
    fn errors() {
        assert_eq!(at("[3]"), "error: index: index 3 is out of range for dimension 0 of [3, 4], which has 3");
        assert_eq!(at("[[0, 0, 0]]"), "error: index: 3 indices for shape [3, 4]");
        assert!(at("[[0, 1.5]]").contains("an index is an int"));
        assert!(run("let t = ones([2]); t[0] = 5.0;").starts_with("error"));
        assert!(run("let t = ones([2]); t[t == 1]").contains("masks"));
        assert!(run("tensor(1.0)[0]").contains("has none"));
        assert!(run("tensor(1.0)[0..1]").contains("no dimension 0"));
    }

    /// Protects training through indexing.
    #[test]
    fn gradients_flow() {
        assert_eq!(
            run(
                "let w = ones([3], #{ requires_grad: true }); (w[1] * 5 + w[0..2].sum() + w[tensor([2, 2])].sum()).backward(); w.grad.to_array()"
            ),
            "[1.0, 6.0, 2.0]"
        );
    }
}
