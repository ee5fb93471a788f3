//! Rhai's errors in the words of the people who write scripts, with candidates and near names.

use super::{
    catalog::{self, Signature, friendly_type},
    diagnostics::{Diagnostic, Place},
    errors::ScriptError,
    parsing,
    sources::Sources,
};
use rhai::{AST, ASTNode, Dynamic, Engine, EvalAltResult, Expr, LexError, Map, ParseErrorType, Stmt};
use std::collections::BTreeSet;

/// What explanations draw on.
pub(super) struct Context<'a> {
    pub(super) engine: &'a Engine,
    pub(super) sources: &'a Sources,
    /// Names that live outside the script's text: the variables of a session.
    pub(super) variables: Vec<String>,
}

/// Candidates listed at most.
const CANDIDATES: usize = 6;

/// The innermost error of a failed script `file`, inside its `function` if any, named by Rhai as being `at`.
pub(super) fn error(
    err: &EvalAltResult,
    at: Option<&Place>,
    file: &str,
    function: Option<&str>,
    cx: &Context,
) -> Diagnostic {
    use EvalAltResult as E;
    let new = |code: &str, message: String| Diagnostic::new(code, message);
    match err {
        E::ErrorRuntime(value, _) => thrown(value),
        E::ErrorTerminated(value, _) => match value.read_lock::<ScriptError>() {
            Some(err) => Diagnostic::from(err.get()),
            None => new("interrupted", "interrupted".into()),
        },
        E::ErrorParsing(kind, _) => syntax(kind),
        E::ErrorFunctionNotFound(signature, _) => function_not_found(signature, at, file, cx),
        E::ErrorVariableNotFound(name, _) => variable_not_found(name, file, function, cx),
        E::ErrorPropertyNotFound(name, _) => {
            let keys = declared(file, cx).keys;
            let help = near(name, keys.iter().map(String::as_str));
            with_near(new("unknown-key", format!("the map has no key `{name}`")), help)
                .with_help(format!("`.get(\"{name}\")` gives () where a key may be missing"))
        }
        E::ErrorDotExpr(text, _) => property_not_found(text, cx),
        E::ErrorModuleNotFound(name, _) => {
            let all = catalog::collect(cx.engine);
            let help = near(name, all.iter().map(|s| s.namespace.as_str()).filter(|n| !n.is_empty()));
            with_near(new("unknown-module", format!("no module `{name}`: neither built in nor imported here")), help)
        }
        E::ErrorIndexingType(text, _) => {
            let (of, by) = text.split_once(" [").unwrap_or((text, "]"));
            let by = friendly_type(cx.engine, by.trim_end_matches(']'));
            new("type", format!("{} cannot be indexed by {by}", friendly_type(cx.engine, of)))
        }
        E::ErrorMismatchDataType(wanted, found, _) | E::ErrorMismatchOutputType(wanted, found, _) => {
            let (wanted, found) = (friendly_type(cx.engine, wanted), friendly_type(cx.engine, found));
            new("type", format!("expected {wanted}, found {found}"))
        }
        E::ErrorArrayBounds(len, index, _) => new("index", bounds("array", "elements", *len, *index)),
        E::ErrorStringBounds(len, index, _) => new("index", bounds("string", "characters", *len, *index)),
        E::ErrorFor(_) => {
            new("type", "this value cannot be looped over".into()).with_help("`for` takes arrays, ranges and strings")
        }
        E::ErrorArithmetic(text, _) => new("arithmetic", lower_first(text)),
        E::ErrorAssignmentToConstant(name, _) => new("constant", format!("`{name}` is a constant")),
        E::ErrorNonPureMethodCallOnConstant(name, _) => {
            new("constant", format!("`{name}` changes its object, which is a constant here"))
                .with_help("declare it with `let`")
        }
        E::ErrorVariableExists(name, _) => new("variable", format!("`{name}` is already defined")),
        E::ErrorUnboundThis(_) => new("variable", "`this` has no object here".into()),
        E::ErrorDataRace(name, _) => new("closure", format!("`{name}` is in use by the closure that shares it")),
        E::ErrorStackOverflow(_) => new("limit", "calls are nested too deeply".into())
            .with_help("a function that calls itself must end; loops may go on"),
        E::ErrorDataTooLarge(what, _) => new("limit", format!("{} is over the limit", lower_first(what))),
        E::ErrorTooManyOperations(_) => new("limit", "the script ran more operations than allowed".into()),
        E::ErrorSystem(text, inner) => {
            new("system", if text.is_empty() { inner.to_string() } else { format!("{text}: {inner}") })
        }
        other => {
            let text = other.to_string();
            new("script", lower_first(text.split(" (line ").next().unwrap_or(&text)))
        }
    }
}

