//! Health checks: what is to be checked, and what came of it.
//!
//! ```text
//! starting ──success──▶ healthy ──`retries` failures in a row──▶ unhealthy ──success──▶ healthy
//!    └── failures within the start period do not count
//! ```
//!
//! # Source
//!
//! Docker image specification 1.2, `Healthcheck`; podman-run(1), `--health-*`.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;

/// Everything about the health checks of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthPlan {
    pub(crate) check: Check,
    /// Comes first, until it has succeeded often enough; the check begins then.
    pub(crate) startup: Option<Startup>,
    pub(crate) on_failure: OnFailure,
    pub(crate) log: HealthLog,
    /// Checks are no events (`healthcheck_events=false` in containers.conf).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) silent: bool,
}

/// One check that is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    /// The command as images write it: `CMD` and words, or `CMD-SHELL` and one line for the shell.
    pub(crate) test: Vec<Bytes>,
    /// Pause between the end of one check and the next; 0 checks only on request.
    pub(crate) interval_ns: u64,
    /// A check that takes longer has failed, and is killed.
    pub(crate) timeout_ns: u64,
    /// Failures this soon after the start do not count.
    pub(crate) start_period_ns: u64,
    /// The pause in that time, until a check has succeeded; 0 for the same as later.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) start_interval_ns: u64,
    /// So many failures in a row make it unhealthy. With a start-up check, 0 never gives up.
    pub(crate) retries: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The check of the start-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Startup {
    pub(crate) check: Check,
    /// So many successes end the start-up; 0 counts as 1.
    pub(crate) successes: u32,
}

/// What happens to a container that is unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnFailure {
    #[default]
    None,
    Kill,
    Restart,
    Stop,
}

impl OnFailure {
    /// The word of `--health-on-failure`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
        }
    }
}

/// What is kept of past checks, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthLog {
    pub(crate) destination: Destination,
    /// Checks to keep; 0 keeps all.
    pub(crate) max_count: u32,
    /// Characters to keep of each one's output; 0 keeps all.
    pub(crate) max_size: u32,
}

/// Where past checks are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Destination {
    /// With the container.
    Local,
    /// In `ID-healthcheck.log` of this directory.
    Directory(#[serde(with = "crate::base::bytes::path")] PathBuf),
    /// In the events only.
    Events,
}

impl Check {
    /// The words to execute; `None` for a test that means nothing.
    pub(crate) fn words(&self) -> Option<Vec<Bytes>> {
        let (kind, rest) = self.test.split_first()?;
        match kind.as_bytes() {
            b"CMD" if !rest.is_empty() => Some(rest.to_vec()),
            b"CMD-SHELL" if !rest.is_empty() => {
                let line = rest.iter().map(Bytes::as_bytes).collect::<Vec<_>>().join(&b' ');
                Some(vec!["/bin/sh".into(), "-c".into(), line.into()])
            }
            _ => None,
        }
    }
}

/// How a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Health {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Health {
    /// The word of `ps` and `inspect`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The file `health.json` of a container: its monitor writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthState {
    pub(crate) status: Health,
    pub(crate) failing_streak: u32,
    /// The last checks, the oldest first.
    pub(crate) log: Vec<Checked>,
}

/// The name of that file.
pub(crate) const HEALTH_FILE: &str = "health.json";

/// One check that was made. The names are podman's and Docker's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Checked {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// -1 for a check that took too long.
    pub(crate) exit_code: i32,
    pub(crate) output: String,
}

impl HealthState {
    /// Adds a check to the log, within the limits.
    pub(crate) fn note(&mut self, mut checked: Checked, limits: &HealthLog) {
        let size = usize::try_from(limits.max_size).unwrap_or(usize::MAX);
        if size > 0
            && let Some((end, _)) = checked.output.char_indices().nth(size)
        {
            checked.output.truncate(end);
        }
        self.log.push(checked);
        let count = usize::try_from(limits.max_count).unwrap_or(usize::MAX);
        if count > 0 && self.log.len() > count {
            self.log.drain(..self.log.len() - count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_tests() {
        for (test, want) in [
            (&["CMD", "a", "b c"][..], Some(&["a", "b c"][..])),
            (&["CMD-SHELL", "exit 1 || :"], Some(&["/bin/sh", "-c", "exit 1 || :"])),
            (&["CMD"], None),
            (&["NONE"], None),
            (&[], None),
        ] {
            let bytes = |words: &[&str]| words.iter().map(|word| Bytes::from(*word)).collect::<Vec<_>>();
            let check = Check {
                test: bytes(test),
                interval_ns: 0,
                timeout_ns: 0,
                start_period_ns: 0,
                start_interval_ns: 0,
                retries: 1,
            };
            assert_eq!(check.words(), want.map(bytes), "{test:?}");
        }
    }

    #[test]
    fn the_log_has_limits() {
        let checked = |output: &str| Checked {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            exit_code: 0,
            output: output.to_owned(),
        };
        for (max_count, max_size, want) in
            [(2, 3, &["ünd", "dre"][..]), (0, 0, &["eins", "ündig", "drei"]), (1, 100, &["drei"])]
        {
            let mut state = HealthState::default();
            let limits = HealthLog { destination: Destination::Local, max_count, max_size };
            for text in ["eins", "ündig", "drei"] {
                state.note(checked(text), &limits);
            }
            let kept: Vec<_> = state.log.iter().map(|checked| checked.output.as_str()).collect();
            assert_eq!(kept, want);
        }
    }
}
