//! Telling the service manager that started a container (systemd, by NOTIFY_SOCKET) who its main process
//! is, and when it is ready.
//!
//! ```text
//! conmon     Started ─▶ MAINPID=monitor READY=1
//! healthy    Started ─▶ MAINPID=monitor;  first success of the health check ─▶ READY=1
//! container  Started ─▶ MAINPID=monitor;  container ─▶ /run/notify/notify.sock ─▶ READY=1
//! ```
//!
//! # Source
//!
//! sd_notify(3); podman-run(1), `--sdnotify`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use crate::base::bytes::Bytes;
use crate::base::spec::{ContainerSpec, Mount, MountKind, SdNotify};
use crate::sys::fs;

/// Where the container finds its socket.
const INSIDE: &str = "/run/notify";
/// The socket in that directory.
const NAME: &str = "notify.sock";

/// The way to the service manager.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    mode: SdNotify,
    /// What the container says.
    from_container: Option<UnixDatagram>,
    ready: bool,
}

impl Notifier {
    /// Prepares to tell `manager`, the value of NOTIFY_SOCKET; a container that tells for itself gets its
    /// socket into `spec`. `None` if nobody is to be told.
    ///
    /// # Errors
    ///
    /// If the container's socket cannot be made.
    pub(super) fn prepare(
        manager: Option<&Bytes>,
        spec: &mut ContainerSpec,
        directory: &Path,
    ) -> io::Result<Option<Self>> {
        let Some(manager) = manager.filter(|_| spec.sdnotify != SdNotify::Ignore) else { return Ok(None) };
        let manager = address(manager)?;
        let from_container = match spec.sdnotify {
            SdNotify::Container => Some(socket_for(spec, directory)?),
            _ => None,
        };
        let socket = UnixDatagram::unbound()?;
        Ok(Some(Self { socket, manager, mode: spec.sdnotify, from_container, ready: false }))
    }

    /// Process 1 runs.
    pub(super) fn started(&mut self) {
        self.send(&self.at_start());
        self.ready |= self.mode == SdNotify::Conmon;
    }

    /// What the manager hears when process 1 runs: from the monitor, and from the command that started it, for which
    /// it is the service's main process until then.
    pub(super) fn at_start(&self) -> String {
        let ready = if self.mode == SdNotify::Conmon && !self.ready { "\nREADY=1" } else { "" };
        format!("MAINPID={}{ready}", std::process::id())
    }

    /// The container is healthy.
    pub(super) fn healthy(&mut self) {
        if self.mode == SdNotify::Healthy && !self.ready {
            self.ready = true;
            self.send("READY=1");
        }
    }

    /// Readable when [`Notifier::on_ready`] has something to do.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.from_container.as_ref().map(AsFd::as_fd)
    }

    /// The container has said something. Only that it is ready is passed on: what else it might tell the
    /// manager (another main process, say) is not its to decide.
    pub(super) fn on_ready(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(Ok(length)) = self.from_container.as_ref().map(|socket| socket.recv(&mut buffer)) {
            let says_ready = buffer[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1");
            if says_ready && !self.ready {
                self.ready = true;
                self.send("READY=1");
            }
        }
    }

    /// A manager that does not listen is not the container's fault.
    fn send(&self, text: &str) {
        self.socket.send_to_addr(text.as_bytes(), &self.manager).ok();
    }
}

/// Where `manager`, the value of NOTIFY_SOCKET, listens.
fn address(manager: &Bytes) -> io::Result<SocketAddr> {
    match manager.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    }
}

/// Tells `manager`, the value of NOTIFY_SOCKET, as far as it listens.
pub(crate) fn tell(manager: &Bytes, text: &str) {
    if let (Ok(manager), Ok(socket)) = (address(manager), UnixDatagram::unbound()) {
        socket.send_to_addr(text.as_bytes(), &manager).ok();
    }
}

/// Makes the socket of a container that says by itself when it is ready.
fn socket_for(spec: &mut ContainerSpec, directory: &Path) -> io::Result<UnixDatagram> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let inside = directory.join("notify");
    match std::fs::DirBuilder::new().mode(0o755).create(&inside) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        _ => {}
    }
    // Named below a descriptor: a store may lie deeper than a socket's address can say.
    let below = fs::open_base(&inside)?;
    fs::unlink(&below, NAME).ok();
    let short = format!("/proc/self/fd/{}/{NAME}", std::os::fd::AsRawFd::as_raw_fd(&below));
    let socket = UnixDatagram::bind(&short)?;
    socket.set_nonblocking(true)?;
    std::fs::set_permissions(inside.join(NAME), std::fs::Permissions::from_mode(0o777))?;
    spec.process.env.retain(|entry| !entry.as_bytes().starts_with(b"NOTIFY_SOCKET="));
    spec.process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{NAME}").into());
    spec.mounts.retain(|mount| mount.target.as_bytes() != INSIDE.as_bytes());
    let kind = MountKind::Bind { source: inside, recursive: false, chown: false, within: None };
    spec.mounts.push(Mount::plain(INSIDE.into(), kind));
    Ok(socket)
}
