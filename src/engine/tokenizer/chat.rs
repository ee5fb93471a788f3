//! Chat templates: the Jinja programs that models ship to lay out a conversation.
//!
//! The environment is the one transformers gives them (`utils/chat_template_utils.py`): blocks trimmed, `break` and
//! `continue`, Python's string methods, `raise_exception`, `strftime_now`, `tojson` without HTML escapes.

use crate::engine::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind, from_args};
use minijinja::{Environment, ErrorKind, State, context};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What they say.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Message { role: role.into(), content: content.into() }
    }
}

/// Instructions that a template may take: a model's own are through after some hundred per turn, and a template is a
/// program from wherever the model came from.
const FUEL: u64 = 20_000_000;

/// Stand in a rendered text where `{% generation %}` began and ended: characters that Unicode keeps out of any text.
const BEGIN: char = '\u{FDD0}';
const END: char = '\u{FDD1}';

/// A chat template, compiled once for many conversations.
#[derive(Debug)]
pub struct ChatTemplate {
    env: Environment<'static>,
    bos_token: String,
    eos_token: String,
    marked: bool,
}

impl ChatTemplate {
    /// Compiles the Jinja text `source`; `bos_token` and `eos_token` are what it may spell.
    ///
    /// # Errors
    /// [`Error::Config`] for a text that is no template.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self> {
        let failed = |e: minijinja::Error| Error::config(format!("the chat template failed: {e}"));
        let mut env = Environment::new();
        env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?);
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.set_unknown_method_callback(python_method);
        env.add_function("raise_exception", |message: String| -> std::result::Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_function("strftime_now", |format: String| strftime(&format, SystemTime::now()));
        env.add_filter("tojson", tojson);
        let (source, marked) = mark_generation(source);
        env.add_template_owned("chat", source).map_err(failed)?;
        Ok(ChatTemplate { env, bos_token: bos_token.into(), eos_token: eos_token.into(), marked })
    }

    /// Whether it says by `{% generation %}` what the assistant writes.
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// [`Error::Config`] with the template's own complaint about the messages.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let mut text = self.run(messages, add_generation_prompt)?;
        if self.marked {
            text.retain(|c| c != BEGIN && c != END);
        }
        Ok(text)
    }

    /// The text of a conversation, and the bytes of it that stand between `{% generation %}` and `{% endgeneration %}`.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_marked(&self, messages: &[Message]) -> Result<(String, Vec<Range<usize>>)> {
        let text = self.run(messages, false)?;
        let (mut plain, mut spans, mut begun) = (String::with_capacity(text.len()), Vec::new(), None);
        for c in text.chars() {
            match c {
                BEGIN => begun = Some(plain.len()),
                END => spans.extend(begun.take().map(|start| start..plain.len())),
                _ => plain.push(c),
            }
        }
        Ok((plain, spans))
    }

    fn run(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        if self.marked && messages.iter().any(|m| m.content.contains([BEGIN, END])) {
            return Err(Error::config("a message has the character U+FDD0 or U+FDD1, which belongs in no text"));
        }
        let values = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => add_generation_prompt,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
            tools => (),
            documents => (),
        };
        let template = self.env.get_template("chat");
        let text = template.and_then(|t| t.render(values));
        text.map_err(|e| Error::config(format!("the chat template failed: {e}")))
    }
}

/// `source` with a character in place of each `{% generation %}` and `{% endgeneration %}`, and whether there was any.
///
/// transformers adds the tag to Jinja (`AssistantTracker` in `utils/chat_template_utils.py`). Here each becomes a block of
/// its own with the same signs for white space, so that trimming goes on as it would.
fn mark_generation(source: &str) -> (String, bool) {
    let (mut out, mut rest, mut marked) = (String::with_capacity(source.len()), source, false);
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(length) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (inside, whole) = (&tag[2..length], &tag[..length + 2]);
        let mark = match inside.trim_matches(['-', '+']).trim() {
            "generation" => Some(BEGIN),
            "endgeneration" => Some(END),
            _ => None,
        };
        match mark {
            None => out.push_str(whole),
            Some(mark) => {
                let sign = |c: Option<char>| c.filter(|c| "-+".contains(*c)).map_or(String::new(), String::from);
                let (left, right) = (sign(inside.chars().next()), sign(inside.chars().next_back()));
                out += &format!("{{%{left} if true %}}{{{{ '{mark}' }}}}{{% endif {right}%}}");
                marked = true;
            }
        }
        rest = &tag[length + 2..];
    }
    out.push_str(rest);
    (out, marked)
}

type Jinja<T> = std::result::Result<T, minijinja::Error>;

