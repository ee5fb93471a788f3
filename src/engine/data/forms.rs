//! The forms that records come in, from a file's objects (JSON, CSV's rows, Parquet's rows) to [`Record`]s.
//!
//! | format | an object of the file |
//! | --- | --- |
//! | `alpaca` | `instruction`, `input` (may be missing), `output` |
//! | `completion` | `prompt`, `completion`: two texts, or two lists of messages |
//! | `messages` | `messages`: a list of `role` and `content`, as OpenAI's |
//! | `sharegpt` | `conversations`: a list of `from` and `value` |
//! | `text` | `text`: a document for pre-training |
//!
//! The first object's keys tell the form, and every other object must have it. [`Fields`] gives the file's own names.

use super::record::{Record, Turn};
use super::turns;
use crate::engine::error::{Error, Result, unknown_name};
use serde_json::{Map, Value};

/// A form as files hold it; see the module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `instruction`, `input`, `output`.
    Alpaca,
    /// `prompt`, `completion`.
    Completion,
    /// `messages` of `role` and `content`.
    Messages,
    /// `conversations` of `from` and `value`.
    ShareGpt,
    /// `text`; or a file of plain text.
    Text,
}

impl Format {
    /// Names that [`Format::named`] knows.
    pub const NAMES: [&str; 5] = ["alpaca", "completion", "messages", "sharegpt", "text"];

    /// The format called `name`.
    pub fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "alpaca" => Format::Alpaca,
            "completion" => Format::Completion,
            "messages" => Format::Messages,
            "sharegpt" => Format::ShareGpt,
            "text" => Format::Text,
            "json" | "jsonl" | "csv" | "parquet" => {
                return Err(Error::config_help(
                    format!(
                        "`{name}` is a kind of file, which is found by looking into it; format says what its records hold"
                    ),
                    format!("leave format out, or say one of {}", Format::NAMES.join(", ")),
                ));
            }
            _ => return Err(unknown_name("format", name, Format::NAMES)),
        })
    }

    /// The roles of its fields; the first, or the first two, must be there.
    fn roles(self) -> &'static [&'static str] {
        match self {
            Format::Alpaca => &["instruction", "output", "input"],
            Format::Completion => &["prompt", "completion"],
            Format::Messages => &["messages"],
            Format::ShareGpt => &["conversations"],
            Format::Text => &["text"],
        }
    }
}

/// The file's own name for each field, by role: `question` for `instruction`. A role that is not named has its own name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// Roles that may be named. `messages` serves for both forms of a conversation.
    pub const ROLES: [&str; 7] = ["instruction", "input", "output", "prompt", "completion", "messages", "text"];

    /// The field `name` plays `role`, one of [`Fields::ROLES`].
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown role, one that is named already, an empty name, or one that plays another role.
    pub fn with(mut self, role: &str, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let Some(role) = Self::ROLES.into_iter().find(|known| *known == role) else {
            return Err(unknown_name("role in fields", role, Self::ROLES));
        };
        if name.is_empty() {
            return Err(Error::config(format!("fields: the name for {role} is empty")));
        }
        if let Some(first) = self.get(role) {
            return Err(Error::config(format!("fields: {role} is named twice, `{first}` and `{name}`")));
        }
        if let Some((other, _)) = self.0.iter().find(|(_, known)| *known == name) {
            return Err(Error::config(format!("fields: `{name}` cannot be both {other} and {role}")));
        }
        self.0.push((role, name));
        Ok(self)
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The file's names, in the order given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, name)| name.as_str())
    }

    fn get(&self, role: &str) -> Option<&str> {
        let role = if role == "conversations" { "messages" } else { role };
        self.0.iter().find(|(known, _)| *known == role).map(|(_, name)| name.as_str())
    }

    fn name<'a>(&'a self, role: &'a str) -> &'a str {
        self.get(role).unwrap_or(role)
    }

    /// The format that the named roles belong to.
    fn format(&self) -> Result<Option<Format>> {
        let of = |role: &str| match role {
            "instruction" | "input" | "output" => Format::Alpaca,
            "prompt" | "completion" => Format::Completion,
            "messages" => Format::Messages,
            _ => Format::Text,
        };
        let Some((first, _)) = self.0.first() else { return Ok(None) };
        match self.0.iter().find(|(role, _)| of(role) != of(first)) {
            Some((other, _)) => Err(Error::config_help(
                format!("fields: {first} and {other} belong to different formats"),
                "a file's records are of one format: name its fields alone",
            )),
            None => Ok(Some(of(first))),
        }
    }
}

