//! What the script costs: a training step of the recipe in Rhai beside the same step in Rust, and single native calls.
//!
//!   cargo bench --bench script_overhead
//!
//! The two steps take turns, so that whatever else the machine does meets both. The bound: under 1 % for a step of the
//! embedded model on one record, under 0.5 us for a native call.

use candle_core::{DType, Device};
use criterion::Criterion;
use lora_host::bindings::HostContext;
use lora_host::engine::autograd::{Autocast, Tensor, autocast_guard};
use lora_host::engine::data::{
    self,
    batch::Batch,
    loader::{LoaderOptions, Windows},
    source::ReadOptions,
    split::Subset,
    tokenize::{TokenizeOptions, tokenize},
};
use lora_host::engine::llama::Llama;
use lora_host::engine::lora::LoraConfig;
use lora_host::engine::ops::arith;
use lora_host::engine::optim::adamw::{AdamW, AdamWConfig};
use lora_host::engine::optim::clip::clip_grad_norm;
use lora_host::engine::optim::scaler::{GradScaler, GradScalerConfig};
use lora_host::engine::optim::schedule::{Schedule, ScheduleConfig};
use lora_host::engine::optim::{NamedParam, Optimizer};
use lora_host::engine::progress::Silent;
use lora_host::engine::{Result, rng};
use lora_host::script::Host;
use rhai::{AST, Dynamic, Scope};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the recipe `finetune` does before its first step, for one record.
const SETUP: &str = r#"
    seed(1024);
    let model = llama::load("builtin:stories260K");
    model.freeze();
    model.inject_lora(#{ rank: 16, alpha: 32.0, dropout: 0.05 });
    model.checkpoint_every(2);
    let opt = optim::adamw(model.trainable(), #{ lr: 1e-3, weight_decay: 0.01 });
    let scaler = optim::grad_scaler(#{ enabled: false });
    let sched = optim::schedule("constant", #{ lr: 1e-3 });
    let set = data::load("builtin:seed-tasks").take(1).tokenize(model.tokenizer, #{ max_seq_len: 512 });
    let window = [];
    for w in set.batches(#{ size: 1, accumulate: 1 }) { window = w; }
    let o = #{ amp: "bf16", max_norm: 0.1 };
    let step = 0;
"#;

/// The recipe's step, without what it writes to files and to the terminal.
const STEP: &str = r#"
    sched.apply(opt, step);
    for batch in window {
        let loss = autocast o.amp { model.loss(batch) };
        scaler.scale(loss * batch.weight).backward();
    }
    scaler.unscale(opt);
    let norm = opt.clip_grad_norm(o.max_norm);
    let taken = scaler.step(opt);
    opt.zero_grad();
    step += 1;
"#;

/// The same in Rust.
struct Native {
    model: Llama,
    optimizer: AdamW,
    scaler: GradScaler,
    schedule: Schedule,
    window: Vec<Batch>,
    step: u64,
}

impl Native {
    fn new() -> Result<Self> {
        rng::seed(1024);
        let mut model = Llama::load("builtin:stories260K", DType::F32, &Device::Cpu, &mut |_, _| {})?;
        model.freeze()?;
        model.inject_lora(LoraConfig { rank: 16, alpha: 32.0, dropout: 0.05, ..LoraConfig::default() })?;
        model.checkpoint_every = 2;
        let params: Vec<NamedParam> = model.trainable()?;
        let records = data::source::load("builtin:seed-tasks", &ReadOptions::default())?.select(0..1)?;
        let tokenizer = Arc::new(model.tokenizer.clone().expect("the embedded model has one"));
        let set = tokenize(&records, tokenizer, &TokenizeOptions::default())?;
        let window = Windows::new(&set, LoaderOptions::default())?.next().expect("one record makes one window");
        Ok(Native {
            model,
            optimizer: AdamW::new(params, AdamWConfig { lr: 1e-3, weight_decay: 0.01, ..AdamWConfig::default() })?,
            scaler: GradScaler::new(GradScalerConfig { enabled: false, ..GradScalerConfig::default() })?,
            schedule: Schedule::parse("constant", ScheduleConfig { base_lr: 1e-3, ..ScheduleConfig::default() })?,
            window,
            step: 0,
        })
    }

    fn step(&mut self) -> Result<()> {
        self.optimizer.set_lr(self.schedule.lr(self.step))?;
        for batch in &self.window {
            let loss = {
                let _amp = autocast_guard(Autocast::Bf16);
                let ids = batch.input_tensor(&self.model.device)?;
                self.model.loss(&ids, &batch.labels, Some(&batch.documents))?.mean
            };
            self.scaler.scale(&arith::mul_number(&loss, batch.weight)?)?.backward()?;
        }
        self.scaler.unscale(self.optimizer.params())?;
        clip_grad_norm(self.optimizer.params(), 0.1)?;
        self.scaler.step(&mut self.optimizer)?;
        self.scaler.update()?;
        self.optimizer.zero_grad();
        self.step += 1;
        Ok(())
    }
}

/// A host and a script's variables.
struct Scripted {
    host: Host,
    scope: Scope<'static>,
}

impl Scripted {
    fn new(setup: &str) -> Self {
        let host = Host::new(&Arc::new(HostContext::new(Arc::new(Silent))), None);
        let mut scripted = Scripted { host, scope: Scope::new() };
        let ast = scripted.compile(setup);
        scripted.run(&ast);
        scripted
    }

    fn compile(&self, text: &str) -> AST {
        self.host.parse("bench", text).unwrap_or_else(|e| panic!("{}", e.message))
    }

    fn run(&mut self, ast: &AST) {
        let done = self.host.engine().eval_ast_with_scope::<Dynamic>(&mut self.scope, ast);
        drop(done.unwrap_or_else(|e| panic!("{e}")));
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Script and Rust in turn; what is printed is the median of each, and of the ratios of neighbours.
fn steps() -> Result<()> {
    const ROUNDS: usize = 400;
    const LONGEST: Duration = Duration::from_secs(60);
    let mut script = Scripted::new(SETUP);
    let step = script.compile(STEP);
    let mut native = Native::new()?;
    for _ in 0..5 {
        script.run(&step);
        native.step()?;
    }
    let (mut scripted, mut plain) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for round in 0..ROUNDS {
        if start.elapsed() > LONGEST {
            break;
        }
        // Who goes first changes, too.
        if round % 2 == 0 {
            scripted.push(timed(|| script.run(&step)).as_secs_f64());
        }
        let mut result = Ok(());
        plain.push(timed(|| result = native.step()).as_secs_f64());
        result?;
        if round % 2 == 1 {
            scripted.push(timed(|| script.run(&step)).as_secs_f64());
        }
    }
    let ratios = scripted.iter().zip(&plain).map(|(s, p)| s / p).collect();
    println!(
        "training step, {} rounds in turn: script {:.3} ms, Rust {:.3} ms, ratio {:.4}",
        plain.len(),
        1e3 * median(scripted),
        1e3 * median(plain),
        median(ratios),
    );
    Ok(())
}

/// One native call in a loop of the script. `empty` is a round of the loop that only sets a variable: what to take off the
/// others. (A body without a statement would be optimised away, loop and all.)
fn calls(c: &mut Criterion) {
    const ROUNDS: u64 = 1000;
    let mut group = c.benchmark_group("call");
    let setup = "let k = 0; let t = tensor(2.0); let opt = optim::adamw([ones([2], #{ requires_grad: true })]);";
    let bodies =
        [("empty", "k = i;"), ("t.shape", "t.shape;"), ("opt.lr", "opt.lr;"), ("t.neg()", "t.neg();"), ("-t", "-t;")];
    for (name, body) in bodies {
        let mut script = Scripted::new(setup);
        let ast = script.compile(&format!("for i in 0..{ROUNDS} {{ {body} }}"));
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                let total = timed(|| (0..n).for_each(|_| script.run(&ast)));
                total.div_f64(ROUNDS as f64)
            });
        });
    }
    let t = Tensor::new(candle_core::Tensor::new(2f32, &Device::Cpu).expect("a number fits"));
    group.bench_function("neg in Rust", |b| b.iter(|| black_box(arith::neg(black_box(&t))).map(drop)));
    group.finish();
}

fn main() {
    if let Err(e) = steps() {
        panic!("{e}");
    }
    let mut criterion = Criterion::default().configure_from_args();
    calls(&mut criterion);
    criterion.final_summary();
}
