//! Downloading models by name, against a hub on this machine: what is fetched, resumed, checked, refused, and never asked
//! for again.

mod hub_server;

use hub_server::{Hub, Trouble};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A folder for the cache, and the program run against `hub`.
struct World {
    hub: Hub,
    dir: tempfile::TempDir,
}

impl World {
    fn new(trouble: Trouble) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        let script = r#"
            seed(7);
            let m = llama::from_config(#{ vocab_size: 512, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2,
                num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 64, rms_norm_eps: 1e-5,
                tie_word_embeddings: true }, #{ init: "random" });
            m.save("runs/model");
        "#;
        fs::write(dir.path().join("make.rhai"), script).unwrap();
        let made = host(dir.path(), &["run", "make.rhai"], &[]);
        assert!(made.status.success(), "{}", text(&made));
        fs::rename(dir.path().join("runs/model"), &model).unwrap();
        World { hub: Hub::start(&model, trouble), dir }
    }

    /// Loads `source` in a script of its own and prints its size.
    fn load(&self, source: &str, flags: &[&str], env: &[(&str, &str)]) -> Output {
        let script = format!("let m = llama::load({source:?}); print(`${{m.name}} has ${{m.params}} parameters`);");
        fs::write(self.dir.path().join("load.rhai"), script).unwrap();
        let args: Vec<&str> = ["run"].iter().chain(flags).copied().chain(["load.rhai"]).collect();
        let home = self.dir.path().join("hf");
        let mut all = vec![("HF_ENDPOINT", self.hub.address.as_str()), ("HF_HOME", home.to_str().unwrap())];
        all.extend(env);
        host(self.dir.path(), &args, &all)
    }

    fn cache(&self) -> std::path::PathBuf {
        self.dir.path().join("hf/hub/models--test--tiny")
    }
}

fn host(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_HOME", "HF_ENDPOINT"] {
        command.env_remove(name);
    }
    command.args(args).current_dir(dir).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

const LOADED: &str = "test/tiny has 12880 parameters";

/// Protects the promise of one download: the first load asks the hub, the second one nobody; the cache has the layout that
/// Python's `huggingface_hub` reads.
#[test]
fn a_model_is_downloaded_once() {
    let world = World::new(Trouble::None);
    let first = world.load("test/tiny", &["--allow-net"], &[]);
    assert!(first.status.success() && text(&first).contains(LOADED), "{}", text(&first));
    assert!(text(&first).contains("downloading test/tiny"), "{}", text(&first));
    let asked = world.hub.requests();
    assert!(!asked.iter().any(|r| r.contains("pytorch_model.bin") || r.contains("README")), "{asked:?}");

    let commit = fs::read_to_string(world.cache().join("refs/main")).unwrap();
    let weights = world.cache().join("snapshots").join(commit).join("model.safetensors");
    assert!(fs::read_link(&weights).unwrap().starts_with("../../blobs"));
    assert_eq!(fs::read(&weights).unwrap(), fs::read(world.dir.path().join("model/model.safetensors")).unwrap());

    for flags in [&["--allow-net"][..], &[]] {
        let again = world.load("test/tiny", flags, &[("HF_HUB_OFFLINE", "1")]);
        assert!(again.status.success() && text(&again).contains(LOADED), "{}", text(&again));
    }
    assert_eq!(world.hub.requests().len(), asked.len(), "the cache was not enough");
}

/// Protects whoever runs another's script: nothing is sent without the flag, and the message names it.
#[test]
fn the_network_is_not_used_unasked() {
    let world = World::new(Trouble::None);
    let out = world.load("test/tiny", &[], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out).contains("--allow-net would allow it"), "{}", text(&out));
    let out = world.load("test/tiny", &["--allow-net"], &[("HF_HUB_OFFLINE", "1")]);
    assert!(text(&out).contains("HF_HUB_OFFLINE is set"), "{}", text(&out));
    assert_eq!(world.hub.requests(), Vec::<String>::new());
}

/// Protects slow lines: a transfer that breaks off goes on where it was, and one that cannot be continued starts anew.
#[test]
fn broken_transfers_go_on() {
    for trouble in [Trouble::BreaksOff, Trouble::BreaksOffWithoutRanges, Trouble::BusyAtFirst] {
        let world = World::new(trouble);
        let out = world.load("test/tiny", &["--allow-net"], &[]);
        assert!(out.status.success() && text(&out).contains(LOADED), "{trouble:?}: {}", text(&out));
        let ranges = world.hub.requests().iter().filter(|r| r.contains("bytes=")).count();
        assert_eq!(ranges > 0, trouble != Trouble::BusyAtFirst, "{trouble:?}: {:?}", world.hub.requests());
    }
}

/// Protects training from a damaged file: content whose hash is not the announced one is refused and removed.
#[test]
fn damaged_content_is_refused() {
    let world = World::new(Trouble::Damages);
    let out = world.load("test/tiny", &["--allow-net"], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out).contains("the hub announced"), "{}", text(&out));
    let blobs = fs::read_dir(world.cache().join("blobs")).unwrap();
    let left: Vec<_> = blobs.map(|b| b.unwrap().file_name()).filter(|n| n.to_string_lossy().len() > 60).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Protects the person whose download fails: what is missing and what to do, for each kind of refusal.
#[test]
fn refusals_are_explained() {
    let world = World::new(Trouble::WantsToken);
    let out = text(&world.load("test/tiny", &["--allow-net"], &[]));
    assert!(out.contains("private or gated") && out.contains("HF_TOKEN"), "{out}");
    let out = world.load("test/tiny", &["--allow-net"], &[("HF_TOKEN", "secret")]);
    assert!(out.status.success(), "{}", text(&out));
    assert!(!world.hub.requests().iter().any(|r| r.contains("/storage/") && r.contains("secret")), "the token leaked");

    let world = World::new(Trouble::None);
    for (source, wanted) in [
        ("test/none", "no such repository"),
        ("test/tiny@v9", "no revision `v9`"),
        ("test/tiny/weights.gguf", "unknown file of test/tiny"),
        ("test/gguf-only", "name one, for example `test/gguf-only/q4.gguf`"),
    ] {
        let out = world.load(source, &["--allow-net"], &[]);
        assert!(out.status.code() == Some(1) && text(&out).contains(wanted), "{source}: {}", text(&out));
    }
    let out = world.load("test/tiny", &["--allow-net"], &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    assert!(text(&out).contains("(5 tries)"), "{}", text(&out));
}

/// Protects the disk from a hub that sends names with `..`: they are no files of the model.
#[test]
fn names_from_the_hub_stay_in_the_cache() {
    let world = World::new(Trouble::None);
    let out = world.load("test/evil/../../../evil.gguf", &["--allow-net"], &[]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    let out = world.load("test/evil", &["--allow-net"], &[]);
    assert!(!out.status.success() && !world.dir.path().join("evil").exists(), "{}", text(&out));
}
