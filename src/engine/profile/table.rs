//! A profile as a table, the most expensive operation first.

use super::{Phase, Profile, Total};
use std::fmt::Write;
use std::time::Duration;

/// Where the time went that no operation took.
const REST: &str = "script and the rest";

fn per_second(amount: f64, time: Duration) -> String {
    let rate = amount / time.as_secs_f64() / 1e9;
    if amount <= 0.0 || !rate.is_finite() { "-".into() } else { format!("{rate:.1}") }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", 1e3 * time.as_secs_f64())
}

impl Profile {
    /// Milliseconds, share of all, GFLOP/s and GB/s of each operation and phase; then what no operation took.
    pub fn table(&self) -> String {
        let wall = self.wall.as_secs_f64().max(f64::MIN_POSITIVE);
        let share = |time: Duration| format!("{:.1}", 100.0 * time.as_secs_f64() / wall);
        let mut totals: Vec<(&(&str, Phase), &Total)> = self.totals.iter().collect();
        totals.sort_by_key(|(_, t)| std::cmp::Reverse(t.time));
        let mut rows = vec![["operation", "phase", "calls", "ms", "%", "GFLOP/s", "GB/s"].map(String::from)];
        let mut whole = Total::default();
        for ((op, phase), t) in totals {
            let counts = [t.calls.to_string(), milliseconds(t.time), share(t.time)];
            let rates = [per_second(t.flops, t.time), per_second(t.bytes, t.time)];
            let [calls, ms, percent] = counts;
            let [flops, bytes] = rates;
            rows.push([(*op).into(), phase.name().into(), calls, ms, percent, flops, bytes]);
            whole.calls += t.calls;
            whole.time += t.time;
            whole.flops += t.flops;
        }
        let rest = self.wall.saturating_sub(whole.time);
        let none = || "-".to_string();
        rows.push([REST.into(), String::new(), none(), milliseconds(rest), share(rest), none(), none()]);
        let flops = per_second(whole.flops, self.wall);
        let calls = whole.calls.to_string();
        rows.push(["all".into(), String::new(), calls, milliseconds(self.wall), "100.0".into(), flops, none()]);
        laid_out(&rows)
    }
}

/// In columns two blanks apart, words to the left and numbers to the right.
fn laid_out(rows: &[[String; 7]]) -> String {
    let width = |i: usize| rows.iter().map(|r| r[i].len()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let w = width(i);
            // Writing to a string cannot fail.
            let _ = if i < 2 { write!(line, "{cell:<w$}  ") } else { write!(line, "{cell:>w$}  ") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Protects the table: order, shares of the whole, rates, and the rest.
    #[test]
    fn the_dearest_comes_first() {
        let ms = Duration::from_millis;
        let total = |calls, time, flops, bytes| Total { calls, time: ms(time), flops, bytes };
        let totals = BTreeMap::from([
            (("linear", Phase::Forward), total(2, 200, 20e9, 0.0)),
            (("linear", Phase::Backward), total(1, 500, 50e9, 1e9)),
        ]);
        let table = Profile { wall: ms(1000), totals, events: Vec::new(), left_out: 0 }.table();
        let want = "\
operation            phase     calls      ms      %  GFLOP/s  GB/s
linear               backward      1   500.0   50.0    100.0   2.0
linear               forward       2   200.0   20.0    100.0     -
script and the rest                -   300.0   30.0        -     -
all                                3  1000.0  100.0     70.0     -";
        assert_eq!(table, want, "\n{table}");
    }
}
