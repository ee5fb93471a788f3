//! Everything that scripts can name, as plain data: for candidates in errors, checks, completion, help, reference pages.
//!
//! Three sources make one list: what is registered in the engine, with the documentation that `bindings::docs` holds
//! beside it; the functions of the standard library's modules, with their doc comments; the words of the language.

pub use super::doc_comment::OptionDoc;
pub use super::signature::{Kind, Origin, Signature};
use super::{doc_comment, embedded, parsing, signature::is_object, topics};
use rhai::{Engine, FnAccess, FuncInfo};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Types that Rhai's library computes with and that no value in a script ever has.
const FOREIGN: [&str; 12] = ["i8", "u8", "i16", "u16", "i32", "u32", "u64", "i128", "u128", "f32", "usize", "isize"];

/// Everything registered in `engine`, Rhai's own library included; the standard library; the words of the language.
pub fn collect(engine: &Engine) -> Vec<Signature> {
    let own: HashSet<u64> =
        engine.collect_fn_metadata(None, |info| Some(info.metadata.hash), false).into_iter().collect();
    let origin = |hash| if own.contains(&hash) { Origin::Host } else { Origin::Rhai };
    let mut all = engine.collect_fn_metadata(None, |i| Some(signature(engine, &i, origin(i.metadata.hash))), true);
    all.retain(|s| !foreign(s));
    share_comments(&mut all);
    all.extend(STDLIB.iter().cloned());
    all.extend(topics::words());
    all.sort();
    all.dedup();
    all
}

/// Whether `signature` takes a type that no value in a script has.
pub(super) fn foreign(signature: &Signature) -> bool {
    signature.params.iter().any(|(_, of)| FOREIGN.contains(&of.as_str()))
}

/// Overloads of one name share one comment: the page's where there is one, else the longest of their own.
fn share_comments(all: &mut [Signature]) {
    let mut comments: HashMap<String, String> = HashMap::new();
    for s in all.iter().filter(|s| s.origin != Origin::Rhai) {
        let comment = comments.entry(s.key()).or_default();
        if s.doc.len() > comment.len() {
            comment.clone_from(&s.doc);
        }
    }
    for s in all.iter_mut().filter(|s| s.origin != Origin::Rhai) {
        let key = s.key();
        match topics::doc(&key) {
            Some(doc) => s.doc = doc.to_string(),
            None => s.doc.clone_from(&comments[&key]),
        }
    }
}

/// The public functions of `std/*`.
static STDLIB: LazyLock<Vec<Signature>> = LazyLock::new(|| {
    let modules = embedded::STDLIB.iter();
    modules.flat_map(|(name, text)| module_functions(&format!("std/{name}"), text)).collect()
});

/// The public functions that the text of a module declares; none if it does not parse.
pub fn module_functions(namespace: &str, text: &str) -> Vec<Signature> {
    let Ok(ast) = parsing::parse(text) else { return Vec::new() };
    let public = ast.iter_functions().filter(|f| f.access == FnAccess::Public);
    let one = |f: rhai::ScriptFnMetadata| Signature {
        namespace: namespace.to_string(),
        doc: comment(f.comments.iter().copied()),
        origin: Origin::Std,
        ..Signature::of_script(f.name, f.params.iter().copied())
    };
    public.map(one).collect()
}

/// The function that `info` describes, in the script's words.
pub(super) fn signature(engine: &Engine, info: &FuncInfo, origin: Origin) -> Signature {
    let meta = info.metadata;
    let split = |p: &str| -> (String, String) {
        let (name, of) = p.split_once(':').unwrap_or((p, ""));
        let name = match name.trim() {
            "" | "?" => "_",
            name => name,
        };
        (name.to_string(), friendly_type(engine, of))
    };
    let params: Vec<_> = match (&info.script, meta.params_info.len()) {
        (Some(script), _) => script.params.iter().map(|p| (p.to_string(), "any".to_string())).collect(),
        (None, 0) => vec![("_".to_string(), "any".to_string()); meta.num_params],
        (None, _) => meta.params_info.iter().take(meta.num_params).map(|p| split(p)).collect(),
    };
    // `with_params_info` takes the return type as one more entry.
    let returns = match (meta.return_type.as_str(), meta.params_info.get(meta.num_params)) {
        ("", Some(last)) => last.as_str(),
        (named, _) => named,
    };
    let returns = match (returns, friendly_type(engine, returns)) {
        ("", _) => String::new(),
        (_, unit) if unit == "()" => String::new(),
        (_, of) => of,
    };
    let kind = match (meta.name.as_str(), params.first()) {
        (name, _) if name.starts_with("get$") || name.starts_with("set$") => Kind::Property,
        (name, _) if name.starts_with("index$") => Kind::Indexer,
        (name, _) if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') => Kind::Operator,
        (_, Some((_, of))) if info.namespace.is_empty() && is_receiver(of, origin) => Kind::Method,
        _ => Kind::Function,
    };
    let doc = comment(meta.comments.iter().map(|c| c.as_str()));
    Signature { namespace: info.namespace.to_string(), name: meta.name.to_string(), params, returns, doc, kind, origin }
}

