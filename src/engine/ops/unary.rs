//! Elementwise functions of one tensor: exp, log, sqrt, sin, cos, tanh, sigmoid, relu, gelu (exact and tanh), silu.
//!
//! One `Function` each: the value, the derivative (from the input, or from the output where that is cheaper), and the
//! same as a composition of candle's operations for CUDA. On the CPU one threaded pass does it, in f32 for bf16 and f16.
//! Integer tensors become f32 first, as in PyTorch.

use super::budget;
use super::cpu::{self, Elem, dispatch, prepared, slices};
use super::operands::{floating, wide};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::Result;
use crate::engine::profile;
use candle_core::{Result as CandleResult, Tensor as Value};
use num_traits::{Float, NumCast, Zero};
use rayon::prelude::*;

const CHUNK: usize = 8_192;

/// An elementwise function with its derivative.
trait Function: Send + 'static {
    const NAME: &'static str;
    /// Whether [`Function::slope`] takes the output instead of the input.
    const FROM_OUTPUT: bool = false;
    fn value<A: Float>(x: A) -> A;
    fn slope<A: Float>(saved: A) -> A;
    fn device_value(x: &Value) -> CandleResult<Value>;
    fn device_slope(saved: &Value) -> CandleResult<Value>;
}

fn apply<F: Function>(x: &Tensor) -> Result<Tensor> {
    let _span = profile::span(F::NAME);
    let x = floating(x)?;
    budget::elements(F::NAME, x.dims(), x.dtype())?;
    let value = forward::<F>(x.value())?;
    let saved = if F::FROM_OUTPUT { value.clone() } else { x.value().clone() };
    Ok(record(F::NAME, value, &[&x], |_| move |dy: Value| Ok(vec![Some(backward::<F>(&saved, &dy)?)])))
}

fn forward<F: Function>(x: &Value) -> Result<Value> {
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    if !x.device().is_cpu() {
        return Ok(F::device_value(&x.to_dtype(wide(x.dtype()))?)?.to_dtype(x.dtype())?);
    }
    let x = prepared(x, x.dtype())?;
    dispatch!("unary", x.dtype(), T => slices!([data: T = x] => {
        let mut out = vec![T::zero(); data.len()];
        out.par_chunks_mut(CHUNK).zip(data.par_chunks(CHUNK)).for_each(|(out, data)| {
            for (o, x) in out.iter_mut().zip(data) {
                *o = T::down(F::value(x.up()));
            }
        });
        cpu::tensor(out, x.dims())
    }))
}

fn backward<F: Function>(saved: &Value, dy: &Value) -> Result<Value> {
    if dy.elem_count() == 0 {
        return Ok(dy.clone());
    }
    let dtype = saved.dtype();
    if !saved.device().is_cpu() {
        let slope = F::device_slope(&saved.to_dtype(wide(dtype))?)?;
        return Ok((dy.to_dtype(wide(dtype))? * slope)?.to_dtype(dtype)?);
    }
    let (saved, dy) = (prepared(saved, dtype)?, prepared(dy, dtype)?);
    dispatch!("unary", dtype, T => slices!([data: T = saved, dys: T = dy] => {
        let mut out = vec![T::zero(); data.len()];
        out.par_chunks_mut(CHUNK).zip(data.par_chunks(CHUNK)).zip(dys.par_chunks(CHUNK)).for_each(|((out, data), dys)| {
            for ((o, s), dy) in out.iter_mut().zip(data).zip(dys) {
                *o = T::down(dy.up() * F::slope(s.up()));
            }
        });
        cpu::tensor(out, saved.dims())
    }))
}

/// A constant; every `f64` has a nearest value in f32 and f64.
fn c<A: Float>(x: f64) -> A {
    A::from(x).unwrap_or_else(A::nan)
}

