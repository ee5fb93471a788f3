//! Looks at scripts without running them: names, arguments, types as far as they are known, options, what is unused.
//!
//! A script is parsed as written, its imports are read the same way, and every statement is visited once in its place
//! (`walk`), with the variables in reach (`scope`) and what is known of their types (`types`). Functions are looked up
//! in the script, in its imports, and among the registered ones (`library`). What is not known is never reported.

mod calls;
mod expr;
mod flow;
mod library;
mod members;
mod options;
mod scope;
mod syntax;
mod text;
mod types;
mod unit;
mod unused;
mod walk;

use super::{Diagnostic, Host, Place, Script, Severity, diagnostics, explain, resolver, sources::Sources};
use crate::engine;
use library::Library;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use unit::Unit;

/// Codes of errors that do not depend on values. Imports are not among them: most come first in a script, and a run says
/// the same of them.
const CERTAIN: [&str; 6] =
    ["arguments", "constant", "unknown-function", "unknown-variable", "unknown-module", "unknown-option"];

/// What was found in scripts and the modules they import.
#[derive(Debug, Default)]
pub struct Report {
    /// Every problem, by file and place.
    pub problems: Vec<Diagnostic>,
    /// Those that end the script for certain if it comes to their place.
    pub certain: Vec<Diagnostic>,
    /// The files that were looked at, imported ones included.
    pub files: BTreeSet<String>,
}

impl Report {
    /// How many problems are errors.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// How many are warnings.
    pub fn warnings(&self) -> usize {
        self.problems.len() - self.errors()
    }

    /// In the order of files and places, each once.
    fn sort(&mut self) {
        let key = |d: &Diagnostic| {
            let place = d.place.as_ref().map(|p| (p.file.clone(), p.line, p.column));
            (place, d.severity == Severity::Warning, d.message.clone())
        };
        for list in [&mut self.problems, &mut self.certain] {
            list.sort_by_cached_key(key);
            list.dedup_by(|a, b| (&a.place, &a.message) == (&b.place, &b.message));
        }
    }
}

/// Looks at scripts and everything they import, with the functions of `host`; each may import from below the folder
/// beside it, its own, and wherever `host` lets scripts read. Nothing of them runs.
pub fn check<'s>(host: &Host, scripts: impl Iterator<Item = (&'s Script, Option<&'s Path>)>) -> Report {
    let library = Library::new(host);
    let (units, imported) = (RefCell::default(), RefCell::default());
    let checker = Checker { library: &library, host, units, imported };
    for (script, folder) in scripts {
        host.admit(folder);
        host.admit(script.folder.as_deref());
        checker.sources().insert(&script.name, &script.text, script.folder.clone());
        checker.gather(script);
    }
    let mut report = Report::default();
    let units: Vec<Rc<Unit>> = checker.units.borrow().values().cloned().collect();
    units.iter().for_each(|unit| checker.look_at(unit, &mut report));
    report.sort();
    report
}

/// What looking at one script leans on.
struct Checker<'a> {
    library: &'a Library<'a>,
    host: &'a Host,
    /// Scripts read so far, by the name that diagnostics show.
    units: RefCell<BTreeMap<String, Rc<Unit>>>,
    /// Names of those that others import.
    imported: RefCell<BTreeSet<String>>,
}

impl Checker<'_> {
    /// Reads `script` and everything it imports.
    fn gather(&self, script: &Script) {
        let mut waiting = vec![self.unit(&script.name, &script.text, script.folder.clone())];
        let mut seen = BTreeSet::new();
        while let Some(unit) = waiting.pop() {
            if seen.insert(unit.name.clone()) {
                let modules = unit.paths.iter().filter_map(|path| self.module(&unit, path).ok());
                let modules: Vec<Rc<Unit>> = modules.collect();
                self.imported.borrow_mut().extend(modules.iter().map(|m| m.name.clone()));
                waiting.extend(modules);
            }
        }
    }

    fn look_at(&self, unit: &Unit, report: &mut Report) {
        report.files.insert(unit.name.clone());
        let wrong = unit.parsed.errors.iter().map(|e| self.syntax(e, &unit.name));
        report.certain.extend(wrong.clone());
        report.problems.extend(wrong);
        let found = walk::read(self, unit);
        report.certain.extend(found.iter().filter(|(_, certain)| *certain).map(|(d, _)| d.clone()));
        report.problems.extend(found.into_iter().map(|(d, _)| d));
        report.problems.extend(options::declared(self, unit));
    }

    /// Whether another script imports `unit`: then its functions are for others too.
    fn is_imported(&self, unit: &Unit) -> bool {
        self.imported.borrow().contains(&unit.name)
    }

    fn sources(&self) -> &Sources {
        self.host.sources()
    }

    fn unit(&self, name: &str, text: &str, folder: Option<std::path::PathBuf>) -> Rc<Unit> {
        if let Some(unit) = self.units.borrow().get(name) {
            return unit.clone();
        }
        let unit = Rc::new(Unit::read(name, text, folder));
        self.units.borrow_mut().insert(name.to_string(), unit.clone());
        unit
    }

    /// The module that `importer` calls `path`.
    fn module(&self, importer: &Unit, path: &str) -> engine::Result<Rc<Unit>> {
        let (name, text, folder) = resolver::find(self.sources(), self.host.access(), Some(&importer.name), path)?;
        self.sources().insert(&name, &text, folder.clone());
        Ok(self.unit(&name, &text, folder))
    }

    /// The way from `unit` through `module` back to `unit`, if importing the one imports the other again. Of the
    /// scripts of a cycle, the first by name has it reported.
    fn cycle(&self, unit: &Unit, module: &Rc<Unit>) -> Option<Vec<String>> {
        let mut way = vec![unit.name.clone()];
        self.way_back(module, &unit.name, &mut way, &mut BTreeSet::new()).then_some(())?;
        let first = way.iter().min().is_some_and(|name| *name == unit.name);
        way.push(unit.name.clone());
        first.then_some(way)
    }

    fn way_back(&self, from: &Unit, to: &str, way: &mut Vec<String>, seen: &mut BTreeSet<String>) -> bool {
        if from.name == to {
            return true;
        }
        if !seen.insert(from.name.clone()) {
            return false;
        }
        way.push(from.name.clone());
        let next = from.imports.values().flatten().filter_map(|path| self.module(from, path).ok());
        for module in next {
            if self.way_back(&module, to, way, seen) {
                return true;
            }
        }
        way.pop();
        false
    }

    /// A warning about `unit`.
    fn warning(&self, unit: &Unit, code: &str, message: &str, at: rhai::Position) -> Diagnostic {
        let (line, column) = text::place(at);
        let place = Place { file: unit.name.clone(), line, column };
        Diagnostic::warning(code, message).at(Some(place), self.sources())
    }

    fn syntax(&self, err: &rhai::ParseError, file: &str) -> Diagnostic {
        let diagnostic = diagnostics::from_parse_error(err, file, self.sources());
        match syntax::unclosed_above(err) {
            true => diagnostic.with_help("this one begins at the left margin: is a `}` missing above it?"),
            false => diagnostic,
        }
    }
}

/// "did you mean `..`?", if one of `known` is like `name`.
fn near_help<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    explain::near(name, known).map(|near| format!("did you mean `{near}`?"))
}
