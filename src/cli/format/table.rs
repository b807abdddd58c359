//! Aligns columns as podman does: Go's tabwriter with a minimum width of 12 and 2 blanks between; where docker was called,
//! with 10 and 3, as docker does.

use std::io::Write;

use crate::base::escape::Escaped;
use crate::cli::called::Called;
use crate::cli::session::Session;

/// Rows of cells.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    escape: bool,
    columns: Columns,
}

/// How wide columns are.
#[derive(Clone, Copy, Debug)]
struct Columns {
    /// No column but the last is narrower.
    min_width: usize,
    /// Blanks between columns.
    padding: usize,
}

impl Columns {
    /// podman's, or docker's.
    fn of(called: Called) -> Self {
        match called.is_docker() {
            true => Self { min_width: 10, padding: 3 },
            false => Self { min_width: 12, padding: 2 },
        }
    }
}

impl Table {
    /// A table with a heading (none if `heading` is empty).
    pub(crate) fn new(session: &Session<'_>, heading: &[&str]) -> Self {
        let heading = heading.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = if heading.is_empty() { Vec::new() } else { vec![heading] };
        Self { rows, escape: session.out_is_tty, columns: Columns::of(session.globals.called) }
    }

    /// Another minimum width of columns, and other blanks between them, than podman's.
    pub(crate) fn columns(self, min_width: usize, padding: usize) -> Self {
        Self { columns: Columns { min_width, padding }, ..self }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        let escape = self.escape;
        let cell = |cell: String| if escape { Escaped(&cell).to_string() } else { one_line(cell) };
        self.rows.push(row.into_iter().map(cell).collect());
    }

    /// Prints it.
    ///
    /// # Errors
    ///
    /// If standard output does not take it.
    pub(crate) fn print(&self, session: &mut Session<'_>) -> anyhow::Result<()> {
        let rows: Vec<Vec<&str>> =
            self.rows.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
        let mut out = String::new();
        layout(&rows, self.columns, &mut out);
        session.out.write_all(out.as_bytes())?;
        Ok(())
    }
}

/// A line break in a cell would tear the row apart; to a script it is a blank.
fn one_line(cell: String) -> String {
    if cell.contains(['\n', '\t', '\r']) { cell.replace(['\n', '\t', '\r'], " ") } else { cell }
}

/// Aligns the cells of `text`: tabs end cells, line ends end rows.
pub(crate) fn align(text: &str, called: Called) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    layout(&rows, Columns::of(called), &mut out);
    out
}

/// Writes the rows. A column is a run of rows that have a cell there with another after it: rows
/// with fewer cells divide it, and each part gets a width of its own.
fn layout(rows: &[Vec<&str>], Columns { min_width, padding }: Columns, out: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![vec![0; columns]; rows.len()];
    for column in 0..columns {
        let mut first = 0;
        while first < rows.len() {
            let has_column = |row: &&Vec<&str>| row.len() > column + 1;
            let run = rows[first..].iter().take_while(has_column).count();
            let widest = rows[first..first + run].iter().map(|row| row[column].chars().count() + padding);
            let width = widest.max().unwrap_or(0).max(min_width);
            widths[first..first + run].iter_mut().for_each(|widths| widths[column] = width);
            first += run.max(1);
        }
    }
    for (row, widths) in rows.iter().zip(&widths) {
        for (at, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < row.len() {
                let blanks = widths[at].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_like_tabwriter() {
        for (text, want) in [
            ("A\tB\nlonger than twelve\tb\n", "A                   B\nlonger than twelve  b\n"),
            ("A\tB\tC\na\tb\tc\n", "A           B           C\na           b           c\n"),
            ("ä\tb\n", "ä           b\n"),
            ("one\n", "one\n"),
            ("a long first cell\tb\nx\na\tb\n", "a long first cell  b\nx\na           b\n"),
            ("", ""),
        ] {
            assert_eq!(align(text, Called::Ketch), want, "{text}");
        }
    }
}
