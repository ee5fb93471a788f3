//! The one reader of the trailing option map: `model.inject_lora(#{ rank: 16, alpha: 32.0 })`.
//!
//! A binding names each option it knows while reading it; [`OptionsMap::finish`] then rejects the keys that nobody
//! asked for. An option set to `()` counts as absent, so that scripts may pass an unset option on.

use crate::engine::{Error, Result, error::unknown_name};
use rhai::{Array, Dynamic, FLOAT, FnPtr, INT, ImmutableString, Map};

/// The options given to one function.
#[derive(Debug)]
pub struct OptionsMap {
    what: &'static str,
    given: Map,
    known: Vec<&'static str>,
}

impl OptionsMap {
    /// The options that the script passed to the function `what`.
    pub fn new(what: &'static str, given: Map) -> Self {
        OptionsMap { what, given, known: Vec::new() }
    }

    /// No options given: every `_or` returns its default.
    pub fn empty(what: &'static str) -> Self {
        Self::new(what, Map::new())
    }

    /// Whether `key` was given, and not as `()`.
    pub fn has(&self, key: &str) -> bool {
        self.given.get(key).is_some_and(|v| !v.is_unit())
    }

    /// The raw value of `key`, for options that take several types.
    pub fn value_opt(&mut self, key: &'static str) -> Option<Dynamic> {
        self.known.push(key);
        self.given.remove(key).map(Dynamic::flatten).filter(|v| !v.is_unit())
    }

    /// Every key must have been read by now: an unknown one is an error that suggests the nearest known one.
    pub fn finish(self) -> Result<()> {
        match self.given.keys().next() {
            None => Ok(()),
            Some(key) => Err(unknown_name(&format!("option of {}", self.what), key, self.known)),
        }
    }

    /// The error for an option whose value makes no sense: names the function, the option and the value.
    pub fn invalid(&self, key: &str, value: impl std::fmt::Display, expected: &str) -> Error {
        Error::config(format!("{}: option `{key}` is {value}; expected {expected}", self.what))
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&Dynamic) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value_opt(key) else { return Ok(None) };
        match convert(&value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(Error::config(format!(
                "{}: option `{key}` must be {expected}, not {} ({})",
                self.what,
                shown(&value),
                type_name(&value)
            ))),
        }
    }

    fn required<T>(&self, key: &'static str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| {
            let message = format!("{}: option `{key}` is missing", self.what);
            let near = self.given.keys().find(|k| strsim::jaro_winkler(k, key) > 0.8);
            match near {
                Some(near) => Error::config_help(message, format!("`{near}` was given: did you mean `{key}`?")),
                None => Error::config(message),
            }
        })
    }

    /// `key` as a number, if given.
    pub fn float_opt(&mut self, key: &'static str) -> Result<Option<f64>> {
        self.typed(key, "a number", as_float)
    }

    /// `key` as a whole number, if given.
    pub fn int_opt(&mut self, key: &'static str) -> Result<Option<i64>> {
        self.typed(key, "an int", |v| v.as_int().ok())
    }

    /// `key` as a count, 0 or more, if given.
    pub fn usize_opt(&mut self, key: &'static str) -> Result<Option<usize>> {
        match self.int_opt(key)? {
            None => Ok(None),
            Some(n) => usize::try_from(n).map(Some).map_err(|_| self.invalid(key, n, "0 or more")),
        }
    }

    /// `key` as a bool, if given.
    pub fn bool_opt(&mut self, key: &'static str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |v| v.as_bool().ok())
    }

    /// `key` as a string, if given.
    pub fn string_opt(&mut self, key: &'static str) -> Result<Option<String>> {
        self.typed(key, "a string", |v| v.read_lock::<ImmutableString>().map(|s| s.to_string()))
    }

    /// `key` as a list of strings, if given; one string counts as a list of one.
    pub fn strings_opt(&mut self, key: &'static str) -> Result<Option<Vec<String>>> {
        self.typed(key, "a string or an array of strings", |v| {
            if let Some(one) = v.read_lock::<ImmutableString>() {
                return Some(vec![one.to_string()]);
            }
            v.read_lock::<Array>()?.iter().map(|v| v.clone().into_string().ok()).collect()
        })
    }

    /// `key` as a list of numbers, if given.
    pub fn floats_opt(&mut self, key: &'static str) -> Result<Option<Vec<f64>>> {
        self.typed(key, "an array of numbers", |v| v.read_lock::<Array>()?.iter().map(as_float).collect())
    }

    /// `key` as a list of whole numbers, if given.
    pub fn ints_opt(&mut self, key: &'static str) -> Result<Option<Vec<i64>>> {
        self.typed(key, "an array of ints", |v| v.read_lock::<Array>()?.iter().map(|v| v.as_int().ok()).collect())
    }

    /// `key` as a map, if given.
    pub fn map_opt(&mut self, key: &'static str) -> Result<Option<Map>> {
        self.typed(key, "a map", |v| v.read_lock::<Map>().map(|m| m.clone()))
    }

    /// `key` as a function or closure, if given.
    pub fn fn_ptr_opt(&mut self, key: &'static str) -> Result<Option<FnPtr>> {
        self.typed(key, "a function", |v| v.read_lock::<FnPtr>().map(|f| f.clone()))
    }

    /// `key` as a value of the registered type `T`, which scripts call `name`, if given.
    pub fn object_opt<T: Clone + Send + Sync + 'static>(&mut self, key: &'static str, name: &str) -> Result<Option<T>> {
        self.typed(key, name, |v| v.read_lock::<T>().map(|v| v.clone()))
    }
}

