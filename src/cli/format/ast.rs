//! The parts of a parsed template.

use std::ops::Range;

/// One part of a template's body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Copied to the output.
    Text(String),
    /// A pipeline whose value is printed (or assigned).
    Action(Pipe),
    /// `{{if}}`.
    If(Branch),
    /// `{{with}}`.
    With(Branch),
    /// `{{range}}`.
    Range(Branch),
    /// `{{break}}`.
    Break,
    /// `{{continue}}`.
    Continue,
}

/// A pipeline and the two bodies it decides between.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) then: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pipe {
    /// Variables that take the value: none, one, or (range) index and element.
    pub(crate) vars: Vec<String>,
    /// `:=` makes them, `=` changes them.
    pub(crate) declares: bool,
    pub(crate) commands: Vec<Command>,
}

/// An operand and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) operands: Vec<Operand>,
    /// Where it stands in the template.
    pub(crate) span: Range<usize>,
}

/// One word of a command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operand {
    pub(crate) kind: OperandKind,
    /// Fields taken from it one after the other: `.A.B`.
    pub(crate) fields: Vec<String>,
    /// Where it stands in the template.
    pub(crate) span: Range<usize>,
    /// Where its last field begins, which Go's errors point to.
    pub(crate) last_field: usize,
}

/// What an operand starts from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OperandKind {
    /// `.`, also before fields.
    Dot,
    /// `nil`.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// `$x`; `$` is the empty name.
    Variable(String),
    /// A function to call.
    Function(String),
    /// `( … )`.
    Parenthesis(Box<Pipe>),
}
