//! `--chmod`: octal, or symbolic as in chmod(1).

/// Permission bits to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `who` op `permissions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits of those who are meant, set-ID and sticky included.
    who: u32,
    op: char,
    bits: u32,
    /// `X`: execution for directories and for what somebody may execute already.
    execute_if: bool,
}

impl Mode {
    /// Reads `755`, `u=rwX,go=rX`, `a+x` …; `None` if it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.chars().all(|c| c.is_digit(8)) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Self::Octal);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let ops = part.find(['+', '-', '='])?;
            let mut who = 0;
            for c in part[..ops].chars() {
                who |= match c {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o0007,
                    'a' => 0o7777,
                    _ => return None,
                };
            }
            let who = if ops == 0 { 0o7777 } else { who | 0o1000 };
            let mut rest = part[ops..].chars().peekable();
            while let Some(op) = rest.next() {
                if !['+', '-', '='].contains(&op) {
                    return None;
                }
                let (mut bits, mut execute_if) = (0, false);
                while let Some(c) = rest.next_if(|c| !['+', '-', '='].contains(c)) {
                    bits |= match c {
                        'r' => 0o444,
                        'w' => 0o222,
                        'x' => 0o111,
                        's' => 0o6000,
                        't' => 0o1000,
                        'X' => {
                            execute_if = true;
                            0
                        }
                        _ => return None,
                    };
                }
                clauses.push(Clause { who, op, bits, execute_if });
            }
        }
        Some(Self::Symbolic(clauses))
    }

    /// The new bits of a file that had `mode`.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode & 0o7777, |mode, clause| {
                let execute = clause.execute_if && (is_directory || mode & 0o111 != 0);
                let bits = (clause.bits | if execute { 0o111 } else { 0 }) & clause.who;
                match clause.op {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    // Set-ID bits of a directory stay unless they are named.
                    _ => mode & !(clause.who & 0o777) | bits,
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_symbolic() {
        for (text, before, directory, after) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, true, 0o644),
            ("4755", 0, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("go-w,o=", 0o777, false, 0o750),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a+X", 0o744, false, 0o755),
            ("u=rw,g+r-w", 0o020, false, 0o640),
            ("+t", 0o777, true, 0o1777),
            ("u+s", 0o755, false, 0o4755),
        ] {
            let mode = Mode::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(mode.apply(before, directory), after, "{text}: {:o}", mode.apply(before, directory));
        }
        for text in ["", "8", "77777", "u", "rwx", "u+q", "z+x"] {
            assert_eq!(Mode::parse(text), None, "{text}");
        }
    }
}
