//! Conversations to token ids, and which of them the assistant writes: those are learned, in any number of turns.
//!
//! A template that marks them with `{% generation %}` is taken at its word, as by transformers and TRL. Any other is asked:
//! what it writes for the turns before an answer, with the opening of the answer, must be where the answer begins in the
//! whole text, and what it writes up to the answer where it ends. A template that words earlier turns differently once
//! others follow (some cut old reasoning) cannot be asked so, and that is an error.
//!
//! The token that ends an answer is learned with it. White space that a template puts behind that token is not: a model
//! has stopped by then.

use super::record::Turn;
use super::tokenize::TextTokenizer;
use super::wording::messages;
use crate::engine::tokenizer::ChatTemplate;
use crate::engine::{Error, Result};
use std::ops::Range;

/// Token ids, and for each whether it is learned.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Masked {
    pub ids: Vec<u32>,
    pub learned: Vec<bool>,
}

/// `turns` as `template` writes them. With `eos`, an answer at the end that nothing ends gets that token.
pub(super) fn encode(
    turns: &[Turn],
    template: &ChatTemplate,
    tokenizer: &dyn TextTokenizer,
    eos: Option<u32>,
) -> Result<Masked> {
    let (text, spans) = if template.is_marked() { marked(turns, template)? } else { asked(turns, template)? };
    let (ids, spans) = divided(&text, &spans, tokenizer)?;
    let mut masked = Masked { learned: vec![false; ids.len()], ids };
    for span in &spans {
        masked.learned[answer(&masked.ids, span.clone(), tokenizer)?].fill(true);
    }
    let ended = || spans.last().is_some_and(|last| masked.ids[last.clone()].iter().any(|&id| tokenizer.ends_turn(id)));
    if let (Some(eos), Some(last)) = (eos, turns.last())
        && last.learned
        && !ended()
        && spans.last().is_some_and(|last| last.end == masked.ids.len())
    {
        masked.ids.push(eos);
        masked.learned.push(true);
    }
    Ok(masked)
}

/// The text, and the bytes of it that are learned, as the template marks them.
fn marked(turns: &[Turn], template: &ChatTemplate) -> Result<(String, Vec<Range<usize>>)> {
    let (text, spans) = template.render_marked(&messages(turns))?;
    let answers: Vec<&Turn> = turns.iter().filter(|turn| turn.role == "assistant").collect();
    if answers.iter().all(|turn| turn.learned) {
        return Ok((text, spans));
    }
    if spans.len() != answers.len() {
        return Err(Error::config(format!(
            "the chat template marks {} generations for {} answers, so that those not to be learned cannot be told",
            spans.len(),
            answers.len()
        )));
    }
    let learned = spans.into_iter().zip(answers).filter(|(_, turn)| turn.learned).map(|(span, _)| span);
    let learned = learned.collect();
    Ok((text, learned))
}

/// The text, and the bytes of it that are learned, by what the template writes of the first turns alone.
fn asked(turns: &[Turn], template: &ChatTemplate) -> Result<(String, Vec<Range<usize>>)> {
    let all = messages(turns);
    let text = template.render(&all, false)?;
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (i, _) in turns.iter().enumerate().filter(|(_, turn)| turn.learned) {
        let before = template.render(&all[..i], true).map_err(|e| match (i, e) {
            (0, Error::Config { message, .. }) => Error::config_help(
                format!("it begins with the assistant, before which the template writes nothing ({message})"),
                "leave such records out: data.filter(|r| r.messages[0].role != \"assistant\")",
            ),
            (_, e) => e,
        })?;
        let end =
            if i + 1 == turns.len() { text.len() } else { prefix(&template.render(&all[..=i], false)?, &text, i)? };
        let start = prefix(&before, &text, i)?;
        // A template that writes less where more turns are there would give answers that lie across each other.
        let behind = spans.last().map_or(0, |last| last.end);
        if start < behind || end < start {
            return Err(rewrites(i, &text[start.min(end)..]));
        }
        spans.push(start..end);
    }
    Ok((text, spans))
}

/// The length of `part`, if `text` begins with it.
fn prefix(part: &str, text: &str, turn: usize) -> Result<usize> {
    if text.starts_with(part) {
        return Ok(part.len());
    }
    let parted = part.char_indices().zip(text.chars()).find(|((_, a), b)| a != b).map_or(text.len(), |((at, _), _)| at);
    Err(rewrites(turn, &part[parted.min(part.len())..]))
}

fn rewrites(turn: usize, from: &str) -> Error {
    let from: String = from.chars().take(24).collect();
    Error::config_help(
        format!(
            "the chat template writes the text around turn {turn} differently when other turns follow (from {from:?} on), \
             so what the assistant writes cannot be told"
        ),
        "use a template that marks it with {% generation %} and {% endgeneration %}, or records with one answer",
    )
}

/// Token ids of `text`, and `spans` as ranges of them. The text is tokenized as one, as transformers does it; where a
/// token would lie across the border of a span, the text is cut there, as it is when a model is asked.
fn divided(text: &str, spans: &[Range<usize>], tokenizer: &dyn TextTokenizer) -> Result<(Vec<u32>, Vec<Range<usize>>)> {
    let mut done: Vec<u32> = Vec::new();
    let mut from = 0;
    let mut rest = tokenizer.encode(text)?;
    // A border behind `from` that no token lies across, and how many of `rest` come before it.
    let (mut sure, mut count) = (0, 0);
    let mut position = |border: usize| -> Result<usize> {
        if border == text.len() {
            return Ok(done.len() + rest.len());
        }
        // From there on first: a conversation is not to be tokenized once for each of its turns.
        let step = tokenizer.encode(&text[sure..border])?;
        if rest[count..].starts_with(&step) {
            (sure, count) = (border, count + step.len());
            return Ok(done.len() + count);
        }
        // Some tokenizers treat the beginning of a text differently.
        let part = if sure == from { step } else { tokenizer.encode(&text[from..border])? };
        if rest.starts_with(&part) {
            (sure, count) = (border, part.len());
            return Ok(done.len() + count);
        }
        done.extend(part);
        (from, sure, count) = (border, border, 0);
        rest = tokenizer.encode(&text[from..])?;
        Ok(done.len())
    };
    let mut ranges = Vec::with_capacity(spans.len());
    for span in spans {
        ranges.push(position(span.start)?..position(span.end)?);
    }
    done.extend(rest);
    Ok((done, ranges))
}

