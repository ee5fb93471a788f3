//! Calls: functions by name, number of arguments and types; operators.

use super::library::{self, Native};
use super::types::{self, Type};
use super::unit::{Function, Unit};
use super::walk::Walk;
use super::{near_help, scope::Kind};
use crate::script::{explain::habits, locate};
use rhai::{Expr, FnCallExpr, Namespace, Position};
use std::collections::BTreeSet;

/// Functions of Rhai itself that are not registered: name, fewest and most arguments, result.
const KEYWORDS: [(&str, usize, usize, &str); 10] = [
    ("type_of", 1, 1, "string"),
    ("is_shared", 1, 1, "bool"),
    ("is_def_fn", 2, 3, "bool"),
    ("is_def_var", 1, 1, "bool"),
    ("eval", 1, 1, "any"),
    ("Fn", 1, 1, "function"),
    ("call", 1, usize::MAX, "any"),
    ("curry", 1, usize::MAX, "function"),
    ("print", 1, 1, "()"),
    ("debug", 1, 1, "()"),
];

/// Candidates listed at most.
const CANDIDATES: usize = 6;

impl<'a> Walk<'a> {
    /// `f(..)`, `module::f(..)`, `a + b`.
    pub(super) fn call(&mut self, call: &'a FnCallExpr, at: Position) -> Type {
        if !call.is_qualified()
            && let Some(Expr::Variable(var, ..)) = call.args.first()
            && !call.is_operator_call()
            && !self.unit.functions.iter().any(|f| f.name == call.name.as_str())
        {
            // A native function takes its first argument by reference.
            self.may_change(&var.1, &call.name);
        }
        let shown = ["print", "note", "write"].contains(&call.name.as_str());
        let needed = shown.then(|| self.found.needed.clone());
        let fails = call.name == "assert_throws";
        self.wanted += usize::from(fails);
        let args: Vec<Type> = call.args.iter().map(|arg| self.expr(arg)).collect();
        self.wanted -= usize::from(fails);
        if let Some(needed) = needed {
            self.found.needed = needed;
        }
        if call.is_operator_call() {
            return self.operator(call, &args, at);
        }
        if call.is_qualified() {
            return self.qualified(&call.namespace, call, &args, at);
        }
        self.plain(call, &args, at)
    }

    fn plain(&mut self, call: &'a FnCallExpr, args: &[Type], at: Position) -> Type {
        let name = call.name.as_str();
        self.called.insert(name.to_string());
        if name == "Fn" {
            self.named_function(call);
        }
        if let Some((.., result)) =
            KEYWORDS.iter().find(|(n, min, max, _)| *n == name && (*min..=*max).contains(&args.len()))
        {
            return Type::named(result);
        }
        let own: Vec<&'a Function> = self.unit.functions.iter().filter(|f| f.name == name).collect();
        if let Some(function) = own.iter().find(|f| f.params.len() == args.len() && f.this_type.is_none()) {
            self.options_of(&function.signature, call, args);
            return Type::Any;
        }
        let cx = self.cx;
        let natives: Vec<&Native> = cx.library.global(name).collect();
        if natives.iter().any(|n| n.fits(args)) {
            if name == "options" && args.is_empty() {
                return self.declared_options();
            }
            self.options_of_natives(&natives, call, args);
            return library::result(natives.iter().copied(), args);
        }
        if self.unit.unsure(name) {
            return Type::Any;
        }
        let known = !own.is_empty() || !natives.is_empty() || KEYWORDS.iter().any(|(n, ..)| *n == name);
        if known {
            let own: Vec<(usize, String)> = own.iter().map(|f| (f.params.len(), f.heading())).collect();
            self.misfit(name, args, &own, &natives, at);
        } else {
            self.unknown_function(name, args, at);
        }
        Type::Any
    }

    /// `Fn("name")`: the function must exist.
    fn named_function(&mut self, call: &'a FnCallExpr) {
        let Some(Expr::StringConstant(name, at)) = call.args.first() else { return };
        self.called.insert(name.to_string());
        let known = self.unit.functions.iter().any(|f| f.name == name.as_str())
            || self.cx.library.global(name).next().is_some()
            || self.unit.unsure(name);
        if !known {
            self.unknown_function(name, &[], *at);
        }
    }

