//! Constructors: `tensor(nested arrays) zeros ones full arange eye rand randn zeros_like ones_like`, each with a trailing
//! option map `#{ dtype, device, requires_grad }`.

use super::options_map::{shown, type_name};
use super::registration::method;
use super::tensor::{number, sizes};
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::operands::Number;
use crate::engine::ops::{budget, cast, cpu, create};
use crate::engine::{device, interrupt};
use candle_core::{DType, Device, Tensor as Value};
use rhai::{Array, Dynamic, Engine, Map};

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let device = &ctx.device;
    with_options(engine, device, "tensor", &["data: Array or number or bool or Tensor"], |data, o| {
        from_data(&data[0], o)
    });
    with_options(engine, device, "zeros", &["shape: Array or int"], |a, o| filled("zeros", &a[0], Number::Int(0), o));
    with_options(engine, device, "ones", &["shape: Array or int"], |a, o| filled("ones", &a[0], Number::Int(1), o));
    with_options(engine, device, "full", &["shape: Array or int", "value: number"], |a, o| {
        filled("full", &a[0], needed("full", &a[1])?, o)
    });
    with_options(engine, device, "arange", &["end: number"], |a, o| range(Number::Int(0), &a[0], Number::Int(1), o));
    with_options(engine, device, "arange", &["start: number", "end: number"], |a, o| {
        range(needed("arange", &a[0])?, &a[1], Number::Int(1), o)
    });
    with_options(engine, device, "arange", &["start: number", "end: number", "step: number"], |a, o| {
        range(needed("arange", &a[0])?, &a[1], needed("arange", &a[2])?, o)
    });
    with_options(engine, device, "eye", &["n: int"], |a, o| {
        let [n] = sizes("eye", &a[0])?[..] else { return Err(Error::config("eye: takes one size")) };
        let (dtype, device) = o.place(DType::F32)?;
        create::eye(n, dtype, &device)
    });
    with_options(engine, device, "rand", &["shape: Array or int"], |a, o| {
        let (low, high) = (o.map.float_or("low", 0.0)?, o.map.float_or("high", 1.0)?);
        let (dtype, device) = o.place(DType::F32)?;
        create::rand(&sizes("rand", &a[0])?, low, high, dtype, &device)
    });
    with_options(engine, device, "randn", &["shape: Array or int"], |a, o| {
        let (mean, std) = (o.map.float_or("mean", 0.0)?, o.map.float_or("std", 1.0)?);
        let (dtype, device) = o.place(DType::F32)?;
        create::randn(&sizes("randn", &a[0])?, mean, std, dtype, &device)
    });
    for (name, n) in [("zeros_like", 0), ("ones_like", 1)] {
        method(name, ["t: Tensor", "Tensor"]).register_into_engine(
            engine,
            move |t: &mut Tensor| -> ScriptResult<Tensor> {
                Ok(Tensor::new(create::full(t.dims(), Number::Int(n), t.dtype(), t.device())?))
            },
        );
    }
}

/// The options of a constructor.
struct Placement {
    map: OptionsMap,
    device: Device,
}

impl Placement {
    /// dtype (or `default`) and device.
    fn place(&mut self, default: DType) -> Result<(DType, Device)> {
        let dtype = self.map.string_opt("dtype")?.map_or(Ok(default), |name| cast::parse_dtype(&name))?;
        let device = self.map.string_opt("device")?.map_or(Ok(self.device.clone()), |name| device::parse(&name))?;
        Ok((dtype, device))
    }
}