/// Whether functions of a value of type `of` are its methods: the host's objects, and Rhai's containers in its library.
fn is_receiver(of: &str, origin: Origin) -> bool {
    is_object(of) || origin == Origin::Rhai && ["array", "map", "string", "blob", "char", "function"].contains(&of)
}

/// The text of doc comments, without their marks.
pub fn comment<'a>(comments: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = comments.flat_map(|c| c.lines().map(uncomment)).collect();
    doc_comment::unwrap(lines.join("\n").trim())
}

fn uncomment(line: &str) -> &str {
    let line = line.trim().trim_start_matches("///").trim_start_matches("/**").trim_end_matches("*/");
    line.strip_prefix(' ').unwrap_or(line)
}

/// The types that a parameter of type `of` takes: `int or Tensor` both, `number` int and float.
pub fn alternatives(of: &str) -> Vec<&str> {
    let each = of.split(" or ");
    each.flat_map(|one| if one == "number" { vec!["int", "float"] } else { vec![one] }).collect()
}

/// A Rust type as scripts know it: `&mut lora_host::..::Tensor` is `Tensor`, `INT` is `int`; the parts of `A or B` each.
pub fn friendly_type(engine: &Engine, rust: &str) -> String {
    if rust.contains(" or ") {
        return rust.split(" or ").map(|one| friendly_type(engine, one)).collect::<Vec<_>>().join(" or ");
    }
    let rust = rust.trim().trim_start_matches('&').trim_start_matches("'static ").trim_start_matches("mut ").trim();
    if let Some(inner) = ["Result<", "RhaiResultOf<", "ScriptResult<"].iter().find_map(|p| inner_of(rust, p)) {
        return friendly_type(engine, inner);
    }
    if rust.starts_with("Fn(") {
        return "function".into();
    }
    let named = engine.map_type_name(rust);
    if ["RangeInclusive<", "Range<"].iter().any(|r| named.contains(r)) {
        return "range".into();
    }
    match named.rsplit("::").next().unwrap_or(named).trim_end_matches('>') {
        "" | "?" | "_" | "Dynamic" | "RhaiResult" => "any",
        "i64" | "INT" | "integer" => "int",
        "f64" | "FLOAT" => "float",
        "String" | "ImmutableString" | "str" | "&str | ImmutableString | String" => "string",
        "Array" => "array",
        "Map" => "map",
        "Blob" => "blob",
        "FnPtr" | "Fn" => "function",
        "ExclusiveRange" | "InclusiveRange" | "range=" => "range",
        other => other,
    }
    .to_string()
}