/// `throw value`, or an engine error.
fn thrown(value: &Dynamic) -> Diagnostic {
    if let Some(err) = value.read_lock::<ScriptError>() {
        return Diagnostic::from(err.get());
    }
    if let Some(map) = value.read_lock::<Map>() {
        let text = |key: &str| map.get(key).filter(|v| !v.is_unit()).map(ToString::to_string);
        if let Some(message) = text("message") {
            let code = text("kind").or_else(|| text("error")).unwrap_or_else(|| "throw".into());
            let rest = map.iter().filter(|(k, _)| !["message", "kind", "error", "help"].contains(&k.as_str()));
            let mut diagnostic = Diagnostic::new(code, message);
            diagnostic.help.extend(text("help"));
            diagnostic.help.extend(rest.map(|(k, v)| format!("{k}: {v:?}")));
            return diagnostic;
        }
        return Diagnostic::new("throw", format!("{map:?}"));
    }
    let text = if value.is_unit() { "an empty `throw`".to_string() } else { value.to_string() };
    Diagnostic::new("throw", text)
}

/// Text that does not parse.
pub(super) fn syntax(kind: &ParseErrorType) -> Diagnostic {
    use ParseErrorType as P;
    let new = |message: String| Diagnostic::new("syntax", message);
    match kind {
        P::UnexpectedEOF => new("the script breaks off".into()),
        P::MissingToken(token, why) => new(format!("expected `{token}` {why}")),
        P::BadInput(LexError::UnterminatedString) => new("this string has no end".into()),
        P::BadInput(LexError::UnexpectedInput(what)) => new(format!("unexpected `{what}`")),
        P::Reserved(word) => new(format!("`{word}` is a reserved word")).with_help("choose another name"),
        P::ForbiddenVariable(name) => new(format!("`{name}` cannot be a variable's name")),
        P::ExprTooDeep => new("this expression is nested too deeply".into()).with_help("name its parts with `let`"),
        P::WrongFnDefinition => new("functions are defined at the top level of a script only".into()),
        P::UnknownOperator(op) => new(format!("unknown operator `{op}`")),
        other => new(lower_first(&other.to_string())),
    }
}

fn function_not_found(signature: &str, _at: Option<&Place>, file: &str, cx: &Context) -> Diagnostic {
    let (path, args) = signature.rsplit_once(" (").unwrap_or((signature, ")"));
    // A string argument is written as three alternatives.
    let args = args.trim_end_matches(')').replace("&str | ImmutableString | String", "string");
    let args: Vec<String> = args.split(", ").filter(|a| !a.is_empty()).map(|a| friendly_type(cx.engine, a)).collect();
    let taken = format!("({})", args.join(", "));
    let name = path.rsplit("::").next().unwrap_or(path);
    if name.starts_with("anon$") {
        return Diagnostic::new("unknown-function", format!("this closure does not take {taken}"));
    }
    let operator = !name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let all = candidates(file, cx);
    let same: Vec<&Signature> = all.iter().filter(|s| s.path() == path).collect();
    // Those that take the first argument are meant, where there are any.
    let first = |s: &&Signature| s.params.first().is_some_and(|(_, of)| args.first() == Some(of));
    let meant: Vec<&Signature> = same.iter().copied().filter(first).collect();
    if operator {
        return list(Diagnostic::new("unknown-operator", format!("no operator `{name}` for {taken}")), &meant);
    }
    if !same.is_empty() {
        let d = Diagnostic::new("unknown-function", format!("no function `{path}` takes {taken}"));
        return list(d, if meant.is_empty() { &same } else { &meant });
    }
    let d = Diagnostic::new("unknown-function", format!("no function `{path}`"));
    // The right name in another module is nearer than a similar one here.
    let elsewhere = all.iter().find(|s| s.name == name).map(Signature::path);
    let similar = || near(path, all.iter().filter(|s| s.callable() && s.namespace.is_empty()).map(|s| s.name.as_str()));
    let namespaced = || {
        let paths: Vec<String> =
            all.iter().filter(|s| s.callable() && !s.namespace.is_empty()).map(Signature::path).collect();
        near(path, paths.iter().map(String::as_str))
    };
    with_near(d, elsewhere.or_else(if path.contains("::") { &namespaced } else { &similar as &dyn Fn() -> _ }))
}

fn list(mut d: Diagnostic, candidates: &[&Signature]) -> Diagnostic {
    d.help.extend(candidates.iter().take(CANDIDATES).map(|s| format!("candidate: {s}")));
    if candidates.len() > CANDIDATES {
        d.help.push(format!("and {} more", candidates.len() - CANDIDATES));
    }
    d
}

