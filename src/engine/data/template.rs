//! Prompt templates: how a record becomes the text the model reads and the text it is to write.
//!
//! A template has two variants, for records with an input and without. Placeholders are `{instruction}`, `{input}`,
//! `{output}`; a literal brace is written twice, `{{`, as in Python's `str.format`. What stands before `{output}` is the
//! prompt. What stands after it is part of the response; without `{output}` the whole template is the prompt.

use super::record::Record;
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::memory;

/// Stanford Alpaca's `PROMPT_DICT["prompt_input"]` (github.com/tatsu-lab/stanford_alpaca, `train.py`). No newline at the
/// end: the response follows the colon directly.
const ALPACA_INPUT: &str = "Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.\n\n\
### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:";

/// Stanford Alpaca's `PROMPT_DICT["prompt_no_input"]`.
const ALPACA_NO_INPUT: &str = "Below is an instruction that describes a task. \
Write a response that appropriately completes the request.\n\n\
### Instruction:\n{instruction}\n\n### Response:";

/// Names that [`Template::named`] knows.
pub const NAMES: &[&str] = &["alpaca", "alpaca-newline"];

/// A prompt template with its two variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    with_input: Variant,
    without_input: Variant,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Variant {
    prompt: Vec<Part>,
    suffix: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Instruction,
    Input,
}

impl Default for Template {
    /// [`Template::alpaca`].
    fn default() -> Self {
        Template::alpaca()
    }
}

impl Template {
    /// Stanford Alpaca's own templates, to the letter: they end in `### Response:` without a newline.
    pub fn alpaca() -> Self {
        Self::alpaca_ending("")
    }

    /// Alpaca's templates as most later projects write them: a newline after `### Response:`.
    pub fn alpaca_newline() -> Self {
        Self::alpaca_ending("\n")
    }

    fn alpaca_ending(end: &str) -> Self {
        // Cannot fail: the texts are constants with known placeholders, and the tests render them.
        Self::new(&format!("{ALPACA_INPUT}{end}"), &format!("{ALPACA_NO_INPUT}{end}"))
            .unwrap_or_else(|e| unreachable!("built-in template: {e}"))
    }

    /// The template called `name`: `"alpaca"` or `"alpaca-newline"`.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "alpaca" => Ok(Self::alpaca()),
            "alpaca-newline" => Ok(Self::alpaca_newline()),
            _ => Err(unknown_name("template", name, NAMES.iter().copied())),
        }
    }

    /// A template of one's own. `without_input` is used for records whose input is empty.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown placeholder, a lone brace, a second `{output}`, or a template that uses neither
    /// `{instruction}` nor `{input}`.
    pub fn new(with_input: &str, without_input: &str) -> Result<Self> {
        Ok(Template { with_input: Variant::parse(with_input)?, without_input: Variant::parse(without_input)? })
    }

    /// A template of one text for all records, with or without an input.
    pub fn single(text: &str) -> Result<Self> {
        Self::new(text, text)
    }

    /// What the model reads.
    pub fn prompt(&self, record: &Record) -> String {
        render(&self.variant(record).prompt, record)
    }

    /// What the model is to write after it: the output, and what the template puts after `{output}`.
    pub fn response(&self, record: &Record) -> String {
        format!("{}{}", record.output, render(&self.variant(record).suffix, record))
    }

    /// Whether prompt and response of `record` fit into memory: a template may repeat its parts.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if they do not.
    pub fn check(&self, record: &Record) -> Result<()> {
        let variant = self.variant(record);
        let sizes = variant.prompt.iter().chain(&variant.suffix).map(|part| part.text(record).len());
        let bytes = sizes.chain([record.output.len()]).try_fold(0usize, usize::checked_add);
        memory::check(|| "template: the text of a record".into(), bytes)
    }

    fn variant(&self, record: &Record) -> &Variant {
        if record.input.is_empty() { &self.without_input } else { &self.with_input }
    }
}

fn render(parts: &[Part], record: &Record) -> String {
    parts.iter().map(|part| part.text(record)).collect()
}

impl Part {
    fn text<'a>(&'a self, record: &'a Record) -> &'a str {
        match self {
            Part::Text(text) => text,
            Part::Instruction => &record.instruction,
            Part::Input => &record.input,
        }
    }
}

