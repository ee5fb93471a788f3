//! One record to its examples: ids and labels, cut at `max_seq_len`.

use super::IGNORE_INDEX;
use super::chat::{self, Masked};
use super::record::Record;
use super::template::Template;
use super::tokenize::{Example, TextTokenizer, TokenizeOptions, prompt_ids};
use super::wording::{Worded, Wording};
use crate::engine::{Error, Result, interrupt};
use rayon::prelude::*;

/// Documents are tokenized in parts of about so many bytes, which ends between two lines: the tokenizer holds a multiple of
/// what it works on.
const PART: usize = 1 << 20;

/// What all records are encoded with.
pub(super) struct Encoder<'a> {
    pub tokenizer: &'a dyn TextTokenizer,
    pub options: &'a TokenizeOptions,
    pub eos: Option<u32>,
    pub wording: Wording<'a>,
}

impl Encoder<'_> {
    /// The examples of `record` (several for a long document), and how many tokens come before the first that is learned.
    pub(super) fn encode(&self, record: &Record) -> Result<(Vec<Example>, usize)> {
        interrupt::poll()?;
        self.examples(record).map_err(|e| match e {
            Error::Config { message, help, facts } if !message.starts_with("record ") => {
                Error::Config { message: format!("record {}: {message}", record.index), help, facts }
            }
            other => other,
        })
    }

    fn examples(&self, record: &Record) -> Result<(Vec<Example>, usize)> {
        let masked = match self.wording.of(record)? {
            Worded::Document => return Ok((self.document(record)?, 0)),
            Worded::Prompt(template) => self.prompt(record, template)?,
            Worded::Chat(template, turns) => {
                let mut masked = chat::encode(&turns, template, self.tokenizer, self.eos)?;
                let bare = masked.ids.len();
                masked.ids = prompt_ids(self.tokenizer, masked.ids);
                let added = masked.ids.len() - bare;
                masked.learned.splice(0..0, std::iter::repeat_n(false, added));
                masked
            }
        };
        let Masked { mut ids, learned } = masked;
        let prompt = learned.iter().position(|learned| *learned).unwrap_or(learned.len());
        let lost = ids.len().saturating_sub(self.options.max_seq_len);
        ids.truncate(self.options.max_seq_len);
        let keep = |learned: bool| learned || !self.options.mask_prompt;
        let label = |(&id, &learned): (&u32, &bool)| if keep(learned) { i64::from(id) } else { IGNORE_INDEX };
        let labels = ids.iter().zip(&learned).map(label).collect();
        Ok((vec![Example { ids, labels, source: record.index, lost }], prompt))
    }

    fn prompt(&self, record: &Record, template: &Template) -> Result<Masked> {
        template.check(record)?;
        let mut ids = prompt_ids(self.tokenizer, self.tokenizer.encode(&template.prompt(record))?);
        let prompt = ids.len();
        ids.extend(self.tokenizer.encode(&template.response(record))?);
        ids.extend(self.eos);
        let learned = (0..ids.len()).map(|i| i >= prompt).collect();
        Ok(Masked { ids, learned })
    }

    /// A document in pieces. Each begins with the last token of the one before, so that every token of the document but
    /// its first is predicted, once.
    fn document(&self, record: &Record) -> Result<Vec<Example>> {
        let parts: Vec<Vec<u32>> = parts(&record.output)
            .into_par_iter()
            .map(|part| {
                interrupt::poll()?;
                self.tokenizer.encode(part)
            })
            .collect::<Result<_>>()?;
        let mut ids = prompt_ids(self.tokenizer, parts.concat());
        ids.extend(self.eos);
        let mut pieces = Vec::new();
        let mut start = 0usize;
        loop {
            let end = start.saturating_add(self.options.max_seq_len).min(ids.len());
            let piece = ids[start..end].to_vec();
            let labels = piece.iter().map(|&id| i64::from(id)).collect();
            pieces.push(Example { ids: piece, labels, source: record.index, lost: 0 });
            if end == ids.len() {
                return Ok(pieces);
            }
            start = end - 1;
        }
    }
}

