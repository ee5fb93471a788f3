//! `data::`: tokenized examples; records are in [`super::records`], batches in [`super::batches`].

pub use super::batches::{Batch, BatchWindows};
use super::registration::function;
use super::subset::{index, subset_methods};
use super::{Context, OptionsMap, ScriptResult, batches, records, streams, tokenize};
use crate::engine::data::split::Subset;
use crate::engine::data::tokenize::Tokenized;
use crate::engine::data::view;
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map, Module};

/// Tokenized examples as scripts hold them.
#[derive(Debug, Clone)]
pub struct Examples(pub(super) Tokenized);

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine.register_type_with_name::<Examples>("Examples");
    let mut module = Module::new();
    records::loading(&mut module, ctx);
    streams::loading(&mut module, ctx);
    engine.register_static_module("data", module.into());
    records::register(engine);
    tokenize::register(engine, ctx);
    examples(engine, ctx);
    batches::register(engine);
    streams::register(engine, ctx);
}

fn examples(engine: &mut Engine, ctx: &Context) {
    fn inner(e: &mut Examples) -> &Tokenized {
        &e.0
    }
    subset_methods!(engine, Examples, "Examples", inner, Examples);
    let text = |e: &mut Examples| format!("Examples({})", e.0.stats());
    engine.register_fn("to_string", text);
    engine.register_indexer_get(|e: &mut Examples, i: INT| -> ScriptResult<Map> {
        let example = &e.0.examples()[index(i, e.0.examples().len())?];
        let ids = example.ids.iter().map(|id| Dynamic::from(INT::from(*id))).collect::<Array>();
        let labels = example.labels.iter().map(|l| Dynamic::from(*l)).collect::<Array>();
        Ok(Map::from([
            ("ids".into(), ids.into()),
            ("labels".into(), labels.into()),
            ("index".into(), (example.source as INT).into()),
        ]))
    });
    function("stats", ["data: Examples", "Map"])
        .register_into_engine(engine, |e: &mut Examples| -> ScriptResult<Dynamic> {
            rhai::serde::to_dynamic(e.0.stats())
        });
    let c = ctx.clone();
    function("show", ["data: Examples", "i: int", "string"])
        .register_into_engine(engine, move |e: &mut Examples, i: INT| show(e, i, c.output.screen().color));
    let c = ctx.clone();
    function("show", ["data: Examples", "i: int", "options: Map", "string"]).register_into_engine(
        engine,
        move |e: &mut Examples, i: INT, options: Map| -> ScriptResult<String> {
            let mut o = OptionsMap::new("Examples.show", options);
            let color = o.bool_or("color", c.output.screen().color)?;
            o.finish()?;
            show(e, i, color)
        },
    );
}

fn show(e: &mut Examples, i: INT, color: bool) -> ScriptResult<String> {
    Ok(view::marked(&e.0.show(index(i, e.0.examples().len())?)?, color))
}
