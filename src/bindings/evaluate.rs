//! What models say of given texts, and how their own answers score: `model.loglikelihoods(..)`, `choose`, `text_loss`,
//! `score`. `std/evaluate` is made of these.

use super::data::Examples;
use super::generate::{config, limits, prompt_ids, shown, with_options};
use super::llama::Model;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::data::metrics::Normal;
use crate::engine::error::{Error, Result};
use crate::engine::evaluate::likelihood::{Chosen, Item, Likelihood};
use crate::engine::evaluate::score::{Answered, Asked, ScoreOptions};
use crate::engine::evaluate::strided::{Strided, Weighting};
use rhai::{Array, Dynamic, Engine, INT, ImmutableString, Map};

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    with_options(engine, ctx, "loglikelihoods", ["pairs: Array", "Array"], loglikelihoods);
    with_options(engine, ctx, "choose", ["items: Array", "Array"], choose);
    with_options(engine, ctx, "text_loss", ["text: string or Array", "Map"], text_loss);
    with_options(engine, ctx, "score", ["asked: Array", "Map"], score);
}

/// `map[key]` as a string, or an error that names item `i` of `what`.
fn text_of(map: &Map, key: &str, what: &str, i: usize) -> Result<String> {
    match map.get(key).map(|v| (v.read_lock::<ImmutableString>(), v.type_name())) {
        Some((Some(text), _)) => Ok(text.to_string()),
        Some((None, other)) => Err(Error::config(format!("{what} {i}: `{key}` must be a string, not {other}"))),
        None => {
            let has = map.keys().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
            Err(Error::config(format!("{what} {i} has no `{key}` (it has {has})")))
        }
    }
}

fn each_map<T>(list: &Array, what: &str, read: impl Fn(usize, &Map) -> Result<T>) -> Result<Vec<T>> {
    let item = |(i, item): (usize, &Dynamic)| match item.read_lock::<Map>() {
        Some(map) => read(i, &map),
        None => Err(Error::config(format!("{what} {i} must be a map, not {}", item.type_name()))),
    };
    list.iter().enumerate().map(item).collect()
}

fn likelihood(l: &Likelihood) -> Map {
    Map::from([
        ("loglikelihood".into(), l.sum.into()),
        ("tokens".into(), (l.tokens as INT).into()),
        ("greedy".into(), l.greedy.into()),
    ])
}

fn loglikelihoods(ctx: &Context, model: &mut Model, pairs: Array, options: Map) -> ScriptResult<Array> {
    let mut o = OptionsMap::new("loglikelihoods", options);
    let (limits, label) = (limits(&mut o)?, o.string_or("progress", "")?);
    o.finish()?;
    let texts = |(i, item): (usize, &Dynamic)| {
        let pair = item.read_lock::<Array>().filter(|p| p.len() == 2);
        let texts = pair.and_then(|p| Some((p[0].clone().into_string().ok()?, p[1].clone().into_string().ok()?)));
        texts.ok_or_else(|| Error::config(format!("pair {i} must be [context, continuation], two strings")))
    };
    let pairs = pairs.iter().enumerate().map(texts).collect::<Result<Vec<_>>>()?;
    let progress = shown(ctx, &label, pairs.len());
    let found = model
        .write()
        .loglikelihoods(&pairs, limits, &mut |done, all| progress.update(part(done, all, pairs.len()), &[]))?;
    progress.finish();
    Ok(found.iter().map(|l| Dynamic::from_map(likelihood(l))).collect())
}

/// `done` of `all` sequences, in terms of `total` items.
fn part(done: usize, all: usize, total: usize) -> u64 {
    (done * total / all.max(1)) as u64
}