/// The tokens to learn of an answer at `span`: to the token that ends it, which some templates mark as not generated, and
/// without the white space behind.
fn answer(ids: &[u32], span: Range<usize>, tokenizer: &dyn TextTokenizer) -> Result<Range<usize>> {
    let ends = |at: usize| ids.get(at).is_some_and(|&id| tokenizer.ends_turn(id));
    let Some(last) = span.clone().rev().find(|&at| ends(at)) else {
        let end = if ends(span.end) { span.end + 1 } else { span.end };
        return Ok(span.start..end);
    };
    let behind = tokenizer.decode_raw(&ids[last + 1..span.end])?;
    Ok(span.start..if behind.trim().is_empty() { last + 1 } else { span.end })
}

#[cfg(test)]
mod tests {
    use super::super::tokenize::toy::{EOS, Toy};
    use super::*;

    /// Each turn as `<role>content` and, in front of an answer to come, `<assistant>`.
    const PLAIN: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

    fn talk(turns: &[(&str, &str)]) -> Vec<Turn> {
        turns.iter().map(|(role, text)| Turn::new(*role, *text)).collect()
    }

    fn run(template: &str, turns: &[Turn]) -> Result<Vec<(String, bool)>> {
        let toy = Toy { bos: false, eos: true, pad: true };
        let masked = encode(turns, &ChatTemplate::new(template, "", "").unwrap(), &toy, Some(EOS))?;
        super::super::tokenize::segments(&toy, &masked.ids, |i| masked.learned[i])
    }

    fn texts(parts: &[(String, bool)]) -> Vec<&str> {
        parts.iter().filter(|(_, learned)| *learned).map(|(text, _)| text.as_str()).collect()
    }

    /// Protects masks over many turns: every answer, nothing else; an end where the template writes none.
    #[test]
    fn every_answer_is_learned() {
        let turns = talk(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("assistant", "e")]);
        let parts = run(PLAIN, &turns).unwrap();
        assert_eq!(texts(&parts), ["b\n", "d\n", "e\n</s>"]);
        assert_eq!(parts.concat_text(), "<user>a\n<assistant>b\n<user>c\n<assistant>d\n<assistant>e\n</s>");
        // The end belongs to an answer, not to a question.
        let open = run(PLAIN, &talk(&[("assistant", "b"), ("user", "c")])).unwrap();
        assert_eq!((texts(&open), open.concat_text().as_str()), (vec!["b\n"], "<assistant>b\n<user>c\n"));
    }

    /// Protects turns that are context only, in templates with and without marks.
    #[test]
    fn context_is_not_learned() {
        let mut turns = talk(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]);
        turns[1].learned = false;
        assert_eq!(texts(&run(PLAIN, &turns).unwrap()), ["d\n</s>"]);
        let marked = PLAIN.replace("{{ m.content }}", "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}");
        assert_eq!(texts(&run(&marked, &turns[..3]).unwrap()), [""; 0]);
        let once = marked.replace("m.role == 'assistant'", "loop.last");
        assert!(run(&once, &turns).unwrap_err().to_string().contains("marks 1 generations for 2 answers"));
    }

    /// Protects against masks that are off: a template that words the past anew cannot be asked, and says so.
    #[test]
    fn rewritten_history_is_an_error() {
        let turns = talk(&[("user", "a"), ("assistant", "long thought"), ("user", "c"), ("assistant", "d")]);
        let forgets = "{% for m in messages %}<{{ m.role }}>{% if loop.last or m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}\
                       {% if add_generation_prompt %}<assistant>{% endif %}";
        let error = run(forgets, &turns).unwrap_err();
        assert!(
            error.to_string().contains("around turn 1") && error.to_string().contains("\"long thought\""),
            "{error}"
        );
        assert!(error.help().unwrap().contains("{% generation %}"));
        assert_eq!(texts(&run(forgets, &turns[..2]).unwrap()), ["long thought</s>"]);
        let first = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}x";
        let error = run(first, &talk(&[("user", "a"), ("assistant", "b"), ("user", "c")])).unwrap();
        assert_eq!(texts(&error), [""; 0]);
        // One that writes nothing of the first answer once there is a question behind it.
        let shrinks = format!("{{% if messages|length != 3 or not add_generation_prompt %}}{PLAIN}{{% endif %}}");
        assert!(run(&shrinks, &turns).unwrap_err().to_string().contains("around turn 3"));
        let error = run("{{ messages[0].content.strip() }}", &talk(&[("assistant", "b"), ("user", "c")])).unwrap_err();
        assert!(error.to_string().contains("begins with the assistant"), "{error}");
    }

    trait Text {
        fn concat_text(&self) -> String;
    }

    impl Text for Vec<(String, bool)> {
        fn concat_text(&self) -> String {
            self.iter().map(|(text, _)| text.as_str()).collect()
        }
    }
}
