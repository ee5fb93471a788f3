//! Functions under names of their own, so that each script calls its own.
//!
//! Rhai looks a function up by name and number of parameters, in all scripts and modules that are under way, innermost
//! first, and remembers what it found for all of them: of two modules with a helper of one name, one calls the other's; a
//! closure that a module calls finds the module's functions before those of its own script. So a function gets a second
//! name that depends on its script, and the calls in that script's text use it. [`plain`] takes it off again.

use super::tokens::{self, Kind, Token};
use rhai::{AST, Engine, FnAccess, Module, ParseError, ScriptFuncDef};
use std::cell::RefCell;
use std::collections::HashSet;

/// What stands between a function's name and the mark of its script.
const MARK: &str = "__x";
/// Hexadecimal digits behind it.
const DIGITS: usize = 8;

/// Whether a script is run, or imported by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nobody else calls its functions by name.
    Main,
    /// Its public functions keep their plain names, too.
    Module,
}

struct Renaming {
    /// Line and column, from 1, of the names to change.
    places: HashSet<(usize, usize)>,
    suffix: String,
}

thread_local! {
    /// That of the text that is being compiled on this thread.
    static RENAMING: RefCell<Option<Renaming>> = const { RefCell::new(None) };
}

/// Prepares `engine` for [`compile`].
pub(super) fn install(engine: &mut Engine) {
    #[allow(deprecated)] // "volatile", says Rhai; its version is pinned
    engine.on_parse_token(|token, pos, _| {
        let rhai::Token::Identifier(name) = &token else { return token };
        let place = (pos.line().unwrap_or(0), pos.position().unwrap_or(0));
        let suffix = RENAMING
            .with_borrow(|renaming| renaming.as_ref().filter(|r| r.places.contains(&place)).map(|r| r.suffix.clone()));
        match suffix {
            Some(suffix) => rhai::Token::Identifier(Box::new(format!("{name}{suffix}").into())),
            None => token,
        }
    });
}

/// Compiles `text`, which diagnostics call `name`.
pub(super) fn compile(engine: &Engine, name: &str, text: &str, role: Role) -> Result<AST, ParseError> {
    let mut plain_ast = engine.compile(text)?;
    plain_ast.set_source(name);
    let own: HashSet<(&str, usize)> =
        plain_ast.iter_fn_def().filter(|f| f.this_type.is_none()).map(|f| (f.name.as_str(), f.params.len())).collect();
    let found = scan(text, &own);
    if found.places.is_empty() {
        return Ok(plain_ast);
    }
    let suffix = format!("{MARK}{:0DIGITS$x}", fnv(name.as_bytes()));
    RENAMING.set(Some(Renaming { places: found.places, suffix: suffix.clone() }));
    let renamed = engine.compile(text);
    RENAMING.set(None);
    let renamed = renamed?;

    let mut functions = Module::new();
    for def in renamed.iter_fn_def() {
        functions.set_script_fn(def.clone());
        let Some(short) = def.name.strip_suffix(suffix.as_str()) else { continue };
        let exported = role == Role::Module && def.access == FnAccess::Public;
        if exported || found.mentioned.contains(short) {
            functions.set_script_fn(ScriptFuncDef { name: short.into(), ..(**def).clone() });
        }
    }
    functions.set_id(name);
    Ok(AST::new_with_source(renamed.statements().iter().cloned(), functions, name))
}

/// The name that a function has in its script's text.
pub fn plain(name: &str) -> &str {
    let cut = name.len().saturating_sub(MARK.len() + DIGITS);
    let marked = name.is_char_boundary(cut)
        && cut > 0
        && name[cut..].strip_prefix(MARK).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if marked { &name[..cut] } else { name }
}

struct Found {
    places: HashSet<(usize, usize)>,
    /// Names that are used otherwise: as a method, or in a string as for `Fn("name")`.
    mentioned: HashSet<String>,
}

