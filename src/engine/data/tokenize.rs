//! Records to token ids and labels.
//!
//! Prompt and response are tokenized separately and then joined, so that the boundary between what is read and what is
//! learned falls between two tokens, always. (Stanford's `train.py` tokenizes prompt + response as one text and masks as
//! many tokens as the prompt alone has: off by one wherever a token spans the boundary.)
//!
//! ```text
//! ids     [bos] prompt..            response..  eos
//! labels  -100  -100 ..             response..  eos      (mask_prompt: false: labels = ids)
//! ```
//!
//! `labels[i]` is the label *of* token `i`; the model predicts it from position `i - 1` and shifts inside, as in
//! transformers. So the label of position 0 is never predicted and never counted.

use super::IGNORE_INDEX;
use super::encode::Encoder;
use super::record::{Dataset, Record};
use super::split::Subset;
use super::stats::Stats;
use super::wording::{Layout, Wording};
use crate::engine::tokenizer::{ChatTemplate, Tokenizer};
use crate::engine::{Error, Result};
use rayon::prelude::*;
use std::borrow::Borrow;
use std::sync::Arc;

/// What turning text into training examples needs of a tokenizer.
pub trait TextTokenizer: Send + Sync {
    /// Ids of `text`, without BOS or EOS.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;
    /// Text of `ids`, special tokens spelled out.
    fn decode_raw(&self, ids: &[u32]) -> Result<String>;
    /// The end-of-sequence token.
    fn eos_id(&self) -> Option<u32>;
    /// The padding token.
    fn pad_id(&self) -> Option<u32>;
    /// The beginning-of-sequence token.
    fn bos_id(&self) -> Option<u32>;
    /// Whether a prompt begins with BOS.
    fn add_bos(&self) -> bool;
    /// Whether this token ends what one side of a conversation says.
    fn ends_turn(&self, id: u32) -> bool;
    /// The chat template `given`, or the tokenizer's own.
    fn chat(&self, given: Option<&str>) -> Result<ChatTemplate>;
    /// What tells this tokenizer from every other that gives other ids; `None` where nothing does.
    fn fingerprint(&self) -> Option<[u8; 32]> {
        None
    }
}

impl TextTokenizer for Tokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Tokenizer::encode(self, text)
    }

    fn decode_raw(&self, ids: &[u32]) -> Result<String> {
        Tokenizer::decode_raw(self, ids)
    }

    fn eos_id(&self) -> Option<u32> {
        Tokenizer::eos_id(self)
    }

    fn pad_id(&self) -> Option<u32> {
        Tokenizer::pad_id(self)
    }

    fn bos_id(&self) -> Option<u32> {
        Tokenizer::bos_id(self)
    }

    fn add_bos(&self) -> bool {
        Tokenizer::add_bos(self)
    }

    fn ends_turn(&self, id: u32) -> bool {
        Tokenizer::ends_turn(self, id)
    }

    fn chat(&self, given: Option<&str>) -> Result<ChatTemplate> {
        Tokenizer::chat(self, given)
    }

    fn fingerprint(&self) -> Option<[u8; 32]> {
        Tokenizer::fingerprint(self).ok()
    }
}

/// One training sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// As many labels: the id to learn, or [`IGNORE_INDEX`].
    pub labels: Vec<i64>,
    /// [`Record::index`] of the record it was made from.
    pub source: usize,
    /// Tokens cut off at the end (the EOS among them) because the sequence was longer than `max_seq_len`.
    pub lost: usize,
}

impl Example {
    /// Whether token `i` is learned: it has a label and a position before it to be predicted from.
    pub fn trained(&self, i: usize) -> bool {
        i > 0 && self.labels.get(i).is_some_and(|&label| label != IGNORE_INDEX)
    }

    /// How many tokens are learned.
    pub fn label_tokens(&self) -> usize {
        self.labels.iter().skip(1).filter(|&&label| label != IGNORE_INDEX).count()
    }
}

