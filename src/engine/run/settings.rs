//! The settings of a run: saved beside it, compared when it is resumed.

use crate::engine::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// Settings that may differ when a run is resumed: how long it goes on, how often it saves, where it lies.
pub const MAY_CHANGE: &[&str] = &["epochs", "max_steps", "save_every", "eval_every", "out", "resume", "overwrite"];

/// Each difference between `saved` and `now`, as `lr: saved 0.001, now 0.003`, nested ones as `lora.rank: ..`.
///
/// Top-level names in `may_change` are not compared; numbers are compared by value, so 1 equals 1.0.
pub fn differences(saved: &Value, now: &Value, may_change: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    compare("", saved, now, may_change, &mut found);
    found
}

fn compare(at: &str, saved: &Value, now: &Value, skip: &[&str], found: &mut Vec<String>) {
    let (Value::Object(a), Value::Object(b)) = (saved, now) else {
        if !same(saved, now) {
            let name = if at.is_empty() { "settings" } else { at };
            found.push(format!("{name}: saved {saved}, now {now}"));
        }
        return;
    };
    let name = |key: &str| if at.is_empty() { key.to_string() } else { format!("{at}.{key}") };
    for (key, old) in a.iter().filter(|(key, _)| !skip.contains(&key.as_str())) {
        match b.get(key) {
            Some(new) => compare(&name(key), old, new, &[], found),
            None => found.push(format!("{}: saved {old}, now absent", name(key))),
        }
    }
    for (key, new) in b.iter().filter(|(key, _)| !skip.contains(&key.as_str()) && !a.contains_key(*key)) {
        found.push(format!("{}: saved without it, now {new}", name(key)));
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64() && (x.is_f64() || y.is_f64()),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

/// An error that lists how `now` differs from what the run in `dir` was started with, if it does.
pub fn check_same(dir: &Path, saved: &Value, now: &Value, may_change: &[&str]) -> Result<()> {
    let found = differences(saved, now, may_change);
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::config_help(
        format!("the run in {} was started with other settings:\n  {}", dir.display(), found.join("\n  ")),
        format!(
            "resume it with the settings saved in {}, or start a new run; only {} may change",
            dir.join("settings.json").display(),
            may_change.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Protects resumed runs: every difference is listed once, the allowed ones and equal numbers are not.
    #[test]
    fn lists_each_difference() {
        let saved =
            json!({"lr": 0.001, "epochs": 1, "alpha": 32, "lora": {"rank": 8, "epochs": 1}, "t": ["q", "v"], "old": 1});
        let now = json!({"lr": 0.003, "epochs": 3, "alpha": 32.0, "lora": {"rank": 16, "epochs": 2}, "t": ["q"], "new": true});
        assert_eq!(
            differences(&saved, &now, MAY_CHANGE),
            [
                "lr: saved 0.001, now 0.003",
                "lora.rank: saved 8, now 16",
                "lora.epochs: saved 1, now 2",
                "t: saved [\"q\",\"v\"], now [\"q\"]",
                "old: saved 1, now absent",
                "new: saved without it, now true",
            ]
        );
        assert!(differences(&saved, &saved, &[]).is_empty());
    }

    /// Protects large integers (seeds): two that round to the same f64 are still two.
    #[test]
    fn large_integers_differ() {
        assert_eq!(differences(&json!({"s": u64::MAX}), &json!({"s": u64::MAX - 1}), &[]).len(), 1);
    }
}