/// The first type argument of `prefix...>`.
fn inner_of<'a>(rust: &'a str, prefix: &str) -> Option<&'a str> {
    let start = rust.find(prefix)? + prefix.len();
    // `Result` may be written with its path; anything else before it is another type's argument.
    if !rust[..start - prefix.len()].trim_end_matches(':').chars().all(|c| c.is_alphanumeric() || c == ':' || c == '_')
    {
        return None;
    }
    let rest = &rust[start..];
    let mut depth = 0;
    for (i, c) in rest.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            ')' => depth -= 1,
            '>' if depth > 0 => depth -= 1,
            ',' | '>' if depth == 0 => return Some(&rest[..i]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Thing;

    /// Protects candidates and reference pages: signatures speak the script's words.
    #[test]
    fn signatures_use_friendly_types() {
        let mut engine = Engine::new_raw();
        engine
            .register_type_with_name::<Thing>("Tensor")
            .register_fn("matmul", |a: &mut Thing, _: Thing| a.clone())
            .register_fn("scale", |_: &mut Thing, x: f64| x)
            .register_fn("load", |_: &str, _: rhai::Map| -> crate::bindings::ScriptResult<Thing> { Ok(Thing) })
            .register_fn("stop", || {})
            .register_fn("+", |a: Thing, _: f64| a)
            .register_fn("-", |a: Thing| a)
            .register_get("shape", |_: &mut Thing| -> rhai::Array { vec![] })
            .register_set("lr", |_: &mut Thing, _: f64| {})
            .register_indexer_get(|_: &mut Thing, _: std::ops::Range<i64>| -> &'static str { "" });
        rhai::FuncRegistration::new("clamp")
            .in_global_namespace()
            .with_params_info(["t: Tensor", "low: INT or ()", "f: Fn(Map) -> bool", "Tensor or Array"])
            .register_into_engine(&mut engine, |t: &mut Thing, _: rhai::Dynamic, _: rhai::FnPtr| t.clone());
        let all: Vec<Signature> = collect(&engine).into_iter().filter(|s| s.origin == Origin::Host).collect();
        let mut shown: Vec<String> =
            all.iter().filter(|s| s.kind != Kind::Syntax).map(|s| format!("{} | {}", s, s.key())).collect();
        shown.sort();
        let expected = [
            "-Tensor -> Tensor | Tensor -",
            "Tensor + float -> Tensor | Tensor +",
            "Tensor.lr = float | Tensor.lr",
            "Tensor.shape: array | Tensor.shape",
            "Tensor[range] -> string | Tensor[]",
            "clamp(t: Tensor, low: int or (), f: function) -> Tensor or array | Tensor.clamp",
            "load(string, map) -> Tensor | load",
            "matmul(Tensor, Tensor) -> Tensor | Tensor.matmul",
            "scale(Tensor, float) -> float | Tensor.scale",
            "stop() | stop",
        ];
        assert_eq!(shown, expected);
        assert_eq!(alternatives("number or Tensor"), ["int", "float", "Tensor"]);
    }

    /// Protects checks by type: what a registration says of its parameters is what Rust says, where Rust says anything.
    #[test]
    fn declared_types_are_the_registered_ones() {
        use std::any::TypeId;
        let mut engine = Engine::new();
        let ctx = crate::bindings::HostContext::new(std::sync::Arc::new(crate::engine::progress::Silent));
        crate::bindings::register(&mut engine, &std::sync::Arc::new(ctx));
        let mut names: HashMap<TypeId, String> = HashMap::from([
            (TypeId::of::<i64>(), "int".into()),
            (TypeId::of::<f64>(), "float".into()),
            (TypeId::of::<bool>(), "bool".into()),
            (TypeId::of::<rhai::ImmutableString>(), "string".into()),
            (TypeId::of::<rhai::Array>(), "array".into()),
            (TypeId::of::<rhai::Map>(), "map".into()),
            (TypeId::of::<rhai::FnPtr>(), "function".into()),
        ]);
        let mut wrong = Vec::new();
        let rows = engine.collect_fn_metadata(
            None,
            |i| Some((signature(&engine, &i, Origin::Host), i.metadata.param_types.to_vec())),
            false,
        );
        assert!(rows.len() > 300, "only {}", rows.len());
        for (s, types) in rows {
            // `with_params_info` may name too few.
            if s.params.len() != types.len() {
                wrong.push(format!("{s} has {} parameters", types.len()));
            }
            for ((_, of), id) in s.params.iter().zip(types) {
                // A type of ours has the name of its first registration.
                let dynamic = id == TypeId::of::<rhai::Dynamic>();
                if !dynamic && names.entry(id).or_insert_with(|| of.clone()) != of {
                    wrong.push(format!("{s}: {of} is {}", names[&id]));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Protects the one catalog: std's functions and the language's words are in it, with their comments.
    #[test]
    fn std_and_words_are_in_it() {
        let all = collect(&Engine::new());
        let load = all.iter().find(|s| s.path() == "std/instruct::load").expect("in the catalog");
        assert_eq!((load.origin, load.kind, load.params.len()), (Origin::Std, Kind::Function, 3));
        assert!(load.summary().starts_with("Records of"), "{}", load.doc);
        let no_grad = all.iter().find(|s| s.name == "no_grad").expect("in the catalog");
        assert_eq!((no_grad.kind, no_grad.to_string()), (Kind::Syntax, "no_grad { .. }".to_string()));
        assert!(!no_grad.callable() && !no_grad.examples().is_empty());
        let push = all.iter().find(|s| s.name == "push" && s.object() == Some("array")).expect("in the catalog");
        assert_eq!((push.origin, push.kind), (Origin::Rhai, Kind::Method));
    }

    /// Protects `private` helpers of modules from being shown.
    #[test]
    fn private_functions_are_left_out() {
        let found = module_functions("std/x", "/// Says `a`.\nfn f(a) { g(a) }\nprivate fn g(a) { a }");
        assert_eq!(found.iter().map(Signature::to_string).collect::<Vec<_>>(), ["std/x::f(a: any)"]);
        assert_eq!(found[0].summary(), "Says `a`.");
    }
}
