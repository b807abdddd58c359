//! Restart policies: whether a container that has ended starts again, and after which pause.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::spec::{ContainerSpec, RestartPolicy};
use crate::runtime::monitor::record::STOP_REQUESTED;
use crate::runtime::monitor::serve;
use crate::runtime::still::Still;
use crate::runtime::updates::Updates;
use crate::sys::signal::SignalFd;
use crate::sys::waiting;

/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A life this long was a success: pauses begin anew.
const LONG_LIFE: Duration = Duration::from_secs(10);
/// How often a pause looks whether the user has asked for the end.
const LOOK: Duration = Duration::from_millis(50);
/// How often a life that is due looks whether a copy is done: most take less.
const SHORT_LOOK: Duration = Duration::from_millis(5);

/// Does `policy` start a container again that ended with `exit_code` after `restarts` restarts?
pub(super) fn is_due(policy: &RestartPolicy, exit_code: i32, restarts: u32, stop_requested: bool) -> bool {
    match policy {
        _ if stop_requested => false,
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { max } => exit_code != 0 && (*max == 0 || restarts < *max),
    }
}

/// The pauses of one container.
#[derive(Debug)]
pub(super) struct Pauses {
    policy: RestartPolicy,
    pause: Duration,
}

impl Pauses {
    pub(super) fn new(spec: &ContainerSpec) -> Self {
        Self { policy: spec.restart, pause: FIRST_PAUSE }
    }

    /// True if the container is to start again, after `restarts` restarts and a life that lasted `life`.
    pub(super) fn is_due(&mut self, directory: &Path, exit_code: i32, restarts: u32, life: Duration) -> bool {
        if life >= LONG_LIFE {
            self.pause = FIRST_PAUSE;
        }
        if let Some(policy) = Updates::read(directory).restart {
            self.policy = policy;
        }
        is_due(&self.policy, exit_code, restarts, directory.join(STOP_REQUESTED).exists())
    }

    /// Waits before the next life; false if the user wants none any more, or whoever signals the monitor.
    pub(super) fn pause(&mut self, directory: &Path, signals: &SignalFd) -> bool {
        let deadline = Instant::now() + self.pause;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            std::thread::sleep(left.min(LOOK));
            if is_unwanted(directory, signals) {
                return false;
            }
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Waits until nobody uses the container's files from outside, and keeps others from it. `None` if no life is wanted any
/// more, or that takes longer than `patience`.
pub(super) fn await_turn(
    directory: &Path,
    signals: &SignalFd,
    patience: Duration,
) -> io::Result<Option<Still>> {
    let turn = waiting::until(patience, SHORT_LOOK, || {
        let turn = Still::try_take(directory)?;
        Ok::<_, io::Error>((turn.is_some() || is_unwanted(directory, signals)).then_some(turn))
    })?;
    Ok(turn.flatten())
}

/// Does the user want no further life, or whoever signals the monitor?
fn is_unwanted(directory: &Path, signals: &SignalFd) -> bool {
    let told_to_end = serve::are_told_to_end(signals).unwrap_or(false);
    // A container that was removed meanwhile has no directory any more.
    told_to_end || directory.join(STOP_REQUESTED).exists() || !directory.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        for (policy, code, restarts, stopped, want) in [
            (No, 1, 0, false, false),
            (Always, 0, 9, false, true),
            (Always, 0, 9, true, false),
            (UnlessStopped, 1, 0, false, true),
            (UnlessStopped, 1, 0, true, false),
            (OnFailure { max: 0 }, 0, 0, false, false),
            (OnFailure { max: 0 }, 1, 99, false, true),
            (OnFailure { max: 2 }, 1, 1, false, true),
            (OnFailure { max: 2 }, 1, 2, false, false),
        ] {
            assert_eq!(
                is_due(&policy, code, restarts, stopped),
                want,
                "{policy:?} {code} {restarts} {stopped}"
            );
        }
    }

    #[test]
    fn a_long_life_shortens_the_pause_and_not_the_count() {
        let directory = tempfile::tempdir().unwrap();
        let mut pauses = Pauses { policy: RestartPolicy::OnFailure { max: 1 }, pause: LONGEST_PAUSE };
        assert!(pauses.is_due(directory.path(), 3, 0, LONG_LIFE));
        assert_eq!(pauses.pause, FIRST_PAUSE);
        assert!(!pauses.is_due(directory.path(), 3, 1, LONG_LIFE));
    }
}
