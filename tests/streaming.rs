//! A set larger than what may be in memory goes through training's batches. One test: the counters are the whole process's.

use lora_host::engine::data::loader::LoaderOptions;
use lora_host::engine::data::source::ReadOptions;
use lora_host::engine::data::stream::Stream;
use lora_host::engine::data::tokenize::TokenizeOptions;
use lora_host::engine::tokenizer::Tokenizer;
use lora_host::engine::{Result, memory};
use std::io::Write;
use std::sync::Arc;

const RECORDS: usize = 200_000;

/// A tokenizer that a few lines of JSON describe: a token for each word.
fn words() -> Result<Tokenizer> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let vocab: serde_json::Map<String, serde_json::Value> =
        ["<unk>", "</s>", "a", "b", "c", "d"].iter().enumerate().map(|(i, w)| (w.to_string(), i.into())).collect();
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
    });
    std::fs::write(&path, json.to_string()).unwrap();
    Tokenizer::from_file(&path)
}

/// Protects the promise of streaming: 200,000 records, once each and packed, within a few MiB of heap that do not depend
/// on how many there are.
#[test]
fn a_large_file_needs_little_memory() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.jsonl.zst");
    let mut file = zstd::Encoder::new(std::fs::File::create(&path).unwrap(), 1).unwrap();
    let mut bytes = 0;
    for i in 0..RECORDS {
        let text = ["a b c d", "d c b a a b", "c"][i % 3].repeat(1 + i % 5).replace("da", "d a");
        let line = format!("{{\"prompt\": \"a {text}\", \"completion\": \" {text} b\"}}\n");
        bytes += line.len();
        file.write_all(line.as_bytes()).unwrap();
    }
    file.finish().unwrap();
    let options = TokenizeOptions { max_seq_len: 64, eos: false, ..TokenizeOptions::default() };
    let stream = Stream::new(path.to_str().unwrap(), ReadOptions::default(), Arc::new(words()?), options)?;
    let load = || {
        let options = LoaderOptions { size: 8, accumulate: 4, pack: Some(256), seed: 1, ..LoaderOptions::default() };
        stream.windows(options, 4096)
    };

    let before = memory::current();
    memory::reset_peak();
    let mut seen = vec![0u8; RECORDS];
    let (mut windows, mut tokens, mut places) = (0, 0, 0);
    for window in load()? {
        windows += 1;
        for batch in window? {
            batch.indices.iter().for_each(|i| seen[*i] += 1);
            tokens += batch.tokens;
            places += batch.rows * batch.width;
        }
    }
    let peak = memory::peak() - before;
    eprintln!(
        "{RECORDS} records, {:.1} MiB of text, {tokens} tokens in {windows} windows: heap peak {:.1} MiB",
        bytes as f64 / (1 << 20) as f64,
        peak as f64 / (1 << 20) as f64
    );
    assert!(seen.iter().all(|n| *n == 1), "every record once");
    assert!(tokens * 100 > places * 95, "{tokens} tokens in {places} places");
    // Ids and labels alone would be 12 bytes a token, and the records' texts as many as the file.
    assert!(peak < 12 << 20 && tokens * 12 > 24 << 20, "{peak} bytes for {tokens} tokens");
    Ok(())
}
