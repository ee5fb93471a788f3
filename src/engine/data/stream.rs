//! Sets larger than memory: read, tokenized, shuffled and batched as they are trained on.
//!
//! ```text
//! records, 512 at a time -> examples -> shuffle buffer -> rows (packing: of 2048 examples) -> micro-batches -> windows
//! ```
//!
//! The shuffle is that of a buffer: each example leaves it from a random place, so that one travels about `buffer` places
//! from where it stood. Every choice is a function of seed, epoch and the file. Skipping windows reads and tokenizes what
//! they held, and makes nothing else of it.

use super::batch::Batch;
use super::loader::LoaderOptions;
use super::packing::STRETCH;
use super::plan::{arranged, row_too_wide, too_long};
use super::record::Record;
use super::source::{self, ReadOptions, Records};
use super::tokenize::{Example, TextTokenizer, TokenizeOptions, encode, padding};
use crate::engine::error::{Error, Result};
use crate::engine::rng::{Stream as Random, philox};
use std::collections::VecDeque;
use std::sync::Arc;

/// Records that are tokenized together, by all threads.
const CHUNK: usize = 512;

/// A file of records that is never read whole, and how they become examples. Cloning it reads nothing.
#[derive(Clone)]
pub struct Stream {
    source: Arc<str>,
    read: ReadOptions,
    tokenizer: Arc<dyn TextTokenizer>,
    options: TokenizeOptions,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({})", self.source)
    }
}

impl Stream {
    /// A stream of the records in `source`, as [`source::load`] would read them.
    ///
    /// # Errors
    /// As [`source::open`], and for options of tokenizing that make no sense: the first record is tried.
    pub fn new(
        source: &str,
        read: ReadOptions,
        tokenizer: Arc<dyn TextTokenizer>,
        options: TokenizeOptions,
    ) -> Result<Self> {
        let stream = Stream { source: source.into(), read, tokenizer, options };
        let first = stream.records()?.next().transpose()?;
        encode(first.as_slice(), &*stream.tokenizer, &stream.options)?;
        Ok(stream)
    }

    /// Where the records come from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The longest that an example may be, in tokens.
    pub fn max_seq_len(&self) -> usize {
        self.options.max_seq_len
    }

    fn records(&self) -> Result<Records> {
        // Nothing of it is kept, so it may unpack to any size.
        source::open(&self.source, &self.read, u64::MAX)
    }

    /// The windows of one epoch, shuffled within `buffer` examples.
    ///
    /// # Errors
    /// As [`Windows::new`](super::loader::Windows::new); also for `group_by_length`, which has to know all lengths, and a
    /// `skip` beyond the end.
    pub fn windows(&self, options: LoaderOptions, buffer: usize) -> Result<StreamWindows> {
        options.check()?;
        if options.group_by_length {
            return Err(Error::config_help(
                "batches: group_by_length has to know every length, and a stream is not read whole",
                "pack: true saves more padding",
            ));
        }
        if buffer == 0 {
            return Err(Error::config("batches: buffer is 0, but must be at least 1"));
        }
        let words = philox(options.seed ^ 0x7374_7265_616d, options.epoch);
        let mut windows = StreamWindows {
            records: self.records()?,
            stream: self.clone(),
            buffer: if options.shuffle { buffer } else { 1 },
            random: Random::new(u64::from(words[0]) << 32 | u64::from(words[1])),
            drawn: 0,
            stretches: 0,
            tokenized: VecDeque::new(),
            shuffling: Vec::new(),
            rows: VecDeque::new(),
            learned: 0,
            made: 0,
            ended: false,
            options,
        };
        for done in 0..windows.options.skip {
            if windows.rows_of_window()?.is_empty() {
                return Err(Error::config_help(
                    format!("batches: skip is {}, but the epoch has only {done} windows", windows.options.skip),
                    "a position is only good for the data and batch size it was saved with",
                ));
            }
        }
        Ok(windows)
    }
}

type Row = Vec<Arc<Example>>;

/// The windows of one epoch of a [`Stream`], in order. After an error there are no more.
pub struct StreamWindows {
    stream: Stream,
    options: LoaderOptions,
    records: Records,
    buffer: usize,
    random: Random,
    /// Random numbers used.
    drawn: u64,
    /// Stretches packed.
    stretches: u64,
    tokenized: VecDeque<Arc<Example>>,
    shuffling: Vec<Arc<Example>>,
    rows: VecDeque<Row>,
    /// Examples with something to learn, so far.
    learned: usize,
    /// Windows so far, skipped ones included.
    made: usize,
    ended: bool,
}

