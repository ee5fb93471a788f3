//! From records to examples in scripts: `tokenize`, `prompt`, and the templates both take.

use super::registration::function;
use super::{Context, OptionsMap, ScriptResult, data::Examples, records::from_map};
use crate::engine::data::cache::{self, Outcome};
use crate::engine::data::record::Dataset;
use crate::engine::data::template::Template;
use crate::engine::data::tokenize::{TextTokenizer, TokenizeOptions, tokenize};
use crate::engine::data::wording::{Layout, Wording};
use crate::engine::error::Error;
use crate::engine::tokenizer::Tokenizer;
use rhai::{Dynamic, Engine, Map};
use std::sync::Arc;

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    function("tokenize", ["data: Records", "tokenizer: Tokenizer", "Examples"])
        .register_into_engine(engine, move |d: &mut Dataset, t: Tokenizer| tokenized(&c, d, t, Map::new()));
    let c = ctx.clone();
    function("tokenize", ["data: Records", "tokenizer: Tokenizer", "options: Map", "Examples"])
        .register_into_engine(engine, move |d: &mut Dataset, t: Tokenizer, o: Map| tokenized(&c, d, t, o));
    let c = ctx.clone();
    function("prompt", ["record: Map", "template: string or Map", "string"])
        .register_into_engine(engine, move |r: Map, t: Dynamic| prompt(&c, r, &t, None));
    let c = ctx.clone();
    function("prompt", ["record: Map", "template: string or Map", "tokenizer: Tokenizer", "string"])
        .register_into_engine(engine, move |r: Map, t: Dynamic, tokenizer: Tokenizer| {
            prompt(&c, r, &t, Some(&tokenizer))
        });
}

fn prompt(
    ctx: &Context,
    record: Map,
    template: &Dynamic,
    tokenizer: Option<&dyn TextTokenizer>,
) -> ScriptResult<String> {
    let (layout, record) = (layout(ctx, template)?, from_map(0, &Dynamic::from_map(record))?);
    Ok(Wording::new(&layout, tokenizer)?.prompt(&record)?)
}

/// A template as scripts give it: a name, a text, a file with Jinja, or a prompt template's two variants.
pub(super) fn layout(ctx: &Context, value: &Dynamic) -> ScriptResult<Layout> {
    if let Some(text) = value.read_lock::<rhai::ImmutableString>() {
        if Layout::is_file(&text) {
            ctx.access.read(text.as_str())?;
        }
        return Ok(Layout::open(&text)?);
    }
    let Some(map) = value.read_lock::<Map>() else {
        return Err(Error::config(format!("a template must be a string or a map, not {}", value.type_name())).into());
    };
    let mut o = OptionsMap::new("template", map.clone());
    let (with, without) = (o.string("with_input")?, o.string("without_input")?);
    o.finish()?;
    Ok(Layout::Prompt(Template::new(&with, &without)?))
}

/// The options of `tokenize`, but for those of the cache.
pub(super) fn options(ctx: &Context, o: &mut OptionsMap) -> ScriptResult<TokenizeOptions> {
    let default = TokenizeOptions::default();
    Ok(TokenizeOptions {
        template: o.value_opt("template").map_or(Ok(default.template), |t| layout(ctx, &t))?,
        max_seq_len: o.usize_or("max_seq_len", default.max_seq_len)?,
        mask_prompt: o.bool_or("mask_prompt", default.mask_prompt)?,
        eos: o.bool_or("eos", default.eos)?,
    })
}

fn tokenized(ctx: &Context, data: &mut Dataset, tokenizer: Tokenizer, options: Map) -> ScriptResult<Examples> {
    let mut o = OptionsMap::new("tokenize", options);
    let options = self::options(ctx, &mut o)?;
    let wanted = o.bool_opt("cache")?; // the set's size decides unless it says
    o.finish()?;
    let folder = cache::folder().filter(|_| wanted.unwrap_or_else(|| cache::is_worthwhile(data)));
    let Some(folder) = folder else {
        return Ok(Examples(tokenize(data, Arc::new(tokenizer), &options)?));
    };
    let (examples, outcome) = cache::tokenize(data, Arc::new(tokenizer), &options, &folder)?;
    match outcome {
        Outcome::Read { seconds, saved } => ctx.output.note(&format!(
            "the tokens of {} records were kept from before: {seconds:.1} s in place of {saved:.1} s",
            data.records().len()
        )),
        Outcome::Failed(why) => ctx.output.note(&format!("the cache of tokens: {why}")),
        Outcome::Made(_) | Outcome::Off => {}
    }
    Ok(Examples(examples))
}
