//! One thing that scripts can name, as plain data: a function, method, property, operator, indexer, word or constant.

use super::doc_comment::{self, OptionDoc};

/// How scripts use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `zeros([2, 3])`, `optim::adamw(params)`.
    Function,
    /// `tensor.sum(0)`.
    Method,
    /// `tensor.shape`; reading and setting are two signatures.
    Property,
    /// `a @ b`, `-a`.
    Operator,
    /// `tensor[0..2]`.
    Indexer,
    /// A word of the language: `no_grad { .. }`.
    Syntax,
    /// A value with a name.
    Constant,
}

/// Who provides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The bindings and the grammar of this program.
    Host,
    /// A module of `std/`, which has to be imported.
    Std,
    /// Rhai's own library.
    Rhai,
    /// The script at hand.
    Script,
}

/// One function, operator, property, indexer, word or constant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    /// Module path, e.g. `optim`, `std/instruct`; empty for global functions.
    pub namespace: String,
    /// Name as written in scripts; properties carry the prefix `get$` or `set$`, indexers are `index$get$` and `index$set$`.
    pub name: String,
    /// Parameters: name (`_` where unknown) and type (`any` where unknown), in the script's words. Alternatives are
    /// joined by ` or `; `number` is int or float.
    pub params: Vec<(String, String)>,
    /// Type of the result; empty where there is none.
    pub returns: String,
    /// The doc comment, without its markers, each paragraph on one line.
    pub doc: String,
    /// How scripts use it.
    pub kind: Kind,
    /// Who provides it.
    pub origin: Origin,
}

impl Signature {
    /// A function of a script, of whose parameters only the names are known.
    pub fn of_script<'a>(name: &str, params: impl IntoIterator<Item = &'a str>) -> Self {
        Signature {
            namespace: String::new(),
            name: name.to_string(),
            params: params.into_iter().map(|p| (p.to_string(), "any".to_string())).collect(),
            returns: String::new(),
            doc: String::new(),
            kind: Kind::Function,
            origin: Origin::Script,
        }
    }

    /// `optim::adamw`.
    pub fn path(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}::{}", self.namespace, self.name) }
    }

    /// The name under which overloads share one comment: `optim::adamw`, `Tensor.sum`, `Tensor.shape`, `Tensor @`,
    /// `Tensor[]`, `no_grad`.
    pub fn key(&self) -> String {
        match (self.kind, self.object()) {
            (Kind::Property | Kind::Method, Some(of)) => format!("{of}.{}", self.short()),
            (Kind::Operator, Some(of)) => format!("{of} {}", self.name),
            (Kind::Indexer, Some(of)) => format!("{of}[]"),
            _ => self.path(),
        }
    }

    /// The type whose member it is, if it is one.
    pub fn object(&self) -> Option<&str> {
        let mut types = self.params.iter().map(|(_, of)| of.as_str());
        match self.kind {
            Kind::Property | Kind::Method | Kind::Indexer => types.next(),
            // Numbers may stand on either side of a tensor.
            Kind::Operator => types.clone().find(|t| is_object(t)).or_else(|| types.next()),
            _ => None,
        }
    }

    /// The name alone: `shape` for `get$shape`.
    pub fn short(&self) -> &str {
        self.name.strip_prefix("get$").or_else(|| self.name.strip_prefix("set$")).unwrap_or(&self.name)
    }

    /// The property read by this function, if it is a getter.
    pub fn property(&self) -> Option<&str> {
        self.name.strip_prefix("get$")
    }

    /// Whether scripts call it by name, as opposed to operators, properties, indexers and words.
    pub fn callable(&self) -> bool {
        matches!(self.kind, Kind::Function | Kind::Method)
    }

    /// The first sentence of the comment.
    pub fn summary(&self) -> &str {
        doc_comment::summary(&self.doc)
    }

    /// What the comment says between the summary and its first heading.
    pub fn description(&self) -> &str {
        doc_comment::description(&self.doc)
    }

    /// The keys that its trailing option map takes.
    pub fn options(&self) -> Vec<OptionDoc> {
        doc_comment::options(&self.doc)
    }

    /// Scripts that show its use.
    pub fn examples(&self) -> Vec<String> {
        doc_comment::examples(&self.doc)
    }

    /// The text under the heading `title`, e.g. `Errors`.
    pub fn section(&self, title: &str) -> Option<String> {
        doc_comment::sections(&self.doc).into_iter().find(|s| s.title == title).map(|s| s.body.to_string())
    }

    /// As in [`Display`](std::fmt::Display), as scripts write it: `Tensor.sum(dim: int) -> Tensor`, `instruct::load(path)`.
    pub fn usage(&self) -> String {
        match (self.kind, self.params.split_first()) {
            (Kind::Method, Some(((_, of), rest))) => {
                format!("{of}.{}({}){}", self.name, list(rest), self.result(" -> "))
            }
            // Of a script's parameters only the names are known.
            _ if self.origin == Origin::Std => {
                let names: Vec<&str> = self.params.iter().map(|(name, _)| name.as_str()).collect();
                format!("{}({})", self.path().trim_start_matches("std/"), names.join(", "))
            }
            _ => self.to_string(),
        }
    }

    fn result(&self, arrow: &str) -> String {
        if self.returns.is_empty() { String::new() } else { format!("{arrow}{}", self.returns) }
    }
}

/// Whether `of` names a type of the host's, such as `Tensor`: those begin with a capital.
pub(super) fn is_object(of: &str) -> bool {
    of.starts_with(|c: char| c.is_ascii_uppercase()) && !of.contains(' ')
}

fn list(params: &[(String, String)]) -> String {
    let one = |(name, of): &(String, String)| if name == "_" { of.clone() } else { format!("{name}: {of}") };
    params.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let types: Vec<&str> = self.params.iter().map(|(_, of)| of.as_str()).collect();
        let result = self.result(" -> ");
        match (self.kind, types.as_slice()) {
            (Kind::Property, [of]) => write!(f, "{of}.{}{}", self.short(), self.result(": ")),
            (Kind::Property, [of, value]) => write!(f, "{of}.{} = {value}", self.short()),
            (Kind::Indexer, [of, index]) => write!(f, "{of}[{index}]{result}"),
            (Kind::Indexer, [of, index, value]) => write!(f, "{of}[{index}] = {value}"),
            (Kind::Operator, [one]) => write!(f, "{}{one}{result}", self.name),
            (Kind::Operator, [left, right]) => write!(f, "{left} {} {right}{result}", self.name),
            (Kind::Syntax, _) => write!(f, "{}", if self.returns.is_empty() { &self.name } else { &self.returns }),
            (Kind::Constant, _) => write!(f, "{}{}", self.path(), self.result(": ")),
            _ => write!(f, "{}({}){result}", self.path(), list(&self.params)),
        }
    }
}
