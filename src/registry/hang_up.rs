//! Whether whom a request is done for is still there.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use crate::sys::poll::PollSet;

/// How often to look whether whom it is done for is still there.
const LOOK: Duration = Duration::from_millis(200);

/// Waits for the other end of a socket to be closed; without one for ever.
pub(super) async fn of(socket: Option<&OwnedFd>) {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        let mut set = PollSet::default();
        let place = set.add_for_hang_up(Some(socket.as_fd()));
        if set.wait(Some(Duration::ZERO)).is_ok() && set.ready(place).hung_up {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}
