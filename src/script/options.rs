//! A script's declared options: read from its text without running it, typed against the command line.
//!
//! ```rhai
//! //! Trains an adapter.
//! const OPTIONS = #{
//!     lr: 1e-4,      // peak learning rate
//!     epochs: 3,
//! };
//! ```
//! `host run r.rhai --lr 3e-4` then gives `options().lr == 3e-4`, and `host run r.rhai --help` shows all this.

use super::{
    diagnostics::{self, Diagnostic, Place},
    explain,
    host::Script,
    option_values as values, parsing,
    recipes::Manifest,
    sandbox::{self, Sandbox},
    settings::RunBy,
    sources::Sources,
};
use crate::engine::error::unknown_name;
use rhai::{AST, ASTFlags, Array, Dynamic, Expr, Map, Module, Position, Stmt};
use std::iter::Peekable;

/// One declared option.
#[derive(Debug, Clone)]
pub struct OptionSpec {
    /// Its key.
    pub name: String,
    /// Its default: the script's own, or its recipe's.
    pub default: Dynamic,
    /// The script's own default, which sets the type; `()` takes a number or text.
    pub kind: Dynamic,
    /// The comment behind it.
    pub help: String,
}

/// What a script says of itself.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// The `//!` lines.
    pub description: String,
    /// `OPTIONS`, in the order of the text.
    pub options: Vec<OptionSpec>,
}

/// Settings of the host itself, which may stand before or after the script's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFlags {
    /// `--device NAME`.
    pub device: Option<String>,
    /// `--resume`.
    pub resume: bool,
    /// `--quiet`.
    pub quiet: bool,
    /// `--threads N`.
    pub threads: Option<usize>,
    /// How far the script may go.
    pub sandbox: Sandbox,
    /// `--config FILE`, in their order.
    pub config: Vec<String>,
    /// `--set KEY=VALUE` before the script's name.
    pub set: Vec<String>,
    /// `--watch`.
    pub watch: bool,
    /// `--no-check`.
    pub no_check: bool,
    /// `--dashboard`.
    pub dashboard: bool,
    /// `--profile`, and its file for the trace, which may be empty.
    pub profile: Option<String>,
    /// `-i`, `--interactive`.
    pub interactive: bool,
    /// `--break-on nan`.
    pub break_on_nan: bool,
}

/// A command line, understood.
#[derive(Debug, Clone)]
pub struct Given {
    /// Every declared option with its value.
    pub options: Map,
    /// What is no option.
    pub args: Vec<String>,
    /// The script's options that were given: name and text, as it was typed.
    pub named: Vec<(String, String)>,
    /// The host's own settings.
    pub host: HostFlags,
    /// `--help` was among them.
    pub help: bool,
    /// What the settings file noted of the run that it is of.
    pub by: RunBy,
}

impl Given {
    /// Every text among the options and arguments: those that name files are worth watching.
    pub fn texts(&self) -> Vec<String> {
        let mut texts = self.args.clone();
        for value in self.options.values() {
            let list = value.read_lock::<Array>().map(|list| list.clone()).unwrap_or_default();
            texts.extend(list.into_iter().chain([value.clone()]).filter_map(|v| v.into_string().ok()));
        }
        texts
    }
}

/// The host's own flags: name, whether it takes a value, help.
const HOST_FLAGS: &[(&str, Option<&str>, &str)] = &[
    ("device", Some("NAME"), "Where tensors and models go: cpu, cuda, cuda:N"),
    ("resume", None, "Continue the saved run"),
    ("quiet", None, "No progress and no notes"),
    ("threads", Some("N"), "Threads for native work"),
    ("allow_read", Some("PATH"), "Let the script read this too; may be repeated, or be a list with commas"),
    ("allow_write", Some("PATH"), "Let the script write this too; likewise"),
    ("allow_net", None, "Let the script use the network"),
    ("allow_all", None, "Let the script read and write everything"),
    ("max_memory", Some("SIZE"), "Most memory, such as 8GiB"),
    ("max_ops", Some("N"), "Most operations of the script itself"),
    ("timeout", Some("TIME"), "Most time, such as 30s, 10m or 2h"),
    ("config", Some("FILE"), "Options from a TOML or JSON file, such as a run's settings.toml"),
    ("set", Some("KEY=VALUE"), "One option, or one key inside a map: --set lora.rank=8"),
    ("watch", None, "Run again when the script or a file it uses changes"),
    ("no_check", None, "Run without looking for mistakes first"),
    ("dashboard", None, "Curve, speed, memory and output on one screen while it runs"),
    ("profile", None, "Time by operation, shown at the end; --profile=FILE.json also writes a trace for Perfetto"),
    ("interactive", None, "Ctrl-C and breakpoint() pause the script and open a prompt; also -i"),
    ("break_on", Some("nan"), "Pause where a loss, a gradient norm or a logged number is NaN or infinite; implies -i"),
];

