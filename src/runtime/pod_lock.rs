//! Keeping the infra container of a pod running while containers of the pod are being started.
//!
//! A flock of the pod's directory. Whoever starts shares it from before they look whether the infra container runs, until
//! the new container's monitor holds that one's lock; the monitor that ends the infra container has it alone from before
//! it looks whether nothing runs until its wish is written down. So either it sees the new container, or the new
//! container sees the wish, and waits.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::base::pod::PodId;
use crate::sys::fs::{DirectoryLock, Share};

/// How long a start waits for the end of an infra container to be ordered, which takes milliseconds.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Held by those who start containers of a pod, or end its infra container. (A monitor that is just being started may have
/// a copy of the descriptor.)
#[derive(Debug)]
pub(crate) struct PodLock(#[allow(dead_code, reason = "held")] DirectoryLock);

impl PodLock {
    /// Has the pod's infra container stay while one of its containers is started. `None` if that cannot be had, which keeps
    /// nobody from starting.
    pub(crate) fn to_start(root: &Path, pod: &PodId) -> Option<Self> {
        take(root, pod, Share::Shared, START_PATIENCE).ok().flatten()
    }

    /// Keeps others from starting containers of the pod; `None` if some still are being started after `patience`.
    ///
    /// # Errors
    ///
    /// If the pod is gone.
    pub(crate) fn to_end(root: &Path, pod: &PodId, patience: Duration) -> io::Result<Option<Self>> {
        take(root, pod, Share::Exclusive, patience)
    }
}

fn take(root: &Path, pod: &PodId, share: Share, patience: Duration) -> io::Result<Option<PodLock>> {
    let directory = root.join("pods").join(pod.as_str());
    Ok(DirectoryLock::take(&directory, share, patience, LOOK)?.map(PodLock))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn starts_go_together_and_an_end_goes_alone() {
        let root = tempfile::tempdir().unwrap();
        let pod = PodId::from_random([7; 32]);
        assert!(
            PodLock::to_start(root.path(), &pod).is_none()
                && PodLock::to_end(root.path(), &pod, Duration::ZERO).is_err()
        );
        std::fs::create_dir_all(root.path().join("pods").join(pod.as_str())).unwrap();
        let one = PodLock::to_start(root.path(), &pod).unwrap();
        let copy = one.0.as_fd().try_clone_to_owned().unwrap();
        let two = PodLock::to_start(root.path(), &pod).unwrap();
        let end = || PodLock::to_end(root.path(), &pod, Duration::ZERO).unwrap();
        drop(one);
        assert!(end().is_none());
        drop(two);
        let ending = end().unwrap();
        assert!(take(root.path(), &pod, Share::Shared, Duration::ZERO).unwrap().is_none());
        drop(ending);
        drop(copy);
    }
}