struct Exp;
impl Function for Exp {
    const NAME: &'static str = "exp";
    const FROM_OUTPUT: bool = true;
    fn value<A: Float>(x: A) -> A {
        x.exp()
    }
    fn slope<A: Float>(y: A) -> A {
        y
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.exp()
    }
    fn device_slope(y: &Value) -> CandleResult<Value> {
        Ok(y.clone())
    }
}

struct Log;
impl Function for Log {
    const NAME: &'static str = "log";
    fn value<A: Float>(x: A) -> A {
        x.ln()
    }
    fn slope<A: Float>(x: A) -> A {
        x.recip()
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.log()
    }
    fn device_slope(x: &Value) -> CandleResult<Value> {
        x.recip()
    }
}

struct Sqrt;
impl Function for Sqrt {
    const NAME: &'static str = "sqrt";
    const FROM_OUTPUT: bool = true;
    fn value<A: Float>(x: A) -> A {
        x.sqrt()
    }
    fn slope<A: Float>(y: A) -> A {
        c::<A>(0.5) / y
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.sqrt()
    }
    fn device_slope(y: &Value) -> CandleResult<Value> {
        y.recip()? * 0.5
    }
}

struct Sin;
impl Function for Sin {
    const NAME: &'static str = "sin";
    fn value<A: Float>(x: A) -> A {
        x.sin()
    }
    fn slope<A: Float>(x: A) -> A {
        x.cos()
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.sin()
    }
    fn device_slope(x: &Value) -> CandleResult<Value> {
        x.cos()
    }
}

struct Cos;
impl Function for Cos {
    const NAME: &'static str = "cos";
    fn value<A: Float>(x: A) -> A {
        x.cos()
    }
    fn slope<A: Float>(x: A) -> A {
        -x.sin()
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.cos()
    }
    fn device_slope(x: &Value) -> CandleResult<Value> {
        x.sin()?.neg()
    }
}

struct Tanh;
impl Function for Tanh {
    const NAME: &'static str = "tanh";
    const FROM_OUTPUT: bool = true;
    fn value<A: Float>(x: A) -> A {
        x.tanh()
    }
    fn slope<A: Float>(y: A) -> A {
        A::one() - y * y
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.tanh()
    }
    fn device_slope(y: &Value) -> CandleResult<Value> {
        1.0 - y.sqr()?
    }
}

fn logistic<A: Float>(x: A) -> A {
    (A::one() + (-x).exp()).recip()
}

struct Sigmoid;
impl Function for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const FROM_OUTPUT: bool = true;
    fn value<A: Float>(x: A) -> A {
        logistic(x)
    }
    fn slope<A: Float>(y: A) -> A {
        y * (A::one() - y)
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        candle_nn::ops::sigmoid(x)
    }
    fn device_slope(y: &Value) -> CandleResult<Value> {
        y * (1.0 - y)?
    }
}

struct Relu;
impl Function for Relu {
    const NAME: &'static str = "relu";
    const FROM_OUTPUT: bool = true;
    fn value<A: Float>(x: A) -> A {
        // NaN fails the comparison and is passed on.
        if x < A::zero() { A::zero() } else { x }
    }
    fn slope<A: Float>(y: A) -> A {
        if y > A::zero() { A::one() } else { A::zero() }
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.relu()
    }
    fn device_slope(y: &Value) -> CandleResult<Value> {
        y.gt(0f64)?.to_dtype(y.dtype())
    }
}

