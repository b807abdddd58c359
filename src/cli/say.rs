//! What a command says beside its output. A log on a full disk, or nobody at the other end, must not end a command in the
//! middle of its work, as the standard library's macros would.

use std::fmt::Arguments;
use std::io::{self, Write as _};

/// As `eprintln!`; what cannot be written is lost.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say::line(format_args!($($words)*)) };
}

/// As `eprint!`; what cannot be written is lost.
macro_rules! say_part {
    ($($words:tt)*) => { $crate::cli::say::part(format_args!($($words)*)) };
}

/// Says a line, in one write.
pub(super) fn line(words: Arguments<'_>) {
    part(format_args!("{words}\n"));
}

/// Says something that others go on from.
pub(super) fn part(words: Arguments<'_>) {
    io::stderr().write_all(words.to_string().as_bytes()).ok();
}
