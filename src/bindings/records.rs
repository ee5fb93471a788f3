//! Records in scripts: `data::load`, `data::records`, what can be done with a set, and a record as a map.

use super::error::placed;
use super::options_map::type_name;
use super::registration::function;
use super::subset::{index, subset_methods};
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::data::documents::Split;
use crate::engine::data::forms::{Fields, Format};
use crate::engine::data::record::{Dataset, Form, ROLES, Record, Turn};
use crate::engine::data::source::{self, ReadOptions};
use crate::engine::data::split::Subset;
use crate::engine::{Result, error::Error, error::unknown_name};
use rhai::{Array, Dynamic, Engine, FLOAT, FnPtr, INT, ImmutableString, Map, Module, NativeCallContext};

/// The functions of `data::` that make records.
pub(super) fn loading(module: &mut Module, ctx: &Context) {
    let c = ctx.clone();
    function("load", ["path: string", "Records"])
        .set_into_module(module, move |at: NativeCallContext, path: &str| placed(&at, load(&c, path, Map::new())));
    let c = ctx.clone();
    function("load", ["path: string", "options: Map", "Records"])
        .set_into_module(module, move |at: NativeCallContext, path: &str, o: Map| placed(&at, load(&c, path, o)));
    function("concat", ["sets: Array", "Records"])
        .set_into_module(module, |at: NativeCallContext, sets: Array| placed(&at, concat(sets)));
    function("records", ["list: Array", "Records"])
        .set_into_module(module, |at: NativeCallContext, list: Array| placed(&at, from_array(list)));
}

fn load(ctx: &Context, path: &str, options: Map) -> ScriptResult<Dataset> {
    let options = read_options("data::load", options)?;
    if !path.starts_with("builtin:") {
        ctx.access.read(path)?;
    }
    Ok(source::load(path, &options)?)
}

fn concat(sets: Array) -> ScriptResult<Dataset> {
    let mut list = Vec::with_capacity(sets.len());
    for (i, set) in sets.iter().enumerate() {
        match set.read_lock::<Dataset>() {
            Some(set) => list.push(set.clone()),
            None => return Err(Error::config(format!("concat: item {i} is {}, not records", type_name(set))).into()),
        }
    }
    Ok(Dataset::concat(&list)?)
}

/// The options of reading a file, for the function `what`.
pub(super) fn read_options(what: &'static str, options: Map) -> Result<ReadOptions> {
    let mut o = OptionsMap::new(what, options);
    let mut fields = Fields::default();
    for (role, name) in o.map_opt("fields")?.unwrap_or_default() {
        match name.into_string() {
            Ok(name) => fields = fields.with(&role, name)?,
            Err(other) => {
                return Err(Error::config(format!("fields: {role} must be a string, the field's name, not {other}")));
            }
        }
    }
    let delimiter = match o.string_opt("delimiter")? {
        None => None,
        Some(text) => match *text.as_bytes() {
            [byte] if byte.is_ascii() && !b"\"\r\n".contains(&byte) => Some(byte),
            _ => return Err(o.invalid("delimiter", format!("{text:?}"), "one character, such as \",\" or \"\\t\"")),
        },
    };
    let options = ReadOptions {
        format: o.string_opt("format")?.map(|name| Format::named(&name)).transpose()?,
        fields,
        delimiter,
        split: o.string_opt("split")?.map(|name| Split::named(&name)).transpose()?,
    };
    o.finish()?;
    Ok(options)
}

fn from_array(list: Array) -> ScriptResult<Dataset> {
    let records = list.iter().enumerate().map(|(i, item)| from_map(i, item)).collect::<Result<Vec<_>>>()?;
    Ok(Dataset::new("records", records))
}

/// Record `i` from a map: `messages`, or `text`, or `prompt` and `completion`, or `instruction`, `input` and `output`;
/// `form` says which where a map has more, as those of [`to_map`] do. Other texts are kept.
pub(super) fn from_map(i: usize, item: &Dynamic) -> Result<Record> {
    let Some(map) = item.read_lock::<Map>() else {
        return Err(Error::config(format!("record {i} must be a map, not {}", item.type_name())));
    };
    let text = |key: &str| match map.get(key) {
        None => Ok(None),
        Some(v) => v
            .clone()
            .into_string()
            .map(Some)
            .map_err(|t| Error::config(format!("record {i}: `{key}` must be a string, not {t}"))),
    };
    let need = |key: &str| text(key)?.ok_or_else(|| Error::config(format!("record {i} has no `{key}`")));
    let known = text("form").ok().flatten().and_then(|form| Form::named(&form).ok());
    let form = known.unwrap_or(match () {
        () if map.contains_key("messages") => Form::Conversation,
        () if map.contains_key("prompt") && map.contains_key("completion") => Form::Completion,
        () if map.contains_key("text") && !map.contains_key("instruction") => Form::Document,
        () => Form::Instruction,
    });
    let either = |first: &str, second: &str| if map.contains_key(first) { need(first) } else { need(second) };
    let mut used = vec!["form", "index", "instruction", "input", "output"];
    let record = match form {
        Form::Instruction => Record::new(need("instruction")?, text("input")?.unwrap_or_default(), need("output")?),
        Form::Completion => {
            used.extend(["prompt", "completion"]);
            Record::completion(either("prompt", "instruction")?, either("completion", "output")?)
        }
        Form::Document => {
            used.push("text");
            Record::document(either("text", "output")?)
        }
        Form::Conversation => {
            used.push("messages");
            let list = map.get("messages").and_then(|list| list.read_lock::<Array>().map(|list| list.clone()));
            let list = list.ok_or_else(|| Error::config(format!("record {i}: `messages` must be an array of maps")))?;
            let turns = list.iter().enumerate().map(|(n, m)| turn(m).map_err(|what| message(i, n, &what)));
            Record::conversation(turns.collect::<Result<_>>()?)
        }
    };
    let extra = map.iter().filter(|(key, _)| !used.contains(&key.as_str()));
    let extra = extra.filter_map(|(key, value)| Some((key.to_string(), value.clone().into_string().ok()?)));
    Ok(Record { index: i, extra: extra.collect(), ..record })
}

