//! Settings in files: what `--config FILE` reads, TOML or JSON, and the `settings.toml` that every run leaves.
//!
//! A file holds one key for each option of the script. The table `[host]` is not the script's: in it a run notes which
//! script it was, on which device and by which version, so that `host run --config runs/x/settings.toml` repeats it.

use super::{
    Diagnostic,
    diagnostics::Place,
    option_values as values,
    options::{Declared, Given},
    sources::Sources,
};
use crate::engine::error::unknown_name;
use rhai::Dynamic;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::path::Path;

/// Keys and values, in the file's order.
pub type Table = serde_json::Map<String, Json>;

/// The table in a settings file that is not the script's.
const HOST_TABLE: &str = "host";

/// What a run notes of itself beside its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunBy {
    /// The script, as it was named on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// [`fingerprint`] of the script's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script_crc32: Option<String>,
    /// The host's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The device of `--device`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The number of `--threads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// The arguments that are no options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// A settings file, read.
#[derive(Debug)]
pub struct File {
    name: String,
    text: String,
    table: Table,
}

impl File {
    /// Reads `path`: JSON if it is called so, else TOML.
    ///
    /// # Errors
    /// A file that cannot be read or does not parse, at its line.
    pub fn read(path: &str) -> Result<File, Box<Diagnostic>> {
        let text = read_text(Path::new(path), path)?;
        let table = if path.ends_with(".json") { from_json(path, &text)? } else { from_toml(path, &text)? };
        Ok(File { name: path.into(), text, table })
    }

    /// What the run that wrote this file noted of itself; nothing in a file written by hand.
    ///
    /// # Errors
    /// A `[host]` with unknown keys.
    pub fn run_by(&self) -> Result<RunBy, Box<Diagnostic>> {
        match self.table.get(HOST_TABLE) {
            Some(table @ Json::Object(_)) => serde_json::from_value(table.clone())
                .map_err(|e| self.wrong(HOST_TABLE, &format!("`[host]` is written by the host, for itself: {e}"))),
            _ => Ok(RunBy::default()),
        }
    }

    fn wrong(&self, key: &str, message: &str) -> Box<Diagnostic> {
        let place = line_of(&self.text, key).map(|line| Place { file: self.name.clone(), line, column: 1 });
        at(&self.name, &self.text, place, message)
    }
}

impl Declared {
    /// Puts the values of settings files, those on the command line `words` included, into `given`; returns what the last
    /// of them noted of its run.
    pub(super) fn read_files(&self, given: &mut Given, words: &[String]) -> Result<RunBy, Box<Diagnostic>> {
        let own = |name: &str| self.options.iter().any(|o| o.name == name);
        if !own("config") {
            given.host.config.extend(named_in(words));
        }
        let mut by = RunBy::default();
        for path in given.host.config.clone() {
            let file = File::read(&path)?;
            if !own(HOST_TABLE) {
                by = file.run_by()?;
            }
            for (key, json) in &file.table {
                if key == HOST_TABLE && !own(HOST_TABLE) {
                    continue;
                }
                let name = key.replace('-', "_");
                let Some(spec) = self.options.iter().find(|o| o.name == name) else {
                    let error = unknown_name("option", key, self.options.iter().map(|o| o.name.as_str()));
                    let mut problem = file.wrong(key, &error.to_string());
                    problem.help.extend(error.help().map(str::to_string));
                    return Err(problem);
                };
                let current = given.options.get(name.as_str()).unwrap_or(&spec.default);
                let value = values::from_json(&spec.kind, current, json.clone())
                    .map_err(|e| file.wrong(key, &format!("option `{key}` is {json}; expected {e}")))?;
                // Naming the file is consent to the paths in it, as if they had been typed.
                given.named.push((name.clone(), json.as_str().map_or_else(|| json.to_string(), str::to_string)));
                given.options.insert(name.into(), value);
            }
        }
        Ok(by)
    }

    /// Sets one option, or one key inside a map option, from `key=value` or `key.inner=value`.
    pub(super) fn set_pair(&self, given: &mut Given, pair: &str) -> Result<(), Box<Diagnostic>> {
        let usage = |message: String| Box::new(Diagnostic::new("usage", message));
        let Some((path, text)) = pair.split_once('=') else {
            return Err(usage(format!("option `--set` is `{pair}`; expected key=value")));
        };
        let path = path.trim().replace('-', "_");
        let (name, inner) = path.split_once('.').map_or((path.as_str(), None), |(name, inner)| (name, Some(inner)));
        let Some(spec) = self.options.iter().find(|o| o.name == name) else {
            let error = unknown_name("option", name, self.options.iter().map(|o| o.name.as_str()));
            let problem = Diagnostic::new("usage", format!("--set {pair}: {error}"));
            return Err(Box::new(problem.with_help(error.help().unwrap_or("this script declares no options"))));
        };
        let current = given.options.get(name).unwrap_or(&spec.default);
        let value = values::parse_at(&spec.kind, current, inner, text)
            .map_err(|e| usage(format!("--set {path} is `{text}`; expected {e}")))?;
        given.named.push((name.into(), text.into()));
        given.options.insert(name.into(), value);
        Ok(())
    }

