//! One reading of a script: every statement in its place, with what is known there.

use super::flow::Flow;
use super::scope::{Block, Import, Kind, Knowledge, Scopes, Var};
use super::text;
use super::types::Type;
use super::unit::{self, Function, Unit};
use super::{CERTAIN, Checker, near_help};
use crate::script::{Diagnostic, Place, explain::habits, locate};
use rhai::{ASTFlags, Expr, Position, Stmt, StmtBlock};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What is found while reading one script.
pub(super) struct Walk<'a> {
    pub(super) cx: &'a Checker<'a>,
    pub(super) unit: &'a Unit,
    /// From the readings before.
    known: Knowledge,
    /// For the next reading.
    pub(super) found: Knowledge,
    pub(super) scopes: Scopes,
    /// Problems, and whether they end the script for certain.
    out: Vec<(Diagnostic, bool)>,
    /// Those that are wanted.
    dropped: Vec<(Diagnostic, bool)>,
    /// What `options()` returns, once it was called.
    pub(super) options: Option<Rc<BTreeMap<String, Type>>>,
    /// Closures around whose failing is what is wanted.
    pub(super) wanted: usize,
    /// `try` blocks around.
    tries: usize,
    /// The function whose body is read.
    pub(super) function: Option<&'a Function>,
    pub(super) loops: usize,
    /// Blocks around that record no history.
    pub(super) no_grad: usize,
    /// Names of functions that are called or named.
    pub(super) called: BTreeSet<String>,
    /// Top-level names that functions use: constants by `global::`, imports by their alias.
    pub(super) from_functions: BTreeSet<String>,
}

/// Reads `unit` until nothing new is learnt, and returns what the last reading found,
/// and whether it is certain to end the script there.
pub(super) fn read(cx: &Checker, unit: &Unit) -> Vec<(Diagnostic, bool)> {
    let mut known = Knowledge::default();
    // Each round adds at least one of the script's variables to what is known.
    loop {
        let mut walk = Walk::new(cx, unit, known.clone());
        walk.script();
        if walk.found == known {
            return walk.out;
        }
        known = walk.found;
    }
}

impl<'a> Walk<'a> {
    fn new(cx: &'a Checker<'a>, unit: &'a Unit, known: Knowledge) -> Self {
        Walk {
            cx,
            unit,
            found: known.clone(),
            known,
            scopes: Scopes::default(),
            out: Vec::new(),
            dropped: Vec::new(),
            options: None,
            wanted: 0,
            tries: 0,
            function: None,
            loops: 0,
            no_grad: 0,
            called: BTreeSet::new(),
            from_functions: BTreeSet::new(),
        }
    }

    fn script(&mut self) {
        for function in &self.unit.functions {
            self.function(function);
        }
        self.scopes.0.push(Block::default());
        self.statements(&self.unit.statements);
        if let Some(block) = self.scopes.0.pop() {
            self.unused(block);
        }
        self.unused_functions();
    }

    fn function(&mut self, function: &'a Function) {
        self.function = Some(function);
        // Functions see the imports of the top level, and none of its variables.
        let imports = self.unit.imports.iter().map(|(alias, path)| Import {
            alias: alias.clone(),
            at: Position::NONE,
            module: path.as_ref().and_then(|p| self.cx.module(self.unit, p).ok()),
            used: true,
        });
        let imports = imports.collect();
        self.scopes.0.push(Block { vars: Vec::new(), imports });
        self.scopes.0.push(Block::default());
        for (name, at) in &function.params {
            self.declare(Var::new(name, *at, Kind::Param, Type::Any));
        }
        self.statements(&function.body);
        if let Some(block) = self.scopes.0.pop() {
            self.unused(block);
        }
        self.scopes.0.pop();
        self.function = None;
    }

    /// A closure: sees the variables around it.
    pub(super) fn closure(&mut self, function: &'a Function, captured: usize) {
        let loops = std::mem::take(&mut self.loops);
        self.scopes.0.push(Block::default());
        for (name, at) in function.params.iter().skip(captured) {
            self.declare(Var { read: true, ..Var::new(name, *at, Kind::Param, Type::Any) });
        }
        self.statements(&function.body);
        if let Some(block) = self.scopes.0.pop() {
            self.unused(block);
        }
        self.loops = loops;
    }

