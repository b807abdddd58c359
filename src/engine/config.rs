//! What the environment and configuration files decide. The only reader of `std::env` below `cli`.

mod apply;
pub(crate) mod containers_conf;
mod keys;
mod mounts_conf;
pub(crate) mod registries;

use std::path::PathBuf;

use crate::base::image_ref::NameRule;
use crate::cgroup::service;
use crate::cgroup::systemd::Sockets;
use crate::cgroup::unit::{ManagerChoice, Surroundings};
use crate::engine::Tell;
pub(crate) use crate::engine::config::apply::apply;
use crate::engine::config::containers_conf::ContainersConf;
use crate::engine::error::{Error, Kind, Result};
use crate::engine::events::{self, Backend};
use crate::runtime::launch::Caller;
use crate::sys::socket::Family;

/// Choices that hold for a whole command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// `--root`, if it was given.
    pub(crate) root: Option<PathBuf>,
    /// `--module`, in order.
    pub(crate) modules: Vec<std::ffi::OsString>,
    /// `--events-backend`, if it was given.
    pub(crate) events_backend: Option<String>,
    /// `--cgroup-manager`, if it was given.
    pub(crate) cgroup_manager: Option<String>,
    /// `--registries-conf`, if it was given.
    pub(crate) registries_conf: Option<PathBuf>,
    /// `--default-mounts-file`, if it was given.
    pub(crate) mounts_file: Option<PathBuf>,
    /// `--hooks-dir`, in order.
    pub(crate) hooks_dirs: Vec<PathBuf>,
    /// What short names of images mean, and how names are shown.
    pub(crate) name_rule: NameRule,
}

impl Config {
    /// The directory of the store: `--root`, `KETCH_ROOT`, `$XDG_DATA_HOME/ketch`, or
    /// `~/.local/share/ketch`, the first that is set. Made absolute, so that a stage which changes
    /// its directory still finds it.
    ///
    /// # Errors
    ///
    /// If none of them is set and there is no home directory either.
    pub(crate) fn data_root(&self) -> Result<PathBuf> {
        let path = match (&self.root, variable("KETCH_ROOT"), variable("XDG_DATA_HOME")) {
            (Some(root), ..) => root.clone(),
            (None, Some(root), _) => root,
            // The XDG specification: a relative path in such a variable is to be ignored.
            (None, None, Some(data)) if data.is_absolute() => data.join("ketch"),
            _ => home()?.join(".local/share/ketch"),
        };
        std::path::absolute(&path)
            .map_err(|source| Error::system(format!("find the directory of {}", path.display()), source))
    }
}

impl Config {
    /// What containers.conf says, with what the command line puts in its place.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or understood.
    pub(crate) fn containers_conf(&self, tell: Tell) -> Result<ContainersConf> {
        let mut conf = containers_conf::read(&self.modules, tell)?;
        if !self.hooks_dirs.is_empty() {
            conf.engine.hooks_dir = Some(self.hooks_dirs.clone());
        }
        let (registries_conf, mounts_file) = (self.registries_conf.clone(), self.mounts_file.clone());
        Ok(ContainersConf { registries_conf, mounts_file, name_rule: self.name_rule, ..conf })
    }

    /// Where events go: `--events-backend`, the file that containers.conf names, or that of the store.
    ///
    /// # Errors
    ///
    /// For a word that means nothing.
    pub(crate) fn events_backend(&self, conf: &ContainersConf) -> Result<Backend> {
        let configured = conf.engine.events_logger.as_deref().filter(|name| !name.is_empty());
        let file = conf.engine.events_logfile_path.clone().filter(|path| !path.as_os_str().is_empty());
        let word = self.events_backend.as_deref().or(configured).unwrap_or("file");
        // Who keeps events elsewhere does not care.
        if let Some(file) = file.as_ref().filter(|file| word == "file" && !file.is_absolute()) {
            return Err(Error::invalid(format!(
                "containers.conf: events_logfile_path: {} is no absolute path",
                file.display()
            )));
        }
        events::backend(word, journal_socket(), file)
    }

