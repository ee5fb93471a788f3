//! Conversations through chat templates, against transformers: text, token ids, and which of them are learned.

use super::common;
use lora_host::engine::data::record::{Dataset, Record, Turn};
use lora_host::engine::data::tokenize::{TokenizeOptions, tokenize};
use lora_host::engine::data::wording::{Layout, Wording};
use lora_host::engine::llama::weights::Checkpoint;
use lora_host::engine::tokenizer::{Message, Tokenizer};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn turns(row: &Value) -> Vec<Turn> {
    let text = |m: &Value, key: &str| m[key].as_str().unwrap().to_string();
    row["messages"].as_array().unwrap().iter().map(|m| Turn::new(text(m, "role"), text(m, "content"))).collect()
}

/// Each row of `chat.json` that `tokenizer` was used for; returns how many agree to the token, and how many where a token is divided.
fn check(name: &str, tokenizer: &Tokenizer) -> (usize, usize) {
    let file: Value = serde_json::from_slice(&std::fs::read(golden("chat/chat.json")).unwrap()).unwrap();
    let rows = file["rows"].as_array().unwrap().iter().filter(|row| row["tokenizer"] == name);
    let (mut checked, mut divided) = (0, 0);
    for (i, row) in rows.enumerate() {
        let given = row["template"].as_str();
        let layout = given.map_or(Layout::Auto, |text| Layout::parse(text).unwrap());
        let turns = turns(row);
        let messages: Vec<_> = turns.iter().map(|t| Message::new(&t.role, &t.content)).collect();
        let text = tokenizer.chat(given).unwrap().render(&messages, false).unwrap();
        assert_eq!(text, row["text"].as_str().unwrap(), "row {i}: text");

        let record = Record::conversation(turns);
        let prompt = Wording::new(&layout, Some(tokenizer)).unwrap().prompt(&record).unwrap();
        assert_eq!(prompt, row["prompt"].as_str().unwrap(), "row {i}: prompt");

        let options = TokenizeOptions { template: layout, ..TokenizeOptions::default() };
        let set = tokenize(&Dataset::new("t", [record]), Arc::new(tokenizer.clone()), &options).unwrap();
        let example = &set.examples()[0];
        let ids: Vec<u32> = row["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let mask: Vec<bool> = row["mask"].as_array().unwrap().iter().map(|m| m == 1).collect();
        let learned: Vec<bool> = example.labels.iter().map(|label| *label != -100).collect();
        if example.ids != ids {
            // The one difference: a token across the border of an answer is divided here, as generation divides it.
            assert!(
                messages.iter().any(|m| m.role == "assistant" && m.content.starts_with([' ', '\n'])),
                "row {i}: {text:?}"
            );
            let answers = messages.iter().filter(|m| m.role == "assistant").map(|m| format!("{}<|im_end|>", m.content));
            let parts = set.show(0).unwrap().into_iter().filter(|(_, learned)| *learned).map(|(text, _)| text);
            assert_eq!(parts.collect::<Vec<_>>(), answers.collect::<Vec<_>>(), "row {i}");
            divided += 1;
            continue;
        }
        let wrong: Vec<_> = (0..mask.len()).filter(|&t| mask[t] != learned[t]).collect();
        // The golden's own template may leave the end of a turn outside of its mark; it is learned here all the same.
        let ends = wrong.iter().all(|&t| learned[t] && tokenizer.ends_turn(ids[t]));
        assert!(ends, "row {i}: masks differ at {wrong:?}: {}", tokenizer.decode_raw(&ids).unwrap());
        assert!(wrong.is_empty() || given.is_some_and(|text| text.contains("endgeneration -%}")), "row {i}: {wrong:?}");
        checked += 1;
    }
    (checked, divided)
}

/// Protects training on conversations with the real model: its own template without marks, one with marks, and one whose
/// marks leave out the end of a turn.
#[test]
fn smollm2_matches_transformers() {
    let Some(path) = common::smollm2() else { return };
    let tokenizer = Checkpoint::open(path.to_str().unwrap()).unwrap().tokenizer.unwrap();
    assert_eq!(check("smollm2", &tokenizer), (9, 6));
}

/// Protects SentencePiece vocabularies, where a text that is tokenized in parts gets spaces that nobody wrote; and the BOS
/// that a template spells from being doubled.
#[test]
fn sentencepiece_matches_transformers() {
    let tokenizer = Tokenizer::from_file(&golden("tokenizers/mistral_v1_32000.tokenizer.model")).unwrap();
    assert!(tokenizer.add_bos());
    assert_eq!(check("mistral_v1", &tokenizer), (2, 0));
}
