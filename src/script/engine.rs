//! Assembly of the Rhai engine: grammar, limits, interrupts, output, modules, bindings.

use super::{
    names, parsing,
    resolver::Resolver,
    stack,
    syntax::{Guard, Modes},
};
use crate::bindings::{self, Context, ScriptError};
use crate::engine::autograd::{Autocast, autocast_guard, no_grad_guard};
use crate::engine::{Error, Result, interrupt, memory};
use rhai::{Dynamic, Engine, OptimizationLevel};
use std::cell::Cell;

/// Nested calls of script functions; the script thread's stack holds several times as many.
const CALL_LEVELS: usize = 64;
/// Bytes in one string, and in all strings inside one array or map.
const STRING_BYTES: usize = 256 << 20;
/// Elements in one array and everything inside it; the same for maps.
const ELEMENTS: usize = 16 << 20;
/// One string or array takes at most this share of the memory that is allowed: limits on the whole are looked at between
/// two operations, and one operation makes one of them.
const SHARE: usize = 16;

thread_local! {
    static OPERATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Operations (statements, expressions, calls) of this thread's script: the one that runs, or else the last one.
pub fn operations() -> u64 {
    OPERATIONS.get()
}

/// The engine that runs scripts for `ctx`.
pub(super) fn assemble(ctx: &Context, resolver: Resolver) -> Engine {
    let mut engine = Engine::new();
    // `Full` would run native calls while compiling.
    engine.set_optimization_level(OptimizationLevel::Simple);
    // A misspelt key must not read as `()`; `m.get("key")` is the lenient way.
    engine.set_fail_on_invalid_map_property(true);
    parsing::configure(&mut engine, MODES);
    names::install(&mut engine);
    let share = memory::limit() / SHARE;
    let elements = ELEMENTS.min(share / size_of::<Dynamic>()).max(1);
    engine
        .set_max_call_levels(CALL_LEVELS)
        .set_max_operations(ctx.max_ops)
        .set_max_string_size(STRING_BYTES.min(share).max(1))
        .set_max_array_size(elements)
        .set_max_map_size(elements);
    engine.on_progress(|operations| {
        OPERATIONS.set(operations);
        let deep = || stack::nearly_full().then(|| Error::Limit("calls are nested too deeply".into()));
        interrupt::reason().or_else(deep).map(|e| Dynamic::from(ScriptError::from(e)))
    });

    let output = ctx.output.clone();
    engine.on_print(move |text| output.line(text));
    let output = ctx.output.clone();
    engine.on_debug(move |text, source, at| match at.line() {
        Some(line) => output.line(&format!("{}:{line}: {text}", source.unwrap_or("?"))),
        None => output.line(text),
    });

    super::catch::register(&mut engine, resolver.sources.clone());
    engine.set_module_resolver(resolver);
    bindings::register(&mut engine, ctx);
    engine
}

/// The modes behind `no_grad` and `autocast`.
const MODES: Modes = Modes { no_grad, autocast };

fn no_grad() -> Guard {
    Box::new(no_grad_guard())
}

fn autocast(policy: &str) -> Result<Guard> {
    Ok(Box::new(autocast_guard(Autocast::parse(policy)?)))
}
