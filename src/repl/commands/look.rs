//! Commands that look and change nothing: `:vars :type :mem :doc :plot`.

use super::{Answer, Next, needs, write};
use crate::bindings::facts::{Facts, facts};
use crate::engine::memory;
use crate::repl::lookup;
use crate::repl::prompt::{Prompt, visible};
use crate::repl::show::{self, size};
use crate::script::catalog::friendly_type;
use rhai::Dynamic;

/// Characters of a value that stand in the list of variables.
const VALUE: usize = 60;

pub(super) fn vars(prompt: &mut dyn Prompt, _: &str) -> Answer {
    let prompt = &*prompt;
    let variables = visible(prompt.scope());
    if !variables.is_empty() {
        let mut rows = vec![["name", "type", "shape", "dtype", "device", "size", "value"].map(String::from)];
        rows.extend(variables.into_iter().map(|(name, constant, value)| row(prompt, name, constant, value)));
        // Columns that nobody fills only push the others apart.
        for column in 2..rows[0].len() {
            if rows[1..].iter().all(|r| r[column].is_empty()) {
                rows.iter_mut().for_each(|r| r[column].clear());
            }
        }
        write(prompt, &rows, &[5]);
    }
    for function in prompt.functions() {
        let params: Vec<&str> = function.params.iter().map(|(name, _)| name.as_str()).collect();
        prompt.line(&format!("fn {}({})", function.name, params.join(", ")));
    }
    for (name, functions) in prompt.modules() {
        let plural = if functions.len() == 1 { "" } else { "s" };
        prompt.line(&format!("module {name} ({} function{plural})", functions.len()));
    }
    Ok(Next::Input)
}

fn row(prompt: &dyn Prompt, name: &str, constant: bool, value: &Dynamic) -> [String; 7] {
    let Facts { shape, dtype, device, bytes } = facts(value);
    // What has a dtype is told by it and its shape; the elements would say little.
    let text = if dtype.is_some() { String::new() } else { show::brief(prompt.engine(), value, VALUE) };
    [
        format!("{}{name}", if constant { "const " } else { "" }),
        friendly_type(prompt.engine(), value.type_name()),
        shape.map_or(String::new(), |s| format!("{s:?}")),
        dtype.unwrap_or_default(),
        device.unwrap_or_default(),
        bytes.map_or(String::new(), size),
        text,
    ]
}

pub(super) fn type_of(prompt: &mut dyn Prompt, text: &str) -> Answer {
    if text.is_empty() {
        return Err(needs(":type needs an expression to run"));
    }
    let value = prompt.eval(text)?;
    prompt.line(&type_line(prompt, &value));
    Ok(Next::Input)
}

/// `Tensor, shape [2, 3], f32, cpu, 24 B`
pub(in crate::repl) fn type_line(prompt: &dyn Prompt, value: &Dynamic) -> String {
    let Facts { shape, dtype, device, bytes } = facts(value);
    let shape = shape.map(|s| if dtype.is_some() || s.len() > 1 { format!("shape {s:?}") } else { of_length(s[0]) });
    let of = match value {
        v if v.is_unit() => "(), nothing".to_string(),
        v => friendly_type(prompt.engine(), v.type_name()),
    };
    let parts = [Some(of), shape, dtype, device, bytes.map(size)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn of_length(n: usize) -> String {
    format!("length {}", show::count(n as u64))
}

pub(super) fn mem(prompt: &mut dyn Prompt, _: &str) -> Answer {
    prompt.line(&format!("{} in use, {} at its peak", size(memory::current()), size(memory::peak())));
    let of = |(name, _, value): (&str, bool, &Dynamic)| Some((name.to_string(), facts(value).bytes?));
    let mut held: Vec<(String, usize)> = visible(prompt.scope()).into_iter().filter_map(of).collect();
    held.retain(|(_, bytes)| *bytes >= SMALL);
    held.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let rows: Vec<[String; 2]> = held.into_iter().map(|(name, bytes)| [format!("  {name}"), size(bytes)]).collect();
    write(prompt, &rows, &[1]);
    Ok(Next::Input)
}

/// Variables with fewer bytes are not worth a line of `:mem`.
const SMALL: usize = 1024;

pub(super) fn doc(prompt: &mut dyn Prompt, name: &str) -> Answer {
    if name.is_empty() {
        return Err(needs(":doc needs a name: `?optim::adamw`, `?model.generate`, `?Tensor`"));
    }
    let text = lookup::describe(prompt, name)?;
    prompt.line(&text);
    Ok(Next::Input)
}

pub(super) fn plot(prompt: &mut dyn Prompt, text: &str) -> Answer {
    if text.is_empty() {
        return Err(needs(":plot needs an array of numbers, a tensor, or a run"));
    }
    let value = prompt.eval(text)?;
    let drawn = show::plot(&value, prompt.ctx().output.screen()).map_err(|why| needs(&why))?;
    prompt.line(&drawn);
    Ok(Next::Input)
}