impl StreamWindows {
    /// The next example in the file's order.
    fn example(&mut self) -> Result<Option<Arc<Example>>> {
        while self.tokenized.is_empty() {
            let chunk = self.records.by_ref().take(CHUNK).collect::<Result<Vec<Record>>>()?;
            if chunk.is_empty() {
                if self.learned == 0 {
                    return Err(Error::config(format!("{}: no record leaves a token to learn", self.stream.source)));
                }
                return Ok(None);
            }
            let encoded = encode(&chunk, &*self.stream.tokenizer, &self.stream.options)?;
            let learned = encoded.into_iter().flat_map(|(examples, _)| examples).filter(|e| e.label_tokens() > 0);
            self.tokenized.extend(learned.map(Arc::new));
            self.learned += self.tokenized.len();
        }
        Ok(self.tokenized.pop_front())
    }

    /// The next example in the epoch's order.
    fn shuffled(&mut self) -> Result<Option<Arc<Example>>> {
        while self.shuffling.len() < self.buffer {
            let Some(example) = self.example()? else { break };
            self.shuffling.push(example);
        }
        if self.shuffling.is_empty() {
            return Ok(None);
        }
        let at = self.random.below(self.drawn, self.shuffling.len());
        self.drawn += 1;
        Ok(Some(self.shuffling.swap_remove(at)))
    }

    fn row(&mut self) -> Result<Option<Row>> {
        if let Some(row) = self.rows.pop_front() {
            return Ok(Some(row));
        }
        let Some(room) = self.options.pack else {
            return Ok(self.shuffled()?.map(|example| vec![example]));
        };
        let mut stretch = Vec::with_capacity(STRETCH);
        while stretch.len() < STRETCH
            && let Some(example) = self.shuffled()?
        {
            stretch.push(example);
        }
        let length = |i: usize| stretch[i].ids.len();
        if let Some(longest) = (0..stretch.len()).map(length).max().filter(|n| *n > room) {
            return Err(too_long(longest, room));
        }
        let items: Vec<usize> = (0..stretch.len()).collect();
        let rows = arranged(&items, room, length, &self.options, self.stretches);
        self.stretches += 1;
        self.rows.extend(rows.into_iter().map(|row| row.into_iter().map(|i| stretch[i].clone()).collect::<Row>()));
        Ok(self.rows.pop_front())
    }

    /// The rows of the next micro-batch; empty at the end.
    fn rows_of_batch(&mut self) -> Result<Vec<Row>> {
        let (mut rows, mut widest) = (Vec::new(), 0);
        while rows.len() < self.options.size {
            let Some(row) = self.row()? else { break };
            let width = row.iter().map(|e| e.ids.len()).sum::<usize>().next_multiple_of(self.options.pad_to_multiple);
            if let Some(most) = self.options.max_tokens {
                if width > most {
                    return Err(row_too_wide(width, most));
                }
                if (rows.len() + 1) * width.max(widest) > most {
                    self.rows.push_front(row);
                    break;
                }
            }
            widest = widest.max(width);
            rows.push(row);
        }
        Ok(rows)
    }

    /// The micro-batches of the next window, as rows; empty at the end.
    fn rows_of_window(&mut self) -> Result<Vec<Vec<Row>>> {
        let mut window = Vec::new();
        while window.len() < self.options.accumulate {
            let rows = self.rows_of_batch()?;
            if rows.is_empty() {
                break;
            }
            window.push(rows);
        }
        let short = window.len() < self.options.accumulate
            || (self.options.max_tokens.is_none() && window.iter().any(|rows| rows.len() < self.options.size));
        if self.options.drop_last && short {
            if self.made == 0 {
                return Err(Error::config_help(
                    "batches: drop_last leaves nothing: the stream does not fill one window",
                    "lower size or accumulate, or use drop_last: false",
                ));
            }
            window.clear();
        }
        self.made += usize::from(!window.is_empty());
        Ok(window)
    }

    fn window(&mut self) -> Result<Option<Vec<Batch>>> {
        let pad_id = padding(&*self.stream.tokenizer);
        let rows = self.rows_of_window()?;
        let mut window: Vec<Batch> =
            rows.into_iter().map(|rows| Batch::packed(rows, pad_id, self.options.pad_to_multiple)).collect();
        self.options.weigh(&mut window);
        Ok(Some(window).filter(|window| !window.is_empty()))
    }
}

