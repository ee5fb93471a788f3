//! Properties and methods of values whose type is known, and of those whose is not.

use super::calls::{counts, list, names};
use super::library::{self, Native};
use super::near_help;
use super::types::{self, Type};
use super::unit::Function;
use super::walk::Walk;
use crate::script::explain::habits;
use rhai::{FnCallExpr, Position};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Methods that every value has.
const UNIVERSAL: [&str; 8] = ["type_of", "is_shared", "call", "curry", "to_string", "to_debug", "print", "debug"];

impl<'a> Walk<'a> {
    /// `receiver.name`, or `receiver.name = stored`.
    pub(super) fn property(&mut self, receiver: &Type, name: &str, at: Position, stored: Option<&Type>) -> Type {
        match receiver {
            Type::Any => return Type::Any,
            Type::Map(keys) => {
                if let Some(of) = keys.get(name) {
                    return of.clone();
                }
                if stored.is_none() {
                    self.unknown_key(keys, name, at);
                }
                return Type::Any;
            }
            Type::Is(of) if &**of == "map" => return Type::Any,
            Type::Is(_) => {}
        }
        let cx = self.cx;
        let library = &cx.library;
        let readable = library.properties(receiver);
        let by_key = [receiver.clone(), Type::named("string")];
        let getter = format!("get${name}");
        let unsure = library.global(&getter).any(|n| n.belongs_to(receiver) && !n.is_own(receiver));
        if unsure || library.global("index$get$").any(|n| n.fits(&by_key)) {
            return Type::Any;
        }
        if let Some(value) = stored {
            let setter = format!("set${name}");
            let setters: Vec<&Native> = library.global(&setter).filter(|n| n.belongs_to(receiver)).collect();
            let args = [receiver.clone(), value.clone()];
            if setters.iter().any(|n| n.fits(&args)) {
                return Type::Any;
            }
            if !setters.is_empty() {
                let message = format!("property `{name}` of {receiver} does not take {value}");
                let takes: BTreeSet<&str> =
                    setters.iter().filter_map(|n| Some(n.signature.params.get(1)?.1.as_str())).collect();
                let help = format!("it takes {}", takes.into_iter().collect::<Vec<_>>().join(" or "));
                self.error("type", message, at).push(help);
                return Type::Any;
            }
            if readable.contains_key(name) {
                let message = format!("property `{name}` of {receiver} can be read, not set");
                self.error("unknown-property", message, at);
                return Type::Any;
            }
        }
        if let Some(of) = readable.get(name) {
            return of.clone();
        }
        let method = library.global(name).any(|n| n.belongs_to(receiver) && n.signature.callable());
        let habit = habits::property(&receiver.to_string(), name);
        let help = match method {
            _ if habit.is_some() => habit,
            true => Some(format!("`{name}` is a method: call it as `.{name}(..)`")),
            false => near_help(name, readable.keys().copied())
                .or_else(|| near_help(name, library.methods(receiver).into_iter()))
                .or_else(|| {
                    (!readable.is_empty()).then(|| format!("{receiver} has {}", list(readable.keys().copied())))
                }),
        };
        self.error("unknown-property", format!("{receiver} has no property `{name}`"), at).extend(help);
        Type::Any
    }

    /// A key that a map of known keys does not have.
    fn unknown_key(&mut self, keys: &Rc<BTreeMap<String, Type>>, name: &str, at: Position) {
        let options = self.options.as_ref().is_some_and(|options| Rc::ptr_eq(options, keys));
        let names = || keys.keys().map(String::as_str);
        let help = near_help(name, names()).or_else(|| match options {
            true if keys.is_empty() => Some("it has no `const OPTIONS = #{ .. };`".to_string()),
            _ if keys.is_empty() || keys.len() > 30 => None,
            _ => Some(format!("there are {}", list(names()))),
        });
        let message = match options {
            true => format!("the script declares no option `{name}`"),
            false => format!("the map has no key `{name}`"),
        };
        self.error("unknown-key", message, at).extend(help);
    }