fn message(i: usize, turn: usize, what: &str) -> Error {
    Error::config(format!("record {i}, message {turn}: {what}"))
}

/// One turn from `#{ role, content }`, and `learned: false` for one that is context only.
fn turn(item: &Dynamic) -> std::result::Result<Turn, String> {
    let map = item.read_lock::<Map>();
    let text = |key: &str| map.as_ref()?.get(key)?.read_lock::<ImmutableString>().map(|s| s.to_string());
    let (Some(role), Some(content)) = (text("role"), text("content")) else {
        return Err(format!("must be #{{ role: \"..\", content: \"..\" }}, not {item}"));
    };
    if !ROLES.contains(&role.as_str()) {
        return Err(unknown_name("role", &role, ROLES.iter().copied()).to_string());
    }
    let mut turn = Turn::new(role, content);
    if let Some(learned) = map.as_ref().and_then(|m| m.get("learned")) {
        turn.learned &= learned.as_bool().map_err(|found| format!("`learned` must be a bool, not {found}"))?;
    }
    Ok(turn)
}

/// A record as scripts see it: the same names for every form, and the file's other texts.
pub(super) fn to_map(record: &Record) -> Map {
    let mut map: Map = record.extra.iter().map(|(k, v)| (k.as_str().into(), v.clone().into())).collect();
    map.extend([
        ("form".into(), record.form.name().into()),
        ("instruction".into(), record.instruction.clone().into()),
        ("input".into(), record.input.clone().into()),
        ("output".into(), record.output.clone().into()),
        ("index".into(), (record.index as INT).into()),
    ]);
    if record.form == Form::Conversation {
        let message = |turn: &Turn| {
            let mut map =
                Map::from([("role".into(), turn.role.clone().into()), ("content".into(), turn.content.clone().into())]);
            if turn.role == "assistant" && !turn.learned {
                map.insert("learned".into(), false.into());
            }
            Dynamic::from_map(map)
        };
        map.insert("messages".into(), record.turns.iter().map(message).collect::<Array>().into());
    }
    map
}

/// The methods of `Records`.
pub(super) fn register(engine: &mut Engine) {
    fn inner(d: &mut Dataset) -> &Dataset {
        d
    }
    engine.register_type_with_name::<Dataset>("Records");
    subset_methods!(engine, Dataset, "Records", inner, |d: Dataset| d);
    engine
        .register_indexer_get(|d: &mut Dataset, i: INT| -> ScriptResult<Map> {
            Ok(to_map(&d.records()[index(i, d.records().len())?]))
        })
        .register_get("source", |d: &mut Dataset| d.source.to_string())
        .register_fn("to_string", |d: &mut Dataset| format!("Records({}, {} records)", d.source, d.len()));
    function("concat", ["data: Records", "other: Records", "Records"])
        .register_into_engine(engine, |d: &mut Dataset, other: Dataset| -> ScriptResult<Dataset> {
            Ok(Dataset::concat(&[d.clone(), other])?)
        });
    function("dedup", ["data: Records", "Records"])
        .register_into_engine(engine, |d: &mut Dataset| -> ScriptResult<Dataset> { Ok(d.dedup(&[])?) });
    function("dedup", ["data: Records", "options: Map", "Records"]).register_into_engine(
        engine,
        |d: &mut Dataset, options: Map| -> ScriptResult<Dataset> {
            let mut o = OptionsMap::new("dedup", options);
            let fields = o.strings_opt("fields")?.unwrap_or_default();
            o.finish()?;
            Ok(d.dedup(&fields)?)
        },
    );
    function("to_array", ["data: Records", "Array"]).register_into_engine(engine, |d: &mut Dataset| -> Array {
        d.records().iter().map(|r| Dynamic::from_map(to_map(r))).collect()
    });
    function("filter", ["data: Records", "f: Fn(Map) -> bool", "Records"]).register_into_engine(
        engine,
        |ctx: NativeCallContext, d: &mut Dataset, f: FnPtr| -> ScriptResult<Dataset> {
            let mut keep = Vec::new();
            for (i, r) in d.records().iter().enumerate() {
                if f.call_within_context::<bool>(&ctx, (to_map(r),))? {
                    keep.push(i);
                }
            }
            Ok(d.pick(&keep)?)
        },
    );
    function("map", ["data: Records", "f: Fn(Map) -> Map", "Records"]).register_into_engine(
        engine,
        |ctx: NativeCallContext, d: &mut Dataset, f: FnPtr| -> ScriptResult<Dataset> {
            let mut new = Vec::with_capacity(d.records().len());
            for r in d.records() {
                let made: Dynamic = f.call_within_context(&ctx, (to_map(r),))?;
                new.push(from_map(r.index, &made)?);
            }
            Ok(d.replaced(new)?)
        },
    );
}
