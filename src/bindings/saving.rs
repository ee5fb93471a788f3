//! Results as text and as files: `text::json(value)`, `write_file(path, text)`.

use super::registration::function;
use super::{Context, ScriptResult};
use crate::engine::atomic::write_atomic;
use crate::engine::error::{Error, Result};
use rhai::{Array, Dynamic, Engine, Map};
use serde_json::Value as Json;

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    function("write_file", ["path: string", "text: string"]).register_into_engine(
        engine,
        move |path: &str, text: &str| -> ScriptResult<()> {
            let path = c.access.write(path)?;
            if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
                std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
            }
            Ok(write_atomic(&path, text.as_bytes())?)
        },
    );
}

/// `value` as JSON, on several lines. JSON has no numbers that are not finite: they become null.
pub(super) fn json(value: &Dynamic) -> Result<String> {
    let json = to_json(value)?;
    serde_json::to_string_pretty(&json).map_err(|e| Error::config(format!("text::json: {e}")))
}

fn to_json(value: &Dynamic) -> Result<Json> {
    if let Some(map) = value.read_lock::<Map>() {
        let entry = |(key, value): (&rhai::Identifier, &Dynamic)| Ok((key.to_string(), to_json(value)?));
        return Ok(Json::Object(map.iter().map(entry).collect::<Result<_>>()?));
    }
    if let Some(list) = value.read_lock::<Array>() {
        return Ok(Json::Array(list.iter().map(to_json).collect::<Result<_>>()?));
    }
    if value.is_unit() {
        return Ok(Json::Null);
    }
    let plain = value.as_bool().map(Json::from);
    let plain = plain.or_else(|_| value.as_int().map(Json::from)).or_else(|_| value.as_float().map(Json::from));
    let plain = plain.or_else(|_| value.clone().into_string().map(Json::from));
    plain.map_err(|other| Error::config(format!("text::json: a {other} has no form in JSON")))
}
