//! The instructions, with their words as they were written.

use crate::base::dockerfile::error::Position;
use crate::base::dockerfile::flags::{AddFlags, CopyFlags, HealthFlags, RunFlags};

/// A piece of text that variables may be put into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    /// As written: with quotes, escapes and `$`.
    pub(crate) text: String,
    pub(crate) at: Position,
}

/// One instruction of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) instruction: Instruction,
    /// As it is shown and kept in the history: one line, without heredocs.
    pub(crate) shown: String,
    pub(crate) at: Position,
    /// The first and the last line of the file that belong to it.
    pub(crate) lines: (usize, usize),
}

impl Line {
    /// True if it makes or changes files: what BuildKit counts as a step.
    pub(crate) fn is_of_files(&self) -> bool {
        matches!(self.instruction, Instruction::Run(_) | Instruction::Transfer(_) | Instruction::Workdir(_))
    }
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `["a", "b"]`: run as it is.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// A document within the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heredoc {
    pub(crate) name: String,
    pub(crate) content: String,
    /// The name was not quoted: variables are put in.
    pub(crate) expand: bool,
    /// `<<-`.
    pub(crate) strips_tabs: bool,
}

/// Where COPY and ADD take something from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Path(Word),
    Heredoc(Heredoc),
}

/// The FROM instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) image: Word,
    pub(crate) platform: Option<Word>,
    /// `AS name`, in lower case.
    pub(crate) name: Option<String>,
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) sources: Vec<Source>,
    pub(crate) target: Word,
    pub(crate) flags: CopyFlags,
    /// What only ADD has; `None` for COPY.
    pub(crate) add: Option<AddFlags>,
}

/// The RUN instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) command: Command,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) flags: RunFlags,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    None,
    Check { command: Command, flags: HealthFlags },
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    From(From),
    /// Names with their defaults.
    Arg(Vec<(String, Option<Word>)>),
    Env(Vec<(Word, Word)>),
    Label(Vec<(Word, Word)>),
    Run(Run),
    Transfer(Transfer),
    Workdir(Word),
    User(Word),
    Cmd(Command),
    Entrypoint(Command),
    Shell(Vec<String>),
    Expose(Vec<Word>),
    Volume(Vec<Word>),
    StopSignal(Word),
    Healthcheck(Health),
    /// The text of the instruction to come.
    Onbuild(String),
    Maintainer(String),
}
