//! A script that stands still: its variables, where it is, and text evaluated as if it stood there.

use super::Why;
use crate::script::diagnostics::{self, Diagnostic, Place};
use crate::script::{explain, names, sources::Sources, stack};
use rhai::{
    AST, ASTNode, Dynamic, Engine, EvalAltResult, EvalContext, Expr, GlobalRuntimeState, ImmutableString, Module,
    Position, Scope,
};
use rhai::{Caches, Expression, ScriptFuncDef, Shared, Stmt, StmtBlock};

/// The name of the prompt's text in diagnostics: all inputs of all pauses are one growing text.
const NAME: &str = "pause";

/// One function that is under way, or the script's top level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// "`step`", "a closure", "the top level".
    pub what: String,
    /// The statement that it has come to.
    pub place: Option<Place>,
}

/// A variable in reach.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Whether it cannot be changed.
    pub constant: bool,
    /// Its value; a shared one stays shared.
    pub value: Dynamic,
}

/// What was declared at prompts, and lasts from one pause to the next. The script does not see it: a variable among its
/// own would put those out of the places that the compiled script knows them by.
#[derive(Default)]
pub(super) struct Own {
    variables: Vec<Variable>,
    functions: Module,
    imports: Vec<(ImmutableString, Shared<Module>)>,
    /// Lines of text so far.
    lines: usize,
}

/// See the module's description.
pub struct Paused<'a, 's> {
    why: Why,
    levels: Vec<Level>,
    engine: &'a Engine,
    sources: &'a Sources,
    scope: Scope<'s>,
    /// How many variables are the script's.
    script: usize,
    global: GlobalRuntimeState,
    this: Option<&'a mut Dynamic>,
    /// The script's functions under the names that its text has for them.
    functions: Vec<Shared<Module>>,
    own: Own,
}

impl<'a, 's> Paused<'a, 's> {
    /// Takes the scope out of `context`; [`Paused::leave`] gives it back.
    pub(super) fn new(
        context: &'a mut EvalContext<'_, '_, 's, '_, '_, '_>,
        why: Why,
        sources: &'a Sources,
        own: Own,
        source: &str,
        at: Position,
    ) -> Self {
        let mut scope = std::mem::take(context.scope_mut());
        let global = context.global_runtime_state().clone();
        let script = scope.len();
        for Variable { name, constant, value } in own.variables.iter().cloned() {
            match constant {
                true => scope.push_constant_dynamic(name.as_str(), value),
                false => scope.push_dynamic(name.as_str(), value),
            };
        }
        Paused {
            why,
            levels: levels(&global, source, at),
            engine: context.engine(),
            sources,
            scope,
            script,
            functions: global.lib.iter().map(|m| plainly(m).into()).collect(),
            global,
            this: context.this_ptr_mut(),
            own,
        }
    }

    /// The script's own variables, and what is kept for the next pause.
    pub(super) fn leave(mut self) -> (Scope<'s>, Own) {
        self.own.variables = self.variables_from(self.script);
        self.scope.rewind(self.script);
        (self.scope, self.own)
    }

    /// Why it stands still.
    pub fn why(&self) -> &Why {
        &self.why
    }

    /// Where it stands: the innermost function first, the top level last.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The texts that places refer to.
    pub fn sources(&self) -> &Sources {
        self.sources
    }

    /// The engine, for the types and the text of values.
    pub fn engine(&self) -> &Engine {
        self.engine
    }