/// gelu(x) = x Φ(x), Φ the standard normal distribution. Source: Hendrycks and Gimpel, 2016.
struct Gelu;
impl Gelu {
    fn phi<A: Float>(x: A) -> A {
        let z: f64 = NumCast::from(x * c(std::f64::consts::FRAC_1_SQRT_2)).unwrap_or(f64::NAN);
        c::<A>(0.5 * (1.0 + candle_core::cpu::erf::erf_f64(z)))
    }
}
impl Function for Gelu {
    const NAME: &'static str = "gelu";
    fn value<A: Float>(x: A) -> A {
        x * Gelu::phi(x)
    }
    fn slope<A: Float>(x: A) -> A {
        let density = (-(x * x) * c(0.5)).exp() * c(1.0 / std::f64::consts::TAU.sqrt());
        Gelu::phi(x) + x * density
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.gelu_erf()
    }
    fn device_slope(x: &Value) -> CandleResult<Value> {
        let phi = (((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
        let density = ((x.sqr()? * -0.5)?.exp()? * (1.0 / std::f64::consts::TAU.sqrt()))?;
        phi + x * density
    }
}

/// The approximation of gelu with tanh: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))).
struct GeluTanh;
impl GeluTanh {
    const CUBE: f64 = 0.044_715;
    /// √(2/π)
    const SCALE: f64 = 0.797_884_560_802_865_4;
}
impl Function for GeluTanh {
    const NAME: &'static str = "gelu_tanh";
    fn value<A: Float>(x: A) -> A {
        let inner = c::<A>(Self::SCALE) * (x + c::<A>(Self::CUBE) * x * x * x);
        c::<A>(0.5) * x * (A::one() + inner.tanh())
    }
    fn slope<A: Float>(x: A) -> A {
        let t = (c::<A>(Self::SCALE) * (x + c::<A>(Self::CUBE) * x * x * x)).tanh();
        let inner = c::<A>(Self::SCALE) * (A::one() + c::<A>(3.0 * Self::CUBE) * x * x);
        c::<A>(0.5) * (A::one() + t + x * (A::one() - t * t) * inner)
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.gelu()
    }
    fn device_slope(x: &Value) -> CandleResult<Value> {
        let squared = x.sqr()?;
        let t = ((x * ((&squared * Self::CUBE)? + 1.0)?)? * Self::SCALE)?.tanh()?;
        let inner = (((squared * (3.0 * Self::CUBE))? + 1.0)? * Self::SCALE)?;
        ((&t + 1.0)? + (x * (1.0 - t.sqr()?)? * inner)?)? * 0.5
    }
}

/// silu(x) = x sigmoid(x), also called swish.
struct Silu;
impl Function for Silu {
    const NAME: &'static str = "silu";
    fn value<A: Float>(x: A) -> A {
        x * logistic(x)
    }
    fn slope<A: Float>(x: A) -> A {
        let s = logistic(x);
        s * (A::one() + x * (A::one() - s))
    }
    fn device_value(x: &Value) -> CandleResult<Value> {
        x.silu()
    }
    fn device_slope(x: &Value) -> CandleResult<Value> {
        let s = candle_nn::ops::sigmoid(x)?;
        &s * ((x * (1.0 - &s)?)? + 1.0)?
    }
}

/// e to the power of x.
pub fn exp(x: &Tensor) -> Result<Tensor> {
    apply::<Exp>(x)
}

/// Natural logarithm.
pub fn log(x: &Tensor) -> Result<Tensor> {
    apply::<Log>(x)
}

/// Square root.
pub fn sqrt(x: &Tensor) -> Result<Tensor> {
    apply::<Sqrt>(x)
}

/// Sine of an angle in radians.
pub fn sin(x: &Tensor) -> Result<Tensor> {
    apply::<Sin>(x)
}

/// Cosine of an angle in radians.
pub fn cos(x: &Tensor) -> Result<Tensor> {
    apply::<Cos>(x)
}

/// Hyperbolic tangent.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    apply::<Tanh>(x)
}

/// 1 / (1 + e^-x).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    apply::<Sigmoid>(x)
}

/// max(x, 0); its gradient at 0 is 0.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply::<Relu>(x)
}

/// x Φ(x), exactly (with erf).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    apply::<Gelu>(x)
}

/// [`gelu`], approximated with tanh.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    apply::<GeluTanh>(x)
}

