//! `host data`: what a model would learn of a file: examples with their mask, and counts.

use super::{Exit, fail, printer::Printer};
use crate::bindings::Output;
use crate::engine::data::documents::Split;
use crate::engine::data::forms::{Fields, Format};
use crate::engine::data::record::Dataset;
use crate::engine::data::source::{self, ReadOptions};
use crate::engine::data::split::Subset;
use crate::engine::data::tokenize::{TokenizeOptions, Tokenized, tokenize};
use crate::engine::data::view;
use crate::engine::data::wording::Layout;
use crate::engine::llama::weights::Checkpoint;
use crate::engine::tokenizer::Tokenizer;
use crate::engine::{Error, Result};
use crate::script::Diagnostic;
use std::path::PathBuf;
use std::sync::Arc;

/// Look at a data set as a model would learn it: `host data show chat.jsonl --model DIR`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Examples as text: what is learned is green, or stands between ⟦ and ⟧
    Show {
        #[command(flatten)]
        set: Set,
        /// How many examples
        #[arg(short, value_name = "N", default_value_t = 3)]
        n: usize,
        /// The record to begin with, from 0
        #[arg(long, value_name = "I", default_value_t = 0)]
        index: usize,
    },
    /// Lengths, and what is truncated, repeated, empty or masked
    Stats {
        #[command(flatten)]
        set: Set,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// A data set, and how it is turned into tokens.
#[derive(Debug, clap::Args)]
struct Set {
    /// JSON, JSONL, CSV, Parquet or text, gzip or zstd around it; or builtin:seed-tasks
    file: String,
    /// The model whose tokenizer and chat template are used
    #[arg(long, value_name = "M", default_value = "builtin:stories260K")]
    model: String,
    /// A tokenizer of its own: tokenizer.json, a .model file, or a folder with one
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    tokenizer: Option<PathBuf>,
    /// How records become text: auto, alpaca, chat, a text with {instruction}, or a .jinja file
    #[arg(long, value_name = "T", default_value = "auto")]
    template: String,
    /// Most tokens of an example
    #[arg(long, value_name = "TOKENS", default_value_t = TokenizeOptions::default().max_seq_len)]
    max_seq_len: usize,
    /// Learn what is asked too
    #[arg(long)]
    no_mask: bool,
    /// What the records are, where looking does not tell: alpaca, completion, messages, sharegpt, text
    #[arg(long, value_name = "F")]
    format: Option<String>,
    /// The file's own name of a field; may be given several times
    #[arg(long, value_name = "ROLE=NAME")]
    field: Vec<String>,
    /// What divides the columns of a table
    #[arg(long, value_name = "CHAR")]
    delimiter: Option<char>,
    /// How plain text is divided into documents: file, line, block
    #[arg(long, value_name = "HOW")]
    split: Option<String>,
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    let said = match &args.what {
        What::Show { set, n, index } => show(set, *n, *index, printer),
        What::Stats { set, json } => stats(set, *json, printer),
    };
    match said {
        Ok(()) => Exit::Success,
        Err(e) => fail(printer, &Diagnostic::from(&e)),
    }
}

fn show(set: &Set, n: usize, index: usize, printer: &Printer) -> Result<()> {
    let records = set.records()?;
    let len = records.len();
    if index >= len {
        return Err(Error::config(format!("--index {index} is beyond the set, which has {len} records (from 0)")));
    }
    // Only these are tokenized: looking at a large set is to be quick.
    let chosen = records.select(index..index.saturating_add(n.max(1)).min(len))?;
    let (examples, name) = set.examples(&chosen)?;
    let what = if len == 1 { "1 record".into() } else { format!("{len} records") };
    printer.note(&format!("{what}; tokenizer of {name}, template {}", set.template));
    let color = printer.screen().color;
    for (i, example) in examples.examples().iter().enumerate() {
        let form = records.get(example.source).map_or("", |record| record.form.name());
        let lost = if example.lost > 0 { format!(", {} cut off", example.lost) } else { String::new() };
        let head = format!(
            "record {} ({form}): {} tokens, {} learned{lost}",
            example.source,
            example.ids.len(),
            example.label_tokens()
        );
        printer.line(&format!("{}{head}", if i == 0 { "" } else { "\n" }));
        printer.line(view::marked(&examples.show(i)?, color).trim_end_matches('\n'));
    }
    for index in examples.dropped() {
        printer.line(&format!("\nrecord {index}: nothing to learn, left out"));
    }
    Ok(())
}

fn stats(set: &Set, json: bool, printer: &Printer) -> Result<()> {
    let records = set.records()?;
    let (examples, name) = set.examples(&records)?;
    if json {
        // Plain data with string keys: there is nothing in it that JSON cannot hold.
        printer.line(&serde_json::to_string_pretty(&examples.stats()).unwrap_or_default());
        return Ok(());
    }
    let (file, template, max) = (&set.file, &set.template, set.max_seq_len);
    printer.line(&format!("{file}: tokenizer of {name}, template {template}, max_seq_len {max}\n"));
    printer.line(&view::summary(&records, &examples, printer.screen().width));
    Ok(())
}

impl Set {
    fn records(&self) -> Result<Dataset> {
        let mut fields = Fields::default();
        for field in &self.field {
            let (role, name) = field.split_once('=').ok_or_else(|| {
                Error::config(format!("--field {field}: expected ROLE=NAME, such as instruction=question"))
            })?;
            fields = fields.with(role, name)?;
        }
        let delimiter = match self.delimiter {
            None => None,
            Some(c) if c.is_ascii() && !"\"\r\n".contains(c) => Some(c as u8),
            Some(c) => return Err(Error::config(format!("--delimiter {c:?}: expected one plain character"))),
        };
        let options = ReadOptions {
            format: self.format.as_deref().map(Format::named).transpose()?,
            fields,
            delimiter,
            split: self.split.as_deref().map(Split::named).transpose()?,
        };
        source::load(&self.file, &options)
    }

    /// `records` in tokens, and whose tokenizer made them.
    fn examples(&self, records: &Dataset) -> Result<(Tokenized, String)> {
        let (tokenizer, name) = match &self.tokenizer {
            Some(path) => (Tokenizer::open(path)?, path.display().to_string()),
            None => {
                let none = || Error::config(format!("the model {} has no tokenizer", self.model));
                (Checkpoint::open(&self.model)?.tokenizer.ok_or_else(none)?, self.model.clone())
            }
        };
        let options = TokenizeOptions {
            template: Layout::open(&self.template)?,
            max_seq_len: self.max_seq_len,
            mask_prompt: !self.no_mask,
            ..TokenizeOptions::default()
        };
        Ok((tokenize(records, Arc::new(tokenizer), &options)?, name))
    }
}
