//! Meta's Llama 3 `tokenizer.model`: one line per token, its bytes in base64 and its rank.
//!
//! Sources: meta-llama/llama-models, `llama3/tokenizer.py`; transformers, `TikTokenConverter` (merges from ranks).

use super::byte_level::{ByteLevelVocab, PreTokenizer, spell};
use super::{SpecialIds, Tokenizer};
use crate::engine::{Error, Result, interrupt};
use std::collections::HashMap;
use std::path::Path;

/// Special tokens that follow the ranks, in order.
const SPECIAL: usize = 256;

/// Whether `bytes` begin with a line of a tiktoken file.
pub(super) fn is(bytes: &[u8]) -> bool {
    let first = bytes.split(|b| *b == b'\n').next().unwrap_or(&[]);
    bytes.len() > first.len() && line(first).is_some_and(|(token, _)| !token.is_empty())
}

/// Reads a tiktoken file.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Tokenizer> {
    let mut tokens: Vec<Vec<u8>> = vec![];
    for (number, text) in bytes.split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
        match line(text) {
            Some((token, rank)) if rank == tokens.len() => tokens.push(token),
            _ => {
                return Err(Error::format(
                    path,
                    format!("line {}: expected a token in base64 and its rank", number + 1),
                ));
            }
        }
    }
    let merges = merges(&tokens)?;
    let ranks = tokens.len() as u32;
    let mut spelled: Vec<String> = tokens.iter().map(|t| spell(t)).collect();
    let special = special_tokens();
    let id = |name: &str| special.iter().position(|t| t == name).map(|at| ranks + at as u32);
    let stops = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"];
    let ids = SpecialIds {
        bos: id("<|begin_of_text|>"),
        eos: stops.iter().filter_map(|name| id(name)).collect(),
        pad: id("<|finetune_right_pad_id|>"),
    };
    spelled.extend(special.iter().cloned());
    ByteLevelVocab {
        tokens: spelled,
        merges,
        special,
        added: vec![],
        pre: PreTokenizer::LLAMA3,
        ids,
        add_bos: true,
        chat_template: None,
    }
    .build(path)
}

/// The special tokens of Meta's reference code; releases differ only in the names of reserved ones.
fn special_tokens() -> Vec<String> {
    let named = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
        "<|finetune_right_pad_id|>",
        "<|step_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
        "<|image|>",
    ];
    let reserved = (2..).map(|n| format!("<|reserved_special_token_{n}|>"));
    named.iter().map(|t| t.to_string()).chain(reserved).take(SPECIAL).collect()
}

/// Every split of a token into two tokens, in the order of the token's rank.
fn merges(tokens: &[Vec<u8>]) -> Result<Vec<(String, String)>> {
    let ranks: HashMap<&[u8], usize> = tokens.iter().enumerate().map(|(i, t)| (t.as_slice(), i)).collect();
    let mut out = vec![];
    for token in tokens {
        interrupt::poll()?;
        let mut splits: Vec<_> = (1..token.len())
            .map(|at| token.split_at(at))
            .filter_map(|(l, r)| Some((*ranks.get(l)?, *ranks.get(r)?, l, r)))
            .collect();
        splits.sort_unstable();
        out.extend(splits.into_iter().map(|(.., l, r)| (spell(l), spell(r))));
    }
    Ok(out)
}

fn line(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (token, rank) = std::str::from_utf8(text).ok()?.trim_end().split_once(' ')?;
    Some((base64(token)?, rank.parse().ok()?))
}

/// Decodes standard base64 with padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let (mut out, mut buffer, mut bits) = (vec![], 0u32, 0);
    for c in digits.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = buffer << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects Llama 3's own checkpoints: RFC 4648's test vectors.
    #[test]
    fn base64_is_standard() {
        for (text, bytes) in [("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar"), ("IQ==", "!")] {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert!(base64("Zg=").is_none() && base64("Z*==").is_none());
    }

    /// Protects merging by rank: a file of bytes and two words, and the special tokens after them.
    #[test]
    fn tokens_merge_by_rank() {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let encode = |bytes: &[u8]| {
            let mut out = String::new();
            for group in bytes.chunks(3) {
                let n = group.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - group.len()));
                for i in 0..4 {
                    out.push(if i <= group.len() { DIGITS[(n >> (18 - 6 * i)) as usize & 63] as char } else { '=' });
                }
            }
            out
        };
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        tokens.extend([b"ab".to_vec(), b" ab".to_vec(), b"abc".to_vec()]);
        let file: String = tokens.iter().enumerate().map(|(i, t)| format!("{} {i}\n", encode(t))).collect();
        assert!(is(file.as_bytes()));
        let tokenizer = parse(Path::new("t"), file.as_bytes()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 259 + 256);
        assert_eq!(tokenizer.encode("abc ab<|eot_id|>é").unwrap(), [258, 257, 259 + 9, 0xc3, 0xa9]);
        assert_eq!(tokenizer.decode(&[258, 257, 268, 0xc3, 0xa9]).unwrap(), "abc abé");
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(259), Some(260)));
    }
}