/// Turns a file's objects into records, one after another. The first decides the format, unless that is given.
#[derive(Debug)]
pub struct RecordReader {
    format: Option<Format>,
    fields: Fields,
    count: usize,
    saw_input: bool,
}

impl RecordReader {
    /// A reader of one file.
    ///
    /// # Errors
    /// [`Error::Config`] for fields that do not belong to one format, or not to `format`.
    pub fn new(format: Option<Format>, fields: Fields) -> Result<Self> {
        let implied = fields.format()?;
        let format = match (format, implied) {
            (Some(Format::ShareGpt), Some(Format::Messages)) => Some(Format::ShareGpt),
            (Some(given), Some(implied)) if given != implied => {
                let roles = given.roles().join(", ").replace("conversations", "messages");
                let named: Vec<_> = fields.0.iter().map(|(role, _)| *role).collect();
                let message = format!("fields: {} is no part of this format, which has {roles}", named.join(", "));
                return Err(Error::config_help(message, "name the fields of the format, or leave format out"));
            }
            (given, implied) => given.or(implied),
        };
        Ok(RecordReader { format, fields, count: 0, saw_input: false })
    }

    /// Records read so far: the number of the next one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The next record. The error is a bare sentence that begins with the record's number; the caller adds the place.
    pub fn read(&mut self, value: Value) -> std::result::Result<Record, String> {
        let index = self.count;
        let mut object = match value {
            Value::Object(object) => object,
            other => return Err(format!("record {index} is {}, not an object", kind(&other))),
        };
        let format = match self.format {
            Some(format) => format,
            None => *self.format.insert(detect(&object).ok_or_else(|| unknown_form(index, &object))?),
        };
        let record = self.record(format, &mut object).map_err(|what| format!("record {index}{what}"))?;
        self.count += 1;
        let extra = object
            .into_iter()
            .filter_map(|(name, value)| match value {
                Value::Null => None,
                Value::String(text) => Some((name, text)),
                other => Some((name, other.to_string())),
            })
            .collect();
        Ok(Record { extra, index, ..record })
    }

    /// To be called after the last record: a field that was asked for and never seen is a mistake.
    ///
    /// # Errors
    /// A sentence.
    pub fn finish(&self) -> std::result::Result<(), String> {
        match self.fields.get("input") {
            Some(input) if !self.saw_input => {
                Err(format!("no record has `{input}`, which fields: #{{ input: .. }} asks for"))
            }
            _ => Ok(()),
        }
    }

    fn record(&mut self, format: Format, object: &mut Map<String, Value>) -> std::result::Result<Record, String> {
        match format {
            Format::Alpaca => {
                let instruction = self.text(object, "instruction")?;
                let output = self.text(object, "output")?;
                let name = self.fields.name("input");
                let input = object.shift_remove(name);
                self.saw_input |= input.is_some();
                match input {
                    None | Some(Value::Null) => Ok(Record::new(instruction, "", output)),
                    Some(Value::String(input)) => Ok(Record::new(instruction, input, output)),
                    Some(other) => Err(wrong_type(name, &other, "a string")),
                }
            }
            Format::Completion => {
                let (prompt, completion) = (self.required(object, "prompt")?, self.required(object, "completion")?);
                match (prompt, completion) {
                    (Value::String(prompt), Value::String(completion)) => Ok(Record::completion(prompt, completion)),
                    (Value::Array(prompt), completion @ (Value::Array(_) | Value::String(_))) => {
                        let mut all = turns::read(Value::Array(prompt), self.fields.name("prompt"))?;
                        all.iter_mut().for_each(|turn| turn.learned = false);
                        match completion {
                            Value::String(text) => all.push(Turn::new("assistant", text)),
                            list => all.extend(turns::read(list, self.fields.name("completion"))?),
                        }
                        Ok(Record::conversation(all))
                    }
                    (Value::String(_), other) => Err(wrong_type(self.fields.name("completion"), &other, "a string")),
                    (other, _) => Err(wrong_type(self.fields.name("prompt"), &other, "a string or a list of messages")),
                }
            }
            Format::Messages | Format::ShareGpt => {
                let list = self.required(object, format.roles()[0])?;
                let mut all = turns::read(list, self.fields.name(format.roles()[0]))?;
                let has_system = all.first().is_some_and(|turn| turn.role == "system");
                if let Some(Value::String(system)) = object.get("system")
                    && !has_system
                    && !system.is_empty()
                {
                    all.insert(0, Turn::new("system", system.as_str()));
                    object.shift_remove("system");
                }
                Ok(Record::conversation(all))
            }
            Format::Text => Ok(Record::document(self.text(object, "text")?)),
        }
    }

