//! A conversation's turns from JSON: OpenAI's `role` and `content`, ShareGPT's `from` and `value`.

use super::forms::kind;
use super::record::{ROLES, Turn};
use serde_json::{Map, Value};

/// Names that data sets give to the speakers, and what chat templates call them.
const SPEAKERS: &[(&str, &str)] = &[
    ("human", "user"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bot", "assistant"),
    ("model", "assistant"),
    ("bard", "assistant"),
    ("bing", "assistant"),
    ("function_response", "tool"),
    ("observation", "tool"),
    ("function", "tool"),
];

/// The turns of `value`: a list of objects, or the same as JSON text. `name` is the field's name.
///
/// The error continues a sentence that begins with the record's number.
pub(super) fn read(value: Value, name: &str) -> Result<Vec<Turn>, String> {
    let list = match value {
        Value::Array(list) => list,
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(Value::Array(list)) => list,
            Ok(other) => {
                return Err(format!(": `{name}` is a text that holds {}, not a list of messages", kind(&other)));
            }
            Err(e) => return Err(format!(": `{name}` is a text, and not one that holds a list of messages: {e}")),
        },
        other => return Err(format!(": `{name}` is {}, not a list of messages", kind(&other))),
    };
    if list.is_empty() {
        return Err(format!(": `{name}` is empty: a conversation without turns"));
    }
    list.into_iter()
        .enumerate()
        .map(|(i, item)| turn(item).map_err(|what| format!(", turn {i} of `{name}`{what}")))
        .collect()
}

fn turn(item: Value) -> Result<Turn, String> {
    let Value::Object(mut object) = item else {
        return Err(format!(" is {}, not an object of role and content", kind(&item)));
    };
    let role = key(&object, &["role", "from"])?;
    let content = key(&object, &["content", "value"])?;
    let role = match object.remove(role) {
        Some(Value::String(said)) => known_role(&said).ok_or_else(|| unknown_role(&said))?,
        other => return Err(format!(": `{role}` is {}, not a string", kind(&other.unwrap_or(Value::Null)))),
    };
    if object.get("tool_calls").is_some_and(|calls| calls.as_array().is_some_and(|list| !list.is_empty())) {
        return Err(" calls a tool (`tool_calls`), which is not supported: leave such records out".into());
    }
    let text = match object.remove(content) {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => text_parts(&parts).map_err(|what| format!(": `{content}` {what}"))?,
        other => return Err(format!(": `{content}` is {}, not a string", kind(&other.unwrap_or(Value::Null)))),
    };
    let mut turn = Turn::new(role, text);
    turn.learned &= learned(&object)?;
    Ok(turn)
}

/// OpenAI's `weight: 0`, or `train: false`: said, and not learned.
fn learned(object: &Map<String, Value>) -> Result<bool, String> {
    for name in ["weight", "train"] {
        match object.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(learned)) => return Ok(*learned),
            Some(Value::Number(n)) if n.as_f64() == Some(0.0) => return Ok(false),
            Some(Value::Number(n)) if n.as_f64() == Some(1.0) => return Ok(true),
            Some(other) => return Err(format!(": `{name}` is {other}, but may be 0 or 1, false or true")),
        }
    }
    Ok(true)
}

fn known_role(said: &str) -> Option<&'static str> {
    let lower = said.trim().to_ascii_lowercase();
    let known = ROLES.iter().find(|role| **role == lower).copied();
    known.or_else(|| SPEAKERS.iter().find(|(name, _)| *name == lower).map(|(_, role)| *role))
}

fn unknown_role(said: &str) -> String {
    let said: String = said.chars().take(40).collect();
    format!(" is said by {said:?}; known are {} (and ShareGPT's human and gpt)", ROLES.join(", "))
}

fn key(object: &Map<String, Value>, names: &[&'static str; 2]) -> Result<&'static str, String> {
    let found = names.iter().copied().find(|name| object.contains_key(*name));
    found.ok_or_else(|| {
        let has: Vec<String> = object.keys().take(8).map(|key| format!("`{key}`")).collect();
        let has = if has.is_empty() { "nothing".into() } else { has.join(", ") };
        format!(" has neither `{}` nor `{}` (it has {has})", names[0], names[1])
    })
}

/// The text of a content in parts: `[{"type": "text", "text": ".."}]`.
fn text_parts(parts: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    for part in parts {
        match (part.as_str(), part.get("text").and_then(Value::as_str)) {
            (Some(said), _) | (None, Some(said)) => text.push_str(said),
            _ => {
                let what = part.get("type").and_then(Value::as_str).unwrap_or("other");
                return Err(format!("has a part that is no text ({what}): this model reads text alone"));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fails(value: Value) -> String {
        read(value, "messages").unwrap_err()
    }

    /// Protects both spellings of a turn, content in parts, and turns that are context only.
    #[test]
    fn turns_are_read_alike() {
        let turns = json!([{"from": "System", "value": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": "b", "weight": 0}, {"from": "gpt", "value": "c", "train": true}]);
        let turns = read(turns, "messages").unwrap();
        let seen: Vec<_> = turns.iter().map(|t| (t.role.as_str(), t.content.as_str(), t.learned)).collect();
        assert_eq!(
            seen,
            [("system", "s", false), ("user", "a", false), ("assistant", "b", false), ("assistant", "c", true)]
        );
    }

    /// Protects against conversations read wrongly: what is not understood is named by turn.
    #[test]
    fn what_is_no_turn_is_named() {
        let turns = json!([{"role": "user", "content": "a"}, {"role": "narrator", "content": "b"}]);
        assert!(fails(turns).starts_with(", turn 1 of `messages` is said by \"narrator\"; known are system,"));
        assert!(fails(json!([{"role": "user"}])).contains("has neither `content` nor `value` (it has `role`)"));
        assert!(fails(json!([{"role": "user", "content": null}])).contains("`content` is null, not a string"));
        assert!(fails(json!([{"role": 3, "content": "x"}])).contains("`role` is a number"));
        assert!(fails(json!([{"role": "assistant", "content": "", "tool_calls": [{}]}])).contains("calls a tool"));
        assert!(fails(json!([{"role": "user", "content": [{"type": "image"}]}])).contains("no text (image)"));
        assert!(fails(json!([{"role": "assistant", "content": "x", "weight": 0.5}])).contains("`weight` is 0.5"));
        assert!(fails(json!([])).contains("empty"));
        assert!(fails(json!("[{]")).contains("not one that holds a list of messages"));
        assert!(fails(json!("{}")).contains("holds an object"));
        assert!(fails(json!(["hi"])).contains("turn 0 of `messages` is a string"));
    }
}
