//! Typical mistakes, and what a user reads about each: one snapshot per topic, read as a page.
//!
//! `INSTA_UPDATE=always cargo test --test mistakes` writes them anew; read the difference as a user would.

mod cli_support;

use cli_support::Dir;
use std::fmt::Write;

/// Runs each script as `t.rhai` and shows it with what it says on standard error.
fn page(cases: &[&str]) -> String {
    let dir = Dir::with(&[(
        "data.json",
        r#"[{"instruction": "Say hi", "input": "", "output": "hi"}, {"instruction": "x"}]"#,
    )]);
    let folder = dir.path().canonicalize().unwrap().display().to_string();
    let mut page = String::new();
    for case in cases {
        std::fs::write(dir.path().join("t.rhai"), case).unwrap();
        // The same limit on every machine; at run time, as a check would say it in its own words first.
        let ran = dir.run(&["run", "--quiet", "--no-check", "--max-memory", "4GiB", "t.rhai"]);
        assert_eq!(ran.code, Some(1), "this is no mistake: {case}\n{ran:?}");
        for line in case.lines() {
            writeln!(page, "> {line}").unwrap();
        }
        writeln!(page, "{}{}", ran.out, steady(&ran.err.replace(&folder, "FOLDER"))).unwrap();
    }
    page
}

/// `report` without line and column in the standard library, which change with it.
fn steady(report: &str) -> String {
    let mut parts = report.split("std/");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let name = part.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(part.len());
        let numbers = part[name..].find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(part.len() - name);
        // A colon alone belongs to the text.
        let numbers = if part[name..name + numbers].ends_with(':') { numbers - 1 } else { numbers };
        let place = if numbers > 0 { ":LINE" } else { "" };
        text += &format!("std/{}{place}{}", &part[..name], &part[name + numbers..]);
    }
    text
}

/// Compares with the snapshot `name`, which holds no copy of this file.
fn check(name: &str, cases: &[&str]) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, page(cases));
    });
}

/// Protects people who come from Python: each habit is answered with how it is written here.
#[test]
fn python() {
    check(
        "python",
        &[
            "if 1 > 0 and true { }",
            "let c = not true;",
            "if true { } elif false { }",
            "def f(x): return x",
            "let f = lambda x: x + 1;",
            "import torch",
            "from torch import nn",
            "print \"hello\"",
            "let s = f\"loss {1}\";",
            "let s = 'single quoted';",
            "let x = tensor([[1.0]]);\nlet y = x[0, 0];",
            "let m = { lr: 1e-3 };",
            "if x = 1 { }",
            "let x = 1;\nx++;",
            "let y = true ? 1 : 2;",
            "for i in range(3):\n    print(i)",
            "for i in range(3) { print(i); }",
            "for i, x in [1, 2] { }",
            "# a comment\nlet x = 1;",
            "let opt = optim::adamw([], lr=1e-3);",
            "fn step(model, lr = 1e-3) { }",
            "let x: int = 3;",
            "let a, b = f();",
            "with no_grad() { }",
            "@torch.no_grad()\nfn f() { }",
            "raise \"no data\";",
            "let x = None;",
            "let x = True;",
            "let x = 3 if true else 4;",
            "let xs = [i * 2 for i in 0..3];",
            "let pair = (1, 2);",
            "let n = len(zeros([3]));",
            "let xs = []; xs.extend([1]);",
            "print(\"loss\", 0.5);",
        ],
    );
}

/// Protects text that does not parse: what is missing, and where it is missing.
#[test]
fn syntax() {
    check(
        "syntax",
        &[
            "let a = 1\nlet b = 2;",
            "fn step(x) {\n    x * 2\n",
            "let xs = [1, 2;\nprint(xs);",
            "print(\"loss\"; 1);",
            "let s = \"no end;\nprint(s);",
            "let m = #{ lr = 1e-3 };",
            "let m = #{ lr: 1e-3 epochs: 3 };",
            "let go = 1;",
            "let my-name = 1;",
            "if (true) print(1);",
            "let y = 1 + ;",
            "}\nlet x = 1;",
            "import \"std/log\" log;",
        ],
    );
}

/// Protects names: what is not there, and the name that is.
#[test]
fn names() {
    check(
        "names",
        &[
            "let epochs = 3;\nprint(epoch);",
            "let lr = 1e-3;\nfn step() { lr }\nstep();",
            "prnt(1);",
            "let x = torch.zeros([2, 3]);",
            "let x = ones([2]);\nlet y = torch.nn.functional.relu(x);",
            "let y = np.array([1]);",
            "let opt = torch.optim.AdamW([]);",
            "let y = nn.linear(ones([1, 2]), ones([3, 2]));",
            "let y = nn::linear(ones([1, 2]), ones([3, 2]);",
            "let m = llama::from_pretrained(\"x\");",
            "let o = optim::adam([]);",
            "let r = random::rand();",
            "let t = samples::ask(1, 2, #{});",
            "let o = #{ epochs: 1 };\nprint(o.epoch);",
            "import \"std/nothing\" as n;",
            "import \"log\" as log;",
            "print(now);",
            "let x = ones([2]);\nprint(x.sum);\nlet y = x.sum + 1;",
        ],
    );
}

