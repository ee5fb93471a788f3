//! Where statements begin: the interpreter reports a statement that is an expression only as that expression.

use rhai::{AST, ASTNode, Expr, Position, Stmt};
use std::collections::{HashMap, HashSet};
use std::mem::Discriminant;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Two expressions of one kind that begin at the same character are one statement's; the first reported is the whole.
type Begins = HashSet<(Position, Discriminant<Expr>)>;

/// Expressions that are statements, by the text they stand in. Collects nothing before [`Statements::begin`].
#[derive(Debug, Default)]
pub(in crate::script) struct Statements {
    wanted: AtomicBool,
    by_source: Mutex<HashMap<String, Begins>>,
}

impl Statements {
    /// Collects from now on.
    pub(super) fn begin(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Adds those of `ast`, which is about to run as `source`.
    pub(in crate::script) fn learn(&self, source: &str, ast: &AST) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut all = self.by_source();
        let begins = all.entry(source.to_string()).or_default();
        ast.walk(&mut |path: &[ASTNode]| {
            if let Some(ASTNode::Stmt(Stmt::Expr(expr))) = path.last() {
                begins.insert((expr.position(), std::mem::discriminant(&**expr)));
            }
            true
        });
    }

    /// Whether a statement of `source` begins at `node`.
    pub(super) fn begins(&self, source: &str, node: &ASTNode) -> bool {
        match node {
            ASTNode::Stmt(Stmt::Noop(_)) => false,
            ASTNode::Stmt(_) => true,
            ASTNode::Expr(expr) => {
                let all = self.by_source();
                all.get(source).is_some_and(|b| b.contains(&(expr.position(), std::mem::discriminant(*expr))))
            }
            _ => false,
        }
    }

    fn by_source(&self) -> MutexGuard<'_, HashMap<String, Begins>> {
        // A set that lacks an entry leaves out a stop, no more.
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
