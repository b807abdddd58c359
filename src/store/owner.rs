//! Who made an entry of `staging/`: a process that can be told alive from dead.

use std::sync::OnceLock;

use crate::store::error::{Result, io_error};
use crate::sys::pidfd;

/// A process, identified across the reuse of its number and across reboots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// `/proc/sys/kernel/random/boot_id`.
    boot_id: String,
    pid: u32,
    /// Field 22 of `/proc/PID/stat`.
    start_ticks: u64,
}

static BOOT_ID: OnceLock<String> = OnceLock::new();

impl Owner {
    /// This process.
    pub(crate) fn current() -> Result<Self> {
        let pid = std::process::id();
        let start_ticks = start_ticks_if_alive(pid)?
            .ok_or_else(|| io_error("find this process in", "/proc")(std::io::ErrorKind::NotFound.into()))?;
        Ok(Self { boot_id: boot_id()?.to_owned(), pid, start_ticks })
    }

    /// Reads the front of a name in `staging/`: `<boot id>-<pid>-<start ticks>-<n>`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.rsplitn(4, '-');
        let _serial: u64 = parts.next()?.parse().ok()?;
        let start_ticks = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        Some(Self { boot_id: parts.next()?.to_owned(), pid, start_ticks })
    }

    /// The name of the `serial`th entry of this process.
    pub(crate) fn entry(&self, serial: u64) -> String {
        format!("{}-{}-{}-{serial}", self.boot_id, self.pid, self.start_ticks)
    }

    /// True if it is, or was, a process since the machine was started.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id)
    }

    /// True if the process still runs. One that was killed and that nobody has waited for does not.
    pub(crate) fn is_alive(&self) -> Result<bool> {
        Ok(self.boot_id == boot_id()? && start_ticks_if_alive(self.pid)? == Some(self.start_ticks))
    }
}

/// The ID of this boot.
pub(crate) fn boot_id() -> Result<&'static str> {
    if let Some(known) = BOOT_ID.get() {
        return Ok(known);
    }
    let read = pidfd::boot_id().map_err(io_error("read", "/proc/sys/kernel/random/boot_id"))?;
    Ok(BOOT_ID.get_or_init(|| read))
}

fn start_ticks_if_alive(pid: u32) -> Result<Option<u64>> {
    // A number that does not fit is no process.
    let Ok(number) = i32::try_from(pid) else { return Ok(None) };
    pidfd::start_ticks_if_alive(number).map_err(io_error("read the start time of process", pid.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_others_are_not() {
        let me = Owner::current().unwrap();
        assert_eq!(Owner::parse(&me.entry(7)).as_ref(), Some(&me));
        assert!(me.is_alive().unwrap());
        for dead in [
            Owner { start_ticks: me.start_ticks + 1, ..me.clone() },
            Owner { boot_id: "00000000-0000-0000-0000-000000000000".into(), ..me.clone() },
            Owner { pid: u32::MAX, ..me },
        ] {
            assert!(!dead.is_alive().unwrap(), "{dead:?}");
        }
        for bad in ["", "x", "1-2-3", "a-b-c-d", "boot-1-2-"] {
            assert_eq!(Owner::parse(bad), None, "{bad}");
        }
    }
}
