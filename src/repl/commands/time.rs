//! `:time`: what an expression costs.

use super::{Answer, Next, needs};
use crate::engine::memory;
use crate::repl::prompt::Prompt;
use crate::repl::show::{count, size};
use crate::script::operations;
use std::time::{Duration, Instant};

pub(super) fn time(prompt: &mut dyn Prompt, text: &str) -> Answer {
    if text.is_empty() {
        return Err(needs(":time needs an expression to run"));
    }
    let (heap, peak) = (memory::current(), memory::peak());
    let start = Instant::now();
    let value = prompt.eval(text)?;
    let elapsed = start.elapsed();
    let cost = cost(elapsed, operations(), (heap, memory::current()), (peak, memory::peak()));
    prompt.show(&value);
    prompt.line(&cost);
    Ok(Next::Input)
}

/// One line; heap and its peak are given before and after.
fn cost(elapsed: Duration, operations: u64, heap: (usize, usize), peak: (usize, usize)) -> String {
    let change = match heap {
        (before, after) if after >= before => format!("+{}", size(after - before)),
        (before, after) => format!("-{}", size(before - after)),
    };
    let plural = if operations == 1 { "" } else { "s" };
    let operations = count(operations);
    let peak = match peak {
        (before, after) if after > before => format!(", new peak {}", size(after)),
        _ => String::new(),
    };
    format!("{elapsed:.3?}, {operations} operation{plural}, memory {change}{peak}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the sign of the change, and the peak that is news only when it rose.
    #[test]
    fn costs_are_told() {
        let mib = 1 << 20;
        assert_eq!(
            cost(Duration::from_micros(1500), 12_345, (mib, 3 * mib), (5 * mib, 6 * mib)),
            "1.500ms, 12,345 operations, memory +2.0 MiB, new peak 6.0 MiB"
        );
        assert_eq!(cost(Duration::from_secs(2), 1, (mib, 0), (mib, mib)), "2.000s, 1 operation, memory -1.0 MiB");
    }
}