    /// Statements in a block of their own.
    pub(super) fn block(&mut self, block: &'a StmtBlock) -> Flow {
        self.block_with(block, None)
    }

    fn block_with(&mut self, block: &'a StmtBlock, var: Option<Var>) -> Flow {
        self.scopes.0.push(Block::default());
        if let Some(var) = var {
            self.declare(var);
        }
        let flow = self.statements(block.statements());
        if let Some(block) = self.scopes.0.pop() {
            self.unused(block);
        }
        flow
    }

    fn looped(&mut self, block: &'a StmtBlock, vars: Vec<Var>) {
        self.loops += 1;
        self.scopes.0.push(Block::default());
        vars.into_iter().for_each(|v| self.declare(v));
        self.statements(block.statements());
        if let Some(block) = self.scopes.0.pop() {
            self.unused(block);
        }
        self.loops -= 1;
    }

    fn statement(&mut self, statement: &'a Stmt) -> Flow {
        match statement {
            Stmt::If(parts, _) => {
                self.condition(&parts.expr);
                let (then, other) = (self.block(&parts.body), self.block(&parts.branch));
                then.or(other)
            }
            Stmt::Switch(parts, _) => {
                self.expr(&parts.0);
                let mut flow: Option<Flow> = None;
                for case in &parts.1.expressions {
                    self.condition(&case.lhs);
                    let this = match &case.rhs {
                        Expr::Stmt(block) => self.block(block),
                        other => Flow::of(self.expr(other)),
                    };
                    flow = Some(flow.map_or_else(|| this.clone(), |f| f.or(this.clone())));
                }
                let rest = if parts.1.def_case.is_none() { Some(Flow::of(Type::unit())) } else { None };
                flow.into_iter().chain(rest).reduce(Flow::or).unwrap_or_else(|| Flow::of(Type::unit()))
            }
            Stmt::While(parts, _) => {
                if !matches!(parts.expr, Expr::Unit(_)) {
                    self.condition(&parts.expr);
                }
                self.looped(&parts.body, Vec::new());
                Flow::of(Type::Any)
            }
            Stmt::Do(parts, ..) => {
                self.looped(&parts.body, Vec::new());
                self.condition(&parts.expr);
                Flow::of(Type::Any)
            }
            Stmt::For(parts, _) => {
                let (name, counter, parts) = &**parts;
                let item = self.iterated(&parts.expr);
                let mut vars = vec![Var::new(&name.name, name.pos, Kind::Loop, item)];
                vars.extend(counter.iter().map(|c| Var::new(&c.name, c.pos, Kind::Loop, Type::named("int"))));
                self.looped(&parts.body, vars);
                Flow::of(Type::Any)
            }
            Stmt::Var(parts, flags, _) => {
                let (name, value, _) = &**parts;
                let before = self.scopes.own(&name.name).map(|v| std::mem::take(&mut v.read));
                let of = self.expr(value);
                // `let x = x + 1` goes on with what `x` was.
                let goes_on = self.scopes.own(&name.name).is_some_and(|v| v.read);
                if let (Some(true), Some(first)) = (before, self.scopes.own(&name.name)) {
                    first.read = true;
                }
                let constant = flags.contains(ASTFlags::CONSTANT);
                let options = constant && name.name == "OPTIONS" && self.scopes.0.len() == 1;
                let mut var = Var::new(&name.name, name.pos, if constant { Kind::Const } else { Kind::Let }, of);
                var.exported = flags.contains(ASTFlags::EXPORTED) || options;
                if !matches!(value, Expr::Unit(_)) && var.of == Type::unit() {
                    self.no_value(value, &name.name);
                }
                if !goes_on {
                    self.shadowed(&var);
                }
                self.declare(var);
                Flow::of(Type::unit())
            }
            Stmt::Assignment(parts) => {
                self.assignment(&parts.0, &parts.1);
                Flow::of(Type::unit())
            }
            Stmt::FnCall(call, at) => Flow::of(self.call(call, *at)),
            Stmt::Block(block) => self.block(block),
            Stmt::TryCatch(parts, _) => {
                self.tries += 1;
                let body = self.block(&parts.body);
                self.tries -= 1;
                let var = match &parts.expr {
                    Expr::Variable(var, _, at) => Some(Var::new(&var.1, *at, Kind::Catch, Type::Any)),
                    _ => None,
                };
                // An error may come before the body ends.
                let branch = self.block_with(&parts.branch, var);
                body.or(branch)
            }
            Stmt::Expr(value) => match &**value {
                Expr::Stmt(block) => self.value_block(block),
                value => Flow::of(self.expr(value)),
            },
            Stmt::BreakLoop(value, ..) | Stmt::Return(value, ..) => {
                if let Some(value) = value {
                    self.expr(value);
                }
                Flow::END
            }
            Stmt::Import(parts, _) => {
                self.import(&parts.0, &parts.1.name, parts.1.pos);
                Flow::of(Type::unit())
            }
            Stmt::Export(parts, _) => {
                match self.scopes.var(&parts.0.name) {
                    Some(var) => var.exported = true,
                    None => self.unknown_variable(&parts.0.name, parts.0.pos),
                }
                Flow::of(Type::unit())
            }
            Stmt::Share(captured) => {
                for (name, _) in captured.iter() {
                    if let Some(var) = self.scopes.var(&name.name) {
                        self.found.open.insert(text::place(var.at));
                        self.found.needed.insert(text::place(var.at));
                    }
                }
                Flow::of(Type::unit())
            }
            _ => Flow::of(Type::unit()),
        }
    }

