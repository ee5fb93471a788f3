//! What a statement leaves behind, and statements that are never reached or do nothing.

use super::types::Type;
use super::walk::Walk;
use rhai::{ASTFlags, Expr, FnCallExpr, Stmt};

/// The value of a statement, and whether what follows it is reached.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) of: Type,
    /// Nothing behind it is reached.
    pub(super) ends: bool,
}

impl Flow {
    /// `return`, `throw`, `break` or `continue`.
    pub(super) const END: Flow = Flow { of: Type::Any, ends: true };

    /// A statement with a value.
    pub(super) fn of(of: Type) -> Flow {
        Flow { of, ends: false }
    }

    /// One branch or the other.
    pub(super) fn or(self, other: Flow) -> Flow {
        let of = match (self.ends, other.ends) {
            (true, false) => other.of,
            (false, true) => self.of,
            _ => self.of.or(&other.of),
        };
        Flow { of, ends: self.ends && other.ends }
    }
}

/// Operators that change nothing.
const COMPARISONS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

impl Walk<'_> {
    /// `statement` follows `end`, which leaves the block.
    pub(super) fn unreachable(&mut self, end: &Stmt, statement: &Stmt) {
        let what = match end {
            Stmt::Return(_, flags, _) if flags.contains(ASTFlags::BREAK) => "`throw`",
            Stmt::Return(..) => "`return`",
            Stmt::BreakLoop(_, flags, _) if flags.contains(ASTFlags::BREAK) => "`break`",
            Stmt::BreakLoop(..) => "`continue`",
            _ => "what stands before it, which leaves on every way",
        };
        self.warning("unreachable", format!("this is never reached: it follows {what}"), statement.position());
    }

    /// A statement whose value nobody takes.
    pub(super) fn without_effect(&mut self, statement: &Stmt) {
        let value = match statement {
            Stmt::Expr(value) => &**value,
            Stmt::FnCall(call, at) if call.is_operator_call() && COMPARISONS.contains(&call.name.as_str()) => {
                let help = assignment(call);
                self.warning("no-effect", "the result of this comparison is not used", *at).extend(help);
                return;
            }
            _ => return,
        };
        match value {
            Expr::FnCall(call, at) if call.is_operator_call() && COMPARISONS.contains(&call.name.as_str()) => {
                let help = assignment(call);
                self.warning("no-effect", "the result of this comparison is not used", *at).extend(help);
            }
            Expr::Variable(..) | Expr::IntegerConstant(..) | Expr::FloatConstant(..) | Expr::BoolConstant(..) => {
                self.warning("no-effect", "this value is not used", value.position());
            }
            Expr::Dot(pair, ..) if matches!(pair.rhs, Expr::Property(..)) => {
                let name = property(&pair.rhs);
                self.warning("no-effect", "this value is not used", pair.rhs.position())
                    .push(format!("if `{name}` is a method, call it as `.{name}(..)`"));
            }
            _ => {}
        }
    }
}

fn property(expr: &Expr) -> String {
    match expr {
        Expr::Property(property, _) => property.2.to_string(),
        _ => String::new(),
    }
}

/// What `x == 1;` was meant to be.
fn assignment(call: &FnCallExpr) -> Option<String> {
    (call.name == "==").then(|| "to assign, write `=`".to_string())
}
