//! How bindings are registered: a name, and the types as scripts know them.
//!
//! `params` are the parameters as `name: type`, then the result's type if there is one. Alternatives are joined by
//! ` or `; `number` is an int or a float. Where Rust's types say it all, Rhai's `register_fn` and `register_get` do. What
//! each does is said in the pages of [`super::docs`].

use rhai::FuncRegistration;

/// A function, or a method that may change its object.
///
/// Everything here reads or changes the world, so that the optimizer must not call it while compiling.
pub(super) fn function<const P: usize>(name: &str, params: [&str; P]) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace().with_volatility(true).with_params_info(params)
}

/// A method that leaves its object as it is: it may be called on a constant.
pub(super) fn method<const P: usize>(name: &str, params: [&str; P]) -> FuncRegistration {
    function(name, params).with_purity(true)
}

/// A property, for results that are more than one type: `getter("grad", "Tensor", "Tensor or ()")`.
pub(super) fn getter(name: &str, object: &str, of: &str) -> FuncRegistration {
    let params = [format!("object: {object}"), of.to_string()];
    FuncRegistration::new_getter(name).with_purity(true).with_volatility(true).with_params_info(params)
}

/// A function that is reached as `module::name` only.
pub(super) fn module_function<const P: usize>(name: &str, params: [&str; P]) -> FuncRegistration {
    function(name, params).in_internal_namespace()
}
