//! Habits from Python and PyTorch: what people write without thinking, and how it is written here.

use crate::script::catalog::{Origin, Signature};

/// Functions and methods by other names. `T` methods are looked up for any first argument.
const CALLS: &[(&str, &str)] = &[
    ("llama::from_pretrained", "a model is loaded by `llama::load(path)`"),
    ("optim::adam", "Adam is `optim::adamw` with `weight_decay: 0.0`"),
    ("view", "a tensor's shape is changed by `.reshape([2, -1])`"),
    ("size", "a tensor's sizes are `.shape`; one of them is `.shape[0]`"),
    ("dim", "the number of dimensions is `.rank`"),
    ("ndimension", "the number of dimensions is `.rank`"),
    ("numel", "the number of elements is `.len`"),
    ("cuda", "move a tensor with `.to(\"cuda\")`"),
    ("cpu", "move a tensor with `.to(\"cpu\")`"),
    ("half", "convert with `.to(\"f16\")`"),
    ("bfloat16", "convert with `.to(\"bf16\")`"),
    ("double", "convert with `.to(\"f64\")`"),
    ("long", "convert with `.to(\"i64\")`"),
    ("numpy", "the elements as arrays are `.to_array()`"),
    ("tolist", "the elements as arrays are `.to_array()`"),
    ("mm", "the matrix product is `a @ b`"),
    ("bmm", "the matrix product is `a @ b`; it is batched"),
    ("mul", "products are written `a * b`"),
    ("add", "sums are written `a + b`"),
    ("sub", "differences are written `a - b`"),
    ("div", "quotients are written `a / b`"),
    ("expand", "repeat without copying by `.broadcast_to([4, 3])`"),
    ("expand_as", "repeat without copying by `.broadcast_to(other.shape)`"),
    ("view_as", "take another's shape by `.reshape(other.shape)`"),
    ("masked_fill", "choose by a mask: `where(mask, x, y)`"),
    ("var", "`var` is a reserved word of Rhai: `.variance()`"),
    ("std", "the standard deviation is `.variance().sqrt()`"),
    ("norm", "the 2-norm is `(x * x).sum().sqrt()`"),
    ("requires_grad_", "set it: `t.requires_grad = true`"),
    ("zero_grad_", "the method is `.zero_grad()`"),
    ("clip_grad_norm_", "gradients are clipped by the optimizer: `opt.clip_grad_norm(1.0)`"),
    ("parameters", "what the optimizer takes is `model.trainable()`"),
    ("named_parameters", "what the optimizer takes is `model.trainable()`"),
    ("manual_seed", "the seed is set by `seed(1024)`"),
    ("append", "an array grows by `.push(x)`"),
    ("extend", "an array grows by another with `.append(more)`, or `a += b`"),
    ("enumerate", "count while looping: `for (x, i) in list { .. }`"),
    ("zip", "loop over indices: `for i in 0..a.len { .. }`"),
    ("str", "text of a value is `x.to_string()`, or `${x}` in backticks"),
    ("repr", "text of a value is `x.to_debug()`"),
    ("int", "an int of a float or a string is `x.to_int()`, `parse_int(s)`"),
    ("float", "a float of an int or a string is `x.to_float()`, `parse_float(s)`; of a tensor, `.to(\"f32\")`"),
    ("isinstance", "ask with `type_of(x) == \"int\"`"),
    ("sorted", "an array is sorted in place by `.sort()`"),
    ("items", "loop over `m.keys()`, and read `m[key]`"),
    ("upper", "the method is `.to_upper()`"),
    ("lower", "the method is `.to_lower()`"),
    ("strip", "the method is `.trim()`, in place"),
    ("startswith", "the method is `.starts_with(s)`"),
    ("endswith", "the method is `.ends_with(s)`"),
    ("format", "text with values in it is written in backticks: `loss ${loss}`"),
    ("open", "scripts read no files of their own accord; data comes from `data::load(path)`"),
    ("exit", "a script ends with `return;`, or with an error by `throw \"why\";`"),
];