/// Registers `name` with and without the option map behind its arguments, of which there are one to three.
fn with_options(
    engine: &mut Engine,
    device: &Device,
    name: &'static str,
    params: &[&'static str],
    make: fn(&[Dynamic], &mut Placement) -> Result<Value>,
) {
    let device = device.clone();
    let build = move |args: &[Dynamic], options: Map| -> ScriptResult<Tensor> {
        let mut options = Placement { map: OptionsMap::new(name, options), device: device.clone() };
        let requires_grad = options.map.bool_or("requires_grad", false)?;
        let value = make(args, &mut options)?;
        options.map.finish()?;
        Ok(if requires_grad { Tensor::parameter(value)? } else { Tensor::new(value) })
    };
    let (a, b) = (build.clone(), build);
    match *params {
        [x] => {
            method(name, [x, "Tensor"]).register_into_engine(engine, move |x: Dynamic| a(&[x], Map::new()));
            method(name, [x, "options: Map", "Tensor"])
                .register_into_engine(engine, move |x: Dynamic, o: Map| b(&[x], o));
        }
        [x, y] => {
            method(name, [x, y, "Tensor"])
                .register_into_engine(engine, move |x: Dynamic, y: Dynamic| a(&[x, y], Map::new()));
            method(name, [x, y, "options: Map", "Tensor"])
                .register_into_engine(engine, move |x: Dynamic, y: Dynamic, o: Map| b(&[x, y], o));
        }
        [x, y, z, ..] => {
            method(name, [x, y, z, "Tensor"])
                .register_into_engine(engine, move |x: Dynamic, y: Dynamic, z: Dynamic| a(&[x, y, z], Map::new()));
            method(name, [x, y, z, "options: Map", "Tensor"])
                .register_into_engine(engine, move |x: Dynamic, y: Dynamic, z: Dynamic, o: Map| b(&[x, y, z], o));
        }
        [] => {}
    }
}

fn needed(what: &str, value: &Dynamic) -> Result<Number> {
    number(value)
        .ok_or_else(|| Error::config(format!("{what}: {} ({}) is not a number", shown(value), type_name(value))))
}

fn filled(what: &str, shape: &Dynamic, n: Number, options: &mut Placement) -> Result<Value> {
    let default = match n {
        Number::Int(_) if what == "full" => DType::I64,
        _ => DType::F32,
    };
    let (dtype, device) = options.place(default)?;
    create::full(&sizes(what, shape)?, n, dtype, &device)
}

fn range(start: Number, end: &Dynamic, step: Number, options: &mut Placement) -> Result<Value> {
    let end = needed("arange", end)?;
    let whole = [start, end, step].iter().all(|n| matches!(n, Number::Int(_)));
    let (dtype, device) = options.place(if whole { DType::I64 } else { DType::F32 })?;
    create::arange(start, end, step, dtype, &device)
}

fn from_data(data: &Dynamic, options: &mut Placement) -> Result<Value> {
    if let Some(t) = data.read_lock::<Tensor>() {
        let (dtype, device) = options.place(t.dtype())?;
        // A tensor of its own: whoever changes the copy in place must not change the original.
        return Ok(cast::to_device(&cast::to_dtype(&t.detach(), dtype)?, &device)?.value().force_contiguous()?);
    }
    let mut found = Found::default();
    found.walk(data, 0)?;
    let default = match (found.floats, found.ints) {
        (true, _) => DType::F32,
        (false, false) if found.bools => DType::U8,
        (false, true) => DType::I64,
        (false, false) => DType::F32,
    };
    let (dtype, device) = options.place(default)?;
    budget::elements("tensor", &found.dims, dtype)?;
    let value = if found.floats {
        cpu::tensor(found.numbers.iter().map(|n| n.as_f64()).collect::<Vec<_>>(), &found.dims)?
    } else {
        let whole = |n: &Number| match n {
            Number::Int(n) => *n,
            Number::Float(x) => *x as i64, // there is none: `floats` is false
        };
        cpu::tensor(found.numbers.iter().map(whole).collect::<Vec<_>>(), &found.dims)?
    };
    create::finish(value, dtype, &device)
}

/// Numbers in nested arrays as a tensor that holds each of them exactly: f64, or i64 where all are whole.
pub(super) fn exact(data: &Dynamic) -> Result<Tensor> {
    let mut found = Found::default();
    found.walk(data, 0)?;
    let dtype = if found.floats { "f64" } else { "i64" };
    let map = OptionsMap::new("tensor", Map::from([("dtype".into(), dtype.into())]));
    Ok(Tensor::new(from_data(data, &mut Placement { map, device: Device::Cpu })?))
}

/// What the nested arrays hold.
#[derive(Default)]
struct Found {
    dims: Vec<usize>,
    /// Whether the innermost dimension has been seen: a number at another depth is then an error.
    complete: bool,
    numbers: Vec<Number>,
    ints: bool,
    floats: bool,
    bools: bool,
}

impl Found {
    fn walk(&mut self, value: &Dynamic, depth: usize) -> Result<()> {
        let Some(array) = value.read_lock::<Array>() else { return self.number(value, depth) };
        if depth == self.dims.len() && !self.complete {
            self.dims.push(array.len());
            budget::elements("tensor", &self.dims, DType::U8)?;
        }
        match self.dims.get(depth) {
            Some(n) if *n == array.len() => {}
            Some(n) => {
                let (found, n) = (array.len(), *n);
                return Err(Error::shape(
                    "tensor",
                    format!("rows differ in length: {n} and {found} elements in dimension {depth}"),
                ));
            }
            None => return Err(self.ragged(depth + 1)),
        }
        interrupt::poll()?;
        array.iter().try_for_each(|item| self.walk(item, depth + 1))
    }

    fn number(&mut self, value: &Dynamic, depth: usize) -> Result<()> {
        if depth != self.dims.len() {
            return Err(self.ragged(depth));
        }
        self.complete = true;
        let n = match (number(value), value.as_bool()) {
            (Some(n), _) => n,
            (None, Ok(bit)) => {
                self.bools = true;
                Number::Int(bit.into())
            }
            (None, Err(_)) => {
                let given = type_name(value);
                return Err(Error::config(format!(
                    "tensor: elements must be numbers or bools, not {} ({given})",
                    shown(value)
                )));
            }
        };
        match n {
            Number::Float(_) => self.floats = true,
            Number::Int(_) => self.ints |= value.is_int(),
        }
        self.numbers.push(n);
        Ok(())
    }

    fn ragged(&self, depth: usize) -> Error {
        let others = self.dims.len();
        Error::shape("tensor", format!("some elements are nested {depth} arrays deep, others {others}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects constructors: values, default dtypes, options.
    #[test]
    fn constructors() {
        assert_eq!(
            run("[tensor(1).dtype, tensor([1, 2.0]).dtype, tensor([true]).dtype, tensor([]).dtype]"),
            r#"["i64", "f32", "u8", "f32"]"#
        );
        assert_eq!(run("tensor([[true, 2], [3, 4]]).to_array()"), "[[1, 2], [3, 4]]");
        assert_eq!(
            run(r#"tensor([[1, 2]], #{ dtype: "bf16", requires_grad: true }).to_string()"#),
            "tensor([[1.0000, 2.0000]], bf16, [1, 2], cpu, requires_grad)"
        );
        assert_eq!(
            run("[zeros(2).to_array(), ones([1, 2]).to_array(), full([2], 7).to_array(), eye(2).to_array()]"),
            "[[0.0, 0.0], [[1.0, 1.0]], [7, 7], [[1.0, 0.0], [0.0, 1.0]]]"
        );
        assert_eq!(
            run("[arange(3), arange(1, 3), arange(1.0, 0, -0.5)].map(|t| t.to_array())"),
            "[[0, 1, 2], [1, 2], [1.0, 0.5]]"
        );
        assert_eq!(run(r#"arange(3, #{ dtype: "f32" }).dtype + arange(0, 2, #{ dtype: "u8" }).dtype"#), "f32u8");
        assert_eq!(
            run("let a = ones([2]); a.requires_grad = true; let b = tensor(a); [b.requires_grad, b.to_array()]"),
            "[false, [1.0, 1.0]]"
        );
        assert_eq!(run("zeros_like(tensor([1, 2])).to_string()"), "tensor([0, 0], i64, [2], cpu)");
    }

    /// Protects reproducible scripts: a seed fixes what follows.
    #[test]
    fn random() {
        assert_eq!(
            run(
                "seed(3); let a = randn([4]); let b = rand([4]); seed(3); [(a - randn([4])).abs().sum().item(), (b - rand([4])).abs().sum().item()]"
            ),
            "[0.0, 0.0]"
        );
        assert_eq!(
            run(
                "seed(3); let a = rand([100], #{ low: 2.0, high: 3.0 }); a.min().item() >= 2.0 && a.max().item() < 3.0"
            ),
            "true"
        );
    }

    /// Protects the process and the person: hostile sizes, ragged rows, wrong options.
    #[test]
    fn refused() {
        assert!(run("zeros([1000000, 1000000, 1000000])").contains("needs"));
        assert!(run("zeros([9223372036854775807, 9223372036854775807])").contains("counted"));
        assert!(run("randn(9223372036854775807)").starts_with("error: out of memory"));
        assert_eq!(run("zeros([2, -1])"), "error: zeros: -1 is not a size");
        assert_eq!(
            run("tensor([[1, 2], [3]])"),
            "error: tensor: rows differ in length: 2 and 1 elements in dimension 1"
        );
        assert_eq!(run("tensor([1, [2]])"), "error: tensor: some elements are nested 2 arrays deep, others 1");
        assert_eq!(run(r#"tensor(["a"])"#), r#"error: tensor: elements must be numbers or bools, not "a" (string)"#);
        assert_eq!(run("zeros([2], #{ dtpye: 1 })"), "error: unknown option of zeros: `dtpye`");
        assert_eq!(run(r#"ones([1], #{ dtype: "float" })"#), "error: unknown dtype: `float`");
        assert_eq!(
            run(r#"ones([1], #{ dtype: "i64", requires_grad: true })"#),
            "error: requires_grad: only floating-point tensors can require grad, this one is i64"
        );
    }
}