    fn qualified(&mut self, path: &'a Namespace, call: &'a FnCallExpr, args: &[Type], at: Position) -> Type {
        let name = call.name.as_str();
        let root = path.root().to_string();
        if let Some(import) = self.scopes.import(&root) {
            import.used = true;
            let mut module = import.module.clone();
            if self.function.is_some() {
                self.from_functions.insert(root.clone());
            }
            for inner in path.path.iter().skip(1) {
                module = module
                    .and_then(|m| m.imports.get(inner.name.as_str())?.clone().map(|p| (m, p)))
                    .and_then(|(m, p)| self.cx.module(&m, &p).ok());
            }
            if let Some(module) = module {
                self.imported(&module, path, call, args, at);
            }
            return Type::Any;
        }
        let shown = path.to_string();
        let full = format!("{shown}::{name}");
        let cx = self.cx;
        let natives: Vec<&Native> = cx.library.in_module(&shown, name).collect();
        if let Some(native) = natives.iter().find(|n| n.fits(args)) {
            self.options_of(&native.signature, call, args);
            return library::result(natives.iter().copied(), args);
        }
        if self.unit.unsure(&root) || root == "global" {
            return Type::Any;
        }
        if !natives.is_empty() {
            self.misfit(&full, args, &[], &natives, at);
        } else if cx.library.has_module(&shown) {
            let there: BTreeSet<&str> = cx
                .library
                .all()
                .filter(|n| n.signature.namespace == shown)
                .map(|n| n.signature.name.as_str())
                .collect();
            let help = habits::call(&full, &names(args))
                .or_else(|| near_help(name, there.iter().copied()))
                .unwrap_or_else(|| format!("`{shown}` has {}", list(there.iter().copied())));
            self.error("unknown-function", format!("no function `{full}`"), at).push(help);
        } else {
            self.unknown_module(&shown, path.position());
        }
        Type::Any
    }

    /// A module that is neither built in nor imported here.
    pub(super) fn unknown_module(&mut self, name: &str, at: Position) {
        let aliases = self.scopes.aliases();
        let embedded = crate::script::embedded::module(name).is_some();
        let help = match embedded {
            true => Some(format!("import it: `import \"std/{name}\" as {name};`")),
            false => habits::module(name)
                .or_else(|| near_help(name, self.cx.library.modules().chain(aliases.iter().map(String::as_str)))),
        };
        let message = format!("no module `{name}`: neither built in nor imported here");
        self.error("unknown-module", message, at).extend(help);
    }

    /// A call of a function of an imported script.
    fn imported(&mut self, module: &Unit, path: &Namespace, call: &'a FnCallExpr, args: &[Type], at: Position) {
        let name = call.name.as_str();
        let there: Vec<&Function> = module.public(name).collect();
        if let Some(function) = there.iter().find(|f| f.params.len() == args.len()) {
            self.options_of(&function.signature, call, args);
            return;
        }
        if module.unsure(name) {
            return;
        }
        let full = format!("{path}::{name}");
        if !there.is_empty() {
            let signatures: Vec<(usize, String)> =
                there.iter().map(|f| (f.params.len(), format!("{path}::{}", f.heading()))).collect();
            return self.misfit(&full, args, &signatures, &[], at);
        }
        let hidden = module.functions.iter().any(|f| f.name == name && f.private);
        let names: Vec<&str> = module.functions.iter().filter(|f| !f.private).map(|f| f.name.as_str()).collect();
        let help = match hidden {
            true => Some(format!("`{name}` is private in {}", module.name)),
            false => near_help(name, names.iter().copied()).or_else(|| {
                (!names.is_empty()).then(|| format!("{} has {}", module.name, list(names.iter().copied())))
            }),
        };
        self.error("unknown-function", format!("no function `{full}`"), at).extend(help);
    }