/// Functions of torch, numpy and math by other names.
const MEMBERS: &[(&str, &str)] = &[
    ("array", "tensor"),
    ("Tensor", "tensor"),
    ("FloatTensor", "tensor"),
    ("as_tensor", "tensor"),
    ("from_numpy", "tensor"),
    ("Linear", "linear"),
    ("RMSNorm", "rms_norm"),
    ("CrossEntropyLoss", "cross_entropy"),
    ("scaled_dot_product_attention", "attention"),
    ("Adam", "adamw"),
    ("manual_seed", "seed"),
    ("mm", "matmul"),
    ("bmm", "matmul"),
    ("concat", "cat"),
    ("concatenate", "cat"),
    ("clip_grad_norm_", "clip_grad_norm"),
    ("GradScaler", "grad_scaler"),
    ("var", "variance"),
];

/// The advice for a call of `path` with arguments of these types.
pub(in crate::script) fn call(path: &str, args: &[String]) -> Option<String> {
    let types: Vec<&str> = args.iter().map(String::as_str).collect();
    match (path, types.as_slice()) {
        ("range", ["int"]) => return Some("count with `for i in 0..n { .. }`, or `range(0, n)`".into()),
        ("len", ["Tensor"]) => return Some("the number of elements is `.len`, the first size `.shape[0]`".into()),
        ("print", [_, _, ..]) => return Some("print takes one value: put several into backticks, `${a} ${b}`".into()),
        ("abs" | "min" | "max", _) => return None,
        _ => {}
    }
    CALLS.iter().find(|(name, _)| *name == path).map(|(_, help)| help.to_string())
}

/// What a value may be nothing for.
pub(super) const NOTHING: &str = "the value is (): the result of something that returns nothing, of `.get` for a \
                                  missing key, or a `.grad` before backward()";

/// The advice for an operator between values of these types.
pub(in crate::script) fn operator(name: &str, args: &[String]) -> Option<String> {
    let types: Vec<&str> = args.iter().map(String::as_str).collect();
    Some(match (name, types.as_slice()) {
        ("@", [a, b]) if *a == "array" || *b == "array" => "make a tensor of the array: `tensor([[1.0, 2.0]])`".into(),
        ("@", [a, b]) if *a != "Tensor" || *b != "Tensor" => "`@` multiplies tensors; numbers take `*`".into(),
        (_, ["Tensor", "array"] | ["array", "Tensor"]) => "make a tensor of the array: `tensor([1.0, 2.0])`".into(),
        (_, ["()", _] | [_, "()"]) => {
            "one side is (), which is no value: the result of something that returns nothing, or a missing key".into()
        }
        ("%", ["string", ..]) => "values are put into text in backticks: `loss ${loss}`".into(),
        ("+", ["int" | "float", "string"]) => "put the value into text: `${x} steps` in backticks".into(),
        (_, ["bool", _] | [_, "bool"]) => "a bool is no number: `if b { 1 } else { 0 }`".into(),
        ("!", ["Tensor"]) => "a mask is inverted by `mask == 0`".into(),
        _ => return None,
    })
}

