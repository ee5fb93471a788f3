//! Operators and methods of tensors, named as PyTorch names them.
//!
//! Operators do not convert their sides: `tensor + tensor`, `tensor + float`, `float + tensor`, and the same with ints,
//! are functions of their own.

use super::nn::{self, UNARY};
use super::options_map::{shown, type_name};
use super::registration::method;
use super::tensor::{int_list, number};
use super::tensor_index::indices;
use super::{OptionsMap, ScriptResult};
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::compare::{Comparison, compare, compare_number};
use crate::engine::ops::operands::Number;
use crate::engine::ops::{arith, index, join, matmul, pow, reduce, shape, softmax, unary};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map};

pub(super) fn register(engine: &mut Engine) {
    operators(engine);
    comparisons(engine);
    elementwise(engine);
    reductions(engine);
    views(engine);
    joins(engine);
}

type Both = fn(&Tensor, &Tensor) -> Result<Tensor>;
type Right = fn(&Tensor, Number) -> Result<Tensor>;
type Left = fn(Number, &Tensor) -> Result<Tensor>;

fn operators(engine: &mut Engine) {
    let arithmetic: [(&str, Both, Right, Left); 5] = [
        ("+", arith::add, arith::add_number, |n, t| arith::add_number(t, n)),
        ("-", arith::sub, arith::sub_number, arith::number_sub),
        ("*", arith::mul, arith::mul_number, |n, t| arith::mul_number(t, n)),
        ("/", arith::div, arith::div_number, arith::number_div),
        ("**", pow::pow, pow::pow_number, pow::number_pow),
    ];
    for (name, both, right, left) in arithmetic {
        engine
            .register_fn(name, move |a: Tensor, b: Tensor| -> ScriptResult<Tensor> { Ok(both(&a, &b)?) })
            .register_fn(name, move |a: Tensor, b: FLOAT| -> ScriptResult<Tensor> { Ok(right(&a, b.into())?) })
            .register_fn(name, move |a: Tensor, b: INT| -> ScriptResult<Tensor> { Ok(right(&a, b.into())?) })
            .register_fn(name, move |a: FLOAT, b: Tensor| -> ScriptResult<Tensor> { Ok(left(a.into(), &b)?) })
            .register_fn(name, move |a: INT, b: Tensor| -> ScriptResult<Tensor> { Ok(left(a.into(), &b)?) });
    }
    engine
        .register_fn("-", |t: Tensor| -> ScriptResult<Tensor> { Ok(arith::neg(&t)?) })
        .register_fn("+", |t: Tensor| t)
        .register_fn("@", |a: Tensor, b: Tensor| -> ScriptResult<Tensor> { Ok(matmul::matmul(&a, &b)?) });
    method("matmul", ["t: Tensor", "other: Tensor", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, other: Tensor| -> ScriptResult<Tensor> {
            Ok(matmul::matmul(t, &other)?)
        });
}

fn comparisons(engine: &mut Engine) {
    use Comparison::*;
    for (name, c) in [("==", Eq), ("!=", Ne), ("<", Lt), ("<=", Le), (">", Gt), (">=", Ge)] {
        let m = c.mirrored();
        engine
            .register_fn(name, move |a: Tensor, b: Tensor| -> ScriptResult<Tensor> { Ok(compare(c, &a, &b)?) })
            .register_fn(name, move |a: Tensor, b: FLOAT| -> ScriptResult<Tensor> { Ok(compare_number(c, &a, b)?) })
            .register_fn(name, move |a: Tensor, b: INT| -> ScriptResult<Tensor> { Ok(compare_number(c, &a, b)?) })
            .register_fn(name, move |a: FLOAT, b: Tensor| -> ScriptResult<Tensor> { Ok(compare_number(m, &b, a)?) })
            .register_fn(name, move |a: INT, b: Tensor| -> ScriptResult<Tensor> { Ok(compare_number(m, &b, a)?) });
    }
}

fn elementwise(engine: &mut Engine) {
    let more: [(&str, nn::Unary); 3] = [("gelu", unary::gelu), ("abs", arith::abs), ("neg", arith::neg)];
    for (name, f) in UNARY.into_iter().chain(more) {
        method(name, ["t: Tensor", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor| -> ScriptResult<Tensor> { Ok(f(t)?) });
    }
    method("gelu", ["t: Tensor", "options: Map", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, o: Map| -> ScriptResult<Tensor> { Ok(nn::gelu(t, o)?) });
    for (name, both, right) in [
        ("pow", pow::pow as Both, pow::pow_number as Right),
        ("maximum", arith::maximum, arith::maximum_number),
        ("minimum", arith::minimum, arith::minimum_number),
    ] {
        method(name, ["t: Tensor", "other: Tensor or number", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor, other: Dynamic| -> ScriptResult<Tensor> {
                Ok(with(name, t, &other, both, right)?)
            });
    }
    method("clamp", ["t: Tensor", "low: number or ()", "high: number or ()", "Tensor"]).register_into_engine(
        engine,
        |t: &mut Tensor, low: Dynamic, high: Dynamic| -> ScriptResult<Tensor> {
            Ok(arith::clamp(t, bound(&low)?, bound(&high)?)?)
        },
    );
    type Along = fn(&Tensor, i64) -> Result<Tensor>;
    for (name, f) in [("softmax", softmax::softmax as Along), ("log_softmax", softmax::log_softmax)] {
        method(name, ["t: Tensor", "dim: int", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor, dim: INT| -> ScriptResult<Tensor> { Ok(f(t, dim)?) });
    }
}

/// `f(t, other)` for a tensor or a number.
fn with(name: &str, t: &Tensor, other: &Dynamic, both: Both, right: Right) -> Result<Tensor> {
    if let Some(u) = other.read_lock::<Tensor>() {
        return both(t, &u);
    }
    match number(other) {
        Some(n) => right(t, n),
        None => Err(neither(name, other)),
    }
}

fn neither(name: &str, value: &Dynamic) -> Error {
    Error::config(format!("{name}: expected a tensor or a number, not {} ({})", shown(value), type_name(value)))
}

fn bound(value: &Dynamic) -> Result<Option<Number>> {
    match number(value) {
        None if !value.is_unit() => {
            Err(Error::config(format!("clamp: a bound is a number or (), not {}", shown(value))))
        }
        n => Ok(n),
    }
}

/// A reduction: tensor, dimensions (none: all), options.
type Reduction = fn(&Tensor, &[i64], OptionsMap) -> Result<Tensor>;

fn kept(mut o: OptionsMap) -> Result<bool> {
    let keepdim = o.bool_or("keepdim", false)?;
    o.finish()?;
    Ok(keepdim)
}

fn reductions(engine: &mut Engine) {
    let all: [(&'static str, Reduction); 5] = [
        ("sum", |t, d, o| reduce::sum(t, d, kept(o)?)),
        ("mean", |t, d, o| reduce::mean(t, d, kept(o)?)),
        ("max", |t, d, o| reduce::max(t, d, kept(o)?)),
        ("min", |t, d, o| reduce::min(t, d, kept(o)?)),
        // PyTorch says `var`, which Rhai keeps for itself.
        ("variance", |t, d, mut o| {
            let correction = o.usize_or("correction", 1)?;
            reduce::var(t, d, kept(o)?, u32::try_from(correction).unwrap_or(u32::MAX))
        }),
    ];
    for (name, f) in all {
        let dim = match name {
            "max" | "min" => "dim: int or Array or Tensor or Map",
            _ => "dim: int or Array or Map",
        };
        method(name, ["t: Tensor", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor| -> ScriptResult<Tensor> {
                Ok(f(t, &[], OptionsMap::empty(name))?)
            });
        method(name, ["t: Tensor", dim, "Tensor"]).register_into_engine(
            engine,
            move |t: &mut Tensor, arg: Dynamic| -> ScriptResult<Tensor> {
                if let Some(u) = arg.read_lock::<Tensor>() {
                    match name {
                        "max" => return Ok(arith::maximum(t, &u)?),
                        "min" => return Ok(arith::minimum(t, &u)?),
                        _ => {}
                    }
                }
                Ok(match arg.clone().try_cast::<Map>() {
                    Some(options) => f(t, &[], OptionsMap::new(name, options))?,
                    None => f(t, &int_list(name, &arg)?, OptionsMap::empty(name))?,
                })
            },
        );
        method(name, ["t: Tensor", "dim: int or Array", "options: Map", "Tensor"]).register_into_engine(
            engine,
            move |t: &mut Tensor, dim: Dynamic, options: Map| -> ScriptResult<Tensor> {
                Ok(f(t, &int_list(name, &dim)?, OptionsMap::new(name, options))?)
            },
        );
    }
    type Arg = fn(&Tensor, Option<i64>, bool) -> Result<Tensor>;
    for (name, f) in [("argmax", reduce::argmax as Arg), ("argmin", reduce::argmin)] {
        method(name, ["t: Tensor", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor| -> ScriptResult<Tensor> { Ok(f(t, None, false)?) });
        method(name, ["t: Tensor", "dim: int", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor, dim: INT| -> ScriptResult<Tensor> {
                Ok(f(t, Some(dim), false)?)
            });
        method(name, ["t: Tensor", "dim: int", "options: Map", "Tensor"]).register_into_engine(
            engine,
            move |t: &mut Tensor, dim: INT, o: Map| -> ScriptResult<Tensor> {
                Ok(f(t, Some(dim), kept(OptionsMap::new(name, o))?)?)
            },
        );
    }
}

fn views(engine: &mut Engine) {
    type Sized = fn(&Tensor, &[i64]) -> Result<Tensor>;
    for (name, f) in
        [("reshape", shape::reshape as Sized), ("permute", shape::permute), ("broadcast_to", shape::broadcast_to)]
    {
        method(name, ["t: Tensor", "sizes: Array or int", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor, sizes: Dynamic| -> ScriptResult<Tensor> {
                Ok(f(t, &int_list(name, &sizes)?)?)
            });
        method(name, ["t: Tensor", "a: int", "b: int", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor, a: INT, b: INT| -> ScriptResult<Tensor> {
                Ok(f(t, &[a, b])?)
            });
        method(name, ["t: Tensor", "a: int", "b: int", "c: int", "Tensor"])
            .register_into_engine(engine, move |t: &mut Tensor, a: INT, b: INT, c: INT| -> ScriptResult<Tensor> {
                Ok(f(t, &[a, b, c])?)
            });
        method(name, ["t: Tensor", "a: int", "b: int", "c: int", "d: int", "Tensor"]).register_into_engine(
            engine,
            move |t: &mut Tensor, a: INT, b: INT, c: INT, d: INT| -> ScriptResult<Tensor> { Ok(f(t, &[a, b, c, d])?) },
        );
    }
    method("transpose", ["t: Tensor", "a: int", "b: int", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, a: INT, b: INT| -> ScriptResult<Tensor> {
            Ok(shape::transpose(t, a, b)?)
        });
    method("t", ["t: Tensor", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor| -> ScriptResult<Tensor> { Ok(shape::t(t)?) });
    method("narrow", ["t: Tensor", "dim: int", "start: int", "length: int", "Tensor"]).register_into_engine(
        engine,
        |t: &mut Tensor, dim: INT, start: INT, len: INT| -> ScriptResult<Tensor> {
            Ok(shape::narrow(t, dim, start, len)?)
        },
    );
    method("select", ["t: Tensor", "dim: int", "index: int", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, dim: INT, i: INT| -> ScriptResult<Tensor> {
            Ok(shape::select(t, dim, i)?)
        });
    method("squeeze", ["t: Tensor", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor| -> ScriptResult<Tensor> { Ok(shape::squeeze(t, None)?) });
    method("squeeze", ["t: Tensor", "dim: int", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, dim: INT| -> ScriptResult<Tensor> {
            Ok(shape::squeeze(t, Some(dim))?)
        });
    method("unsqueeze", ["t: Tensor", "dim: int", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, dim: INT| -> ScriptResult<Tensor> {
            Ok(shape::unsqueeze(t, dim)?)
        });
    method("flatten", ["t: Tensor", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor| -> ScriptResult<Tensor> { Ok(shape::flatten(t, 0, -1)?) });
    method("flatten", ["t: Tensor", "first: int", "last: int", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, a: INT, b: INT| -> ScriptResult<Tensor> {
            Ok(shape::flatten(t, a, b)?)
        });
    method("contiguous", ["t: Tensor", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor| -> ScriptResult<Tensor> { Ok(shape::contiguous(t)?) });
}

fn joins(engine: &mut Engine) {
    type Join = fn(&[Tensor], i64) -> Result<Tensor>;
    for (name, f) in [("cat", join::cat as Join), ("stack", join::stack)] {
        method(name, ["tensors: Array", "Tensor"])
            .register_into_engine(engine, move |list: Array| -> ScriptResult<Tensor> {
                Ok(f(&tensors(name, &list)?, 0)?)
            });
        method(name, ["tensors: Array", "dim: int", "Tensor"])
            .register_into_engine(engine, move |list: Array, dim: INT| -> ScriptResult<Tensor> {
                Ok(f(&tensors(name, &list)?, dim)?)
            });
    }
    method("index_select", ["t: Tensor", "dim: int", "indices: Tensor or Array", "Tensor"]).register_into_engine(
        engine,
        |t: &mut Tensor, dim: INT, ids: Dynamic| -> ScriptResult<Tensor> {
            Ok(index::index_select(t, dim, &indices("index_select", &ids, t)?)?)
        },
    );
    method("gather", ["t: Tensor", "dim: int", "indices: Tensor", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, dim: INT, ids: Tensor| -> ScriptResult<Tensor> {
            Ok(index::gather(t, dim, &ids)?)
        });
    method("where", ["mask: Tensor", "a: Tensor or number", "b: Tensor or number", "Tensor"])
        .register_into_engine(engine, |mask: &mut Tensor, a: Dynamic, b: Dynamic| -> ScriptResult<Tensor> {
            Ok(choose(mask, &a, &b)?)
        });
}

fn tensors(name: &str, list: &Array) -> Result<Vec<Tensor>> {
    let one = |(i, item): (usize, &Dynamic)| match item.read_lock::<Tensor>() {
        Some(t) => Ok(t.clone()),
        None => Err(Error::config(format!("{name}: item {i} is {} ({}), not a tensor", shown(item), type_name(item)))),
    };
    list.iter().enumerate().map(one).collect()
}

fn choose(mask: &Tensor, a: &Dynamic, b: &Dynamic) -> Result<Tensor> {
    let tensor = |value: &Dynamic| value.read_lock::<Tensor>().map(|t| t.clone());
    let constant = |value: &Dynamic, like: Option<&Tensor>| -> Result<Tensor> {
        let n = number(value).ok_or_else(|| neither("where", value))?;
        let dtype = match (like, n) {
            (Some(t), n) => n.meets(t.dtype()),
            (None, Number::Int(_)) => candle_core::DType::I64,
            (None, Number::Float(_)) => candle_core::DType::F32,
        };
        n.constant("where", dtype, mask)
    };
    let (x, y) = match (tensor(a), tensor(b)) {
        (Some(x), Some(y)) => (x, y),
        (Some(x), None) => (x.clone(), constant(b, Some(&x))?),
        (None, Some(y)) => (constant(a, Some(&y))?, y),
        (None, None) => (constant(a, None)?, constant(b, None)?),
    };
    index::where_cond(mask, &x, &y)
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects arithmetic: tensors, floats and ints on both sides of every operator.
    #[test]
    fn operators() {
        let each = |op: &str| {
            run(&format!(
                "let t = tensor([4.0, 2.0]); [t {op} t, t {op} 2.0, t {op} 2, 2.0 {op} t, 2 {op} t].map(|t| t.to_array())"
            ))
        };
        assert_eq!(each("+"), "[[8.0, 4.0], [6.0, 4.0], [6.0, 4.0], [6.0, 4.0], [6.0, 4.0]]");
        assert_eq!(each("-"), "[[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [-2.0, 0.0], [-2.0, 0.0]]");
        assert_eq!(each("*"), "[[16.0, 4.0], [8.0, 4.0], [8.0, 4.0], [8.0, 4.0], [8.0, 4.0]]");
        assert_eq!(each("/"), "[[1.0, 1.0], [2.0, 1.0], [2.0, 1.0], [0.5, 1.0], [0.5, 1.0]]");
        assert_eq!(each("**"), "[[256.0, 4.0], [16.0, 4.0], [16.0, 4.0], [16.0, 4.0], [16.0, 4.0]]");
        assert_eq!(each("<"), "[[0, 0], [0, 0], [0, 0], [1, 0], [1, 0]]");
        assert_eq!(each("=="), "[[1, 1], [0, 1], [0, 1], [0, 1], [0, 1]]");
        assert_eq!(run("let t = tensor([1, 2]); t += 1; t *= t; (-t).to_array()"), "[-4, -9]");
        assert_eq!(run("let a = ones([2, 3]); (1 + a @ a.T * 2).to_array()"), "[[7.0, 7.0], [7.0, 7.0]]");
    }

    /// Protects methods under PyTorch's names, with their optional arguments.
    #[test]
    fn methods() {
        assert_eq!(
            run(
                "let t = arange(6.0).reshape(2, 3); [t.sum(), t.sum(0), t.mean([0, 1]), t.max(-1, #{ keepdim: true }), t.min(#{ keepdim: true })].map(|t| t.to_array())"
            ),
            "[15.0, [3.0, 5.0, 7.0], 2.5, [[2.0], [5.0]], [[0.0]]]"
        );
        assert_eq!(
            run(
                "let t = tensor([1.0, 3.0]); [t.variance().item(), t.variance(0, #{ correction: 0 }).item(), t.argmax().item(), t.max(tensor([2.0, 2.0])).to_array()]"
            ),
            "[2.0, 1.0, 1, [2.0, 3.0]]"
        );
        assert_eq!(
            run(
                "let t = arange(6); [t.reshape(-1, 2).shape, t.reshape([2, 3]).permute(1, 0).shape, t.unsqueeze(0).squeeze().shape, t.reshape(2, 1, 3).flatten(1, 2).shape, tensor([[1], [2]]).broadcast_to(2, 3).shape]"
            ),
            "[[3, 2], [3, 2], [6], [2, 3], [2, 3]]"
        );
        assert_eq!(run("tensor([-1.0, 0.5, 2.0]).clamp(0, 1.0).to_array()"), "[0.0, 0.5, 1.0]");
        assert_eq!(run("tensor([-1.0, 2.0]).clamp(0.0, ()).to_array()"), "[0.0, 2.0]");
        assert_eq!(
            run("[cat([ones([1]), zeros([2])]), stack([ones([1]), zeros([1])], 1)].map(|t| t.to_array())"),
            "[[1.0, 0.0, 0.0], [[1.0, 0.0]]]"
        );
        assert_eq!(
            run("let t = tensor([1.0, -2.0]); [where(t > 0, t, 0), where(t > 0, 1, 0)].map(|t| t.to_array())"),
            "[[1.0, 0.0], [1, 0]]"
        );
        assert_eq!(run("arange(4).index_select(0, [3, 0]).to_array()"), "[3, 0]");
        assert_eq!(run("tensor([[1.0, 2.0]]).gather(1, tensor([[1]])).to_array()"), "[[2.0]]");
        assert_eq!(run("(tensor([0.0]).exp() + tensor([4.0]).sqrt() + tensor([1.0]).log()).to_array()"), "[3.0]");
        assert_eq!(run("tensor([3.0]).pow(2).item() + tensor([3.0]).maximum(5).item()"), "14.0");
    }

    /// Protects the messages of wrong calls.
    #[test]
    fn errors() {
        assert_eq!(
            run("zeros([4, 512, 576]) @ zeros([192, 576])"),
            "error: matmul: [4, 512, 576] @ [192, 576]: inner dimensions 576 and 192 differ"
        );
        assert_eq!(run("ones([2]).sum(\"a\")"), "error: sum: expected an int or an array of ints, not \"a\" (string)");
        assert_eq!(run("ones([2]).sum(0, #{ keepdims: true })"), "error: unknown option of sum: `keepdims`");
        assert_eq!(run("cat([ones([2]), 5])"), "error: cat: item 1 is 5 (int), not a tensor");
        assert_eq!(run("ones([2]).pow(\"x\")"), "error: pow: expected a tensor or a number, not \"x\" (string)");
        assert!(run("ones([2]).clamp((), ())").contains("needs a lower or an upper bound"));
    }
}
