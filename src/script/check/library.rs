//! The functions that are not written in scripts, by name and by receiver, with the types they take.

use super::types::{BASIC, Type};
use crate::script::Host;
use crate::script::catalog::{self, Origin, Signature};
use rhai::{Dynamic, Engine, FnNamespace, Scope};
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One registered function.
#[derive(Debug)]
pub(super) struct Native {
    pub(super) signature: Signature,
    accepts: Vec<Accepts>,
    returns: Type,
    /// Callable without its module's name.
    global: bool,
}

/// What a parameter takes.
#[derive(Debug, Clone, PartialEq)]
enum Accepts {
    Any,
    /// Values of one of these types.
    OneOf(Vec<String>),
}

impl Accepts {
    fn takes(&self, given: &Type) -> bool {
        match (self, given.name()) {
            (Accepts::Any, _) | (_, None) => true,
            (Accepts::OneOf(types), Some(name)) => types.iter().any(|t| t == name),
        }
    }
}

impl Native {
    /// Whether it may be called with `args`.
    pub(super) fn fits(&self, args: &[Type]) -> bool {
        self.accepts.len() == args.len() && self.accepts.iter().zip(args).all(|(a, t)| a.takes(t))
    }

    /// The one argument that it does not take, and the type that it takes there.
    pub(super) fn misfit(&self, args: &[Type]) -> Option<(usize, &str)> {
        let mut wrong = self.accepts.iter().zip(args).enumerate().filter(|(_, (a, t))| !a.takes(t)).map(|(i, _)| i);
        let only = wrong.next().filter(|_| wrong.next().is_none() && self.accepts.len() == args.len())?;
        Some((only, self.signature.params[only].1.as_str()))
    }

    /// Whether it takes `receiver` and not just anything.
    pub(super) fn is_own(&self, receiver: &Type) -> bool {
        self.belongs_to(receiver) && self.accepts.first() != Some(&Accepts::Any)
    }

    /// Whether it may be a method of `receiver`.
    pub(super) fn belongs_to(&self, receiver: &Type) -> bool {
        self.accepts.first().is_some_and(|a| a.takes(receiver))
    }
}

/// Types, pairs of them or one alone, with an operator between.
type Operation = (String, String, Option<String>);

/// Every registered function.
pub(super) struct Library<'e> {
    engine: &'e Engine,
    natives: Vec<Native>,
    by_name: HashMap<String, Vec<usize>>,
    modules: BTreeSet<String>,
    tried: RefCell<HashMap<Operation, Option<Type>>>,
}

impl<'e> Library<'e> {
    /// What scripts of `host` can call.
    pub(super) fn new(host: &'e Host) -> Self {
        let engine = host.engine();
        let ours = host.catalog().iter().filter(|s| s.origin == Origin::Host);
        let docs: HashMap<String, &str> = ours.map(|s| (s.key(), s.doc.as_str())).collect();
        let read = |info: rhai::FuncInfo| {
            // Comments are shared by overloads, which the catalog sees to.
            let mut signature = catalog::signature(engine, &info, Origin::Host);
            signature.doc = docs.get(&signature.key()).map(|doc| doc.to_string()).unwrap_or_default();
            let of: Vec<TypeId> = info.metadata.param_types.iter().copied().collect();
            let returns = info.metadata.return_type == "()" || last_is_unit(&info);
            Some((signature, of, returns, info.metadata.namespace == FnNamespace::Global))
        };
        let all = engine.collect_fn_metadata(None, read, true);
        let named = |text: &str| !text.is_empty() && text != "any" && text.chars().all(|c| c.is_alphanumeric());
        let mut types: BTreeSet<String> = BASIC.iter().map(|t| t.to_string()).collect();
        types.extend(all.iter().flat_map(|(s, ..)| s.params.iter().map(|(_, of)| of.clone())).filter(|t| named(t)));
        let natives: Vec<Native> = all
            .into_iter()
            .filter(|(s, ..)| !catalog::foreign(s))
            .map(|(signature, of, unit, global)| {
                let param = |(i, (_, text)): (usize, &(String, String))| accepts(of.get(i), text, &types);
                let accepts = signature.params.iter().enumerate().map(param).collect();
                let returns = match signature.returns.as_str() {
                    "" if unit => Type::unit(),
                    named if types.contains(named) => Type::named(named),
                    _ => Type::Any,
                };
                let global = global || signature.namespace.is_empty();
                Native { signature, accepts, returns, global }
            })
            .collect();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, native) in natives.iter().enumerate() {
            by_name.entry(native.signature.name.clone()).or_default().push(i);
        }
        let modules = natives.iter().map(|n| n.signature.namespace.clone()).filter(|n| !n.is_empty()).collect();
        Library { engine, natives, by_name, modules, tried: RefCell::default() }
    }

    /// Functions called `name` that need no module's name: operators, properties and methods too.
    pub(super) fn global<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Native> + use<'a> {
        let found = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        found.iter().map(|i| &self.natives[*i]).filter(|n| n.global)
    }

    /// Functions of the module `namespace` called `name`.
    pub(super) fn in_module<'a>(&'a self, namespace: &'a str, name: &str) -> impl Iterator<Item = &'a Native> {
        let found = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        found.iter().map(|i| &self.natives[*i]).filter(move |n| n.signature.namespace == namespace)
    }

    /// Whether there is a module called `name`.
    pub(super) fn has_module(&self, name: &str) -> bool {
        self.modules.contains(name)
    }

    /// The names of the modules.
    pub(super) fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().map(String::as_str)
    }

    /// Everything.
    pub(super) fn all(&self) -> impl Iterator<Item = &Native> {
        self.natives.iter()
    }

    /// The functions of `receiver` that are called with a dot: methods' names.
    pub(super) fn methods(&self, receiver: &Type) -> BTreeSet<&str> {
        let own = self.natives.iter().filter(|n| n.signature.callable() && n.is_own(receiver));
        own.map(|n| n.signature.name.as_str()).collect()
    }

    /// Properties of `receiver`: name and type.
    pub(super) fn properties(&self, receiver: &Type) -> BTreeMap<&str, Type> {
        let own = self.natives.iter().filter(|n| n.is_own(receiver));
        own.filter_map(|n| Some((n.signature.property()?, n.returns.clone()))).collect()
    }

    /// The result of `left OP right`, or of `OP left`: `None` if there is no such operation.
    pub(super) fn operation(&self, op: &str, left: &Type, right: Option<&Type>) -> Option<Type> {
        let args: Vec<Type> = std::iter::once(left).chain(right).cloned().collect();
        let (Some(l), Some(r)) = (left.name(), right.map_or(Some(""), Type::name)) else { return Some(Type::Any) };
        let basic = args.iter().all(Type::is_basic);
        if basic && let (Some(a), b) = (sample(l), right.map(|_| sample(r))) {
            let key = (op.to_string(), l.to_string(), right.map(|_| r.to_string()));
            return match b {
                Some(None) => Some(Type::Any),
                b => self.tried.borrow_mut().entry(key).or_insert_with(|| self.attempt(op, a, b.flatten())).clone(),
            };
        }
        if basic {
            return Some(Type::Any);
        }
        let fits = self.global(op).any(|n| n.fits(&args));
        // Comparisons of things that have none are false, not errors.
        (fits || matches!(op, "==" | "!=")).then(|| match op {
            "==" | "!=" if !fits => Type::named("bool"),
            _ => self.agreed(op, &args),
        })
    }

    /// What everything called `name` that takes `args` returns.
    pub(super) fn agreed(&self, name: &str, args: &[Type]) -> Type {
        result(self.global(name), args)
    }

    /// Runs the operation on sample values: Rhai's own table of them is not open to reading.
    fn attempt(&self, op: &str, left: Dynamic, right: Option<Dynamic>) -> Option<Type> {
        let mut scope = Scope::new();
        scope.push_dynamic("a", left);
        let text = match right {
            Some(right) => {
                scope.push_dynamic("b", right);
                format!("a {op} b")
            }
            None => format!("{op}a"),
        };
        match self.engine.eval_with_scope::<Dynamic>(&mut scope, &text) {
            Ok(value) => Some(Type::named(&catalog::friendly_type(self.engine, value.type_name()))),
            Err(err) => match *err {
                rhai::EvalAltResult::ErrorFunctionNotFound(..) => None,
                _ => Some(Type::Any),
            },
        }
    }
}

