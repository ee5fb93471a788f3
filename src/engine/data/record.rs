//! One record, and a set of them.
//!
//! Most records are what Stanford Alpaca's file holds: an instruction, an input that may be empty, and the output to
//! learn. Others are a conversation, a prompt with its completion, or a document. [`super::forms`] reads each of them
//! from a file's objects.

use super::split::Subset;
use crate::engine::error::{Result, unknown_name};
use crate::engine::interrupt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a record is, which decides how it becomes text where no template says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Instruction, input and output: worded by Alpaca's prompt.
    #[default]
    Instruction,
    /// A prompt (as [`Record::instruction`]) that the completion (as [`Record::output`]) follows directly.
    Completion,
    /// [`Record::turns`]: worded by a chat template.
    Conversation,
    /// Text (as [`Record::output`]) to be learned whole.
    Document,
}

impl Form {
    const ALL: [Form; 4] = [Form::Instruction, Form::Completion, Form::Conversation, Form::Document];

    /// What scripts call it: `record.form`.
    pub fn name(self) -> &'static str {
        match self {
            Form::Instruction => "instruction",
            Form::Completion => "completion",
            Form::Conversation => "conversation",
            Form::Document => "document",
        }
    }

    /// The form called `name`.
    pub fn named(name: &str) -> Result<Self> {
        let found = Form::ALL.into_iter().find(|form| form.name() == name);
        found.ok_or_else(|| unknown_name("form of a record", name, Form::ALL.map(Form::name)))
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks: one of [`ROLES`].
    pub role: String,
    /// What they say.
    pub content: String,
    /// Whether an assistant's turn is learned; false for one that is context only (OpenAI's `weight: 0`).
    pub learned: bool,
}

/// Who may speak in a conversation, as chat templates know them.
pub const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool", "ipython"];

impl Turn {
    /// A turn; what the assistant says is learned.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let role = role.into();
        Turn { learned: role == "assistant", role, content: content.into() }
    }
}

/// One record: see [`Form`] for which part holds what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// What the record is.
    pub form: Form,
    /// What is asked; the prompt of a completion; the last thing said before a conversation's last answer.
    pub instruction: String,
    /// What it is asked about; empty where the instruction says everything, and in every other form.
    pub input: String,
    /// The answer to learn; a completion; a conversation's last answer; a document's text.
    pub output: String,
    /// Every turn of a conversation, first to last; empty in every other form.
    pub turns: Vec<Turn>,
    /// Every other field of the file: strings as they are, other values as compact JSON. `null` is left out.
    pub extra: BTreeMap<String, String>,
    /// Position in the file or array that the record came from, from 0; kept through splitting and shuffling.
    pub index: usize,
}

impl Record {
    /// An instruction record without extra fields, at index 0.
    pub fn new(instruction: impl Into<String>, input: impl Into<String>, output: impl Into<String>) -> Self {
        Record { instruction: instruction.into(), input: input.into(), output: output.into(), ..Record::default() }
    }

    /// A prompt and the completion that follows it.
    pub fn completion(prompt: impl Into<String>, completion: impl Into<String>) -> Self {
        Record { form: Form::Completion, ..Record::new(prompt, "", completion) }
    }

    /// A document, to be learned whole.
    pub fn document(text: impl Into<String>) -> Self {
        Record { form: Form::Document, ..Record::new("", "", text) }
    }

    /// A conversation. Its last answer is the output, and what was said before it the instruction.
    pub fn conversation(turns: Vec<Turn>) -> Self {
        let answer = turns.iter().rposition(|turn| turn.role == "assistant");
        let asked = answer.and_then(|at| turns[..at].iter().rev().find(|turn| turn.role == "user"));
        let text = |turn: Option<&Turn>| turn.map_or(String::new(), |turn| turn.content.clone());
        let (instruction, output) = (text(asked), text(answer.map(|at| &turns[at])));
        Record { form: Form::Conversation, turns, ..Record::new(instruction, "", output) }
    }

    /// The record as a conversation, for a chat template: an instruction and its input are what the user says.
    ///
    /// `None` for a document, which nobody says.
    pub fn as_turns(&self) -> Option<Vec<Turn>> {
        let asked = match (&*self.instruction, &*self.input) {
            (instruction, "") => instruction.to_string(),
            ("", input) => input.to_string(),
            (instruction, input) => format!("{instruction}\n\n{input}"),
        };
        match self.form {
            Form::Conversation => Some(self.turns.clone()),
            Form::Document => None,
            _ => Some(vec![Turn::new("user", asked), Turn::new("assistant", self.output.as_str())]),
        }
    }

    /// Whether there is nothing in it to learn but its end.
    pub fn is_empty(&self) -> bool {
        match self.form {
            Form::Conversation => !self.turns.iter().any(|turn| turn.learned && !turn.content.trim().is_empty()),
            _ => self.output.trim().is_empty(),
        }
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

    /// A set of `records` from the same source, each with the index it has.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::engine::Error::OutOfMemory) if what the script has made of them does not fit.
    pub fn replaced(&self, records: Vec<Record>) -> Result<Self> {
        interrupt::poll()?;
        Ok(Dataset { source: self.source.clone(), records: records.into_iter().map(Arc::new).collect() })
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
    use crate::engine::Error;

    /// Protects what scripts read of a conversation: its last answer and what was asked, whatever stands between.
    #[test]
    fn conversations_have_an_instruction_and_an_output() {
        let turns =
            [("system", "s"), ("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2"), ("user", "?")];
        let record = Record::conversation(turns.map(|(role, text)| Turn::new(role, text)).to_vec());
        assert_eq!((record.instruction.as_str(), record.output.as_str()), ("two", "2"));
        assert_eq!(record.as_turns().unwrap(), record.turns);
        let silent = Record::conversation(vec![Turn::new("user", "hello")]);
        assert!(silent.is_empty() && silent.output.is_empty() && silent.instruction.is_empty());
        let turns = Record::new("Add.", "1 2", "3").as_turns().unwrap();
        assert_eq!(turns, [Turn::new("user", "Add.\n\n1 2"), Turn::new("assistant", "3")]);
        assert!(Record::document("text").as_turns().is_none());
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
}
