//! `testing::`: what `std/test` is made of: where two values differ, and a directory that goes away.

use super::error::placed;
use super::options_map::type_name;
use super::registration::function;
use super::tensor_create::exact;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::cast;
use crate::engine::ops::close::{self, Closeness, Differing, Tolerance};
use rhai::{Array, Dynamic, Engine, EvalAltResult, FLOAT, ImmutableString, Map, Module, NativeCallContext};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// The temporary directory of a test, or of a script that asks for one: made when asked for, removed with its owner.
#[derive(Debug, Default)]
pub struct Scratch(Mutex<Option<TempDir>>);

impl Scratch {
    /// The directory, made now if there is none.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn dir(&self) -> Result<PathBuf> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = match &*kept {
            Some(dir) => dir,
            None => kept
                .insert(tempfile::Builder::new().prefix("host-").tempdir().map_err(Error::io(std::env::temp_dir()))?),
        };
        Ok(dir.path().canonicalize().unwrap_or_else(|_| dir.path().to_path_buf()))
    }

    /// Removes the directory with all that is in it.
    pub fn clear(&self) {
        // Dropping it removes it; what a failed removal leaves behind lies where temporary files do.
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let mut module = Module::new();
    function("difference", ["left: any", "right: any", "string or ()"]).set_into_module(
        &mut module,
        |cx: NativeCallContext, left: Dynamic, right: Dynamic| {
            answer(&cx, Walk { cx: &cx, how: How::Equal }.differ("", &left, &right))
        },
    );
    function("closeness", ["actual: any", "expected: any", "options: Map", "string or ()"]).set_into_module(
        &mut module,
        |cx: NativeCallContext, actual: Dynamic, expected: Dynamic, options: Map| {
            let how = placed(&cx, read(options))?;
            answer(&cx, Walk { cx: &cx, how }.differ("", &actual, &expected))
        },
    );
    let c = ctx.clone();
    function("temp_dir", ["string"]).set_into_module(&mut module, move |cx: NativeCallContext| {
        let dir = placed(&cx, c.scratch.dir())?;
        c.access.allow_write(&dir);
        Ok::<_, Box<EvalAltResult>>(dir.display().to_string())
    });
    engine.register_static_module("testing", module.into());
}

fn answer(cx: &NativeCallContext, found: ScriptResult<Option<String>>) -> ScriptResult<Dynamic> {
    placed(cx, found.map(|text| text.map_or(Dynamic::UNIT, Dynamic::from)))
}

/// When two values count as the same.
enum How {
    Equal,
    Close { rtol: Option<f64>, atol: Option<f64>, equal_nan: bool, check_dtype: bool },
}

fn read(options: Map) -> Result<How> {
    let mut o = OptionsMap::new("assert_close", options);
    let mut tolerance = |key| match o.float_opt(key)? {
        Some(x) if x.is_nan() || x < 0.0 => Err(o.invalid(key, x, "0 or more")),
        x => Ok(x),
    };
    let (rtol, atol) = (tolerance("rtol")?, tolerance("atol")?);
    let how = How::Close {
        rtol,
        atol,
        equal_nan: o.bool_or("equal_nan", false)?,
        check_dtype: o.bool_or("check_dtype", true)?,
    };
    o.finish()?;
    Ok(how)
}

/// A walk through two values side by side.
struct Walk<'a> {
    cx: &'a NativeCallContext<'a>,
    how: How,
}