/// Registered functions and those of the script itself.
fn candidates(file: &str, cx: &Context) -> Vec<Signature> {
    let mut all = catalog::collect(cx.engine);
    all.extend(declared(file, cx).functions);
    all
}

fn variable_not_found(name: &str, file: &str, function: Option<&str>, cx: &Context) -> Diagnostic {
    let d = Diagnostic::new("unknown-variable", format!("no variable `{name}`"));
    let Declared { mut variables, own, .. } = declared_in(file, function, cx);
    variables.extend(cx.variables.iter().cloned());
    if function.is_some() && variables.contains(name) {
        return d.with_help(format!(
            "functions do not see variables from outside: pass `{name}` as an argument, or use a closure"
        ));
    }
    if catalog::collect(cx.engine).iter().any(|s| s.name == name && s.callable()) {
        return d.with_help(format!("`{name}` is a function: call it as `{name}(..)`"));
    }
    let visible = if function.is_some() { &own } else { &variables };
    let help = near(name, visible.iter().map(String::as_str));
    with_near(d, help)
}

/// Rhai says "Unknown property 'x' - a getter is not registered for type 'T'", or the same of a setter.
fn property_not_found(text: &str, cx: &Context) -> Diagnostic {
    let quoted: Vec<&str> = text.split('\'').skip(1).step_by(2).collect();
    let &[name, of, ..] = quoted.as_slice() else {
        return Diagnostic::new("unknown-property", lower_first(text));
    };
    let of = friendly_type(cx.engine, of);
    let all = catalog::collect(cx.engine);
    let first = |s: &Signature| s.params.first().is_some_and(|(_, t)| *t == of);
    let readable: Vec<&str> = all.iter().filter(|s| first(s)).filter_map(Signature::property).collect();
    if text.starts_with("No writable") && readable.contains(&name) {
        let message = match quoted.get(2) {
            Some(value) if all.iter().any(|s| first(s) && s.name == format!("set${name}")) => {
                format!("property `{name}` of {of} does not take {}", friendly_type(cx.engine, value))
            }
            _ => format!("property `{name}` of {of} can be read, not set"),
        };
        return Diagnostic::new("unknown-property", message);
    }
    let d = Diagnostic::new("unknown-property", format!("{of} has no property `{name}`"));
    if all.iter().any(|s| first(s) && s.name == name) {
        return d.with_help(format!("`{name}` is a method: call it as `.{name}(..)`"));
    }
    let help = near(name, readable.iter().copied());
    match (&help, readable.is_empty()) {
        (None, false) => d.with_help(format!("properties: {}", readable.join(", "))),
        _ => with_near(d, help),
    }
}

/// What a script's text declares.
#[derive(Default)]
struct Declared {
    variables: BTreeSet<String>,
    /// Those of one function.
    own: BTreeSet<String>,
    keys: BTreeSet<String>,
    functions: Vec<Signature>,
}

fn declared(file: &str, cx: &Context) -> Declared {
    declared_in(file, None, cx)
}

fn declared_in(file: &str, function: Option<&str>, cx: &Context) -> Declared {
    let mut found = Declared::default();
    // What no longer parses declares nothing; the error at hand then comes from elsewhere.
    let Some(ast) = cx.sources.get(file).and_then(|s| parsing::parse(&s.text).ok()) else { return found };
    found.variables = variables(&ast);
    if let Some(function) = function {
        found.own = variables(&ast.clone_functions_only_filtered(|_, _, _, name, _| name == function));
    }
    ast.walk(&mut |path: &[ASTNode]| {
        if let Some(ASTNode::Expr(Expr::Map(map, _))) = path.last() {
            found.keys.extend(map.0.iter().map(|(key, _)| key.name.to_string()));
        }
        true
    });
    found.functions.extend(ast.iter_functions().map(|f| Signature::of_script(f.name, f.params.iter().copied())));
    found
}

fn variables(ast: &AST) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = ast.iter_functions().flat_map(|f| f.params).map(str::to_string).collect();
    ast.walk(&mut |path: &[ASTNode]| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Var(var, ..))) => drop(found.insert(var.0.name.to_string())),
            Some(ASTNode::Stmt(Stmt::For(each, ..))) => drop(found.insert(each.0.name.to_string())),
            _ => {}
        }
        true
    });
    found
}

/// The known name most like `name`, if any is like it.
pub(super) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .filter(|k| *k != name)
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .filter(|(score, _)| *score > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.to_string())
}

fn with_near(d: Diagnostic, name: Option<String>) -> Diagnostic {
    match name {
        Some(name) => d.with_help(format!("did you mean `{name}`?")),
        None => d,
    }
}

fn bounds(what: &str, of: &str, len: usize, index: i64) -> String {
    format!("index {index} is outside the {what}, which has {len} {of}")
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
