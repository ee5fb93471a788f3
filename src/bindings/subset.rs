//! What sets of records and sets of examples have in common in scripts: length, split, shuffle, take.

use super::OptionsMap;
use crate::engine::data::split::Subset;
use crate::engine::{Result, error::Error};
use rhai::{Dynamic, FLOAT, INT, Map};

pub(super) fn count(what: &str, n: INT) -> Result<usize> {
    usize::try_from(n).map_err(|_| Error::config(format!("{what} must be 0 or more, not {n}")))
}

pub(super) fn index(i: INT, len: usize) -> Result<usize> {
    let at = if i < 0 { i.checked_add(len as INT) } else { Some(i) };
    at.and_then(|i| usize::try_from(i).ok())
        .filter(|i| *i < len)
        .ok_or_else(|| Error::config(format!("index {i} is outside a set of {len}")))
}

/// The methods that records and examples share.
macro_rules! subset_methods {
    ($engine:expr, $type:ty, $name:literal, $get:expr, $wrap:expr) => {{
        let engine: &mut Engine = $engine;
        engine.register_get("len", |d: &mut $type| $get(d).len() as INT);
        function("split", [concat!("data: ", $name), "fraction: float", "Map"]).register_into_engine(
            engine,
            |d: &mut $type, fraction: FLOAT| -> ScriptResult<Map> {
                Ok($crate::bindings::subset::split($get(d), fraction, Map::new(), $wrap)?)
            },
        );
        function("split", [concat!("data: ", $name), "fraction: float", "options: Map", "Map"]).register_into_engine(
            engine,
            |d: &mut $type, fraction: FLOAT, options: Map| -> ScriptResult<Map> {
                Ok($crate::bindings::subset::split($get(d), fraction, options, $wrap)?)
            },
        );
        function("shuffle", [concat!("data: ", $name), "seed: int", $name])
            .register_into_engine(engine, |d: &mut $type, seed: INT| $wrap($get(d).shuffle(seed as u64)));
        function("take", [concat!("data: ", $name), "n: int", $name]).register_into_engine(
            engine,
            |d: &mut $type, n: INT| -> ScriptResult<$type> {
                Ok($wrap($get(d).take($crate::bindings::subset::count("take: n", n)?)))
            },
        );
    }};
}

pub(super) fn split<T: Subset, S: rhai::Variant + Clone>(
    data: &T,
    fraction: FLOAT,
    options: Map,
    wrap: impl Fn(T) -> S,
) -> Result<Map> {
    let mut o = OptionsMap::new("split", options);
    let seed = o.int_or("seed", 0)?;
    o.finish()?;
    let (train, val) = data.split(fraction, seed as u64)?;
    Ok(Map::from([("train".into(), Dynamic::from(wrap(train))), ("val".into(), Dynamic::from(wrap(val)))]))
}

pub(super) use subset_methods;
