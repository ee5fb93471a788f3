//! What is in reach of an input, without the values themselves: the line editor keeps it while inputs run, and a kept
//! value would be memory that a script cannot free.

use super::commands::Completes;
use super::prompt::{Prompt, visible};
use crate::script::catalog::{Kind, Signature, alternatives, comment, friendly_type};
use crate::script::plain_name;
use rhai::{Array, Dynamic, Engine, FnAccess, Map, Module, ScriptFuncDef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// As much of a value as completion needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outline {
    /// A value of this type.
    Of(String),
    /// A map, by its keys.
    Map(BTreeMap<String, Outline>),
    /// An array, by its first element.
    Array(Option<Box<Outline>>),
}

/// Maps are looked into this deep.
const DEPTH: usize = 4;
/// Keys that are looked at in one map.
const KEYS: usize = 500;

impl Outline {
    /// The outline of `value`.
    pub(super) fn of(engine: &Engine, value: &Dynamic) -> Self {
        Self::within(engine, value, DEPTH)
    }

    fn within(engine: &Engine, value: &Dynamic, depth: usize) -> Self {
        let Some(deeper) = depth.checked_sub(1) else { return Outline::of_type("any") };
        if let Some(map) = value.read_lock::<Map>() {
            let keys = map.iter().take(KEYS).map(|(k, v)| (k.to_string(), Self::within(engine, v, deeper)));
            return Outline::Map(keys.collect());
        }
        if let Some(array) = value.read_lock::<Array>() {
            return Outline::Array(array.first().map(|v| Box::new(Self::within(engine, v, deeper))));
        }
        Outline::Of(friendly_type(engine, value.type_name()))
    }

    /// Any value of the type called `name`.
    pub(super) fn of_type(name: &str) -> Self {
        match name {
            "map" => Outline::Map(BTreeMap::new()),
            "array" => Outline::Array(None),
            name => Outline::Of(name.to_string()),
        }
    }

    /// The type's name, in the script's words.
    pub(super) fn type_name(&self) -> &str {
        match self {
            Outline::Of(name) => name,
            Outline::Map(_) => "map",
            Outline::Array(_) => "array",
        }
    }
}

/// See the module's description.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// Variables.
    pub(super) variables: BTreeMap<String, Outline>,
    /// Functions of the script or session.
    pub(super) functions: Vec<Signature>,
    /// Imported modules.
    pub(super) modules: Vec<(String, Arc<[Signature]>)>,
    /// Registered functions.
    pub(super) catalog: Arc<[Signature]>,
    /// The words behind a colon, and what may follow each.
    pub(super) commands: Vec<(&'static str, Completes)>,
}

impl Names {
    /// What is in reach of `prompt`, which knows `commands`.
    pub(super) fn of(prompt: &dyn Prompt, commands: Vec<(&'static str, Completes)>) -> Self {
        let variables = visible(prompt.scope()).into_iter();
        Names {
            variables: variables.map(|(n, _, v)| (n.to_string(), Outline::of(prompt.engine(), v))).collect(),
            functions: prompt.functions(),
            modules: prompt.modules(),
            catalog: prompt.catalog(),
            commands,
        }
    }

    /// Functions that are called by name alone.
    pub(super) fn free(&self) -> impl Iterator<Item = &Signature> {
        let of_host = self.catalog.iter().filter(|s| s.namespace.is_empty() && s.kind == Kind::Function);
        self.functions.iter().chain(of_host)
    }

    /// Words of the language that are ours.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        let words = self.catalog.iter().filter(|s| s.kind == Kind::Syntax).map(|s| s.name.as_str());
        words.filter(|w| rhai::is_valid_identifier(w))
    }

    /// Functions of the module written `path`.
    pub(super) fn of_module<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a Signature> {
        let imported = self.modules.iter().filter(move |(name, _)| name == path).flat_map(|(_, all)| all.iter());
        imported.chain(self.catalog.iter().filter(move |s| s.namespace == path))
    }

    /// Properties, methods and indexers of values of type `of`.
    pub(super) fn members<'a>(&'a self, of: &str) -> impl Iterator<Item = &'a Signature> {
        let member = |s: &&Signature| matches!(s.kind, Kind::Method | Kind::Property | Kind::Indexer);
        self.catalog.iter().filter(member).filter(move |s| s.object().is_some_and(|o| alternatives(o).contains(&of)))
    }

    /// Names of all modules that can be used without an import, and of the imported ones.
    pub(super) fn module_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.catalog.iter().map(|s| s.namespace.as_str()).collect();
        names.retain(|n| !n.is_empty() && !n.contains('/'));
        names.extend(self.modules.iter().map(|(name, _)| name.as_str()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Names of the host's types.
    pub(super) fn types(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.catalog.iter().filter_map(Signature::object).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The functions that a script defines for others.
pub(super) fn scripted(namespace: &str, module: &Module) -> Vec<Signature> {
    // Closures, and the second names under which a script calls its own, are nobody else's.
    let named = |name: &str| plain_name(name) == name && !name.starts_with("anon$");
    let public = module.iter_script_fn_info().filter(|(_, access, ..)| *access == FnAccess::Public);
    public.filter(|(_, _, name, ..)| named(name)).map(|(.., function)| signature(namespace, function)).collect()
}

fn signature(namespace: &str, function: &ScriptFuncDef) -> Signature {
    Signature {
        namespace: namespace.to_string(),
        doc: comment(function.comments.iter().map(|c| c.as_str())),
        ..Signature::of_script(&function.name, function.params.iter().map(|p| p.as_str()))
    }
}
