//! Tokenizers against their own implementations.

use crate::common;
use crate::gguf::{text, writer};
use crate::tiny::{config, tensors};
use lora_host::engine::llama::weights::Checkpoint;
use lora_host::engine::tokenizer::{Message, SpecialIds, Tokenizer};
use std::path::{Path, PathBuf};

#[derive(serde::Deserialize)]
struct Golden {
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

fn golden(name: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/tokenizers/{name}.json"));
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(golden.rows.len() >= 30);
    golden.rows
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Ids, text, and text token by token.
fn assert_matches(tokenizer: &Tokenizer, rows: &[Row]) {
    for row in rows {
        assert_eq!(tokenizer.encode(&row.text).unwrap(), row.ids, "{:?}", row.text);
        // SentencePiece spells an unknown piece as a sign of its own; Hugging Face leaves it out as a special token.
        if !row.decoded.contains('⁇') {
            assert_eq!(tokenizer.decode(&row.ids).unwrap(), row.decoded, "{:?}", row.text);
        }
        assert_streams(tokenizer, &row.ids);
    }
}

fn assert_streams(tokenizer: &Tokenizer, ids: &[u32]) {
    let mut stream = tokenizer.stream();
    let mut text: String = ids.iter().filter_map(|id| stream.push(*id).unwrap()).collect();
    text.extend(stream.finish().unwrap());
    assert_eq!(text, tokenizer.decode(ids).unwrap());
}

/// Protects LLaMA-2-like models: SentencePiece BPE with byte fallback.
#[test]
fn mistral_matches_sentencepiece() {
    let tokenizer = Tokenizer::from_file(&file("tokenizers/mistral_v1_32000.tokenizer.model")).unwrap();
    assert_eq!(tokenizer.vocab_size(), 32_000);
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()), (Some(1), Some(2), None));
    assert!(tokenizer.add_bos());
    assert_matches(&tokenizer, &golden("mistral_v1"));
}

/// Protects the built-in model's vocabulary in its SentencePiece form, which also drops extra spaces.
#[test]
fn tok512_matches_sentencepiece() {
    let tokenizer = Tokenizer::from_file(&file("tokenizers/tok512.model")).unwrap();
    assert_matches(&tokenizer, &golden("tok512"));
}

/// Protects unigram models with Unicode normalisation.
#[test]
fn unigram_matches_sentencepiece() {
    let tokenizer = Tokenizer::from_file(&file("meta_tiny/m.model")).unwrap();
    assert_eq!(tokenizer.vocab_size(), 2000);
    assert_matches(&tokenizer, &golden("meta_tiny_m"));
}

/// Protects the built-in tokenizer: llama2.c's file of the same pieces gives the same ids, spaces kept.
#[test]
fn llama2c_matches_sentencepiece() {
    let tokenizer = Checkpoint::open("builtin:stories260K").unwrap().tokenizer.unwrap();
    let spaced = |t: &str| t.contains("  ") || t.starts_with(' ') || t.ends_with(' ') || t.is_empty();
    let rows: Vec<Row> = golden("tok512").into_iter().filter(|r| !spaced(&r.text) && !r.text.contains('\0')).collect();
    assert!(rows.len() > 20);
    assert_matches(&tokenizer, &rows);
    assert_eq!(tokenizer.decode(&tokenizer.encode("a  b ").unwrap()).unwrap(), "a  b ");
}

