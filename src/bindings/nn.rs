//! `nn::`: a network's functions, where PyTorch has them in `torch.nn.functional`.

use super::error::placed;
use super::registration::module_function;
use crate::engine::autograd::Tensor;
use crate::engine::error::{Result, unknown_name};
use crate::engine::ops::{dropout, softmax, unary};
use rhai::{Engine, FLOAT, INT, Map, Module, NativeCallContext as Cx};

pub(super) fn register(engine: &mut Engine) {
    let mut module = Module::new();
    activations(&mut module);
    super::nn_layers::register(&mut module);
    engine.register_static_module("nn", module.into());
}

/// A function of one tensor.
pub(super) type Unary = fn(&Tensor) -> Result<Tensor>;

/// Functions of one tensor, elementwise.
pub(super) const UNARY: [(&str, Unary); 9] = [
    ("exp", unary::exp),
    ("log", unary::log),
    ("sqrt", unary::sqrt),
    ("sin", unary::sin),
    ("cos", unary::cos),
    ("tanh", unary::tanh),
    ("sigmoid", unary::sigmoid),
    ("relu", unary::relu),
    ("silu", unary::silu),
];

fn activations(module: &mut Module) {
    for (name, f) in UNARY.into_iter().filter(|(name, ..)| ["tanh", "sigmoid", "relu", "silu"].contains(name)) {
        module_function(name, ["x: Tensor", "Tensor"])
            .set_into_module(module, move |cx: Cx, x: Tensor| placed(&cx, f(&x)));
    }
    module_function("gelu", ["x: Tensor", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor| placed(&cx, unary::gelu(&x)));
    module_function("gelu", ["x: Tensor", "options: Map", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, options: Map| placed(&cx, gelu(&x, options)));
    module_function("softmax", ["x: Tensor", "dim: int", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, dim: INT| placed(&cx, softmax::softmax(&x, dim)));
    module_function("log_softmax", ["x: Tensor", "dim: int", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, dim: INT| placed(&cx, softmax::log_softmax(&x, dim)));
    module_function("dropout", ["x: Tensor", "p: float", "Tensor"])
        .set_into_module(module, |cx: Cx, x: Tensor, p: FLOAT| placed(&cx, dropout::dropout(&x, p)));
}

/// gelu by its option map.
pub(super) fn gelu(x: &Tensor, options: Map) -> Result<Tensor> {
    let mut o = super::OptionsMap::new("gelu", options);
    let approximate = o.string_or("approximate", "none")?;
    o.finish()?;
    match approximate.as_str() {
        "none" => unary::gelu(x),
        "tanh" => unary::gelu_tanh(x),
        other => Err(unknown_name("approximation of gelu", other, ["none", "tanh"])),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects the module: what is in it, and that it is not reachable without its name.
    #[test]
    fn functions() {
        assert_eq!(run("nn::softmax(tensor([[0.0, 0.0]]), -1).to_array()"), "[[0.5, 0.5]]");
        assert_eq!(run("nn::relu(tensor([-1.0, 2.0])).to_array()"), "[0.0, 2.0]");
        assert_eq!(
            run(
                "let x = tensor([2.0]); let d = (nn::gelu(x) - nn::gelu(x, #{ approximate: \"tanh\" })).abs().item(); d > 0.0 && d < 1e-3"
            ),
            "true"
        );
        assert_eq!(
            run("nn::gelu(ones([1]), #{ approximate: \"erf\" })"),
            "error: unknown approximation of gelu: `erf`"
        );
        assert_eq!(run("nn::dropout(ones([3]), 1.0).to_array()"), "[0.0, 0.0, 0.0]");
        assert_eq!(run("nn::dropout(ones([3]), 2.0)"), "error: dropout: the probability must be in 0..=1, not 2");
        assert!(run("dropout(ones([3]), 0.5)").contains("Function not found"));
    }
}