    fn text(&self, object: &mut Map<String, Value>, role: &str) -> std::result::Result<String, String> {
        match self.required(object, role)? {
            Value::String(text) => Ok(text),
            other => Err(wrong_type(self.fields.name(role), &other, "a string")),
        }
    }

    fn required(&self, object: &mut Map<String, Value>, role: &str) -> std::result::Result<Value, String> {
        let name = self.fields.name(role);
        object.shift_remove(name).ok_or_else(|| {
            let role = if role == "conversations" { "messages" } else { role };
            format!(
                " has no `{name}` (it has {}); if the file names it differently, say so: fields: #{{ {role}: \"its name\" }}",
                names(object)
            )
        })
    }
}

/// The format that an object's keys show.
fn detect(object: &Map<String, Value>) -> Option<Format> {
    // A list may stand in a text: CSV has nothing else.
    let list = |name| match object.get(name) {
        Some(Value::Array(_)) => true,
        Some(Value::String(text)) => text.trim_start().starts_with('['),
        _ => false,
    };
    let has = |name| object.contains_key(name);
    Some(match () {
        () if list("messages") => Format::Messages,
        () if list("conversations") => Format::ShareGpt,
        () if has("instruction") && has("output") => Format::Alpaca,
        () if has("prompt") && has("completion") => Format::Completion,
        () if has("messages") => Format::Messages,
        () if has("conversations") => Format::ShareGpt,
        () if has("text") && !has("instruction") => Format::Text,
        () => return None,
    })
}

/// Whether a table with these columns says by itself what its records are.
pub(super) fn is_known(columns: &[String]) -> bool {
    let object = columns.iter().map(|name| (name.clone(), Value::Null)).collect();
    detect(&object).is_some()
}

/// Names that people give to the parts of an instruction record, where they are other than Alpaca's.
const ASKED: &[&str] = &["question", "query", "problem", "prompt", "user", "human", "source", "instruction"];
const CONTEXT: &[&str] = &["context", "input", "passage"];
const ANSWERED: &[&str] = &["answer", "response", "completion", "solution", "target", "assistant", "output"];

