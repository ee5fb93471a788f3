//! Completion as a person sees it: what Tab offers at the end of a line.

use super::*;
use crate::repl::commands::{ANYWHERE, OWN, names as commands};
use crate::repl::prompt::Prompt;
use crate::repl::session::{Session, tests::session};

/// What Tab offers behind `before`: where it begins, and the texts.
fn offered(session: &Session, before: &str) -> (usize, Vec<String>) {
    let names = Names::of(session, commands(&ANYWHERE).chain(commands(&OWN)).collect());
    let (start, found) = complete(&names, before);
    (start, found.into_iter().map(|c| c.text).collect())
}

#[track_caller]
fn offers(session: &Session, before: &str, wanted: &[&str]) {
    let (_, found) = offered(session, before);
    for w in wanted {
        assert!(found.iter().any(|f| f == w), "{before:?} offers {found:?}, not {w:?}");
    }
}

#[track_caller]
fn only(session: &Session, before: &str, wanted: &[&str]) {
    assert_eq!(offered(session, before).1, wanted, "{before:?}");
}

/// Protects names: variables, functions of the session and of the host, modules, imports, keywords, commands.
#[test]
fn names_are_completed() {
    let mut s = session();
    let _ = s.eval("let learning_rate = 1e-4; fn learn(x) { x } import \"std/log\" as log;").unwrap();
    only(&s, "1 + lear", &["learning_rate", "learn"]);
    assert_eq!(offered(&s, "é = opti"), (5, vec!["optim::".to_string(), "options".to_string()]));
    only(&s, "optim::ada", &["adamw"]);
    only(&s, "log::nu", &["num"]);
    offers(&s, "lo", &["log::", "loop"]);
    only(&s, "no_g", &["no_grad"]);
    only(&s, ":ve", &[]);
    only(&s, ":va", &["vars"]);
    only(&s, ":time lear", &["learning_rate", "learn"]);
    only(&s, "?optim::sg", &["sgd"]);
    only(&s, "// lear", &[]);
    only(&s, "let lear", &[]);
    only(&s, "1 + ", &[]);
}

/// Protects members: those of the value at the cursor, through chains of properties, calls and indices, and no others.
#[test]
fn members_are_those_of_the_value() {
    let mut s = session();
    let _ = s.eval(
        "let model = llama::load(\"builtin:stories260K\"); let t = ones([2]); let o = #{ rate: 1.5, sub: #{ t: t } };",
    )
    .unwrap();
    let _ = s.eval("let list = [t];").unwrap();
    only(&s, "model.tokenizer.enc", &["encode"]);
    only(&s, "t.sha", &["shape"]);
    offers(&s, "t.", &["shape", "grad", "matmul", "backward"]);
    assert!(!offered(&s, "t.").1.contains(&"tokenizer".to_string()));
    only(&s, "(t @ t).matm", &["matmul"]);
    only(&s, "o.ra", &["rate"]);
    only(&s, "o.sub.t.req", &["requires_grad"]);
    only(&s, "list[0].dty", &["dtype"]);
    only(&s, "o[\"sub\"].t.dty", &["dtype"]);
    only(&s, "llama::load(\"x\").inje", &["inject_lora"]);
    only(&s, "t.matmul(t).sum().ite", &["item"]);
    only(&s, "f(model.inject", &["inject_lora"]);
    only(&s, "`${t.dty", &["dtype"]);
    offers(&s, "\"abc\".to_up", &["to_upper"]);
}

/// Protects option keys: those of the function called, without the ones already written.
#[test]
fn option_keys_are_those_of_the_call() {
    let mut s = session();
    let _ = s.eval("let model = llama::load(\"builtin:stories260K\");").unwrap();
    only(&s, "model.inject_lora(#{ ra", &["rank"]);
    offers(&s, "model.inject_lora(#{ rank: 8, ", &["alpha", "dropout", "target_modules"]);
    only(&s, "model.inject_lora(#{ rank: 8, ra", &[]);
    offers(&s, "optim::adamw(model.trainable(), #{ ", &["lr", "betas", "weight_decay"]);
    only(&s, "optim::adamw(model.trainable(), #{ lr: mod", &["model"]);
}

/// Protects paths: files below what is written, in strings and behind `:load`, and what a place alone knows.
#[test]
fn strings_complete_to_files() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/alpaca.json"), "[]").unwrap();
    std::fs::write(dir.path().join(".hidden"), "").unwrap();
    let s = session();
    let root = dir.path().display();
    only(&s, &format!("data::load(\"{root}/da"), &["data/"]);
    only(&s, &format!("data::load(\"{root}/data/al"), &["alpaca.json"]);
    only(&s, &format!(":load {root}/data/"), &["alpaca.json"]);
    only(&s, &format!("f(\"{root}/"), &["data/"]);
    only(&s, "llama::load(\"built", &["builtin:stories260K"]);
    only(&s, "import \"std/sa", &["std/samples"]);
    only(&s, "autocast \"b", &["bf16"]);
}