impl Declared {
    /// Reads `script` without running any of it.
    ///
    /// # Errors
    /// Text that does not parse, or `OPTIONS` that is no constant map of literals.
    pub fn read(script: &Script) -> Result<Declared, Box<Diagnostic>> {
        let sources = Sources::default();
        sources.insert(&script.name, &script.text, None);
        let ast = parsing::parse(&script.text)
            .map_err(|e| Box::new(diagnostics::from_parse_error(&e, &script.name, &sources)))?;
        let doc = ast.doc().lines().map(|l| l.trim_start_matches("//!")).map(|l| l.strip_prefix(' ').unwrap_or(l));
        let description = doc.collect::<Vec<_>>().join("\n").trim().to_string();

        let wrong = |message: &str, pos: Position| {
            let place =
                pos.line().map(|line| Place { file: script.name.clone(), line, column: pos.position().unwrap_or(0) });
            Box::new(Diagnostic::new("options", message).at(place, &sources))
        };
        let declaration = ast.statements().iter().find_map(|s| match s {
            Stmt::Var(var, flags, pos) if var.0.name == "OPTIONS" => Some((&var.1, *flags, *pos)),
            _ => None,
        });
        let Some((value, flags, pos)) = declaration else { return Ok(Declared { description, options: Vec::new() }) };
        if !flags.contains(ASTFlags::CONSTANT) {
            return Err(wrong("`OPTIONS` must be a constant: `const OPTIONS = #{ .. };`", pos));
        }
        let Expr::Map(map, _) = value else {
            return Err(wrong("`OPTIONS` must be a map: `const OPTIONS = #{ name: default, .. };`", value.position()));
        };
        let mut options = Vec::new();
        for (key, value) in &map.0 {
            if sandbox::FLAGS.contains(&key.name.as_str()) {
                // Who protects himself by a flag must be sure that the host understands it.
                return Err(wrong(&format!("`{}` is an option of the host: choose another name", key.name), key.pos));
            }
            let default = literal(value).ok_or_else(|| {
                let text = format!(
                    "the default of option `{}` must be a literal: it is read without running the script",
                    key.name
                );
                wrong(&text, value.position())
            })?;
            let help = key.pos.line().and_then(|l| script.text.lines().nth(l - 1)).map(comment).unwrap_or_default();
            options.push(OptionSpec { name: key.name.to_string(), kind: default.clone(), default, help });
        }
        Ok(Declared { description, options })
    }

    /// Puts the defaults of a recipe in place of the script's.
    ///
    /// # Errors
    /// An option that the script does not declare, or a value of another type.
    pub fn set_defaults(&mut self, manifest: &Manifest) -> Result<(), Box<Diagnostic>> {
        for (key, value) in &manifest.options {
            let Some(at) = self.options.iter().position(|o| o.name == *key) else {
                let error = unknown_name("option", key, self.options.iter().map(|o| o.name.as_str()));
                let mut problem = manifest.wrong(key, error.to_string());
                problem.help.extend(error.help().map(str::to_string));
                return Err(problem);
            };
            let spec = &mut self.options[at];
            spec.default = values::from_json(&spec.kind, &spec.default, value.clone())
                .map_err(|e| manifest.wrong(key, format!("option `{key}` is {value}; expected {e}")))?;
        }
        Ok(())
    }