impl Variant {
    fn parse(template: &str) -> Result<Self> {
        let mut variant = Variant::default();
        let mut literal = String::new();
        let mut output_seen = false;
        let mut chars = template.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '{' | '}' if chars.peek().is_some_and(|(_, next)| *next == c) => {
                    chars.next();
                    literal.push(c);
                }
                '{' => {
                    let Some(length) = template[at + 1..].find('}') else { return Err(lone_brace(template, at)) };
                    let name = &template[at + 1..at + 1 + length];
                    let parts = if output_seen { &mut variant.suffix } else { &mut variant.prompt };
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    match name {
                        "instruction" => parts.push(Part::Instruction),
                        "input" => parts.push(Part::Input),
                        "output" if output_seen => {
                            return Err(Error::config("template: `{output}` stands in it twice"));
                        }
                        "output" => output_seen = true,
                        _ => {
                            return Err(unknown_name(
                                "placeholder in the template",
                                name,
                                ["instruction", "input", "output"],
                            ));
                        }
                    }
                    while chars.peek().is_some_and(|(i, _)| *i <= at + 1 + length) {
                        chars.next();
                    }
                }
                '}' => return Err(lone_brace(template, at)),
                _ => literal.push(c),
            }
        }
        if !literal.is_empty() {
            let parts = if output_seen { &mut variant.suffix } else { &mut variant.prompt };
            parts.push(Part::Text(literal));
        }
        if variant.prompt.iter().all(|part| matches!(part, Part::Text(_))) && !output_seen {
            return Err(Error::config_help(
                format!("template {template:?} uses nothing of the record"),
                "put {instruction}, and {input} if there is one, where they belong",
            ));
        }
        Ok(variant)
    }
}

fn lone_brace(template: &str, at: usize) -> Error {
    let around: String = template[at..].chars().take(16).collect();
    Error::config_help(
        format!("template: a single brace at byte {at}, before {around:?}"),
        "placeholders are {instruction}, {input} and {output}; a literal brace is written {{ or }}",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the prompts that Alpaca models were trained on, letter for letter (stanford_alpaca `train.py`).
    #[test]
    fn alpaca_is_verbatim() {
        let with = Template::alpaca().prompt(&Record::new("Do.", "It.", "x"));
        assert_eq!(
            with,
            "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
             response that appropriately completes the request.\n\n### Instruction:\nDo.\n\n### Input:\nIt.\n\n### Response:"
        );
        let without = Template::named("alpaca-newline").unwrap().prompt(&Record::new("Do.", "", "x"));
        assert_eq!(
            without,
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\
             ### Instruction:\nDo.\n\n### Response:\n"
        );
    }

    /// Protects text inside records: braces and placeholders there are text, not template.
    #[test]
    fn records_are_not_reinterpreted() {
        let prompt =
            Template::single("{{{instruction}}} {input}").unwrap().prompt(&Record::new("{input} {x", "é}", ""));
        assert_eq!(prompt, "{{input} {x} é}");
    }

    /// Protects the boundary of what is trained: everything from `{output}` on belongs to the response.
    #[test]
    fn output_divides_prompt_from_response() {
        let template = Template::single("Q: {instruction}\nA: {output}\n--{input}").unwrap();
        let record = Record::new("why", "note", "because");
        assert_eq!(template.prompt(&record), "Q: why\nA: ");
        assert_eq!(template.response(&record), "because\n--note");
        assert_eq!(Template::alpaca().response(&record), "because");
    }

    /// Protects against silent misspellings in a template.
    #[test]
    fn bad_templates_are_explained() {
        let error = Template::single("{instructions}").unwrap_err();
        assert!(error.to_string().contains("`instructions`") && error.help().unwrap().contains("instruction"));
        for bad in ["{instruction", "x } {instruction}", "{instruction}{", "{output}{output}", "fixed", "", "{}"] {
            assert!(Template::single(bad).is_err(), "{bad:?}");
        }
        assert!(Template::named("alpacca").unwrap_err().help().unwrap().contains("`alpaca`"));
    }
}
