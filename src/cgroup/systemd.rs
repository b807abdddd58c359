//! A cgroup from systemd: a transient scope.
//!
//! systemd owns the tree and lets nobody move a process out of a login session into another branch; its
//! user manager can have that done. One call, and the process is in a scope that is handed over to us:
//!
//! ```text
//! StartTransientUnit("ketch-<id>.scope", "fail", {Delegate, PIDs, Slice, …}) ─▶ job
//! JobRemoved(job, "done")
//! ```

use std::io;
use std::path::PathBuf;

use crate::cgroup::dbus::{Body, CallError, Connection, Method, Value};
use crate::cgroup::{CgroupError, Result};

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// Where a manager may be reached.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sockets {
    /// Its own socket: no bus in between.
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) private: PathBuf,
    /// The bus it is on.
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) bus: Option<PathBuf>,
}

/// A scope to be made.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// Ends in `.scope`.
    pub(super) name: &'a str,
    /// Ends in `.slice`.
    pub(super) slice: &'a str,
    pub(super) description: &'a str,
    /// Who goes into it.
    pub(super) pid: i32,
    /// How long its processes have when the machine goes down, in seconds.
    pub(super) stop_seconds: u64,
}

/// A connection to a manager.
#[derive(Debug)]
pub(crate) struct Manager(Connection);

impl Manager {
    /// Connects; `None` where there is none.
    pub(super) fn connect(sockets: &Sockets) -> Option<Self> {
        if let Ok(connection) = Connection::open(&sockets.private) {
            return Some(Self(connection));
        }
        let mut bus = Self(Connection::open(sockets.bus.as_ref()?).ok()?);
        bus.introduce().ok()?;
        Some(bus)
    }

    /// What a bus wants to know before it passes calls and signals on.
    fn introduce(&mut self) -> std::result::Result<(), CallError> {
        let bus = |name, signature| Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            name,
            signature,
        };
        self.0.call(&bus("Hello", ""), Body::default())?;
        let mut rule = Body::default();
        rule.text(&format!("type='signal',interface='{MANAGER}',member='JobRemoved'"));
        self.0.call(&bus("AddMatch", "s"), rule)?;
        self.0.call(&manager("Subscribe", ""), Body::default())?;
        Ok(())
    }

    /// Makes `scope` and waits until its process is in it. False if there is a scope of that name.
    pub(super) fn start_scope(&mut self, scope: &Scope<'_>) -> Result<bool> {
        let mut body = Body::default();
        body.text(scope.name);
        body.text("fail");
        body.properties(&[
            ("Description", Value::Text(scope.description.to_owned())),
            ("Slice", Value::Text(scope.slice.to_owned())),
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Numbers(vec![scope.pid.cast_unsigned()])),
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            ("TimeoutStopUSec", Value::U64(scope.stop_seconds.saturating_mul(1_000_000))),
        ]);
        body.array_of_structs(|_| {});
        let reply = match self.0.call(&manager("StartTransientUnit", "ssa(sv)a(sa(sv))"), body) {
            Err(CallError::Refused(name, _)) if name.ends_with(".UnitExists") => return Ok(false),
            other => other.map_err(refused)?,
        };
        let job = reply.words.into_iter().next().unwrap_or_default();
        match self.await_job(&job).map_err(|err| refused(CallError::Io(err)))?.as_str() {
            "done" => Ok(true),
            result => Err(CgroupError::Systemd(format!("{} ended with {result:?}", scope.name))),
        }
    }

    /// Makes the slice `name`, unless it is there, and waits for it.
    pub(super) fn start_slice(&mut self, name: &str, properties: &[(&str, Value)]) -> Result<()> {
        let mut body = Body::default();
        body.text(name);
        body.text("fail");
        body.properties(properties);
        body.array_of_structs(|_| {});
        let reply = match self.0.call(&manager("StartTransientUnit", "ssa(sv)a(sa(sv))"), body) {
            Err(CallError::Refused(name, _)) if name.ends_with(".UnitExists") => return Ok(()),
            other => other.map_err(refused)?,
        };
        let job = reply.words.into_iter().next().unwrap_or_default();
        match self.await_job(&job).map_err(|err| refused(CallError::Io(err)))?.as_str() {
            "done" => Ok(()),
            result => Err(CgroupError::Systemd(format!("{name} ended with {result:?}"))),
        }
    }

    /// Has the slice `name` end, if it is there, without waiting for that.
    pub(super) fn stop_slice(&mut self, name: &str) -> Result<()> {
        let mut body = Body::default();
        body.text(name);
        body.text("fail");
        match self.0.call(&manager("StopUnit", "ss"), body) {
            Err(CallError::Refused(name, _)) if name.ends_with(".NoSuchUnit") => Ok(()),
            other => other.map(drop).map_err(refused),
        }
    }

    /// Moves process `pid` into `subgroup` of the scope `unit`.
    pub(super) fn attach(&mut self, unit: &str, subgroup: &str, pid: i32) -> Result<()> {
        let mut body = Body::default();
        body.text(unit);
        body.text(subgroup);
        body.value(&Value::Numbers(vec![pid.cast_unsigned()]));
        self.0.call(&manager("AttachProcessesToUnit", "ssau"), body).map(drop).map_err(refused)
    }

    /// The property `name`, a text, of the unit `unit`; `interface` is what it is a property of, `Unit` or `Service`.
    pub(super) fn property(&mut self, unit: &str, interface: &str, name: &str) -> Result<String> {
        let get = Method {
            destination: DESTINATION,
            path: &format!("{PATH}/unit/{}", object_name(unit)),
            interface: "org.freedesktop.DBus.Properties",
            name: "Get",
            signature: "ss",
        };
        let mut body = Body::default();
        body.text(&format!("{DESTINATION}.{interface}"));
        body.text(name);
        let reply = self.0.call(&get, body).map_err(refused)?;
        Ok(reply.words.into_iter().next().unwrap_or_default())
    }

    /// Waits for the end of a job; its result.
    fn await_job(&mut self, job: &str) -> io::Result<String> {
        loop {
            // id, job, unit, result
            let signal = self.0.signal()?;
            if signal.is_signal("JobRemoved") && signal.words.get(1).is_some_and(|word| word == job) {
                return Ok(signal.words.into_iter().nth(3).unwrap_or_default());
            }
        }
    }
}

/// A unit's name as a part of an object's path.
///
/// # Source
///
/// sd_bus_path_encode(3).
fn object_name(unit: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::with_capacity(unit.len() * 2);
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            name.push(char::from(byte));
        } else {
            write!(name, "_{byte:02x}").expect("a String takes all");
        }
    }
    name
}

fn manager<'a>(name: &'a str, signature: &'a str) -> Method<'a> {
    Method { destination: DESTINATION, path: PATH, interface: MANAGER, name, signature }
}

fn refused(err: CallError) -> CgroupError {
    CgroupError::Systemd(match err {
        CallError::Io(err) => err.to_string(),
        CallError::Refused(name, text) if text.is_empty() => name,
        CallError::Refused(_, text) => text,
    })
}

#[cfg(test)]
mod tests;