/// JSON as Python's `json.dumps` writes it: `, ` and `: ` between, or indented.
fn tojson(value: Value, options: Kwargs) -> Jinja<String> {
    let indent: Option<usize> = options.get("indent")?;
    let fail = |e| minijinja::Error::new(ErrorKind::BadSerialization, format!("tojson: {e}"));
    let json = serde_json::to_value(&value).map_err(fail)?;
    match indent {
        None => Ok(python_json(&json)),
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut out = Vec::new();
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            serde::Serialize::serialize(&json, &mut serializer).map_err(fail)?;
            Ok(String::from_utf8_lossy(&out).into_owned())
        }
    }
}

fn python_json(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(python_json).collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Object(map) => {
            let pair = |(k, v): (&String, &serde_json::Value)| {
                format!("{}: {}", serde_json::Value::String(k.clone()), python_json(v))
            };
            format!("{{{}}}", map.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// The methods of Python's `str` and `dict` that templates call.
fn python_method(_: &mut State, value: &Value, method: &str, args: &[Value]) -> Jinja<Value> {
    let unknown = || Err(minijinja::Error::from(ErrorKind::UnknownMethod));
    match (value.kind(), method) {
        (ValueKind::Map, "get") => {
            let (key, default): (Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(&key).ok().filter(|v| !v.is_undefined());
            Ok(found.or(default).unwrap_or(Value::from(())))
        }
        (ValueKind::Map, "keys" | "values" | "items") => {
            let () = from_args(args)?;
            let each = |key: Value| -> Jinja<Value> {
                Ok(match method {
                    "keys" => key,
                    "values" => value.get_item(&key)?,
                    _ => Value::from(vec![key.clone(), value.get_item(&key)?]),
                })
            };
            Ok(Value::from(value.try_iter()?.map(each).collect::<Jinja<Vec<_>>>()?))
        }
        (ValueKind::String, _) => match value.as_str() {
            Some(text) => string_method(text, method, args),
            None => unknown(),
        },
        _ => unknown(),
    }
}

fn string_method(text: &str, method: &str, args: &[Value]) -> Jinja<Value> {
    let strip = |left: bool, right: bool| -> Jinja<Value> {
        let (chars,): (Option<String>,) = from_args(args)?;
        let drop = |c: char| chars.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
        let out = if left { text.trim_start_matches(drop) } else { text };
        Ok(Value::from(if right { out.trim_end_matches(drop) } else { out }))
    };
    let no_args = |out: String| -> Jinja<Value> {
        let () = from_args(args)?;
        Ok(Value::from(out))
    };
    match method {
        "strip" => strip(true, true),
        "lstrip" => strip(true, false),
        "rstrip" => strip(false, true),
        "upper" => no_args(text.to_uppercase()),
        "lower" => no_args(text.to_lowercase()),
        "title" => no_args(title(text)),
        "capitalize" => no_args(capitalize(text)),
        "startswith" | "endswith" => {
            let (affix,): (Value,) = from_args(args)?;
            let one = |v: &Value| {
                v.as_str().is_some_and(|a| if method == "startswith" { text.starts_with(a) } else { text.ends_with(a) })
            };
            // Python takes a tuple of alternatives too.
            let any = affix.as_str().is_none() && affix.try_iter().is_ok_and(|mut all| all.any(|v| one(&v)));
            Ok(Value::from(one(&affix) || any))
        }
        "replace" => {
            let (from, to, count): (String, String, Option<usize>) = from_args(args)?;
            Ok(Value::from(count.map_or_else(|| text.replace(&from, &to), |n| text.replacen(&from, &to, n))))
        }
        "split" => {
            let (separator, limit): (Option<String>, Option<i64>) = from_args(args)?;
            let limit = limit.and_then(|n| usize::try_from(n).ok()).map_or(usize::MAX, |n| n.saturating_add(1));
            let parts: Vec<String> = match separator.as_deref() {
                Some("") => return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "split: empty separator")),
                Some(separator) => text.splitn(limit, separator).map(str::to_string).collect(),
                None => text.split_whitespace().map(str::to_string).collect(),
            };
            Ok(Value::from(parts))
        }
        "find" => {
            let (needle,): (String,) = from_args(args)?;
            let at = text.find(&needle).map(|byte| text[..byte].chars().count() as i64);
            Ok(Value::from(at.unwrap_or(-1)))
        }
        "count" => {
            let (needle,): (String,) = from_args(args)?;
            Ok(Value::from(if needle.is_empty() { text.chars().count() + 1 } else { text.matches(&needle).count() }))
        }
        "join" => {
            let (parts,): (Value,) = from_args(args)?;
            let parts: Vec<String> = parts.try_iter()?.map(|v| v.to_string()).collect();
            Ok(Value::from(parts.join(text)))
        }
        _ => Err(minijinja::Error::from(ErrorKind::UnknownMethod)),
    }
}

fn capitalize(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect())
}

fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        inside = c.is_alphabetic();
    }
    out
}

