//! What `wait` waits for, and whether a container is so.

use crate::base::health::Health;
use crate::engine::state::{Phase, Status};
use crate::engine::{Error, Result};

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Created,
    Initialized,
    Running,
    Paused,
    Stopping,
    /// It has ended.
    Stopped,
    Removing,
    /// Its health check has found this.
    Health(Health),
}

impl std::str::FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "configured" | "created" => Ok(Self::Created),
            "initialized" => Ok(Self::Initialized),
            "running" => Ok(Self::Running),
            "stopping" => Ok(Self::Stopping),
            "stopped" | "exited" => Ok(Self::Stopped),
            "removing" => Ok(Self::Removing),
            "healthy" => Ok(Self::Health(Health::Healthy)),
            "unhealthy" => Ok(Self::Health(Health::Unhealthy)),
            "paused" => Ok(Self::Paused),
            _ => Err(Error::invalid(format!("unknown container state: {text}: invalid argument"))),
        }
    }
}

impl Condition {
    /// The answer of `wait` if a container that is so meets this.
    pub(super) fn met_by(self, status: &Status) -> Option<i32> {
        if status.paused {
            return (self == Self::Paused).then_some(-1);
        }
        match (self, status.phase) {
            (Self::Stopped, Phase::Exited(code) | Phase::Ending(code)) => Some(code),
            // As with docker and podman: it does not run.
            (Self::Stopped, Phase::Created) => Some(status.exit_code()),
            (Self::Created, Phase::Created)
            | (Self::Initialized, Phase::Starting | Phase::Initialized)
            | (Self::Running, Phase::Up | Phase::Unmonitored)
            | (Self::Stopping, Phase::Ending(_)) => Some(-1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_wait() {
        let met = |word: &str, phase, paused| {
            word.parse::<Condition>().unwrap().met_by(&Status { paused, ..Status::of(phase) })
        };
        for (word, phase, paused, want) in [
            ("running", Phase::Up, false, Some(-1)),
            ("running", Phase::Up, true, None),
            ("paused", Phase::Up, true, Some(-1)),
            ("paused", Phase::Unmonitored, true, Some(-1)),
            ("paused", Phase::Up, false, None),
            ("paused", Phase::Exited(3), false, None),
            ("exited", Phase::Exited(3), false, Some(3)),
            ("stopped", Phase::Up, true, None),
            ("created", Phase::Created, false, Some(-1)),
            ("exited", Phase::Created, false, Some(0)),
            ("running", Phase::Created, false, None),
        ] {
            assert_eq!(met(word, phase, paused), want, "{word} {phase:?} {paused}");
        }
        assert!("pausing".parse::<Condition>().is_err());
    }
}
