//! Pausing a running script: at a `breakpoint()`, when [`pause`] is asked for, and from statement to statement.
//!
//! [`attach`] has the interpreter call here before each node it evaluates; most calls end after a look at three flags.
//! Without it the interpreter calls nobody. Where the script is to stop, the [`Pauser`] gets the scope as a [`Paused`]
//! and says how to go on.

mod paused;
mod statements;

pub use paused::{Level, Paused, Variable};
pub(super) use statements::Statements;

use super::{sources::Sources, stack};
use crate::engine::{interrupt, pause, rng};
use rhai::debugger::{DebuggerCommand, DebuggerEvent};
use rhai::{ASTNode, Dynamic, Engine, EvalContext, Expr, FnCallExpr, Position, Stmt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a script stands still.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// Ctrl-C, or a number that should be finite.
    Asked(pause::Reason),
    /// The script calls `breakpoint()` here.
    Breakpoint,
    /// A step of the person's ends here.
    Stepped,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Asked(reason) => write!(f, "{reason}"),
            Why::Breakpoint => write!(f, "breakpoint()"),
            Why::Stepped => write!(f, "step"),
        }
    }
}

/// How a paused script goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// To the next breakpoint, or its end.
    On,
    /// To the next statement.
    Step,
    /// To the next statement of this function, or of its caller.
    Over,
    /// To the next statement after this function's end.
    Out,
    /// To where the open run saves its state, and no further.
    Stop,
    /// No further.
    StopAtOnce,
}

/// Who is asked what to do at a pause.
pub trait Pauser: Send + Sync {
    /// The script stands at `paused`. What is done there to its variables stays.
    fn ask(&self, paused: &mut Paused<'_, '_>) -> Go;
}

/// Has `engine` stop where [`Why`] says and ask `pauser`.
pub(super) fn attach(engine: &mut Engine, statements: Arc<Statements>, sources: Arc<Sources>, pauser: Arc<dyn Pauser>) {
    statements.begin();
    let debugger = Debugger {
        pauser,
        statements,
        sources,
        busy: AtomicBool::new(false),
        stepping: AtomicBool::new(false),
        kept: Mutex::default(),
    };
    #[allow(deprecated)] // Rhai's mark for "may change"; the version is pinned
    engine.register_debugger(
        |_, debugger| debugger,
        move |mut context, event, node, source, at| {
            if let DebuggerEvent::Start = event
                && let Some(own) = context.debugger_mut()
            {
                // Remembered for `:where`: the call stack has the texts of functions, not the one they were called from.
                own.set_state(source.map_or(Dynamic::UNIT, |name| name.to_string().into()));
            }
            debugger.visit(context, node, source, at);
            // Anything else would leave statements out that a later request to pause could be meant for.
            Ok(DebuggerCommand::StepInto)
        },
    );
}

struct Debugger {
    pauser: Arc<dyn Pauser>,
    statements: Arc<Statements>,
    sources: Arc<Sources>,
    /// The prompt is open: what is evaluated there does not pause again.
    busy: AtomicBool,
    stepping: AtomicBool,
    kept: Mutex<Kept>,
}

/// What lasts from one pause to the next.
#[derive(Default)]
struct Kept {
    steps: Steps,
    own: paused::Own,
}

/// Where the last pause was, and how far to go from there.
#[derive(Debug, Default)]
struct Steps {
    source: String,
    line: usize,
    column: usize,
    level: usize,
    /// The deepest level to stop at.
    deepest: usize,
}

impl Steps {
    /// Whether the statement at `at` is the one to stop at. What stands to the right of the last one on its line is
    /// taken for a part of it, such as the body of `if x { f() }`.
    fn arrived(&self, source: &str, at: Position, level: usize) -> bool {
        let (line, column) = place(at);
        let part = level == self.level && source == self.source && line == self.line && column > self.column;
        level <= self.deepest && !part
    }
}

fn place(at: Position) -> (usize, usize) {
    (at.line().unwrap_or(0), at.position().unwrap_or(0))
}

impl Debugger {
    fn visit(&self, context: EvalContext, node: ASTNode, source: Option<&str>, at: Position) {
        let (asked, stepping) = (pause::asked(), self.stepping.load(Ordering::Relaxed));
        let breakpoint = is_breakpoint(&node);
        if !(asked || stepping || breakpoint) || self.busy.load(Ordering::Relaxed) || interrupt::requested() {
            return;
        }
        let source = source.unwrap_or_default();
        let why = if breakpoint {
            Why::Breakpoint
        } else if !self.statements.begins(source, &node) {
            return;
        } else if let Some(reason) = pause::take() {
            Why::Asked(reason)
        } else if stepping && self.kept().steps.arrived(source, at, context.call_level()) {
            Why::Stepped
        } else {
            return;
        };
        self.pause(context, why, source, at);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Replaced as a whole at each pause.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self, mut context: EvalContext, why: Why, source: &str, at: Position) {
        self.busy.store(true, Ordering::Relaxed);
        let open = pause::AtPrompt::new();
        let stream = rng::keep();
        let own = std::mem::take(&mut self.kept().own);
        let mut paused = Paused::new(&mut context, why, &self.sources, own, source, at);
        let answer = stack::catching(|| self.pauser.ask(&mut paused));
        let (scope, own) = paused.leave();
        *context.scope_mut() = scope;

        let level = context.call_level();
        let (line, column) = place(at);
        let deepest = match answer {
            Ok(Go::Over) => level,
            Ok(Go::Out) => level.saturating_sub(1),
            _ => usize::MAX,
        };
        *self.kept() = Kept { steps: Steps { source: source.into(), line, column, level, deepest }, own };
        // Out of the top level: there is nothing to come back to.
        let stepping = matches!(answer, Ok(Go::Step | Go::Over)) || (matches!(answer, Ok(Go::Out)) && level > 0);
        self.stepping.store(stepping, Ordering::Relaxed);
        stream.put_back();
        // Requests made at the prompt were meant for what ran there.
        interrupt::clear();
        drop(open);
        self.busy.store(false, Ordering::Relaxed);
        match answer {
            Ok(Go::Stop) => interrupt::request(),
            Ok(Go::StopAtOnce) => {
                interrupt::request();
                interrupt::request();
            }
            Ok(_) => {}
            // The script thread reports it, now that the scope is back in its place.
            Err(bug) => std::panic::resume_unwind(Box::new(bug.0)),
        }
    }
}

/// Whether `node` calls `breakpoint()`.
fn is_breakpoint(node: &ASTNode) -> bool {
    let named = |call: &FnCallExpr| call.args.is_empty() && call.namespace.is_empty() && call.name == "breakpoint";
    match node {
        ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _)) => named(call),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
