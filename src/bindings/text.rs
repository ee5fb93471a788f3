//! `text::`: what recipes need to word a message or line up a table, and Rhai has no exact way to do.

use super::error::placed;
use super::registration::function;
use super::saving::json;
use crate::engine::error::Error;
use rhai::{Array, Dynamic, Engine, FLOAT, INT, ImmutableString, Module, NativeCallContext};
use unicode_width::UnicodeWidthStr;

/// Places behind the point that an f64 can fill.
const PLACES: INT = 17;

pub(super) fn register(engine: &mut Engine) {
    let mut module = Module::new();
    function("nearest", ["word: string", "choices: Array", "string or ()"]).set_into_module(&mut module, nearest);
    function("width", ["text: string", "int"]).set_into_module(&mut module, |text: &str| text.width() as INT);
    function("fixed", ["x: float", "places: int", "string"])
        .set_into_module(&mut module, |cx: NativeCallContext, x: FLOAT, places: INT| placed(&cx, fixed(x, places)));
    function("fixed", ["x: int", "places: int", "string"])
        .set_into_module(&mut module, |cx: NativeCallContext, x: INT, places: INT| {
            placed(&cx, fixed(x as FLOAT, places))
        });
    function("json", ["value: any", "string"])
        .set_into_module(&mut module, |cx: NativeCallContext, value: Dynamic| placed(&cx, json(&value)));
    engine.register_static_module("text", module.into());
}

fn nearest(word: &str, choices: Array) -> Dynamic {
    let choices = choices.iter().filter_map(|c| c.read_lock::<ImmutableString>().map(|c| c.clone()));
    let scored = choices.map(|c| (strsim::jaro_winkler(word, &c), c)).filter(|(score, _)| *score > 0.8);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(Dynamic::UNIT, |(_, choice)| choice.into())
}

fn fixed(x: FLOAT, places: INT) -> Result<String, Error> {
    if !(0..=PLACES).contains(&places) {
        return Err(Error::config(format!("text::fixed: {places} places; expected 0 to {PLACES}")));
    }
    let text = format!("{x:.*}", places as usize);
    // What rounds to nothing has no sign.
    let zero = x < 0.0 && !text.contains(|c: char| ('1'..='9').contains(&c)) && x.is_finite();
    Ok(if zero { text.trim_start_matches('-').to_string() } else { text })
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects printed numbers: places kept, rounding, no negative zero, what is no number.
    #[test]
    fn fixed_places() {
        assert_eq!(
            run("[text::fixed(1.5, 2), text::fixed(-0.001, 2), text::fixed(3, 1)]"),
            r#"["1.50", "0.00", "3.0"]"#
        );
        assert_eq!(run("[text::fixed(1.0 / 0.0, 2), text::fixed(2.5, 0)]"), r#"["inf", "2"]"#);
        assert_eq!(run("text::fixed(1.0, 99)"), "error: text::fixed: 99 places; expected 0 to 17");
    }

    /// Protects suggestions and tables.
    #[test]
    fn words() {
        assert_eq!(run(r#"text::nearest("learning_rte", ["lr", "learning_rate"])"#), "learning_rate");
        assert_eq!(run(r#"text::nearest("zebra", ["lr"]) == ()"#), "true");
        assert_eq!(run(r#"[text::width("日本"), text::width("e\u0301")]"#), "[4, 1]");
    }
}
