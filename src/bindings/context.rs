//! What a running script knows of its host: who prints, its options and arguments, its device.

use super::{Access, testing::Scratch};
use crate::engine::progress::{Reporter, Silent};
use crate::engine::workers::{Launcher, Order};
use rhai::Map;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a script's words go. Handed in by the command line; tests hand in a recorder.
pub trait Output: Reporter {
    /// One line for standard output.
    fn line(&self, text: &str);

    /// A piece of a line for standard output, shown at once: generated text as it comes.
    fn text(&self, text: &str);

    /// One line for standard error, about the run rather than of it; `--quiet` silences it.
    fn note(&self, text: &str);

    /// A line that a run logged, for whoever shows more than words.
    fn logged(&self, _line: &serde_json::Map<String, serde_json::Value>) {}

    /// What a run noted under a name.
    fn noted(&self, _name: &str, _value: &serde_json::Value) {}

    /// Takes progress off the screen until the answer is dropped: a person is asked something.
    fn aside(&self) -> Box<dyn Send> {
        Box::new(())
    }

    /// What values are laid out for.
    fn screen(&self) -> Screen {
        Screen::default()
    }
}

/// What lines are laid out for: a terminal's width now, and whether it may show colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Whether escapes for colours are understood and wanted.
    pub color: bool,
}

impl Default for Screen {
    /// Where lines go that no terminal shows.
    fn default() -> Self {
        Screen { width: 80, color: false }
    }
}

/// Says nothing: for looking at scripts without running them, and for tests.
impl Output for Silent {
    fn line(&self, _: &str) {}
    fn text(&self, _: &str) {}
    fn note(&self, _: &str) {}
}

/// Shared handle on a [`HostContext`]; bindings capture a clone.
pub type Context = Arc<HostContext>;

/// What the host hands to the bindings.
pub struct HostContext {
    /// Standard output, notes and progress.
    pub output: Arc<dyn Output>,
    /// The script's declared options with the command line's values: what `options()` returns.
    pub options: Map,
    /// Positional arguments after the script: what `args()` returns.
    pub args: Vec<String>,
    /// Whether `--resume` was given: what `resuming()` returns.
    pub resuming: bool,
    /// The text of the `settings.toml` that repeats this run; `None` where nothing can, such as in a session.
    pub settings: Option<String>,
    /// The folder of the recipe, with the files it was shipped with: what `recipe_dir()` returns.
    pub folder: Option<PathBuf>,
    /// The device of `--device`; where tensors go that name no other.
    pub device: candle_core::Device,
    /// What the script may read and write.
    pub access: Access,
    /// Most operations of the script itself; 0: no limit.
    pub max_ops: u64,
    /// The temporary directory of the script, or of the test that runs now.
    pub scratch: Scratch,
    /// Whether there is a prompt for pauses: `-i`, or a session. Without one, `breakpoint()` only says so.
    pub pausable: bool,
    /// How workers are started for single jobs; `None` where they cannot be.
    pub launcher: Option<Launcher>,
    /// The job that this process was started for; `None` for one that a person started.
    pub order: Option<Order>,
}

impl HostContext {
    /// A context without options or arguments, on the CPU, for a script that may do what every script may.
    pub fn new(output: Arc<dyn Output>) -> Self {
        HostContext {
            output,
            options: Map::new(),
            args: Vec::new(),
            resuming: false,
            device: candle_core::Device::Cpu,
            access: Access::restricted(),
            max_ops: 0,
            scratch: Scratch::default(),
            pausable: false,
            settings: None,
            folder: None,
            launcher: None,
            order: None,
        }
    }
}

impl std::fmt::Debug for HostContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostContext")
            .field("options", &self.options)
            .field("args", &self.args)
            .field("resuming", &self.resuming)
            .field("device", &self.device)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