impl Iterator for StreamWindows {
    type Item = Result<Vec<Batch>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.window();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokenize::toy::Toy;
    use super::*;

    fn stream(records: usize) -> (tempfile::TempDir, Stream) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.jsonl");
        let line = |i: usize| format!("{{\"prompt\": \"{i}\", \"completion\": \"{}\"}}\n", "x".repeat(i * 7 % 23));
        std::fs::write(&path, (0..records).map(line).collect::<String>()).unwrap();
        let options = TokenizeOptions { max_seq_len: 40, ..TokenizeOptions::default() };
        let stream = Stream::new(path.to_str().unwrap(), ReadOptions::default(), Toy::shared(), options).unwrap();
        (dir, stream)
    }

    fn run(stream: &Stream, options: LoaderOptions, buffer: usize) -> Vec<Vec<Batch>> {
        stream.windows(options, buffer).unwrap().collect::<Result<_>>().unwrap()
    }

    fn order(windows: &[Vec<Batch>]) -> Vec<usize> {
        windows.iter().flatten().flat_map(|b| b.indices.clone()).collect()
    }

    /// Protects an epoch of a stream: every record once, in an order of its own, windows weighted to 1, packed or not.
    #[test]
    fn every_record_once() {
        let (_dir, stream) = stream(1300);
        for pack in [None, Some(64)] {
            let with = |seed, epoch, shuffle| {
                let options =
                    LoaderOptions { size: 4, accumulate: 3, seed, epoch, shuffle, pack, ..LoaderOptions::default() };
                run(&stream, options, 100)
            };
            let windows = with(1, 0, true);
            let mut seen = order(&windows);
            assert_ne!(seen, (0..1300).collect::<Vec<_>>());
            seen.sort_unstable();
            assert_eq!(seen, (0..1300).collect::<Vec<_>>());
            assert!(windows.iter().all(|w| (w.iter().map(|b| b.weight).sum::<f64>() - 1.0).abs() < 1e-12));
            assert!(windows[..windows.len() - 1].iter().all(|w| w.len() == 3 && w.iter().all(|b| b.rows == 4)));
            assert!(windows == with(1, 0, true) && windows != with(1, 1, true) && windows != with(2, 0, true));
            if pack.is_none() {
                assert_eq!(order(&with(1, 0, false)), (0..1300).collect::<Vec<_>>());
            }
        }
    }

    /// Protects resuming: skipping k windows gives the tail of the whole, batch for batch.
    #[test]
    fn skip_gives_the_same_tail() {
        let (_dir, stream) = stream(300);
        for (pack, max_tokens) in [(None, None), (Some(80), None), (None, Some(160))] {
            let options =
                LoaderOptions { size: 5, accumulate: 2, pack, max_tokens, seed: 3, ..LoaderOptions::default() };
            let whole = run(&stream, options.clone(), 64);
            for skip in [0, 1, 2, whole.len() - 1, whole.len()] {
                assert!(run(&stream, LoaderOptions { skip, ..options.clone() }, 64) == whole[skip..], "skip {skip}");
            }
            let beyond = stream.windows(LoaderOptions { skip: whole.len() + 1, ..options.clone() }, 64);
            assert!(beyond.err().unwrap().to_string().contains(&format!("has only {} windows", whole.len())));
        }
    }

    /// Protects streams from what they cannot do, and training from a file that breaks off: the error comes where it is.
    #[test]
    fn faults_are_errors() {
        let (dir, stream) = stream(20);
        let grouped = LoaderOptions { group_by_length: true, ..LoaderOptions::default() };
        assert!(stream.windows(grouped, 10).err().unwrap().to_string().contains("not read whole"));
        assert!(stream.windows(LoaderOptions::default(), 0).is_err());
        let few = LoaderOptions { size: 30, drop_last: true, ..LoaderOptions::default() };
        let said = stream.windows(few, 10).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(said.contains("drop_last leaves nothing"), "{said}");
        let path = dir.path().join("d.jsonl");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"prompt\": 5}\n");
        std::fs::write(&path, text).unwrap();
        let mut windows = stream.windows(LoaderOptions { shuffle: false, ..LoaderOptions::default() }, 1).unwrap();
        let error = windows.find_map(std::result::Result::err).unwrap().to_string();
        assert!(error.contains("line 21") && windows.next().is_none(), "{error}");
        assert_eq!(
            Stream::new("no/such.jsonl", ReadOptions::default(), Toy::shared(), TokenizeOptions::default())
                .unwrap_err()
                .kind(),
            "io"
        );
    }
}
