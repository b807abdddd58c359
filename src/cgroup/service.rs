//! Whether this command is how a service of systemd starts whose main process is told or found later.
//!
//! ```text
//! Type=forking             PIDFile=, or the one process that is left in the service's cgroup
//! Type=notify              MAINPID=
//! Type=simple, oneshot …   the command itself
//! ```
//!
//! systemd takes a main process from the service's own cgroup only, and listens to nobody else: there the
//! monitor has to stay. Elsewhere it leaves, so that it outlasts a service that only started it.

use std::path::{Path, PathBuf};

use crate::cgroup::systemd::{Manager, Sockets};
use crate::cgroup::tree;

/// True if a service that waits for its main process is being started by this process, or one above it.
/// `user` is where the user's manager is reached.
pub(crate) fn is_starting(user: Option<&Sockets>) -> bool {
    let Some((unit, of_user)) = tree::place_of("self").and_then(|place| service_of(&place.path)) else {
        return false;
    };
    let manager = if of_user { user.and_then(Manager::connect) } else { Manager::connect(&machine()) };
    let Some(mut manager) = manager else { return false };
    let mut is = |interface, name, wanted: &[&str]| {
        manager.property(&unit, interface, name).is_ok_and(|value| wanted.contains(&value.as_str()))
    };
    is("Service", "Type", &["forking", "notify", "notify-reload"])
        && is("Unit", "ActiveState", &["activating"])
}

/// Where the machine's manager is reached: by root directly, by others on the bus.
fn machine() -> Sockets {
    Sockets {
        private: PathBuf::from("/run/systemd/private"),
        bus: Some(PathBuf::from("/run/dbus/system_bus_socket")),
    }
}

/// The service that the cgroup `path` belongs to, and whether it is one of a user's manager.
fn service_of(path: &Path) -> Option<(String, bool)> {
    let mut above: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let is_manager = |part: &str| part.starts_with("user@") && part.ends_with(".service");
    while let Some(part) = above.pop() {
        if part.ends_with(".scope") || is_manager(part) {
            return None;
        }
        if part.ends_with(".service") {
            return Some((part.to_owned(), above.into_iter().any(is_manager)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_by_their_cgroups() {
        let manager = "/user.slice/user-1000.slice/user@1000.service";
        for (path, want) in [
            ("/system.slice/web.service".to_owned(), Some(("web.service", false))),
            ("/system.slice/web.service/runtime".to_owned(), Some(("web.service", false))),
            (format!("{manager}/app.slice/web.service"), Some(("web.service", true))),
            (format!("{manager}/app.slice/app-x.slice/a@b.service/runtime"), Some(("a@b.service", true))),
            (format!("{manager}/init.scope"), None),
            (format!("{manager}/user.slice/ketch-1.scope/container"), None),
            (manager.to_owned(), None),
            ("/user.slice/user-1000.slice/session-1.scope".to_owned(), None),
            ("/".to_owned(), None),
        ] {
            let want = want.map(|(unit, of_user): (&str, bool)| (unit.to_owned(), of_user));
            assert_eq!(service_of(Path::new(&path)), want, "{path}");
        }
    }
}