/// x sigmoid(x).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    apply::<Silu>(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::testing::{close_in_low_precision, f64s};
    use candle_core::{DType, Device};

    type Op = fn(&Tensor) -> Result<Tensor>;

    /// Protects every derivative: plain, strided, empty, without dimensions.
    #[test]
    fn gradients() {
        let inputs = [sample(&[3, 4], 1), sample(&[4, 3], 2).t().unwrap(), sample(&[2, 0], 3), sample(&[], 4)];
        for x in inputs {
            let positive = (x.abs().unwrap() + 0.1).unwrap();
            for op in [exp as Op, sin, cos, tanh, sigmoid, relu, gelu, gelu_tanh, silu] {
                check(std::slice::from_ref(&x), |t| op(&t[0]));
                close_in_low_precision(std::slice::from_ref(&x), |t| op(&t[0]));
            }
            for op in [log as Op, sqrt] {
                check(std::slice::from_ref(&positive), |t| op(&t[0]));
            }
        }
    }

    /// Protects the values: PyTorch 2 in float64 on -3, -0.5, 0, 2 (`torch.nn.functional`).
    #[test]
    fn matches_pytorch() -> Result<()> {
        let x = Tensor::new(Value::new(&[-3f64, -0.5, 0.0, 2.0], &Device::Cpu)?);
        for (op, want) in TORCH {
            for (got, want) in f64s(op(&x)?.value()).iter().zip(want) {
                assert!((got - want).abs() < 1e-9, "{got} {want}");
            }
        }
        let int = Tensor::new(Value::new(&[0i64], &Device::Cpu)?);
        assert_eq!(exp(&int)?.dtype(), DType::F32);
        Ok(())
    }

    const TORCH: [(Op, [f64; 4]); 9] = [
        (exp, [0.0497870683678639, 0.606530659712633, 1.0, 7.38905609893065]),
        (sin, [-0.141120008059867, -0.479425538604203, 0.0, 0.909297426825682]),
        (cos, [-0.989992496600445, 0.877582561890373, 1.0, -0.416146836547142]),
        (tanh, [-0.99505475368673, -0.46211715726001, 0.0, 0.964027580075817]),
        (sigmoid, [0.0474258731775668, 0.377540668798145, 0.5, 0.880797077977882]),
        (relu, [0.0, 0.0, 0.0, 2.0]),
        (gelu, [-0.00404969409489031, -0.154268769362993, 0.0, 1.95449973610364]),
        (gelu_tanh, [-0.00363739208177299, -0.154285990174856, 0.0, 1.95459769408777]),
        (silu, [-0.1422776195327, -0.188770334399073, 0.0, 1.76159415595576]),
    ];

    /// Protects the CUDA path: each composition says the same as the kernel.
    #[test]
    fn compositions_agree() -> Result<()> {
        fn both<F: Function>(x: &Value) -> Result<()> {
            let close = |a: &Value, b: &Value| f64s(a).iter().zip(f64s(b)).all(|(a, b)| (a - b).abs() < 1e-7);
            let value = forward::<F>(x)?;
            assert!(close(&value, &F::device_value(x)?), "{}", F::NAME);
            let saved = if F::FROM_OUTPUT { &value } else { x };
            assert!(close(&backward::<F>(saved, &x.ones_like()?)?, &F::device_slope(saved)?), "slope of {}", F::NAME);
            Ok(())
        }
        let x = sample(&[7, 5], 9);
        both::<Exp>(&x)?;
        both::<Sin>(&x)?;
        both::<Cos>(&x)?;
        both::<Tanh>(&x)?;
        both::<Sigmoid>(&x)?;
        both::<Relu>(&x)?;
        both::<Gelu>(&x)?;
        both::<GeluTanh>(&x)?;
        both::<Silu>(&x)?;
        both::<Log>(&x.abs()?)?;
        both::<Sqrt>(&x.abs()?)
    }
}
