//! What to adapt and how: rank, alpha, dropout, target modules.

use crate::engine::error::{Error, Result, unknown_name};

/// Settings of an adapter; the field names are PEFT's, shortened.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank `r` of the update `B A`.
    pub rank: usize,
    /// Numerator of the scale.
    pub alpha: f64,
    /// Dropout probability on the adapter's input during training.
    pub dropout: f64,
    /// Which linear layers get an adapter.
    pub targets: Targets,
    /// Scale by `alpha / sqrt(rank)` instead of `alpha / rank` (Kalajdzievski, "rsLoRA", 2023).
    pub rslora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        LoraConfig {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            targets: Targets::Names(vec!["q_proj".into(), "v_proj".into()]),
            rslora: false,
        }
    }
}

impl LoraConfig {
    /// Factor on the adapter's output.
    pub fn scale(&self) -> f64 {
        scale(self.alpha, self.rank, self.rslora)
    }

    /// Checks that the numbers make sense.
    ///
    /// # Errors
    /// Naming the field and its value.
    pub fn validate(&self) -> Result<()> {
        if self.rank == 0 || self.rank > 1 << 16 {
            return Err(Error::config(format!("LoRA: rank must be in 1..=65536, not {}", self.rank)));
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            return Err(Error::config(format!("LoRA: alpha must be a positive number, not {}", self.alpha)));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config(format!("LoRA: dropout must be in 0..1, not {}", self.dropout)));
        }
        Ok(())
    }
}

/// `alpha / rank`, or `alpha / sqrt(rank)` with rsLoRA.
pub fn scale(alpha: f64, rank: usize, rslora: bool) -> f64 {
    if rslora { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 }
}

/// Which linear layers get an adapter.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Every linear layer of the blocks (not the output projection), as PEFT's `"all-linear"`.
    AllLinear,
    /// By name: `q_proj` (every block's), `layers.3.self_attn.q_proj` (one), or Meta's `wq wk wv wo w1 w2 w3`.
    Names(Vec<String>),
}

/// Meta's names of the linear layers, and Hugging Face's.
const META_NAMES: [(&str, &str); 7] = [
    ("wq", "q_proj"),
    ("wk", "k_proj"),
    ("wv", "v_proj"),
    ("wo", "o_proj"),
    ("w1", "gate_proj"),
    ("w2", "down_proj"),
    ("w3", "up_proj"),
];

fn canonical(name: &str) -> String {
    let (prefix, last) = name.rsplit_once('.').map_or(("", name), |(p, l)| (p, l));
    let last = META_NAMES.iter().find(|(meta, _)| *meta == last).map_or(last, |(_, hf)| hf);
    if prefix.is_empty() { last.to_string() } else { format!("{prefix}.{last}") }
}

impl Targets {
    /// The indices of `modules` (full names, e.g. `model.layers.0.self_attn.q_proj`) that are meant.
    ///
    /// # Errors
    /// If a name matches no module: a silent miss would train less than was asked for.
    pub fn select(&self, modules: &[String]) -> Result<Vec<usize>> {
        let Targets::Names(names) = self else {
            return Ok((0..modules.len()).filter(|i| modules[*i].contains(".layers.")).collect());
        };
        if names.is_empty() {
            return Err(Error::config("LoRA: target_modules is empty"));
        }
        let mut chosen = vec![false; modules.len()];
        for name in names {
            let wanted = canonical(name);
            let mut any = false;
            for (chosen, module) in chosen.iter_mut().zip(modules) {
                let hit = *module == wanted || module.strip_suffix(wanted.as_str()).is_some_and(|p| p.ends_with('.'));
                *chosen |= hit;
                any |= hit;
            }
            if !any {
                let mut known: Vec<&str> = modules.iter().filter_map(|m| m.rsplit('.').next()).collect();
                known.sort_unstable();
                known.dedup();
                return Err(unknown_name("target module", name, known.into_iter().chain(["all-linear"])));
            }
        }
        Ok((0..modules.len()).filter(|i| chosen[*i]).collect())
    }

    /// The last parts of the names meant, for `adapter_config.json`.
    pub fn names(&self) -> Vec<String> {
        match self {
            Targets::AllLinear => META_NAMES.iter().map(|(_, hf)| hf.to_string()).collect(),
            Targets::Names(names) => names.iter().map(|n| canonical(n)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Vec<String> {
        (0..12)
            .flat_map(|i| {
                ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"].map(|m| format!("model.layers.{i}.{m}"))
            })
            .chain(["lm_head".to_string()])
            .collect()
    }

    /// Protects who gets trained: both spellings, one layer only, all of them, and a typo that must not pass.
    #[test]
    fn targets() {
        let names = |n: &[&str]| Targets::Names(n.iter().map(|s| s.to_string()).collect());
        assert_eq!(names(&["q_proj", "wv"]).select(&modules()).unwrap().len(), 24);
        assert_eq!(names(&["layers.1.self_attn.q_proj"]).select(&modules()).unwrap(), [3]);
        assert_eq!(Targets::AllLinear.select(&modules()).unwrap().len(), 36);
        let err = names(&["q_porj"]).select(&modules()).unwrap_err();
        assert!(err.help().unwrap().contains("q_proj"), "{err:?}");
        assert!(names(&["proj"]).select(&modules()).is_err());
    }

    /// Protects the scale: alpha / r, and rsLoRA's alpha / sqrt(r).
    #[test]
    fn scales() {
        assert_eq!(scale(32.0, 16, false), 2.0);
        assert_eq!(scale(32.0, 16, true), 8.0);
        assert!(LoraConfig { rank: 0, ..Default::default() }.validate().is_err());
        assert!(LoraConfig { dropout: 1.0, ..Default::default() }.validate().is_err());
    }
}