/// Protects calls: the overloads that come nearest, and the argument that does not fit.
#[test]
fn calls() {
    check(
        "calls",
        &[
            "let x = zeros([2, 3]);\nlet y = x.matmul(3);",
            "let x = zeros([2, 3]);\nlet y = x.view(3, 2);",
            "let x = zeros([2, 3]);\nlet n = x.size();",
            "let x = zeros([2, 3]);\nlet n = x.shape();",
            "let x = zeros([2, 3]);\nlet n = x.ndim;",
            "let x = zeros([2, 3]);\nlet y = x.transpose(0);",
            "let x = zeros([2, 3]);\nlet y = nn::dropout(x, 1);",
            "let y = zeros(\"2, 3\");",
            "let y = zeros([2, 3]) + [1, 2, 3];",
            "let y = [[1.0]] @ [[2.0]];",
            "let y = \"loss\" - 1;",
            "let y = \"loss %d\" % 1;",
            "let y = () + 1;",
            "let f = |x| x; f.call(1, 2);",
            "let f = |x| x + 1;\nlet y = f(1);",
            "let n = 5; n.foo(1);",
            "fn step(model, batch) { }\nstep(1);",
            "seed(1.5);",
            "let x = ones([2]); x.requires_grad_(true);",
            "let x = ones([2]); x.shape = [1, 2];",
            "let l = ones([1]).sum(); let v = l.item; print(v);",
            "let x = arange(6); let y = x.to(\"float32\");",
        ],
    );
}

/// Protects shapes: both of them, the dimension that differs, and the way out.
#[test]
fn shapes() {
    check(
        "shapes",
        &[
            "let x = zeros([4, 512, 576]);\nlet w = zeros([192, 576]);\nlet y = x @ w;",
            "let x = zeros([576, 4]);\nlet w = zeros([576, 3]);\nlet y = x @ w;",
            "let y = zeros([2, 3]) @ zeros([4, 5]);",
            "let y = zeros([2, 4, 3]) @ zeros([5, 3, 4]);",
            "let x = zeros([4, 5]);\nlet bias = zeros([4]);\nlet y = x + bias;",
            "let x = zeros([4, 5]);\nlet total = zeros([5, 4]);\ntotal += x;",
            "let y = zeros([4, 5]) * zeros([4, 3]);",
            "let x = zeros([2, 3]);\nlet y = x.reshape(2, 2);",
            "let y = zeros([2, 3]).reshape([-1, 4]);",
            "let y = cat([zeros([2, 3]), zeros([2, 4])]);",
            "let y = stack([zeros([2]), zeros([3])]);",
            "let y = cat([]);",
            "let x = zeros([3, 4]);\nlet row = x[3];",
            "let x = zeros([3, 4]);\nlet one = x[[0, 1, 2]];",
            "let y = zeros([3, 4]).sum(2);",
            "let y = zeros([3, 4]).narrow(1, 2, 3);",
            "let y = zeros([2, 3, 4]).t();",
            "let y = zeros([2, 3]).permute([0, 0]);",
            "let y = zeros([3]).broadcast_to([3, 2]);",
            "let y = zeros([3]).index_select(0, tensor([1, 3]);",
            "let y = where(zeros([2]), ones([2]), zeros([2]));",
            "let x = zeros([4, 512]);\nlet w = zeros([512, 64]);\nlet y = nn::linear(x, w);",
            "let y = nn::rms_norm(zeros([2, 8]), ones([4]));",
            "let q = zeros([1, 8, 6, 16]);\nlet k = zeros([1, 8, 4, 16]);\nlet y = nn::attention(q, k, k);",
            "let q = zeros([1, 8, 4, 16]);\nlet k = zeros([1, 8, 4, 32]);\nlet y = nn::attention(q, k, k);",
            "let y = nn::embedding([5, 600], zeros([512, 8]));",
            "let loss = nn::cross_entropy(zeros([3, 10]), [1, 2, 10]);",
            "let loss = nn::cross_entropy(zeros([3, 10]), [1, 2]);",
            "let loss = nn::cross_entropy(zeros([2, 10]), ones([2]));",
            "let v = zeros([2, 3]).item();",
            "let x = zeros([100000000, 100000000]);",
        ],
    );
}