/// How records become examples.
#[derive(Debug, Clone)]
pub struct TokenizeOptions {
    /// The template.
    pub template: Layout,
    /// Longest sequence kept, in tokens, at least 2; what is longer loses its end. A document is cut into pieces instead.
    pub max_seq_len: usize,
    /// Whether the prompt is read only (true) or learned as well.
    pub mask_prompt: bool,
    /// Whether an EOS token, which is learned, ends the response.
    pub eos: bool,
}

impl Default for TokenizeOptions {
    fn default() -> Self {
        TokenizeOptions { template: Layout::Auto, max_seq_len: 512, mask_prompt: true, eos: true }
    }
}

/// A tokenized set: only examples with something to learn. Cloning and subsetting share the examples.
#[derive(Clone)]
pub struct Tokenized {
    examples: Arc<[Arc<Example>]>,
    dropped: Arc<[usize]>,
    pad_id: u32,
    max_seq_len: usize,
    tokenizer: Arc<dyn TextTokenizer>,
}

impl std::fmt::Debug for Tokenized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenized({} examples, pad_id {})", self.examples.len(), self.pad_id)
    }
}

/// Tokenizes `data`. Records that leave nothing to learn are dropped; [`Tokenized::stats`] lists them.
///
/// # Errors
/// [`Error::Config`] for an empty set, a set that leaves nothing to learn at all (saying why), `max_seq_len` below 2, or
/// a tokenizer without EOS when one is asked for. The tokenizer's own errors, with the record named.
pub fn tokenize(data: &Dataset, tokenizer: Arc<dyn TextTokenizer>, options: &TokenizeOptions) -> Result<Tokenized> {
    let encoded = encode(data.records(), &*tokenizer, options)?;
    Tokenized::from_encoded(data, encoded, tokenizer, options)
}

/// What a record became: its examples, and the length of its prompt in tokens.
pub(super) type Encoded = (Vec<Example>, usize);

/// The examples of each of `records`, in their order.
pub(super) fn encode<R: Borrow<Record> + Sync>(
    records: &[R],
    tokenizer: &dyn TextTokenizer,
    options: &TokenizeOptions,
) -> Result<Vec<Encoded>> {
    if options.max_seq_len < 2 {
        return Err(Error::config(format!(
            "max_seq_len is {}: a sequence needs at least 2 tokens, one to read and one to predict",
            options.max_seq_len
        )));
    }
    let eos = match (options.eos, tokenizer.eos_id()) {
        (false, _) => None,
        (true, Some(id)) => Some(id),
        (true, None) => {
            return Err(Error::config_help(
                "the tokenizer has no end-of-sequence token, so a model could not learn when to stop",
                "eos: false trains without one",
            ));
        }
    };
    let wording = Wording::new(&options.template, Some(tokenizer))?;
    let encoder = Encoder { tokenizer, options, eos, wording };
    records.par_iter().map(|r| encoder.encode(r.borrow())).collect()
}

/// The id that fills short rows. Padding is neither attended to nor labelled, so any valid id serves where the tokenizer
/// names none.
pub(super) fn padding(tokenizer: &dyn TextTokenizer) -> u32 {
    tokenizer.pad_id().or(tokenizer.eos_id()).unwrap_or(0)
}

/// The ids that a model reads for a prompt: BOS before `encoded` if the tokenizer adds one and the text does not already
/// spell it. Generation must use this too, so that a model is asked the way it was trained.
pub fn prompt_ids(tokenizer: &dyn TextTokenizer, mut encoded: Vec<u32>) -> Vec<u32> {
    if let Some(bos) = tokenizer.bos_id().filter(|bos| tokenizer.add_bos() && encoded.first() != Some(bos)) {
        encoded.insert(0, bos);
    }
    encoded
}

fn nothing_to_learn(data: &Dataset, dropped: &[Example], shortest_prompt: usize, options: &TokenizeOptions) -> Error {
    let message = format!("{}: none of the {} records leaves a token to learn", data.source, data.len());
    if dropped.iter().all(|e| e.lost > 0) {
        let max = options.max_seq_len;
        return Error::config_help(
            format!("{message}: max_seq_len is {max}, and the shortest prompt alone has {shortest_prompt} tokens"),
            format!("raise max_seq_len well above {shortest_prompt}, or use a shorter template"),
        );
    }
    Error::config_help(
        format!("{message}: prompts are masked and the outputs are empty or cut off"),
        "eos: true gives an empty output its end to learn; mask_prompt: false learns the prompts too",
    )
}

