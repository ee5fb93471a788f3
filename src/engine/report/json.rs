//! `report.json`: the data given by name, then each section's parts in order.

use super::{Answer, Part, Report};
use serde_json::{Value, json};

pub(super) fn write(report: &Report) -> Value {
    let mut files = report.figures().map(|(file, _)| file);
    let sections: Vec<Value> = report
        .sections
        .iter()
        .map(|section| {
            let parts: Vec<Value> = section.parts.iter().map(|part| one(part, &mut files)).collect();
            json!({"title": section.title, "parts": parts})
        })
        .collect();
    json!({"title": report.title, "subtitle": report.subtitle, "data": report.data, "sections": sections})
}

fn one(part: &Part, files: &mut impl Iterator<Item = String>) -> Value {
    match part {
        Part::Text { text, measured } => json!({"kind": "text", "text": text, "measured": measured}),
        Part::Table(t) => json!({
            "kind": "table", "caption": t.caption, "source": t.source,
            "columns": t.columns, "measured": t.measured, "rows": t.rows,
        }),
        Part::Figure(f) => {
            json!({"kind": "figure", "caption": f.caption, "source": f.source, "file": files.next()})
        }
        Part::Answers(a) => {
            let item = |i: &Answer| {
                json!({
                    "label": i.label, "prompt": i.prompt, "reference": i.reference,
                    "before": i.before.0, "after": i.after.0,
                    "before_facts": i.before.1, "after_facts": i.after.1,
                })
            };
            let items: Vec<Value> = a.items.iter().map(item).collect();
            json!({"kind": "answers", "caption": a.caption, "source": a.source, "items": items})
        }
    }
}
