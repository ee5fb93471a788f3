//! `metrics::`: answers against references, as the packages that papers use.

use super::OptionsMap;
use super::error::placed;
use super::registration::function;
use crate::engine::data::metrics::{Chrf, Normal, exact, gsm8k, rouge};
use crate::engine::error::{Error, Result, unknown_name};
use rhai::{Array, Dynamic, Engine, FLOAT, Map, Module, NativeCallContext};

pub(super) fn register(engine: &mut Engine) {
    let mut module = Module::new();
    function("rouge", ["answer: string", "reference: string", "Map"])
        .set_into_module(&mut module, |at: NativeCallContext, a: &str, r: &str| placed(&at, rouge(a, r, Map::new())));
    function("rouge", ["answer: string", "reference: string", "options: Map", "Map"])
        .set_into_module(&mut module, |at: NativeCallContext, a: &str, r: &str, o: Map| placed(&at, rouge(a, r, o)));
    for (name, what, [answers, references]) in [
        ("chrf", "metrics::chrf", ["answer: string", "reference: string"]),
        ("corpus_chrf", "metrics::corpus_chrf", ["answers: Array", "references: Array"]),
    ] {
        function(name, [answers, references, "float"])
            .set_into_module(&mut module, move |at: NativeCallContext, a: Dynamic, r: Dynamic| {
                placed(&at, chrf(what, &a, &r, Map::new()))
            });
        function(name, [answers, references, "options: Map", "float"])
            .set_into_module(&mut module, move |at: NativeCallContext, a: Dynamic, r: Dynamic, o: Map| {
                placed(&at, chrf(what, &a, &r, o))
            });
    }
    function("exact_match", ["answer: string", "reference: string", "bool"])
        .set_into_module(&mut module, |a: &str, r: &str| exact::exact_match(a, r));
    function("exact_match", ["answer: string", "reference: string", "normalize: string", "bool"])
        .set_into_module(&mut module, |at: NativeCallContext, a: &str, r: &str, n: &str| {
            placed(&at, Normal::named(n).map(|n| n.of(a) == n.of(r)))
        });
    function("f1", ["answer: string", "reference: string", "float"]).set_into_module(&mut module, exact::squad_f1);
    function("gsm8k", ["answer: string", "how: string", "string"])
        .set_into_module(&mut module, |at: NativeCallContext, a: &str, how: &str| placed(&at, number(a, how)));
    function("gsm8k_correct", ["number: string", "reference: string", "bool"])
        .set_into_module(&mut module, gsm8k::matches);
    engine.register_static_module("metrics", module.into());
}

fn rouge(answer: &str, reference: &str, options: Map) -> Result<Map> {
    let mut o = OptionsMap::new("metrics::rouge", options);
    let stemming = o.bool_or("stemming", false)?;
    o.finish()?;
    let found = rouge::scores(answer, reference, stemming)?;
    Ok(Map::from([
        ("rouge_1".into(), found.rouge_1.f1.into()),
        ("rouge_2".into(), found.rouge_2.f1.into()),
        ("rouge_l".into(), found.rouge_l.f1.into()),
        ("rouge_lsum".into(), found.rouge_lsum.f1.into()),
    ]))
}

/// chrF of one pair of texts or of two arrays of them, for the function `what`.
fn chrf(what: &'static str, answers: &Dynamic, references: &Dynamic, options: Map) -> Result<FLOAT> {
    let mut o = OptionsMap::new(what, options);
    let mut chrf = Chrf::new(match o.usize_or("word_order", 0usize)? {
        n @ 0..=4 => n,
        n => return Err(o.invalid("word_order", n, "0 (chrF) to 4; 2 is chrF++")),
    });
    o.finish()?;
    let texts = |value: &Dynamic| -> Result<Vec<String>> {
        let wrong = || Error::config(format!("{what}: a text must be a string, not {}", value.type_name()));
        match value.read_lock::<Array>() {
            Some(list) => list.iter().map(|v| v.clone().into_string().map_err(|_| wrong())).collect(),
            None => Ok(vec![value.clone().into_string().map_err(|_| wrong())?]),
        }
    };
    let (answers, references) = (texts(answers)?, texts(references)?);
    if answers.len() != references.len() {
        let (a, r) = (answers.len(), references.len());
        return Err(Error::config(format!("{what}: {a} answers and {r} references must be as many")));
    }
    answers.iter().zip(&references).for_each(|(a, r)| chrf.add(a, r));
    Ok(chrf.score())
}

fn number(answer: &str, how: &str) -> Result<String> {
    match how {
        "strict" => Ok(gsm8k::strict(answer).to_string()),
        "flexible" => Ok(gsm8k::flexible(answer).to_string()),
        _ => Err(unknown_name("way to read an answer", how, ["strict", "flexible"])),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects the conversions: options, arrays, errors that name what was wrong.
    #[test]
    fn metrics_in_scripts() {
        assert_eq!(run(r#"metrics::rouge("cats sat", "cat sat", #{ stemming: true }).rouge_1"#), "1.0");
        assert_eq!(run(r#"metrics::corpus_chrf(["ab"], ["ab"])"#), "100.0");
        assert_eq!(run(r#"metrics::exact_match("The cat.", "cat", "squad")"#), "true");
        assert_eq!(run(r#"metrics::gsm8k("so 5 - 3 = 2.", "flexible")"#), "2.");
        let wrong = run(r#"metrics::corpus_chrf(["a"], [])"#);
        assert!(wrong.contains("1 answers and 0 references"), "{wrong}");
        assert!(run(r#"metrics::chrf("a", 1)"#).contains("must be a string"), "{}", run(r#"metrics::chrf("a", 1)"#));
    }
}
