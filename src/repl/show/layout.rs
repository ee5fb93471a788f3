//! The layout of values: on one line where they fit, else one element per line, and what is huge cut.

use super::count;
use super::table::cut;
use crate::bindings::Screen;
use crate::bindings::facts::facts;
use crate::script::catalog::friendly_type;
use rhai::{Array, Blob, Dynamic, Engine, ImmutableString, Map};
use std::borrow::Cow;

/// Characters of a string that are shown.
const TEXT: usize = 10_000;
/// Elements of an array, and keys of a map, that are shown one per line.
const ITEMS: usize = 24;
/// Lines of plain numbers.
const ROWS: usize = 8;
/// Containers inside containers are opened this deep.
const DEPTH: usize = 4;

/// `value` on lines that fit `screen`.
pub(in crate::repl) fn value(engine: &Engine, value: &Dynamic, screen: Screen) -> String {
    let layout = Layout { engine, width: screen.width };
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return string(&text, TEXT);
    }
    if value.is_array() || value.is_map() {
        return layout.container(value, 0, 0, DEPTH);
    }
    if let Some(blob) = value.read_lock::<Blob>() {
        return self::blob(&blob);
    }
    let text = debug(engine, value);
    if screen.color && friendly_type(engine, value.type_name()) != "string" { painted(&text) } else { text }
}

/// `value` on one line of at most `width` columns.
pub(in crate::repl) fn brief(engine: &Engine, value: &Dynamic, width: usize) -> String {
    let layout = Layout { engine, width };
    let text = layout.flat(value, width, DEPTH).unwrap_or_else(|| layout.squeezed(value, width));
    cut(&text, width)
}

/// What the type itself says.
fn debug(engine: &Engine, value: &Dynamic) -> String {
    match engine.eval_fn_call::<ImmutableString>(rhai::FUNC_TO_DEBUG, None, (value.clone(),)) {
        Ok(text) => text.to_string(),
        Err(_) => value.to_string(),
    }
}

/// Learned tokens, which stand between marks, in colour instead.
pub(in crate::repl) fn painted(text: &str) -> String {
    text.replace('⟦', "\x1b[32m").replace('⟧', "\x1b[0m")
}

/// Whether a text has colours of its own, as `Examples.show` gives them on a terminal, and nothing else that a terminal obeys.
fn is_painted(text: &str) -> bool {
    let plain = ["\x1b[32m", "\x1b[2m", "\x1b[0m"].iter().fold(text.to_string(), |text, code| text.replace(code, ""));
    plain.len() < text.len() && !plain.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
}

fn string(text: &str, most: usize) -> String {
    if is_painted(text) {
        return text.to_string();
    }
    match text.char_indices().nth(most) {
        None => format!("{text:?}"),
        Some((end, _)) => {
            let left = text[end..].chars().count();
            format!("{:?}... {} more characters", &text[..end], count(left as u64))
        }
    }
}

fn blob(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(16).map(|b| format!("{b:02x}")).collect();
    let more = if bytes.len() > shown.len() { " ..." } else { "" };
    format!("blob({} bytes: {}{more})", count(bytes.len() as u64), shown.join(" "))
}

/// `... 12 more`
fn more(n: usize) -> String {
    format!("... {} more", count(n as u64))
}

fn key(name: &str) -> Cow<'_, str> {
    if rhai::is_valid_identifier(name) { name.into() } else { format!("{name:?}").into() }
}

struct Layout<'a> {
    engine: &'a Engine,
    width: usize,
}

