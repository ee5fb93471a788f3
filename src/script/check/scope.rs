//! Variables and imports while a script is read: what each name means at a place.

use super::types::Type;
use super::unit::Unit;
use rhai::Position;
use std::collections::BTreeSet;
use std::rc::Rc;

/// How a variable came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Let,
    Const,
    Param,
    Loop,
    Catch,
}

/// One variable.
#[derive(Debug)]
pub(super) struct Var {
    pub(super) name: String,
    pub(super) at: Position,
    pub(super) kind: Kind,
    pub(super) of: Type,
    pub(super) read: bool,
    pub(super) written: bool,
    pub(super) exported: bool,
    /// Loops around the declaration.
    pub(super) loops: usize,
}

impl Var {
    /// A variable that nothing has read yet.
    pub(super) fn new(name: &str, at: Position, kind: Kind, of: Type) -> Self {
        let (read, written, exported) = (false, false, false);
        Var { name: name.to_string(), at, kind, of, read, written, exported, loops: 0 }
    }
}

/// One `import .. as alias`.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) alias: String,
    pub(super) at: Position,
    /// The module, if it could be read.
    pub(super) module: Option<Rc<Unit>>,
    pub(super) used: bool,
}

/// Names of one block.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) vars: Vec<Var>,
    pub(super) imports: Vec<Import>,
}

/// The blocks around a place, innermost last.
#[derive(Debug, Default)]
pub(super) struct Scopes(pub(super) Vec<Block>);

impl Scopes {
    /// The variable that `name` means here.
    pub(super) fn var(&mut self, name: &str) -> Option<&mut Var> {
        self.0.iter_mut().rev().find_map(|b| b.vars.iter_mut().rev().find(|v| v.name == name))
    }

    /// The import that `alias` means here.
    pub(super) fn import(&mut self, alias: &str) -> Option<&mut Import> {
        self.0.iter_mut().rev().find_map(|b| b.imports.iter_mut().rev().find(|i| i.alias == alias))
    }

    /// Adds a variable to the innermost block.
    pub(super) fn declare(&mut self, var: Var) {
        if let Some(block) = self.0.last_mut() {
            block.vars.push(var);
        }
    }

    /// The variable called `name` in the innermost block alone.
    pub(super) fn own(&mut self, name: &str) -> Option<&mut Var> {
        self.0.last_mut()?.vars.iter_mut().rev().find(|v| v.name == name)
    }

    /// Every name that can be read here.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.0.iter().flat_map(|b| b.vars.iter().map(|v| v.name.clone())).collect()
    }

    /// Every alias that can be used here.
    pub(super) fn aliases(&self) -> Vec<String> {
        self.0.iter().flat_map(|b| b.imports.iter().map(|i| i.alias.clone())).collect()
    }
}

/// What one reading of a script teaches about its variables, by the place of their declaration, for the next: a loop
/// may change a variable behind a place where it is read.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Knowledge {
    /// Variables that are assigned values of other types.
    pub(super) loose: BTreeSet<(usize, usize)>,
    /// Variables whose keys may change.
    pub(super) open: BTreeSet<(usize, usize)>,
    /// Variables that something is done with beyond adding up and printing.
    pub(super) needed: BTreeSet<(usize, usize)>,
}