    /// `global::NAME`, `module::NAME`.
    pub(super) fn module_variable(&mut self, path: &'a Namespace, name: &str, at: Position) -> Type {
        let root = path.root().to_string();
        if root == "global" {
            self.from_functions.insert(name.to_string());
            if !self.unit.constants.contains(name) && !self.unit.unsure(name) {
                let help = near_help(name, self.unit.constants.iter().map(String::as_str));
                let text = format!("the script has no constant `{name}`");
                self.error("unknown-variable", text, at).extend(help);
            }
            return Type::Any;
        }
        let Some(import) = self.scopes.import(&root) else {
            // Built-in modules hold functions alone.
            if !self.unit.unsure(&root) {
                match self.cx.library.in_module(&root, name).next().is_some() {
                    true => {
                        let message = format!("no variable `{root}::{name}`");
                        let help = format!("`{root}::{name}` is a function: call it as `{root}::{name}(..)`");
                        self.error("unknown-variable", message, at).push(help);
                    }
                    false if self.cx.library.has_module(&root) => {
                        self.error("unknown-variable", format!("no variable `{root}::{name}`"), at);
                    }
                    false => self.unknown_module(&path.to_string(), path.position()),
                }
            }
            return Type::Any;
        };
        import.used = true;
        let module = import.module.clone();
        if self.function.is_some() {
            self.from_functions.insert(root.clone());
        }
        if let Some(module) = module
            && path.path.len() == 1
            && !module.exports.contains(name)
            && !module.unsure(name)
        {
            let callable = module.public(name).next().is_some();
            let declared = module.variables.contains(name);
            let help = match (callable, declared) {
                (true, _) => Some(format!("`{root}::{name}` is a function: call it as `{root}::{name}(..)`")),
                (_, true) => Some(format!("{} does not export it: write `export` before its declaration", module.name)),
                _ => near_help(name, module.exports.iter().map(String::as_str)),
            };
            self.error("unknown-variable", format!("no variable `{root}::{name}`"), at).extend(help);
        }
        Type::Any
    }

    /// A function that exists and does not take these arguments; `scripted` are those of scripts, with the number of
    /// their parameters.
    fn misfit(&mut self, name: &str, args: &[Type], scripted: &[(usize, String)], natives: &[&Native], at: Position) {
        let takes = scripted.iter().map(|(n, _)| *n).chain(natives.iter().map(|n| n.signature.params.len()));
        let takes: BTreeSet<usize> = takes.collect();
        let message = match takes.contains(&args.len()) {
            true => format!("no function `{name}` takes {}", types::list(args)),
            false => format!("`{name}` takes {}, not {}", counts(&takes), args.len()),
        };
        // Those that take the first argument are meant, where there are any.
        let first = |n: &&&Native| args.first().is_none_or(|a| n.belongs_to(a));
        let mut meant: Vec<&&Native> = natives.iter().filter(first).collect();
        if meant.is_empty() {
            meant = natives.iter().collect();
        }
        if meant.len() > CANDIDATES {
            // Overloads for every type of one argument say less than one of each length.
            let mut lengths = BTreeSet::new();
            meant.retain(|n| lengths.insert(n.signature.params.len()));
        }
        let signatures = meant.iter().map(|n| n.signature.usage());
        let candidates: BTreeSet<String> = scripted.iter().map(|(_, shown)| shown.clone()).chain(signatures).collect();
        let more = candidates.len().saturating_sub(CANDIDATES);
        let habit = habits::call(name, &names(args));
        let help = self.error("arguments", message, at);
        if let Some(habit) = habit {
            return help.push(habit);
        }
        help.extend(candidates.into_iter().take(CANDIDATES).map(|c| format!("candidate: {c}")));
        if more > 0 {
            help.push(format!("and {more} more"));
        }
        if scripted.is_empty() {
            self.mark_misfit(natives, args, at);
        }
    }

    /// Writes under the one argument that keeps `natives` from taking the call, whose error was just added, what it is.
    pub(super) fn mark_misfit(&mut self, natives: &[&Native], args: &[Type], at: Position) {
        let wrong: Vec<(usize, &str)> = natives.iter().filter_map(|n| n.misfit(args)).collect();
        let Some(&(which, _)) = wrong.first().filter(|(i, _)| wrong.iter().all(|(j, _)| i == j)) else { return };
        let spots = locate::arguments(&self.place(at), self.cx.sources());
        if spots.len() == args.len() {
            let wanted: BTreeSet<&str> = wrong.iter().map(|(_, of)| *of).collect();
            let wanted = wanted.into_iter().collect::<Vec<_>>().join(" or ");
            self.label(spots[which].clone(), format!("{}, expected {wanted}", args[which]));
        }
    }

