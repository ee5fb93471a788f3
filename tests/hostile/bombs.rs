//! Scripts that ask for too much: memory, stack, time, absurd numbers.

use crate::child;
use crate::cli_support::Dir;

/// Memory that the scripts below are allowed, and what the process may take with it: the quarter above the limit where
/// allocations begin to fail, the script's stack of 256 MiB, the program itself.
const ALLOWED: &str = "--max-memory=128MiB";
const PEAK_MIB: i64 = 480;

/// Most bytes that an error may print.
const WORDS: usize = 20_000;

struct Bomb {
    name: &'static str,
    script: &'static str,
    /// Part of what is said; alternatives are separated by `|`.
    says: &'static str,
}

const fn bomb(name: &'static str, script: &'static str, says: &'static str) -> Bomb {
    Bomb { name, script, says }
}

/// What takes memory.
const MEMORY: &[Bomb] = &[
    bomb("a string doubled", "let s = \"a\"; loop { s += s; }", "length of string is over the limit"),
    bomb("a string padded", "let s = \"a\"; s.pad(1000000000000, 'x');", "length of string is over the limit"),
    bomb(
        "many strings in an array",
        "let s = \"\"; s.pad(100000, 'x'); let a = []; loop { a.push(s + a.len()); }",
        "length of string is over the limit",
    ),
    bomb("an array padded", "let a = []; a.pad(1000000000000, 0);", "size of array/BLOB is over the limit"),
    bomb("an array doubled", "let a = [0]; loop { a += a; }", "size of array/BLOB is over the limit"),
    bomb("a blob", "let b = blob(1000000000000);", "size of array/BLOB is over the limit"),
    bomb(
        "a map that grows",
        "let s = \"\"; s.pad(20000, 'x'); let m = #{}; let i = 0; loop { m[s + i] = i; i += 1; }",
        "size of object map is over the limit|are allowed",
    ),
    bomb(
        "many values, each small enough",
        "fn keep(n) { let a = []; a.pad(500000, 0); keep(n + 1); } keep(0);",
        "are allowed|nested too deeply",
    ),
    bomb("a function that binds itself", "let f = Fn(\"nothing\"); loop { f = f.curry(f); }", "are allowed|allocation"),
    bomb(
        "closures around closures",
        "fn wrap(f) { || f } let f = || 0; loop { f = wrap(f); }",
        "are allowed|overflowed its stack",
    ),
    bomb("tensors kept", "let kept = []; loop { kept.push(zeros([1024, 1024])); }", "out of memory"),
    bomb("a graph kept", "let x = ones([100000], #{ requires_grad: true }); loop { x = x.exp(); }", "out of memory"),
    bomb("a shape", "randn([1000000000, 1000000000])", "randn: a tensor of shape"),
    bomb("a shape that overflows", "zeros([4611686018427387904, 4])", "more bytes than can be counted"),
    bomb("a tensor broadcast", "ones([1]).broadcast_to([1000000, 1000000]).exp()", "out of memory"),
    bomb("a product of matrices", "ones([100000, 1]) @ ones([1, 100000])", "out of memory"),
    bomb("a range of numbers", "arange(0.0, 1e18, 1e-3)", "arange"),
    bomb("rows gathered", "let i = zeros([15000000]).to(\"i64\"); ones([2, 100]).index_select(0, i)", "out of memory"),
    bomb("an adapter's rank", "llama::load(\"builtin:stories260K\").inject_lora(#{ rank: 1000000000000 })", "rank"),
    bomb(
        "a model's width",
        "llama::from_config(#{ hidden_size: 1000000000, num_hidden_layers: 1000000000, num_attention_heads: 8, \
         intermediate_size: 1000000000, vocab_size: 1000000000 })",
        "out of memory|hidden_size|num_hidden_layers",
    ),
    bomb(
        "a text to encode",
        "let m = llama::load(\"builtin:stories260K\"); let s = \"\"; s.pad(4000000, 'a'); m.tokenizer.encode(s)",
        "encoding a text of 4000000 bytes needs 244 MiB",
    ),
    bomb(
        "a template that repeats",
        "let t = \"\"; for i in 0..100000 { t += \"{instruction}\"; } t += \"{output}\"; let s = \"\"; s.pad(100000, 'x'); \
         print(prompt(#{ instruction: s, output: s }, t));",
        "template: the text of a record needs 9536 MiB",
    ),
];

