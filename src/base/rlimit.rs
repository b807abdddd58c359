//! Resource limits: names, kernel numbers, and `--ulimit`.

use crate::base::spec::Rlimit;

/// Unlimited, as the kernel and [`Rlimit`] write it.
pub(crate) const UNLIMITED: u64 = u64::MAX;

/// Names in the order of the kernel's numbers (`asm-generic/resource.h`).
const NAMES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// One value of `--ulimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ulimit {
    /// All limits as the caller has them (`--ulimit host`).
    Host,
    /// One limit.
    Limit(Rlimit),
}

/// Why a value of `--ulimit` means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UlimitError {
    #[error("invalid ulimit {0:?}: write NAME=SOFT[:HARD]")]
    Form(String),
    #[error("invalid ulimit type: {0}")]
    Name(String),
    #[error("invalid ulimit value {0:?}: write a number, or -1 for no limit")]
    Value(String),
    #[error("ulimit soft limit must be less than or equal to hard limit: {0}")]
    SoftAboveHard(String),
}

/// The kernel's number of a limit (`RLIMIT_NOFILE` for `nofile` …), by lower-case name.
pub(crate) fn resource(name: &str) -> Option<u32> {
    (0..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number)
}

/// All limits with their kernel numbers.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, u32)> {
    NAMES.into_iter().zip(0..)
}

/// Reads `name=soft[:hard]` or `host`. A missing hard limit is the soft one; `-1` is unlimited. Names
/// in any case, with or without `RLIMIT_`.
///
/// # Errors
///
/// [`UlimitError`], which names the part that is wrong.
pub(crate) fn parse(text: &str) -> Result<Ulimit, UlimitError> {
    if text == "host" {
        return Ok(Ulimit::Host);
    }
    let (name, limits) = text.split_once('=').ok_or_else(|| UlimitError::Form(text.to_owned()))?;
    let lower = name.to_ascii_lowercase();
    let known = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    resource(known).ok_or_else(|| UlimitError::Name(name.to_owned()))?;
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (value(soft)?, value(hard)?),
        None => (value(limits)?, value(limits)?),
    };
    if soft > hard {
        return Err(UlimitError::SoftAboveHard(text.to_owned()));
    }
    Ok(Ulimit::Limit(Rlimit { name: known.to_owned(), soft, hard, is_default: false }))
}

/// What a caller who cannot raise limits gets of `limit`: none at all is as much as `hard` allows, as podman has it.
pub(crate) fn within(limit: Rlimit, hard: u64) -> Rlimit {
    match limit.hard {
        UNLIMITED => Rlimit { hard, soft: limit.soft.min(hard), ..limit },
        _ => limit,
    }
}

fn value(text: &str) -> Result<u64, UlimitError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "-1" => Ok(UNLIMITED),
        _ if digits => text.parse().map_err(|_| UlimitError::Value(text.to_owned())),
        _ => Err(UlimitError::Value(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        for (text, name, soft, hard) in [
            ("nofile=1024:2048", "nofile", 1024, 2048),
            ("nofile=1024", "nofile", 1024, 1024),
            ("core=0:-1", "core", 0, UNLIMITED),
            ("memlock=-1:-1", "memlock", UNLIMITED, UNLIMITED),
            ("memlock=-1", "memlock", UNLIMITED, UNLIMITED),
            ("RLIMIT_NOFILE=1:1", "nofile", 1, 1),
            ("as=18446744073709551615", "as", UNLIMITED, UNLIMITED),
        ] {
            let want = Rlimit { name: name.to_owned(), soft, hard, is_default: false };
            assert_eq!(parse(text), Ok(Ulimit::Limit(want)), "{text}");
        }
        assert_eq!(parse("host"), Ok(Ulimit::Host));
    }

    #[test]
    fn no_limit_is_as_much_as_there_is() {
        for (soft, hard, want) in [
            (UNLIMITED, UNLIMITED, (4096, 4096)),
            (1024, UNLIMITED, (1024, 4096)),
            (1024, 8192, (1024, 8192)),
        ] {
            let limit = Rlimit { name: "nofile".into(), soft, hard, is_default: false };
            let got = within(limit, 4096);
            assert_eq!((got.soft, got.hard), want, "{soft}:{hard}");
        }
    }

    #[test]
    fn refuses() {
        let s = str::to_owned;
        for (text, error) in [
            ("nofile", UlimitError::Form(s("nofile"))),
            ("files=1", UlimitError::Name(s("files"))),
            ("=1", UlimitError::Name(s(""))),
            ("nofile=", UlimitError::Value(s(""))),
            ("nofile=1:", UlimitError::Value(s(""))),
            ("nofile=1:2:3", UlimitError::Value(s("2:3"))),
            ("nofile=-2", UlimitError::Value(s("-2"))),
            ("nofile=+1", UlimitError::Value(s("+1"))),
            ("nofile=18446744073709551616", UlimitError::Value(s("18446744073709551616"))),
            ("nofile=2:1", UlimitError::SoftAboveHard(s("nofile=2:1"))),
            ("nofile=-1:5", UlimitError::SoftAboveHard(s("nofile=-1:5"))),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number) in [
            ("cpu", libc::RLIMIT_CPU),
            ("stack", libc::RLIMIT_STACK),
            ("core", libc::RLIMIT_CORE),
            ("nproc", libc::RLIMIT_NPROC),
            ("nofile", libc::RLIMIT_NOFILE),
            ("memlock", libc::RLIMIT_MEMLOCK),
            ("as", libc::RLIMIT_AS),
            ("rttime", libc::RLIMIT_RTTIME),
        ] {
            assert_eq!(resource(name), Some(number), "{name}");
        }
        assert_eq!(all().count(), 16);
    }
}
