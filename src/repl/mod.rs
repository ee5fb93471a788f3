//! The interactive session.
//!
//! [`session`] holds what lives on between two inputs; [`editor`] reads them from a terminal or a pipe; [`commands`]
//! are the words that begin with a colon. Everything else serves any [`prompt`], also one inside a paused script:
//! [`helper`] gives the line editor its colours ([`highlight`]) and candidates ([`complete`]) from the [`names`] in reach,
//! [`show`] lays values out, [`lookup`] describes names.

mod commands;
mod complete;
mod editor;
mod helper;
mod highlight;
mod lookup;
mod names;
mod pause;
mod prompt;
mod record;
mod session;
mod show;

pub use pause::PausePrompt;
pub use session::{Ended, Session};

use crate::script::Diagnostic;
use std::sync::Arc;

/// Shows what went wrong.
pub type Report = Arc<dyn Fn(&Diagnostic) + Send + Sync>;
