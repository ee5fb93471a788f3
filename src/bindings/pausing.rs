//! What a paused script is looked at with: `breakpoint()`, batches as text, the norms of gradients.

use super::data::Batch;
use super::llama::Model;
use super::registration::function;
use super::{Context, ScriptResult};
use crate::engine::autograd::Tensor;
use crate::engine::data::{IGNORE_INDEX, batch, tokenize::TextTokenizer};
use crate::engine::optim::{clip::grad_norm, digest::grad_digest};
use crate::engine::tokenizer::Tokenizer;
use rhai::{Dynamic, Engine, Map};
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    let noted = AtomicBool::new(false);
    // Where there is a prompt, the debugger has stopped at this call before it is made.
    function("breakpoint", ["()"]).register_into_engine(engine, move || {
        if !c.pausable && !noted.swap(true, Ordering::Relaxed) {
            c.output.note("breakpoint(): ignored, there is no prompt; `host run -i` stops here");
        }
    });
    function("show", ["batch: Batch", "tokenizer: Tokenizer", "string"])
        .with_purity(true)
        .register_into_engine(engine, |b: &mut Batch, tokenizer: Tokenizer| -> ScriptResult<String> {
            Ok(show(&b.0, &tokenizer)?)
        });

    function("show", ["model: Model", "batch: Batch", "string"])
        .with_purity(true)
        .register_into_engine(engine, |m: &mut Model, b: Batch| -> ScriptResult<String> {
            Ok(show(&b.0, m.read().tokenizer()?)?)
        });

    function("grad_norms", ["model: Model", "Map"]).with_purity(true).register_into_engine(
        engine,
        |m: &mut Model| -> ScriptResult<Map> {
            let trainable = m.read().trainable()?;
            let norm = |(name, p): (String, Tensor)| Ok((name.as_str().into(), norm((name, p))?));
            trainable.into_iter().map(norm).collect()
        },
    );
    function("grad_digest", ["model: Model", "string"])
        .with_purity(true)
        .register_into_engine(engine, |m: &mut Model| -> ScriptResult<String> {
            Ok(grad_digest(&m.read().trainable()?)?)
        });
    function("grad_norm", ["model: Model", "name: string", "float or ()"]).with_purity(true).register_into_engine(
        engine,
        |m: &mut Model, name: &str| -> ScriptResult<Dynamic> {
            Ok(norm((name.to_string(), super::model::parameter(m, name)?))?)
        },
    );
}

/// The 2-norm of a parameter's gradient; `()` if it has none.
fn norm(param: (String, Tensor)) -> crate::engine::Result<Dynamic> {
    if param.1.grad().is_none() {
        return Ok(Dynamic::UNIT);
    }
    Ok(grad_norm(&[param])?.into())
}

fn show(batch: &batch::Batch, tokenizer: &dyn TextTokenizer) -> crate::engine::Result<String> {
    let mut lines = Vec::new();
    let mut records = batch.indices.iter();
    for row in 0..batch.rows {
        let (length, start) = (batch.lengths[row], row * batch.width);
        let labels = &batch.labels[start..start + batch.width];
        // A label at position 0 would have nothing before it to be predicted from.
        let trained = labels.iter().skip(1).filter(|&&l| l != IGNORE_INDEX).count();
        let padding = match batch.width - length {
            0 => String::new(),
            n => format!(", {n} of padding"),
        };
        let held: Vec<String> =
            records.by_ref().take(batch.documents.of_row(row).count()).map(usize::to_string).collect();
        let what = if held.len() == 1 { "record" } else { "records" };
        lines.push(format!("row {row}, {what} {}: {length} tokens, {trained} trained{padding}", held.join(", ")));
        let mark = |(text, trained): (String, bool)| if trained { format!("⟦{text}⟧") } else { text };
        lines.push(batch.show(row, tokenizer)?.into_iter().map(mark).collect());
    }
    Ok(lines.join("\n"))
}