/// `text` in parts of about [`PART`] bytes; each but the last ends with a line break that no white space follows.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while rest.len() > PART {
        let bytes = rest.as_bytes();
        let border = (PART..bytes.len()).find(|&at| bytes[at - 1] == b'\n' && !bytes[at].is_ascii_whitespace());
        // A byte after a line break begins a character.
        let (part, left) = rest.split_at(border.unwrap_or(rest.len()));
        parts.push(part);
        rest = left;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::record::{Dataset, Turn};
    use crate::engine::data::tokenize::toy::{BOS, EOS, Toy};
    use crate::engine::data::tokenize::{Tokenized, tokenize};
    use crate::engine::data::wording::Layout;

    fn examples(record: Record, options: &TokenizeOptions) -> Result<Tokenized> {
        tokenize(&Dataset::new("t", [record]), Toy::shared(), options)
    }

    /// Protects pre-training: every token of a document is predicted once, its end too, whatever the length of a piece.
    #[test]
    fn documents_are_learned_whole() {
        let text = "Once upon a time, there was a tokenizer.";
        let whole: Vec<u32> = [vec![BOS], text.bytes().map(u32::from).collect(), vec![EOS]].concat();
        for max_seq_len in 2..50 {
            let options = TokenizeOptions { max_seq_len, ..TokenizeOptions::default() };
            let set = examples(Record::document(text), &options).unwrap();
            let predicted: Vec<u32> = set.examples().iter().flat_map(|e| e.ids[1..].to_vec()).collect();
            assert_eq!(predicted, whole[1..], "{max_seq_len}");
            assert!(set.examples().iter().all(|e| e.ids.len() <= max_seq_len && e.lost == 0));
            assert_eq!(set.stats().label_tokens, whole.len() - 1);
        }
    }

    /// Protects the tokens of long documents from where they are divided for tokenizing.
    #[test]
    fn parts_end_between_lines() {
        let line = "word \u{1F642}\n\n";
        let text = line.repeat(2 * PART / line.len() + 10);
        let parts = parts(&text);
        assert_eq!((parts.len(), parts.concat() == text), (3, true));
        assert!(parts[..2].iter().all(|part| part.ends_with("\n\n") && part.len() < PART + 20));
        assert_eq!(super::parts(""), [""]);
        assert_eq!(super::parts(&"x".repeat(PART + 9)).len(), 1);
    }

    /// Protects prompts with their completions: nothing is put around or between them.
    #[test]
    fn completions_follow_their_prompts() {
        let set = examples(Record::completion("2 + 2 = ", "4"), &TokenizeOptions::default()).unwrap();
        assert_eq!(set.show(0).unwrap(), [("<s>2 + 2 = ".to_string(), false), ("4</s>".to_string(), true)]);
    }

    /// Protects whoever gives a template that a record does not fit: which record, and what to give instead.
    #[test]
    fn records_that_do_not_fit_are_named() {
        let talk = Record::conversation(["user", "assistant", "user", "assistant"].map(|r| Turn::new(r, "x")).to_vec());
        let options = TokenizeOptions { template: Template::alpaca().into(), ..TokenizeOptions::default() };
        let error = examples(talk.clone(), &options).unwrap_err();
        assert!(error.to_string().starts_with("record 0 is a conversation of 4 turns") && error.help().is_some());
        assert!(examples(Record::document("x"), &options).unwrap_err().to_string().contains("learned whole"));
        // One question and its answer are what a prompt template has a place for.
        let short = Record::conversation(talk.turns[..2].to_vec());
        assert_eq!(examples(short, &options).unwrap().examples()[0].label_tokens(), 2);
        let auto = examples(talk.clone(), &TokenizeOptions::default()).unwrap_err();
        assert_eq!(auto.to_string(), "record 0: no chat template");
        let silent = Record::conversation(talk.turns[..1].to_vec());
        let layout = Layout::Chat(Some("{% for m in messages %}{{ m.content }}{% endfor %}".into()));
        let error = examples(silent, &TokenizeOptions { template: layout, ..TokenizeOptions::default() }).unwrap_err();
        assert!(error.to_string().contains("none of the 1 records leaves a token to learn"), "{error}");
    }
}
