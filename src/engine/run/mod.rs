//! Run directories: where a training run keeps what it does.
//!
//! | file | what |
//! | --- | --- |
//! | `run.json` | that this is a run, whether it is finished, its sessions ([`record`]) |
//! | `settings.json` | the settings that the script gave it, compared when it is resumed ([`settings`]) |
//! | `settings.toml` | the command line, as a file that repeats it ([`session`]) |
//! | `log.jsonl` | losses, rates and speed per step and epoch ([`log`]) |
//! | `log.csv` | the same for spreadsheets, written with the report ([`table`]) |
//! | `events.out.tfevents.*` | the same for TensorBoard, as it happens ([`tensorboard`]) |
//! | `notes.json` | facts and samples for the report ([`session`]) |
//! | `state.safetensors` | all that is needed to go on after a kill ([`state`]) |
//! | `loss.svg`, `loss.png`, `optim.svg`, `optim.png` | the curves ([`curve`], [`plot`]) |
//! | `report.html`, `report.md`, `report.json` | everything on one page ([`report`]) |
//!
//! Every file but the log is written whole or not at all ([`crate::engine::atomic`]); the log is cut back to the saved state when a run
//! is resumed. One process at a time writes a directory ([`lock`]).

pub mod curve;
pub mod chart;
pub mod plot;
pub mod reading;
pub mod dir;
pub mod lock;
pub mod log;
pub mod meter;
pub mod record;
pub mod report;
pub mod settings;
pub mod open;
pub mod compare;
pub mod session;
pub mod state;
pub mod table;
pub mod tensorboard;
pub mod training;

pub use super::report::{HTML_FILE, JSON_FILE, MARKDOWN_FILE};
pub use super::{atomic, number};
pub use dir::Policy;
pub use log::Fields;
pub use session::Run;
pub use state::RunState;

/// The options a run was started with.
pub const SETTINGS_FILE: &str = "settings.json";
/// The options of the command line, in the host's words.
pub const REPEAT_FILE: &str = "settings.toml";
/// The log.
pub const LOG_FILE: &str = "log.jsonl";
/// The log for spreadsheets.
pub const CSV_FILE: &str = "log.csv";
/// Facts and samples for the report.
pub const NOTES_FILE: &str = "notes.json";
/// The saved state.
pub const STATE_FILE: &str = "state.safetensors";
