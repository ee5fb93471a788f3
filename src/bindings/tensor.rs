//! The type `Tensor` in scripts: facts as properties, conversion to and from plain values, gradients.

use super::registration::{getter, method};
use super::{ScriptResult, autograd, tensor_text};
use crate::engine::autograd::{self as tape, Tensor};
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::ops::{cast, shape};
use crate::engine::{device, ops::operands::Number, pause};
use candle_core::DType;
use rhai::{Array, Dynamic, Engine, FLOAT, INT, NativeCallContext};

pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Tensor>("Tensor");
    properties(engine);
    conversions(engine);
    gradients(engine);
}

fn properties(engine: &mut Engine) {
    getter("shape", "Tensor", "Array").register_into_engine(engine, |t: &mut Tensor| -> Array { ints(t.dims()) });
    getter("dtype", "Tensor", "string").register_into_engine(engine, |t: &mut Tensor| t.dtype().as_str());
    getter("device", "Tensor", "string").register_into_engine(engine, |t: &mut Tensor| device::name(t.device()));
    getter("rank", "Tensor", "int").register_into_engine(engine, |t: &mut Tensor| t.rank() as INT);
    getter("len", "Tensor", "int").register_into_engine(engine, |t: &mut Tensor| t.len() as INT);
    getter("T", "Tensor", "Tensor")
        .register_into_engine(engine, |t: &mut Tensor| -> ScriptResult<Tensor> { Ok(shape::t(t)?) });
    getter("requires_grad", "Tensor", "bool").register_into_engine(engine, |t: &mut Tensor| t.requires_grad());
    engine
        .register_set("requires_grad", |t: &mut Tensor, on: bool| -> ScriptResult<()> { Ok(t.set_requires_grad(on)?) });
    getter("is_leaf", "Tensor", "bool").register_into_engine(engine, |t: &mut Tensor| t.is_leaf());
    getter("grad", "Tensor", "Tensor or ()").register_into_engine(engine, |t: &mut Tensor| {
        t.grad().map_or(Dynamic::UNIT, |g| Dynamic::from(Tensor::new(g)))
    });
}

fn conversions(engine: &mut Engine) {
    method("item", ["t: Tensor", "float or int"])
        .register_into_engine(engine, |t: &mut Tensor| -> ScriptResult<Dynamic> { Ok(item(t)?) });
    method("to_array", ["t: Tensor", "Array"])
        .register_into_engine(engine, |t: &mut Tensor| -> ScriptResult<Dynamic> { Ok(to_array(t)?) });
    method("to", ["t: Tensor", "target: string", "Tensor"])
        .register_into_engine(engine, |t: &mut Tensor, target: &str| -> ScriptResult<Tensor> { Ok(to(t, target)?) });
    for name in ["to_string", "to_debug"] {
        method(name, ["t: Tensor", "string"])
            .register_into_engine(engine, |t: &mut Tensor| -> ScriptResult<String> { Ok(tensor_text::render(t)?) });
    }
}

fn gradients(engine: &mut Engine) {
    method("detach", ["t: Tensor", "Tensor"]).register_into_engine(engine, |t: &mut Tensor| t.detach());
    method("zero_grad", ["t: Tensor"]).register_into_engine(engine, |t: &mut Tensor| t.zero_grad());
    method("backward", ["t: Tensor"]).register_into_engine(
        engine,
        |ctx: NativeCallContext, t: &mut Tensor| -> ScriptResult<()> {
            autograd::with_engine(ctx.engine(), || t.backward())?;
            pause::loss("the loss", || t.item().unwrap_or(f64::NAN));
            Ok(())
        },
    );
    method("backward", ["t: Tensor", "gradient: Tensor"]).register_into_engine(
        engine,
        |ctx: NativeCallContext, t: &mut Tensor, gradient: Tensor| -> ScriptResult<()> {
            autograd::with_engine(ctx.engine(), || {
                let gradient = cast::to_dtype(&gradient.detach(), t.dtype())?;
                tape::backward(&[(t.clone(), gradient.value().clone())])
            })
        },
    );
}

/// Sizes or indices as an array of ints.
pub(super) fn ints(values: &[usize]) -> Array {
    values.iter().map(|n| Dynamic::from(*n as INT)).collect()
}

/// A script's number.
pub(super) fn number(value: &Dynamic) -> Option<Number> {
    match (value.as_int(), value.as_float()) {
        (Ok(n), _) => Some(Number::Int(n)),
        (_, Ok(x)) => Some(Number::Float(x)),
        _ => None,
    }
}

/// An int, or an array of ints: dimensions or sizes of `what`.
pub(super) fn int_list(what: &str, value: &Dynamic) -> Result<Vec<i64>> {
    if let Ok(n) = value.as_int() {
        return Ok(vec![n]);
    }
    let list = value.read_lock::<Array>().and_then(|a| a.iter().map(|v| v.as_int().ok()).collect::<Option<Vec<_>>>());
    list.ok_or_else(|| {
        let (shown, of) = (super::options_map::shown(value), super::options_map::type_name(value));
        Error::config(format!("{what}: expected an int or an array of ints, not {shown} ({of})"))
    })
}

/// Sizes of a new tensor: an int, or an array of ints, none negative.
pub(super) fn sizes(what: &str, value: &Dynamic) -> Result<Vec<usize>> {
    int_list(what, value)?
        .into_iter()
        .map(|n| usize::try_from(n).map_err(|_| Error::config(format!("{what}: {n} is not a size"))))
        .collect()
}