    fn unknown_function(&mut self, name: &str, args: &[Type], at: Position) {
        let var = self.scopes.var(name).map(|v| {
            v.read = true;
            v.kind
        });
        let library = &self.cx.library;
        let elsewhere = library.all().find(|n| n.signature.name == name && n.signature.callable());
        let elsewhere = elsewhere.map(|n| n.signature.path());
        let property = args.first().is_some_and(|a| library.properties(a).contains_key(name));
        let names: BTreeSet<String> = library
            .all()
            .filter(|n| n.signature.callable() && n.signature.namespace.is_empty())
            .map(|n| n.signature.name.clone())
            .chain(self.unit.functions.iter().map(|f| f.name.clone()))
            .collect();
        let habit = habits::call(name, &self::names(args));
        let help = match var {
            _ if habit.is_some() => habit,
            Some(Kind::Let | Kind::Const | Kind::Param | Kind::Loop | Kind::Catch) => {
                Some(format!("`{name}` is a variable: call the function in it as `{name}.call(..)`"))
            }
            None if property => Some(format!("`{name}` is a property: read it as `.{name}`")),
            None => elsewhere
                .map(|path| format!("did you mean `{path}`?"))
                .or_else(|| near_help(name, names.iter().map(String::as_str))),
        };
        self.error("unknown-function", format!("no function `{name}`"), at).extend(help);
    }

    fn operator(&mut self, call: &'a FnCallExpr, args: &[Type], at: Position) -> Type {
        match (call.name.as_str(), args) {
            (".." | "..=", _) => Type::named("range"),
            (op, [one]) => self.operation(op, one, None, at),
            (op, [left, right]) => {
                self.never_equal(op, left, right, at);
                self.operation(op, left, Some(right), at)
            }
            _ => Type::Any,
        }
    }

    /// The result of an operation; one that there is not is reported.
    pub(super) fn operation(&mut self, op: &str, left: &Type, right: Option<&Type>, at: Position) -> Type {
        if let Some(of) = self.cx.library.operation(op, left, right) {
            return of;
        }
        let args: Vec<Type> = std::iter::once(left).chain(right).cloned().collect();
        let cx = self.cx;
        let candidates: Vec<String> = cx
            .library
            .global(op)
            .filter(|n| !left.is_basic() && n.is_own(left) && n.signature.params.len() == args.len())
            .map(|n| format!("candidate: {}", n.signature.usage()))
            .take(CANDIDATES)
            .collect();
        let help = habits::operator(op, &names(&args)).map_or(candidates, |habit| vec![habit]);
        self.error("unknown-operator", format!("no operator `{op}` for {}", types::list(&args)), at).extend(help);
        let spots = locate::arguments(&self.place(at), self.cx.sources());
        if spots.len() == args.len() {
            for (spot, of) in spots.into_iter().zip(&args) {
                self.label(spot, of.to_string());
            }
        }
        Type::Any
    }

    /// Values of different types are never equal, and Rhai does not say so.
    fn never_equal(&mut self, op: &str, left: &Type, right: &Type, at: Position) {
        let (Some(l), Some(r)) = (left.name(), right.name()) else { return };
        let comparable = l == r
            || left.is_number() && right.is_number()
            || l == "()"
            || r == "()"
            || !left.is_basic()
            || !right.is_basic()
            || matches!((l, r), ("char", "string") | ("string", "char"));
        if matches!(op, "==" | "!=") && !comparable {
            let always = if op == "==" { "false" } else { "true" };
            self.warning("always", format!("this is always {always}: one side is {l}, the other {r}"), at);
        }
    }
}

/// The names of `types`.
pub(super) fn names(types: &[Type]) -> Vec<String> {
    types.iter().map(ToString::to_string).collect()
}

/// How many arguments a function takes, in words.
pub(super) fn counts(takes: &BTreeSet<usize>) -> String {
    let counts: Vec<String> = takes.iter().map(usize::to_string).collect();
    let plural = if counts == ["1"] { "argument" } else { "arguments" };
    format!("{} {plural}", counts.join(" or "))
}

/// Names for a sentence.
pub(super) fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