/// The advice for a variable `name` that begins the dotted `path` in the text.
pub(in crate::script) fn variable<'a>(
    name: &str,
    path: &[String],
    all: impl Iterator<Item = &'a Signature>,
) -> Option<String> {
    let last = path.last().map_or("", String::as_str);
    let ours = || {
        let last = MEMBERS.iter().find(|(theirs, _)| *theirs == last).map_or(last, |(_, ours)| ours);
        let named = |s: &&Signature| s.callable() && s.name.eq_ignore_ascii_case(last) && s.origin == Origin::Host;
        let found = all.filter(named).min_by_key(|s| s.namespace.len())?;
        let object = found.object().filter(|_| found.namespace.is_empty());
        Some(match object {
            Some(of) => format!("here it is a method of {of}: `x.{}(..)`", found.name),
            None => format!("here it is `{}(..)`", found.path()),
        })
    };
    Some(match name {
        "torch" | "F" | "np" | "numpy" | "math" if path.len() > 1 => match ours() {
            Some(help) => help,
            None => format!(
                "there is no `{name}` here: functions are global (`zeros`, `tensor`), layers in `nn::`, optimizers in `optim::`"
            ),
        },
        "torch" | "F" | "np" | "numpy" => "its functions are global here (`zeros`, `tensor`) or in `nn::`".into(),
        "peft" | "transformers" | "lora" => {
            "a model is loaded by `llama::load`, and takes LoRA by `inject_lora`".into()
        }
        "self" => "functions get their object as an argument, or as `this` when called as a method".into(),
        "None" | "null" | "nil" | "undefined" | "NULL" => "the value that stands for nothing is `()`".into(),
        "True" => "it is written `true`".into(),
        "False" => "it is written `false`".into(),
        "inf" | "nan" => "there are no such constants: `1.0 / 0.0`, `0.0 / 0.0`".into(),
        "tqdm" => "progress is shown by `progress(total, label)`".into(),
        _ => return None,
    })
}

/// The advice for a property of `of`.
pub(in crate::script) fn property(of: &str, name: &str) -> Option<String> {
    Some(match (of, name) {
        ("Tensor", "T" | "mT") => "a matrix is transposed by `.t()`, other tensors by `.transpose(-2, -1)`".into(),
        ("Tensor", "size" | "sizes") => "the sizes are `.shape`".into(),
        ("Tensor", "ndim") => "the number of dimensions is `.rank`".into(),
        ("Tensor", "data") => "the values without history are `.detach()`".into(),
        ("Tensor", "numel") => "the number of elements is `.len`".into(),
        ("Tensor", "is_cuda") => "the device is `.device`, as in `\"cuda:0\"`".into(),
        ("Optimizer", "param_groups") => "the learning rate is `.lr`, for reading and setting".into(),
        ("()", _) => NOTHING.into(),
        ("string", "kind" | "message" | "help" | "line") => {
            "this is a string that was thrown; `throw #{ kind: \"..\", message: \"..\" }` throws something with fields"
                .into()
        }
        ("map", _) => return None,
        _ => return None,
    })
}

/// The advice for a module that there is not.
pub(in crate::script) fn module(name: &str) -> Option<String> {
    Some(match name {
        "torch" | "F" | "numpy" | "np" => {
            "functions of tensors are global here (`zeros`, `tensor`), layers in `nn::`".into()
        }
        "peft" | "lora" => "a model takes LoRA by `model.inject_lora(#{ rank: 8 })`".into(),
        "random" => "random tensors are `rand` and `randn`; the seed is set by `seed(1024)`".into(),
        "os" | "sys" | "fs" | "io" => "scripts reach files through the functions that read and write them only".into(),
        _ => return None,
    })
}

/// The advice for a value of type `found` where `wanted` is taken.
pub(super) fn mismatch(wanted: &str, found: &str) -> Option<&'static str> {
    Some(match (wanted, found) {
        ("bool", "Tensor") => "a condition is one bool: compare a number, as in `if t.item() > 0.0 { .. }`",
        ("bool", "int" | "float") => "numbers are no conditions: compare, as in `x != 0`",
        ("bool", "()") => "`()` is no condition: compare, as in `x != ()`",
        ("bool", "string" | "array" | "map") => "compare, as in `x.len > 0`",
        ("int", "float") => "`x.to_int()` makes an int of a float",
        ("float", "int") => "a float is written with a point, as `1.0`; `x.to_float()` makes one of an int",
        ("string", _) => "`x.to_string()` makes a string",
        _ => return None,
    })
}