fn item(t: &Tensor) -> Result<Dynamic> {
    let value = t.item()?; // also the check that there is one element
    if t.dtype().is_float() {
        return Ok(Dynamic::from(value));
    }
    // Not through f64, which would round large integers.
    let one = t.value().flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    Ok(Dynamic::from(one[0]))
}

fn to_array(t: &Tensor) -> Result<Dynamic> {
    if t.is_empty() {
        return Ok(nested(t.dims(), &[]));
    }
    let flat = t.value().flatten_all()?;
    let elements: Vec<Dynamic> = if t.dtype().is_float() {
        flat.to_dtype(DType::F64)?.to_vec1::<FLOAT>()?.into_iter().map(Dynamic::from).collect()
    } else {
        flat.to_dtype(DType::I64)?.to_vec1::<INT>()?.into_iter().map(Dynamic::from).collect()
    };
    Ok(nested(t.dims(), &elements))
}

/// `elements` in row-major order as arrays nested like `dims`.
fn nested(dims: &[usize], elements: &[Dynamic]) -> Dynamic {
    match dims {
        [] => elements.first().cloned().unwrap_or(Dynamic::UNIT),
        [n, rest @ ..] => {
            let width: usize = rest.iter().product();
            let part = |i: usize| nested(rest, elements.get(i * width..(i + 1) * width).unwrap_or(&[]));
            Dynamic::from((0..*n).map(part).collect::<Array>())
        }
    }
}

fn to(t: &Tensor, target: &str) -> Result<Tensor> {
    if let Ok(dtype) = cast::parse_dtype(target) {
        return cast::to_dtype(t, dtype);
    }
    if target.starts_with("cpu") || target.starts_with("cuda") {
        return cast::to_device(t, &device::parse(target)?);
    }
    let known = cast::DTYPES.iter().map(DType::as_str).chain(["cpu", "cuda"]);
    Err(unknown_name("dtype or device", target, known))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bindings::HostContext;
    use crate::engine::progress::Silent;
    use std::sync::Arc;

    /// An engine with the bindings and the operator `@`.
    pub(in crate::bindings) fn engine() -> Engine {
        let mut engine = Engine::new();
        engine.register_custom_operator("@", 180).unwrap();
        engine.set_max_expr_depths(128, 64);
        crate::bindings::register(&mut engine, &Arc::new(HostContext::new(Arc::new(Silent))));
        engine
    }

    /// What `script` gives, as text.
    pub(in crate::bindings) fn run(script: &str) -> String {
        match engine().eval::<Dynamic>(script) {
            Ok(value) => value.to_string(),
            Err(e) => format!("error: {}", message(&e)),
        }
    }

    /// The engine's words inside a script error.
    fn message(e: &rhai::EvalAltResult) -> String {
        use rhai::EvalAltResult::*;
        match e {
            ErrorInFunctionCall(_, _, inner, _) => message(inner),
            ErrorRuntime(value, _) => match value.clone().try_cast::<crate::bindings::ScriptError>() {
                Some(e) => e.engine_error().map(ToString::to_string).unwrap_or_default(),
                None => value.to_string(),
            },
            other => other.to_string(),
        }
    }

    /// Protects the facts that scripts read.
    #[test]
    fn properties() {
        assert_eq!(
            run("let t = tensor([[1.0, 2.0]]); [t.shape, t.dtype, t.device, t.rank, t.len]"),
            r#"[[1, 2], "f32", "cpu", 2, 2]"#
        );
        assert_eq!(
            run("let t = ones([2]); t.requires_grad = true; [t.requires_grad, t.grad == (), t.is_leaf]"),
            "[true, true, true]"
        );
        assert_eq!(
            run("let t = tensor([1]); t.requires_grad = true"),
            "error: requires_grad: only floating-point tensors can require grad, this one is i64"
        );
        assert_eq!(run("const T = ones([2, 3]); T.T.shape"), "[3, 2]");
    }

    /// Protects values on their way out: nesting, integers, empties, half precision.
    #[test]
    fn plain_values() {
        assert_eq!(run("tensor([[1, 2], [3, 4]]).to_array()"), "[[1, 2], [3, 4]]");
        assert_eq!(run("tensor([[1.5], [2.5]]).T.to_array()"), "[[1.5, 2.5]]");
        assert_eq!(run("zeros([2, 0]).to_array()"), "[[], []]");
        assert_eq!(run("[tensor(2.5).item(), tensor([7]).item(), tensor(1).to_array()]"), "[2.5, 7, 1]");
        assert_eq!(run("tensor(9007199254740993).item()"), "9007199254740993");
        assert_eq!(run("ones([2]).item()"), "error: item: a tensor of shape [2] has 2 elements, not one");
        assert_eq!(run(r#"tensor([1.0]).to("bf16").dtype"#), "bf16");
        assert_eq!(run(r#"tensor([1.0]).to("bf61")"#), "error: unknown dtype or device: `bf61`");
    }

    /// Protects training by hand: backward, accumulation, zero_grad, detach, backward with a gradient.
    #[test]
    fn gradients_in_scripts() {
        let script = r#"
            let w = tensor([1.0, 2.0], #{ requires_grad: true });
            (w * w).sum().backward();
            (w * w).sum().backward();
            let twice = w.grad.to_array();
            w.zero_grad();
            (w * 3).backward(tensor([1.0, 10.0]));
            [twice, w.grad.to_array(), (w.detach() * 2).requires_grad]
        "#;
        assert_eq!(run(script), "[[4.0, 8.0], [3.0, 30.0], false]");
        assert!(run("ones([2]).sum().backward()").contains("does not depend on anything that requires grad"));
    }
}