    pub(super) fn statements(&mut self, statements: &'a [Stmt]) -> Flow {
        let mut flow = Flow::of(Type::unit());
        let mut told = false;
        for (i, statement) in statements.iter().enumerate() {
            let silent = matches!(statement, Stmt::Noop(_) | Stmt::Share(_));
            if flow.ends && !told && !silent {
                told = true;
                self.unreachable(&statements[i - 1], statement);
            }
            if i + 1 < statements.len() {
                self.without_effect(statement);
            }
            let next = self.statement(statement);
            flow = Flow { ends: flow.ends || next.ends, ..next };
        }
        flow
    }

    fn import(&mut self, path: &'a Expr, alias: &str, alias_at: Position) {
        let module = match unit::import_path(path) {
            None => {
                self.expr(path);
                None
            }
            Some(name) => match self.cx.module(self.unit, name) {
                Ok(module) => {
                    if let Some(cycle) = self.cx.cycle(self.unit, &module) {
                        self.error("import", format!("cyclic import: {}", cycle.join(" -> ")), path.position())
                            .push("move what both need into a third module".into());
                    }
                    Some(module)
                }
                Err(err) => {
                    let help = err.help();
                    self.error("import", err.to_string(), path.position()).extend(help.map(|h| h.to_string()));
                    None
                }
            },
        };
        if alias.is_empty() {
            return;
        }
        let again = self.scopes.import(alias).filter(|i| !i.at.is_none()).map(|first| {
            // One remark for one mistake.
            first.used = true;
            first.at
        });
        if let Some(first) = again {
            self.warning_after(first, format!("`{alias}` is already the alias of another import"), alias_at)
                .push("give one of them another name".into());
        } else if self.cx.library.has_module(alias) {
            self.warning("shadowed", format!("`{alias}` hides the built-in module `{alias}`"), alias_at)
                .push(format!("import it under another name: `as my_{alias}`"));
        }
        if let Some(block) = self.scopes.0.last_mut() {
            block.imports.push(Import { alias: alias.to_string(), at: alias_at, used: module.is_none(), module });
        }
    }