/// Protects SmolLM2 from its GGUF file: ids, special tokens, chat template.
#[test]
fn smollm2_matches_tokenizers() {
    let Some(path) = common::smollm2() else { return };
    let tokenizer = Checkpoint::open(path.to_str().unwrap()).unwrap().tokenizer.unwrap();
    assert_eq!(tokenizer.vocab_size(), 49_152);
    assert_eq!((tokenizer.bos_id(), tokenizer.stop_ids(), tokenizer.pad_id()), (Some(1), &[2][..], Some(2)));
    assert!(!tokenizer.add_bos());
    assert_matches(&tokenizer, &golden("smollm2"));
    assert_eq!(tokenizer.decode_raw(&[1, 28]).unwrap(), "<|im_start|>,");
    let chat = tokenizer.apply_chat_template(&[Message::new("user", "Hi")], true).unwrap();
    assert_eq!(
        chat,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
}

/// Protects saved models: what is saved is read back from the directory as the same tokenizer.
#[test]
fn a_saved_tokenizer_is_the_same() {
    for name in ["tokenizers/mistral_v1_32000.tokenizer.model", "meta_tiny/m.model"] {
        let original = Tokenizer::from_file(&file(name)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        original.save(dir.path()).unwrap();
        let saved = Tokenizer::from_dir(dir.path(), &SpecialIds::default()).unwrap().unwrap();
        assert_eq!(saved.vocab_size(), original.vocab_size());
        assert_eq!((saved.bos_id(), saved.stop_ids()), (original.bos_id(), original.stop_ids()));
        assert_eq!(saved.add_bos(), original.add_bos());
        for row in golden("mistral_v1") {
            assert_eq!(saved.encode(&row.text).unwrap(), original.encode(&row.text).unwrap(), "{name}: {:?}", row.text);
        }
    }
}

/// Protects a text that goes on: the first word after a prompt keeps its space, which alone it would lose.
#[test]
fn a_stream_continues_the_prompt() {
    let tokenizer = Tokenizer::from_file(&file("tokenizers/mistral_v1_32000.tokenizer.model")).unwrap();
    let ids = tokenizer.encode("The capital of France is Paris.").unwrap();
    let paris = tokenizer.id("▁Paris").unwrap();
    let at = ids.iter().position(|id| *id == paris).unwrap();
    assert_eq!(tokenizer.stream_after(&ids[..at]).push(paris).unwrap().as_deref(), Some(" Paris"));
    assert_eq!(tokenizer.stream().push(paris).unwrap().as_deref(), Some("Paris"));
}

/// Protects streaming: part of a character is held back, and given up on at the end.
#[test]
fn a_stream_gives_whole_characters() {
    let tokenizer = Tokenizer::from_file(&file("tokenizers/tok512.model")).unwrap();
    let bytes: Vec<u32> = "é".bytes().map(|b| tokenizer.id(&format!("<0x{b:02X}>")).unwrap()).collect();
    let mut stream = tokenizer.stream();
    assert_eq!(stream.push(bytes[0]).unwrap(), None);
    assert_eq!(stream.push(bytes[1]).unwrap().as_deref(), Some("é"));
    assert_eq!(stream.push(bytes[0]).unwrap(), None);
    assert!(stream.finish().unwrap().unwrap().contains('\u{fffd}'));
    assert_eq!(stream.finish().unwrap(), None);
}

/// Protects prompts: BOS and EOS are added only where asked for, and a spelled-out special token is one id.
#[test]
fn special_tokens_are_added_and_recognised() {
    let tokenizer = Tokenizer::from_file(&file("tokenizers/mistral_v1_32000.tokenizer.model")).unwrap();
    let plain = tokenizer.encode("Hello").unwrap();
    assert_eq!(tokenizer.encode_with("Hello", true, true).unwrap(), [&[1], &plain[..], &[2]].concat());
    assert_eq!(tokenizer.encode("</s>").unwrap(), [2]);
    assert_eq!(tokenizer.decode(&[1, plain[0], 2]).unwrap(), "Hello");
}

/// Protects against damaged tokenizer files of every kind: an error that names the file.
#[test]
fn damaged_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.model");
    let whole = std::fs::read(file("meta_tiny/m.model")).unwrap();
    for end in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..end]).unwrap();
        let error = Tokenizer::from_file(&path).unwrap_err();
        assert!(error.to_string().contains("tokenizer.model"), "{error}");
    }
    let bin = dir.path().join("tok.bin");
    let whole = include_bytes!("../../src/builtin/tok512.bin");
    // A cut between two pieces cannot be seen here; the model's vocabulary shows it.
    for end in [0, 3, 5, 101, whole.len() - 1] {
        std::fs::write(&bin, &whole[..end]).unwrap();
        assert!(Tokenizer::from_file(&bin).is_err(), "{end}");
    }
    let json = dir.path().join("tokenizer.json");
    for text in [
        "{",
        "{}",
        r#"{"model": {"type": "BPE"}}"#,
        r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}}"#,
    ] {
        std::fs::write(&json, text).unwrap();
        let error = Tokenizer::from_file(&json).unwrap_err();
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
    }
}

