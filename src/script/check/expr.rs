//! Expressions: their types, and what in them cannot work.

use super::flow::Flow;
use super::text;
use super::types::Type;
use super::walk::Walk;
use crate::engine::autograd::Autocast;
use rhai::{ASTFlags, BinaryExpr, Dynamic, Expr, FnPtr, OpAssignment, Position, Stmt, StmtBlock};
use std::collections::BTreeMap;
use std::rc::Rc;

impl<'a> Walk<'a> {
    /// The type of `expr`; what is wrong in it is reported.
    pub(super) fn expr(&mut self, expr: &'a Expr) -> Type {
        if let Some(constant) = Type::of_constant(expr)
            && !matches!(expr, Expr::InterpolatedString(..))
        {
            return constant;
        }
        match expr {
            Expr::InterpolatedString(parts, _) => {
                // A sum that is only shown needs no history.
                let needed = self.found.needed.clone();
                parts.iter().for_each(|part| drop(self.expr(part)));
                self.found.needed = needed;
                Type::named("string")
            }
            Expr::DynamicConstant(value, _) => self.constant(value),
            Expr::Array(items, _) => {
                items.iter().for_each(|item| drop(self.expr(item)));
                Type::named("array")
            }
            Expr::Map(map, _) => {
                let keys: BTreeMap<String, Type> =
                    map.0.iter().map(|(key, value)| (key.name.to_string(), self.expr(value))).collect();
                Type::Map(Rc::new(keys))
            }
            Expr::Variable(var, _, at) if !var.2.is_empty() => self.module_variable(&var.2, &var.1, *at),
            Expr::Variable(var, _, at) => self.variable(&var.1, *at),
            Expr::Stmt(block) => self.value_block(block).of,
            Expr::FnCall(call, at) => self.call(call, *at),
            Expr::Dot(..) | Expr::Index(..) => self.chain(expr, None),
            Expr::And(parts, _) | Expr::Or(parts, _) => {
                parts.iter().for_each(|part| self.condition(part));
                Type::named("bool")
            }
            Expr::Coalesce(parts, _) => {
                let types: Vec<Type> = parts.iter().map(|part| self.expr(part)).collect();
                types.into_iter().filter(|t| !t.is("()")).reduce(|a, b| a.or(&b)).unwrap_or(Type::Any)
            }
            Expr::Custom(custom, _) => {
                let no_grad = custom.tokens.first().is_some_and(|t| t == "no_grad");
                if custom.tokens.first().is_some_and(|t| t == "autocast") {
                    self.policy(custom.inputs.first());
                }
                self.no_grad += usize::from(no_grad);
                let of = custom.inputs.iter().map(|input| self.expr(input)).last().unwrap_or(Type::Any);
                self.no_grad -= usize::from(no_grad);
                of
            }
            _ => Type::Any,
        }
    }

    /// The policy of `autocast`, where it is written out.
    fn policy(&mut self, policy: Option<&Expr>) {
        match policy {
            Some(Expr::StringConstant(name, at)) => {
                if let Err(err) = Autocast::parse(name) {
                    let help = err.help().map(|help| help.to_string());
                    self.error("type", err.to_string(), *at).extend(help);
                }
            }
            Some(constant) => {
                if let Some(of) = Type::of_constant(constant).filter(|of| !of.is("string")) {
                    let help = "policies are \"off\", \"bf16\" and \"f16\"".to_string();
                    let message = format!("autocast: the policy must be a string, not {of}");
                    self.error("type", message, start(constant)).push(help);
                }
            }
            None => {}
        }
    }

    fn constant(&mut self, value: &Dynamic) -> Type {
        if let Some(function) = value.read_lock::<FnPtr>() {
            self.function_pointer(function.fn_name(), 0);
            return Type::named("function");
        }
        Type::Any
    }

    /// A block with a value; a closure that captures variables is one for Rhai.
    pub(super) fn value_block(&mut self, block: &'a StmtBlock) -> Flow {
        if let [share @ Stmt::Share(captured), Stmt::Expr(curry)] = block.statements()
            && let Expr::FnCall(call, _) = &**curry
            && let Some(Expr::DynamicConstant(value, _)) = call.args.first()
            && let Some(function) = value.read_lock::<FnPtr>()
        {
            self.statements(std::slice::from_ref(share));
            self.function_pointer(function.fn_name(), captured.len());
            return Flow::of(Type::named("function"));
        }
        self.block(block)
    }

