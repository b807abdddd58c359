//! Init: carries out the steps inside the new namespaces, then becomes the container's process.
//!
//! Init is a clone of the monitor, without an exec in between, so the steps are simply in its
//! memory. It waits for one byte ("your ID maps are written, go"), with a network for a second one ("you
//! are linked"), after `container init` for one more ("start"), sends at most one terminal and at most one failure, and its socket closes by itself when `execve` succeeds.

mod accounts;
pub(in crate::runtime) use accounts::additions;
pub(super) mod copyup;
pub(crate) mod kept;
pub(crate) mod mounts;
mod network;
mod reaper;
pub(crate) mod run;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::identity::Identity;
use crate::runtime::rootfs::{MOUNT_TABLE, RootDir, Shape};
use crate::runtime::step::Step;
use crate::stage::wire;
use crate::sys::mount::{self, MountError};
use crate::sys::{process, tty};

/// What init tells the monitor. The end of the stream means that the command runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InitReport {
    /// One descriptor comes along: the master of the container's terminal.
    Terminal,
    /// All steps but the last are done.
    Ready,
    /// Init ends now.
    Failed(Failure),
}

/// The standard streams of a container without a terminal, in order.
pub(crate) type Streams = [OwnedFd; 3];

/// Init's own state while it works through its steps.
struct Init {
    report: OwnedFd,
    /// The container's root, once it is mounted.
    root: Option<RootDir>,
    /// The container's /dev, a tmpfs that only ketch has written to so far.
    dev: Option<OwnedFd>,
    /// The user has mounted something over it.
    dev_covered: bool,
    /// The mount of the container's own /proc, writable.
    proc: Option<OwnedFd>,
    /// The container's user, as `user[:group]`.
    owner: String,
}

type Result<T> = std::result::Result<T, Failure>;

/// The life of init, from the clone on. Never returns: the process becomes the command, or ends.
///
/// `streams` is `None` if the steps open a terminal.
pub(crate) fn main(steps: Vec<Step>, report: OwnedFd, streams: Option<Streams>) -> ! {
    let mut go = [0];
    match rustix::io::read(&report, &mut go) {
        Ok(1) => {}
        // The monitor is gone, or has given up and knows why.
        _ => process::exit_now(125),
    }
    let kept = match steps.last() {
        Some(Step::Run(plan)) => &plan.kept[..],
        _ => &[],
    };
    let Ok(report) = kept::out_of_the_way(report, kept) else { process::exit_now(125) };
    let mut init =
        Init { report, root: None, dev: None, dev_covered: false, proc: None, owner: owner_of(&steps) };
    let outcome = rustix::process::setsid()
        .map_err(|errno| Failure::errno("start a session", errno))
        .and_then(|_| streams.map_or(Ok(()), |streams| take_streams(&streams)))
        .and_then(|()| steps.into_iter().try_for_each(|step| init.carry_out(step)));
    if let Err(failure) = outcome {
        wire::send(init.report.as_fd(), &InitReport::Failed(failure), &[]).ok();
    }
    process::exit_now(125)
}

/// Opens directories, and files to be mounted, under fixed numbers, in this mount namespace and with the user's rights.
fn open_within_reach(reach: &[(std::path::PathBuf, i32)]) -> Result<()> {
    for (path, number) in reach {
        let failed = |errno: rustix::io::Errno| Failure::errno(format!("open {}", path.display()), errno);
        let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        process::place_at(opened.as_fd(), *number)
            .map_err(|errno| Failure::errno(format!("open {}", path.display()), errno))?;
    }
    Ok(())
}

/// Becomes root of the container, where there is one: what init creates belongs to root, and not to
/// whoever the user is inside.
pub(super) fn become_root() -> Result<()> {
    if rustix::process::getuid().is_root() && rustix::process::getgid().is_root() {
        return Ok(());
    }
    [process::set_gid(0), process::set_uid(0)].into_iter().try_for_each(|set| match set {
        // The ID is not mapped: there is no root.
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(Failure::errno("become root of the container", std::io::Error::from(errno))),
    })
}

