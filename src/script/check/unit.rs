//! One script as it is checked: its statements, its functions with the places of their names, what it declares.

use super::syntax::{self, Parsed};
use super::text::{self, Text};
use crate::script::catalog::{self, Signature};
use rhai::{AST, ASTFlags, ASTNode, Expr, Module, Position, Stmt};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

/// A function that the script defines.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) params: Vec<(String, Position)>,
    pub(super) private: bool,
    /// The type named in `fn Type.name()`.
    pub(super) this_type: Option<String>,
    pub(super) body: Vec<Stmt>,
    /// Where the name stands.
    pub(super) at: Position,
    pub(super) signature: Signature,
}

impl Function {
    /// `area(width, height)`.
    pub(super) fn heading(&self) -> String {
        let params: Vec<&str> = self.params.iter().map(|(name, _)| name.as_str()).collect();
        format!("{}({})", self.name, params.join(", "))
    }
}

/// One script or module.
#[derive(Debug)]
pub(super) struct Unit {
    /// The name that diagnostics show.
    pub(super) name: String,
    pub(super) folder: Option<PathBuf>,
    pub(super) parsed: Parsed,
    pub(super) statements: Vec<Stmt>,
    pub(super) functions: Vec<Function>,
    /// Closures by the name that Rhai gives them.
    pub(super) closures: HashMap<String, Function>,
    /// Constants of the top level, which functions see as `global::NAME`.
    pub(super) constants: BTreeSet<String>,
    /// Variables of the top level, constants included.
    pub(super) variables: BTreeSet<String>,
    /// Names exported to importers.
    pub(super) exports: BTreeSet<String>,
    /// Imports of the top level: alias and path, where the path is written out.
    pub(super) imports: BTreeMap<String, Option<String>>,
    /// Every key of a map in the text, and every key assigned: what a value that is not known may have.
    pub(super) keys: BTreeSet<String>,
    /// Paths of all imports, those inside functions too.
    pub(super) paths: BTreeSet<String>,
    /// Names that the script asks for before it uses them: `is_def_fn("f", 1)`.
    asked: BTreeSet<String>,
    /// `eval` may define names that are not in the text.
    pub(super) evaluates: bool,
}

impl Unit {
    /// Reads `text`.
    pub(super) fn read(name: &str, text: &str, folder: Option<PathBuf>) -> Unit {
        let parsed = syntax::parse(text);
        let statements = parsed.ast.statements().to_vec();
        let mut unit = Unit {
            name: name.to_string(),
            folder,
            statements,
            functions: Vec::new(),
            closures: HashMap::new(),
            constants: BTreeSet::new(),
            variables: BTreeSet::new(),
            exports: BTreeSet::new(),
            imports: BTreeMap::new(),
            keys: BTreeSet::new(),
            paths: BTreeSet::new(),
            asked: BTreeSet::new(),
            evaluates: false,
            parsed,
        };
        unit.define(&Text::new(text));
        unit.declare();
        unit.look_around();
        unit
    }

    fn define(&mut self, text: &Text) {
        let documented: HashMap<(String, usize), String> = self
            .parsed
            .ast
            .iter_functions()
            .map(|f| ((f.name.to_string(), f.params.len()), catalog::comment(f.comments.iter().copied())))
            .collect();
        for def in self.parsed.ast.iter_fn_def() {
            let name = def.name.to_string();
            let closure = name.starts_with("anon$");
            let start = def.body.start_position();
            let (at, named) = if closure { (start, Vec::new()) } else { text.heading(start) };
            let place = |p: &str| named.iter().find(|(n, _)| n == p).map_or(at, |(_, at)| *at);
            let params: Vec<_> = def.params.iter().map(|p| (p.to_string(), place(p))).collect();
            let doc = documented.get(&(name.clone(), params.len())).cloned().unwrap_or_default();
            let function = Function {
                body: body(&AST::new([], Module::from([def.clone()]))),
                private: def.access.is_private(),
                this_type: def.this_type.as_ref().map(ToString::to_string),
                signature: Signature {
                    doc: doc.clone(),
                    ..Signature::of_script(&name, params.iter().map(|(p, _)| p.as_str()))
                },
                name: name.clone(),
                params,
                at,
            };
            if closure {
                self.closures.insert(name, function);
            } else {
                self.functions.push(function);
            }
        }
        self.functions.sort_by_key(|f| text::place(f.at));
    }

