//! Data sets and batches as a session shows them: the first records, the first examples with what is learned marked.

use super::Context;
use super::data::{Batch, BatchWindows, Examples};
use crate::engine::data::{IGNORE_INDEX, record::Dataset, split::Subset, stats::plural, view::picture};
use rhai::Engine;
use unicode_width::UnicodeWidthChar;

/// Records or examples that are shown.
const SHOWN: usize = 3;
/// Lines of one example.
const LINES: usize = 6;

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    engine.register_fn("to_debug", move |d: &mut Dataset| records(d, c.output.screen().width));
    let c = ctx.clone();
    engine.register_fn("to_debug", move |e: &mut Examples| examples(e, c.output.screen().width));
    let c = ctx.clone();
    engine.register_fn("to_debug", move |b: &mut Batch| batch(b, c.output.screen().width));
    engine.register_fn("to_debug", |w: &mut BatchWindows| {
        let Ok(windows) = w.known() else { return "Windows(of a stream)".to_string() };
        let usage = windows.usage();
        format!(
            "Windows({}, {} with {}: {:.1} % of their places hold tokens)",
            plural(windows.total(), "optimizer step"),
            plural(usage.rows, "row"),
            plural(usage.documents, "example"),
            100.0 * usage.useful_share
        )
    });
}

fn records(data: &Dataset, width: usize) -> String {
    let mut lines = vec![format!("Records({}, {})", data.source, plural(data.len(), "record"))];
    let digits = SHOWN.to_string().len().max(2);
    for (i, r) in data.records().iter().take(SHOWN).enumerate() {
        let fields = [("instruction", &r.instruction), ("input", &r.input), ("output", &r.output)];
        for (n, (name, text)) in fields.into_iter().filter(|(_, t)| !t.is_empty()).enumerate() {
            let number = if n == 0 { i.to_string() } else { String::new() };
            let head = format!("{number:>digits$}  {name:<11}  ");
            lines.push(format!("{head}{}", one_line(text, width.saturating_sub(head.len()))));
        }
    }
    lines.extend(rest(data.len(), digits));
    lines.join("\n")
}

fn examples(data: &Examples, width: usize) -> String {
    let head: Vec<(char, bool)> = format!("Examples({})", data.0.stats()).chars().map(|c| (c, false)).collect();
    let mut lines: Vec<String> = wrapped(&head, width.max(20)).into_iter().map(bracketed).collect();
    for i in 0..data.0.len().min(SHOWN) {
        // A tokenizer that cannot decode its own ids leaves the counts.
        let Ok(parts) = data.0.show(i) else { break };
        lines.extend(marked(&format!("{i:>2}  "), &parts, width));
    }
    lines.extend(rest(data.0.len(), 2));
    lines.join("\n")
}

fn batch(b: &Batch, width: usize) -> String {
    let b = &b.0;
    let mut lines = vec![format!(
        "Batch([{}, {}], {}, {} learned, weight {:.4})",
        b.rows,
        b.width,
        plural(b.tokens, "token"),
        b.label_tokens,
        b.weight
    )];
    for row in 0..b.rows.min(SHOWN) {
        let of = row * b.width..row * b.width + b.lengths[row];
        let labels = &b.labels[of];
        let learned = labels.iter().skip(1).filter(|l| **l != IGNORE_INDEX).count();
        let bar = bar(labels, width.saturating_sub(40).clamp(10, 60));
        let documents = b.documents.of_row(row).count();
        let packed = if documents > 1 { format!("{documents} documents, ") } else { String::new() };
        lines.push(format!("{row:>2}  {bar}  {packed}{}, {learned} learned", plural(labels.len(), "token")));
    }
    lines.extend(rest(b.rows, 2));
    lines.join("\n")
}

/// Which part of a row is learned, in `width` characters: `····████`.
fn bar(labels: &[i64], width: usize) -> String {
    let width = width.min(labels.len()).max(1);
    let cell = |i: usize| {
        let part = &labels[i * labels.len() / width..(i + 1) * labels.len() / width];
        if part.iter().filter(|l| **l != IGNORE_INDEX).count() * 2 > part.len() { '█' } else { '·' }
    };
    (0..width).map(cell).collect()
}

fn rest(n: usize, digits: usize) -> Option<String> {
    (n > SHOWN).then(|| format!("{:>digits$}  ... {} more", "", n - SHOWN))
}

/// `text` on one line of at most `width` columns, line breaks as `⏎`.
fn one_line(text: &str, width: usize) -> String {
    let text: String = text.trim().chars().map(|c| if c == '\n' { '⏎' } else { picture(c) }).collect();
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used + 3 <= width
    };
    let shown: String = text.chars().take_while(fits).collect();
    if shown.len() == text.len() || unicode_width::UnicodeWidthStr::width(text.as_str()) <= width {
        text
    } else {
        shown + "..."
    }
}

