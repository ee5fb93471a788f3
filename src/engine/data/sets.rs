//! Whole sets: several as one, and one without its repetitions.

use super::record::{Dataset, Form, Record};
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::interrupt;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashSet};

/// Fields that every record has a place for.
const FIELDS: [&str; 4] = ["instruction", "input", "output", "messages"];

impl Dataset {
    /// All records of `sets`, one set after the other, numbered anew from 0.
    ///
    /// # Errors
    /// [`Error::Config`] for no set at all.
    pub fn concat(sets: &[Dataset]) -> Result<Dataset> {
        let Some(first) = sets.first() else { return Err(Error::config("concat: no sets to join")) };
        let source = match sets {
            [_] => first.source.to_string(),
            [a, b] => format!("{} + {}", a.source, b.source),
            _ => format!("{} + {} more", first.source, sets.len() - 1),
        };
        interrupt::poll()?;
        let records = sets.iter().flat_map(|set| set.records().iter().map(|record| Record::clone(record)));
        Ok(Dataset::new(source, records))
    }

    /// The first of each group of records whose `fields` say the same, white space aside; each keeps its index. No fields
    /// means all that is read or learned.
    ///
    /// # Errors
    /// [`Error::Config`] for a field that no record has.
    pub fn dedup(&self, fields: &[String]) -> Result<Dataset> {
        let has = |record: &Record, name: &str| FIELDS.contains(&name) || record.extra.contains_key(name);
        for name in fields {
            if !self.records().iter().any(|record| has(record, name)) {
                let extra: BTreeSet<&str> =
                    self.records().iter().flat_map(|r| r.extra.keys().map(String::as_str)).collect();
                return Err(unknown_name("field of the records", name, FIELDS.into_iter().chain(extra)));
            }
        }
        let all = FIELDS.map(String::from);
        let fields = if fields.is_empty() { &all[..] } else { fields };
        let mut seen = HashSet::new();
        self.filter(|record| Ok(seen.insert(digest(record, fields))))
    }
}

/// What `fields` of a record say.
fn digest(record: &Record, fields: &[String]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        for word in text.split_whitespace() {
            hash.update(word);
            hash.update(b" ");
        }
        // No text has this byte, so that where one ends and the next begins counts.
        hash.update([0xFF]);
    };
    for field in fields {
        match field.as_str() {
            // Of a conversation these repeat what the messages say.
            "instruction" | "output" if record.form == Form::Conversation && fields.iter().any(|f| f == "messages") => {
            }
            "instruction" => add(&record.instruction),
            "input" => add(&record.input),
            "output" => add(&record.output),
            "messages" => record.turns.iter().for_each(|turn| {
                add(&turn.role);
                add(&turn.content);
            }),
            other => add(record.extra.get(other).map_or("", String::as_str)),
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::record::Turn;
    use crate::engine::data::split::Subset;

    fn indices(set: &Dataset) -> Vec<usize> {
        set.records().iter().map(|r| r.index).collect()
    }

    /// Protects against learning one answer many times: what differs in white space alone is the same, and nothing else.
    #[test]
    fn repetitions_are_left_out() {
        let talk = |said: &str| Record::conversation(vec![Turn::new("user", "a"), Turn::new("assistant", said)]);
        let first = Record::conversation([talk("x").turns, talk("z").turns].concat());
        let second = Record::conversation([talk("y").turns, talk("z").turns].concat());
        let mut tagged = Record::new("a", "b", "d");
        tagged.extra.insert("id".into(), "1".into());
        let records = [
            Record::new("a", "b", "c"),
            Record::new(" a\n", "b", "c "),
            Record::new("a b", "", "c"),
            Record::new("a", "bc", ""),
            tagged,
            first,
            second,
            talk("x"),
            talk(" x"),
        ];
        let set = Dataset::new("t", records);
        assert_eq!(indices(&set.dedup(&[]).unwrap()), [0, 2, 3, 4, 5, 6, 7]);
        let by = |names: &[&str]| set.dedup(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(indices(&by(&["instruction", "input"]).unwrap()), [0, 2, 3, 5]);
        assert_eq!(indices(&by(&["id"]).unwrap()), [0, 4]);
        let error = by(&["instrution"]).unwrap_err();
        assert!(error.to_string().contains("unknown field of the records: `instrution`") && error.help().is_some());
    }

    /// Protects joined sets: every record, in order, with a number that is its own.
    #[test]
    fn sets_are_joined_in_order() {
        let set = |name: &str, n: usize| Dataset::new(name, (0..n).map(|i| Record::new(format!("{name}{i}"), "", "")));
        let joined = Dataset::concat(&[set("a", 2), set("b", 1).take(1)]).unwrap();
        assert_eq!((&*joined.source, indices(&joined)), ("a + b", vec![0, 1, 2]));
        assert_eq!(joined.get(2).unwrap().instruction, "b0");
        assert_eq!(&*Dataset::concat(&[set("a", 1), set("b", 1), set("c", 1)]).unwrap().source, "a + 2 more");
        assert!(Dataset::concat(&[]).is_err());
    }
}