impl Walk<'_> {
    /// The first difference below `path`, in words.
    fn differ(&self, path: &str, a: &Dynamic, b: &Dynamic) -> ScriptResult<Option<String>> {
        if matches!(self.how, How::Close { .. }) && numeric(a) && numeric(b) {
            return Ok(self.far(path, a, b)?);
        }
        if let (Some(a), Some(b)) = (a.read_lock::<Array>(), b.read_lock::<Array>()) {
            if a.len() != b.len() {
                let counts = format!("the arrays{} have {} and {} elements", at(path), a.len(), b.len());
                return Ok(Some(sides(&counts, &shown(&a.clone().into()), &shown(&b.clone().into()))));
            }
            return first(
                a.iter().zip(b.iter()).enumerate().map(|(i, (a, b))| self.differ(&format!("{path}[{i}]"), a, b)),
            );
        }
        if let (Some(a), Some(b)) = (a.read_lock::<Map>(), b.read_lock::<Map>()) {
            let only = |x: &Map, y: &Map| x.keys().find(|k| !y.contains_key(*k)).map(ToString::to_string);
            if let Some(key) = only(&a, &b) {
                return Ok(Some(format!("key `{key}`{} is on the left only", at(path))));
            }
            if let Some(key) = only(&b, &a) {
                return Ok(Some(format!("key `{key}`{} is on the right only", at(path))));
            }
            return first(a.iter().map(|(key, value)| self.differ(&format!("{path}.{key}"), value, &b[key])));
        }
        if let (Some(a), Some(b)) = (a.read_lock::<Tensor>(), b.read_lock::<Tensor>()) {
            return Ok(tensors_differ(path, &a, &b)?);
        }
        self.values_differ(path, a, b)
    }

    fn values_differ(&self, path: &str, a: &Dynamic, b: &Dynamic) -> ScriptResult<Option<String>> {
        let differ = format!("the values{} differ", at(path));
        let number = |v: &Dynamic| v.as_float().or_else(|_| v.as_int().map(|n| n as FLOAT)).ok();
        let equal = match (a.as_int(), b.as_int(), number(a), number(b)) {
            (Ok(a), Ok(b), ..) => a == b,
            (_, _, Some(a), Some(b)) => a == b,
            _ if a.type_name() != b.type_name() => {
                let typed = |v: &Dynamic| format!("{} ({})", shown(v), self.type_name(v));
                return Ok(Some(sides(&differ, &typed(a), &typed(b))));
            }
            _ => match self.cx.call_native_fn::<bool>("==", (a.flatten_clone(), b.flatten_clone())) {
                Ok(equal) => equal,
                Err(e) if matches!(*e, EvalAltResult::ErrorFunctionNotFound(..)) => {
                    let text = format!("values of type {} cannot be compared", self.type_name(a));
                    return Err(Error::config_help(text, "compare what they are made of, e.g. a property").into());
                }
                Err(e) => return Err(e),
            },
        };
        Ok((!equal).then(|| sides(&differ, &shown(a), &shown(b))))
    }

    fn type_name(&self, value: &Dynamic) -> String {
        self.cx.engine().map_type_name(type_name(value)).rsplit("::").next().unwrap_or_default().to_string()
    }

    /// How far numbers, nested arrays of numbers or tensors are apart.
    fn far(&self, path: &str, a: &Dynamic, b: &Dynamic) -> Result<Option<String>> {
        let &How::Close { rtol, atol, equal_nan, check_dtype } = &self.how else { return Ok(None) };
        let tensors = a.is::<Tensor>() && b.is::<Tensor>();
        let (a, b) = (as_tensor(a)?, as_tensor(b)?);
        if tensors && check_dtype && a.dtype() != b.dtype() {
            let (a, b) = (a.dtype().as_str(), b.dtype().as_str());
            return Ok(Some(format!(
                "dtype {a}{}, expected {b}; `check_dtype: false` compares them all the same",
                at(path)
            )));
        }
        if a.dims() != b.dims() {
            return Ok(Some(format!("shape {:?}{}, expected {:?}", a.dims(), at(path), b.dims())));
        }
        // Between two dtypes the coarser one decides.
        let (x, y) = (Tolerance::of(a.dtype()), Tolerance::of(b.dtype()));
        let default = if x.rtol > y.rtol { x } else { y };
        let tolerance = Tolerance { rtol: rtol.unwrap_or(default.rtol), atol: atol.unwrap_or(default.atol) };
        let found = close::compare(&a, &b, tolerance, equal_nan)?;
        Ok(report(path, &found, tolerance))
    }
}

fn first(mut found: impl Iterator<Item = ScriptResult<Option<String>>>) -> ScriptResult<Option<String>> {
    found.find_map(|found| found.transpose()).transpose()
}