/// What takes stack.
const STACK: &[Bomb] = &[
    bomb("a function that calls itself", "fn f(n) { f(n + 1) } f(0)", "calls are nested too deeply"),
    bomb("through a closure", "fn f(n) { let g = |x| f(x + 1); g.call(n) } f(0)", "calls are nested too deeply"),
    bomb("through map", "fn f(n) { [n].map(|x| f(x + 1)) } f(0)", "calls are nested too deeply"),
    bomb(
        "through sort",
        "fn f(n) { let b = [2, 1]; b.sort(|x, y| f(n + 1)); 0 } f(0); throw \"end\"",
        "nested too deeply|end",
    ),
    bomb(
        "through checkpoint",
        "fn f(x) { checkpoint(|y| f(y), x) } f(ones([2], #{ requires_grad: true }))",
        "calls are nested too deeply",
    ),
    bomb("through eval", "let code = \"eval(code)\"; eval(code)", "nested too deeply"),
    bomb(
        "an array printed, that holds itself by a closure",
        "let a = []; let f = || a; a.push(f); print(a.len()); print(a); throw \"end\"",
        "end|in use by the closure|nested too deeply",
    ),
    bomb(
        "JSON in JSON",
        "let s = \"\"; s.pad(2000000, '['); parse_json(\"{\\\"a\\\":\" + s)",
        "recursion limit exceeded",
    ),
];

/// What takes time, each with `--timeout=2s`.
const TIME: &[Bomb] = &[
    bomb("an empty loop", "loop { }", "stopped after 2s, the time that --timeout allows"),
    bomb("a range", "let n = 0; for i in 0..9223372036854775807 { n += 1; }", "stopped after 2s"),
    bomb("a loop that catches", "loop { try { zeros([-1]); } catch { } }", "stopped after 2s"),
    bomb(
        "a loop that catches in a function",
        "fn f() { try { loop { } } catch { f() } } loop { try { f(); } catch { } }",
        "stopped after 2s",
    ),
    bomb("arrays in arrays", "let a = []; loop { a = [[[[[[[[[[a]]]]]]]]]]; }", "stopped after 2s"),
    bomb("sleep", "sleep(1000000)", "stopped after 2s"),
    bomb("sleep for ever", "sleep(1.0 / 0.0)", "stopped after 2s"),
    bomb("native work", "let a = randn([400, 400]); loop { a = (a @ a) * 0.001; }", "stopped after 2s"),
    bomb(
        "a generation",
        "let m = llama::load(\"builtin:stories260K\"); loop { m.generate(\"Once\", #{ max_new_tokens: 400 }); }",
        "stopped after 2s",
    ),
    bomb(
        "native work that looks at no clock",
        "let s = \"\"; for i in 0..100000 { s += \"ab cd \"; } metrics::rouge(s, s + \"x\")",
        "stopped after 2s, the time that --timeout allows, in the middle of native work",
    ),
    bomb(
        "a long sort",
        "let a = []; for i in 0..200000 { a.push(i * 7919 % 1000003); } loop { a.sort(|x, y| y - x); a.sort(|x, y| x - y); }",
        "stopped after 2s",
    ),
];

/// Numbers that make no sense.
const NUMBERS: &[Bomb] = &[
    bomb("a negative size", "zeros([-1, 3])", "-1"),
    bomb("an overflow", "let x = 9223372036854775807; x + 1", "overflow"),
    bomb("the one quotient that overflows", "let x = -9223372036854775807 - 1; x / -1", "overflow"),
    bomb("nothing to divide by", "let x = 0; 1 % x", "zero"),
    bomb("no rank", "llama::load(\"builtin:stories260K\").inject_lora(#{ rank: -1 })", "rank"),
    bomb("dropout that is no number", "ones([2, 2]).dropout(0.0 / 0.0)", "dropout"),
    bomb("a step that is no number", "arange(0.0, 1.0, 0.0 / 0.0)", "arange"),
    bomb(
        "tokens without end",
        "llama::load(\"builtin:stories260K\").generate(\"x\", #{ max_new_tokens: -5 })",
        "max_new_tokens",
    ),
    bomb(
        "batches of none",
        "let m = llama::load(\"builtin:stories260K\"); data::load(\"builtin:seed-tasks\").take(2)\
         .tokenize(m.tokenizer, #{ template: \"{instruction}{output}\" }).batches(#{ size: 0 })",
        "size",
    ),
    bomb("progress backwards", "progress(-1, \"x\")", "counts steps"),
    bomb("a huge word thrown", "let s = \"x\"; s.pad(5000000, 'x'); throw s", "xxx .. (5000000 bytes in all)"),
    bomb("a huge value thrown", "let a = []; a.pad(300000, 7); throw a", "bytes in all)"),
    bomb("a huge key", "let s = \"x\"; s.pad(1000000, 'x'); let o = #{}; o[s] = 1; zeros([2], o)", "bytes in all)"),
    bomb("a module that imports itself", "import \"t\" as t;", "cyclic import: t.rhai -> t.rhai"),
];

