//! The interactive session.
//!
//! [`session`] holds what lives on between two inputs; [`editor`] reads them from a terminal or a pipe; [`commands`]
//! are the words that begin with a colon.

mod commands;
mod editor;
mod helper;
mod session;

pub use session::{Ended, Session};