    fn function_pointer(&mut self, name: &str, captured: usize) {
        match self.unit.closures.get(name) {
            Some(closure) => self.closure(closure, captured),
            None => drop(self.called.insert(name.to_string())),
        }
    }

    fn variable(&mut self, name: &str, at: Position) -> Type {
        if let Some(var) = self.scopes.var(name) {
            var.read = true;
            let (of, declared) = (var.of.clone(), text::place(var.at));
            self.found.needed.insert(declared);
            return of;
        }
        if self.unit.functions.iter().any(|f| f.name == name) {
            self.called.insert(name.to_string());
            return Type::named("function");
        }
        self.unknown_variable(name, at);
        Type::Any
    }

    /// Something that must be true or false.
    pub(super) fn condition(&mut self, expr: &'a Expr) {
        let of = self.expr(expr);
        if let Some(name) = of.name()
            && name != "bool"
        {
            let help = match name {
                "int" | "float" => Some("compare it: `!= 0`"),
                "string" => Some("compare it: `!= \"\"`"),
                "array" | "map" => Some("ask for its length: `.len > 0`"),
                "()" => Some("compare it: `!= ()`"),
                _ => None,
            };
            let help = help.map(str::to_string);
            self.error("type", format!("expected bool, found {name}"), start(expr)).extend(help);
        }
    }

    /// What `for` walks over: the type of its items.
    pub(super) fn iterated(&mut self, expr: &'a Expr) -> Type {
        let of = self.expr(expr);
        match of.name() {
            Some("string") => Type::named("char"),
            Some("range") => Type::named("int"),
            Some("Windows") => Type::named("array"),
            Some(name @ ("int" | "float" | "bool" | "()" | "map" | "function" | "char")) => {
                let help = match name {
                    "int" => "for the numbers below it, write `0..n`".to_string(),
                    "map" => "walk over its `.keys()`".to_string(),
                    _ => "`for` takes arrays, ranges and strings".to_string(),
                };
                self.error("type", format!("a value of type {name} cannot be looped over"), start(expr)).push(help);
                Type::Any
            }
            _ => Type::Any,
        }
    }

    /// `left = right`, `left += right`.
    pub(super) fn assignment(&mut self, op: &'a OpAssignment, sides: &'a BinaryExpr) {
        let value = self.expr(&sides.rhs);
        let operator = op.get_op_assignment_info().map(|(.., syntax)| syntax);
        match &sides.lhs {
            Expr::Variable(name, _, at) => self.assign_variable(&name.1, *at, operator, &value, op.position()),
            Expr::Dot(..) | Expr::Index(..) => {
                let value = if operator.is_some() { Type::Any } else { value };
                self.chain(&sides.lhs, Some(value));
            }
            _ => {}
        }
    }

    fn assign_variable(&mut self, name: &str, at: Position, op: Option<&str>, value: &Type, op_at: Position) {
        let loops = self.loops;
        let Some(var) = self.scopes.var(name) else { return self.unknown_variable(name, at) };
        var.written = true;
        let (before, declared, outer) = (var.of.clone(), var.at, var.loops < loops);
        let after = match op {
            None => value.clone(),
            Some(op) => self.operation(op, &before, Some(value), op_at),
        };
        if after != before {
            self.found.loose.insert(text::place(declared));
        }
        if op == Some("+") && outer && self.no_grad == 0 && value.is("Tensor") && !self.needed(declared) {
            self.warning("kept-graph", format!("`{name}` keeps the history of every step that is added to it"), at)
                .push("add the number: `.item()`".into());
        }
    }