    /// The `settings.toml` of a run with the options `given`: what [`File::read`] takes back, each line with its help.
    pub fn settings_toml(&self, given: &Given, by: &RunBy) -> String {
        let mut text = format!(
            "# Settings of a run of {}. This repeats it, in the folder where it was started:\n\
             #   host run --config THIS_FILE\n\n",
            by.script.as_deref().unwrap_or("a script"),
        );
        for spec in &self.options {
            let value = given.options.get(spec.name.as_str()).unwrap_or(&spec.default);
            let key = toml_key(&spec.name);
            let line = match to_toml(value) {
                Some(value) => format!("{key} = {value}"),
                None => format!("# {key} has no value"),
            };
            let help = if spec.help.is_empty() { String::new() } else { format!("# {}", spec.help) };
            text += format!("{line:<38} {help}").trim_end();
            text.push('\n');
        }
        if !self.options.iter().any(|o| o.name == HOST_TABLE) {
            // Plain strings and numbers: nothing in it that TOML cannot hold.
            text += &format!("\n[{HOST_TABLE}]\n{}", toml::to_string(by).unwrap_or_default());
        }
        text
    }
}

/// A short name for `text`, to see whether a script is still the same.
pub fn fingerprint(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

/// The files of `--config` among the words behind a script.
pub fn named_in(words: &[String]) -> Vec<String> {
    let mut files = Vec::new();
    let mut words = words.iter().take_while(|w| *w != "--").peekable();
    while let Some(word) = words.next() {
        if let Some(file) = word.strip_prefix("--config=") {
            files.push(file.to_string());
        } else if word == "--config"
            && let Some(file) = words.next_if(|w| !w.starts_with("--"))
        {
            files.push(file.clone());
        }
    }
    files
}

fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.into() } else { toml::Value::from(name).to_string() }
}

/// `value` on one line of TOML; `None` for `()` and what TOML cannot hold.
fn to_toml(value: &Dynamic) -> Option<String> {
    fn convert(json: Json) -> Option<toml::Value> {
        Some(match json {
            Json::Null => return None,
            Json::Bool(b) => b.into(),
            Json::Number(n) => n.as_i64().map_or_else(|| n.as_f64().map(toml::Value::Float), |n| Some(n.into()))?,
            Json::String(s) => s.into(),
            Json::Array(items) => items.into_iter().map(convert).collect::<Option<Vec<_>>>()?.into(),
            Json::Object(map) => {
                let pairs = map.into_iter().filter_map(|(key, value)| Some((key, convert(value)?)));
                toml::Value::Table(pairs.collect())
            }
        })
    }
    convert(rhai::serde::from_dynamic(value).ok()?).map(|value| value.to_string())
}

fn from_json(file: &str, text: &str) -> Result<Table, Box<Diagnostic>> {
    serde_json::from_str(text).map_err(|e| {
        let place = Place { file: file.into(), line: e.line().max(1), column: e.column() };
        at(file, text, Some(place), &format!("not a JSON object of options: {e}"))
    })
}

/// The text of `path`, which diagnostics call `shown`.
pub(super) fn read_text(path: &Path, shown: &str) -> Result<String, Box<Diagnostic>> {
    std::fs::read_to_string(path)
        .map_err(|e| Box::new(Diagnostic::new("usage", format!("{shown} cannot be read: {e}"))))
}

/// The TOML `text` of `file`.
///
/// # Errors
/// What does not parse, at its line; a number that is not finite.
pub(super) fn from_toml(file: &str, text: &str) -> Result<Table, Box<Diagnostic>> {
    let table: toml::Table = toml::from_str(text).map_err(|e| {
        let place = e.span().map(|span| place(file, text, span.start));
        at(file, text, place, e.message())
    })?;
    let mut converted = Table::new();
    for (key, value) in table {
        let value = to_json(value).map_err(|e| {
            let place = line_of(text, &key).map(|line| Place { file: file.into(), line, column: 1 });
            at(file, text, place, &format!("`{key}` {e}"))
        })?;
        converted.insert(key, value);
    }
    Ok(converted)
}

/// The line (from 1) on which `key` is given a value or a table begins that is called so.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let given = |line: &str| {
        let line = line.trim_start().trim_start_matches(['[', '"', '\'']);
        let rest = line.strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(['=', ']', '.', ':']))
    };
    text.lines().position(given).map(|i| i + 1)
}

fn place(file: &str, text: &str, byte: usize) -> Place {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    Place { file: file.into(), line, column }
}

fn at(file: &str, text: &str, place: Option<Place>, message: &str) -> Box<Diagnostic> {
    let sources = Sources::default();
    sources.insert(file, text, None);
    let first = message.lines().collect::<Vec<_>>().join("; ");
    Box::new(Diagnostic::new("usage", format!("{file}: {first}")).at(place, &sources))
}

