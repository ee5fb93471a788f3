//! What is known of a value before the script runs.

use rhai::Expr;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The type of a value, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    /// Nothing is known.
    Any,
    /// It is of the type that scripts call so.
    Is(Rc<str>),
    /// A map with these keys and no others.
    Map(Rc<BTreeMap<String, Type>>),
}

impl Type {
    /// The type called `name`; `any` is [`Type::Any`].
    pub(super) fn named(name: &str) -> Type {
        if name == "any" || name.is_empty() { Type::Any } else { Type::Is(name.into()) }
    }

    /// No value: `()`.
    pub(super) fn unit() -> Type {
        Type::named("()")
    }

    /// Its name, if it is known.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Type::Any => None,
            Type::Is(name) => Some(name),
            Type::Map(_) => Some("map"),
        }
    }

    /// Whether it is known to be `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name() == Some(name)
    }

    /// Whether it is known to be an int or a float.
    pub(super) fn is_number(&self) -> bool {
        self.is("int") || self.is("float")
    }

    /// Whether Rhai itself knows the type, as opposed to one of ours.
    pub(super) fn is_basic(&self) -> bool {
        self.name().is_some_and(|n| BASIC.contains(&n))
    }

    /// The same, its keys forgotten: for a map that may change.
    pub(super) fn open(self) -> Type {
        match self {
            Type::Map(_) => Type::named("map"),
            other => other,
        }
    }

    /// What is known of a value that is one or the other.
    pub(super) fn or(&self, other: &Type) -> Type {
        match (self.name(), other.name()) {
            _ if self == other => self.clone(),
            (Some(a), Some(b)) if a == b => self.clone().open(),
            _ => Type::Any,
        }
    }

    /// The type of a constant.
    pub(super) fn of_constant(expr: &Expr) -> Option<Type> {
        Some(Type::named(match expr {
            Expr::BoolConstant(..) => "bool",
            Expr::IntegerConstant(..) => "int",
            Expr::FloatConstant(..) => "float",
            Expr::CharConstant(..) => "char",
            Expr::StringConstant(..) | Expr::InterpolatedString(..) => "string",
            Expr::Unit(_) => "()",
            _ => return None,
        }))
    }
}

/// Shown in messages.
impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name().unwrap_or("any"))
    }
}

/// The types that Rhai brings.
pub(super) const BASIC: [&str; 10] =
    ["int", "float", "bool", "char", "string", "array", "map", "blob", "function", "()"];

/// `types` as a call shows them: `(Tensor, int)`.
pub(super) fn list(types: &[Type]) -> String {
    format!("({})", types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects against false alarms: what two branches disagree on is not known.
    #[test]
    fn branches_meet() {
        let keys = |k: &str| Type::Map(Rc::new(BTreeMap::from([(k.to_string(), Type::Any)])));
        assert_eq!(Type::named("int").or(&Type::named("float")), Type::Any);
        assert_eq!(keys("a").or(&keys("b")), Type::named("map"));
        assert_eq!(keys("a").or(&keys("a")), keys("a"));
        assert_eq!(Type::named("int").or(&Type::Any), Type::Any);
    }
}