    /// The values of `args`, the words after the script's name; `host` are the flags that stood before it.
    ///
    /// # Errors
    /// An unknown option, a missing value, a value of the wrong type.
    pub fn parse(&self, args: &[String], host: HostFlags) -> Result<Given, Box<Diagnostic>> {
        let options = self.options.iter().map(|o| (o.name.as_str().into(), o.default.clone())).collect();
        let by = RunBy::default();
        let mut given = Given { options, args: Vec::new(), named: Vec::new(), host, help: false, by };
        let by = self.read_files(&mut given, args)?;
        for pair in given.host.set.clone() {
            self.set_pair(&mut given, &pair)?;
        }
        let mut words = args.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                given.args.extend(words.by_ref().map(str::to_string));
            } else if word == "--help" || word == "-h" {
                given.help = true;
            } else if word == "-i" {
                given.host.interactive = true;
            } else if let Some(option) = word.strip_prefix("--") {
                let (name, inline) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
                self.set(&mut given, name, Value { inline, words: &mut words })?;
            } else if word.starts_with('-') && word.len() > 1 && word.parse::<f64>().is_err() {
                return Err(self.unknown(word));
            } else {
                given.args.push(word.to_string());
            }
        }
        if given.args.is_empty() {
            given.args.clone_from(&by.args);
        }
        given.host.device = given.host.device.or_else(|| by.device.clone());
        given.host.threads = given.host.threads.or(by.threads);
        given.by = by;
        Ok(given)
    }

    /// Sets the option `name`: the script's, and the host's of the same name.
    fn set<'a>(
        &self,
        given: &mut Given,
        name: &str,
        value: Value<'a, '_, impl Iterator<Item = &'a str>>,
    ) -> Result<(), Box<Diagnostic>> {
        let key = name.replace('-', "_");
        let boolean = |w: &str| matches!(w, "true" | "false");
        let not_option = |w: &str| !w.starts_with("--");
        let missing = || usage(format!("option `--{name}` needs a value"));
        if let Some(spec) = self.options.iter().find(|o| o.name == key) {
            let current = given.options.get(key.as_str()).unwrap_or(&spec.default);
            let parsed = if spec.kind.is_bool() {
                match value.take(boolean) {
                    None => Ok(Dynamic::TRUE),
                    Some(text) => values::parse(&spec.kind, current, &text).map_err(|e| (text, e)),
                }
            } else {
                let text = value.take(not_option).ok_or_else(missing)?;
                given.named.push((key.clone(), text.clone()));
                values::parse(&spec.kind, current, &text).map_err(|e| (text, e))
            };
            let parsed = parsed.map_err(|(text, e)| usage(format!("option `--{name}` is `{text}`; expected {e}")))?;
            // A script may give a host's name a meaning of its own, such as `resume: "runs/x"`: then it is not the host's.
            let _ = set_host(&mut given.host, &key, &parsed.to_string());
            given.options.insert(key.into(), parsed);
            return Ok(());
        }
        if let Some(positive) = key.strip_prefix("no_")
            && self.options.iter().any(|o| o.name == positive && o.kind.is_bool())
        {
            given.options.insert(positive.into(), Dynamic::FALSE);
            return set_host(&mut given.host, positive, "false");
        }
        if key == "set" {
            return self.set_pair(given, &value.take(not_option).ok_or_else(missing)?);
        }
        match HOST_FLAGS.iter().find(|(flag, ..)| *flag == key) {
            Some((_, None, _)) => set_host(&mut given.host, &key, &value.take(boolean).unwrap_or("true".into())),
            Some(_) => set_host(&mut given.host, &key, &value.take(not_option).ok_or_else(missing)?),
            None => Err(self.unknown(&format!("--{name}"))),
        }
    }

    fn unknown(&self, word: &str) -> Box<Diagnostic> {
        let names = self.options.iter().map(|o| o.name.as_str()).chain(HOST_FLAGS.iter().map(|(name, ..)| *name));
        let dashed: Vec<String> = names.map(|n| format!("--{}", n.replace('_', "-"))).collect();
        let near = explain::near(&word.replace('_', "-"), dashed.iter().map(String::as_str));
        Box::new(Diagnostic::new("usage", format!("unknown option `{word}`")).with_help(match near {
            Some(name) => format!("did you mean `{name}`?"),
            None if self.options.is_empty() => "this script declares no options".into(),
            None => format!("the script's options: {}", dashed[..self.options.len()].join(" ")),
        }))
    }

    /// The text of `--help` for the script that is run as `host run NAME`.
    pub fn help(&self, name: &str) -> String {
        let mut text = String::new();
        if !self.description.is_empty() {
            text += &format!("{}\n\n", self.description);
        }
        text += &format!("Usage: host run {name} [OPTIONS] [ARGS]\n");
        let row = |spec: &OptionSpec| {
            let flag = spec.name.replace('_', "-");
            let left = match spec.default.as_bool() {
                Ok(true) => format!("--no-{flag}"),
                Ok(false) => format!("--{flag}"),
                Err(_) => format!("--{flag} <{}>", values::placeholder(&spec.kind)),
            };
            let default = match spec.default.is_unit() || spec.default.is_bool() {
                true => String::new(),
                false => format!("[default: {}]", values::show(&spec.default)),
            };
            (left, [spec.help.as_str(), &default].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" "))
        };
        if !self.options.is_empty() {
            text += &format!("\nOptions of this script:\n{}", table(self.options.iter().map(row).collect()));
        }
        let host = HOST_FLAGS.iter().filter(|(name, ..)| !self.options.iter().any(|o| o.name == *name));
        let host = host.map(|(name, value, help)| {
            let flag = name.replace('_', "-");
            (value.map_or(format!("--{flag}"), |v| format!("--{flag} <{v}>")), help.to_string())
        });
        text.push_str(&format!("\nOptions of the host:\n{}", table(host.collect()).trim_end()));
        text
    }
}