    /// `receiver.name(args)`.
    pub(super) fn method(&mut self, receiver: &Type, call: &'a FnCallExpr, at: Position) -> Type {
        let name = call.name.as_str();
        let rest: Vec<Type> = call.args.iter().map(|arg| self.expr(arg)).collect();
        let args: Vec<Type> = std::iter::once(receiver.clone()).chain(rest.iter().cloned()).collect();
        self.called.insert(name.to_string());
        let own: Vec<&'a Function> = self.unit.functions.iter().filter(|f| f.name == name).collect();
        if own.iter().any(|f| f.params.len() == rest.len()) {
            return Type::Any;
        }
        let cx = self.cx;
        let natives: Vec<&Native> = cx.library.global(name).filter(|n| n.signature.callable()).collect();
        if natives.iter().any(|n| n.fits(&args)) {
            self.options_of_natives(&natives, call, &args);
            return library::result(natives.iter().copied(), &args);
        }
        if UNIVERSAL.contains(&name) || self.unit.unsure(name) {
            return if name == "type_of" || name.starts_with("to_") { Type::named("string") } else { Type::Any };
        }
        // A map may hold a function under that name, and what is not known may be a map.
        match receiver {
            Type::Map(keys) if keys.contains_key(name) => return Type::Any,
            Type::Is(of) if &**of == "map" => return Type::Any,
            Type::Any => {
                self.method_of_any(name, &rest, &natives, at);
                return Type::Any;
            }
            _ => {}
        }
        let own_natives: Vec<&Native> = natives.iter().copied().filter(|n| n.belongs_to(receiver)).collect();
        if !own_natives.is_empty() {
            let candidates = own_natives.iter().map(|n| n.signature.params.len() - 1).collect::<BTreeSet<_>>();
            let message = if candidates.contains(&rest.len()) {
                format!("`{name}` of {receiver} does not take {}", types::list(&rest))
            } else {
                format!("`{name}` of {receiver} takes {}, not {}", counts(&candidates), rest.len())
            };
            let candidates = own_natives.iter().map(|n| format!("candidate: {}", n.signature.usage())).take(4);
            let help = habits::call(name, &names(&args)).map_or_else(|| candidates.collect(), |habit| vec![habit]);
            self.error("arguments", message, at).extend(help);
            self.mark_misfit(&own_natives, &args, at);
            return Type::Any;
        }
        let property = cx.library.properties(receiver).contains_key(name);
        let habit = habits::call(name, &names(&args));
        let help = match property {
            _ if habit.is_some() => habit,
            true => Some(format!("`{name}` is a property: read it as `.{name}`")),
            false => near_help(name, cx.library.methods(receiver).into_iter()),
        };
        self.error("unknown-function", format!("{receiver} has no method `{name}`"), at).extend(help);
        Type::Any
    }

    /// A method of a value of which nothing is known: only a name that is nearly one of ours is worth a word.
    fn method_of_any(&mut self, name: &str, rest: &[Type], natives: &[&Native], at: Position) {
        if self.unit.keys.contains(name) {
            return;
        }
        let library = &self.cx.library;
        if natives.is_empty() {
            let names: BTreeSet<&str> =
                library.all().filter(|n| n.signature.callable()).map(|n| n.signature.name.as_str()).collect();
            let property = library.all().any(|n| n.signature.property() == Some(name));
            let own = self.unit.functions.iter().any(|f| f.name == name);
            if let Some(help) = near_help(name, names.into_iter())
                && !property
                && !own
            {
                self.warning("unknown-function", format!("no type has a method `{name}`"), at).push(help);
            }
            return;
        }
        let takes: BTreeSet<usize> = natives.iter().map(|n| n.signature.params.len().saturating_sub(1)).collect();
        if !takes.contains(&rest.len()) {
            let message = format!("method `{name}` takes {}, not {}", counts(&takes), rest.len());
            let candidates = natives.iter().map(|n| format!("candidate: {}", n.signature.usage())).take(4);
            self.warning("arguments", message, at).extend(candidates);
        }
    }
}