/// Whether `value` is a number, a tensor, or nested arrays of numbers alone.
fn numeric(value: &Dynamic) -> bool {
    match value.read_lock::<Array>() {
        Some(array) => array.iter().all(|v| !v.is::<Tensor>() && numeric(v)),
        None => value.is_int() || value.is_float() || value.is::<Tensor>(),
    }
}

fn as_tensor(value: &Dynamic) -> Result<Tensor> {
    match value.read_lock::<Tensor>() {
        Some(t) => Ok(t.detach()),
        None => exact(value),
    }
}

fn tensors_differ(path: &str, a: &Tensor, b: &Tensor) -> Result<Option<String>> {
    let place = at(path);
    if a.dims() != b.dims() {
        return Ok(Some(format!("the tensors{place} differ in shape: {:?} and {:?}", a.dims(), b.dims())));
    }
    if a.dtype() != b.dtype() {
        let (a, b) = (a.dtype().as_str(), b.dtype().as_str());
        return Ok(Some(format!("the tensors{place} differ in dtype: {a} and {b}")));
    }
    let exactly = Tolerance { rtol: 0.0, atol: 0.0 };
    let b = cast::to_device(&b.detach(), a.device())?;
    let found = close::compare(&a.detach(), &b, exactly, false)?;
    Ok(found.first.as_ref().map(|d| {
        let counts = counts(&found);
        let nan =
            if d.actual.is_nan() && d.expected.is_nan() { "\n  NaN is equal to nothing, not even itself" } else { "" };
        sides(
            &format!("the tensors{place} differ in {counts}, first at {:?}", d.index),
            &show(d.actual),
            &show(d.expected),
        ) + nan
    }))
}

fn counts(found: &Closeness) -> String {
    let percent = 100.0 * found.mismatched as f64 / found.elements as f64;
    format!("{} of {} elements ({percent:.1} %)", found.mismatched, found.elements)
}

fn report(path: &str, found: &Closeness, allowed: Tolerance) -> Option<String> {
    let (absolute, relative) = (found.absolute.as_ref()?, found.relative.as_ref()?);
    let row = |what: &str, d: &Differing, allowed: f64| {
        if found.elements == 1 {
            return format!("\n  {what} difference: {}, allowed: {}", short(d.by), show(allowed));
        }
        let (by, index, allowed) = (short(d.by), &d.index, show(allowed));
        let values = format!("{}, expected {}", show(d.actual), show(d.expected));
        format!("\n  greatest {what} difference: {by} at {index:?} ({values}), allowed: {allowed}")
    };
    let rows = [row("absolute", absolute, allowed.atol), row("relative", relative, allowed.rtol)].concat();
    let what = match found.elements {
        1 => format!("{}{}, expected {}", show(absolute.actual), at(path), show(absolute.expected)),
        _ => format!("{}{} are not close", counts(found), at(path)),
    };
    Some([what, rows].concat())
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at {}", path.trim_start_matches('.')) }
}

fn sides(what: &str, left: &str, right: &str) -> String {
    format!("{what}\n  left:  {left}\n  right: {right}")
}

/// Characters shown of a long value.
const SHOWN: usize = 300;

