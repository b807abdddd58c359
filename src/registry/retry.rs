//! When to try again, and how long to wait before.
//!
//! ```text
//! try ── fails ──▶ transient? ──no──▶ give up
//!                    │ yes
//!                    ├─ 429: wait what Retry-After says, all waits of a command together ≤ 5 min
//!                    └─ else: wait delay · 2ⁿ, at most `retries` times without progress
//! ```

use std::time::Duration;

use crate::registry::error::{Error, Result};

/// How patient ketch is with a registry.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Attempts after the first, as long as none makes progress.
    pub(crate) retries: u32,
    /// Wait before the first repetition; doubled for each further one.
    pub(crate) delay: Duration,
    /// A transfer that brings nothing for so long is broken off.
    pub(crate) stall: Duration,
    /// Sum of the waits that rate limits may ask for.
    pub(crate) rate_limit: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries: 5,
            delay: Duration::from_secs(1),
            stall: Duration::from_secs(30),
            rate_limit: Duration::from_secs(300),
        }
    }
}

/// The longest wait between two attempts that is not a rate limit.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// The count of one request's or one blob's attempts.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    policy: &'a Policy,
    failed: u32,
    /// Spent waiting for rate limits so far.
    limited: Duration,
}

impl<'a> Attempts<'a> {
    /// None made yet.
    pub(crate) fn new(policy: &'a Policy) -> Self {
        Self { policy, failed: 0, limited: Duration::ZERO }
    }

    /// Forgets earlier failures: the last attempt got further than all before.
    pub(crate) fn progress(&mut self) {
        self.failed = 0;
    }

    /// Takes note of a failure; says how long to wait before the next attempt.
    ///
    /// # Errors
    ///
    /// `err` itself where another attempt is of no use or there were enough of them;
    /// [`Error::RateLimited`] when the waits would exceed [`Policy::rate_limit`].
    pub(crate) fn after(&mut self, err: Error, registry: &str) -> Result<Duration> {
        if !err.is_transient() {
            return Err(err);
        }
        let backoff = self.policy.delay.saturating_mul(1 << self.failed.min(16)).min(MAX_DELAY);
        match err {
            Error::Status { status: 429, retry_after, .. } => {
                let wait = retry_after.unwrap_or(backoff);
                self.limited = self.limited.saturating_add(wait);
                self.failed += 1;
                let spent = self.limited > self.policy.rate_limit;
                // Without a hint from the server the usual number of attempts holds.
                if spent || (retry_after.is_none() && self.failed > self.policy.retries) {
                    let waited = self.limited.saturating_sub(wait);
                    return Err(Error::RateLimited { registry: registry.to_owned(), waited });
                }
                Ok(wait)
            }
            err if self.failed >= self.policy.retries => Err(err),
            err => {
                self.failed += 1;
                let asked = match err {
                    Error::Status { retry_after, .. } => retry_after,
                    _ => None,
                };
                Ok(asked.unwrap_or(backoff).min(self.policy.rate_limit))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(retries: u32) -> Policy {
        Policy { retries, delay: Duration::from_secs(1), ..Policy::default() }
    }

    fn status(status: u16, retry_after_s: Option<u64>) -> Error {
        let retry_after = retry_after_s.map(Duration::from_secs);
        Error::Status { url: "u".into(), status, message: String::new(), retry_after }
    }

    #[test]
    fn waits_double_and_end() {
        let policy = policy(3);
        let mut attempts = Attempts::new(&policy);
        let waits: Vec<u64> =
            (0..3).map(|_| attempts.after(status(503, None), "r").unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4]);
        assert!(matches!(attempts.after(status(503, None), "r"), Err(Error::Status { status: 503, .. })));
        attempts.progress();
        assert_eq!(attempts.after(status(503, None), "r").unwrap().as_secs(), 1);
    }

    #[test]
    fn only_transient_failures_are_repeated() {
        let policy = policy(3);
        for (code, again) in [(400, false), (401, false), (404, false), (408, true), (500, true), (504, true)]
        {
            let verdict = Attempts::new(&policy).after(status(code, None), "r");
            assert_eq!(verdict.is_ok(), again, "{code}");
        }
    }

    #[test]
    fn rate_limits_have_a_budget_of_their_own() {
        let policy = policy(1);
        let mut attempts = Attempts::new(&policy);
        for _ in 0..5 {
            assert_eq!(attempts.after(status(429, Some(60)), "r").unwrap().as_secs(), 60);
        }
        let err = attempts.after(status(429, Some(60)), "r").unwrap_err();
        assert!(matches!(err, Error::RateLimited { waited, .. } if waited.as_secs() == 300), "{err}");
        let mut attempts = Attempts::new(&policy);
        assert!(attempts.after(status(429, None), "r").is_ok());
        assert!(attempts.after(status(429, None), "r").is_err());
    }
}