impl Layout<'_> {
    /// `value` on one line of at most `room` columns, if it fits whole.
    fn flat(&self, value: &Dynamic, room: usize, depth: usize) -> Option<String> {
        let text = if let Some(array) = value.read_lock::<Array>() {
            let items = array.iter().map(|v| (Cow::Borrowed(""), v));
            self.joined("[", items, "]", room, depth)?
        } else if let Some(map) = value.read_lock::<Map>() {
            let items = map.iter().map(|(k, v)| (format!("{}: ", key(k)).into(), v));
            self.joined("#{", items, "}", room, depth)?
        } else if let Some(text) = value.read_lock::<ImmutableString>() {
            // Longer than the room whatever it holds: no need to spell it out.
            (text.len() <= 4 * room).then(|| string(&text, TEXT))?
        } else if let Some(bytes) = value.read_lock::<Blob>() {
            blob(&bytes)
        } else if facts(value).dtype.is_some() || value.is_fnptr() {
            self.squeezed(value, room)
        } else {
            debug(self.engine, value)
        };
        (!text.contains('\n') && unicode_width::UnicodeWidthStr::width(text.as_str()) <= room).then_some(text)
    }

    fn joined<'v>(
        &self,
        open: &str,
        items: impl Iterator<Item = (Cow<'v, str>, &'v Dynamic)>,
        close: &str,
        room: usize,
        depth: usize,
    ) -> Option<String> {
        let deeper = depth.checked_sub(1)?;
        let mut text = open.to_string();
        for (i, (name, item)) in items.enumerate() {
            if i > 0 {
                text.push_str(", ");
            }
            text.push_str(&name);
            // Stops at the first element beyond the room, however many follow.
            text.push_str(&self.flat(item, room.checked_sub(text.len())?, deeper)?);
        }
        text.push_str(close);
        Some(text)
    }

    /// `value` on one line where its whole text would not fit: a tensor by its facts, a container by its length.
    fn squeezed(&self, value: &Dynamic, room: usize) -> String {
        let of = friendly_type(self.engine, value.type_name());
        let known = facts(value);
        if let (Some(shape), Some(dtype)) = (&known.shape, &known.dtype) {
            return format!("{of}({shape:?}, {dtype})");
        }
        if let Some(array) = value.read_lock::<Array>() {
            return self.begun(&array, room);
        }
        if let Some(map) = value.read_lock::<Map>() {
            let keys: Vec<_> = map.keys().take(20).map(|k| key(k)).collect();
            return cut(&format!("#{{ {} }} ({} keys)", keys.join(", "), count(map.len() as u64)), room);
        }
        if let Some(text) = value.read_lock::<ImmutableString>() {
            return cut(&string(&text, room), room);
        }
        let text = value.clone().try_cast::<rhai::FnPtr>().map(|f| format!("Fn({})", f.fn_name()));
        let text = text.unwrap_or_else(|| {
            let own = self.engine.eval_fn_call::<ImmutableString>("to_string", None, (value.clone(),));
            own.map_or_else(|_| value.to_string(), |t| t.to_string())
        });
        cut(text.lines().next().unwrap_or_default(), room)
    }

    /// The first elements of an array, and how many follow.
    fn begun(&self, array: &Array, room: usize) -> String {
        let end = |left: usize| format!("{}]", more(left));
        let mut text = "[".to_string();
        for (i, item) in array.iter().enumerate() {
            let left = array.len() - i;
            let next = self.flat(item, room / 2, 1).unwrap_or_else(|| self.squeezed(item, room / 2));
            if text.len() + next.len() + 2 + end(left).len() > room {
                return text + end(left).as_str();
            }
            text.extend([next.as_str(), if left > 1 { ", " } else { "]" }]);
        }
        text
    }

    /// An array or a map that begins `used` columns from the left margin of lines that are indented by `indent`.
    fn container(&self, value: &Dynamic, indent: usize, used: usize, depth: usize) -> String {
        let room = self.width.saturating_sub(indent + used).max(20);
        if let Some(text) = self.flat(value, room, depth) {
            return text;
        }
        let Some(deeper) = depth.checked_sub(1) else { return self.squeezed(value, room) };
        if let Some(array) = value.read_lock::<Array>() {
            if array.iter().take(1000).all(is_plain) {
                return self.numbers(&array, indent);
            }
            let lines = array.iter().take(ITEMS).map(|v| self.element(v, indent + 2, 1, deeper));
            return framed("[", lines.collect(), array.len(), "]", indent);
        }
        if let Some(map) = value.read_lock::<Map>() {
            let line = |(k, v): (&rhai::Identifier, &Dynamic)| {
                let key = key(k);
                format!("{key}: {}", self.element(v, indent + 2, key.len() + 3, deeper))
            };
            return framed("#{", map.iter().take(ITEMS).map(line).collect(), map.len(), "}", indent);
        }
        self.squeezed(value, room)
    }

    /// An element of a container, on lines of its own.
    fn element(&self, value: &Dynamic, indent: usize, used: usize, depth: usize) -> String {
        if value.is_array() || value.is_map() {
            return self.container(value, indent, used, depth);
        }
        let room = self.width.saturating_sub(indent + used).max(20);
        self.flat(value, room, depth).unwrap_or_else(|| self.squeezed(value, room))
    }

    /// Numbers, as many on a line as fit.
    fn numbers(&self, array: &Array, indent: usize) -> String {
        let room = self.width.saturating_sub(indent + 2).max(20);
        let mut lines = vec![String::new()];
        for (i, item) in array.iter().enumerate() {
            let text = format!("{}{}", debug(self.engine, item), if i + 1 < array.len() { ", " } else { "" });
            if lines.last().is_some_and(|l| !l.is_empty() && l.len() + text.trim_end().len() > room) {
                if lines.len() == ROWS {
                    lines.push(more(array.len() - i));
                    break;
                }
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                line.push_str(&text);
            }
        }
        let blank = " ".repeat(indent + 1);
        let lines: Vec<&str> = lines.iter().map(|l| l.trim_end()).collect();
        format!("[{}]", lines.join(&format!("\n{blank}")))
    }
}