/// An example's text behind `head`, wrapped at words; each line's learned part between ⟦ and ⟧ of its own.
fn marked(head: &str, parts: &[(String, bool)], width: usize) -> Vec<String> {
    // Two columns are kept for the marks.
    let room = width.saturating_sub(head.len() + 2).max(20);
    let letters: Vec<(char, bool)> =
        parts.iter().flat_map(|(t, learned)| t.chars().map(|c| (picture(c), *learned))).collect();
    let mut lines: Vec<String> = wrapped(&letters, room).into_iter().map(bracketed).collect();
    if lines.len() > LINES {
        // Where learning begins is what one looks for: the answer is at the end.
        let from = lines.len() - LINES / 2;
        lines.splice(LINES / 2..from, ["...".to_string()]);
    }
    let blank = " ".repeat(head.len());
    lines.iter().enumerate().map(|(i, l)| format!("{}{l}", if i == 0 { head } else { &blank })).collect()
}

/// Letters in lines of at most `room` columns, broken at a space where there is one.
fn wrapped(letters: &[(char, bool)], room: usize) -> Vec<&[(char, bool)]> {
    let mut lines = Vec::new();
    for paragraph in letters.split(|(c, _)| *c == '\n') {
        let mut rest = paragraph;
        loop {
            let mut used = 0;
            let fits = rest.iter().take_while(|(c, _)| {
                used += c.width().unwrap_or(0);
                used <= room
            });
            let fits = fits.count();
            if fits == rest.len() {
                break;
            }
            let space = rest[..fits].iter().rposition(|(c, _)| *c == ' ').map(|i| i + 1);
            let (line, left) = rest.split_at(space.unwrap_or(fits.max(1)));
            lines.push(line);
            rest = left;
        }
        lines.push(rest);
    }
    lines
}

fn bracketed(line: &[(char, bool)]) -> String {
    let mut text = String::new();
    for run in line.chunk_by(|a, b| a.1 == b.1) {
        let letters: String = run.iter().map(|(c, _)| c).collect();
        text += &if run[0].1 { format!("⟦{letters}⟧") } else { letters };
    }
    text.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;
    use super::*;

    /// Protects the first look at a data set: fields one below the other, empty ones left out, long ones cut.
    #[test]
    fn records_show_their_fields() {
        let script = r#"data::records([#{ instruction: "Add", input: "1\n2", output: "3" },
            #{ instruction: "x".pad_it(90), output: "y" }, #{ instruction: "c", output: "c" },
            #{ instruction: "d", output: "d" }]).to_debug()"#;
        let script = script.replace("\"x\".pad_it(90)", &format!("\"{}\"", "x".repeat(90)));
        let text = run(&script);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            ["Records(records, 4 records)", " 0  instruction  Add", "    input        1⏎2", "    output       3",]
        );
        assert!(lines[4].ends_with("x...") && lines[4].chars().count() == 80, "{text}");
        assert_eq!(lines.last(), Some(&"    ... 1 more"));
    }

    /// Protects the mask: what is learned stands between marks, on every line anew.
    #[test]
    fn learned_tokens_are_marked() {
        let parts = [("ask me\nA: ".to_string(), false), ("yes, of course it is so".to_string(), true)];
        let lines = marked(" 0  ", &parts, 24);
        assert_eq!(lines, [" 0  ask me", "    A: ⟦yes, of course ⟧", "    ⟦it is so⟧"]);
        assert_eq!(marked("", &[("\x1b[2J".to_string(), false)], 24), ["␛[2J"]);
        assert_eq!((one_line("a\n\x1b[2J", 20), one_line(&"x".repeat(30), 10)), ("a⏎␛[2J".into(), "xxxxxxx...".into()));
        assert_eq!(bar(&[-100, -100, 5, 6], 4), "··██");
        let long = [("a\n".repeat(50), false), ("end".to_string(), true)];
        let lines = marked("", &long, 24);
        assert_eq!((lines.len(), lines[3].as_str(), lines[6].as_str()), (7, "...", "⟦end⟧"));
    }

    /// Protects batches: their shape, and how much of each row is learned.
    #[test]
    fn batches_show_their_mask() {
        let text = run(r#"
            let m = llama::load("builtin:stories260K");
            let d = data::records([#{ instruction: "Say a", output: "a" }]).tokenize(m.tokenizer);
            let text = "";
            for w in d.batches() { text = w[0].to_debug(); }
            d.to_debug() + "\n" + text"#);
        assert!(text.contains("⟦") && text.contains("Batch([1, ") && text.contains("█"), "{text}");
    }
}
