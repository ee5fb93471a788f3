//! How records become text: the templates that [`Layout`] names, applied to each form of record.
//!
//! | record | `auto` | a prompt template | a chat template |
//! | --- | --- | --- | --- |
//! | instruction | Alpaca's prompt | the template | one turn of the user, one of the assistant |
//! | completion | the prompt as it is | the template | the same |
//! | conversation | the tokenizer's chat template | if it is one question and its answer | every turn |
//! | document | the text, learned whole | - | - |

use super::record::{Form, Record, Turn};
use super::template::{NAMES, Template};
use super::tokenize::TextTokenizer;
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::tokenizer::{ChatTemplate, Message};
use std::sync::OnceLock;

/// Which template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Layout {
    /// As the record's form asks for.
    #[default]
    Auto,
    /// A prompt template.
    Prompt(Template),
    /// A chat template in Jinja, or the tokenizer's own.
    Chat(Option<String>),
}

impl From<Template> for Layout {
    fn from(template: Template) -> Self {
        Layout::Prompt(template)
    }
}

impl Layout {
    /// [`Layout::parse`], or the Jinja text of a file whose name ends in `.jinja`.
    ///
    /// # Errors
    /// Also [`Error::Io`].
    pub fn open(text: &str) -> Result<Self> {
        if !Self::is_file(text) {
            return Self::parse(text);
        }
        let path = std::path::Path::new(text);
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        ChatTemplate::new(&text, "", "")?;
        Ok(Layout::Chat(Some(text)))
    }

    /// Whether [`Layout::open`] would read a file of this name.
    pub fn is_file(text: &str) -> bool {
        text.ends_with(".jinja") && !text.contains('{')
    }

    /// From what people write: `auto`, `chat`, the name of a prompt template, a prompt template, or Jinja, which is told
    /// by a `{% .. %}` in it.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown name or a text that is no template.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Layout::Auto),
            "chat" => Ok(Layout::Chat(None)),
            _ if text.contains("{%") && text.contains("messages") => {
                ChatTemplate::new(text, "", "")?;
                Ok(Layout::Chat(Some(text.to_string())))
            }
            _ if text.contains('{') => Template::single(text).map(Layout::Prompt),
            _ if NAMES.contains(&text) => Template::named(text).map(Layout::Prompt),
            _ => Err(unknown_name("template", text, NAMES.iter().copied().chain(["auto", "chat"]))),
        }
    }
}

/// A layout made ready for one tokenizer.
pub struct Wording<'a> {
    tokenizer: Option<&'a dyn TextTokenizer>,
    layout: &'a Layout,
    alpaca: Template,
    verbatim: Template,
    chat: OnceLock<ChatTemplate>,
}

/// What one record is, under a layout.
pub enum Worded<'a> {
    /// A prompt and the response to it, by this template.
    Prompt(&'a Template),
    /// A conversation, by this template.
    Chat(&'a ChatTemplate, Vec<Turn>),
    /// A text to be learned whole.
    Document,
}

impl<'a> Wording<'a> {
    /// For records that are to be read with `tokenizer`; without one no chat template words them.
    pub fn new(layout: &'a Layout, tokenizer: Option<&'a dyn TextTokenizer>) -> Result<Self> {
        let verbatim = Template::single("{instruction}{output}")?;
        Ok(Wording { tokenizer, layout, alpaca: Template::alpaca(), verbatim, chat: OnceLock::new() })
    }

    /// How `record` is worded.
    ///
    /// # Errors
    /// [`Error::Config`] for a record that the layout has no place for, and for a chat template without its tokenizer or
    /// a tokenizer without its chat template.
    pub fn of(&self, record: &Record) -> Result<Worded<'_>> {
        let fits = |help: &str| {
            let message = match record.form {
                Form::Document => "is a document, to be learned whole: it has no prompt for a template".to_string(),
                _ => format!(
                    "is a conversation of {} turns: a prompt template has no place for them",
                    record.turns.len()
                ),
            };
            Err(Error::config_help(format!("record {} {message}", record.index), help))
        };
        Ok(match (self.layout, record.form) {
            (Layout::Auto, Form::Document) => Worded::Document,
            (Layout::Auto, Form::Instruction) => Worded::Prompt(&self.alpaca),
            (Layout::Auto, Form::Completion) => Worded::Prompt(&self.verbatim),
            (_, Form::Document) => return fits("leave template out, or say template: \"auto\""),
            (Layout::Prompt(_), Form::Conversation) if !is_question(&record.turns) => {
                return fits("template: \"chat\" uses the model's chat template; Jinja text is one of your own");
            }
            (Layout::Prompt(template), _) => Worded::Prompt(template),
            (Layout::Auto | Layout::Chat(_), _) => Worded::Chat(self.chat()?, record.as_turns().unwrap_or_default()),
        })
    }

    /// What the model reads before it writes the record's (last) answer.
    ///
    /// # Errors
    /// As [`Wording::of`], and the chat template's own. A document is not asked for.
    pub fn prompt(&self, record: &Record) -> Result<String> {
        match self.of(record)? {
            Worded::Document => {
                Err(Error::config(format!("record {} is a document, which nobody asks for", record.index)))
            }
            Worded::Prompt(template) => {
                template.check(record)?;
                Ok(template.prompt(record))
            }
            Worded::Chat(template, turns) => {
                let answer = turns.iter().rposition(|turn| turn.role == "assistant").unwrap_or(turns.len());
                template.render(&messages(&turns[..answer]), true)
            }
        }
    }

    fn chat(&self) -> Result<&ChatTemplate> {
        if let Some(chat) = self.chat.get() {
            return Ok(chat);
        }
        let given = if let Layout::Chat(given) = self.layout { given.as_deref() } else { None };
        let Some(tokenizer) = self.tokenizer else {
            return Err(Error::config_help(
                "prompt: a chat template spells a tokenizer's own tokens",
                "give the tokenizer too: record.prompt(\"chat\", model.tokenizer)",
            ));
        };
        let made = tokenizer.chat(given)?;
        Ok(self.chat.get_or_init(|| made))
    }
}

/// Whether a conversation is one question and its answer, which a prompt template has a place for.
fn is_question(turns: &[Turn]) -> bool {
    matches!(turns, [user, assistant] if user.role == "user" && assistant.role == "assistant")
}

/// What chat templates take.
pub(super) fn messages(turns: &[Turn]) -> Vec<Message> {
    turns.iter().map(|turn| Message::new(turn.role.as_str(), turn.content.as_str())).collect()
}
