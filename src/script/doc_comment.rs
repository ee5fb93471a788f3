//! A doc comment taken apart: summary, description, options, errors, examples.
//!
//! ````text
//! One sentence that says what it does.
//!
//! More, with shapes and units.
//!
//! # Options
//! - `rank` (8): the inner dimension of the factors.
//!
//! # Errors
//! If ..
//!
//! # Example
//! ```rhai
//! zeros([2, 3]).shape // => [2, 3]
//! ```
//! ````

/// One key of a trailing option map.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OptionDoc {
    /// The key.
    pub name: String,
    /// Its default as written in the comment; empty where there is none.
    pub default: String,
    /// What it does.
    pub about: String,
}

/// A part of a doc comment under its heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// The heading without its mark; empty for what stands before the first.
    pub title: &'a str,
    /// The text below it, trimmed.
    pub body: &'a str,
}

/// The sections of `doc`: what stands before the first heading, then one for each `# Heading` outside code.
pub fn sections(doc: &str) -> Vec<Section<'_>> {
    let mut found = Vec::new();
    let (mut title, mut start, mut code) = ("", 0, false);
    let mut at = 0;
    for line in doc.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if let Some(heading) = line.strip_prefix("# ").filter(|_| !code) {
            found.push(Section { title, body: doc[start..at].trim_matches('\n').trim_end() });
            (title, start) = (heading.trim(), at + line.len());
        }
        at += line.len();
    }
    found.push(Section { title, body: doc[start..].trim_matches('\n').trim_end() });
    found
}

/// The first sentence of `doc`. Its paragraph is one line: see [`unwrap`].
pub fn summary(doc: &str) -> &str {
    let line = doc.lines().next().unwrap_or_default();
    if line.starts_with('#') || line.starts_with("```") {
        return "";
    }
    let mut depth = 0usize;
    let mut code = false;
    for (i, c) in line.char_indices() {
        match c {
            '`' => code = !code,
            '(' | '[' if !code => depth += 1,
            ')' | ']' if !code => depth = depth.saturating_sub(1),
            // A full stop inside a name, a number or brackets ends nothing; `..` is an ellipsis.
            '.' if !code && depth == 0 && ends(line, i) => return &line[..=i],
            _ => {}
        }
    }
    line
}

/// Whether the full stop at byte `at` ends a sentence, and not an abbreviation.
fn ends(line: &str, at: usize) -> bool {
    line[at + 1..].starts_with(' ') && !["e.g", "i.e", "."].iter().any(|a| line[..at].ends_with(a))
}

/// What stands between the summary and the first heading.
pub fn description(doc: &str) -> &str {
    let body = sections(doc)[0].body;
    body.strip_prefix(summary(doc)).unwrap_or(body).trim()
}

/// The keys listed under `# Options`, as ``- `name` (default): about``.
pub fn options(doc: &str) -> Vec<OptionDoc> {
    let Some(section) = sections(doc).into_iter().find(|s| s.title == "Options") else { return Vec::new() };
    section.body.lines().filter_map(option).collect()
}

fn option(line: &str) -> Option<OptionDoc> {
    let (name, rest) = line.strip_prefix("- `")?.split_once('`')?;
    let (default, about) = match rest.strip_prefix(" (") {
        // The default may hold brackets of its own.
        Some(rest) => rest.split_once("):").unwrap_or((rest, "")),
        None => ("", rest.trim_start_matches(':')),
    };
    Some(OptionDoc { name: name.into(), default: default.trim_matches('`').into(), about: about.trim().into() })
}

/// The scripts in `doc`: its blocks of code marked `rhai`.
pub fn examples(doc: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, Vec<&str>)> = None;
    for line in doc.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim() == "rhai", Vec::new())),
            (Some((wanted, lines)), Some(_)) => {
                found.extend(wanted.then(|| lines.join("\n")));
                open = None;
            }
            (Some((_, lines)), None) => lines.push(line),
            (None, None) => {}
        }
    }
    found
}

/// `doc` with the lines of each paragraph and list item made one: sources wrap, readers' windows wrap elsewhere.
pub fn unwrap(doc: &str) -> String {
    let mut text = String::new();
    let (mut code, mut joins) = (false, false);
    for line in doc.lines() {
        let fence = line.trim_start().starts_with("```");
        let item = line.trim_start().starts_with(['-', '*', '|', '#', '>']);
        let plain = !code && !fence && !line.trim().is_empty();
        if !text.is_empty() {
            text.push(if joins && plain && !item { ' ' } else { '\n' });
        }
        text += if joins && plain && !item { line.trim() } else { line.trim_end() };
        code ^= fence;
        joins = plain && !line.starts_with(['#', '|']);
    }
    text.trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = "Puts adapters on, e.g. LoRA (see `a. b`), on modules.\nAs in PEFT. And more.\n\nShapes: [a, b].\n\n# Options\n- `rank` (8): the inner\n  dimension.\n- `names` ([\"q\", \"v\"]): which.\n- `total`: steps.\n\n# Errors\nIf not.\n\n# Example\n```rhai\n# no heading\nf() // => 1\n```\n";

    /// Protects help, completion and checks: each part of the one form is found.
    #[test]
    fn parts_are_found() {
        let doc = unwrap(DOC);
        assert_eq!(summary(&doc), "Puts adapters on, e.g. LoRA (see `a. b`), on modules.");
        assert_eq!(description(&doc), "As in PEFT. And more.\n\nShapes: [a, b].");
        let found: Vec<_> = options(&doc).into_iter().map(|o| (o.name, o.default, o.about)).collect();
        let of = |n: &str, d: &str, a: &str| (n.to_string(), d.to_string(), a.to_string());
        let expected = [
            of("rank", "8", "the inner dimension."),
            of("names", "[\"q\", \"v\"]", "which."),
            of("total", "", "steps."),
        ];
        assert_eq!(found, expected);
        assert_eq!(examples(&doc), ["# no heading\nf() // => 1"]);
        let titles: Vec<_> = sections(&doc).iter().map(|s| s.title).collect();
        assert_eq!(titles, ["", "Options", "Errors", "Example"]);
        assert_eq!(sections(&doc)[2].body, "If not.");
    }

    /// Protects functions without a comment.
    #[test]
    fn nothing_gives_nothing() {
        assert_eq!((summary(""), description(""), options("").len(), examples("").len()), ("", "", 0, 0));
        assert_eq!(summary("# Example\n```rhai\n1\n```"), "");
    }
}
