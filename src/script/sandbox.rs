//! How far a script may go: the flags for what it may read and write, and how much memory and time it may take.

use super::{diagnostics::Diagnostic, options::Given};
use crate::bindings::Access;
use crate::engine::memory::{number_and_unit, parse_size};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// The names of the flags, which no script's option may have.
pub const FLAGS: [&str; 7] =
    ["allow_read", "allow_write", "allow_net", "allow_all", "max_memory", "max_ops", "timeout"];

/// Options that name where a script's results go: what is given for one of them may be written.
pub const OUTPUTS: [&str; 4] = ["out", "out_dir", "output", "output_dir"];

/// What the person at the keyboard allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// `--allow-read PATH`.
    pub allow_read: Vec<String>,
    /// `--allow-write PATH`.
    pub allow_write: Vec<String>,
    /// `--allow-net`.
    pub allow_net: bool,
    /// `--allow-all`.
    pub allow_all: bool,
    /// `--max-memory SIZE`, in bytes.
    pub max_memory: Option<usize>,
    /// `--max-ops N`.
    pub max_ops: Option<u64>,
    /// `--timeout TIME`.
    pub timeout: Option<Duration>,
}

impl Sandbox {
    /// Takes the flag `name`, if it is one of [`FLAGS`], with its value.
    ///
    /// # Errors
    /// A value that is none.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), Box<Diagnostic>> {
        let wrong = |expected: &str| {
            let flag = name.replace('_', "-");
            Box::new(Diagnostic::new("usage", format!("option `--{flag}` is `{text}`; expected {expected}")))
        };
        let truth = || text.parse::<bool>().map_err(|_| wrong("true or false"));
        match name {
            "allow_read" => self.allow_read.extend(paths(text).ok_or_else(|| wrong("a path"))?),
            "allow_write" => self.allow_write.extend(paths(text).ok_or_else(|| wrong("a path"))?),
            "allow_net" => self.allow_net = truth()?,
            "allow_all" => self.allow_all = truth()?,
            "max_memory" => {
                self.max_memory = Some(parse_size(text).ok_or_else(|| wrong("a size, such as 512MiB or 8GiB"))?);
            }
            "max_ops" => {
                let count = text.replace('_', "").parse().ok().filter(|n| *n > 0);
                self.max_ops = Some(count.ok_or_else(|| wrong("a count from 1 on"))?);
            }
            "timeout" => self.timeout = Some(duration(text).ok_or_else(|| wrong("a time, such as 30s, 10m or 2h"))?),
            _ => {}
        }
        Ok(())
    }
}

/// What a script that was given `given` may read and write: what every script may, what its flags allow, and what is
/// named on its command line.
pub fn access(given: &Given) -> Access {
    let flags = &given.host.sandbox;
    if flags.allow_all {
        return Access::everything();
    }
    let access = Access::restricted();
    for path in &flags.allow_read {
        access.allow_read(Path::new(path));
    }
    for path in &flags.allow_write {
        access.allow_write(Path::new(path));
    }
    if flags.allow_net {
        access.allow_net();
    }
    for word in &given.args {
        access.name(word);
    }
    for (name, text) in &given.named {
        if OUTPUTS.contains(&name.as_str()) {
            access.name_output(text);
        } else {
            words(text).iter().for_each(|word| access.name(word));
        }
    }
    access
}

/// What an option's value may name: all of it, the items of a list with commas, the strings of JSON.
fn words(text: &str) -> Vec<String> {
    fn strings(json: Value, into: &mut Vec<String>) {
        match json {
            Value::String(text) => into.push(text),
            Value::Array(items) => items.into_iter().for_each(|item| strings(item, into)),
            Value::Object(map) => map.into_iter().for_each(|(_, item)| strings(item, into)),
            _ => {}
        }
    }
    let mut words = vec![text.to_string()];
    words.extend(text.split(',').map(|t| t.trim().to_string()));
    if let Ok(json) = serde_json::from_str(text) {
        strings(json, &mut words);
    }
    words
}

/// The paths of a list with commas; one whole path if there is such a file.
fn paths(text: &str) -> Option<Vec<String>> {
    if !text.is_empty() && Path::new(text).exists() {
        return Some(vec![text.to_string()]);
    }
    let paths: Vec<String> = text.split(',').map(str::to_string).collect();
    paths.iter().all(|p| !p.is_empty()).then_some(paths)
}

/// `30s`, `1.5m`, `2h`, `500ms`, or a number of seconds.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let unit = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok().filter(|d| !d.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects what people type: sizes and times in the usual spellings, and nothing else.
    #[test]
    fn sizes_and_times_are_read() {
        assert_eq!(
            ["8GiB", "8g", "512MB", "1.5k", "100"].map(|t| parse_size(t).unwrap()),
            [8 << 30, 8 << 30, 512_000_000, 1536, 100]
        );
        assert_eq!(
            ["30s", "1.5m", "2h", "250ms", "7"].map(|t| duration(t).unwrap().as_millis()),
            [30_000, 90_000, 7_200_000, 250, 7_000]
        );
        for text in ["", "x", "-1", "8 potatoes", "0", "nan", "1e400", "."] {
            assert!(parse_size(text).is_none() && duration(text).is_none(), "{text}");
        }
    }

    /// Protects `--allow-read a,b`, and files whose name has a comma.
    #[test]
    fn lists_of_paths_are_split_at_commas() {
        let mut flags = Sandbox::default();
        flags.set("allow_read", "/a,b").unwrap();
        flags.set("allow_read", "/c").unwrap();
        assert_eq!(flags.allow_read, ["/a", "b", "/c"]);
        assert!(flags.set("allow_write", "a,,b").is_err() && flags.set("allow_write", "").is_err());
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a,b");
        std::fs::write(&odd, "").unwrap();
        flags.set("allow_write", odd.to_str().unwrap()).unwrap();
        assert_eq!(flags.allow_write, [odd.to_str().unwrap()]);
    }
}