fn host(script: &str, flags: &[&str]) -> child::Ended {
    let dir = Dir::with(&[("t.rhai", script)]);
    let mut args = vec!["run", "--no-check", ALLOWED];
    args.extend(flags);
    args.push("t.rhai");
    child::run(&dir, &args)
}

/// What is wrong with how `bomb` ended; `None`: nothing.
fn fault(bomb: &Bomb, flags: &[&str]) -> Option<String> {
    let ended = host(bomb.script, flags);
    let said = bomb.says.split('|').any(|part| ended.err.contains(part));
    let fine = ended.code == Some(1) && said && ended.peak_mib < PEAK_MIB && ended.written < WORDS;
    let err: String = ended.err.chars().take(400).collect();
    let what = format!(
        "{}: code {:?}, {} MiB, {:.1?}, {} bytes written\n    {}",
        bomb.name,
        ended.code,
        ended.peak_mib,
        ended.took,
        ended.written,
        err.trim().replace('\n', "\n    ")
    );
    if std::env::var_os("HOST_SHOW_BOMBS").is_some() {
        eprintln!("{what}");
    }
    (!fine).then_some(what)
}

#[track_caller]
fn all_fail_well(bombs: &[Bomb], flags: &[&str]) {
    let faults: Vec<String> = bombs.iter().filter_map(|b| fault(b, flags)).collect();
    assert!(faults.is_empty(), "{} of {} ended badly:\n  {}", faults.len(), bombs.len(), faults.join("\n  "));
}

/// Protects the machine's memory, and the process from the kernel's and the allocator's way of refusing it.
#[test]
fn memory_is_bounded() {
    all_fail_well(MEMORY, &["--timeout=60s"]);
}

/// Protects the process from a stack overflow, which would kill it without a word.
#[test]
fn the_stack_is_bounded() {
    all_fail_well(STACK, &["--timeout=30s"]);
}

/// Protects whoever waits: time ends everything, scripts that catch and native loops included.
#[test]
fn time_is_bounded() {
    all_fail_well(TIME, &["--timeout=2s"]);
}

/// Protects against absurd numbers: each is named, and a message is never as long as what it complains about.
#[test]
fn absurd_numbers_are_errors() {
    all_fail_well(NUMBERS, &["--timeout=30s"]);
}

/// Protects `--max-ops`: it counts the script's own operations, and cannot be caught.
#[test]
fn operations_are_bounded() {
    let ended = host("let n = 0; loop { try { n += 1; } catch { } }", &["--max-ops=100000"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("more operations than allowed"), "{ended:?}");
}

/// Protects the parser: text that nests without end, in every way that it can.
#[test]
fn nested_text_is_an_error() {
    let n = 100_000;
    let texts = [
        ("parentheses", "(".repeat(n)),
        ("arrays", format!("{}{}", "[".repeat(n), "]".repeat(n))),
        ("maps", "#{a:".repeat(n)),
        ("blocks", "{".repeat(n)),
        ("conditions", "if true {".repeat(n)),
        ("else", format!("if true {{}} {} {{}}", "else if true {}".repeat(n))),
        ("not", format!("{}true", "!".repeat(n))),
        ("minus", format!("{}1", "- ".repeat(n))),
        ("sums", format!("1{}; throw 1", " + 1".repeat(n))),
        ("powers", format!("1{}; throw 1", " ** 1".repeat(n))),
        ("properties", format!("let a = 1; a{}", ".b".repeat(n))),
        ("indices", format!("let a = 1; a{}", "[0]".repeat(n))),
        ("calls", format!("f{}", "(1)".repeat(n))),
        ("closures", "|x| ".repeat(n)),
        ("strings", "`${".repeat(n)),
        ("no_grad", "no_grad {".repeat(n)),
        ("switch", "switch 1 { 1 => ".repeat(n)),
        ("functions", (0..3000).map(|i| format!("fn f{i}(x) {{ f{}(x) }} ", i + 1)).collect::<String>() + "f0(1)"),
    ];
    let mut faults = Vec::new();
    for (name, text) in texts {
        let ended = host(&text, &["--timeout=60s"]);
        if ended.code.is_none_or(|c| c == 0) || !ended.err.contains("error") || ended.written > WORDS {
            let err: String = ended.err.chars().take(300).collect();
            faults.push(format!("{name}: {:?}, {} MiB, {:.1?}: {err}", ended.code, ended.peak_mib, ended.took));
        }
    }
    assert!(faults.is_empty(), "these texts ended badly:\n  {}", faults.join("\n  "));
}