/// Whether `value` takes a few characters whatever it is.
fn is_plain(value: &Dynamic) -> bool {
    value.is_int() || value.is_float() || value.is_bool() || value.is_char() || value.is_unit()
}

/// Elements one per line, of `all` that there are.
fn framed(open: &str, mut lines: Vec<String>, all: usize, close: &str, indent: usize) -> String {
    let blank = " ".repeat(indent + 2);
    let shown = lines.len();
    let last = shown.saturating_sub(1);
    for (i, line) in lines.iter_mut().enumerate() {
        if i < last || shown < all {
            line.push(',');
        }
    }
    if shown < all {
        lines.push(more(all - shown));
    }
    format!("{open}\n{blank}{}\n{}{close}", lines.join(&format!("\n{blank}")), " ".repeat(indent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(script: &str, width: usize) -> String {
        let engine = Engine::new();
        value(&engine, &engine.eval::<Dynamic>(script).unwrap(), Screen { width, color: false })
    }

    /// Protects the mask in a session: an example that is shown in colour is, and a text that would move the cursor is not.
    #[test]
    fn painted_texts_are_shown_as_they_are() {
        assert_eq!(string("\x1b[2mask\n\x1b[0m\x1b[32myes\x1b[0m", 500), "\x1b[2mask\n\x1b[0m\x1b[32myes\x1b[0m");
        assert_eq!(string("\x1b[32m\x1b[2J", 500), "\"\\u{1b}[32m\\u{1b}[2J\"");
        assert_eq!(string("a\n", 500), "\"a\\n\"");
    }

    /// Protects small values: on one line, as they would be written.
    #[test]
    fn what_fits_stays_on_a_line() {
        assert_eq!(shown("[\"a\", 1.5, (), true]", 80), "[\"a\", 1.5, (), true]");
        assert_eq!(shown("#{ a: [1, 2], \"b c\": #{} }", 80), "#{a: [1, 2], \"b c\": #{}}");
        assert_eq!(shown("\"a\\n\\\"b\"", 80), "\"a\\n\\\"b\"");
        assert_eq!(shown("blob(50000000)", 80).len(), "blob(50,000,000 bytes: 00 ...)".len() + 45);
    }

    /// Protects large values: nested ones are indented, long ones wrapped, huge ones cut with their number.
    #[test]
    fn what_does_not_fit_is_laid_out() {
        let text =
            shown("#{ name: \"finetune\", lr: 0.0001, target_modules: [\"q_proj\", \"v_proj\"], n: #{ a: 1 } }", 44);
        assert_eq!(
            text,
            "#{\n  lr: 0.0001,\n  n: #{a: 1},\n  name: \"finetune\",\n  target_modules: [\"q_proj\", \"v_proj\"]\n}"
        );
        let text = shown("let a = []; a.pad(1000, 1234567); a", 40);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS + 1);
        assert!(lines.iter().all(|l| l.len() <= 40), "{text}");
        assert_eq!(lines[ROWS], " ... 968 more]");
        let text = shown("let a = []; a.pad(1000, \"some longer text\"); [a, 1]", 40);
        assert!(text.contains("\n    ... 976 more\n  ],\n  1\n]"), "{text}");
    }

    /// Protects lists: one line, whatever the value.
    #[test]
    fn brief_is_one_line() {
        let engine = Engine::new();
        let brief = |script: &str| brief(&engine, &engine.eval::<Dynamic>(script).unwrap(), 30);
        assert_eq!(brief("let a = []; a.pad(1000, 7); a"), "[7, 7, 7, 7, 7, ... 995 more]");
        assert_eq!(brief("#{ alpha: \"text text text\", beta: \"text text text\" }"), "#{ alpha, beta } (2 keys)");
        assert_eq!(brief("\"line\\nline line line line line line\""), "\"line\\nline line line line ...");
        assert_eq!(brief("|x| x").get(..3), Some("Fn("));
    }
}
