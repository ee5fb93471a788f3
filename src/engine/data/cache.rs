//! Tokenized sets on disk, named by what they were made from: records, tokenizer, options. The same set is tokenized once.
//!
//! A file is trusted as far as its checksum and its shape hold; one that is damaged is made anew. Layout, little endian:
//!
//! ```text
//! "HOSTTOK1"  sha256 of the rest  seconds it took (f64)  records (u64)
//! for each record:  prompt tokens (u32)  examples (u32)  for each: tokens lost (u32)  length (u32)
//! every id (u32), then for every id whether it has its label (u8)
//! ```

use super::IGNORE_INDEX;
use super::record::{Dataset, Record, Turn};
use super::tokenize::{Encoded, Example, TextTokenizer, TokenizeOptions, Tokenized, encode};
use crate::engine::atomic::write_atomic;
use crate::engine::{Error, Result, memory};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

const MAGIC: &[u8; 8] = b"HOSTTOK1";
/// Raised whenever the same records would give other examples.
const ENCODING: u32 = 1;
/// Bytes that all files together may have; the oldest give way.
const MAX_BYTES: u64 = 4 << 30;
/// Bytes of text below which a set is tokenized sooner than a person notices.
const WORTHWHILE: usize = 1 << 20;

/// What became of the cache.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// There is none for this set: it is small, or its tokenizer has no fingerprint.
    Off,
    /// The set was tokenized, in so many seconds, and kept.
    Made(f64),
    /// The set was read, in `seconds`; tokenizing it had taken `saved`.
    Read {
        /// Time that reading took.
        seconds: f64,
        /// Time that tokenizing took when the file was made.
        saved: f64,
    },
    /// The set was tokenized although a file was there, or could not be kept: why.
    Failed(String),
}

/// The host's own folder: `$XDG_CACHE_HOME/host/tokens`, else `~/.cache/host/tokens`.
pub fn folder() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(set.or_else(|| Some(std::env::home_dir()?.join(".cache")))?.join("host/tokens"))
}

/// Whether a set is so large that keeping its tokens saves time.
pub fn is_worthwhile(data: &Dataset) -> bool {
    let mut bytes = 0;
    data.records().iter().any(|r| {
        bytes += r.instruction.len() + r.input.len() + r.output.len();
        bytes += r.turns.iter().map(|turn| turn.content.len()).sum::<usize>();
        bytes >= WORTHWHILE
    })
}

/// As [`super::tokenize::tokenize`], through the files in `folder`.
///
/// # Errors
/// As without them: what is wrong with the cache is told by the [`Outcome`].
pub fn tokenize(
    data: &Dataset,
    tokenizer: Arc<dyn TextTokenizer>,
    options: &TokenizeOptions,
    folder: &Path,
) -> Result<(Tokenized, Outcome)> {
    let begun = Instant::now();
    let Some(key) = key(data, &*tokenizer, options) else {
        return Ok((super::tokenize::tokenize(data, tokenizer, options)?, Outcome::Off));
    };
    let path = folder.join(format!("{key}.tokens"));
    let mut damaged = None;
    match fs::read(&path).map(|bytes| decode(&bytes, data)) {
        Ok(Ok((encoded, saved))) => {
            // The oldest give way first: this one is not.
            let _ = fs::File::options().append(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()));
            let set = Tokenized::from_encoded(data, encoded, tokenizer, options)?;
            return Ok((set, Outcome::Read { seconds: begun.elapsed().as_secs_f64(), saved }));
        }
        Ok(Err(why)) => damaged = Some(format!("{} {why}: tokenized again", path.display())),
        Err(_) => {}
    }
    let encoded = encode(data.records(), &*tokenizer, options)?;
    let seconds = begun.elapsed().as_secs_f64();
    let kept = keep(&path, folder, &encoded, seconds);
    let outcome = match (damaged, kept) {
        (Some(why), _) => Outcome::Failed(why),
        (None, Err(e)) => Outcome::Failed(format!("the tokens could not be kept: {e}")),
        (None, Ok(())) => Outcome::Made(seconds),
    };
    Ok((Tokenized::from_encoded(data, encoded, tokenizer, options)?, outcome))
}

