//! Recipes as things to hand on, through the real binary: made, copied, listed, packed, moved, run; and packs of people who
//! mean harm.

mod cli_support;

use cli_support::{Dir, Ran};
use std::fs;
use std::io::Write;
use std::path::Path;

/// A folder whose user has no recipes of his own but those in `home`.
fn at(dir: &Dir, args: &[&str]) -> Ran {
    let done = dir.host(args).env("XDG_DATA_HOME", dir.path().join("home")).output().unwrap();
    Ran {
        code: done.status.code(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

#[track_caller]
fn ok(dir: &Dir, args: &[&str]) -> String {
    let ran = at(dir, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran.out
}

/// What `args` says when it is refused as wrong usage.
#[track_caller]
fn refused(dir: &Dir, args: &[&str]) -> String {
    let ran = at(dir, args);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
    ran.err
}

const MANIFEST: &str = "name = \"greet\"\nversion = \"0.3.0\"\ndescription = \"Says good day.\"\n";

/// Files of a recipe that imports a module, reads a file that it is shipped with, and has its own defaults.
fn greet() -> Dir {
    Dir::with(&[
        (
            "greet/recipe.toml",
            &format!("{MANIFEST}entry = \"src/main.rhai\"\n[options]\nwho = \"recipe\"\nhow = {{ loud = true }}\n"),
        ),
        (
            "greet/src/main.rhai",
            "//! Greets.\nimport \"words\" as w;\nconst OPTIONS = #{ who: \"script\", how: #{ loud: false, times: 1 }, init: () };\n\
             let o = options();\nprint(`${w::word()} ${o.who} ${o.how} ${o.init}`);\n\
             print(data::load(recipe_dir() + \"/data.json\").len);",
        ),
        ("greet/src/words.rhai", "fn word() { \"hello\" }"),
        ("greet/data.json", r#"[{"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}]"#),
        ("greet/.git/config", "secret"),
        ("greet/runs/old/log.jsonl", "{}"),
    ])
}

const GREETED: &str = "hello recipe #{\"loud\": true, \"times\": 1} \n2\n";

/// Protects the whole way: a new recipe runs, is changed, tested, packed, carried elsewhere and run from the pack alone.
#[test]
fn from_new_to_a_pack_run_elsewhere() {
    let dir = Dir::with(&[]);
    let said = ok(&dir, &["new", "tiny"]);
    assert!(said.contains("host run   ./tiny"), "{said}");
    for file in ["recipe.toml", "main.rhai", "records.rhai", "records_test.rhai", "README.md"] {
        let text = fs::read_to_string(dir.path().join("tiny").join(file)).unwrap();
        assert!(!text.contains("{{"), "{file} has a blank left: {text}");
    }
    assert!(refused(&dir, &["new", "tiny"]).contains("exists already"));
    assert!(refused(&dir, &["new", "no/../ü"]).contains("cannot be a recipe's name"));

    // The recipe's own default, limit = 24, is in force.
    let first = ok(&dir, &["run", "--quiet", "./tiny"]);
    assert!(first.contains("to train on, 5 held out") && first.contains("epoch 1: train loss"), "{first}");
    assert!(ok(&dir, &["run", "./tiny", "--help"]).contains("[default: 24]"));

    assert!(ok(&dir, &["check", "./tiny"]).starts_with("no problems in "));
    let tested = ok(&dir, &["test", "./tiny"]);
    assert!(tested.contains("2 passed, 0 failed"), "{tested}");

    // Changed.
    let main = dir.path().join("tiny/main.rhai");
    let changed =
        fs::read_to_string(&main).unwrap().replace("let o = options();", "let o = options();\nprint(\"mine\");");
    fs::write(&main, changed).unwrap();
    let manifest = dir.path().join("tiny/recipe.toml");
    let bumped =
        fs::read_to_string(&manifest).unwrap().replace("limit = 24", "limit = 10").replace("0.1.0\"\nd", "0.2.0\"\nd");
    fs::write(&manifest, bumped).unwrap();
    let records = dir.path().join("tiny/records.rhai");
    let whole = fs::read_to_string(&records).unwrap();
    fs::write(&records, whole.replace("<= max_words", "< 0")).unwrap();
    let failed = at(&dir, &["test", "tiny"]);
    assert!(failed.code == Some(1) && failed.out.contains("1 passed, 1 failed"), "{failed:?}");
    fs::write(&records, whole).unwrap();
    ok(&dir, &["test", "tiny"]);
    let said = ok(&dir, &["pack", "tiny"]);
    assert!(said.contains("tiny-0.2.0/main.rhai") && said.contains("tiny-0.2.0.tar.zst: 5 files"), "{said}");
    assert!(said.contains("left out: runs/") || !dir.path().join("tiny/runs").exists(), "{said}");

    // Elsewhere: nothing but the pack.
    let away = Dir::with(&[]);
    fs::copy(dir.path().join("tiny-0.2.0.tar.zst"), away.path().join("tiny-0.2.0.tar.zst")).unwrap();
    let there = ok(&away, &["run", "--quiet", "tiny-0.2.0.tar.zst", "--epochs", "1"]);
    assert!(there.starts_with("mine\n") && there.contains("to train on, 2 held out"), "{there}");
    assert!(away.path().join("runs/tiny/adapter/adapter_model.safetensors").exists());
    let settings = fs::read_to_string(away.path().join("runs/tiny/settings.toml")).unwrap();
    assert!(settings.contains("script = \"tiny-0.2.0.tar.zst\""), "{settings}");
    let again = ok(&away, &["run", "--quiet", "--config", "runs/tiny/settings.toml"]);
    let losses = |text: &str| text.lines().filter(|l| l.starts_with("epoch")).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(losses(&again), losses(&there));
}

/// Protects recipes: by folder, by pack, by name from the project and the user; modules and data beside the script; defaults
/// of the manifest, of which a map's other keys stay.
#[test]
fn a_recipe_is_found_wherever_it_lies() {
    let dir = greet();
    assert_eq!(ok(&dir, &["run", "greet"]), GREETED);
    assert_eq!(ok(&dir, &["run", "greet/"]), GREETED);
    let said = ok(&dir, &["run", "greet", "--how", "{\"times\": 2}", "--init", "7b"]);
    assert_eq!(said.lines().next(), Some("hello recipe #{\"loud\": true, \"times\": 2} 7b"));
    assert!(ok(&dir, &["run", "greet", "--help"]).contains("--who <TEXT>    [default: recipe]"));

    ok(&dir, &["pack", "greet", "-o", "out.tar.zst"]);
    assert_eq!(ok(&dir, &["run", "out.tar.zst"]), GREETED);
    for (from, to) in [("greet", "recipes/folder"), ("out.tar.zst", "home/host/recipes/packed-1.2.0.tar.zst")] {
        fs::create_dir_all(dir.path().join(to).parent().unwrap()).unwrap();
        let copied = std::process::Command::new("cp").arg("-r").args([from, to]).current_dir(dir.path()).status();
        assert!(copied.unwrap().success());
    }
    assert_eq!(ok(&dir, &["run", "folder"]), GREETED);
    assert_eq!(ok(&dir, &["run", "packed"]), GREETED);

    // The newest of several; the project's before the user's.
    fs::write(dir.path().join("home/host/recipes/packed-0.9.0.tar.zst"), "older").unwrap();
    assert_eq!(ok(&dir, &["run", "packed"]), GREETED);
    fs::write(dir.path().join("recipes/packed.rhai"), "//! Mine.\nprint(\"project\");").unwrap();
    assert_eq!(ok(&dir, &["run", "packed"]), "project\n");
    fs::write(dir.path().join("recipes/finetune.rhai"), "print(\"my finetune\");").unwrap();
    assert_eq!(ok(&dir, &["run", "finetune"]), "my finetune\n");
    assert!(refused(&dir, &["run", "packd"]).contains("did you mean `packed`?"));

    let list = ok(&dir, &["ls"]);
    let row = |name: &str| list.lines().find(|l| l.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{list}"));
    assert!(row("folder").ends_with("Says good day.") && row("evaluate").contains("Loss, perplexity"), "{list}");
    assert!(list.contains("finetune") && list.contains("(hidden by the one above)"), "{list}");
    let json: serde_json::Value = serde_json::from_str(&ok(&dir, &["ls", "--json"])).unwrap();
    let all = json.as_array().unwrap();
    let user = all.iter().find(|r| r["from"] == "user").unwrap();
    assert_eq!((&user["name"], &user["version"], &user["hidden"]), (&"packed".into(), &"0.3.0".into(), &true.into()));
    assert_eq!(
        all.iter().filter(|r| r["from"] == "built-in").count(),
        ok(&Dir::with(&[]), &["ls", "--names"]).lines().count()
    );
}

/// Protects `host run <(..)`: a script that comes through a pipe with a name is read whole.
#[test]
fn a_pipe_is_no_pack() {
    let dir = Dir::with(&[]);
    let script = format!("{} run <(echo 'print(7 * 6);')", env!("CARGO_BIN_EXE_host"));
    let out = std::process::Command::new("bash").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "42\n", "{}", String::from_utf8_lossy(&out.stderr));
}

/// Protects packs: the same files give the same bytes whatever their times and modes; what is hidden stays at home.
#[test]
fn packs_are_reproducible() {
    let dir = greet();
    let said = ok(&dir, &["pack", "greet"]);
    assert!(said.contains("left out: .git/, runs/") && said.contains("greet-0.3.0.tar.zst: 4 files"), "{said}");
    let first = fs::read(dir.path().join("greet-0.3.0.tar.zst")).unwrap();
    let other = greet();
    let main = other.path().join("greet/src/main.rhai");
    fs::set_permissions(&main, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::File::open(&main).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::write(other.path().join("greet/.hidden"), "x").unwrap();
    ok(&other, &["pack", "./greet/", "-o", "elsewhere.tar.zst"]);
    assert!(first == fs::read(other.path().join("elsewhere.tar.zst")).unwrap(), "the bytes differ");
    assert!(!zstd::decode_all(&first[..]).unwrap().windows(6).any(|w| w == b"secret"));
}

/// Protects whoever packs: what would not run elsewhere is not packed, and the reason is named.
#[test]
fn a_faulty_recipe_is_not_packed() {
    let dir = greet();
    let write = |path: &str, text: &str| fs::write(dir.path().join(path), text).unwrap();
    fs::create_dir(dir.path().join("bare")).unwrap();
    assert!(refused(&dir, &["pack", "bare"]).contains("no recipe.toml in it"));
    assert!(refused(&dir, &["pack", "nowhere"]).contains("no recipe.toml in it"));

    write("outside.txt", "x");
    std::os::unix::fs::symlink("../outside.txt", dir.path().join("greet/link.txt")).unwrap();
    let said = refused(&dir, &["pack", "greet"]);
    assert!(said.contains("greet/link.txt is a link out of the recipe's folder, to "), "{said}");
    fs::remove_file(dir.path().join("greet/link.txt")).unwrap();
    std::os::unix::fs::symlink("/", dir.path().join("greet/all")).unwrap();
    assert!(refused(&dir, &["pack", "greet"]).contains("greet/all is a link to a folder"));
    fs::remove_file(dir.path().join("greet/all")).unwrap();
    // A link inside is packed as the file it means.
    std::os::unix::fs::symlink("data.json", dir.path().join("greet/same.json")).unwrap();
    assert!(ok(&dir, &["pack", "greet"]).contains("5 files"));

    write("greet/src/words.rhai", "fn word( { }");
    assert!(refused(&dir, &["pack", "greet"]).contains("greet/src/words.rhai:1"));
    write("greet/src/words.rhai", "fn word() { \"hello\" }");
    for (line, message) in [
        ("[options]\nwhoo = \"x\"", "unknown option: `whoo`"),
        ("[options]\nwho = 3", "option `who` is 3; expected text"),
        ("[options]\nhow = { lod = true }", "expected a JSON object with the keys loud, times"),
    ] {
        write("greet/recipe.toml", &format!("{MANIFEST}entry = \"src/main.rhai\"\n{line}\n"));
        let said = refused(&dir, &["pack", "greet"]);
        assert!(said.contains(message) && said.contains("greet/recipe.toml:6"), "{said}");
        assert!(refused(&dir, &["run", "greet"]).contains(message));
        assert!(refused(&dir, &["check", "greet"]).contains(message));
    }
    write("greet/recipe.toml", &format!("{MANIFEST}entry = \"src/mian.rhai\"\n"));
    assert!(refused(&dir, &["run", "greet"]).contains("`entry` names src/mian.rhai, and there is no such file"));
    write("greet/recipe.toml", &format!("{MANIFEST}min_host = \"77.0.0\"\nentry = \"src/main.rhai\"\n"));
    let said = refused(&dir, &["run", "greet"]);
    let this = env!("CARGO_PKG_VERSION");
    assert!(said.contains(&format!("the recipe `greet` needs host 77.0.0 or newer; this is host {this}")), "{said}");
}

/// Protects `host cp`: built-in recipes, folders and packs; nothing is overwritten unasked; it says what to do next.
#[test]
fn recipes_are_copied() {
    let dir = greet();
    let said = ok(&dir, &["cp", "generate"]);
    assert!(
        said.starts_with("copied generate to generate.rhai\nnext: ") && said.contains("`host run generate.rhai`"),
        "{said}"
    );
    assert!(ok(&dir, &["run", "generate.rhai", "--help"]).contains("Continue a prompt"));
    assert!(refused(&dir, &["cp", "generate"]).contains("generate.rhai exists already"));
    fs::write(dir.path().join("generate.rhai"), "mine").unwrap();
    ok(&dir, &["cp", "generate", "--force"]);
    assert!(fs::read_to_string(dir.path().join("generate.rhai")).unwrap().contains("Continue a prompt"));
    ok(&dir, &["cp", "generate", "recipes/mine"]);
    assert!(ok(&dir, &["run", "mine", "--help"]).contains("Continue a prompt"));

    assert!(ok(&dir, &["cp", "greet", "hello"]).contains("4 files"));
    assert_eq!(ok(&dir, &["run", "./hello"]), GREETED);
    assert!(!dir.path().join("hello/.git").exists());
    assert!(refused(&dir, &["cp", "greet", "hello/../greet/.."]).contains("is the recipe itself"));
    ok(&dir, &["pack", "greet"]);
    ok(&dir, &["cp", "greet-0.3.0.tar.zst", "unpacked"]);
    assert_eq!(ok(&dir, &["run", "unpacked"]), GREETED);
    assert!(refused(&dir, &["cp", "finetun"]).contains("did you mean `finetune`?"));
}

/// One entry of a hand-made archive.
#[derive(Clone, Copy)]
struct Entry<'a>(&'a str, u8, &'a [u8]);

/// A `.tar.zst` with `entries` as they are, however wrong.
fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = zstd::Encoder::new(Vec::new(), 3).unwrap();
    out.include_checksum(true).unwrap();
    for Entry(name, kind, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        if matches!(kind, b'1' | b'2') {
            header.set_link_name_literal("/etc/passwd").unwrap();
        }
        header.set_cksum();
        out.write_all(header.as_bytes()).unwrap();
        out.write_all(bytes).unwrap();
        out.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()]).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.finish().unwrap()
}

/// Protects whoever runs a pack from the net: it writes nowhere but below a folder of its own, which is gone afterwards, ends
/// with a clear error, and runs nothing.
#[test]
fn hostile_packs_do_no_harm() {
    let dir = Dir::with(&[("tmp/keep", "")]);
    let main = Entry("r/main.rhai", b'0', b"print(\"ran\");");
    let good = archive(&[Entry("r/main.rhai", b'0', b"print(\"ran\");")]);
    let run = |bytes: &[u8]| {
        fs::write(dir.path().join("p.tar.zst"), bytes).unwrap();
        let mut command = dir.host(&["run", "p.tar.zst"]);
        let done = command.env("TMPDIR", dir.path().join("tmp")).output().unwrap();
        let left: Vec<_> = fs::read_dir(dir.path().join("tmp")).unwrap().collect();
        assert_eq!(left.len(), 1, "unpacked files were left behind: {left:?}");
        (done.status.code(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    assert_eq!(run(&good), (Some(0), "ran\n".into(), String::new()));

    let mut many: Vec<Entry> = (0..4200).map(|_| Entry("r/x", b'5', b"")).collect();
    many.insert(0, Entry("r/main.rhai", b'0', b"print(\"ran\");"));
    let zeros = vec![0; 64 << 20];
    let names: Vec<String> = (0..9).map(|i| format!("r/zeros{i}")).collect();
    let bomb: Vec<Entry> = names.iter().map(|n| Entry(n, b'0', &zeros)).collect();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("parent", archive(&[Entry("../evil", b'0', b"x"), main]), "leads out of the folder"),
        ("deep parent", archive(&[Entry("r/a/../../../evil", b'0', b"x")]), "leads out of the folder"),
        ("absolute", archive(&[Entry("/tmp/evil", b'0', b"x")]), "is an absolute path"),
        ("backslash", archive(&[Entry("r\\..\\evil", b'0', b"x")]), "a character that names in a pack may not have"),
        ("symlink", archive(&[Entry("r/l", b'2', b""), Entry("r/l/evil", b'0', b"x")]), "is a symbolic link"),
        ("hard link", archive(&[Entry("r/l", b'1', b"")]), "is a hard link"),
        ("device", archive(&[Entry("r/d", b'3', b"")]), "is a device"),
        ("pipe", archive(&[Entry("r/f", b'6', b"")]), "is a named pipe"),
        ("long name", archive(&[Entry("r/x", b'L', b"../../evil")]), "is an extended header"),
        ("pax", archive(&[Entry("r/x", b'x', b"19 path=../../evil\n")]), "is an extended header"),
        ("twice", archive(&[Entry("r/a", b'0', b"1"), Entry("r/a", b'0', b"2")]), "is in it twice"),
        ("file as folder", archive(&[Entry("r/a", b'0', b"1"), Entry("r/a/b", b'0', b"2")]), "cannot be unpacked"),
        ("many", archive(&many), "more than 4096 files"),
        ("bomb", archive(&bomb), "more than 512 MiB, unpacked"),
        ("cut off", good[..good.len() - 5].to_vec(), "is damaged or no pack at all"),
        ("cut in half", good[..good.len() / 2].to_vec(), "is damaged or no pack at all"),
        ("changed", flipped, "is damaged or no pack at all"),
        ("empty", Vec::new(), "is damaged or no pack at all"),
        ("text", b"hello".to_vec(), "is damaged or no pack at all"),
        ("no tar", zstd::encode_all(&b"hello"[..], 3).unwrap(), "is damaged or no pack at all"),
        ("no script", archive(&[Entry("r/readme", b'0', b"x")]), "there is no script to run in it"),
    ];
    for (what, bytes, message) in cases {
        let (code, out, err) = run(&bytes);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{what}: {err}");
        assert!(err.contains(message) && err.contains("p.tar.zst"), "{what}: {err}");
        assert!(
            !dir.path().join("evil").exists()
                && !dir.path().join("tmp/evil").exists()
                && !Path::new("/tmp/evil").exists()
        );
    }
}