/// Where `text` defines and calls the functions `own`, by name and number of parameters.
fn scan(text: &str, own: &HashSet<(&str, usize)>) -> Found {
    let tokens = tokens::cut(text);
    let word = |i: usize| tokens.get(i).map_or("", |t: &Token| &text[t.start..t.end]);
    let mut found = Found { places: HashSet::new(), mentioned: HashSet::new() };
    let mut places = Places::new(text);
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Literal => {
                found.mentioned.insert(word(i).trim_matches(['"', '`']).to_string());
            }
            Kind::Word if word(i + 1) == "(" => {
                let before = if i == 0 { "" } else { word(i - 1) };
                match before {
                    "." | "?." => drop(found.mentioned.insert(word(i).to_string())),
                    "::" => {}
                    _ if own.contains(&(word(i), arguments(&tokens, i + 1, &word))) => {
                        found.places.insert(places.of(token.start));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    found
}

/// How many arguments, or parameters, stand in the parentheses that open at token `open`.
fn arguments<'a>(tokens: &[Token], open: usize, word: &impl Fn(usize) -> &'a str) -> usize {
    let (mut depth, mut count, mut empty) = (0usize, 0, true);
    let mut i = open;
    while i < tokens.len() {
        match tokens[i].kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        let outermost = depth == 1 && i > open;
        if outermost && word(i) == "," {
            count += usize::from(!empty);
            empty = true;
        } else if outermost && empty && word(i) == "|" {
            // A closure's parameters have commas of their own.
            empty = false;
            i += 1;
            while i < tokens.len() && word(i) != "|" {
                i += 1;
            }
        } else if i > open {
            empty = false;
        }
        i += 1;
    }
    count + usize::from(!empty)
}

/// Turns byte offsets, in rising order, into lines and columns.
struct Places<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    column: usize,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Places { text, at: 0, line: 1, column: 1 }
    }

    fn of(&mut self, offset: usize) -> (usize, usize) {
        for c in self.text[self.at..offset].chars() {
            (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.at = offset;
        (self.line, self.column)
    }
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(text: &str) -> Vec<(usize, usize)> {
        let engine = Engine::new();
        let ast = engine.compile(text).unwrap();
        let own: Vec<_> = ast.iter_fn_def().map(|f| (f.name.to_string(), f.params.len())).collect();
        let own = own.iter().map(|(n, p)| (n.as_str(), *p)).collect();
        let mut places: Vec<_> = scan(text, &own).places.into_iter().collect();
        places.sort();
        places
    }

    /// Protects meaning: definitions and plain calls of that many arguments are renamed, and nothing else.
    #[test]
    fn finds_definitions_and_calls() {
        assert_eq!(
            renamed("fn f(a, b) { 1 }\nf(1, 2);\nf(1);\nx.f(1, 2);\nm::f(1, 2);\nlet f = #{ f: 1 };"),
            [(1, 4), (2, 1)]
        );
        assert_eq!(
            renamed("fn f(a) { 1 }\nf(|x, y| x);\nf([1, 2]);\nf(g(1, 2),\n);\nf(|| 1);"),
            [(1, 4), (2, 1), (3, 1), (4, 1), (6, 1)]
        );
        assert_eq!(renamed("fn f() { 1 }\nprint(`é ${f()} f()`); // f()\n\"f()\""), [(1, 4), (2, 12)]);
    }

    /// Protects names in messages.
    #[test]
    fn plain_names_come_back() {
        let name = format!("brief{MARK}{:08x}", fnv(b"std/x"));
        assert_eq!(plain(&name), "brief");
        for name in ["brief", "é", "a__x", "__x01234567", "f__x0123456g", "anon$1234"] {
            assert_eq!(plain(name), name);
        }
    }

    /// Protects scripts: the engine runs the renamed text as it would the plain one.
    #[test]
    fn renamed_scripts_run() {
        let mut engine = Engine::new();
        install(&mut engine);
        let text = "fn double(x) { x * 2 } fn twice(f, x) { f.call(f.call(x)) } fn shown(x) { this_is(x) }
            fn this_is(x) { x } twice(Fn(\"double\"), 3) + [1, 2].map(|x| double(x))[1] + shown(100)";
        for role in [Role::Main, Role::Module] {
            let ast = compile(&engine, "a.rhai", text, role).unwrap();
            assert_eq!(engine.eval_ast::<i64>(&ast).unwrap(), 116);
        }
    }
}
