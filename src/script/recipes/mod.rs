//! Recipes: scripts that people keep, copy and hand on, as a file, a folder with a `recipe.toml`, or one packed file.
//!
//! [`find`] is how every verb comes from a name on the command line to a script.

mod copy;
mod find;
mod list;
mod manifest;
mod new;
mod pack;
pub mod places;
mod unpack;

pub use copy::{Copied, copy};
pub use find::{Found, Origin, find};
pub use list::{Listed, Shelf, list, looked_in, shown};
pub use manifest::{MANIFEST, Manifest};
pub use new::{Created, create};
pub use pack::{Packed, pack};
pub use unpack::{MAX_BYTES, MAX_ENTRIES};