    /// `a.b[c].d(e)`; `assigned` is the type of what is stored in it.
    pub(super) fn chain(&mut self, expr: &'a Expr, assigned: Option<Type>) -> Type {
        let Some((mut pair, mut dot, mut flags, mut at)) = link(expr) else { return Type::Any };
        let root = match &pair.lhs {
            Expr::Variable(var, ..) if var.2.is_empty() => Some(var.1.to_string()),
            _ => None,
        };
        let number = matches!(&pair.rhs, Expr::MethodCall(call, _) if call.name == "item");
        let needed = number.then(|| self.found.needed.clone());
        let mut receiver = match (&root, &assigned) {
            (Some(name), Some(_)) => self.changed(name, pair.lhs.position()),
            _ => self.expr(&pair.lhs),
        };
        if let Some(needed) = needed {
            self.found.needed = needed;
        }
        let mut first = true;
        loop {
            // Behind a dot, what follows is always the rest of the chain; in brackets it may be the index itself.
            let next = link(&pair.rhs).filter(|_| dot || !flags.contains(ASTFlags::BREAK));
            let step = next.map_or(&pair.rhs, |(inner, ..)| &inner.lhs);
            let stored = if next.is_none() { assigned.as_ref() } else { None };
            if flags.contains(ASTFlags::NEGATED) {
                receiver = Type::Any;
            }
            if first && let (Some(name), Expr::MethodCall(call, _)) = (&root, step) {
                self.may_change(name, &call.name);
            }
            receiver = match step {
                Expr::Property(property, at) if dot => self.property(&receiver, &property.2, *at, stored),
                Expr::MethodCall(call, at) if dot => self.method(&receiver, call, *at),
                index => self.index(&receiver, index, at),
            };
            first = false;
            match next {
                Some(inner) => (pair, dot, flags, at) = inner,
                None => return receiver,
            }
        }
    }

    /// The variable `name`, something in which is stored anew.
    fn changed(&mut self, name: &str, at: Position) -> Type {
        let Some(var) = self.scopes.var(name) else {
            self.unknown_variable(name, at);
            return Type::Any;
        };
        var.read = true;
        let (of, declared, kind) = (var.of.clone(), text::place(var.at), var.kind);
        self.found.open.insert(declared);
        self.found.needed.insert(declared);
        if kind == super::scope::Kind::Const && (of.is("map") || of.is("array")) {
            self.error("constant", format!("`{name}` is a constant"), at).push("declare it with `let`".into());
        }
        of
    }

    /// The variable `name` is the receiver of `method`, which may change its keys.
    pub(super) fn may_change(&mut self, name: &str, method: &str) {
        let scripted = self.unit.functions.iter().any(|f| f.name == method);
        const KEEP: [&str; 12] = [
            "get",
            "contains",
            "keys",
            "values",
            "len",
            "is_empty",
            "to_json",
            "to_string",
            "to_debug",
            "type_of",
            "filter",
            "item",
        ];
        if !KEEP.contains(&method)
            && let Some(var) = self.scopes.var(name)
        {
            let declared = text::place(var.at);
            self.found.open.insert(declared);
            if scripted {
                // A function of the script may store anything in `this`.
                self.found.loose.insert(declared);
            }
        }
    }

    /// `receiver[index]`.
    fn index(&mut self, receiver: &Type, index: &'a Expr, at: Position) -> Type {
        let by = self.expr(index);
        if let (Type::Map(keys), Expr::StringConstant(key, _)) = (receiver, index) {
            return keys.get(key.as_str()).cloned().unwrap_or(Type::Any);
        }
        if receiver.is("map") && by.name().is_some_and(|name| name != "string") {
            self.error("type", format!("a map cannot be indexed by {by}"), start(index))
                .push("its keys are strings: `m[\"key\"]` or `m.key`".into());
            return Type::Any;
        }
        if receiver.is_basic() || receiver.name().is_none_or(|n| n == "range") {
            return if receiver.is("string") && by.is("int") { Type::named("char") } else { Type::Any };
        }
        let args = [receiver.clone(), by];
        if !self.cx.library.global("index$get$").any(|n| n.fits(&args)) {
            let (of, by) = (&args[0], &args[1]);
            let message = match by.name() {
                Some(by) => format!("{of} cannot be indexed by {by}"),
                None => format!("{of} cannot be indexed"),
            };
            let at = if at.is_none() { start(index) } else { at };
            self.error("type", message, at);
        }
        self.cx.library.agreed("index$get$", &args)
    }
}

/// The parts of one link of a chain: its sides, whether it is a dot, its flags, its place.
fn link(expr: &Expr) -> Option<(&BinaryExpr, bool, ASTFlags, Position)> {
    match expr {
        Expr::Dot(pair, flags, at) => Some((pair, true, *flags, *at)),
        Expr::Index(pair, flags, at) => Some((pair, false, *flags, *at)),
        _ => None,
    }
}

/// Where `expr` begins.
pub(super) fn start(expr: &Expr) -> Position {
    expr.start_position()
}
