//! The Dockerfile language: text in, instructions out, no I/O.
//!
//! ```text
//! text ─lex─▶ logical lines (comments gone, continuations joined, heredocs attached, every byte's
//!             place in the file kept) ─parse─▶ Vec<Line { instruction, lines }>
//!                                                   │ words as written: quotes and $ inside
//!                            expand(word, variables) ┘ when a build knows the values
//! ```
//!
//! Every complaint is a [`DockerfileError`] with line and column, which [`DockerfileError::picture`]
//! shows below the line itself.
//!
//! # Source
//!
//! The Dockerfile reference of BuildKit's stable frontend (docs.docker.com/reference/dockerfile).

pub(crate) mod check;
pub(crate) mod error;
pub(crate) mod expand;
pub(crate) mod flags;
pub(crate) mod ignore;
pub(crate) mod instruction;
mod lex;
pub(crate) mod mode;
mod parse;

pub(crate) use error::DockerfileError;
pub(crate) use instruction::Line;
pub(crate) use parse::{parse, parse_trigger};

/// The lines at the top that change how the rest is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directives {
    /// `# syntax=`: the frontend image; ketch reads every version of the language itself.
    pub(crate) syntax: Option<String>,
    /// `# escape=`: a backslash or a backtick.
    pub(crate) escape: char,
    /// `# check=`: which checks are left out.
    pub(crate) check: Option<String>,
}

/// A whole file.
#[derive(Clone, Debug)]
pub(crate) struct Dockerfile {
    pub(crate) directives: Directives,
    pub(crate) lines: Vec<Line>,
}

#[cfg(test)]
mod reference_tests;