impl Tokenized {
    /// The set of what `data` became.
    pub(super) fn from_encoded(
        data: &Dataset,
        encoded: Vec<Encoded>,
        tokenizer: Arc<dyn TextTokenizer>,
        options: &TokenizeOptions,
    ) -> Result<Self> {
        if data.is_empty() {
            return Err(Error::config(format!("{}: no records to tokenize", data.source)));
        }
        let shortest_prompt = encoded.iter().map(|(_, prompt)| *prompt).min().unwrap_or(0);
        let examples = encoded.into_iter().flat_map(|(examples, _)| examples);
        let (kept, dropped): (Vec<_>, Vec<_>) = examples.partition(|e| e.label_tokens() > 0);
        if kept.is_empty() {
            return Err(nothing_to_learn(data, &dropped, shortest_prompt, options));
        }
        Ok(Tokenized {
            examples: kept.into_iter().map(Arc::new).collect(),
            dropped: dropped.iter().map(|e| e.source).collect(),
            pad_id: padding(&*tokenizer),
            max_seq_len: options.max_seq_len,
            tokenizer,
        })
    }

    /// The examples at `picks`, each a place in `parts` and in that part; padded and decoded as the first part is.
    pub(super) fn joined(parts: &[&Tokenized], picks: &[(usize, usize)]) -> Self {
        Tokenized {
            examples: picks.iter().map(|&(part, i)| parts[part].examples[i].clone()).collect(),
            dropped: Arc::new([]),
            max_seq_len: parts.iter().map(|p| p.max_seq_len).max().unwrap_or(0),
            ..parts[0].clone()
        }
    }

    /// A set of ready-made `examples`; `tokenizer` gives the padding id and the text for [`Tokenized::show`].
    ///
    /// # Errors
    /// [`Error::Config`] for an example whose ids and labels differ in number or that leaves nothing to learn.
    pub fn from_examples(examples: Vec<Example>, tokenizer: Arc<dyn TextTokenizer>) -> Result<Self> {
        for (i, example) in examples.iter().enumerate() {
            let (ids, labels) = (example.ids.len(), example.labels.len());
            if ids != labels {
                return Err(Error::config(format!(
                    "example {i} has {ids} ids and {labels} labels: they must be as many"
                )));
            }
            if example.label_tokens() == 0 {
                return Err(Error::config(format!("example {i} has no label after its first token: nothing to learn")));
            }
        }
        let pad_id = padding(&*tokenizer);
        Ok(Tokenized {
            max_seq_len: examples.iter().map(|e| e.ids.len()).max().unwrap_or(0),
            examples: examples.into_iter().map(Arc::new).collect(),
            dropped: Arc::new([]),
            pad_id,
            tokenizer,
        })
    }

    /// The examples in order.
    pub fn examples(&self) -> &[Arc<Example>] {
        &self.examples
    }

    /// Records that were left out because they leave nothing to learn, by [`Record::index`]. Empty for a subset.
    pub fn dropped(&self) -> &[usize] {
        &self.dropped
    }

    /// The id that fills short rows: the tokenizer's padding token, else its EOS, else 0.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// The longest that an example may be, in tokens: what it was tokenized with.
    pub fn max_seq_len(&self) -> usize {
        self.max_seq_len
    }

    /// The same set padded with `pad_id`, for a model whose vocabulary lacks the tokenizer's padding token.
    pub fn with_pad_id(self, pad_id: u32) -> Self {
        Tokenized { pad_id, ..self }
    }

    /// Counts and lengths of this set.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.examples, &self.dropped, |id| self.tokenizer.ends_turn(id))
    }

    /// Example `i` as text, in runs of tokens that are all learned (`true`) or all only read (`false`).
    pub fn show(&self, i: usize) -> Result<Vec<(String, bool)>> {
        let example = self.examples.get(i).ok_or_else(|| {
            Error::config(format!("example {i} is beyond the set, which has {} examples", self.examples.len()))
        })?;
        segments(&*self.tokenizer, &example.ids, |i| example.trained(i))
    }
}