    fn declare(&mut self) {
        for statement in &self.statements {
            match statement {
                Stmt::Var(var, flags, _) => {
                    let name = var.0.name.to_string();
                    if flags.contains(ASTFlags::EXPORTED) {
                        self.exports.insert(name.clone());
                    }
                    if flags.contains(ASTFlags::CONSTANT) {
                        self.constants.insert(name.clone());
                    }
                    self.variables.insert(name);
                }
                Stmt::Export(pair, _) => {
                    let shown = if pair.1.name.is_empty() { &pair.0.name } else { &pair.1.name };
                    self.exports.insert(shown.to_string());
                }
                Stmt::Import(pair, _) => {
                    self.imports.insert(pair.1.name.to_string(), import_path(&pair.0).map(str::to_string));
                }
                _ => {}
            }
        }
    }

    fn look_around(&mut self) {
        let (mut keys, mut paths, mut asked) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut evaluates = false;
        self.parsed.ast.walk(&mut |path: &[ASTNode]| {
            match path.last() {
                Some(ASTNode::Expr(Expr::Map(map, _))) => {
                    keys.extend(map.0.iter().map(|(key, _)| key.name.to_string()));
                }
                Some(ASTNode::Expr(Expr::FnCall(call, _))) | Some(ASTNode::Stmt(Stmt::FnCall(call, _))) => {
                    evaluates |= call.name == "eval";
                    if let ("is_def_fn" | "is_def_var", Some(Expr::StringConstant(name, _))) =
                        (call.name.as_str(), call.args.first())
                    {
                        asked.insert(name.to_string());
                    }
                }
                Some(ASTNode::Stmt(Stmt::Assignment(pair))) => {
                    keys.extend(last_property(&pair.1.lhs).map(str::to_string));
                }
                Some(ASTNode::Stmt(Stmt::Import(pair, _))) => {
                    paths.extend(import_path(&pair.0).map(str::to_string));
                }
                _ => {}
            }
            true
        });
        (self.keys, self.paths, self.asked, self.evaluates) = (keys, paths, asked, evaluates);
    }

    /// Whether `name` may be defined in text that could not be read or is made while the script runs, or need not be.
    pub(super) fn unsure(&self, name: &str) -> bool {
        self.evaluates || self.asked.contains(name) || self.parsed.defined.contains(name)
    }

    /// The functions called `name` that importers may call.
    pub(super) fn public<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Function> {
        self.functions.iter().filter(move |f| !f.private && f.this_type.is_none() && f.name == name)
    }

    /// Whether the script does something by itself, as opposed to defining things for others.
    pub(super) fn runs(&self) -> bool {
        let defines = |s: &Stmt| {
            matches!(s, Stmt::Import(..) | Stmt::Export(..) | Stmt::Noop(_))
                || matches!(s, Stmt::Var(_, flags, _) if flags.contains(ASTFlags::CONSTANT))
        };
        !self.statements.iter().all(defines)
    }
}

/// The path of an import, where it is written out.
pub(super) fn import_path(path: &Expr) -> Option<&str> {
    match path {
        Expr::StringConstant(path, _) => Some(path.as_str()),
        _ => None,
    }
}

/// The statements of the only function of `ast`.
fn body(ast: &AST) -> Vec<Stmt> {
    let mut found = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        if let [ASTNode::Stmt(statement)] = path {
            found.push((*statement).clone());
        }
        true
    });
    found
}

/// The property at the end of `a.b[0].c`.
fn last_property(chain: &Expr) -> Option<&str> {
    match chain {
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => last_property(&pair.rhs),
        Expr::Property(property, _) => Some(property.2.as_str()),
        Expr::StringConstant(key, _) => Some(key.as_str()),
        _ => None,
    }
}
