//! Text that would parse in Python, and how it is written here.

use crate::script::{
    diagnostics::Place,
    line::{self, Line},
    sources::Sources,
    tokens::Kind,
};

/// How something is written here.
pub(super) struct Advice {
    pub(super) help: &'static str,
    /// The word that does not belong, where the parser stumbled over a later one.
    pub(super) word: Option<(Place, String)>,
}

/// The advice for a text where the token `missing` was expected `at` a place, or something else was wrong.
pub(super) fn advice(missing: Option<&str>, at: &Place, sources: &Sources) -> Option<Advice> {
    let line = line::line(at, sources)?;
    let (i, help) = found(missing, &line)?;
    let word = i.map(|i| (Place { column: line.column(i), ..at.clone() }, line.word(i).to_string()));
    Some(Advice { help, word })
}

/// The token that is to blame, where it is not the one at the place, and what to write.
fn found(missing: Option<&str>, line: &Line) -> Option<(Option<usize>, &'static str)> {
    let i = line.at;
    let near = |what: &[&str]| (i.saturating_sub(2)..=i + 2).find(|j| what.contains(&line.word(*j)));
    if let Some(help) = statement(line) {
        // `let`, `for` and `import` are words of ours; what follows is not.
        let ours = ["let", "for", "import", "print"].contains(&line.word(0));
        return Some((if ours { None } else { Some(0) }, help));
    }
    for (words, help) in WORDS {
        if let Some(j) = near(words) {
            return Some((Some(j), help));
        }
    }
    if let Some(j) = line.find("lambda") {
        return Some((Some(j), "a closure is written `|x| x + 1`"));
    }
    if let Some(j) = line.prefixed_string() {
        return Some((Some(j), "text with values in it is written in backticks: `loss ${loss}`"));
    }
    let (word, inside) = (line.word(i), line.around());
    let here = match (missing, word, inside) {
        _ if line.quoted_text() => "strings are in double quotes; in single quotes stands one character",
        (_, ",", Some(("[", Some("index")))) => "several indices are one array: `x[[1, 2]]`",
        (Some(")"), ",", Some(("(", None))) => "there are no tuples: an array is `[1, 2]`",
        (_, "=", Some(("(", _))) if line.word(0) == "fn" => {
            "parameters have no defaults: take a map of options, and read `options.get(\"lr\") ?? 1e-3`"
        }
        (_, "=", Some(("(", Some("call")))) => "options are a map: `f(x, #{ lr: 1e-3 })`",
        (_, "=", Some(("#{", _))) => "keys and values of a map are joined by `:`",
        (_, "for", Some(("[", _))) => "`list.map(|x| x * 2)` makes one array of another",
        (Some("{"), "=", _) => "`=` assigns; compare with `==`",
        (Some("{"), ..) => "a block is in braces: `if c { .. }`, `for i in 0..3 { .. }`",
        (_, ":", Some(("{", _))) if line.is_key(i.wrapping_sub(1)) => "a map is written `#{ a: 1 }`",
        (_, ":", _) => "types are not written: `let x = 1;`, `fn f(x) { .. }`",
        (Some(";"), "if", _) if line.find("else").is_some() => "a choice is an expression: `if c { a } else { b }`",
        _ => return None,
    };
    Some((None, here))
}

/// Words and symbols that mean something elsewhere.
const WORDS: &[(&[&str], &str)] = &[
    (&["elif", "elseif"], "it is written `else if`"),
    (&["and"], "it is written `&&`"),
    (&["or"], "it is written `||`"),
    (&["not"], "it is written `!x`, or `!(x in list)`"),
    (&["is"], "it is written `==`"),
    (&["++"], "it is written `x += 1`"),
    (&["--"], "it is written `x -= 1`"),
    (&["==="], "it is written `==`"),
    (&["!==", "<>"], "it is written `!=`"),
    (&[":="], "it is written `=`"),
    (&["?"], "a choice is an expression: `if c { a } else { b }`"),
    (&["->"], "the types of results are not written"),
    (&["=>", "function"], "a closure is written `|x| x + 1`"),
    (&["except", "finally"], "errors are caught by `try { .. } catch (e) { .. }`"),
    (&["#"], "comments begin with `//`"),
    (&["match"], "cases are written `switch x { 1 => a, _ => b }`"),
];

/// The advice for a line that begins with a word of another language.
fn statement(line: &Line) -> Option<&'static str> {
    let next = line.word(1);
    Some(match line.word(0) {
        "import" if line.kind(1) == Some(Kind::Word) => IMPORT,
        "import" if line.kind(1) == Some(Kind::Literal) && line.word(2) != "as" => {
            "a module's name in the script follows `as`: `import \"std/train\" as train;`"
        }
        "from" if line.kind(1) == Some(Kind::Word) => IMPORT,
        "def" | "function" | "func" => "functions are written `fn name(a, b) { .. }`",
        "class" | "struct" => "there are no classes: a map `#{ .. }` holds values and closures",
        "print" if next != "(" => "print is a function: `print(x)`",
        "with" => "`no_grad { .. }` and `autocast \"bf16\" { .. }` are blocks of their own",
        "async" | "await" | "yield" | "del" | "pass" | "global" | "nonlocal" => "there is no such statement here",
        "raise" => "errors are thrown: `throw \"why\";`",
        "try" if next == ":" => "errors are caught by `try { .. } catch (e) { .. }`",
        "assert" if next != "(" => "check with `if !ok { throw \"why\"; }`; tests have `std/test`",
        "var" | "val" | "auto" => "variables are declared with `let`",
        "let" if next == "mut" => "every variable of `let` can be changed",
        "let" if line.word(2) == "," => "one name at a time: `let r = f(); let a = r[0];`",
        "let" if line.word(2) == "-" => "names consist of letters, digits and `_`",
        "for" if next == "(" && line.word(3) == "=" => "count with `for i in 0..3 { .. }`",
        "for" if line.word(2) == "," => "a value and its number are in parentheses: `for (x, i) in list { .. }`",
        "@" => "there are no decorators; `no_grad { .. }` is a block",
        _ => return None,
    })
}

/// How modules are imported.
pub(super) const IMPORT: &str =
    "modules are imported by their names in quotes, `import \"std/train\" as train;`; tensors need no import";