/// `ids` as text, in runs of tokens that are all learned (`true`) or all only read, as `trained` says of each position.
pub fn segments(
    tokenizer: &dyn TextTokenizer,
    ids: &[u32],
    trained: impl Fn(usize) -> bool,
) -> Result<Vec<(String, bool)>> {
    let mut segments = Vec::new();
    let mut before = String::new();
    let mut start = 0;
    while start < ids.len() {
        let learned = trained(start);
        let end = (start..ids.len()).find(|&j| trained(j) != learned).unwrap_or(ids.len());
        // Decoded from the beginning, because some tokenizers drop the space before the first piece.
        let whole = tokenizer.decode_raw(&ids[..end])?;
        let segment = match whole.strip_prefix(&before) {
            Some(segment) => segment.to_string(),
            None => tokenizer.decode_raw(&ids[start..end])?,
        };
        segments.push((segment, learned));
        before = whole;
        start = end;
    }
    Ok(segments)
}

impl Subset for Tokenized {
    fn len(&self) -> usize {
        self.examples.len()
    }

    fn pick_unchecked(&self, indices: &[usize]) -> Self {
        let examples = indices.iter().map(|&i| self.examples[i].clone()).collect();
        Tokenized { examples, dropped: Arc::new([]), ..self.clone() }
    }
}

#[cfg(test)]
pub(super) mod toy;

#[cfg(test)]
mod tests {
    use super::toy::{BOS, EOS, PAD, Toy};
    use super::*;
    use crate::engine::data::record::Record;
    use crate::engine::data::template::Template;

    fn options() -> TokenizeOptions {
        TokenizeOptions { template: Template::single("{instruction}:").unwrap().into(), ..TokenizeOptions::default() }
    }

    fn set(records: &[(&str, &str)]) -> Dataset {
        Dataset::new("t", records.iter().map(|(i, o)| Record::new(*i, "", *o)))
    }

    fn byte(c: char) -> u32 {
        c as u32
    }

    /// Protects the whole layout: BOS once, prompt masked, response and EOS learned, no EOS after the prompt.
    #[test]
    fn layout_is_exact() {
        let tokens = tokenize(&set(&[("q", "ab")]), Toy::shared(), &options()).unwrap();
        let example = &tokens.examples()[0];
        assert_eq!(example.ids, [BOS, byte('q'), byte(':'), byte('a'), byte('b'), EOS]);
        assert_eq!(example.labels, [-100, -100, -100, 97, 98, i64::from(EOS)]);
        assert_eq!((example.label_tokens(), tokens.pad_id()), (3, PAD));
        let all = tokenize(&set(&[("q", "ab")]), Toy::shared(), &TokenizeOptions { mask_prompt: false, ..options() })
            .unwrap();
        assert_eq!(all.examples()[0].labels, [256, 113, 58, 97, 98, 257]);
        assert_eq!(all.examples()[0].label_tokens(), 5);
    }

    /// Protects against two BOS tokens where a template spells one itself.
    #[test]
    fn bos_is_added_once() {
        let toy = Toy { bos: true, eos: true, pad: true };
        assert_eq!(prompt_ids(&toy, vec![1, 2]), [BOS, 1, 2]);
        assert_eq!(prompt_ids(&toy, vec![BOS, 2]), [BOS, 2]);
        assert_eq!(prompt_ids(&Toy { bos: false, ..toy }, vec![1]), [1]);
    }

    /// Protects the reports of truncation and of records with nothing to learn: numbers, indices, what is left.
    #[test]
    fn truncation_is_counted() {
        let data = set(&[("q", "ab"), ("a long question", "x"), ("q", "abcdef")]);
        let tokens = tokenize(&data, Toy::shared(), &TokenizeOptions { max_seq_len: 6, ..options() }).unwrap();
        let seen: Vec<_> =
            tokens.examples().iter().map(|e| (e.source, e.ids.len(), e.lost, e.label_tokens())).collect();
        assert_eq!(seen, [(0, 6, 0, 3), (2, 6, 4, 3)]);
        assert!(!tokens.examples()[1].ids.contains(&EOS));
        assert_eq!(tokens.dropped(), [1]);
        assert_eq!(tokens.pick(&[1]).unwrap().dropped(), [] as [usize; 0]);
    }