/// The part of C's `strftime` that templates use, in UTC (the machine's own time zone is not consulted).
fn strftime(format: &str, now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, time) = ((seconds / 86_400) as i64, seconds % 86_400);
    let (year, month, day) = civil(days);
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let month_name = MONTHS[(month - 1) as usize % 12];
    let day_name = DAYS[days as usize % 7];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('Y') => out += &year.to_string(),
            Some('y') => out += &format!("{:02}", year % 100),
            Some('m') => out += &format!("{month:02}"),
            Some('d') => out += &format!("{day:02}"),
            Some('B') => out += month_name,
            Some('b') => out += &month_name[..3],
            Some('A') => out += day_name,
            Some('a') => out += &day_name[..3],
            Some('H') => out += &format!("{:02}", time / 3600),
            Some('M') => out += &format!("{:02}", time / 60 % 60),
            Some('S') => out += &format!("{:02}", time % 60),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

/// Year, month and day of a count of days since 1970-01-01.
///
/// Source: Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn render(template: &str, messages: &[Message], prompt: bool, bos: &str, eos: &str) -> Result<String> {
        ChatTemplate::new(template, bos, eos)?.render(messages, prompt)
    }

    fn chat() -> Vec<Message> {
        vec![Message::new("user", " Hi "), Message::new("assistant", "Yes?")]
    }

    /// Protects against stray newlines: blocks are trimmed as in transformers, and Python's methods work.
    #[test]
    fn blocks_and_methods_are_as_in_python() {
        let template = "{{ bos_token }}{% for m in messages %}\n  {% if m['role'] == 'user' %}\n[{{ m.content.strip() }}]\n  {% else %}\n\
                        {{ m.get('content').replace('?', '!') ~ eos_token }}\n{% endif %}\n{% endfor %}";
        assert_eq!(render(template, &chat(), false, "<s>", "</s>").unwrap(), "<s>[Hi]\nYes!</s>\n");
    }

    /// Protects bad conversations: the template's own complaint reaches the person.
    #[test]
    fn raise_exception_is_an_error() {
        let error = render("{{ raise_exception('roles must alternate') }}", &chat(), false, "", "").unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }

    /// Protects against a model's template that never ends, or is a bomb: it is a stranger's program.
    #[test]
    fn templates_have_an_end() {
        let rows = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}";
        for template in [rows, "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 'x' * 99999999999 }}"] {
            let error = render(template, &chat(), false, "", "").unwrap_err();
            assert!(error.to_string().contains("the chat template failed"), "{error}");
        }
    }

    /// Protects masks that a template gives itself: what is between the tags, with the white space that transformers
    /// leaves (`apply_chat_template(return_assistant_tokens_mask=True)`).
    #[test]
    fn generation_is_marked() {
        let template = "{%- for m in messages %}\n<{{ m.role }}>\n{%- if m.role == 'assistant' %}\n  {% generation %}\n  {{- m.content }}\
                        {{ eos_token }}{%- endgeneration %}\n{%- else %}{{ m.content }}{% endif %}\n{% endfor %}";
        let template = ChatTemplate::new(template, "", "$").unwrap();
        let messages = [chat(), vec![Message::new("assistant", "é")]].concat();
        let (text, spans) = template.render_marked(&messages).unwrap();
        assert!(template.is_marked());
        assert_eq!(text, "<user> Hi <assistant>Yes?$<assistant>é$");
        assert_eq!(spans.iter().map(|s| &text[s.clone()]).collect::<Vec<_>>(), ["Yes?$", "é$"]);
        assert_eq!(template.render(&messages, true).unwrap(), text);
        assert!(template.render(&[Message::new("user", "\u{FDD0}")], false).is_err());
        assert!(!ChatTemplate::new("{% if generation %}{% endif %}", "", "").unwrap().is_marked());
    }

    /// Protects prompts with a date, e.g. Llama 3's: known days around leap years.
    #[test]
    fn dates_are_right() {
        let at = |s| strftime("%d %b %Y, %A %H:%M", UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0), "01 Jan 1970, Thursday 00:00");
        assert_eq!(at(1_709_210_096), "29 Feb 2024, Thursday 12:34");
        assert_eq!(at(1_735_689_599), "31 Dec 2024, Tuesday 23:59");
    }

    /// Protects tool descriptions: JSON in Python's spacing, with nothing escaped for HTML.
    #[test]
    fn json_is_pythons() {
        let out = render("{{ {'a': [1, '<b>']} | tojson }}", &[], false, "", "").unwrap();
        assert_eq!(out, r#"{"a": [1, "<b>"]}"#);
    }
}
