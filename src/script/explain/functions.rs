//! A call that no function takes: the overloads that come nearest, and the argument that does not fit.

use super::{Context, declared::declared, habits, names};
use crate::script::{
    catalog::{self, Origin, Signature, friendly_type},
    diagnostics::{Diagnostic, Place},
    locate,
};

/// Candidates listed at most.
const CANDIDATES: usize = 6;

/// Rhai's "Function not found: matmul (Tensor, i64)", called `at` in `file`.
pub(super) fn not_found(signature: &str, at: Option<&Place>, file: &str, cx: &Context) -> Diagnostic {
    let (path, args) = signature.rsplit_once(" (").unwrap_or((signature, ")"));
    // A string argument is written as three alternatives.
    let args = args.strip_suffix(')').unwrap_or(args).replace("&str | ImmutableString | String", "string");
    let args: Vec<String> = args.split(", ").filter(|a| !a.is_empty()).map(|a| friendly_type(cx.engine, a)).collect();
    let taken = format!("({})", args.join(", "));
    let name = path.rsplit("::").next().unwrap_or(path);
    if name.starts_with("anon$") {
        return Diagnostic::new("unknown-function", format!("this closure does not take {taken}"));
    }
    let all = known(file, cx);
    let method = at.is_some_and(|at| locate::follows(at, ".", cx.sources));
    if method && args.first().is_some_and(|a| a == "()") {
        return Diagnostic::new("unknown-function", format!("() has no method `{name}`")).with_help(habits::NOTHING);
    }
    let mut same: Vec<Fit> = all.iter().filter(|s| s.path() == path).map(|s| Fit::new(s, &args)).collect();
    if same.iter().any(|f| f.signature.origin == Origin::Script) {
        // The script's own function is meant, not a method that happens to have its name.
        same.retain(|f| f.signature.origin == Origin::Script);
    }
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        let d = Diagnostic::new("unknown-operator", format!("no operator `{name}` for {taken}"));
        let d = match habits::operator(name, &args) {
            Some(help) => d.with_help(help),
            None => list(d, same.into_iter().filter(|f| f.first).collect(), args.len(), false),
        };
        return label_sides(d, at, &args, cx);
    }
    if !same.is_empty() {
        let d = Diagnostic::new("unknown-function", format!("no function `{path}` takes {taken}"));
        // Those that take the first argument are meant, where there are any.
        let meant = if same.iter().any(|f| f.first) { same.into_iter().filter(|f| f.first).collect() } else { same };
        let (d, labelled) = label_misfit(d, &meant, at, &args, cx);
        return match habits::call(path, &args) {
            Some(help) => d.with_help(help),
            None => list(d, meant, args.len(), labelled),
        };
    }
    let d = Diagnostic::new("unknown-function", format!("no function `{path}`"));
    if let Some(help) = habits::call(path, &args) {
        return d.with_help(help);
    }
    let getter = |s: &&Signature| s.property() == Some(name) && s.params.first().map(|p| &p.1) == args.first();
    if let Some(property) = all.iter().find(getter) {
        let of = &property.params[0].1;
        return d.with_help(format!("`{name}` is a property of {of}: write `.{name}` without parentheses"));
    }
    if !method && (cx.variables.iter().any(|v| v == name) || declared(file, cx).variables.contains(name)) {
        return d.with_help(format!("`{name}` is a variable: a closure in it is called by `{name}.call(..)`"));
    }
    // The right name in another module is nearer than a similar one here.
    let elsewhere = all.iter().find(|s| s.name == name && s.callable()).map(imported);
    let similar = || {
        let plain = all.iter().filter(|s| s.callable() && s.namespace.is_empty());
        names::near(path, plain.map(|s| s.name.as_str()))
    };
    let namespaced = || {
        let paths: Vec<String> =
            all.iter().filter(|s| s.callable() && !s.namespace.is_empty()).map(Signature::path).collect();
        names::near(path, paths.iter().map(String::as_str))
    };
    let near = elsewhere.or_else(if path.contains("::") { &namespaced } else { &similar as &dyn Fn() -> _ });
    names::with_near(d, near)
}

/// How a function is reached: those of the standard library have to be imported.
fn imported(s: &Signature) -> String {
    match s.namespace.strip_prefix("std/") {
        Some(module) => format!("{module}::{}` after `import \"{}\" as {module};", s.name, s.namespace),
        None => s.path(),
    }
}