fn to_json(value: toml::Value) -> Result<Json, String> {
    Ok(match value {
        toml::Value::String(s) => Json::String(s),
        toml::Value::Integer(n) => n.into(),
        toml::Value::Float(x) => serde_json::Number::from_f64(x)
            .map(Json::Number)
            .ok_or_else(|| format!("is {x}; expected a finite number"))?,
        toml::Value::Boolean(b) => b.into(),
        toml::Value::Datetime(d) => Json::String(d.to_string()),
        toml::Value::Array(items) => Json::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => {
            let pairs = table.into_iter().map(|(key, value)| Ok((key, to_json(value)?)));
            Json::Object(pairs.collect::<Result<_, String>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Script, options::HostFlags};

    const SCRIPT: &str = r#"const OPTIONS = #{
        lr: 1e-4,                            // peak learning rate
        names: ["q"], text: "a\n\"b\"", on: true, init: (), lora: #{ rank: 8, alpha: 16.0 },
    };"#;

    fn declared() -> Declared {
        Declared::read(&Script { name: "t.rhai".into(), text: SCRIPT.into(), folder: None }).unwrap()
    }

    fn parse(line: &[&str]) -> Result<Given, Box<Diagnostic>> {
        let words: Vec<String> = line.iter().map(ToString::to_string).collect();
        declared().parse(&words, HostFlags::default())
    }

    fn shown(given: &Given) -> String {
        format!("{:?}", Dynamic::from(given.options.clone()))
    }

    /// Protects repeated runs: what a run writes reads back to the very same options, odd texts and tiny rates included.
    #[test]
    fn settings_read_back_to_the_same_options() {
        let dir = tempfile::tempdir().unwrap();
        let given =
            parse(&["--lr", "3.3333333333333335e-7", "--set", "lora.rank=4", "--names", "k,v", "--no-on"]).unwrap();
        let by = RunBy { script: Some("a \"b\".rhai".into()), args: vec!["x".into()], ..RunBy::default() };
        let text = declared().settings_toml(&given, &by);
        let file = dir.path().join("settings.toml");
        std::fs::write(&file, &text).unwrap();
        let again = parse(&["--config", file.to_str().unwrap()]).unwrap();
        assert_eq!(shown(&again), shown(&given), "{text}");
        assert_eq!(again.args, ["x"]);
        assert_eq!(File::read(file.to_str().unwrap()).unwrap().run_by().unwrap(), by);
        assert!(text.contains("# peak learning rate") && text.contains("# init has no value"), "{text}");
    }

    /// Protects the order: script, file, command line, wherever on the line the file is named; of a map only what is given
    /// changes.
    #[test]
    fn the_command_line_wins_over_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name).to_str().unwrap().to_string()
        };
        let toml = path("a.toml", "lr = 1\n[lora]\nrank = 2\n");
        let json = path("b.json", r#"{"names": ["x", "y"], "init": 3}"#);
        let given =
            parse(&["--lr", "5", "--config", &toml, "--set=lora.alpha=1", &format!("--config={json}")]).unwrap();
        assert_eq!(
            shown(&given),
            "#{\"init\": 3, \"lora\": #{\"alpha\": 1.0, \"rank\": 2}, \"lr\": 5.0, \"names\": [\"x\", \"y\"], \"on\": true, \"text\": \"a\\n\\\"b\\\"\"}"
        );
    }

    /// Protects against settings that are silently ignored: names, types and syntax, each with its line.
    #[test]
    fn mistakes_in_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            let d = parse(&["--config", file.to_str().unwrap()]).unwrap_err();
            let place = d.place.map_or("-".into(), |p| p.line.to_string());
            format!("{} | {place} | {}", d.message.replace(&format!("{}: ", file.display()), ""), d.help.join(" "))
        };
        assert_eq!(
            wrong("a.toml", "lr = 1\n\nrate = 2"),
            "unknown option: `rate` | 3 | known: lr, names, text, on, init, lora"
        );
        assert_eq!(wrong("a.toml", "nams = []"), "unknown option: `nams` | 1 | did you mean `names`?");
        assert_eq!(wrong("a.toml", "lr = 'x'"), "option `lr` is \"x\"; expected a number | 1 | ");
        assert!(wrong("a.toml", "[lora]\nrang = 1").contains("expected a JSON object with the keys alpha, rank"));
        assert!(wrong("a.toml", "lr = inf").contains("expected a finite number | 1"));
        assert!(wrong("a.toml", "lr = \n").contains("| 1 |"));
        assert!(wrong("a.json", "{\n\"lr\": }").contains("| 2 |"));
        assert!(wrong("a.toml", "[host]\nscrip = 'x'").contains("scrip"));
        let set = |pair: &str| parse(&["--set", pair]).unwrap_err().message;
        assert_eq!(set("lr"), "option `--set` is `lr`; expected key=value");
        assert_eq!(set("lr=x"), "--set lr is `x`; expected a number");
        assert_eq!(set("lr.x=1"), "--set lr.x is `1`; expected a number: it has no keys");
        assert_eq!(set("lora.rang=1"), "--set lora.rang is `1`; expected one of the keys alpha, rank");
        assert_eq!(set("lora=1"), "--set lora is `1`; expected a JSON object");
        assert_eq!(set("rate=1"), "--set rate=1: unknown option: `rate`");
    }
}