    /// The variables in reach: the script's or the function's, then those declared at prompts.
    pub fn scope(&self) -> &Scope<'s> {
        &self.scope
    }

    /// The object that a method is called on.
    pub fn this(&self) -> Option<&Dynamic> {
        self.this.as_deref()
    }

    /// The functions in reach that are not registered: the script's, then those defined at prompts.
    pub fn functions(&self) -> impl Iterator<Item = &Module> {
        self.functions.iter().map(|m| &**m).chain([&self.own.functions])
    }

    /// The imported modules in reach, by the names that they have here.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &Module)> {
        let own = self.own.imports.iter().map(|(name, module)| (name.as_str(), &**module));
        self.global.iter_imports().chain(own)
    }

    /// Runs `text` here. An assignment changes the script's variable, and so does `let` with its name; what is new is
    /// kept for later pauses, out of the script's sight.
    ///
    /// # Errors
    /// What is wrong with `text`, with its place in the prompt's inputs; an interruption.
    pub fn eval(&mut self, text: &str) -> Result<Dynamic, Box<Diagnostic>> {
        let statements = self.compile(text)?;
        // A bug of ours costs an input, not the run.
        let result = stack::catching(|| self.run(statements)).map_err(|bug| Box::new(bug.into()))?;
        result.map_err(|err| {
            let variables = self.scope.iter_raw().map(|(name, ..)| name.to_string()).collect();
            let context = explain::Context { engine: self.engine, sources: self.sources, variables };
            Box::new(diagnostics::from_eval_error(&err, NAME, &context))
        })
    }

    /// The statements of `text`; its functions are kept.
    fn compile(&mut self, text: &str) -> Result<Vec<Stmt>, Box<Diagnostic>> {
        let method = self.this.is_some();
        // `this` is a word of functions alone: in one, the text is the body of another, which begins a line earlier.
        if method && self.own.lines == 0 {
            self.sources.append(NAME, "\n", None);
            self.own.lines = 1;
        }
        self.sources.append(NAME, &format!("{text}\n"), std::env::current_dir().ok());
        // Positions count from the first input, so that an error in an old function finds its line.
        let padding = self.own.lines;
        self.own.lines += text.split('\n').count();
        let plain = self.engine.compile("\n".repeat(padding) + text);
        if plain.is_err() && method {
            let body = self.engine.compile(format!("{}fn body() {{\n{text}\n}}", "\n".repeat(padding - 1)));
            if let Ok(ast) = body {
                return Ok(bodies(&ast));
            }
        }
        let ast = plain.map_err(|e| Box::new(diagnostics::from_parse_error(&e, NAME, self.sources)))?;
        for function in ast.iter_fn_def() {
            self.own.functions.set_script_fn(function.clone());
        }
        Ok(ast.statements().to_vec())
    }

    fn run(&mut self, statements: Vec<Stmt>) -> Result<Dynamic, Box<EvalAltResult>> {
        // The script's own state and its memory of which function a call means stay as they are.
        let mut global = self.global.clone();
        let mut caches = Caches::new();
        global.source = Some(NAME.into());
        // The text was compiled without knowing where its variables are.
        global.always_search_scope = true;
        let mut functions = self.own.functions.clone();
        functions.set_id(NAME);
        global.lib.extend(self.functions.iter().cloned());
        global.lib.push(functions.into());
        for (name, module) in &self.own.imports {
            global.push_import(name.clone(), module.clone());
        }
        let (imports, before) = (global.num_imports(), self.scope.len());
        let block = Expr::Stmt(Box::new(StmtBlock::new(statements, Position::NONE, Position::NONE)));
        let this = self.this.as_deref_mut();
        let mut context = EvalContext::new(self.engine, &mut global, &mut caches, &mut self.scope, this);
        #[allow(deprecated)] // Rhai's mark for "may change"; the version is pinned
        let result = context.eval_expression_tree_raw(&Expression::from(&block), false);
        let imported = global.scan_imports_raw().skip(imports).map(|(name, module)| (name.clone(), module.clone()));
        self.own.imports.extend(imported.filter(|(name, _)| !name.is_empty()));
        self.settle(before);
        result
    }

    /// Declarations from variable `before` on: of a name of the script's they change that variable.
    fn settle(&mut self, before: usize) {
        let new = self.variables_from(before);
        self.scope.rewind(before);
        for Variable { name, constant, value } in new {
            match self.scope.is_constant(&name) {
                Some(false) if !constant => {
                    if let Some(variable) = self.scope.get_mut(&name) {
                        *variable = value;
                    }
                }
                _ if constant => drop(self.scope.push_constant_dynamic(name.as_str(), value)),
                _ => drop(self.scope.push_dynamic(name.as_str(), value)),
            }
        }
    }

    fn variables_from(&self, first: usize) -> Vec<Variable> {
        let variable = |(name, constant, value): (&str, bool, &Dynamic)| Variable {
            name: name.to_string(),
            constant,
            value: value.clone(),
        };
        // Rhai gives the newest first.
        let newest = self.scope.len().saturating_sub(first);
        let mut variables: Vec<_> = self.scope.iter_raw().take(newest).map(variable).collect();
        variables.reverse();
        variables
    }
}

/// The functions of `module` by the names that stand in its text; errors and calls inside name that text as ever.
fn plainly(module: &Module) -> Module {
    let mut functions = Module::new();
    for (.., function) in module.iter_script_fn_info() {
        let name = names::plain(&function.name).into();
        functions.set_script_fn(ScriptFuncDef { name, ..(**function).clone() });
    }
    if let Some(id) = module.id() {
        functions.set_id(id);
    }
    functions
}

/// The statements of the functions of `ast`.
fn bodies(ast: &AST) -> Vec<Stmt> {
    let mut statements = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        if let [ASTNode::Stmt(statement)] = path {
            statements.push((*statement).clone());
        }
        true
    });
    statements
}

/// The way from here to the top level of the text that runs.
fn levels(global: &GlobalRuntimeState, source: &str, at: Position) -> Vec<Level> {
    let calls = global.debugger().call_stack();
    let place = |file: &str, at: Position| {
        Some(Place { file: file.to_string(), line: at.line()?, column: at.position().unwrap_or(0) })
    };
    let entry = global.debugger().state().clone().into_string().unwrap_or_default();
    let mut levels = Vec::new();
    let mut here = place(source, at);
    for (i, call) in calls.iter().enumerate().rev() {
        let closure = call.fn_name.starts_with("anon$");
        let what = if closure { "a closure".into() } else { format!("`{}`", names::plain(&call.fn_name)) };
        levels.push(Level { what, place: here });
        let caller = i.checked_sub(1).and_then(|i| calls[i].source.as_deref()).unwrap_or(&entry);
        here = place(caller, call.pos);
    }
    levels.push(Level { what: "the top level".into(), place: here });
    levels
}

impl std::fmt::Debug for Paused<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paused").field("why", &self.why).field("levels", &self.levels).finish_non_exhaustive()
    }
}