    /// Whom to ask for cgroups: `--cgroup-manager`, or systemd where it answers.
    ///
    /// # Errors
    ///
    /// For a word that means nothing.
    pub(super) fn cgroup_manager(&self, conf: &ContainersConf) -> Result<ManagerChoice> {
        let configured = conf.engine.cgroup_manager.as_deref().filter(|name| !name.is_empty());
        match self.cgroup_manager.as_deref().or(configured) {
            None | Some("systemd") => Ok(ManagerChoice::Systemd),
            Some("cgroupfs") => Ok(ManagerChoice::Cgroupfs),
            Some(other) => {
                Err(Error::invalid(format!("cgroup manager {other:?} is not known: use systemd or cgroupfs")))
            }
        }
    }
}

/// Where the system's journal listens: `KETCH_JOURNAL_SOCKET`, or journald's own socket.
pub(crate) fn journal_socket() -> PathBuf {
    variable("KETCH_JOURNAL_SOCKET").unwrap_or_else(|| PathBuf::from(crate::sys::journal::SOCKET))
}

/// Where programs are looked for.
pub(crate) fn search_path() -> Option<std::ffi::OsString> {
    std::env::var_os("PATH")
}

/// The home directory: HOME, or what the user's line in /etc/passwd says. Neither cron, `env -i` nor a unit
/// of the system need set the variable.
///
/// # Errors
///
/// If neither is there.
pub(crate) fn home() -> Result<PathBuf> {
    variable("HOME").or_else(registered_home).ok_or_else(|| {
        let message = "no home directory: HOME is not set, and /etc/passwd does not name one";
        Error::new(Kind::Invalid, message)
            .hint("set HOME, or name a directory for the store with --root or KETCH_ROOT")
    })
}

/// The kubeconfig file that commands for clusters read: $KUBECONFIG, or the usual one if it is there.
pub(crate) fn kubeconfig() -> Option<PathBuf> {
    variable("KUBECONFIG")
        .or_else(|| home().ok().map(|home| home.join(".kube/config")).filter(|file| file.is_file()))
}

/// The home directory in the user's line of /etc/passwd.
fn registered_home() -> Option<PathBuf> {
    let passwd = String::from_utf8_lossy(&std::fs::read("/etc/passwd").ok()?).into_owned();
    let uid = rustix::process::getuid().as_raw();
    let user = crate::base::passwd::host_user(&passwd, "", |_, found| found == uid)?;
    Some(PathBuf::from(user.home)).filter(|home| home.is_absolute())
}

/// How long the network helper stays when no container needs it any more: `KETCH_NETWORK_LINGER`, in
/// seconds, or 15. 0 ends it with the last container.
pub(crate) fn network_linger_ms() -> u64 {
    let wanted = variable("KETCH_NETWORK_LINGER");
    let seconds =
        wanted.and_then(|text| text.to_str()?.parse::<f64>().ok()).filter(|s| (0.0..1e6).contains(s));
    std::time::Duration::from_secs_f64(seconds.unwrap_or(15.0)).as_millis().try_into().unwrap_or(15_000)
}

/// Where a service manager wants to be notified: NOTIFY_SOCKET.
pub(crate) fn notify_socket() -> Option<crate::base::bytes::Bytes> {
    variable("NOTIFY_SOCKET").map(Into::into)
}

/// Tells the service manager that this process is the service's main one, and ready; false if nobody wants to be told.
pub(crate) fn tell_ready() -> bool {
    let Some(manager) = notify_socket() else { return false };
    crate::runtime::monitor::notify::tell(&manager, &format!("MAINPID={}\nREADY=1", std::process::id()));
    true
}

/// Sockets that systemd has passed to this process (`LISTEN_FDS`, sd_listen_fds(3)).
pub(crate) fn passed_sockets() -> Vec<std::os::fd::OwnedFd> {
    passed(Family::Internet)
}

/// The Unix socket that systemd has passed to this process for its clients.
pub(crate) fn passed_listener() -> Option<std::os::fd::OwnedFd> {
    passed(Family::Unix).into_iter().next()
}

fn passed(family: Family) -> Vec<std::os::fd::OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() => crate::sys::socket::passed(count, family),
        _ => Vec::new(),
    }
}

/// Where sockets of this user go: XDG_RUNTIME_DIR, or the usual place for it.
pub(crate) fn runtime_directory() -> PathBuf {
    let uid = rustix::process::getuid();
    match variable("XDG_RUNTIME_DIR").filter(|path| path.is_absolute()) {
        _ if uid.is_root() => PathBuf::from("/run"),
        Some(path) => path,
        None => PathBuf::from(format!("/run/user/{}", uid.as_raw())),
    }
}

