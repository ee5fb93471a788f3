//! `report::`: reports of sections, tables, figures and answers.

use super::error::placed;
use super::registration::{function, module_function};
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::number::to_json;
use crate::engine::report::{Answer, Answers, Figure, Report, Table};
use crate::engine::{Error, Result};
use rhai::{Array, Dynamic, Engine, Map, Module, NativeCallContext};
use serde_json::Value as Json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A report as scripts hold it.
#[derive(Clone)]
pub struct ReportHandle(Arc<Mutex<Report>>);

impl ReportHandle {
    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine.register_type_with_name::<ReportHandle>("Report");
    let mut module = Module::new();
    module_function("create", ["title: string", "Report"])
        .set_into_module(&mut module, |at: NativeCallContext, title: &str| placed(&at, create(title, Map::new())));
    module_function("create", ["title: string", "options: Map", "Report"])
        .set_into_module(&mut module, |at: NativeCallContext, title: &str, options: Map| {
            placed(&at, create(title, options))
        });
    engine.register_static_module("report", module.into());

    function("section", ["report: Report", "title: string", "()"])
        .register_into_engine(engine, |r: &mut ReportHandle, title: &str| r.lock().section(title));
    function("text", ["report: Report", "text: string", "()"])
        .register_into_engine(engine, |r: &mut ReportHandle, text: &str| r.lock().text(text, false));
    function("text", ["report: Report", "text: string", "options: Map", "()"]).register_into_engine(
        engine,
        |r: &mut ReportHandle, text: &str, options: Map| -> ScriptResult<()> {
            let mut o = OptionsMap::new("Report.text", options);
            let measured = o.bool_or("measured", false)?;
            o.finish()?;
            r.lock().text(text, measured);
            Ok(())
        },
    );
    function("table", ["report: Report", "options: Map", "()"]).register_into_engine(engine, table);
    function("figure", ["report: Report", "figure: Figure", "()"])
        .register_into_engine(engine, |r: &mut ReportHandle, drawn: Dynamic| figure(r, drawn, Map::new()));
    function("figure", ["report: Report", "figure: Figure", "options: Map", "()"]).register_into_engine(engine, figure);
    function("answers", ["report: Report", "items: Array", "()"])
        .register_into_engine(engine, |r: &mut ReportHandle, items: Array| answers(r, items, Map::new()));
    function("answers", ["report: Report", "items: Array", "options: Map", "()"]).register_into_engine(engine, answers);
    function("data", ["report: Report", "name: string", "value: any", "()"]).register_into_engine(
        engine,
        |r: &mut ReportHandle, name: &str, value: Dynamic| -> ScriptResult<()> {
            let value = json(&value)?;
            r.lock().data(name, value);
            Ok(())
        },
    );
    let c = ctx.clone();
    function("save", ["report: Report", "dir: string", "string"]).register_into_engine(
        engine,
        move |r: &mut ReportHandle, dir: &str| -> ScriptResult<String> {
            let path = r.lock().save(&c.access.write(dir)?)?;
            Ok(path.display().to_string())
        },
    );
}

fn create(title: &str, options: Map) -> Result<ReportHandle> {
    let mut o = OptionsMap::new("report::create", options);
    let subtitle = o.string_or("subtitle", "")?;
    o.finish()?;
    Ok(ReportHandle(Arc::new(Mutex::new(Report::new(title, subtitle)))))
}

/// `value` as JSON; floats that JSON does not have are spelled out.
pub(super) fn json(value: &Dynamic) -> ScriptResult<Json> {
    if let Ok(x) = value.as_float() {
        return Ok(to_json(x));
    }
    if let Some(array) = value.read_lock::<Array>() {
        return array.iter().map(json).collect();
    }
    if let Some(map) = value.read_lock::<Map>() {
        return map.iter().map(|(key, value)| Ok((key.to_string(), json(value)?))).collect();
    }
    rhai::serde::from_dynamic(value)
}

fn table(r: &mut ReportHandle, options: Map) -> ScriptResult<()> {
    let mut o = OptionsMap::new("Report.table", options);
    let columns = o.strings("columns")?;
    let rows = o.value_opt("rows").and_then(|rows| rows.try_cast::<Array>());
    let rows = rows.ok_or_else(|| Error::config("Report.table: option `rows` must be an array of arrays"))?;
    let rows = rows.iter().map(|row| match row.read_lock::<Array>() {
        Some(cells) => cells.iter().map(json).collect(),
        None => Err(Error::config("Report.table: a row must be an array, a cell for each column").into()),
    });
    let table = Table {
        columns,
        rows: rows.collect::<ScriptResult<Vec<Vec<Json>>>>()?,
        caption: o.string_or("caption", "")?,
        source: o.string_or("source", "")?,
        measured: o.strings_or("measured", Vec::new())?,
    };
    o.finish()?;
    Ok(r.lock().table(table)?)
}

fn figure(r: &mut ReportHandle, drawn: Dynamic, options: Map) -> ScriptResult<()> {
    let mut o = OptionsMap::new("Report.figure", options);
    let caption = o.string_or("caption", "")?;
    let source = o.string_or("source", "")?;
    o.finish()?;
    let wrong = Error::config("Report.figure: expected a figure, as `plot::line` and `plot::bars` make");
    let drawn = drawn.try_cast::<super::plot::Figure>().ok_or(wrong)?.0;
    r.lock().figure(Figure { svg: drawn.svg(), html: drawn.html(), caption, source, file: None });
    Ok(())
}

fn answers(r: &mut ReportHandle, items: Array, options: Map) -> ScriptResult<()> {
    let mut o = OptionsMap::new("Report.answers", options);
    let (caption, source) = (o.string_or("caption", "")?, o.string_or("source", "")?);
    o.finish()?;
    let items = items.into_iter().map(|item| {
        let item = item.try_cast::<Map>().ok_or_else(|| Error::config("Report.answers: an item must be a map"))?;
        let mut o = OptionsMap::new("Report.answers", item);
        let answer = Answer {
            label: o.string_or("label", "")?,
            prompt: o.string("prompt")?,
            reference: o.string_or("reference", "")?,
            before: (o.string("before")?, o.string_or("before_facts", "")?),
            after: (o.string("after")?, o.string_or("after_facts", "")?),
        };
        o.finish()?;
        Ok(answer)
    });
    let items = items.collect::<Result<Vec<Answer>>>()?;
    r.lock().answers(Answers { items, caption, source });
    Ok(())
}
