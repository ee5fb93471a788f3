//! Matrix products at the shapes of SmolLM2-135M, in GFLOP/s, over all threads.
//!
//!   cargo bench --bench gemm            # ours, and candle's matmul beside it
//!
//! `m` is 512 (a full row of tokens) and 100 (a record of Alpaca's size). For PyTorch's figures on the same machine run
//! the same shapes through `torch.matmul` with as many threads.

use candle_core::{DType, Device, Tensor};
use half::bf16;
use lora_host::engine::ops::gemm::dense::{Element, Form, Size, Update};
use std::time::{Duration, Instant};

/// Name, form, and `n`, `k` for any `m`.
const SHAPES: [(&str, Form, usize, usize); 10] = [
    ("q, o      x W^T", Form::Nt, 576, 576),
    ("k, v      x W^T", Form::Nt, 192, 576),
    ("gate, up  x W^T", Form::Nt, 1536, 576),
    ("down      x W^T", Form::Nt, 576, 1536),
    ("down      dy W ", Form::Nn, 1536, 576),
    ("gate, up  dy W ", Form::Nn, 576, 1536),
    ("head      x W^T", Form::Nt, 49152, 576),
    ("head      dy W ", Form::Nn, 576, 49152),
    ("lora A    x W^T", Form::Nt, 16, 576),
    ("lora B    x W^T", Form::Nt, 576, 16),
];

/// The median of repetitions for half a second.
fn median(mut work: impl FnMut()) -> f64 {
    work();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 5 || start.elapsed() < Duration::from_millis(500) {
        let at = Instant::now();
        work();
        times.push(at.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 1021) as f32 / 512.0 - 1.0).collect()
}

fn ours<T: Element + Default>(form: Form, size: Size, convert: impl Fn(f32) -> T) -> f64 {
    let filled = |n| numbers(n).into_iter().map(&convert).collect::<Vec<T>>();
    let (a, b) = (filled(size.m * size.k), filled(size.n * size.k));
    let mut c = vec![T::default(); size.m * size.n];
    median(|| T::product(form, size, &a, &b, &mut c, Update::SET))
}

fn candle(form: Form, Size { m, n, k }: Size, dtype: DType) -> candle_core::Result<f64> {
    let filled = |r, c| Tensor::from_vec(numbers(r * c), (r, c), &Device::Cpu)?.to_dtype(dtype);
    let a = filled(m, k)?;
    let b = if form == Form::Nt { filled(n, k)?.t()? } else { filled(k, n)? };
    a.matmul(&b)?;
    Ok(median(|| drop(a.matmul(&b))))
}

fn main() -> candle_core::Result<()> {
    println!("| product | m | n | k | f32 | candle f32 | bf16 | candle bf16 |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for m in [512, 100] {
        for (name, form, n, k) in SHAPES {
            let size = Size { m, n, k };
            let rate = |seconds: f64| 2e-9 * (m * n * k) as f64 / seconds;
            println!(
                "| {name} | {m} | {n} | {k} | {:.0} | {:.0} | {:.0} | {:.0} |",
                rate(ours(form, size, |x| x)),
                rate(candle(form, size, DType::F32)?),
                rate(ours(form, size, bf16::from_f32)),
                rate(candle(form, size, DType::BF16)?),
            );
        }
    }
    Ok(())
}
