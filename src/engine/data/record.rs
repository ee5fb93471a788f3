//! One instruction record, and a set of them.
//!
//! A record is what Stanford Alpaca's file holds: an instruction, an input that may be empty, and the output to learn.
//! Files that use other names (GSM8K: `question`, `answer`) are read through [`Fields`].

use super::split::Subset;
use crate::engine::{Error, Result, interrupt};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An instruction, the input it applies to (may be empty), and the output to learn (may be empty).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// What is asked.
    pub instruction: String,
    /// What it is asked about; empty where the instruction says everything.
    pub input: String,
    /// The answer to learn.
    pub output: String,
    /// Every other field of the file: strings as they are, other values as compact JSON. `null` is left out.
    pub extra: BTreeMap<String, String>,
    /// Position in the file or array that the record came from, from 0; kept through splitting and shuffling.
    pub index: usize,
}

impl Record {
    /// A record without extra fields, at index 0.
    pub fn new(instruction: impl Into<String>, input: impl Into<String>, output: impl Into<String>) -> Self {
        Record { instruction: instruction.into(), input: input.into(), output: output.into(), ..Record::default() }
    }

    /// Reads record number `index` from a parsed JSON object.
    ///
    /// The error is a bare sentence that begins with the record's number; the caller adds file and line.
    pub(super) fn from_json(value: Value, fields: &Fields, index: usize) -> std::result::Result<Self, String> {
        let mut object = match value {
            Value::Object(object) => object,
            other => return Err(format!("record {index} is {}, not an object", kind(&other))),
        };
        let instruction = required(&mut object, &fields.instruction, "instruction", index)?;
        let output = required(&mut object, &fields.output, "output", index)?;
        let input = match object.shift_remove(&fields.input) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => return Err(wrong_type(index, &fields.input, &other)),
        };
        let extra = object
            .into_iter()
            .filter_map(|(name, value)| match value {
                Value::Null => None,
                Value::String(text) => Some((name, text)),
                other => Some((name, other.to_string())),
            })
            .collect();
        Ok(Record { instruction, input, output, extra, index })
    }
}

fn required(
    object: &mut Map<String, Value>,
    name: &str,
    role: &str,
    index: usize,
) -> std::result::Result<String, String> {
    match object.shift_remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong_type(index, name, &other)),
        None => {
            let has = object.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>();
            let has = if has.is_empty() { "nothing else".into() } else { has.join(", ") };
            Err(format!(
                "record {index} has no `{name}` (it has {has}); if the file names it differently, \
                 say so: fields: #{{ {role}: \"its name\" }}"
            ))
        }
    }
}

fn wrong_type(index: usize, name: &str, found: &Value) -> String {
    format!("record {index}: `{name}` is {}, not a string", kind(found))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Which field of the file plays which part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Name of the field that holds the instruction; every record must have it.
    pub instruction: String,
    /// Name of the field that holds the input; a record without it has an empty input.
    pub input: String,
    /// Name of the field that holds the output; every record must have it.
    pub output: String,
}

impl Default for Fields {
    fn default() -> Self {
        Fields { instruction: "instruction".into(), input: "input".into(), output: "output".into() }
    }
}

impl Fields {
    /// Two parts must not be read from one field, and no name may be empty.
    pub fn validate(&self) -> Result<()> {
        let Fields { instruction, input, output } = self;
        if [instruction, input, output].iter().any(|name| name.is_empty()) {
            return Err(Error::config("fields: a field name is empty"));
        }
        if instruction == output || instruction == input || input == output {
            return Err(Error::config(format!(
                "fields: instruction: `{instruction}`, input: `{input}`, output: `{output}` must be three different names"
            )));
        }
        Ok(())
    }
}

/// A set of records and where it came from. Cloning and subsetting share the records.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The file, or a name such as `builtin:seed-tasks`, for messages.
    pub source: Arc<str>,
    records: Arc<[Arc<Record>]>,
}

