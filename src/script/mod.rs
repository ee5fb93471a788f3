//! The Rhai host: engine assembly, module resolver, options, interrupts, diagnostics.
//!
//! The layers above name no `rhai` type: they hold a [`Host`], hand it source text, and get [`Diagnostic`]s back.

pub mod catalog;
mod catch;
pub mod debug;
pub mod check;
pub mod diagnostics;
pub mod doc_comment;
pub mod doctor;
pub mod embedded;
mod engine;
pub mod errors;
mod explain;
mod host;
mod line;
mod locate;
pub mod names;
mod nested;
mod option_values;
pub mod options;
mod parsing;
pub mod pieces;
pub mod recipes;
pub mod reference;
pub mod render;
mod resolver;
pub mod sandbox;
pub mod settings;
pub mod signature;
pub mod sources;
mod spans;
pub mod stack;
pub mod syntax;
pub mod tester;
mod tokens;
pub mod topics;
pub mod watch;

pub use diagnostics::{Diagnostic, Frame, Label, Place, Severity, Snippet};
pub use engine::operations;
pub use host::{Host, Script};
pub use names::plain as plain_name;
pub use parsing::{incomplete, parses};
pub use sources::Sources;