/// Where an option's value may stand: behind its `=`, or in the next word.
struct Value<'a, 'w, W: Iterator> {
    inline: Option<&'a str>,
    words: &'w mut Peekable<W>,
}

impl<'a, W: Iterator<Item = &'a str>> Value<'a, '_, W> {
    /// The value, or the next word if it may be one.
    fn take(self, may_be: impl Fn(&str) -> bool) -> Option<String> {
        self.inline.or_else(|| self.words.next_if(|w| may_be(w))).map(str::to_string)
    }
}

fn table(rows: Vec<(String, String)>) -> String {
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0).min(32);
    rows.iter().map(|(left, right)| format!("  {left:width$}  {right}").trim_end().to_string() + "\n").collect()
}

/// A word that stands where the host's own options may, and is none of them.
pub fn unknown_host_flag(word: &str) -> Box<Diagnostic> {
    let dashed: Vec<String> = HOST_FLAGS.iter().map(|(name, ..)| format!("--{}", name.replace('_', "-"))).collect();
    let problem = Diagnostic::new("usage", format!("unknown option `{word}`"));
    Box::new(problem.with_help(match explain::near(word, dashed.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "the options of a script stand behind its name".into(),
    }))
}

fn set_host(host: &mut HostFlags, key: &str, text: &str) -> Result<(), Box<Diagnostic>> {
    let boolean = || match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(usage(format!("option `--{key}` is `{text}`; expected true or false"))),
    };
    match key {
        "device" => host.device = Some(text.to_string()),
        "resume" => host.resume = boolean()?,
        "quiet" => host.quiet = boolean()?,
        "watch" => host.watch = boolean()?,
        "config" | "set" => {} // read before, and as it came
        "no_check" => host.no_check = boolean()?,
        "dashboard" => host.dashboard = boolean()?,
        "profile" => match text {
            "true" => host.profile = Some(String::new()),
            "false" => host.profile = None,
            file => host.profile = Some(file.into()),
        },
        "interactive" => host.interactive = boolean()?,
        "break_on" if text == "nan" => host.break_on_nan = true,
        "break_on" => return Err(usage(format!("option `--break-on` is `{text}`; expected nan"))),
        "threads" => match text.parse() {
            Ok(n @ 1..=4096) => host.threads = Some(n),
            _ => return Err(usage(format!("option `--threads` is `{text}`; expected a count from 1 on"))),
        },
        _ => host.sandbox.set(key, text)?,
    }
    Ok(())
}

