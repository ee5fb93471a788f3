//! A profile as a file in the Trace Event Format, which <https://ui.perfetto.dev> and chrome://tracing show.

use super::Profile;
use crate::engine::atomic::write_atomic;
use crate::engine::error::Result;
use serde_json::{Value, json};
use std::path::Path;

impl Profile {
    /// Writes every call with its time, phase, GFLOP and MB into `path`; returns how many calls were left out, the last ones,
    /// because no viewer opens a larger file.
    ///
    /// # Errors
    /// The file system.
    pub fn write_trace(&self, path: &Path) -> Result<u64> {
        let process = json!({"name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "host"}});
        let calls = self.events.iter().map(|e| {
            json!({
                "name": e.op, "cat": e.phase.name(), "ph": "X", "pid": 1, "tid": 1,
                "ts": e.at.as_nanos() as f64 / 1e3, "dur": e.time.as_nanos() as f64 / 1e3,
                "args": {"phase": e.phase.name(), "GFLOP": e.flops / 1e9, "MB": e.bytes / 1e6},
            })
        });
        let events: Vec<Value> = std::iter::once(process).chain(calls).collect();
        write_atomic(path, json!({"displayTimeUnit": "ms", "traceEvents": events}).to_string().as_bytes())?;
        Ok(self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{span, start, stop, work};
    use serde_json::Value;

    /// Protects the trace: valid JSON, calls nested in time as they were in fact.
    #[test]
    fn a_viewer_can_read_it() {
        start(true);
        {
            let _outer = span("outer");
            let _inner = span("inner");
            work(2e9, 3_000_000);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        assert_eq!(stop().unwrap().write_trace(&path).unwrap(), 0);
        let trace: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let [_, inner, outer] = events.as_slice() else { panic!("{events:?}") };
        let number = |event: &Value, key: &str| event[key].as_f64().unwrap();
        assert_eq!(
            (&inner["name"], &inner["args"]["GFLOP"], &inner["args"]["MB"]),
            (&"inner".into(), &2.0.into(), &3.0.into())
        );
        assert!(number(outer, "ts") <= number(inner, "ts"));
        assert!(number(outer, "ts") + number(outer, "dur") >= number(inner, "ts") + number(inner, "dur"));
    }
}