/// What those of `natives` that take `args` return, where they agree.
pub(super) fn result<'a>(natives: impl Iterator<Item = &'a Native>, args: &[Type]) -> Type {
    let mut results = natives.filter(|n| n.fits(args)).map(|n| &n.returns);
    let Some(first) = results.next() else { return Type::Any };
    if results.all(|r| r == first) { first.clone() } else { Type::Any }
}

fn last_is_unit(info: &rhai::FuncInfo) -> bool {
    info.metadata.params_info.get(info.metadata.num_params).is_some_and(|last| last == "()")
}

/// What a parameter takes: its Rust type decides; where that is any, the words of its signature do.
fn accepts(of: Option<&TypeId>, text: &str, types: &BTreeSet<String>) -> Accepts {
    let known = |name: &str| Accepts::OneOf(vec![name.to_string()]);
    let same = |id: TypeId| of == Some(&id);
    let rust: [(TypeId, &str); 9] = [
        (TypeId::of::<rhai::INT>(), "int"),
        (TypeId::of::<rhai::FLOAT>(), "float"),
        (TypeId::of::<bool>(), "bool"),
        (TypeId::of::<char>(), "char"),
        (TypeId::of::<rhai::Array>(), "array"),
        (TypeId::of::<rhai::Map>(), "map"),
        (TypeId::of::<rhai::Blob>(), "blob"),
        (TypeId::of::<rhai::FnPtr>(), "function"),
        (TypeId::of::<()>(), "()"),
    ];
    let text_types = [TypeId::of::<rhai::ImmutableString>(), TypeId::of::<String>(), TypeId::of::<&str>()];
    if let Some((_, name)) = rust.iter().find(|(id, _)| same(*id)) {
        return known(name);
    }
    if text_types.iter().any(|id| same(*id)) || same(TypeId::of::<str>()) {
        return known("string");
    }
    let named: Vec<String> = catalog::alternatives(text).into_iter().map(str::to_string).collect();
    if named.iter().all(|name| types.contains(name)) { Accepts::OneOf(named) } else { Accepts::Any }
}

/// A value of a type of Rhai's that operations can be tried on.
fn sample(of: &str) -> Option<Dynamic> {
    Some(match of {
        "int" => Dynamic::from_int(1),
        "float" => Dynamic::from_float(1.0),
        "bool" => Dynamic::TRUE,
        "char" => Dynamic::from_char('a'),
        "string" => "a".into(),
        "array" => Dynamic::from_array(Vec::new()),
        "map" => Dynamic::from_map(rhai::Map::new()),
        "()" => Dynamic::UNIT,
        _ => return None,
    })
}
