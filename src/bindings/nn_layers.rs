//! `nn::`: the layers a transformer is made of, as functions.

use super::OptionsMap;
use super::error::placed;
use super::ids::token_ids;
use super::registration::module_function;
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::attention::{AttentionConfig, attention};
use crate::engine::ops::cross_entropy::{IGNORE_INDEX, Reduction, cross_entropy};
use crate::engine::ops::documents::Documents;
use crate::engine::ops::lora::{LoraWeights, lora_linear};
use crate::engine::ops::rope::{RopeStyle, rope};
use crate::engine::ops::{embedding, linear, rms_norm, swiglu};
use candle_core::{DType, Tensor as Value};
use rhai::{Array, Dynamic, INT, Map, Module, NativeCallContext as Cx};

pub(super) fn register(module: &mut Module) {
    module_function("linear", ["x: Tensor", "weight: Tensor", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, w: Tensor| placed(&cx, linear::linear(&x, &w, None)));
    module_function("linear", ["x: Tensor", "weight: Tensor", "bias: Tensor", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, w: Tensor, b: Tensor| {
            placed(&cx, linear::linear(&x, &w, Some(&b)))
        });
    module_function("lora_linear", ["x: Tensor", "weight: Tensor", "a: Tensor", "b: Tensor", "options: Map", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, w: Tensor, a: Tensor, b: Tensor, o: Map| {
            placed(&cx, lora(&x, &w, &a, &b, o))
        });
    module_function("embedding", ["ids: Tensor or Array", "table: Tensor", "Tensor"])
        .set_into_module(module, |cx: Cx, ids: Dynamic, table: Tensor| placed(&cx, embed(&ids, &table)));
    module_function("rms_norm", ["x: Tensor", "weight: Tensor", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, w: Tensor| placed(&cx, norm(&x, &w, Map::new())));
    module_function("rms_norm", ["x: Tensor", "weight: Tensor", "options: Map", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, w: Tensor, o: Map| placed(&cx, norm(&x, &w, o)));
    module_function("rope", ["x: Tensor", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor| placed(&cx, rotate(&x, Map::new())));
    module_function("rope", ["x: Tensor", "options: Map", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, o: Map| placed(&cx, rotate(&x, o)));
    module_function("attention", ["q: Tensor", "k: Tensor", "v: Tensor", "Tensor"])
        .set_into_module(module, |cx: Cx, q: Tensor, k: Tensor, v: Tensor| placed(&cx, attend(&q, &k, &v, Map::new())));
    module_function("attention", ["q: Tensor", "k: Tensor", "v: Tensor", "options: Map", "Tensor"])
        .set_into_module(module, |cx: Cx, q: Tensor, k: Tensor, v: Tensor, o: Map| placed(&cx, attend(&q, &k, &v, o)));
    module_function("swiglu", ["gate: Tensor", "up: Tensor", "Tensor"])
        .set_into_module(module, |cx: Cx, g: Tensor, u: Tensor| placed(&cx, swiglu::swiglu(&g, &u)));
    module_function("cross_entropy", ["logits: Tensor", "labels: Tensor or Array", "Tensor"])
        .set_into_module(module, |cx: Cx, l: Tensor, labels: Dynamic| placed(&cx, loss(&l, &labels, Map::new())));
    module_function("cross_entropy", ["logits: Tensor", "labels: Tensor or Array", "options: Map", "Tensor"])
        .set_into_module(module, |cx: Cx, l: Tensor, labels: Dynamic, o: Map| placed(&cx, loss(&l, &labels, o)));
}

fn lora(x: &Tensor, w: &Tensor, a: &Tensor, b: &Tensor, options: Map) -> Result<Tensor> {
    let mut o = OptionsMap::new("lora_linear", options);
    let (scale, dropout) = (o.float_or("scale", 1.0)?, o.float_or("dropout", 0.0)?);
    o.finish()?;
    lora_linear(x, w, None, &LoraWeights { a, b, scale, dropout })
}

fn embed(ids: &Dynamic, table: &Tensor) -> Result<Tensor> {
    if let Some(ids) = ids.read_lock::<Tensor>() {
        return embedding::embedding(table, ids.value());
    }
    match ids.read_lock::<Array>() {
        Some(ids) => {
            let ids = token_ids(&ids)?;
            let count = ids.len();
            embedding::embedding(table, &Value::from_vec(ids, count, table.device())?)
        }
        None => {
            Err(Error::config(format!("embedding: ids must be a tensor or an array of ints, not {}", ids.type_name())))
        }
    }
}

fn norm(x: &Tensor, weight: &Tensor, options: Map) -> Result<Tensor> {
    let mut o = OptionsMap::new("rms_norm", options);
    let eps = o.float_or("eps", 1e-5)?;
    o.finish()?;
    rms_norm::rms_norm(x, weight, eps)
}

fn rotate(x: &Tensor, options: Map) -> Result<Tensor> {
    let mut o = OptionsMap::new("rope", options);
    let (theta, start) = (o.float_or("theta", 10_000.0)?, o.usize_or("start", 0)?);
    let style = if o.bool_or("interleaved", false)? { RopeStyle::Interleaved } else { RopeStyle::HalfSplit };
    o.finish()?;
    let [_, seq, _, head_dim] = *x.dims() else {
        return Err(Error::shape("rope", format!("x must be [batch, seq, heads, head_dim], not {:?}", x.dims())));
    };
    let half = head_dim / 2;
    let angle = |p: usize, i: usize| (start + p) as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64);
    let angles: Vec<f64> = (0..seq).flat_map(|p| (0..half).map(move |i| angle(p, i))).collect();
    let table = |f: fn(f64) -> f64| -> Result<Value> {
        Ok(Value::from_vec(angles.iter().map(|a| f(*a)).collect::<Vec<f64>>(), (seq, half), x.device())?)
    };
    rope(x, &table(f64::cos)?, &table(f64::sin)?, style)
}

fn attend(q: &Tensor, k: &Tensor, v: &Tensor, options: Map) -> Result<Tensor> {
    let mut o = OptionsMap::new("attention", options);
    let length = |n: i64| usize::try_from(n).map_err(|_| Error::config(format!("attention: length {n} is negative")));
    let mut documents = match o.ints_opt("lengths")? {
        None => None,
        Some(list) => Some(Documents::one_each(&list.into_iter().map(length).collect::<Result<Vec<_>>>()?)),
    };
    if let Some(rows) = o.value_opt("documents") {
        if documents.is_some() {
            return Err(Error::config("attention: lengths and documents say the same thing in two ways: give one"));
        }
        let row = |row: &Dynamic| {
            let list = row.read_lock::<Array>()?;
            list.iter().map(|n| n.as_int().ok()).collect::<Option<Vec<INT>>>()
        };
        let rows: Option<Vec<Vec<INT>>> = rows.read_lock::<Array>().and_then(|rows| rows.iter().map(row).collect());
        let Some(rows) = rows else {
            return Err(Error::config("attention: option `documents` must be an array of each row's document lengths"));
        };
        let rows = rows.into_iter().map(|row| row.into_iter().map(length).collect());
        documents = Some(Documents::packed(rows.collect::<Result<Vec<Vec<usize>>>>()?));
    }
    let config = AttentionConfig { causal: o.bool_or("causal", true)?, scale: o.float_opt("scale")?, documents };
    o.finish()?;
    attention(q, k, v, &config)
}

fn loss(logits: &Tensor, labels: &Dynamic, options: Map) -> Result<Tensor> {
    let mut o = OptionsMap::new("cross_entropy", options);
    let ignore: INT = o.int_or("ignore_index", IGNORE_INDEX)?;
    let reduction = Reduction::parse(&o.string_or("reduction", "mean")?)?;
    o.finish()?;
    let labels: Vec<i64> = if let Some(t) = labels.read_lock::<Tensor>() {
        if t.dtype().is_float() {
            return Err(Error::dtype("cross_entropy", format!("labels must be integers, not {}", t.dtype().as_str())));
        }
        t.value().to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?
    } else if let Some(list) = labels.read_lock::<Array>() {
        let label = |v: &Dynamic| v.as_int().map_err(|t| Error::config(format!("cross_entropy: a label is {v} ({t})")));
        list.iter().map(label).collect::<Result<_>>()?
    } else {
        let given = labels.type_name();
        return Err(Error::config(format!("cross_entropy: labels must be a tensor or an array of ints, not {given}")));
    };
    cross_entropy(logits, &labels, ignore, reduction)
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects the layers' script faces: one call of each, with its options, and what goes wrong by name.
    #[test]
    fn layers() {
        assert_eq!(run("nn::linear(tensor([[1.0, 2.0]]), tensor([[3.0, 4.0]])).to_array()"), "[[11.0]]");
        assert_eq!(run("nn::embedding([1, 0], tensor([[1.0], [2.0]])).to_array()"), "[[2.0], [1.0]]");
        assert_eq!(run("nn::rms_norm(tensor([[3.0, 3.0]]), ones([2]), #{ eps: 0.0 }).to_array()"), "[[1.0, 1.0]]");
        assert_eq!(run("nn::swiglu(zeros([2]), ones([2])).to_array()"), "[0.0, 0.0]");
        assert_eq!(run("let x = ones([1, 1, 1, 4]); (nn::rope(x) - x).abs().max().item()"), "0.0");
        assert_eq!(run("let x = ones([1, 3, 2, 4]); nn::attention(x, x, x).shape"), "[1, 3, 2, 4]");
        assert_eq!(run("nn::cross_entropy(zeros([2, 4]), [-100, 1], #{ reduction: \"sum\" }).item() > 1.38"), "true");
        assert!(run("nn::cross_entropy(zeros([1, 4]), [4])").contains("label 4 (row 0) is not one of 4 classes"));
        assert!(run("nn::linear(ones([2, 3]), ones([4, 2]))").contains("does not fit a weight"));
    }
}
