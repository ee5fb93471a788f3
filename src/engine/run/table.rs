//! The log for spreadsheets: `log.csv`, one row for each line, one column for each name that occurs.

use super::log::Fields;
use crate::engine::{Error, Result};
use serde_json::Value;

/// `lines` as CSV (RFC 4180). Names in the order in which they first occur; what a line does not have is empty.
///
/// # Errors
/// None that this data could cause: what the library reports.
pub fn csv(lines: &[Fields]) -> Result<Vec<u8>> {
    let failed = |e: String| Error::config(format!("log.csv: {e}"));
    let mut names: Vec<&str> = vec!["kind", "step", "epoch"];
    for name in lines.iter().flat_map(|l| l.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(&names).map_err(|e| failed(e.to_string()))?;
    for line in lines {
        let cell = |name: &&str| match line.get(*name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        out.write_record(names.iter().map(cell)).map_err(|e| failed(e.to_string()))?;
    }
    out.into_inner().map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Protects spreadsheets: every name has a column, gaps are empty, text cannot break a row.
    #[test]
    fn every_name_is_a_column() {
        let lines: Vec<Fields> = serde_json::from_value(json!([
            {"kind": "step", "step": 1, "epoch": 1, "loss": 2.5, "grad_norm": "NaN"},
            {"kind": "eval", "step": 1, "epoch": 1, "val_loss": null, "word": "a,\"b\"\nc"},
        ]))
        .unwrap();
        let text = String::from_utf8(csv(&lines).unwrap()).unwrap();
        assert_eq!(
            text,
            "kind,step,epoch,loss,grad_norm,val_loss,word\nstep,1,1,2.5,NaN,,\neval,1,1,,,,\"a,\"\"b\"\"\nc\"\n"
        );
    }
}