/// Registered functions, those of `file` itself, and those of its imports under the names that they have in it.
fn known(file: &str, cx: &Context) -> Vec<Signature> {
    let declared = declared(file, cx);
    let mut all = catalog::collect(cx.engine);
    let aliased = all.iter().filter_map(|s| {
        let (_, alias) = declared.imports.iter().find(|(path, _)| *path == s.namespace)?;
        Some(Signature { namespace: alias.clone(), ..s.clone() })
    });
    let aliased: Vec<Signature> = aliased.collect();
    all.extend(aliased);
    all.extend(declared.functions);
    all
}

/// How well a function fits a call.
struct Fit<'a> {
    signature: &'a Signature,
    /// Whether it takes the first argument.
    first: bool,
    /// Parameters less or more than arguments.
    missing: usize,
    /// Arguments that have another type than their parameter.
    wrong: Vec<usize>,
}

impl<'a> Fit<'a> {
    fn new(signature: &'a Signature, args: &[String]) -> Self {
        let pairs = signature.params.iter().zip(args).enumerate();
        Fit {
            signature,
            first: matches!((signature.params.first(), args.first()), (Some((_, p)), Some(a)) if p == a),
            missing: signature.params.len().abs_diff(args.len()),
            wrong: pairs.filter(|(_, ((_, wanted), given))| !accepts(wanted, given)).map(|(i, _)| i).collect(),
        }
    }
}

/// Whether a parameter documented as `wanted` takes a value of type `given`.
fn accepts(wanted: &str, given: &str) -> bool {
    wanted.split(" or ").any(|one| match one.trim() {
        "any" | "" | "?" => true,
        "number" => matches!(given, "int" | "float"),
        one => one.eq_ignore_ascii_case(given),
    })
}

/// Marks the one argument that keeps the nearest overloads from taking the call.
fn label_misfit(
    d: Diagnostic,
    candidates: &[Fit],
    at: Option<&Place>,
    args: &[String],
    cx: &Context,
) -> (Diagnostic, bool) {
    let near: Vec<&Fit> = candidates.iter().filter(|f| f.missing == 0 && f.wrong.len() == 1).collect();
    let Some(&wrong) = near.first().and_then(|f| f.wrong.first()) else { return (d, false) };
    let spots = at.map(|at| locate::arguments(at, cx.sources)).unwrap_or_default();
    if near.iter().any(|f| f.wrong[0] != wrong) || spots.len() != args.len() {
        return (d, false);
    }
    let mut wanted: Vec<&str> = near.iter().map(|f| f.signature.params[wrong].1.as_str()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let label = format!("{}, expected {}", args[wrong], wanted.join(" or "));
    let mut d = d.with_label(spots[wrong].clone(), label, cx.sources);
    if wanted == ["float"] && args[wrong] == "int" {
        d = d.with_help("a float is written with a point, as `1.0`; `x.to_float()` makes one of an int");
    }
    (d, true)
}

/// Writes under both sides of an operator what they are.
fn label_sides(mut d: Diagnostic, at: Option<&Place>, args: &[String], cx: &Context) -> Diagnostic {
    let spots = at.map(|at| locate::arguments(at, cx.sources)).unwrap_or_default();
    if spots.len() == args.len() {
        for (spot, of) in spots.into_iter().zip(args) {
            d = d.with_label(spot, of.clone(), cx.sources);
        }
    }
    d
}

/// The nearest candidates, and why they do not fit where no label says it.
fn list(mut d: Diagnostic, mut candidates: Vec<Fit>, given: usize, labelled: bool) -> Diagnostic {
    candidates.sort_by_key(|f| (f.missing > 0, f.wrong.len() + f.missing));
    let more = candidates.len().saturating_sub(CANDIDATES);
    for f in candidates.iter().take(CANDIDATES) {
        let params = &f.signature.params;
        let why = match (f.missing, f.wrong.as_slice()) {
            (0, [i]) if !labelled => format!(": argument {} must be {}", i + 1, params[*i].1),
            (1.., _) if given < params.len() => {
                let name = |(name, of): &(String, String)| format!("`{}`", if name == "_" { of } else { name });
                let missing: Vec<String> = params[given..].iter().map(name).collect();
                format!(": {} missing", missing.join(", "))
            }
            (1.., _) => format!(": {} too many", f.missing),
            _ => String::new(),
        };
        d.help.push(format!("candidate: {}{why}", f.signature));
    }
    if more > 0 {
        d.help.push(format!("and {more} more"));
    }
    d
}