/// Protects against damaged normalisation tables, which the tokenizers crate indexes unchecked: errors, no panic.
#[test]
fn damaged_tables_are_errors() {
    let whole = std::fs::read(file("meta_tiny/m.model")).unwrap();
    let (dir, mut seed) = (tempfile::tempdir().unwrap(), 5u32);
    let path = dir.path().join("tokenizer.model");
    let mut read = 0;
    for _ in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..20 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The table is the last 237 kB of the file: first a trie, then the replacements' text.
            let at = bytes.len() - 230_000 + (seed >> 4) as usize % 120_000;
            bytes[at] = (seed >> 24) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(tokenizer) = Tokenizer::from_file(&path) {
            read += 1;
            let _ = tokenizer.encode("naïve ｆｕｌｌ ½ ﬁ 日本");
        }
    }
    assert!(read > 0);
}

/// Protects Hugging Face's companion files: BOS, every EOS, padding, whether BOS is added, and where the template is.
#[test]
fn companions_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "tokenizer.json",
        r#"{"added_tokens": [{"id": 2, "content": "<s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
            {"id": 3, "content": "</s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<s>": 2, "</s>": 3, "c": 4}, "merges": []},
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}}}}"#,
    );
    write(
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}"#,
    );
    write("generation_config.json", r#"{"eos_token_id": [3, 4]}"#);
    let read = || Tokenizer::from_dir(dir.path(), &SpecialIds { pad: Some(1), ..Default::default() }).unwrap().unwrap();
    let t = read();
    assert_eq!((t.bos_id(), t.stop_ids(), t.pad_id(), t.add_bos()), (Some(2), &[3, 4][..], Some(1), true));
    assert_eq!(t.encode("ab<s>").unwrap(), [0, 1, 2]);
    assert_eq!(t.chat_template(), Some("D"));
    write("chat_template.jinja", "{{ messages[0].content.strip() }}");
    write("tokenizer_config.json", r#"{"bos_token": "<s>", "add_bos_token": false}"#);
    let t = read();
    assert!(!t.add_bos());
    assert_eq!(t.apply_chat_template(&[Message::new("user", " x ")], false).unwrap(), "x");
}

/// Protects GGUF files with a SentencePiece vocabulary: the same pieces as in the `.model` give the same ids.
#[test]
fn gguf_pieces_match_sentencepiece() {
    let original = Checkpoint::open("builtin:stories260K").unwrap().tokenizer.unwrap();
    let mut c = config();
    c.vocab_size = 512;
    let mut w = writer(&c, &tensors(&c));
    let pieces: Vec<String> = (0..512).map(|id| original.piece(id).unwrap()).collect();
    let kind = |id: usize| match id {
        0 => 2i32,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    };
    w.str("tokenizer.ggml.model", "llama");
    w.array("tokenizer.ggml.tokens", 8, pieces.iter().map(|p| text(p)).collect());
    let score = |id: usize| if id < 259 { 0.0 } else { 259.0 - id as f32 };
    w.array("tokenizer.ggml.scores", 6, (0..512).map(|i| f32::to_le_bytes(score(i)).to_vec()).collect());
    w.array("tokenizer.ggml.token_type", 5, (0..512).map(|i| kind(i).to_le_bytes().to_vec()).collect());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.gguf"), w.bytes()).unwrap();
    let tokenizer = Checkpoint::open(dir.path().to_str().unwrap()).unwrap().tokenizer.unwrap();
    for row in golden("tok512") {
        assert_eq!(tokenizer.encode(&row.text).unwrap(), original.encode(&row.text).unwrap(), "{:?}", row.text);
    }
    assert_eq!((tokenizer.bos_id(), tokenizer.stop_ids()), (Some(1), &[2][..]));
    assert!(tokenizer.add_bos());
}
