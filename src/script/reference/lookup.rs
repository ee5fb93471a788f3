//! From what a person types, `adamw`, `Tensor.sum`, `nn::rms_norm`, `std/train`, `@`, to what is meant.

use super::super::catalog::{Kind, Signature};
use super::{Chapter, Entry, chapters, entries};

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// One or several things of this name: `step` is a method of two types.
    Entries(Vec<Entry>),
    /// A type, module or topic: its members.
    List(Chapter),
    /// Nothing; names that are near.
    Nothing(Vec<String>),
}

/// Near names offered at most.
const NEAR: usize = 5;

/// What `name` means: a key, a name alone, a type, a module, a topic. `?`, `()` and `help`'s quotes around it are ignored.
pub fn lookup(catalog: &[Signature], name: &str) -> Found {
    let name = trim(name);
    let mut all = entries(catalog);
    if let Some(entry) = all.remove(name).or_else(|| all.remove(&format!("std/{name}"))) {
        return Found::Entries(vec![entry]);
    }
    let all: Vec<Entry> = all.into_values().collect();
    let mut same: Vec<Entry> = all.iter().filter(|e| e.short() == name).cloned().collect();
    if !same.is_empty() {
        // The host's before Rhai's: `step` of an optimizer before that of a range.
        same.sort_by_key(|e| e.doc().origin);
        return Found::Entries(same);
    }
    // `model.loss`: a variable of any name before the method's.
    if let Some((_, member)) = name.rsplit_once('.') {
        let members = |e: &&Entry| e.short() == member && matches!(e.doc().kind, Kind::Method | Kind::Property);
        let found: Vec<Entry> = all.iter().filter(members).cloned().collect();
        if !found.is_empty() {
            return Found::Entries(found);
        }
    }
    match list(catalog, &all, name) {
        Some(chapter) => Found::List(chapter),
        None => Found::Nothing(near(name, &all)),
    }
}

fn trim(name: &str) -> &str {
    let name = name.trim().trim_matches(|c| matches!(c, '?' | '"' | '`')).trim();
    let name = name.strip_suffix("()").filter(|rest| !rest.is_empty()).unwrap_or(name);
    name.trim_end_matches("::").trim_end_matches(';')
}

/// The members of the type, module or topic `name`.
fn list(catalog: &[Signature], all: &[Entry], name: &str) -> Option<Chapter> {
    let chapters = chapters(catalog);
    let named = |c: &&Chapter| c.name == name || c.title.eq_ignore_ascii_case(name) || c.name == format!("std/{name}");
    if let Some(chapter) = chapters.iter().find(named) {
        return Some(chapter.clone());
    }
    let of_type = |e: &&Entry| e.doc().object() == Some(name);
    let in_module = |e: &&Entry| e.doc().namespace == name;
    let members: Vec<Entry> = match all.iter().any(|e| in_module(&e)) {
        true => all.iter().filter(in_module).cloned().collect(),
        false => all.iter().filter(of_type).cloned().collect(),
    };
    let first = members.first()?;
    let title = if in_module(&first) { format!("{name}::") } else { name.to_string() };
    let origin = first.doc().origin;
    Some(Chapter { name: name.to_string(), title, intro: String::new(), entries: members, origin })
}

/// Keys like `name`, likest first.
fn near(name: &str, all: &[Entry]) -> Vec<String> {
    let lower = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = all
        .iter()
        .map(|e| {
            let like = |k: &str| strsim::jaro_winkler(&lower, &k.to_lowercase());
            let within = lower.len() > 2 && e.key.to_lowercase().contains(&lower);
            let score = like(&e.key).max(like(e.short())).max(if within { 0.9 } else { 0.0 });
            // Of equals, the host's own.
            (score - if e.doc().origin == super::Origin::Rhai { 0.05 } else { 0.0 }, e.key.as_str())
        })
        .filter(|(score, _)| *score > 0.82)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(NEAR).map(|(_, key)| key.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::catalog::collect;
    use super::*;
    use crate::bindings::HostContext;
    use crate::engine::progress::Silent;

    fn keys(name: &str) -> Vec<String> {
        let mut engine = rhai::Engine::new();
        let ctx = HostContext::new(std::sync::Arc::new(Silent));
        crate::bindings::register(&mut engine, &std::sync::Arc::new(ctx));
        match lookup(&collect(&engine), name) {
            Found::Entries(found) => found.into_iter().map(|e| e.key).collect(),
            Found::List(c) => vec![format!("list of {}: {}", c.name, c.entries.len() > 2)],
            Found::Nothing(near) => near.into_iter().map(|n| format!("near {n}")).collect(),
        }
    }

    /// Protects `?name` and `host doc name`: the ways in which people write a name.
    #[test]
    fn names_are_found() {
        for (name, key) in [
            ("optim::adamw", "optim::adamw"),
            ("adamw", "optim::adamw"),
            ("?rms_norm()", "nn::rms_norm"),
            ("Tensor.shape", "Tensor.shape"),
            ("model.inject_lora", "Model.inject_lora"),
            ("no_grad", "no_grad"),
            ("instruct::load", "std/instruct::load"),
            ("@", "Tensor @"),
            ("push", "array.push"),
        ] {
            assert_eq!(keys(name), [key], "{name}");
        }
        let steps = keys("step");
        assert!(steps.contains(&"Optimizer.step".into()) && steps.contains(&"GradScaler.step".into()), "{steps:?}");
        assert_eq!(steps[0], "GradScaler.step");
    }

    /// Protects looking around: types, modules and topics give their members, misspelt names the near ones.
    #[test]
    fn lists_and_near_names() {
        for name in ["nn", "nn::", "Tensor", "std/log", "log"] {
            if name == "log" {
                continue; // the logarithm
            }
            assert!(keys(name)[0].starts_with("list of"), "{name}: {:?}", keys(name));
        }
        assert_eq!(keys("adamW2")[0], "near optim::adamw");
        assert_eq!(keys("Tensor.shpae")[0], "near Tensor.shape");
        assert!(keys("qqqqqq").is_empty());
    }
}