/// The user that the last step runs as.
fn owner_of(steps: &[Step]) -> String {
    match steps.last() {
        Some(Step::Run(plan)) => plan.process.user.clone(),
        _ => String::new(),
    }
}

/// Makes `streams` the standard streams.
fn take_streams(streams: &Streams) -> Result<()> {
    for (stream, number) in streams.iter().zip(0..) {
        process::place_at(stream.as_fd(), number)
            .map_err(|errno| Failure::errno("redirect standard streams", errno))?;
    }
    Ok(())
}

impl Init {
    fn carry_out(&mut self, step: Step) -> Result<()> {
        match step {
            Step::BecomeRoot { reach } => open_within_reach(&reach).and_then(|()| become_root()),
            Step::CgroupNamespace => nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
                .map_err(|errno| Failure::errno("create a cgroup namespace", errno)),
            Step::SessionKeyring => {
                // Where keyrings are off there is nothing to hide.
                process::new_session_keyring().ok();
                Ok(())
            }
            Step::Loopback => network::bring_up_loopback(),
            Step::AwaitNetwork => self.await_network(),
            Step::Hooks(plan) => {
                process::close_on_exec_from(3).map_err(|errno| Failure::errno("mark descriptors", errno))?;
                plan.run()
            }
            Step::AwaitStart | Step::AwaitHooks => {
                wire::send(self.report.as_fd(), &InitReport::Ready, &[])
                    .map_err(|err| Failure::system("say that all is ready", &err))?;
                self.await_network()
            }
            Step::Hostname(name) => {
                nix::unistd::sethostname(name).map_err(|errno| Failure::errno("set the host name", errno))
            }
            Step::Domainname(name) => rustix::system::setdomainname(name.as_bytes())
                .map_err(|errno| Failure::errno("set the domain name", errno)),
            Step::Root(plan) => self.mount_root(&plan),
            Step::Accounts(plan) => self.add_accounts(&plan),
            Step::Mount(plan) => self.mount(&plan),
            Step::MountTable => {
                self.link_mount_table();
                Ok(())
            }
            Step::Device { source, target } => self.device(&source, &target),
            Step::HostDevices => self.host_devices(),
            Step::DevLink { name, target } => self.dev_link(name, target),
            Step::Terminal(window) => self.open_terminal(window),
            Step::Mask(paths) => self.mask(&paths),
            Step::ReadOnly(paths) => self.make_read_only(&paths),
            Step::Sysctls(parameters) => self.sysctls(&parameters),
            Step::RootReadOnly => {
                mount::set_attributes(self.root().as_fd(), false, mount::attr::RDONLY, 0, 0)
                    .map_err(Failure::from)
            }
            Step::DevReadOnly => mount::set_attributes(self.dev().as_fd(), false, mount::attr::RDONLY, 0, 0)
                .map_err(Failure::from),
            Step::Pivot => self.pivot(),
            Step::Run(plan) => Err(self.run(&plan)),
        }
    }

    /// The container's root.
    fn root(&self) -> &RootDir {
        self.root.as_ref().expect("the plan mounts the root before anything that needs it")
    }

    /// The container's /dev.
    fn dev(&self) -> &OwnedFd {
        self.dev.as_ref().expect("the plan mounts /dev before anything that needs it")
    }

    /// Makes /etc/mtab. What the image has there stays; a root that takes no link is no reason not to start.
    fn link_mount_table(&self) {
        let (path, target) = MOUNT_TABLE;
        let Some((directory, name)) = path.rsplit_once('/') else { return };
        if let Ok(directory) = self.root().open(directory.as_bytes(), OFlags::PATH | OFlags::DIRECTORY) {
            rustix::fs::symlinkat(target, &directory, name).ok();
        }
    }