fn choose(ctx: &Context, model: &mut Model, items: Array, options: Map) -> ScriptResult<Array> {
    let mut o = OptionsMap::new("choose", options);
    let (limits, label) = (limits(&mut o)?, o.string_or("progress", "")?);
    let delimiter = o.string_or("delimiter", " ")?;
    o.finish()?;
    let items = each_map(&items, "item", |i, map| {
        let choices = map
            .get("choices")
            .and_then(|c| c.read_lock::<Array>().map(|a| a.clone()))
            .ok_or_else(|| Error::config(format!("item {i} needs `choices`, an array of strings")))?;
        let text = |c: Dynamic| {
            c.into_string().map_err(|t| Error::config(format!("item {i}: each of `choices` must be a string, not {t}")))
        };
        let answer = match map.get("answer").filter(|a| !a.is_unit()) {
            None => None,
            Some(a) => Some(a.as_int().ok().and_then(|a| usize::try_from(a).ok()).ok_or_else(|| {
                Error::config(format!("item {i}: `answer` must be the index of a choice, from 0, not {a}"))
            })?),
        };
        let choices = choices.into_iter().map(text).collect::<Result<Vec<_>>>()?;
        Ok(Item { context: text_of(map, "context", "item", i)?, choices, answer })
    })?;
    let progress = shown(ctx, &label, items.len());
    let chosen = model
        .write()
        .choose(&items, &delimiter, limits, &mut |done, all| progress.update(part(done, all, items.len()), &[]))?;
    progress.finish();
    let facts = |c: &Chosen| {
        Map::from([
            ("pick".into(), (c.pick as INT).into()),
            ("pick_norm".into(), (c.pick_norm as INT).into()),
            ("pick_bytes".into(), (c.pick_bytes as INT).into()),
            ("choices".into(), c.choices.iter().map(|l| Dynamic::from_map(likelihood(l))).collect::<Array>().into()),
        ])
    };
    Ok(chosen.iter().map(|c| Dynamic::from_map(facts(c))).collect())
}

fn text_loss(ctx: &Context, model: &mut Model, text: Dynamic, options: Map) -> ScriptResult<Map> {
    let mut o = OptionsMap::new("text_loss", options);
    let how = Strided {
        window: o.usize_opt("window")?,
        stride: o.usize_opt("stride")?,
        weighting: o.string_opt("weighting")?.map_or(Ok(Weighting::default()), |n| Weighting::named(&n))?,
        limits: limits(&mut o)?,
    };
    let label = o.string_or("progress", "")?;
    o.finish()?;
    let mut model = model.write();
    let ids = prompt_ids(&model, &text)?;
    let progress = shown(ctx, &label, ids.len());
    let found = model.text_loss(&ids, &how, &mut |done, all| progress.update(part(done, all, ids.len()), &[]))?;
    progress.finish();
    let mut facts = Map::from([
        ("loss".into(), found.loss.into()),
        ("perplexity".into(), found.perplexity().into()),
        ("tokens".into(), (found.tokens as INT).into()),
        ("windows".into(), (found.windows as INT).into()),
    ]);
    if let Some(text) = text.read_lock::<ImmutableString>() {
        let bits = found.sum / std::f64::consts::LN_2 / text.len() as f64;
        facts.insert("bits_per_byte".into(), bits.into());
    }
    Ok(facts)
}

fn score(ctx: &Context, model: &mut Model, asked: Array, options: Map) -> ScriptResult<Map> {
    let mut o = OptionsMap::new("score", options);
    let how = ScoreOptions {
        generate: config(&mut o)?,
        limits: limits(&mut o)?,
        normal: o.string_opt("normalize")?.map_or(Ok(Normal::default()), |n| Normal::named(&n))?,
        stemming: o.bool_or("stemming", false)?,
    };
    let examples: Option<Examples> = o.object_opt("examples", "Examples")?;
    let label = o.string_or("progress", "")?;
    o.finish()?;
    let asked = each_map(&asked, "item", |i, map| {
        let text = |key| text_of(map, key, "item", i);
        Ok(Asked { prompt: text("prompt")?, reference: text("reference")? })
    })?;
    let progress = shown(ctx, &label, asked.len());
    let examples = examples.as_ref().map(|e| &e.0);
    let (scores, answers) =
        model.write().score(asked, examples, &how, &mut |done| progress.update(done as u64, &[]))?;
    progress.finish();
    let mut map = rhai::serde::to_dynamic(scores)?.cast::<Map>(); // a struct is a map
    map.insert("answers".into(), answers.iter().map(|a| Dynamic::from_map(answered(a))).collect::<Array>().into());
    Ok(map)
}

fn answered(a: &Answered) -> Map {
    Map::from([
        ("prompt".into(), a.asked.prompt.clone().into()),
        ("reference".into(), a.asked.reference.clone().into()),
        ("answer".into(), a.answer.text.clone().into()),
        ("reason".into(), a.answer.reason.name().to_string().into()),
        ("tokens".into(), (a.answer.ids.len() as INT).into()),
        ("exact_match".into(), a.exact_match.into()),
        ("rouge_1".into(), a.rouge.rouge_1.f1.into()),
        ("rouge_2".into(), a.rouge.rouge_2.f1.into()),
        ("rouge_l".into(), a.rouge.rouge_l.f1.into()),
        ("chrf".into(), a.chrf.into()),
    ])
}
