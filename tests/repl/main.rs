//! The session: through a pseudo-terminal as a person uses it, and through a pipe.

#[path = "../cli_support/mod.rs"]
mod cli_support;
mod commands;
mod interrupt;
mod pipes;
mod terminal;
mod typing;
mod values;
