//! `queue::each` with jobs side by side, through the real binary: results, failures, Ctrl-C.

mod cli_support;

use cli_support::{Dir, workers_left};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Two trainings that take long enough to be stopped in the middle.
const TRAININGS: &str = r#"
import "std/instruct" as instruct;
import "std/queue" as queue;
import "std/train" as train;
const OPTIONS = #{ lanes: 1 };
let model = llama::load("builtin:stories260K");
let data = instruct::load("builtin:seed-tasks", model.tokenizer, #{ limit: 20, max_seq_len: 64, template: "{instruction}\n" });
let q = queue::open("runs/q", #{ seed: 1 }, [["rank 2", 1.0], ["rank 4", 1.0]]);
let found = queue::each(q, [2, 4], |rank| `rank ${rank}`, |rank| {
    seed(1);
    model.remove_adapter();
    model.inject_lora(#{ rank: rank, dropout: 0.1 });
    let done = train::run(model, data, #{
        out: `${q.dir}/rank-${rank}`, policy: "continue", quiet: true, max_steps: 80, batch_size: 1, grad_accum_steps: 1,
        save_every: 40, amp: "off", seed: 1,
    });
    [done.step, done.val_loss]
}, #{ lanes: options().lanes });
queue::close(q);
print(found);
"#;

/// One job that fails, and one that would take for ever.
const FAILING: &str = r#"
import "std/queue" as queue;
const OPTIONS = #{ mended: false, bad: true };
let o = options();
let q = queue::open("runs/q", #{}, [["quick", 1.0], ["slow", 1.0], ["bad luck", 1.0], ["late", 1.0]]);
let found = queue::each(q, ["quick", "slow", "bad luck", "late"], |name| name, |name| {
    if name == "slow" && !o.mended { sleep(600); }
    if name == "bad luck" && o.bad && !o.mended { throw "disk on fire"; }
    `${name}: ${threads()}`
}, #{ lanes: 2 });
print(found);
"#;

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Waits until `ready`, or fails: a test that waits for ever says nothing.
fn wait_until(child: &mut Child, what: &str, ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {what}");
        assert!(began.elapsed() < Duration::from_secs(60), "no {what} in a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Protects work from Ctrl-C, sent to the coordinator alone: its workers end their step and save, it waits for them and leaves
/// with 130; the same command, with any number of lanes, ends with what an undisturbed run gives.
#[cfg(unix)]
#[test]
fn ctrl_c_saves_what_workers_did() {
    let files = [("t.rhai", TRAININGS)];
    let (whole, stopped) = (Dir::with(&files), Dir::with(&files));
    let wanted = whole.run(&["run", "t.rhai"]);
    assert_eq!(wanted.code, Some(0), "{wanted:?}");

    let mut command = stopped.host(&["run", "t.rhai", "--lanes", "2"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = |rank: usize| stopped.path().join(format!("runs/q/rank-{rank}/log.jsonl"));
    wait_until(&mut child, "two trainings at their third step", || [2, 4].iter().all(|r| lines(&log(*r)) > 3));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(130), "{said}");
    assert!(said.contains("finishing this step") && said.contains("the same command goes on"), "{said}");
    assert_eq!(workers_left(stopped.path()), [""; 0]);
    for rank in [2, 4] {
        assert!(lines(&log(rank)) < 80, "rank {rank} was not stopped");
    }

    let again = stopped.run(&["run", "t.rhai", "--lanes", "2"]);
    assert_eq!((again.code, &again.out), (Some(0), &wanted.out), "{again:?}");
    for number in [1, 2] {
        let log = std::fs::read_to_string(stopped.path().join(format!("runs/q/workers/{number}.log"))).unwrap();
        assert!(log.contains("resuming"), "worker {number} began from its start: {log}");
    }
}

/// Protects whoever looks for the cause: a job that fails in a worker stops the others, and its error names the job, shows what it
/// said and where all of it is. What was done is kept; mended, the same command does the rest.
#[test]
fn a_failing_worker_is_shown() {
    let dir = Dir::with(&[("t.rhai", FAILING)]);
    let began = Instant::now();
    let failed = dir.run(&["run", "t.rhai"]);
    assert!(began.elapsed() < Duration::from_secs(60), "the slow job was not stopped");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for part in [
        "\"bad luck\" failed",
        "disk on fire",
        "runs/q/workers/3.log",
        "the same command goes on",
        "job 1 of 4: quick: done",
    ] {
        assert!(failed.err.contains(part), "no `{part}` in:\n{}", failed.err);
    }
    assert!(!failed.err.contains("job 4 of 4"), "a job began after one had failed:\n{}", failed.err);
    assert_eq!(workers_left(dir.path()), [""; 0]);

    let mended = dir.run(&["run", "t.rhai", "--mended"]);
    assert_eq!(mended.code, Some(0), "{mended:?}");
    assert!(mended.err.contains("1 of 4 jobs are done"), "{}", mended.err);
    assert!(["quick: 1", "slow: 1", "bad luck: 1", "late: 1"].iter().all(|r| mended.out.contains(r)), "{}", mended.out);
}

/// Protects the machine from processes that nobody waits for: killed without a chance to say anything, a coordinator takes its
/// workers along, in the middle of whatever they do. What had ended is kept, and the same command does the rest.
#[test]
fn workers_die_with_their_coordinator() {
    let dir = Dir::with(&[("t.rhai", FAILING)]);
    let mut child = dir.host(&["run", "t.rhai", "--no-bad", "--quiet"]).spawn().unwrap();
    let notes = dir.path().join("runs/q/notes.json");
    wait_until(&mut child, "the last job's result", || {
        std::fs::read_to_string(&notes).is_ok_and(|kept| kept.contains("job late"))
    });
    assert!(child.try_wait().unwrap().is_none(), "the slow job cannot have ended");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(workers_left(dir.path()), [""; 0]);
    let again = dir.run(&["run", "t.rhai", "--mended"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.err.contains("3 of 4 jobs are done") && again.out.contains("slow: "), "{again:?}");
}

/// Protects from silent surprises: where no process can be started, such as in a script that another one runs, the jobs run in
/// turn.
#[test]
fn without_workers_jobs_run_in_turn() {
    let outer = r#"print(run_script("t.rhai", #{ mended: true }).output);"#;
    let dir = Dir::with(&[("t.rhai", FAILING), ("outer.rhai", outer)]);
    let done = dir.run(&["run", "outer.rhai", "--threads", "3"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.contains("slow: 3") && !done.err.contains(": done in"), "{done:?}");
}