/// The name of what `data` becomes: a hash of all that decides it.
fn key(data: &Dataset, tokenizer: &dyn TextTokenizer, options: &TokenizeOptions) -> Option<String> {
    // Taken apart, so that what is added to any of them must be thought of here.
    let TokenizeOptions { template, max_seq_len, mask_prompt, eos } = options;
    let mut hash = Sha256::new();
    hash.update(format!("{ENCODING} {template:?} {max_seq_len} {mask_prompt} {eos} "));
    hash.update(tokenizer.fingerprint()?);
    let mut text = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    for record in data.records() {
        let Record { form, instruction, input, output, turns, extra, index: _ } = &**record;
        [form.name(), instruction, input, output].into_iter().for_each(&mut text);
        text(&turns.len().to_string());
        for Turn { role, content, learned } in turns {
            [role.as_str(), content, if *learned { "1" } else { "0" }].into_iter().for_each(&mut text);
        }
        text(&extra.len().to_string());
        extra.iter().flat_map(|(name, value)| [name, value]).for_each(|part| text(part));
    }
    Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn keep(path: &Path, folder: &Path, encoded: &[Encoded], seconds: f64) -> Result<()> {
    // A label that is neither the id nor absent has no place in the file: such sets are not kept.
    let fits = |e: &Example| e.ids.iter().zip(&e.labels).all(|(id, l)| *l == IGNORE_INDEX || *l == i64::from(*id));
    if !encoded.iter().flat_map(|(examples, _)| examples).all(fits) {
        return Err(Error::config("a label differs from its token"));
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    write_atomic(path, &written(encoded, seconds))?;
    make_room(folder, path);
    Ok(())
}

fn written(encoded: &[Encoded], seconds: f64) -> Vec<u8> {
    let mut bytes = Vec::from(*MAGIC);
    bytes.extend([0; 32]);
    bytes.extend(seconds.to_le_bytes());
    bytes.extend((encoded.len() as u64).to_le_bytes());
    let mut number = |n: usize| bytes.extend((n as u32).to_le_bytes());
    for (examples, prompt) in encoded {
        number(*prompt);
        number(examples.len());
        for example in examples {
            number(example.lost);
            number(example.ids.len());
        }
    }
    let examples = || encoded.iter().flat_map(|(examples, _)| examples);
    examples().flat_map(|e| &e.ids).for_each(|id| number(*id as usize));
    bytes.extend(examples().flat_map(|e| &e.labels).map(|label| u8::from(*label != IGNORE_INDEX)));
    let sum = Sha256::digest(&bytes[40..]);
    bytes[8..40].copy_from_slice(&sum);
    bytes
}

/// What a file holds of `data`, and the seconds it took to make; or what is wrong with it.
fn decode(bytes: &[u8], data: &Dataset) -> std::result::Result<(Vec<Encoded>, f64), &'static str> {
    const DAMAGED: &str = "is damaged";
    let body = bytes.get(40..).ok_or(DAMAGED)?;
    if bytes[..8] != *MAGIC || Sha256::digest(body)[..] != bytes[8..40] {
        return Err(DAMAGED);
    }
    // The checksum says that the bytes are those written, not that they were written for this set.
    memory::check(|| "reading a tokenized set".to_string(), bytes.len().checked_mul(3))
        .map_err(|_| "does not fit into memory")?;
    let seconds = f64::from_le_bytes(body.get(..8).and_then(|b| b.try_into().ok()).ok_or(DAMAGED)?);
    let records = u64::from_le_bytes(body.get(8..16).and_then(|b| b.try_into().ok()).ok_or(DAMAGED)?);
    if records != data.records().len() as u64 || !seconds.is_finite() {
        return Err(DAMAGED);
    }
    let mut words = body[16..].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let mut number = || words.next().ok_or(DAMAGED).map(|n| n as usize);
    let mut encoded: Vec<Encoded> = Vec::with_capacity(data.records().len());
    let (mut tokens, mut head) = (0usize, 16);
    let mut lengths = Vec::new();
    for record in data.records() {
        let (prompt, count) = (number()?, number()?);
        head += 8;
        let mut examples = Vec::new();
        for _ in 0..count {
            let (lost, length) = (number()?, number()?);
            head += 8;
            tokens = tokens.checked_add(length).ok_or(DAMAGED)?;
            lengths.push(length);
            examples.push(Example { ids: Vec::new(), labels: Vec::new(), source: record.index, lost });
        }
        encoded.push((examples, prompt));
    }
    if tokens.checked_mul(5).and_then(|n| n.checked_add(head)) != Some(body.len()) {
        return Err(DAMAGED);
    }
    let mut ids = body[head..head + tokens * 4].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let mut learned = body[head + tokens * 4..].iter();
    for (example, length) in encoded.iter_mut().flat_map(|(examples, _)| examples).zip(lengths) {
        example.ids = ids.by_ref().take(length).collect();
        let label = |(id, learned): (&u32, &u8)| if *learned == 0 { IGNORE_INDEX } else { i64::from(*id) };
        example.labels = example.ids.iter().zip(learned.by_ref()).map(label).collect();
    }
    Ok((encoded, seconds))
}

/// Removes the files that were not used for longest until all fit, but never `newest`.
fn make_room(folder: &Path, newest: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let (entry, path) = (entry.as_ref().ok()?.metadata().ok()?, entry.ok()?.path());
            (path.extension()? == "tokens" && path != newest).then_some((entry.modified().ok()?, entry.len(), path))
        })
        .collect();
    files.sort();
    let mut bytes: u64 = files.iter().map(|file| file.1).sum();
    bytes += fs::metadata(newest).map_or(0, |m| m.len());
    for (_, size, path) in files {
        if bytes <= MAX_BYTES {
            break;
        }
        // Another host may have removed it: then it is gone all the same.
        let _ = fs::remove_file(path);
        bytes -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokenize::toy::Toy;
    use super::*;
    use crate::engine::data::split::Subset;

    fn set() -> Dataset {
        let records = (0..40).map(|i| Record::new("q".repeat(i % 7 + 1), "", "a".repeat(i % 5)));
        Dataset::new("t", records.chain([Record::document("long ".repeat(40))]))
    }

    fn options() -> TokenizeOptions {
        TokenizeOptions { max_seq_len: 180, ..TokenizeOptions::default() }
    }

    fn run(folder: &Path, data: &Dataset, options: &TokenizeOptions) -> (Tokenized, Outcome) {
        tokenize(data, Toy::shared(), options, folder).unwrap()
    }

    fn same(a: &Tokenized, b: &Tokenized) -> bool {
        a.examples() == b.examples() && a.dropped() == b.dropped() && a.pad_id() == b.pad_id()
    }

    /// Protects what is trained on: a set from the cache is the set, of a part of it too, and numbered as the part is.
    #[test]
    fn what_is_read_is_what_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let plain = super::super::tokenize::tokenize(&set(), Toy::shared(), &options()).unwrap();
        let (made, outcome) = run(dir.path(), &set(), &options());
        assert!(matches!(outcome, Outcome::Made(_)), "{outcome:?}");
        let (read, outcome) = run(dir.path(), &set(), &options());
        assert!(matches!(outcome, Outcome::Read { .. }), "{outcome:?}");
        assert!(same(&plain, &made) && same(&plain, &read));
        // The same records elsewhere in a file: the same tokens, under their own numbers.
        let moved = Dataset::new("t", set().records().iter().rev().map(|r| Record::clone(r))).shuffle(3);
        run(dir.path(), &moved, &options());
        let again = moved.map(|r| Ok(r.clone())).unwrap();
        let (read, outcome) = run(dir.path(), &again, &options());
        assert!(matches!(outcome, Outcome::Read { .. }));
        assert!(same(&read, &super::super::tokenize::tokenize(&moved, Toy::shared(), &options()).unwrap()));
    }

    /// Protects against tokens of another set: whatever decides them decides the name.
    #[test]
    fn everything_that_matters_is_in_the_name() {
        let name = |data: &Dataset, options: &TokenizeOptions| key(data, &*Toy::shared(), options).unwrap();
        let base = name(&set(), &options());
        assert_eq!(base, name(&set(), &options()));
        let others = [
            TokenizeOptions { max_seq_len: 181, ..options() },
            TokenizeOptions { mask_prompt: false, ..options() },
            TokenizeOptions { eos: false, ..options() },
            TokenizeOptions { template: super::super::wording::Layout::parse("alpaca").unwrap(), ..options() },
        ];
        assert!(others.iter().all(|o| name(&set(), o) != base));
        let one = |r: Record| name(&Dataset::new("t", [r]), &options());
        let plain = one(Record::new("ab", "c", "d"));
        let extra = Record { extra: [("k".to_string(), "v".to_string())].into(), ..Record::new("ab", "c", "d") };
        for other in [Record::new("a", "bc", "d"), Record::completion("ab", "d"), extra] {
            assert_ne!(plain, one(other));
        }
        let quiet = Turn { learned: false, ..Turn::new("assistant", "x") };
        assert_ne!(
            one(Record::conversation(vec![quiet])),
            one(Record::conversation(vec![Turn::new("assistant", "x")]))
        );
    }

    /// Protects training from a damaged file: any byte of it changed, or any end cut off, and the set is made anew.
    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, _) = run(dir.path(), &set(), &options());
        let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let good = fs::read(&path).unwrap();
        let cuts = [0, 7, 39, 40, 55, good.len() / 2, good.len() - 1].map(|n| good[..n].to_vec());
        let flips = (0..good.len()).step_by(good.len() / 50).map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            bytes
        });
        for bytes in cuts.into_iter().chain(flips) {
            fs::write(&path, bytes).unwrap();
            let (set, outcome) = run(dir.path(), &set(), &options());
            let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
            assert!(why.ends_with("is damaged: tokenized again") && same(&plain, &set), "{why}");
            assert_eq!(fs::read(&path).unwrap()[56..], good[56..], "made anew, but for the seconds");
        }
        // A file that is whole, but another's: a checksum says nothing about that.
        let other = written(&encode(set().take(3).records(), &*Toy::shared(), &options()).unwrap(), 1.0);
        fs::write(&path, other).unwrap();
        assert!(matches!(run(dir.path(), &set(), &options()).1, Outcome::Failed(_)));
    }

    /// Protects runs where nothing can be written: they go on without a cache, and say so.
    #[test]
    fn a_folder_that_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let (_, outcome) = run(&file.join("below"), &set(), &options());
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
}
