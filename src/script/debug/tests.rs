//! Tests of pausing: a pauser that follows a list of inputs and writes down where it was asked.

use super::*;
use crate::bindings::{Context, HostContext};
use crate::engine::progress::Silent;
use crate::script::{Host, Script};
use std::collections::VecDeque;

/// What is typed at each pause, and how it ends.
struct Plan {
    pauses: Mutex<VecDeque<(Vec<&'static str>, Go)>>,
    seen: Mutex<Vec<String>>,
}

impl Pauser for Plan {
    fn ask(&self, paused: &mut Paused<'_, '_>) -> Go {
        let place = |l: &Level| l.place.as_ref().map_or(0, |p| p.line);
        let levels: Vec<String> = paused.levels().iter().map(|l| format!("{}:{}", l.what, place(l))).collect();
        self.seen.lock().unwrap().push(format!("{} {}", paused.why(), levels.join(" ")));
        let (inputs, go) = self.pauses.lock().unwrap().pop_front().unwrap_or((vec![], Go::On));
        for input in inputs {
            let answer = match paused.eval(input) {
                Ok(value) => value.to_string(),
                Err(d) => format!("{}{}", d.message, d.place.map_or(String::new(), |p| format!(" at {p}"))),
            };
            self.seen.lock().unwrap().push(answer);
        }
        go
    }
}

/// Runs `text` under `plan`; what was seen at the pauses, then what `text` puts into `out`.
fn run(text: &str, plan: Vec<(Vec<&'static str>, Go)>) -> Vec<String> {
    let mut ctx = HostContext::new(Arc::new(Silent));
    ctx.pausable = true;
    let ctx: Context = Arc::new(ctx);
    let mut host = Host::new(&ctx, None);
    let plan = Arc::new(Plan { pauses: Mutex::new(plan.into()), seen: Mutex::default() });
    host.attach(plan.clone());
    let text = format!("{text}\nthrow out;");
    let end = host.run(&Script { name: "t.rhai".into(), text, folder: None }).unwrap_err();
    let mut seen = std::mem::take(&mut *plan.seen.lock().unwrap());
    seen.push(end.message);
    seen
}

/// Protects the point of pausing: variables are read and changed, and the script goes on with what was set.
#[test]
fn variables_are_read_and_changed() {
    let script = "let lr = 1; let out = [];\nfor i in 0..2 {\n    let inner = i * 10;\n    breakpoint();\n    out.push(lr + inner);\n}";
    let seen =
        run(script, vec![(vec!["inner", "lr", "lr = 5; inner += 1", "i"], Go::On), (vec!["let lr = 7"], Go::On)]);
    assert_eq!(
        seen,
        ["breakpoint() the top level:4", "0", "1", "", "0", "breakpoint() the top level:4", "", "[6, 17]"]
    );
}

/// Protects the compiled script's idea of where its variables are: what the prompt declares is kept apart from them.
#[test]
fn declarations_at_the_prompt_stay_out_of_the_script() {
    let script = "let out = 1;\nlet a = 2;\nbreakpoint();\nlet a = 3;\nlet b = 4;\nbreakpoint();\nout = `${a}${b}`;";
    let seen = run(
        script,
        vec![
            (
                vec![
                    "let mine = 40; const FIXED = 1;",
                    "fn plus(x) { x + 2 }",
                    "plus(mine)",
                    "import \"std/log\" as l;",
                ],
                Go::On,
            ),
            (vec!["plus(mine) + a", "l::num(1.5, 1)", "FIXED = 2"], Go::On),
        ],
    );
    assert_eq!(
        seen[4..],
        ["", "breakpoint() the top level:6", "45", "1.5", "`FIXED` is a constant at pause:7:1", "34"]
    );
}

/// Protects the prompt's reach: functions and imports of the script can be called, those of a function see no variables
/// of the script, and `this` is the method's object.
#[test]
fn functions_and_imports_are_in_reach() {
    let script = "import \"std/log\" as log;\nfn twice(x) { x * 2 }\nfn bump(by) {\n    breakpoint();\n    this += by;\n}\nlet out = 1;\nout.bump(3);";
    let seen = run(script, vec![(vec!["twice(by)", "log::num(2.25, 2)", "out", "this", "this = 10; by = 5"], Go::On)]);
    assert_eq!(seen[..4], ["breakpoint() `bump`:4 the top level:8", "6", "2.25", "no variable `out` at pause:4:1"]);
    assert_eq!(seen[4..], ["1", "", "15"]);
}

/// Protects `fn` at the prompt: one of the script's name is the prompt's alone, and the script keeps calling its own.
#[test]
fn functions_of_the_prompt_are_its_own() {
    let script = "fn f() { 1 }\nlet out = f();\nbreakpoint();\nout = out * 10 + f();";
    let seen = run(script, vec![(vec!["fn f() { 2 }", "f()"], Go::On)]);
    assert_eq!(seen[1..], ["", "2", "11"]);
}

const STEPS: &str = "fn add(a, b) {
    let sum = a + b;
    sum
}
let out = 0;
breakpoint();
out = add(1, 2);
for i in 0..2 {
    out.min(1);
}
if out > 0 { out = add(out, 1); }
";

/// Protects stepping: into calls, through loops, statements that are expressions included, each once.
#[test]
fn steps_visit_every_statement() {
    let step = || (vec![], Go::Step);
    let seen = run(STEPS, (0..9).map(|_| step()).collect());
    let lines: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(
        lines[..9],
        [
            "breakpoint() the top level:6",
            "step the top level:7",
            "step `add`:2 the top level:7",
            "step `add`:3 the top level:7",
            "step the top level:8",
            "step the top level:9",
            "step the top level:9",
            "step the top level:11",
            "step `add`:2 the top level:11",
        ]
    );
}

/// Protects `:next` and `:out`: over a call, and out of one.
#[test]
fn calls_can_be_stepped_over_and_out_of() {
    let seen = run(STEPS, vec![(vec![], Go::Over), (vec![], Go::Step), (vec![], Go::Out), (vec![], Go::On)]);
    let lines: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(
        lines,
        [
            "breakpoint() the top level:6",
            "step the top level:7",
            "step `add`:2 the top level:7",
            "step the top level:8",
            "4"
        ]
    );
}

/// Protects the prompt from itself: errors and breakpoints of what is evaluated there end or disturb nothing.
#[test]
fn the_prompt_survives_its_inputs() {
    let script = "fn stop_here() { breakpoint(); 3 }\nlet out = 2;\nbreakpoint();";
    let seen = run(script, vec![(vec!["nope", "1 +", "stop_here()", "throw \"x\"", "out"], Go::On)]);
    assert_eq!(seen[1], "no variable `nope` at pause:1:1");
    assert!(seen[2].contains("at pause:2"), "{seen:?}");
    assert_eq!(seen[3], "3");
    assert!(seen[4].ends_with("at pause:4:1"), "{seen:?}");
    assert_eq!(seen[5..], ["2", "2"]);
}

/// Protects the same bits: what the prompt draws at random leaves no trace, a seed set there does.
#[test]
fn the_random_stream_is_put_back() {
    let script =
        "seed(3);\nlet a = randn([2]).sum().item();\nseed(3);\nbreakpoint();\nlet out = randn([2]).sum().item() == a;";
    assert_eq!(run(script, vec![(vec!["randn([9]); 0"], Go::On)]).last().unwrap(), "true");
    assert_eq!(run(script, vec![(vec!["seed(4)"], Go::On)]).last().unwrap(), "false");
}

/// Protects modules: a breakpoint inside one shows its file and its caller's.
#[test]
fn breakpoints_in_closures_and_deeper() {
    let script = "fn deep(n) {\n    if n == 0 {\n        breakpoint();\n        return 1;\n    }\n    deep(n - 1)\n}\nlet f = |n| deep(n);\nlet out = f.call(1);";
    let seen = run(script, vec![(vec!["n"], Go::On)]);
    assert_eq!(seen[0], "breakpoint() `deep`:3 `deep`:6 a closure:8 the top level:9");
}
