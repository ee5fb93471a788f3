//! `plot::`: figures from a script's numbers.

use super::error::placed;
use super::options_map::type_name;
use super::registration::{function, method};
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::figure::{self, Bars, Body, Group, Panel, Rule, Series};
use crate::engine::{Error, Result};
use rhai::{Array, Dynamic, Engine, Map, Module, NativeCallContext};
use std::path::Path;
use std::sync::Arc;

/// A figure as scripts hold it.
#[derive(Debug, Clone)]
pub struct Figure(pub Arc<figure::Figure>);

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine.register_type_with_name::<Figure>("Figure");
    let mut module = Module::new();
    function("line", ["options: Map", "Figure"])
        .set_into_module(&mut module, |at: NativeCallContext, options: Map| placed(&at, line(options)));
    function("bars", ["options: Map", "Figure"])
        .set_into_module(&mut module, |at: NativeCallContext, options: Map| placed(&at, bars(options)));
    engine.register_static_module("plot", module.into());
    engine
        .register_get("svg", |f: &mut Figure| f.0.svg())
        .register_get("html", |f: &mut Figure| f.0.html())
        .register_fn("to_string", |f: &mut Figure| format!("Figure({})", f.0.title));
    let c = ctx.clone();
    method("save", ["figure: Figure", "path: string", "()"]).register_into_engine(
        engine,
        move |f: &mut Figure, path: &str| -> ScriptResult<()> {
            c.access.write(path)?;
            Ok(f.0.save(Path::new(path))?)
        },
    );
}

/// The maps of `value`, an array under `key`; none if there is no value.
fn maps(key: &str, value: Option<Dynamic>) -> Result<Vec<Map>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let wrong = |what: &str| Error::config(format!("plot: option `{key}` must be an array of maps, not {what}"));
    let array = value.try_cast::<Array>().ok_or_else(|| wrong("one value"))?;
    let one = |v: Dynamic| {
        let name = type_name(&v);
        v.try_cast::<Map>().ok_or_else(|| wrong(name))
    };
    array.into_iter().map(one).collect()
}

/// Numbers, of which some may be missing: `()` or NaN.
fn numbers(o: &mut OptionsMap, key: &'static str, of: &str) -> Result<Option<Vec<f64>>> {
    let Some(value) = o.value_opt(key) else { return Ok(None) };
    let wrong = |what: &str| Error::config(format!("plot: `{key}` of {of} must be an array of numbers, not {what}"));
    let name = type_name(&value);
    let array = value.try_cast::<Array>().ok_or_else(|| wrong(name))?;
    let number = |v: &Dynamic| match v {
        v if v.is_unit() => Ok(f64::NAN),
        v => v
            .as_float()
            .or_else(|_| v.as_int().map(|n| n as f64))
            .map_err(|_| wrong(&format!("one with {}", type_name(v)))),
    };
    array.iter().map(number).collect::<Result<Vec<f64>>>().map(Some)
}

fn rule(map: Option<Map>) -> Result<Option<Rule>> {
    let Some(map) = map else { return Ok(None) };
    let mut o = OptionsMap::new("plot's reference", map);
    let rule = Rule { label: o.string_or("label", "reference")?, value: o.float("value")? };
    o.finish()?;
    Ok(Some(rule))
}

fn line(options: Map) -> ScriptResult<Figure> {
    let mut o = OptionsMap::new("plot::line", options);
    let (title, subtitle) = (o.string_or("title", "")?, o.string_or("subtitle", "")?);
    let mut panel = Panel {
        x_label: o.string_or("x_label", "")?,
        y_label: o.string_or("y_label", "")?,
        log_x: o.bool_or("log_x", false)?,
        log_y: o.bool_or("log_y", false)?,
        from_zero: o.bool_or("from_zero", false)?,
        ..Panel::default()
    };
    panel.rules.extend(rule(o.map_opt("reference")?)?);
    for (i, map) in maps("series", o.value_opt("series"))?.into_iter().enumerate() {
        panel.series.push(series(map, i)?);
    }
    o.finish()?;
    // Steps and counts are whole; half of one is none.
    let xs = || panel.series.iter().flat_map(|s| &s.points).map(|p| p.0);
    panel.whole_x = !panel.log_x && xs().all(|x| x.fract() == 0.0) && xs().any(|x| (0.0..=1.0).contains(&x));
    Ok(Figure(Arc::new(figure::Figure { title, subtitle, body: Body::Lines(vec![panel]) })))
}

fn series(map: Map, i: usize) -> Result<Series> {
    let mut o = OptionsMap::new("plot::line's series", map);
    let name = o.string_or("name", "")?;
    let of = if name.is_empty() { format!("series {i}") } else { format!("series `{name}`") };
    let y = numbers(&mut o, "y", &of)?.ok_or_else(|| Error::config(format!("plot::line: {of} has no `y`")))?;
    let x = numbers(&mut o, "x", &of)?.unwrap_or_else(|| (1..=y.len()).map(|i| i as f64).collect());
    if x.len() != y.len() {
        let message = format!("plot::line: {of} has {} values of `x` and {} of `y`", x.len(), y.len());
        return Err(Error::config_help(message, "each point has one of both; `()` in `y` is a gap"));
    }
    let series = Series {
        name,
        points: x.into_iter().zip(y).collect(),
        faint: o.bool_or("faint", false)?,
        smooth: o.bool_or("smooth", false)?,
        marks: o.bool_or("marks", false)?,
        dashed: o.bool_or("dashed", false)?,
        ..Series::default()
    };
    o.finish()?;
    Ok(series)
}

fn bars(options: Map) -> ScriptResult<Figure> {
    let mut o = OptionsMap::new("plot::bars", options);
    let (title, subtitle) = (o.string_or("title", "")?, o.string_or("subtitle", "")?);
    let mut bars = Bars {
        x_label: o.string_or("x_label", "")?,
        y_label: o.string_or("y_label", "")?,
        categories: o.strings("categories")?,
        stacked: o.bool_or("stacked", false)?,
        lying: o.bool_or("horizontal", false)?,
        reference: rule(o.map_opt("reference")?)?,
        groups: Vec::new(),
    };
    for (i, map) in maps("series", o.value_opt("series"))?.into_iter().enumerate() {
        let group = group(map, i)?;
        if group.values.len() != bars.categories.len() {
            let (have, need) = (group.values.len(), bars.categories.len());
            let message = format!("plot::bars: series `{}` has {have} values for {need} categories", group.name);
            return Err(Error::config_help(message, "one value for each category; `()` where there is none").into());
        }
        if let Some(v) = group.values.iter().find(|v| bars.stacked && **v < 0.0) {
            let message = format!("plot::bars: series `{}` has {v}, and stacked bars add up", group.name);
            return Err(Error::config_help(message, "leave out `stacked` where values may be negative").into());
        }
        bars.groups.push(group);
    }
    o.finish()?;
    Ok(Figure(Arc::new(figure::Figure { title, subtitle, body: Body::Bars(bars) })))
}

fn group(map: Map, i: usize) -> Result<Group> {
    let mut o = OptionsMap::new("plot::bars's series", map);
    let name = o.string_or("name", "")?;
    let of = if name.is_empty() { format!("series {i}") } else { format!("series `{name}`") };
    let values = numbers(&mut o, "values", &of)?;
    let values = values.ok_or_else(|| Error::config(format!("plot::bars: {of} has no `values`")))?;
    o.finish()?;
    Ok(Group { name, values })
}
