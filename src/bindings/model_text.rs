//! A model as a session shows it: a table of what matters for training it.

use super::llama::Model;
use crate::engine::device;
use crate::engine::llama::Llama;
use crate::engine::lora::Targets;
use rhai::Engine;

pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("to_debug", |m: &mut Model| table(&m.read()));
}

fn table(m: &Llama) -> String {
    let c = &m.config;
    let heads = match (c.num_attention_heads, c.num_key_value_heads) {
        (q, kv) if q == kv => format!("{q} of {} numbers", c.head_dim),
        (q, kv) => format!("{q} for queries, {kv} for keys and values, of {} numbers", c.head_dim),
    };
    let all = m.num_params();
    let trainable = m.num_trainable();
    // Of everything there is, as PEFT's print_trainable_parameters counts.
    let total = all + m.adapter_parameters().iter().map(|(_, p)| p.len()).sum::<usize>();
    let share = 100.0 * trainable as f64 / total.max(1) as f64;
    let bytes: usize = m.parameters().iter().filter(|(_, p)| p.is_loaded()).map(|(_, p)| p.bytes()).sum();
    let memory = match bytes {
        0 => "shapes only".to_string(),
        bytes => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    };
    let mut rows = vec![
        ("blocks", c.num_hidden_layers.to_string()),
        ("hidden", format!("{}, feed-forward {}", count(c.hidden_size), count(c.intermediate_size))),
        ("heads", heads),
        ("vocabulary", count(c.vocab_size)),
        ("context", format!("{} tokens", count(c.max_position_embeddings))),
        ("parameters", count(all)),
        ("trainable", if trainable == 0 { "0".into() } else { format!("{} ({share:.2} %)", count(trainable)) }),
    ];
    if let Some(l) = &m.lora {
        let on = match &l.targets {
            Targets::AllLinear => "every linear layer".to_string(),
            Targets::Names(names) => names.join(", "),
        };
        let kind = if l.rslora { "rsLoRA" } else { "LoRA" };
        rows.push(("adapter", format!("{kind} rank {}, alpha {}, dropout {} on {on}", l.rank, l.alpha, l.dropout)));
    }
    rows.push(("weights", format!("{} on {}, {memory}", m.dtype_name(), device::name(&m.device))));
    if m.tokenizer.is_none() {
        rows.push(("tokenizer", "none".into()));
    }
    let lines = rows.iter().map(|(name, text)| format!("\n  {name:<11} {text}"));
    format!("Model {}{}", m.name, lines.collect::<String>())
}

/// 12345 as `12,345`.
fn count(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects what people check before a training run: counts, the share that trains, the adapter.
    #[test]
    fn a_model_is_a_table() {
        let script = r#"
            let m = llama::load("builtin:stories260K");
            m.freeze();
            m.inject_lora(#{ rank: 4, target_modules: ["q_proj"] });
            m.to_debug()"#;
        assert_eq!(
            run(script),
            "Model stories260K
  blocks      5
  hidden      64, feed-forward 172
  heads       8 for queries, 4 for keys and values, of 8 numbers
  vocabulary  512
  context     512 tokens
  parameters  260,032
  trainable   2,560 (0.97 %)
  adapter     LoRA rank 4, alpha 16, dropout 0 on q_proj
  weights     f32 on cpu, 1.0 MiB"
        );
        let shapes = run(r#"llama::from_config("llama-2-7b", #{ init: "shapes" }).to_debug()"#);
        assert!(shapes.contains("parameters  6,738,415,616\n") && shapes.contains("shapes only"), "{shapes}");
    }
}
