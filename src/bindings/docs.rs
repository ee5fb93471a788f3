//! The documentation of the script API: one page per topic, beside the bindings.
//!
//! A page is its title, an introduction, and an entry for each thing that scripts can name, headed by its key: `zeros`,
//! `optim::adamw`, `Tensor.sum`, `Tensor.shape`, `Tensor @`, `Tensor[]`. Overloads of one name share an entry. An entry
//! has the form of a doc comment, its headings one level down: `## Options`, `## Errors`, `## Example`.
//!
//! `script::catalog` joins pages and registered functions; its tests fail on either without the other.

/// Name of the page in links and files, and its text.
pub type Page = (&'static str, &'static str);

macro_rules! pages {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("docs/", $name, ".md")))),*]
    };
}

/// The pages in the order of the reference.
pub const PAGES: &[Page] = pages![
    "tensors", "math", "shapes", "autograd", "nn", "models", "data", "evaluate", "optim", "plan", "runs", "workers",
    "plot", "report", "host", "testing", "language",
];
