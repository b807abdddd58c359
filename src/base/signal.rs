//! Signals by name, as users type them and as listings show them.

use std::fmt;
use std::str::FromStr;

/// Names of the standard signals by number, from 1 (Linux on x86-64 and arm64).
pub(crate) const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Other names for some of them.
const ALIASES: [(&str, i32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];
/// The first real-time signal that the C library leaves to programs, and the last.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Signal(i32);

/// A text that names no signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid signal: {0}")]
pub(crate) struct SignalError(String);

impl Signal {
    /// SIGKILL.
    pub(crate) const KILL: Self = Self(9);
    /// SIGTERM.
    pub(crate) const TERM: Self = Self(15);

    /// The number.
    pub(crate) fn number(self) -> i32 {
        self.0
    }

    /// The signal with this number, if there is one.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        (1..=RTMAX).contains(&number).then_some(Self(number))
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// Reads `15`, `TERM`, `SIGTERM`, in any case, and `RTMIN`, `RTMIN+3`, `SIGRTMAX-2`; all of them also with a dash
    /// before it, as kill(1) takes them.
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let unknown = || SignalError(text.chars().take(80).collect());
        let bare = text.strip_prefix('-').unwrap_or(text);
        if let Some(number) = bare.parse().ok().filter(|_| !bare.starts_with(['-', '+'])) {
            return Self::from_number(number).ok_or_else(unknown);
        }
        let upper = bare.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(index) = NAMES.iter().position(|&known| known == name) {
            return Ok(Self(i32::try_from(index + 1).map_err(|_| unknown())?));
        }
        if let Some(&(_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
            return Ok(Self(number));
        }
        real_time(name).map(Self).ok_or_else(unknown)
    }
}

/// The number of `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn real_time(name: &str) -> Option<i32> {
    let (start, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (RTMIN, rest),
        (None, Some(rest)) => (RTMAX, rest),
        (None, None) => return None,
    };
    let offset = match rest.as_bytes().first() {
        None => 0,
        Some(b'+' | b'-') => rest.parse::<i32>().ok()?,
        Some(_) => return None,
    };
    start.checked_add(offset).filter(|number| (RTMIN..=RTMAX).contains(number))
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standard = usize::try_from(self.0).ok().and_then(|number| NAMES.get(number.checked_sub(1)?));
        match standard {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("15", Some(15)),
            ("TERM", Some(15)),
            ("sigterm", Some(15)),
            ("SIGKILL", Some(9)),
            ("USR1", Some(10)),
            ("SYS", Some(31)),
            ("IOT", Some(6)),
            ("64", Some(64)),
            ("SIGRTMIN", Some(34)),
            ("RTMIN+3", Some(37)),
            ("rtmax-1", Some(63)),
            ("0", None),
            ("65", None),
            ("-9", Some(9)),
            ("-INT", Some(2)),
            ("-SIGUSR1", Some(10)),
            ("--9", None),
            ("+9", None),
            ("-0", None),
            ("-", None),
            ("RTMIN3", None),
            ("RTMIN+31", None),
            ("RTMAX+1", None),
            ("SIG", None),
            ("", None),
            ("SIGSIGTERM", None),
        ] {
            assert_eq!(text.parse::<Signal>().ok().map(Signal::number), want, "{text}");
        }
    }

    #[test]
    fn each_name_is_read_back() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse(), Ok(signal), "{signal}");
        }
        assert_eq!(Signal::KILL.to_string(), "SIGKILL");
    }
}
