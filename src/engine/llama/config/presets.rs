//! Published models by name, for building one from its shape alone.
//!
//! Source: each model's `config.json` on the Hugging Face hub.

use super::{LlamaConfig, RopeScaling};
use crate::engine::{Result, error::unknown_name};

/// The columns that differ: name, vocabulary, hidden, intermediate, layers, heads, kv heads, head_dim, context, theta, tied.
type Row = (&'static str, usize, usize, usize, usize, usize, usize, usize, usize, f64, bool);

#[rustfmt::skip]
const PRESETS: [Row; 15] = [
    ("llama-2-7b",     32_000,  4096, 11_008, 32, 32, 32, 128,    4096,  10_000.0, false),
    ("llama-2-13b",    32_000,  5120, 13_824, 40, 40, 40, 128,    4096,  10_000.0, false),
    ("llama-2-70b",    32_000,  8192, 28_672, 80, 64,  8, 128,    4096,  10_000.0, false),
    ("llama-3-8b",    128_256,  4096, 14_336, 32, 32,  8, 128,    8192, 500_000.0, false),
    ("llama-3-70b",   128_256,  8192, 28_672, 80, 64,  8, 128,    8192, 500_000.0, false),
    ("llama-3.1-8b",  128_256,  4096, 14_336, 32, 32,  8, 128, 131_072, 500_000.0, false),
    ("llama-3.2-1b",  128_256,  2048,   8192, 16, 32,  8,  64, 131_072, 500_000.0, true),
    ("llama-3.2-3b",  128_256,  3072,   8192, 28, 24,  8, 128, 131_072, 500_000.0, true),
    ("tinyllama-1.1b", 32_000,  2048,   5632, 22, 32,  4,  64,    2048,  10_000.0, false),
    ("smollm2-135m",   49_152,   576,   1536, 30,  9,  3,  64,    8192, 100_000.0, true),
    ("smollm2-360m",   49_152,   960,   2560, 32, 15,  5,  64,    8192, 100_000.0, true),
    ("smollm2-1.7b",   49_152,  2048,   8192, 24, 32, 32,  64,    8192, 130_000.0, true),
    ("stories260k",       512,    64,    172,  5,  8,  4,   8,     512,  10_000.0, true),
    ("stories15m",     32_000,   288,    768,  6,  6,  6,  48,     256,  10_000.0, true),
    ("stories42m",     32_000,   512,   1376,  8,  8,  8,  64,    1024,  10_000.0, true),
];

impl LlamaConfig {
    /// The shape of a published model, by its name in lower case, e.g. `"llama-2-7b"`.
    ///
    /// # Errors
    /// An unknown name, with the nearest known one suggested.
    pub fn preset(name: &str) -> Result<Self> {
        let wanted = name.to_ascii_lowercase();
        let Some(row) = PRESETS.iter().find(|row| row.0 == wanted) else {
            return Err(unknown_name("model preset", name, Self::preset_names()));
        };
        let &(
            name,
            vocab_size,
            hidden_size,
            intermediate_size,
            layers,
            heads,
            kv_heads,
            head_dim,
            context,
            theta,
            tied,
        ) = row;
        let stretched = |factor| RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let rope_scaling = match name {
            "llama-3.1-8b" => Some(stretched(8.0)),
            "llama-3.2-1b" | "llama-3.2-3b" => Some(stretched(32.0)),
            _ => None,
        };
        let (bos, eos) = if name.starts_with("llama-3") { (128_000, 128_001) } else { (1, 2) };
        Ok(LlamaConfig {
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: context,
            rms_norm_eps: 1e-5,
            rope_theta: theta,
            rope_scaling,
            tie_word_embeddings: tied,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            bos_token_id: Some(bos),
            eos_token_ids: vec![eos],
            // SmolLM2-Instruct's own choice; the others publish none.
            pad_token_id: name.starts_with("smollm2").then_some(2),
        })
    }

    /// The names that [`LlamaConfig::preset`] knows.
    pub fn preset_names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|row| row.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the table against slips: every row is a possible model, and a near miss is suggested.
    #[test]
    fn every_preset_is_valid() {
        for name in LlamaConfig::preset_names() {
            let config = LlamaConfig::preset(name).unwrap();
            config.validate().unwrap();
            assert_eq!(config.num_attention_heads * config.head_dim, config.hidden_size, "{name}");
        }
        assert!(LlamaConfig::preset("llama-2-7").unwrap_err().help().unwrap().contains("llama-2-7b"));
    }
}
