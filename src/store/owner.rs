//! Who made an entry of `staging/`: a process that can be told alive from dead.

use std::sync::OnceLock;

use crate::store::error::{Result, io_error};

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
        let start_ticks = start_ticks(pid).ok_or(std::io::ErrorKind::NotFound.into());
        let start_ticks = start_ticks.map_err(io_error("read", "/proc/self/stat"))?;
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

    /// True if the process still runs.
    pub(crate) fn is_alive(&self) -> Result<bool> {
        Ok(self.boot_id == boot_id()? && start_ticks(self.pid) == Some(self.start_ticks))
    }
}

fn boot_id() -> Result<&'static str> {
    if let Some(known) = BOOT_ID.get() {
        return Ok(known);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(io_error("read", path))?;
    Ok(BOOT_ID.get_or_init(|| text.trim_end().to_owned()))
}

fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the program's name, may itself hold spaces and parentheses.
    let after_name = stat.iter().rposition(|&byte| byte == b')')?;
    std::str::from_utf8(&stat[after_name..]).ok()?.split(' ').nth(20)?.parse().ok()
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