fn unknown_form(index: usize, object: &Map<String, Value>) -> String {
    let find = |known: &[&'static str]| known.iter().copied().find(|name| object.contains_key(*name));
    let say = match (find(ASKED), find(CONTEXT), find(ANSWERED)) {
        (Some(asked), None, Some(answered)) => {
            format!("fields: #{{ instruction: \"{asked}\", output: \"{answered}\" }}")
        }
        (Some(asked), Some(context), Some(answered)) => {
            format!("fields: #{{ instruction: \"{asked}\", input: \"{context}\", output: \"{answered}\" }}")
        }
        _ => "fields: #{ instruction: \"its name\", output: \"its name\" }, or #{ messages: \"its name\" }".into(),
    };
    format!(
        "record {index} has {}: no format is known by these (instruction and output; prompt and completion; messages; \
         conversations; text). Say which field is which: {say}",
        names(object)
    )
}

fn names(object: &Map<String, Value>) -> String {
    const SHOWN: usize = 12;
    let mut has: Vec<String> = object.keys().take(SHOWN).map(|key| format!("`{key}`")).collect();
    if object.len() > SHOWN {
        has.push(format!("and {} more", object.len() - SHOWN));
    }
    if has.is_empty() { "nothing else".into() } else { has.join(", ") }
}

fn wrong_type(name: &str, found: &Value, wanted: &str) -> String {
    format!(": `{name}` is {}, not {wanted}", kind(found))
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Form;
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> std::result::Result<Record, String> {
        RecordReader::new(None, Fields::default()).unwrap().read(value)
    }

    /// Protects fields nobody asked for: they must stay readable, and `null` must not become the text "null".
    #[test]
    fn extra_fields_become_strings() {
        let value = json!({"instruction": "i", "output": "o", "input": null, "id": 7, "tags": ["a"], "note": null});
        let record = read(value).unwrap();
        assert_eq!((record.input.as_str(), record.index), ("", 0));
        let extra: Vec<_> = record.extra.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(extra, [("id", "7"), ("tags", "[\"a\"]")]);
    }

    /// Protects the recognition of every form by its keys, and what becomes of its parts.
    #[test]
    fn forms_are_told_by_keys() {
        let form = |value| read(value).map(|r| (r.form, r.instruction, r.output)).unwrap();
        let expect = |form, asked: &str, said: &str| (form, asked.to_string(), said.to_string());
        assert_eq!(form(json!({"instruction": "a", "output": "b"})), expect(Form::Instruction, "a", "b"));
        assert_eq!(form(json!({"prompt": "a", "completion": "b"})), expect(Form::Completion, "a", "b"));
        let turns = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
        assert_eq!(form(json!({"messages": turns, "text": "c"})), expect(Form::Conversation, "a", "b"));
        // A column of a table holds a list as text.
        assert_eq!(form(json!({"messages": turns.to_string()})), expect(Form::Conversation, "a", "b"));
        let shared = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
        assert_eq!(form(json!({"conversations": shared, "id": 3})), expect(Form::Conversation, "a", "b"));
        assert_eq!(form(json!({"text": "b"})), expect(Form::Document, "", "b"));
        let list = json!({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"},
            {"role": "user", "content": "y"}], "completion": [{"role": "assistant", "content": "b"}]});
        let record = read(list).unwrap();
        assert_eq!(record.turns.iter().map(|t| t.learned).collect::<Vec<_>>(), [false, false, false, true]);
    }

    /// Protects a set that says its system prompt beside the conversation, as many ShareGPT files do.
    #[test]
    fn a_system_prompt_beside_the_turns_is_the_first_turn() {
        let turns = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
        let record = read(json!({"system": "Be brief.", "conversations": turns})).unwrap();
        assert_eq!((record.turns[0].role.as_str(), record.turns[0].content.as_str()), ("system", "Be brief."));
        assert!(record.extra.is_empty());
    }

    /// Protects the messages people act on: which record, which field, what it has instead, and what to write.
    #[test]
    fn errors_name_record_and_field() {
        let mut reader = RecordReader::new(None, Fields::default()).unwrap();
        reader.read(json!({"instruction": "i", "output": "o"})).unwrap();
        let missing = reader.read(json!({"question": "q", "output": "o"})).unwrap_err();
        assert!(missing.starts_with("record 1 has no `instruction` (it has `question`, `output`)"), "{missing}");
        let mut say = |value| reader.read(value).unwrap_err();
        assert_eq!(say(json!({"instruction": "i", "output": 4})), "record 1: `output` is a number, not a string");
        assert_eq!(
            say(json!({"instruction": "i", "output": "", "input": []})),
            "record 1: `input` is an array, not a string"
        );
        assert_eq!(say(json!("text")), "record 1 is a string, not an object");
        let unknown = read(json!({"question": "q", "answer": "a"})).unwrap_err();
        assert!(unknown.ends_with("fields: #{ instruction: \"question\", output: \"answer\" }"), "{unknown}");
    }

    /// Protects against reading one field twice by mistake, and against fields of two forms.
    #[test]
    fn fields_must_fit_together() {
        let fields = |pairs: &[(&str, &str)]| {
            pairs.iter().try_fold(Fields::default(), |fields, (role, name)| fields.with(role, *name))
        };
        let text = |result: Result<Fields>| result.unwrap_err().to_string();
        assert!(text(fields(&[("instruction", "a"), ("output", "a")])).contains("both instruction and output"));
        assert!(text(fields(&[("output", "a"), ("output", "b")])).contains("named twice, `a` and `b`"));
        assert!(text(fields(&[("instrution", "a")])).contains("unknown role in fields"));
        let mixed = fields(&[("instruction", "a"), ("messages", "b")]).unwrap();
        assert!(RecordReader::new(None, mixed).unwrap_err().to_string().contains("different formats"));
        let chat = fields(&[("messages", "talk")]).unwrap();
        assert!(RecordReader::new(Some(Format::ShareGpt), chat.clone()).is_ok());
        assert!(RecordReader::new(Some(Format::Alpaca), chat).is_err());
        assert!(Format::named("csv").unwrap_err().to_string().contains("a kind of file"));
    }
}
