//! From records to examples in scripts: `tokenize`, `prompt`, and the templates both take.

use super::registration::function;
use super::{Context, OptionsMap, ScriptResult, data::Examples, records::from_map};
use crate::engine::data::record::Dataset;
use crate::engine::data::template::Template;
use crate::engine::data::tokenize::{TokenizeOptions, tokenize};
use crate::engine::tokenizer::Tokenizer;
use crate::engine::{Result, error::Error};
use rhai::{Dynamic, Engine, Map};
use std::sync::Arc;

pub(super) fn register(engine: &mut Engine, _ctx: &Context) {
    function("tokenize", ["data: Records", "tokenizer: Tokenizer", "Examples"])
        .register_into_engine(engine, |d: &mut Dataset, t: Tokenizer| tokenized(d, t, Map::new()));
    function("tokenize", ["data: Records", "tokenizer: Tokenizer", "options: Map", "Examples"])
        .register_into_engine(engine, tokenized);
    function("prompt", ["record: Map", "template: string or Map", "string"]).register_into_engine(
        engine,
        |item: Map, t: Dynamic| -> ScriptResult<String> {
            let (template, record) = (template(&t)?, from_map(0, &Dynamic::from_map(item))?);
            template.check(&record)?;
            Ok(template.prompt(&record))
        },
    );
}

fn template(value: &Dynamic) -> Result<Template> {
    if let Some(name) = value.read_lock::<rhai::ImmutableString>() {
        return if name.contains('{') { Template::single(&name) } else { Template::named(&name) };
    }
    let Some(map) = value.read_lock::<Map>() else {
        return Err(Error::config(format!("a template must be a string or a map, not {}", value.type_name())));
    };
    let mut o = OptionsMap::new("template", map.clone());
    let (with, without) = (o.string("with_input")?, o.string("without_input")?);
    o.finish()?;
    Template::new(&with, &without)
}

fn tokenized(data: &mut Dataset, tokenizer: Tokenizer, options: Map) -> ScriptResult<Examples> {
    let mut o = OptionsMap::new("tokenize", options);
    let default = TokenizeOptions::default();
    let options = TokenizeOptions {
        template: o.value_opt("template").map_or(Ok(default.template), |t| template(&t))?,
        max_seq_len: o.usize_or("max_seq_len", default.max_seq_len)?,
        mask_prompt: o.bool_or("mask_prompt", default.mask_prompt)?,
        eos: o.bool_or("eos", default.eos)?,
    };
    o.finish()?;
    Ok(Examples(tokenize(data, Arc::new(tokenizer), &options)?))
}
