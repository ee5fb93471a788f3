//! What a script's text declares: names that a misspelt one may have meant.

use super::Context;
use crate::script::{catalog::Signature, parsing};
use rhai::{AST, ASTNode, Expr, Stmt};
use std::collections::BTreeSet;

/// See the module's description.
#[derive(Default)]
pub(super) struct Declared {
    pub(super) variables: BTreeSet<String>,
    /// Those of one function.
    pub(super) own: BTreeSet<String>,
    /// Keys of map literals.
    pub(super) keys: BTreeSet<String>,
    pub(super) functions: Vec<Signature>,
    /// Imported modules: what is written after `import`, and the name they have here.
    pub(super) imports: Vec<(String, String)>,
}

/// What `file` declares.
pub(super) fn declared(file: &str, cx: &Context) -> Declared {
    declared_in(file, None, cx)
}

/// What `file` declares, and what its `function` does.
pub(super) fn declared_in(file: &str, function: Option<&str>, cx: &Context) -> Declared {
    let mut found = Declared::default();
    // What no longer parses declares nothing; the error at hand then comes from elsewhere.
    let Some(ast) = cx.sources.get(file).and_then(|s| parsing::parse(&s.text).ok()) else { return found };
    found.variables = variables(&ast);
    if let Some(function) = function {
        found.own = variables(&ast.clone_functions_only_filtered(|_, _, _, name, _| name == function));
    }
    ast.walk(&mut |path: &[ASTNode]| {
        match path.last() {
            Some(ASTNode::Expr(Expr::Map(map, _))) => {
                found.keys.extend(map.0.iter().map(|(key, _)| key.name.to_string()));
            }
            Some(ASTNode::Stmt(Stmt::Import(import, _))) => {
                if let Expr::StringConstant(path, _) = &import.0 {
                    found.imports.push((path.to_string(), import.1.name.to_string()));
                }
            }
            _ => {}
        }
        true
    });
    found.functions.extend(ast.iter_functions().map(|f| Signature::of_script(f.name, f.params.iter().copied())));
    found
}

fn variables(ast: &AST) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = ast.iter_functions().flat_map(|f| f.params).map(str::to_string).collect();
    ast.walk(&mut |path: &[ASTNode]| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Var(var, ..))) => drop(found.insert(var.0.name.to_string())),
            Some(ASTNode::Stmt(Stmt::For(each, ..))) => drop(found.insert(each.0.name.to_string())),
            _ => {}
        }
        true
    });
    found
}
