//! The script API: one file per topic. A binding converts, makes one engine call, converts back.
//!
//! What scripts call is registered through [`register`]; what every binding leans on is in [`context`] (who prints,
//! which options), [`error`] (engine errors as script errors) and [`options_map`] (the trailing `#{..}`).

pub mod access;
pub mod autograd;
pub mod batches;
pub mod context;
pub mod data;
mod data_text;
pub mod docs;
pub mod error;
pub mod evaluate;
pub mod facts;
pub mod generate;
pub mod host;
mod ids;
pub mod llama;
pub mod metrics;
pub mod model;
mod model_text;
pub mod nn;
pub mod nn_layers;
pub mod optim;
pub mod options_map;
pub mod plan;
pub mod pausing;
pub mod plot;
pub mod progress;
mod records;
mod registration;
pub mod report;
mod resolve;
mod run_text;
pub mod runs;
pub mod saving;
pub mod tensor;
pub mod tensor_create;
pub mod tensor_index;
pub mod tensor_ops;
mod tensor_text;
pub mod testing;
pub mod text;
mod streams;
mod subset;
mod tokenize;
pub mod tokenizer;
pub mod workers;

pub use access::Access;
pub use context::{Context, HostContext, Output, Screen};
pub use error::{Carried, ScriptError, to_rhai};
pub use options_map::OptionsMap;

/// Result of a binding's body: the engine's error, turned into a script error by `?`.
pub type ScriptResult<T> = std::result::Result<T, Box<rhai::EvalAltResult>>;

/// Registers the whole script API into `engine`.
pub fn register(engine: &mut rhai::Engine, ctx: &Context) {
    error::register(engine);
    host::register(engine, ctx);
    progress::register(engine, ctx);
    pausing::register(engine, ctx);
    tensor::register(engine);
    tensor_create::register(engine, ctx);
    tensor_index::register(engine);
    tensor_ops::register(engine);
    autograd::register(engine);
    nn::register(engine);
    llama::register(engine, ctx);
    model::register(engine, ctx);
    model_text::register(engine);
    generate::register(engine, ctx);
    evaluate::register(engine, ctx);
    metrics::register(engine);
    saving::register(engine, ctx);
    tokenizer::register(engine);
    data::register(engine, ctx);
    data_text::register(engine, ctx);
    optim::register(engine);
    plan::register(engine, ctx);
    report::register(engine, ctx);
    runs::register(engine, ctx);
    workers::register(engine, ctx);
    plot::register(engine, ctx);
    run_text::register(engine, ctx);
    testing::register(engine, ctx);
    text::register(engine);
}