/// `value` as a script would write it, cut where it grows long.
fn shown(value: &Dynamic) -> String {
    let text = match value.read_lock::<ImmutableString>() {
        Some(text) => format!("{:?}", text.as_str()),
        None if value.is_array() || value.is_map() => format!("{value:?}"),
        None => value.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

/// A number with every digit it has.
fn show(x: f64) -> String {
    format!("{x:?}")
}

/// A number with six significant digits.
fn short(x: f64) -> String {
    show(format!("{x:.5e}").parse().unwrap_or(x))
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects `assert_eq`: Rhai's equality, structures walked to the first difference, NaN and types named.
    #[test]
    fn differences() {
        let differ = |a: &str, b: &str| run(&format!("testing::difference({a}, {b})"));
        for (a, b) in [("1", "1.0"), ("[1, #{a: \"x\"}]", "[1, #{a: \"x\"}]"), ("()", "()"), ("ones([2])", "ones([2])")]
        {
            assert_eq!(differ(a, b), "", "{a} and {b}");
        }
        assert_eq!(differ("1", "2"), "the values differ\n  left:  1\n  right: 2");
        assert_eq!(differ("1", "\"1\""), "the values differ\n  left:  1 (int)\n  right: \"1\" (string)");
        assert_eq!(
            differ("[1, #{a: [true, 'x']}]", "[1, #{a: [true, 'y']}]"),
            "the values at [1].a[1] differ\n  left:  x\n  right: y"
        );
        assert_eq!(differ("[1]", "[1, 2]"), "the arrays have 1 and 2 elements\n  left:  [1]\n  right: [1, 2]");
        assert_eq!(differ("#{a: 1}", "#{a: 1, b: 2}"), "key `b` is on the right only");
        assert_eq!(differ("ones([2])", "ones([3])"), "the tensors differ in shape: [2] and [3]");
        assert_eq!(differ("ones([2])", "tensor([1, 1])"), "the tensors differ in dtype: f32 and i64");
        assert_eq!(
            differ("tensor([[1.0, 2.0]])", "tensor([[1.0, 3.0]])"),
            "the tensors differ in 1 of 2 elements (50.0 %), first at [0, 1]\n  left:  2.0\n  right: 3.0"
        );
        assert!(differ("tensor([0.0]) / 0.0", "tensor([0.0]) / 0.0").contains("NaN is equal to nothing"));
        assert!(differ("progress(1, \"a\")", "progress(1, \"a\")").contains("cannot be compared"));
    }

    /// Protects `assert_close`: PyTorch's tolerances by dtype, numbers against tensors, places in structures, options.
    #[test]
    fn closeness() {
        let far = |a: &str, b: &str, o: &str| run(&format!("testing::closeness({a}, {b}, {o})"));
        assert_eq!(far("1.0", "1.00000001", "#{}"), "");
        assert_eq!(far("tensor([1.0, 2.0])", "[1.000001, 2]", "#{}"), "");
        assert_eq!(far("ones([2], #{dtype: \"bf16\"})", "[1.01, 1.0]", "#{}"), "");
        assert_eq!(
            far("1.5", "1", "#{}"),
            "1.5, expected 1.0\n  absolute difference: 0.5, allowed: 1e-7\n  relative difference: 0.5, allowed: 1e-7"
        );
        assert_eq!(
            far("#{x: [tensor([1.0, 110.0, 0.5])]}", "#{x: [[1.0, 100.0, 0.25]]}", "#{}"),
            "2 of 3 elements (66.7 %) at x[0] are not close\n  \
             greatest absolute difference: 10.0 at [1] (110.0, expected 100.0), allowed: 1e-5\n  \
             greatest relative difference: 1.0 at [2] (0.5, expected 0.25), allowed: 1.3e-6"
        );
        assert_eq!(far("[1.0, 2.0]", "[1.1, 2.1]", "#{atol: 0.2}"), "");
        assert!(far("ones([1])", "ones([1], #{dtype: \"bf16\"})", "#{}").starts_with("dtype f32, expected bf16"));
        assert_eq!(far("ones([1])", "ones([1], #{dtype: \"bf16\"})", "#{check_dtype: false}"), "");
        assert_eq!(far("[1.0]", "[1.0, 2.0]", "#{}"), "shape [1], expected [2]");
        assert!(far("1", "1", "#{rtl: 1}").contains("unknown option of assert_close"));
        assert!(far("1", "1", "#{rtol: -1}").contains("0 or more"));
        assert_eq!(far("#{a: \"x\", n: 1.0}", "#{a: \"x\", n: 1.0}", "#{}"), "");
    }

    /// Protects files: one directory per owner, gone when cleared.
    #[test]
    fn scratch_goes_away() {
        let scratch = super::Scratch::default();
        let dir = scratch.dir().unwrap();
        std::fs::write(dir.join("x"), "x").unwrap();
        assert_eq!(scratch.dir().unwrap(), dir);
        scratch.clear();
        assert!(!dir.exists());
        assert_ne!(scratch.dir().unwrap(), dir);
    }
}