fn usage(message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::new("usage", message))
}

/// The value of `expr` if it calls nothing and names nothing.
fn literal(expr: &Expr) -> Option<Dynamic> {
    let ast = AST::new([Stmt::Expr(Box::new(expr.clone()))], Module::new());
    parsing::grammar().eval_ast::<Dynamic>(&ast).ok()
}

/// The text of the comment at the end of `line`.
fn comment(line: &str) -> String {
    parsing::line_comment(line).map_or("", |at| line[at..].trim_start_matches('/').trim()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = r#"
//! Trains.
// not this
const OPTIONS = #{
    model: "builtin:x",   // where it is // really
    lr: -1e-4,
    steps: 2 * 50, names: ["q_proj"],  // which
    shuffle: true, verbose: false,
    init: (),
};
undefined_function();
"#;

    fn declared(text: &str) -> Result<Declared, Box<Diagnostic>> {
        Declared::read(&Script { name: "t.rhai".into(), text: text.into(), folder: None })
    }

    fn parse(line: &str) -> Result<Given, Box<Diagnostic>> {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        declared(SCRIPT).unwrap().parse(&words, HostFlags::default())
    }

    /// Protects `--help`: order, defaults and comments come from the text, and nothing of the script runs.
    #[test]
    fn options_are_read_from_the_text() {
        let d = declared(SCRIPT).unwrap();
        assert_eq!(d.description, "Trains.");
        let shown: Vec<_> =
            d.options.iter().map(|o| format!("{}={}|{}", o.name, values::show(&o.default), o.help)).collect();
        let expected = [
            "model=builtin:x|where it is // really",
            "lr=-1e-4|",
            "steps=100|which",
            "names=q_proj|which",
            "shuffle=true|",
            "verbose=false|",
            "init=|",
        ];
        assert_eq!(shown, expected);
    }

    /// Protects the command line: dashes, `=`, flags, negatives, positional words, the host's own flags.
    #[test]
    fn command_lines_are_understood() {
        let g =
            parse("in.json --lr -3e-4 --names=a,b --no-shuffle --verbose out --device cuda:1 --resume --init 7 -- --x")
                .unwrap();
        assert_eq!(g.args, ["in.json", "out", "--x"]);
        assert_eq!(
            format!("{:?}", Dynamic::from(g.options)),
            r#"#{"init": 7, "lr": -0.0003, "model": "builtin:x", "names": ["a", "b"], "shuffle": false, "steps": 100, "verbose": true}"#
        );
        assert_eq!(g.host, HostFlags { device: Some("cuda:1".into()), resume: true, ..HostFlags::default() });
    }

    /// Protects against options that are silently ignored or mistyped.
    #[test]
    fn wrong_command_lines_are_errors() {
        let text = |line: &str| {
            let d = parse(line).unwrap_err();
            format!("{} | {}", d.message, d.help.join(" "))
        };
        assert_eq!(text("--step 3"), "unknown option `--step` | did you mean `--steps`?");
        assert_eq!(text("--steps 3.5"), "option `--steps` is `3.5`; expected an int | ");
        assert_eq!(text("--steps --verbose"), "option `--steps` needs a value | ");
        assert_eq!(text("--verbose=maybe"), "option `--verbose` is `maybe`; expected true or false | ");
        assert!(text("-x").starts_with("unknown option `-x` | the script's options: --model --lr"));
    }

    /// Protects the promise that nothing runs: a default that calls something is refused with its place.
    #[test]
    fn defaults_are_literals() {
        let d = declared("const OPTIONS = #{\n  lr: rand() };").unwrap_err();
        assert_eq!(d.message, "the default of option `lr` must be a literal: it is read without running the script");
        assert_eq!(d.place.unwrap().to_string(), "t.rhai:2:7");
        assert!(declared("let OPTIONS = #{};").is_err() && declared("const OPTIONS = 3;").is_err());
    }
}
