//! What a monitor looks after beside a container's streams; the loop of `serve` asks each when it is due.

use std::time::Duration;

use crate::runtime::monitor::health::Checker;
use crate::runtime::monitor::notify::Notifier;
use crate::runtime::monitor::tell::Teller;
use crate::runtime::monitor::wiring::Wiring;

/// What a container has beside its streams.
#[derive(Debug, Default)]
pub(super) struct Company<'a> {
    /// Its networks, if they are ketch's.
    pub(super) wiring: Option<&'a mut Wiring>,
    pub(super) health: Option<&'a mut Checker>,
    /// A service manager that wants to know.
    pub(super) notifier: Option<&'a mut Notifier>,
    /// Between the stop signal and SIGKILL, when its health is the reason, or a signal to the monitor.
    pub(super) grace: Option<Duration>,
    /// Who tells of the end of processes that run beside process 1.
    pub(super) teller: Option<&'a Teller>,
}