impl OptionsMap {
    /// Like [`OptionsMap::string_opt`], but it must be given.
    pub fn string(&mut self, key: &'static str) -> Result<String> {
        let value = self.string_opt(key)?;
        self.required(key, value)
    }

    /// Like [`OptionsMap::string_opt`], or `default`.
    pub fn string_or(&mut self, key: &'static str, default: &str) -> Result<String> {
        Ok(self.string_opt(key)?.unwrap_or_else(|| default.to_string()))
    }
}

/// `x` and `x_or` for each `x_opt`: required, and with a default.
macro_rules! required_and_default {
    ($($opt:ident $required:ident $or:ident $type:ty;)*) => {
        impl OptionsMap {
            $(
                #[doc = concat!("Like [`OptionsMap::", stringify!($opt), "`], but it must be given.")]
                pub fn $required(&mut self, key: &'static str) -> Result<$type> {
                    let value = self.$opt(key)?;
                    self.required(key, value)
                }

                #[doc = concat!("Like [`OptionsMap::", stringify!($opt), "`], or `default`.")]
                pub fn $or(&mut self, key: &'static str, default: $type) -> Result<$type> {
                    Ok(self.$opt(key)?.unwrap_or(default))
                }
            )*
        }
    };
}

required_and_default! {
    float_opt float float_or f64;
    int_opt int int_or i64;
    usize_opt usize usize_or usize;
    bool_opt bool bool_or bool;
    strings_opt strings strings_or Vec<String>;
    floats_opt floats floats_or Vec<f64>;
    ints_opt ints ints_or Vec<i64>;
    map_opt map map_or Map;
    fn_ptr_opt fn_ptr fn_ptr_or FnPtr;
}

fn as_float(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|n: INT| n as FLOAT))
}

/// What scripts call the type of `value`.
pub fn type_name(value: &Dynamic) -> &'static str {
    match value.type_name() {
        "i64" => "int",
        "f64" => "float",
        "string" => "string",
        "bool" => "bool",
        "char" => "char",
        "array" => "array",
        "map" => "map",
        "Fn" => "function",
        "()" => "()",
        other => other.rsplit("::").next().unwrap_or(other),
    }
}

/// `value` as a script would write it, cut where it grows long.
pub fn shown(value: &Dynamic) -> String {
    let text = match value.read_lock::<ImmutableString>() {
        Some(s) => format!("{:?}", s.as_str()),
        None if value.is_array() || value.is_map() => format!("{value:?}"),
        None => value.to_string(),
    };
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(script: &str) -> OptionsMap {
        OptionsMap::new("inject_lora", rhai::Engine::new().eval::<Map>(script).unwrap())
    }

    fn text(err: Error) -> String {
        match err.help() {
            Some(help) => format!("{err} | {help}"),
            None => err.to_string(),
        }
    }

    /// Protects every binding with options: the values arrive with their types, ints as floats included.
    #[test]
    fn reads_each_type() {
        let mut o = options(r#"#{ rank: 8, alpha: 16, dropout: 0.1, on: true, names: ["q", "v"], one: "k", no: () }"#);
        assert_eq!(o.usize_or("rank", 4).unwrap(), 8);
        assert_eq!(o.float("alpha").unwrap(), 16.0);
        assert_eq!(o.float_or("dropout", 0.0).unwrap(), 0.1);
        assert!(o.bool_or("on", false).unwrap());
        assert_eq!(o.strings("names").unwrap(), ["q", "v"]);
        assert_eq!(o.strings("one").unwrap(), ["k"]);
        assert_eq!(o.int_or("no", 3).unwrap(), 3);
        o.finish().unwrap();
    }

    /// Protects against silently ignored typing errors in option maps.
    #[test]
    fn unknown_keys_are_errors() {
        let mut o = options("#{ rank: 8, dropuot: 0.1 }");
        o.int_or("rank", 8).unwrap();
        o.float_or("dropout", 0.0).unwrap();
        assert_eq!(text(o.finish().unwrap_err()), "unknown option of inject_lora: `dropuot` | did you mean `dropout`?");
    }

    /// Protects the messages: option, value and type are named.
    #[test]
    fn wrong_values_are_named() {
        let wrong = |script, read: fn(&mut OptionsMap) -> Error| text(read(&mut options(script)));
        assert_eq!(
            wrong(r#"#{ rank: "8" }"#, |o| o.int_or("rank", 8).unwrap_err()),
            "inject_lora: option `rank` must be an int, not \"8\" (string)"
        );
        assert_eq!(
            wrong("#{ rank: -8 }", |o| o.usize_or("rank", 8).unwrap_err()),
            "inject_lora: option `rank` is -8; expected 0 or more"
        );
        assert_eq!(
            wrong("#{ names: [1] }", |o| o.strings("names").unwrap_err()),
            "inject_lora: option `names` must be a string or an array of strings, not [1] (array)"
        );
        assert_eq!(
            wrong("#{ rnak: 8 }", |o| o.int("rank").unwrap_err()),
            "inject_lora: option `rank` is missing | `rnak` was given: did you mean `rank`?"
        );
    }
}
