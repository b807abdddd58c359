//! Text of systemd's units (systemd.syntax(7), systemd.service(5), "Command lines").

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::usage::UsageError;

/// A word of a unit's command line: what systemd would read as something else is escaped.
///
/// # Errors
///
/// For what is not UTF-8, or holds a null byte: that has no form there.
pub(crate) fn quoted(word: &OsStr) -> Result<String, UsageError> {
    let text = std::str::from_utf8(word.as_bytes()).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| UsageError::new(format!("{} cannot stand in a unit", word.display())))?;
    let mut escaped = String::with_capacity(text.len());
    let mut quotes = text.is_empty();
    for c in text.chars() {
        quotes |= c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\' | ';');
        match c {
            '%' => escaped.push_str("%%"),
            '$' => escaped.push_str("$$"),
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_ascii_control() => escaped.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    Ok(if quotes { format!("\"{escaped}\"") } else { escaped })
}

/// A command line of words that are escaped already, with a line of its own for each flag.
pub(crate) fn command_line(words: &[String]) -> String {
    let mut line = String::new();
    for word in words {
        match word.trim_start_matches('"').starts_with('-') {
            _ if line.is_empty() => {}
            true => line.push_str(" \\\n\t"),
            false => line.push(' '),
        }
        line.push_str(word);
    }
    line
}

/// This program, by the name it was called when the container was made if that still leads here.
///
/// # Errors
///
/// If the system does not say which program this is.
pub(crate) fn program(called: Option<&OsString>) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let name = called.and_then(|called| Path::new(called).file_name());
    let leads_here = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == own);
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = name.and_then(|name| std::env::split_paths(&search).map(|at| at.join(name)).find(leads_here));
    Ok(found.filter(|path| path.is_absolute()).unwrap_or(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_units() {
        for (word, want) in [
            ("/usr/bin/ketch", "/usr/bin/ketch"),
            ("/home/a b/ketch", "\"/home/a b/ketch\""),
            ("/50%/$x\"", "\"/50%%/$$x\\\"\""),
            ("D=x$y%z", "D=x$$y%%z"),
            ("", "\"\""),
            ("a'b", "\"a'b\""),
            ("a\nb\t\\", "\"a\\nb\\t\\\\\""),
            ("\u{1b}[m", "\"\\x1b[m\""),
            (";", "\";\""),
        ] {
            assert_eq!(quoted(OsStr::new(word)).unwrap(), want);
        }
        assert!(quoted(OsStr::from_bytes(b"\xff")).is_err());
    }

    #[test]
    fn each_flag_has_a_line() {
        let words = ["/bin/ketch", "run", "-d", "--name", "web", "\"-e a\"", "img", "sh"].map(str::to_owned);
        assert_eq!(command_line(&words), "/bin/ketch run \\\n\t-d \\\n\t--name web \\\n\t\"-e a\" img sh");
    }
}