    /// Protects whoever sets max_seq_len too low from an empty training run: the error says by how much.
    #[test]
    fn nothing_to_learn_is_explained() {
        let short = TokenizeOptions { max_seq_len: 5, ..options() };
        let error = tokenize(&set(&[("a long question", "x"), ("longer still, this one", "x")]), Toy::shared(), &short);
        let error = error.unwrap_err();
        assert!(error.to_string().contains("none of the 2 records"), "{error}");
        assert!(error.to_string().contains("max_seq_len is 5, and the shortest prompt alone has 17 tokens"), "{error}");
        let silent = TokenizeOptions { eos: false, ..options() };
        let error = tokenize(&set(&[("q", "")]), Toy::shared(), &silent).unwrap_err();
        assert!(error.to_string().contains("outputs are empty"), "{error}");
        assert!(tokenize(&set(&[]), Toy::shared(), &options()).is_err());
        assert!(
            tokenize(&set(&[("q", "a")]), Toy::shared(), &TokenizeOptions { max_seq_len: 1, ..options() }).is_err()
        );
    }

    /// Protects the empty outputs of the Alpaca set: EOS is still learned, so the record stays.
    #[test]
    fn empty_output_learns_eos() {
        let tokens = tokenize(&set(&[("q", "")]), Toy::shared(), &options()).unwrap();
        assert_eq!(tokens.examples()[0].labels, [-100, -100, -100, i64::from(EOS)]);
    }

    /// Protects tokenizers without padding or EOS: EOS or 0 pads, and a missing EOS is refused unless waived.
    #[test]
    fn missing_special_tokens() {
        let toy = Toy { bos: false, eos: true, pad: false };
        let data = set(&[("q", "a")]);
        assert_eq!(tokenize(&data, Arc::new(toy.clone()), &options()).unwrap().pad_id(), EOS);
        let bare: Arc<dyn TextTokenizer> = Arc::new(Toy { eos: false, ..toy });
        assert!(tokenize(&data, bare.clone(), &options()).unwrap_err().help().unwrap().contains("eos: false"));
        let tokens = tokenize(&data, bare, &TokenizeOptions { eos: false, ..options() }).unwrap();
        assert_eq!((tokens.pad_id(), tokens.examples()[0].ids.len()), (0, 3));
    }

    /// Protects the view people check their masking with.
    #[test]
    fn show_marks_what_is_learned() {
        let tokens = tokenize(&set(&[("q", "ab")]), Toy::shared(), &options()).unwrap();
        assert_eq!(tokens.show(0).unwrap(), [("<s>q:".to_string(), false), ("ab</s>".to_string(), true)]);
        assert!(tokens.show(1).is_err());
    }

    /// Protects the name of the record in a tokenizer's error.
    #[test]
    fn encoding_errors_name_the_record() {
        let error = tokenize(&set(&[("q", "a"), ("q", "a\0")]), Toy::shared(), &options()).unwrap_err();
        assert_eq!(error.to_string(), "record 1: cannot encode NUL");
    }

    /// Protects hand-made sets from reaching the model with labels that do not line up.
    #[test]
    fn examples_are_checked() {
        let example =
            |ids: &[u32], labels: &[i64]| Example { ids: ids.to_vec(), labels: labels.to_vec(), source: 0, lost: 0 };
        let build = |e| Tokenized::from_examples(vec![e], Toy::shared());
        assert!(build(example(&[1, 2], &[-100, 2])).is_ok());
        assert!(build(example(&[1, 2], &[2])).unwrap_err().to_string().contains("2 ids and 1 labels"));
        assert!(build(example(&[1, 2], &[1, -100])).unwrap_err().to_string().contains("nothing to learn"));
        assert!(build(example(&[], &[])).is_err());
    }
}