/// Where `system service` listens unless it is told otherwise.
pub(crate) fn service_socket() -> PathBuf {
    runtime_directory().join("ketch/ketch.sock")
}

/// Copies of the descriptors of these numbers that this process was started with (`--preserve-fds`).
///
/// # Errors
///
/// For one that is not open.
pub(crate) fn passed_descriptors(numbers: &[i32]) -> Result<Vec<std::os::fd::OwnedFd>> {
    let copy = |number: &i32| {
        crate::sys::process::copy_inherited(*number).map_err(|_| {
            let why = "the preserve-fds option requires that file descriptors must be passed";
            Error::invalid(format!("file descriptor {number} is not available - {why}"))
        })
    };
    numbers.iter().map(copy).collect()
}

/// How cgroups are come by: the user's systemd, or as root the machine's.
pub(crate) fn cgroups(caller: &Caller, choice: ManagerChoice) -> Surroundings {
    let rootful = caller.mapping.is_none();
    let runtime = if rootful { PathBuf::from("/run") } else { runtime_directory() };
    let bus = if rootful { None } else { Some(runtime.join("bus")) };
    let systemd = Some(Sockets { private: runtime.join("systemd/private"), bus });
    Surroundings { choice, systemd, rootful, in_service: false }
}

/// True if this command is how a service of systemd starts that waits for its main process.
pub(crate) fn starts_service(surroundings: &Surroundings) -> bool {
    // What systemd starts has this, and passes it on.
    variable("INVOCATION_ID").is_some() && service::is_starting(surroundings.systemd.as_ref())
}

/// An environment variable that is set to something.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A directory of the XDG specification: absolute, or below the home directory.
fn xdg(name: &str, below_home: &str) -> Option<PathBuf> {
    let set = variable(name).filter(|path| path.is_absolute());
    set.or_else(|| home().ok().map(|home| home.join(below_home)))
}

/// The working directory, from which relative paths start. One that was removed is what the kernel calls it,
/// `/where/it/was (deleted)`: whoever names no relative path need not know, and for who does there is nothing there.
///
/// # Errors
///
/// If it cannot be asked for.
pub(crate) fn directory() -> Result<PathBuf> {
    std::env::current_dir()
        .or_else(|_| std::fs::read_link("/proc/self/cwd"))
        .map_err(|err| Error::system("find the working directory", err))
}

/// The caller's proxies, as `KEY=value`, in both spellings. A proxy with a password in it stays outside
/// (SEC-33).
pub(crate) fn proxies() -> Vec<crate::base::bytes::Bytes> {
    const NAMES: [&str; 8] = [
        "http_proxy",
        "https_proxy",
        "ftp_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "FTP_PROXY",
        "NO_PROXY",
    ];
    NAMES
        .iter()
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
        .filter(|(_, value)| !value.contains('@'))
        .map(|(name, value)| format!("{name}={value}").into())
        .collect()
}

/// The value of one variable of the caller (`--env NAME`).
pub(crate) fn variable_of_caller(name: &std::ffi::OsStr) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// The whole environment of the caller (`--env-host`), as `KEY=value`.
pub(crate) fn environment_of_caller() -> Vec<crate::base::bytes::Bytes> {
    std::env::vars_os()
        .map(|(mut entry, value)| {
            entry.push("=");
            entry.push(value);
            entry.into()
        })
        .collect()
}

/// A limit of processes, as far as a caller who cannot raise limits can give it.
pub(crate) fn as_far_as_the_caller_may(limit: crate::base::spec::Rlimit) -> crate::base::spec::Rlimit {
    match limit_of_caller(&limit.name) {
        Some((_, hard)) if !rustix::process::geteuid().is_root() => crate::base::rlimit::within(limit, hard),
        _ => limit,
    }
}

/// Soft and hard limit of the caller, by the limit's lower-case name.
pub(crate) fn limit_of_caller(name: &str) -> Option<(u64, u64)> {
    let resource = crate::base::rlimit::resource(name)?;
    crate::sys::rlimit::get(resource).ok()
}
