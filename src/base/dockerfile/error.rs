//! What is wrong with a Dockerfile, and where.

use std::fmt;

/// A place in a file; both numbers count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A complaint about one place of a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}: {message}", at.line)]
pub(crate) struct DockerfileError {
    pub(crate) at: Position,
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) hint: Option<String>,
}

impl DockerfileError {
    /// A complaint about the place `at`.
    pub(crate) fn new(at: Position, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: None }
    }

    /// Adds what to write instead.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The complaint with its line of `text` and a caret below the place:
    ///
    /// ```text
    /// Dockerfile:2:1: unknown instruction RNU
    ///   2 | RNU make
    ///     | ^
    /// ```
    pub(crate) fn picture(&self, name: &str, text: &str) -> String {
        let line = text.lines().nth(self.at.line.saturating_sub(1)).unwrap_or_default();
        let number = self.at.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands below its character at any tab width.
        let before: String = line
            .chars()
            .take(self.at.column.saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!(
            "{name}:{number}:{}: {}\n  {number} | {line}\n  {margin} | {before}^",
            self.at.column, self.message
        )
    }
}

/// The lines of an instruction and those around it, as BuildKit draws them:
///
/// ```text
/// Dockerfile:3
/// --------------------
///    1 |     FROM a
///    2 |     
///    3 | >>> RUN false
///    4 |     
/// --------------------
/// ```
pub(crate) fn excerpt(name: &str, text: &str, (first, last): (usize, usize)) -> String {
    let lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    // One line stands between two, several between one.
    let around = if first == last { 2 } else { 1 };
    let shown = first.saturating_sub(around).max(1)..=(last + around).min(lines.len());
    let mut out = format!("{name}:{first}\n--------------------\n");
    for (number, line) in (1..).zip(lines).filter(|(number, _)| shown.contains(number)) {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        out.push_str(&format!("{number:>4} | {mark} {line}\n"));
    }
    out.push_str("--------------------");
    out
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The entry of `known` that was probably meant by `word`.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let scored = known.iter().map(|name| (distance(&word, &name.to_ascii_lowercase()), *name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2 && distance < name.len()).then_some(name)
}

/// How many letters must be changed, added, removed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_point_at_the_place() {
        let err = DockerfileError::new(Position { line: 2, column: 5 }, "what is this");
        assert_eq!(
            err.picture("Dockerfile", "FROM x\nRUN\t@\n"),
            "Dockerfile:2:5: what is this\n  2 | RUN\t@\n    |    \t^"
        );
        // A place beyond the text is no reason to fail.
        assert!(err.picture("Dockerfile", "").ends_with("  2 | \n    | ^"));
    }

    #[test]
    fn excerpts_show_what_is_around() {
        let text = "FROM a\n\nRUN x \\\n  y\nCMD z\n";
        for (lines, want) in [
            (
                (3, 4),
                "Dockerfile:3\n--------------------\n   2 |     \n   3 | >>> RUN x \\\n   4 | >>>   y\n   5 |     CMD z\n",
            ),
            (
                (5, 5),
                "Dockerfile:5\n--------------------\n   3 |     RUN x \\\n   4 |       y\n   5 | >>> CMD z\n   6 |     \n",
            ),
            (
                (1, 1),
                "Dockerfile:1\n--------------------\n   1 | >>> FROM a\n   2 |     \n   3 |     RUN x \\\n",
            ),
        ] {
            assert_eq!(excerpt("Dockerfile", text, lines), format!("{want}--------------------"));
        }
    }

    #[test]
    fn typos_find_their_word() {
        let known = ["FROM", "RUN", "COPY", "WORKDIR"];
        for (word, want) in
            [("RNU", Some("RUN")), ("form", Some("FROM")), ("WORKDRI", Some("WORKDIR")), ("APK", None)]
        {
            assert_eq!(nearest(word, &known), want, "{word}");
        }
    }
}