    /// Adds a variable, with what the readings before have learnt of it.
    pub(super) fn declare(&mut self, mut var: Var) {
        let key = text::place(var.at);
        var.loops = self.loops;
        if self.known.loose.contains(&key) || self.unit.parsed.assigned.contains(&var.name) {
            var.of = Type::Any;
        } else if self.known.open.contains(&key) {
            var.of = var.of.open();
        }
        self.scopes.declare(var);
    }

    /// Whether the readings before have seen that something is done with the variable declared at `at`.
    pub(super) fn needed(&self, at: Position) -> bool {
        self.known.needed.contains(&text::place(at))
    }

    /// Adds an error; the list that comes back takes help.
    pub(super) fn error(&mut self, code: &str, message: impl Into<String>, at: Position) -> &mut Vec<String> {
        let place = Some(self.place(at));
        let diagnostic = Diagnostic::new(code, message);
        // What does not fit is the whole expression; what does not exist is the name alone.
        let diagnostic = match code {
            "type" | "arguments" | "unknown-operator" => diagnostic.at_expression(place, self.cx.sources()),
            _ => diagnostic.at(place, self.cx.sources()),
        };
        let certain = self.tries == 0 && CERTAIN.contains(&code);
        self.add(diagnostic, certain)
    }

    /// Adds a warning; the list that comes back takes help.
    pub(super) fn warning(&mut self, code: &str, message: impl Into<String>, at: Position) -> &mut Vec<String> {
        let diagnostic = Diagnostic::warning(code, message).at(Some(self.place(at)), self.cx.sources());
        self.add(diagnostic, false)
    }

    /// Adds a warning about a name that another one at `first` has; the list that comes back takes help.
    pub(super) fn warning_after(&mut self, first: Position, message: String, at: Position) -> &mut Vec<String> {
        let label = locate::word(self.place(first), self.cx.sources());
        let diagnostic = Diagnostic::warning("shadowed", message).at(Some(self.place(at)), self.cx.sources());
        self.add(diagnostic.with_label(label, "first here", self.cx.sources()), false)
    }

    /// Adds a second place to the error just added.
    pub(super) fn label(&mut self, spot: (Place, usize), text: String) {
        let list = if self.wanted > 0 { &mut self.dropped } else { &mut self.out };
        if let Some((diagnostic, certain)) = list.pop() {
            list.push((diagnostic.with_label(spot, text, self.cx.sources()), certain));
        }
    }

    fn add(&mut self, diagnostic: Diagnostic, certain: bool) -> &mut Vec<String> {
        let list = if self.wanted > 0 { &mut self.dropped } else { &mut self.out };
        list.push((diagnostic, certain));
        let last = list.len() - 1;
        &mut list[last].0.help
    }

    pub(super) fn place(&self, at: Position) -> Place {
        let (line, column) = text::place(at);
        Place { file: self.unit.name.clone(), line, column }
    }

    /// A name that means nothing here.
    pub(super) fn unknown_variable(&mut self, name: &str, at: Position) {
        if self.unit.unsure(name) {
            return;
        }
        let hidden = self.function.is_some() && self.unit.variables.contains(name);
        let constant = hidden && self.unit.constants.contains(name);
        let callable = self.cx.library.global(name).any(|n| n.signature.callable());
        let method = self.cx.library.has_module(name);
        let names = self.scopes.names();
        let path = locate::path(&self.place(at), self.cx.sources());
        let habit = habits::variable(name, &path, self.cx.library.all().map(|n| &n.signature));
        let help = match (hidden, constant) {
            (_, true) => Some(format!("functions see constants of the script as `global::{name}`")),
            (true, _) => Some(format!(
                "functions do not see variables from outside: pass `{name}` as an argument, or use a closure"
            )),
            _ if habit.is_some() => habit,
            _ if callable => Some(format!("`{name}` is a function: call it as `{name}(..)`")),
            _ if method => Some(format!("`{name}` is a module: its functions are `{name}::..`")),
            _ => near_help(name, names.iter().map(String::as_str)),
        };
        if hidden {
            self.from_functions.insert(name.to_string());
        }
        self.error("unknown-variable", format!("no variable `{name}`"), at).extend(help);
    }
}
