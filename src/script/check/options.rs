//! Options: the keys of a trailing `#{ .. }`, and the script's own `OPTIONS`.

use super::library::Native;
use super::types::Type;
use super::unit::Unit;
use super::walk::Walk;
use super::{Checker, near_help};
use crate::script::catalog::{Origin, Signature};
use crate::script::options::Declared;
use crate::script::{Diagnostic, Script};
use rhai::{Expr, FnCallExpr, Position, Stmt};
use std::collections::BTreeMap;
use std::rc::Rc;

impl<'a> Walk<'a> {
    /// Checks the last argument of a call of `signature` against its documented options.
    pub(super) fn options_of(&mut self, signature: &Signature, call: &'a FnCallExpr, args: &[Type]) {
        let (Some(given), Some(Type::Map(keys))) = (call.args.last(), args.last()) else { return };
        // Where a script calls the parameter otherwise, it may take a map for more than its options.
        let scripted = matches!(signature.origin, Origin::Script | Origin::Std);
        let is_options = signature.params.last().is_some_and(|(name, of)| {
            name == "options" || !scripted && ["o", "_"].contains(&name.as_str()) && (of == "map" || of == "any")
        });
        let known = signature.options();
        if !is_options || known.is_empty() || !lists_all(signature) {
            return;
        }
        let path = signature.key();
        for (key, of) in keys.iter() {
            let at = key_position(given, key);
            let Some(option) = known.iter().find(|o| o.name == *key) else {
                let names = known.iter().map(|o| o.name.as_str());
                let help = near_help(key, names.clone()).unwrap_or_else(|| {
                    format!("`{path}` takes {}", names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))
                });
                self.error("unknown-option", format!("unknown option of {path}: `{key}`"), at).push(help);
                continue;
            };
            if let Some(wanted) = wanted(&option.default, of) {
                let message = format!("{path}: option `{key}` must be {wanted}, not {of}");
                self.error("type", message, at).push(format!("its default is {}", option.default));
            }
        }
    }

    /// The same for the native function that is meant. Several types may have a method of that name, each with options of
    /// its own: while the object's type is not known, any of them may be.
    pub(super) fn options_of_natives(&mut self, natives: &[&Native], call: &'a FnCallExpr, args: &[Type]) {
        let fitting: Vec<&&Native> = natives.iter().filter(|n| n.fits(args)).collect();
        let Some((first, rest)) = fitting.split_first() else { return };
        let key = first.signature.key();
        if rest.iter().all(|n| n.signature.key() == key) {
            self.options_of(&first.signature, call, args);
        }
    }

    /// What `options()` returns here: the script's own, if it declares any or could.
    pub(super) fn declared_options(&mut self) -> Type {
        if let Some(keys) = &self.options {
            return Type::Map(keys.clone());
        }
        let declaration = self.unit.statements.iter().find_map(options_map);
        let keys = match declaration {
            Some(Expr::Map(map, _)) => {
                let of = |value: &Expr| match Type::of_constant(value) {
                    // `()` takes a number or text.
                    Some(of) if !of.is("()") => of,
                    _ if matches!(value, Expr::Array(..)) => Type::named("array"),
                    _ => Type::Any,
                };
                map.0.iter().map(|(key, value)| (key.name.to_string(), of(value))).collect()
            }
            // A module sees the options of the script that imports it.
            None if self.unit.runs() && !self.unit.unsure("OPTIONS") => BTreeMap::new(),
            _ => return Type::named("map"),
        };
        Type::Map(self.options.insert(Rc::new(keys)).clone())
    }
}

/// The value of `OPTIONS`, if `statement` declares it.
fn options_map(statement: &Stmt) -> Option<&Expr> {
    match statement {
        Stmt::Var(var, ..) if var.0.name == "OPTIONS" => Some(&var.1),
        _ => None,
    }
}

/// Whether the documented options are all there are: a line that is no item says that there are others.
fn lists_all(signature: &Signature) -> bool {
    let section = signature.section("Options").unwrap_or_default();
    section.lines().all(|line| line.starts_with("- `") || line.starts_with(' ') || line.trim().is_empty())
}

/// Where `key` stands in a map that is written out; else where the map stands.
fn key_position(given: &Expr, key: &str) -> Position {
    let own = match given {
        Expr::Map(map, _) => map.0.iter().find(|(k, _)| k.name == key).map(|(k, _)| k.pos),
        _ => None,
    };
    own.unwrap_or_else(|| given.start_position())
}

/// What an option with the default `default` must be, if a value of type `of` is certainly not.
fn wanted(default: &str, of: &Type) -> Option<&'static str> {
    // An option set to `()` counts as absent.
    let name = of.name().filter(|n| *n != "()" && of.is_basic())?;
    let number = default.parse::<f64>().is_ok();
    let wanted = match default.chars().next()? {
        '"' => ("a string", ["string", "array"].contains(&name)),
        '[' => ("an array", ["array", "string"].contains(&name)),
        _ if number => ("a number", ["int", "float"].contains(&name)),
        _ if default == "true" || default == "false" => ("a bool", name == "bool"),
        _ => return None,
    };
    (!wanted.1).then_some(wanted.0)
}

/// What is wrong with the `OPTIONS` of `unit`, and a recipe without a word about itself.
pub(super) fn declared(cx: &Checker, unit: &Unit) -> Vec<Diagnostic> {
    let Some(declaration) = unit.statements.iter().find(|s| options_map(s).is_some()) else { return Vec::new() };
    // As far as it could be read: its mistakes are reported already.
    let script = Script { name: unit.name.clone(), text: unit.parsed.text.clone(), folder: unit.folder.clone() };
    let declared = match Declared::read(&script) {
        Ok(declared) => declared,
        Err(diagnostic) => return vec![*diagnostic],
    };
    let mut found = Vec::new();
    if declared.description.is_empty() {
        let message = "the script says nothing of itself: `--help` shows its `//!` lines";
        let help = "begin the file with `//! What it does, in one line.`";
        found.push(cx.warning(unit, "no-description", message, declaration.position()).with_help(help));
    }
    let Some(Expr::Map(map, _)) = options_map(declaration) else { return found };
    for (key, _) in &map.0 {
        let plain = key.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !plain || key.name == "help" {
            let message = format!("the option `{}` cannot be given on the command line", key.name);
            let help = match plain {
                true => "`--help` shows the script's options",
                false => "names of options are letters, digits and `_`, which is `-` on the command line",
            };
            found.push(cx.warning(unit, "options", &message, key.pos).with_help(help));
        }
    }
    found
}