    /// A symbolic link in the tmpfs that is /dev.
    fn dev_link(&self, name: &str, target: &str) -> Result<()> {
        rustix::fs::symlinkat(target, self.dev(), name)
            .map_err(|errno| Failure::errno(format!("make /dev/{name}"), errno))
    }

    /// Opens a pair from the container's devpts.
    fn open_terminal(&mut self, window: Option<tty::WindowSize>) -> Result<()> {
        let failed = |what: &'static str| move |err: io::Error| Failure::errno(what, err);
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::openat(self.dev(), "pts/ptmx", flags, Mode::empty())
            .map_err(|errno| Failure::errno("open a terminal", errno))?;
        let slave = tty::open_peer(master.as_fd()).map_err(failed("open a terminal"))?;
        if let Some(size) = window {
            // Before anyone can ask for it.
            tty::set_window_size(slave.as_fd(), size).map_err(failed("set the size of the terminal"))?;
        }
        let shown = mount::clone_tree(slave.as_fd(), "".as_ref(), false)?;
        let console = self.target_in_dev("console", Shape::File)?;
        mount::attach(shown.as_fd(), console.as_fd(), "/dev/console")?;
        tty::take_as_controlling(slave.as_fd()).map_err(failed("take the terminal"))?;
        for number in 0..=2 {
            process::place_at(slave.as_fd(), number)
                .map_err(|errno| Failure::errno("redirect standard streams", errno))?;
        }
        wire::send(self.report.as_fd(), &InitReport::Terminal, &[master.as_fd()])
            .map_err(|err| Failure::system("hand over the terminal", &err))?;
        Ok(())
    }

    /// Writes kernel parameters through a /proc that nobody could prepare.
    fn sysctls(&self, parameters: &std::collections::BTreeMap<String, String>) -> Result<()> {
        let proc = self.proc.as_ref().ok_or_else(|| {
            Failure::new(FailureKind::Invalid, "sysctls need a PID namespace of the container's own")
        })?;
        for (name, value) in parameters {
            let path = format!("sys/{}", name.replace('.', "/"));
            let what = || format!("set sysctl {name} to {value:?}");
            // Nor by a mount: a volume may lie on a part of it.
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat2(proc, &path, flags, Mode::empty(), resolve)
                .map_err(|errno| Failure::errno(what(), errno))?;
            rustix::io::write(&file, value.as_bytes()).map_err(|errno| Failure::errno(what(), errno))?;
        }
        Ok(())
    }

    /// Waits for the monitor's next byte.
    fn await_network(&self) -> Result<()> {
        match rustix::io::read(&self.report, &mut [0]) {
            Ok(1) => Ok(()),
            // The monitor is gone, or has given up and knows why.
            _ => process::exit_now(125),
        }
    }

    /// Lets go of the host's file systems.
    fn pivot(&mut self) -> Result<()> {
        rustix::process::fchdir(self.root().as_fd())
            .map_err(|errno| Failure::errno("enter the root", errno))?;
        mount::pivot_to_working_directory()?;
        (self.dev, self.proc) = (None, None);
        Ok(())
    }
}

/// A mount that may be missing: `Ok(None)` where the kernel does not have or allow it.
fn optional<T>(result: std::result::Result<T, MountError>, is_optional: bool) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(_) if is_optional => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// A failure of the user's request rather than the machine.
fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Invalid, message)
}

/// Who the process is, or a failure that names the user.
pub(super) fn identity_of(root: &RootDir, user: &str, groups: &[String]) -> Result<Identity> {
    let passwd = root.read_small(b"etc/passwd").unwrap_or_default();
    let group = root.read_small(b"etc/group").unwrap_or_default();
    // 126 is what podman ends with here, as for a command that the user may not execute.
    crate::runtime::identity::resolve(user, groups, &passwd, &group)
        .map_err(|err| Failure::new(FailureKind::NotExecutable, err.to_string()))
}