/// Protects the tape's words: what has no gradient, and why.
#[test]
fn gradients_dtypes_devices() {
    check(
        "gradients_dtypes_devices",
        &[
            "let w = ones([2], #{ requires_grad: true });\n(w * 2.0).backward();",
            "let w = ones([2], #{ requires_grad: true });\nlet loss = w.sum();\nloss.backward();\nloss.backward();",
            "let loss = ones([2]).sum();\nloss.backward();",
            "let w = ones([2], #{ requires_grad: true });\nlet loss = no_grad { w.sum() };\nloss.backward();",
            "let w = ones([2], #{ requires_grad: true });\nprint(w.grad.sum());",
            "let ids = tensor([1, 2]);\nids.requires_grad = true;",
            "let w = ones([2], #{ requires_grad: true });\nlet y = w * 2.0;\ny.requires_grad = false;",
            "let y = ones([2, 2]) @ ones([2, 2], #{ dtype: \"bf16\" });",
            "autocast \"bf61\" { ones([2]) }",
            "autocast true { ones([2]) }",
            "let x = ones([2]).to(\"cuda\");",
            "let x = tensor([2, 3]) ** -1;",
            "let x = zeros([2], #{ dtype: \"int8\" });",
            "if ones([1]) > 0.0 { print(1); }",
            "let opt = optim::adamw([1.0]);",
        ],
    );
}

/// Protects models and data: wrong options, missing files, what a set does not have.
#[test]
fn models_and_data() {
    check(
        "models_and_data",
        &[
            "let m = llama::load(\"nowhere.gguf\");",
            "let m = llama::load(\"builtin:stories\");",
            "let m = llama::load(\"builtin:stories260K\", #{ dtpye: \"f32\" });",
            "let m = llama::from_config(\"llama2-7\");",
            "let m = llama::load(\"builtin:stories260K\");\nm.inject_lora(#{ rank: \"8\" });",
            "let m = llama::load(\"builtin:stories260K\");\nm.inject_lora(#{ r: 8 });",
            "let m = llama::load(\"builtin:stories260K\");\nm.inject_lora(#{ rank: 4, target_modules: [\"q_prj\"] });",
            "let m = llama::load(\"builtin:stories260K\");\nm.save_adapter(\"out\");",
            "let m = llama::load(\"builtin:stories260K\");\nlet opt = optim::adamw(m.parameters(), #{ lr: 1e-3 });",
            "let m = llama::load(\"builtin:stories260K\");\nlet t = m.generate(\"Once\", #{ temperature: -1.0 });",
            "let d = data::load(\"nowhere.json\");",
            "let d = data::load(\"data.json\");",
            "let d = data::records([#{ instruction: \"a\", output: \"b\" }]);\nlet r = d[3];",
            "let d = data::records([#{ instruct: \"a\", output: \"b\" }]);",
            "let m = llama::load(\"builtin:stories260K\");\nlet d = data::records([#{ instruction: \"a\", output: \"b\" }]).tokenize(m.tokenizer, #{ template: \"alpca\" });",
            "let m = llama::load(\"builtin:stories260K\");\nlet d = data::records([#{ instruction: \"a\", output: \"b\" }]).tokenize(m.tokenizer, #{ max_seq_len: 4 });",
            "let s = optim::schedule(\"cosin\", #{ lr: 1e-3, total: 10 });",
            "let s = optim::schedule(\"cosine\", #{ lr: 1e-3, total: 10, warmup: 20 });",
        ],
    );
}

/// Protects the rest of the language: values of the wrong kind, limits, and what scripts throw.
#[test]
fn values_and_control() {
    check(
        "values_and_control",
        &[
            "if 1 { }",
            "let loss = ones([1]).sum();\nwhile loss { }",
            "for i in 5 { }",
            "const LR = 1e-3;\nLR = 2e-3;",
            "let xs = [1, 2, 3];\nprint(xs[3]);",
            "let m = #{ a: 1 };\nprint(m[0]);",
            "print(\"abc\"[7]);",
            "let x = 1 / 0;",
            "fn f(n) { f(n + 1) }\nf(0);",
            "let s = \"x\";\nloop { s += s; }",
            "throw \"no data\";",
            "throw #{ kind: \"data\", message: \"bad split\", help: \"use 0.9\" };",
            "try { throw \"plain\" } catch (e) { print(e.message); }",
            "let x = #{}.get(\"missing\");\nprint(x.shape);",
        ],
    );
}

/// Protects the way there: through functions, closures, natives and the standard library to the line that can be mended.
#[test]
fn frames() {
    check(
        "frames",
        &[
            "fn project(x, w) {\n    x @ w\n}\nfn forward(xs) {\n    xs.map(|x| project(x, zeros([3, 2])))\n}\nforward([zeros([2, 2])]);",
            "import \"std/instruct\" as instruct;\nlet d = instruct::load(\"data.json\", (), #{ max_len: 3 });",
            "fn load() { data::load(\"nowhere.json\") }\ntry { load() } catch (e) {\n    print(`${e.kind} at line ${e.line}`);\n    throw e;\n}",
            "fn f() { [1][2] }\ntry { f() } catch { throw; }",
            "let y = checkpoint(|x| x.reshape(7), ones([2], #{ requires_grad: true }));",
            "let d = data::records([#{ instruction: \"a\", output: \"b\" }]);\nlet e = d.map(|r| #{ instruction: r.instruct, output: \"\" });",
        ],
    );
}
