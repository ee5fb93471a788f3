//! Tokenizers in scripts: `model.tokenizer`.

use super::ids::token_ids;
use super::registration::{function, getter};
use super::{OptionsMap, ScriptResult};
use crate::engine::error::Error;
use crate::engine::tokenizer::{Message, Tokenizer};
use rhai::{Array, Dynamic, Engine, INT, Map};

pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Tokenizer>("Tokenizer");
    let id = |id: Option<u32>| id.map_or(Dynamic::UNIT, |id| Dynamic::from(INT::from(id)));
    type Id = fn(&Tokenizer) -> Option<u32>;
    for (name, of) in
        [("bos_id", Tokenizer::bos_id as Id), ("eos_id", Tokenizer::eos_id), ("pad_id", Tokenizer::pad_id)]
    {
        getter(name, "Tokenizer", "int or ()").register_into_engine(engine, move |t: &mut Tokenizer| id(of(t)));
    }
    getter("chat_template", "Tokenizer", "string or ()").register_into_engine(engine, |t: &mut Tokenizer| {
        t.chat_template().map_or(Dynamic::UNIT, |s| s.to_string().into())
    });
    engine
        .register_get("vocab_size", |t: &mut Tokenizer| t.vocab_size() as INT)
        .register_fn("to_string", |t: &mut Tokenizer| format!("Tokenizer({} tokens)", t.vocab_size()))
        .register_fn("to_debug", |t: &mut Tokenizer| format!("Tokenizer({} tokens)", t.vocab_size()));
    function("encode", ["tokenizer: Tokenizer", "text: string", "Array"])
        .register_into_engine(engine, |t: &mut Tokenizer, text: &str| encode(t, text, Map::new()));
    function("encode", ["tokenizer: Tokenizer", "text: string", "options: Map", "Array"])
        .register_into_engine(engine, encode);
    function("decode", ["tokenizer: Tokenizer", "ids: Array", "string"])
        .register_into_engine(engine, |t: &mut Tokenizer, ids: Array| decode(t, ids, Map::new()));
    function("decode", ["tokenizer: Tokenizer", "ids: Array", "options: Map", "string"])
        .register_into_engine(engine, decode);
    function("apply_template", ["tokenizer: Tokenizer", "messages: Array", "string"])
        .register_into_engine(engine, |t: &mut Tokenizer, messages: Array| apply(t, messages, Map::new()));
    function("apply_template", ["tokenizer: Tokenizer", "messages: Array", "options: Map", "string"])
        .register_into_engine(engine, apply);
}

fn encode(t: &mut Tokenizer, text: &str, options: Map) -> ScriptResult<Array> {
    let mut o = OptionsMap::new("encode", options);
    let (bos, eos) = (o.bool_or("bos", false)?, o.bool_or("eos", false)?);
    o.finish()?;
    Ok(t.encode_with(text, bos, eos)?.into_iter().map(|id| Dynamic::from(INT::from(id))).collect())
}

fn decode(t: &mut Tokenizer, ids: Array, options: Map) -> ScriptResult<String> {
    let mut o = OptionsMap::new("decode", options);
    let special = o.bool_or("special", false)?;
    o.finish()?;
    let ids = token_ids(&ids)?;
    Ok(if special { t.decode_raw(&ids)? } else { t.decode(&ids)? })
}

fn apply(t: &mut Tokenizer, messages: Array, options: Map) -> ScriptResult<String> {
    let mut o = OptionsMap::new("apply_template", options);
    let prompt = o.bool_or("add_generation_prompt", true)?;
    o.finish()?;
    let text = |m: &Map, key: &str| m.get(key).and_then(|v| v.clone().into_string().ok());
    let mut list = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        let map = message.read_lock::<Map>();
        match map.as_deref().map(|m| (text(m, "role"), text(m, "content"))) {
            Some((Some(role), Some(content))) => list.push(Message { role, content }),
            _ => {
                let why =
                    format!("apply_template: message {i} must be #{{ role: \"..\", content: \"..\" }}, not {message}");
                return Err(Error::config(why).into());
            }
        }
    }
    Ok(t.apply_chat_template(&list, prompt)?)
}
