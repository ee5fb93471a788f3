//! What an epoch does with which example: the order, the rows, the micro-batches. Positions alone, no tokens.

use super::loader::LoaderOptions;
use super::packing::{STRETCH, pack};
use crate::engine::error::{Error, Result};
use crate::engine::rng::{permutation, philox};

/// Examples that are sorted together where batches have a token budget in place of a size.
const SORTED: usize = 1024;
/// Batches whose examples are sorted together, as in the Hugging Face length-grouped sampler: some randomness stays.
const SORTED_BATCHES: usize = 50;

/// The rows of one epoch in micro-batches, by positions in the set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    items: Vec<usize>,
    /// Where each row ends in `items`.
    rows: Vec<usize>,
    /// Where each micro-batch ends in `rows`.
    batches: Vec<usize>,
}

impl Plan {
    /// Plans the epoch that `options` name over `n` examples; `length` gives an example's tokens.
    ///
    /// # Errors
    /// [`Error::Config`] for an example that fits into no row or batch, and for options that contradict each other.
    pub(super) fn new(n: usize, length: impl Fn(usize) -> usize, options: &LoaderOptions) -> Result<Self> {
        let words = philox(options.seed, options.epoch);
        let key = u64::from(words[0]) << 32 | u64::from(words[1]);
        let order = if options.shuffle { permutation(n, key) } else { (0..n).collect() };
        let mut rows: Vec<Vec<usize>> = match options.pack {
            None if options.group_by_length => sorted(order, &length, options),
            None => order.into_iter().map(|item| vec![item]).collect(),
            Some(room) => {
                if let Some(longest) = order.iter().map(|i| length(*i)).max().filter(|n| *n > room) {
                    return Err(too_long(longest, room));
                }
                let stretches = order.chunks(STRETCH).enumerate();
                stretches.flat_map(|(i, stretch)| arranged(stretch, room, &length, options, i as u64)).collect()
            }
        };
        let widths: Vec<usize> = rows.iter().map(|row| row.iter().map(|i| length(*i)).sum()).collect();
        let mut batches = grouped(&widths, options)?;
        if options.group_by_length && options.shuffle {
            let other = key ^ u64::from(words[2]);
            (rows, batches) = shuffled(rows, &batches, other, options);
        }
        let mut plan = Plan { batches, ..Plan::default() };
        for row in rows {
            plan.items.extend(row);
            plan.rows.push(plan.items.len());
        }
        Ok(plan)
    }

    /// Micro-batches.
    pub(super) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Rows of all micro-batches.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The rows of micro-batch `i`, each as positions in the set.
    pub(super) fn batch(&self, i: usize) -> impl Iterator<Item = &[usize]> + '_ {
        let first = if i == 0 { 0 } else { self.batches[i - 1] };
        (first..self.batches[i]).map(|row| {
            let begin = if row == 0 { 0 } else { self.rows[row - 1] };
            &self.items[begin..self.rows[row]]
        })
    }
}

/// The rows of one stretch of examples, in a random order where there is one: as they are made, full ones come first.
pub(super) fn arranged(
    stretch: &[usize],
    room: usize,
    length: impl Fn(usize) -> usize,
    options: &LoaderOptions,
    number: u64,
) -> Vec<Vec<usize>> {
    let mut rows = pack(stretch, room, length);
    if !options.shuffle {
        return rows;
    }
    let words = philox(options.seed ^ 0x7061_636b, options.epoch << 32 ^ number);
    let order = permutation(rows.len(), u64::from(words[0]) << 32 | u64::from(words[1]));
    order.into_iter().map(|i| std::mem::take(&mut rows[i])).collect()
}

/// Where micro-batches end in rows of these `widths`: after `size` rows, or before the padded rectangle has more than
/// `max_tokens` places.
fn grouped(widths: &[usize], options: &LoaderOptions) -> Result<Vec<usize>> {
    let mut ends = Vec::new();
    let (mut rows, mut widest) = (0, 0);
    for (i, width) in widths.iter().enumerate() {
        let width = width.next_multiple_of(options.pad_to_multiple.max(1));
        if let Some(most) = options.max_tokens.filter(|most| width > *most) {
            return Err(row_too_wide(width, most));
        }
        let over = |n: usize| options.max_tokens.is_some_and(|most| n > most);
        if rows == options.size || over((rows + 1).saturating_mul(widest.max(width))) {
            ends.push(i);
            (rows, widest) = (0, 0);
        }
        (rows, widest) = (rows + 1, widest.max(width));
    }
    if rows > 0 {
        ends.push(widths.len());
    }
    Ok(ends)
}

fn sorted(mut order: Vec<usize>, length: impl Fn(usize) -> usize, options: &LoaderOptions) -> Vec<Vec<usize>> {
    let size = options.size.min(order.len());
    let stretch = if options.max_tokens.is_some() { SORTED } else { size.saturating_mul(SORTED_BATCHES) };
    for stretch in order.chunks_mut(stretch) {
        stretch.sort_by_key(|i| length(*i)); // stable: ties stay in shuffled order
    }
    order.into_iter().map(|item| vec![item]).collect()
}

/// The micro-batches in a random order. A last one that is not full stays last, so that windows keep their size.
fn shuffled(rows: Vec<Vec<usize>>, ends: &[usize], key: u64, options: &LoaderOptions) -> (Vec<Vec<usize>>, Vec<usize>) {
    let range = |i: usize| if i == 0 { 0 } else { ends[i - 1] }..ends[i];
    let full = if options.max_tokens.is_some() { ends.len() } else { rows.len() / options.size.min(rows.len()) };
    let order = permutation(full, key).into_iter().chain(full..ends.len());
    let (mut moved, mut moved_ends) = (Vec::with_capacity(rows.len()), Vec::with_capacity(ends.len()));
    for batch in order {
        moved.extend_from_slice(&rows[range(batch)]);
        moved_ends.push(moved.len());
    }
    (moved, moved_ends)
}

pub(super) fn too_long(longest: usize, room: usize) -> Error {
    Error::config_help(
        format!("batches: an example has {longest} tokens, and pack_len is {room}"),
        "raise pack_len, or cut examples with max_seq_len",
    )
}

pub(super) fn row_too_wide(width: usize, most: usize) -> Error {
    Error::config_help(
        format!("batches: max_tokens is {most}, and one row alone has {width}"),
        "raise max_tokens, or cut examples with max_seq_len",
    )
}
