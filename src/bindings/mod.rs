//! The script API: one file per topic. A binding converts, makes one engine call, converts back.
//!
//! What scripts call is registered through [`register`]; what every binding leans on is in [`context`] (who prints,
//! which options), [`error`] (engine errors as script errors) and [`options_map`] (the trailing `#{..}`).

pub mod context;
pub mod data;
pub mod error;
pub mod generate;
pub mod host;
mod ids;
pub mod llama;
pub mod model;
pub mod optim;
pub mod options_map;
pub mod progress;
pub mod runs;
mod tensor_min;
pub mod tokenizer;

pub use context::{Context, HostContext, Output};
pub use error::{Carried, ScriptError, to_rhai};
pub use options_map::OptionsMap;

/// Result of a binding's body: the engine's error, turned into a script error by `?`.
pub type ScriptResult<T> = std::result::Result<T, Box<rhai::EvalAltResult>>;

/// Registers the whole script API into `engine`.
pub fn register(engine: &mut rhai::Engine, ctx: &Context) {
    error::register(engine);
    host::register(engine, ctx);
    progress::register(engine, ctx);
    llama::register(engine, ctx);
    model::register(engine);
    generate::register(engine, ctx);
    tokenizer::register(engine);
    data::register(engine);
    optim::register(engine);
    runs::register(engine, ctx);
    tensor_min::register(engine);
}
