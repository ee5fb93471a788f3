//! Every function that scripts can call, as plain data: for candidates in errors, completion and reference pages.

use rhai::{Engine, FuncInfo};

/// One function, operator, property or indexer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    /// Module path, e.g. `optim`; empty for global functions.
    pub namespace: String,
    /// Name as written in scripts; properties carry the prefix `get$` or `set$`.
    pub name: String,
    /// Parameters: name (`_` where unknown) and type (`any` where unknown), in the script's words.
    pub params: Vec<(String, String)>,
    /// Type of the result; empty where there is none.
    pub returns: String,
    /// The doc comment, without its markers.
    pub doc: String,
}

impl Signature {
    /// `optim::adamw`.
    pub fn path(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}::{}", self.namespace, self.name) }
    }

    /// The property read by this function, if it is a getter.
    pub fn property(&self) -> Option<&str> {
        self.name.strip_prefix("get$")
    }

    /// Whether scripts call it by name, as opposed to operators, properties and indexers.
    pub fn callable(&self) -> bool {
        self.name.starts_with(|c: char| c.is_alphabetic() || c == '_') && !self.name.contains('$')
    }
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}(", self.path())?;
        for (i, (name, of)) in self.params.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            if name == "_" { write!(f, "{comma}{of}")? } else { write!(f, "{comma}{name}: {of}")? }
        }
        if self.returns.is_empty() { write!(f, ")") } else { write!(f, ") -> {}", self.returns) }
    }
}

/// Types that Rhai's library computes with and that no value in a script ever has.
const FOREIGN: [&str; 12] = ["i8", "u8", "i16", "u16", "i32", "u32", "u64", "i128", "u128", "f32", "usize", "isize"];

/// Everything registered in `engine`, Rhai's own library included.
pub fn collect(engine: &Engine) -> Vec<Signature> {
    let mut all = engine.collect_fn_metadata(None, |info| Some(signature(engine, &info)), true);
    all.retain(|s| !s.params.iter().any(|(_, of)| FOREIGN.contains(&of.as_str())));
    all.sort();
    all.dedup();
    all
}

fn signature(engine: &Engine, info: &FuncInfo) -> Signature {
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
    let doc = meta.comments.iter().map(|c| c.lines().map(uncomment).collect::<Vec<_>>().join("\n"));
    Signature {
        namespace: info.namespace.to_string(),
        name: meta.name.to_string(),
        params,
        returns,
        doc: doc.collect::<Vec<_>>().join("\n").trim().to_string(),
    }
}

fn uncomment(line: &str) -> &str {
    let line = line.trim().trim_start_matches("///").trim_start_matches("/**").trim_end_matches("*/");
    line.strip_prefix(' ').unwrap_or(line)
}

/// A Rust type as scripts know it: `&mut lora_host::..::Tensor` is `Tensor`, `INT` is `int`.
pub fn friendly_type(engine: &Engine, rust: &str) -> String {
    let rust = rust.trim().trim_start_matches('&').trim_start_matches("mut ").trim();
    if let Some(inner) = ["Result<", "RhaiResultOf<", "ScriptResult<"].iter().find_map(|p| inner_of(rust, p)) {
        return friendly_type(engine, inner);
    }
    let named = engine.map_type_name(rust);
    match named.rsplit("::").next().unwrap_or(named).trim_end_matches('>') {
        "" | "?" | "_" | "Dynamic" | "RhaiResult" => "any",
        "i64" | "INT" | "integer" => "int",
        "f64" | "FLOAT" => "float",
        "String" | "ImmutableString" | "str" | "&str | ImmutableString | String" => "string",
        "Array" => "array",
        "Map" => "map",
        "Blob" => "blob",
        "FnPtr" | "Fn" => "function",
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
        engine.register_type_with_name::<Thing>("Tensor");
        engine.register_fn("matmul", |a: &mut Thing, _: Thing| a.clone());
        engine.register_fn("scale", |_: &mut Thing, x: f64| x);
        engine.register_fn("load", |_: &str, _: rhai::Map| -> crate::bindings::ScriptResult<Thing> { Ok(Thing) });
        engine.register_fn("stop", || {});
        let shown: Vec<String> = collect(&engine).iter().map(|s| s.to_string()).collect();
        assert_eq!(
            shown,
            [
                "load(string, map) -> Tensor",
                "matmul(Tensor, Tensor) -> Tensor",
                "scale(Tensor, float) -> float",
                "stop()"
            ]
        );
    }
}
