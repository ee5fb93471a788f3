//! `host doc` and `host types` as a person uses them.

mod cli_support;

use cli_support::Dir;

/// Protects `host doc NAME`: signature, sentence, options and example, plain when piped.
#[test]
fn one_name() {
    let ran = Dir::with(&[]).run(&["doc", "adamw"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let parts = [
        "optim::adamw  function\n",
        "  optim::adamw(params: Parameters or array, options: map) -> Optimizer\n",
        "as `torch.optim.AdamW`",
        "\nOptions\n  - `lr` (1e-3): learning rate.\n",
        "\nErrors\n",
        "\nExample\n  let w = ",
    ];
    for part in parts {
        assert!(ran.out.contains(part), "{part:?} is not in\n{}", ran.out);
    }
    assert!(!ran.out.contains('\x1b') && ran.out.lines().all(|l| l.chars().count() <= 100), "{}", ran.out);
}

/// Protects looking around: properties by type, modules, std, words, and all of it.
#[test]
fn other_names() {
    let dir = Dir::with(&[]);
    for (name, part) in [
        ("Tensor.shape", "Tensor.shape: array"),
        ("nn::rms_norm", "LlamaRMSNorm"),
        ("nn", "cross_entropy"),
        ("Optimizer", "Optimizer.zero_grad"),
        ("std/instruct", "load"),
        ("instruct::load", "import \"std/instruct\" as instruct;"),
        ("no_grad", "no_grad { .. }"),
        ("@", "Tensor @ Tensor -> Tensor"),
        ("step", "GradScaler.step"),
    ] {
        let ran = dir.run(&["doc", name]);
        assert!(ran.code == Some(0) && ran.out.contains(part), "{name}: {part:?} is not in\n{}{}", ran.out, ran.err);
    }
    let all = dir.run(&["doc"]).out;
    for topic in ["Tensors", "llama", "std/log", "adamw", "Rhai: arrays"] {
        assert!(all.contains(topic), "{topic} is not in\n{all}");
    }
}

/// Protects people who misspell: near names, and an exit code that scripts of the shell see.
#[test]
fn unknown_names() {
    let ran = Dir::with(&[]).run(&["doc", "adawm"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("nothing is called `adawm`") && ran.err.contains("optim::adamw"), "{}", ran.err);
}

/// Protects pages and editors: the files are written, and say what the terminal says.
#[test]
fn files() {
    let dir = Dir::with(&[]);
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    for (args, names) in [
        (
            &["doc", "--html", "html"][..],
            &["html/index.html", "html/optim.html", "html/style.css", "html/search.js"][..],
        ),
        (&["doc", "--markdown", "md"], &["md/README.md", "md/std-log.md"]),
        (&["types", "types"], &["types/__static__.d.rhai", "types/optim.d.rhai", "types/catalog.json"]),
    ] {
        let ran = dir.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(names.iter().all(|n| !read(n).is_empty()));
    }
    let types = read("types/optim.d.rhai");
    assert!(types.starts_with("module optim;\n"), "{types}");
    assert!(types.contains("/// AdamW with decoupled") && types.contains("options: Map) -> Optimizer;"), "{types}");
    let catalog: serde_json::Value = serde_json::from_str(&read("types/catalog.json")).unwrap();
    let adamw = catalog["entries"].as_array().unwrap().iter().find(|e| e["key"] == "optim::adamw").unwrap();
    assert_eq!(adamw["options"][0]["name"], "lr");
    assert_eq!(adamw["signatures"][0]["params"][0]["types"], serde_json::json!(["Parameters", "array"]));

    let wrong = dir.run(&["doc", "--html", "html/index.html"]);
    assert!(wrong.code == Some(1) && wrong.err.contains("cannot be written"), "{wrong:?}");
}