impl Dataset {
    /// A set of `records`, numbered from 0 in their order.
    pub fn new(source: impl Into<Arc<str>>, records: impl IntoIterator<Item = Record>) -> Self {
        let numbered = records.into_iter().enumerate().map(|(index, record)| Arc::new(Record { index, ..record }));
        Dataset { source: source.into(), records: numbered.collect() }
    }

    /// The records in order.
    pub fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// Record `i` of this set, from 0.
    pub fn get(&self, i: usize) -> Option<&Record> {
        self.records.get(i).map(|record| &**record)
    }

    /// A new set with `f` applied to every record; each keeps its [`Record::index`]. Stops at the first error.
    pub fn map(&self, mut f: impl FnMut(&Record) -> Result<Record>) -> Result<Self> {
        let mapped = self.records.iter().map(|record| {
            interrupt::poll()?;
            Ok(Arc::new(Record { index: record.index, ..f(record)? }))
        });
        Ok(Dataset { source: self.source.clone(), records: mapped.collect::<Result<_>>()? })
    }

    /// A new set of the records for which `f` says `true`. Stops at the first error.
    pub fn filter(&self, mut f: impl FnMut(&Record) -> Result<bool>) -> Result<Self> {
        let mut kept = Vec::new();
        for record in self.records.iter() {
            interrupt::poll()?;
            if f(record)? {
                kept.push(record.clone());
            }
        }
        Ok(Dataset { source: self.source.clone(), records: kept.into() })
    }
}

impl Subset for Dataset {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn pick_unchecked(&self, indices: &[usize]) -> Self {
        let records = indices.iter().map(|&i| self.records[i].clone()).collect();
        Dataset { source: self.source.clone(), records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Protects fields nobody asked for: they must stay readable, and `null` must not become the text "null".
    #[test]
    fn extra_fields_become_strings() {
        let value = json!({"instruction": "i", "output": "o", "input": null, "id": 7, "tags": ["a"], "note": null});
        let record = Record::from_json(value, &Fields::default(), 3).unwrap();
        assert_eq!((record.input.as_str(), record.index), ("", 3));
        let extra: Vec<_> = record.extra.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(extra, [("id", "7"), ("tags", "[\"a\"]")]);
    }

    /// Protects the messages people act on: which record, which field, what it has instead.
    #[test]
    fn errors_name_record_and_field() {
        let read = |value| Record::from_json(value, &Fields::default(), 5).unwrap_err();
        let missing = read(json!({"question": "q", "output": "o"}));
        assert!(missing.starts_with("record 5 has no `instruction` (it has `question`, `output`)"), "{missing}");
        assert_eq!(read(json!({"instruction": "i", "output": 4})), "record 5: `output` is a number, not a string");
        assert_eq!(
            read(json!({"instruction": "i", "output": "", "input": []})),
            "record 5: `input` is an array, not a string"
        );
        assert_eq!(read(json!("text")), "record 5 is a string, not an object");
    }

    /// Protects reports: after map and filter a record must still say which line of the file it was.
    #[test]
    fn index_survives_map_and_filter() {
        let set = Dataset::new("t", ["a", "b", "c"].map(|s| Record::new(s, "", "")));
        let kept = set.filter(|r| Ok(r.instruction != "b")).unwrap();
        let mapped = kept.map(|r| Ok(Record::new(r.instruction.to_uppercase(), "", ""))).unwrap();
        let seen: Vec<_> = mapped.records().iter().map(|r| (r.instruction.as_str(), r.index)).collect();
        assert_eq!(seen, [("A", 0), ("C", 2)]);
        assert!(set.map(|_| Err(Error::config("no"))).is_err());
    }

    /// Protects against reading one field twice by mistake.
    #[test]
    fn fields_must_differ() {
        let fields = Fields { output: "instruction".into(), ..Fields::default() };
        assert!(fields.validate().unwrap_err().to_string().contains("three different names"));
        assert!(Fields::default().validate().is_ok());
    }
}
