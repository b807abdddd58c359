//! `ketch system service`: Docker's API on a Unix socket.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::api::{self, Service};
use crate::base::image_ref::NameRule;
use crate::cli::session::{self, Session};
use crate::cli::unit_text;
use crate::cli::usage::UsageError;
use crate::engine::config::{self, Config};
use crate::sys::socket::{self, Kind};

/// Serve Docker's API on a Unix socket
///
/// For programs that speak Docker's API instead of calling a command: docker's own client and Compose, Testcontainers, editors.
/// They find the socket by DOCKER_HOST=unix://PATH. Nothing else of ketch needs this service; it ends when nobody has been
/// connected for --time seconds, and containers go on without it.
///
/// A socket that systemd passes is used in place of PATH: `ketch system service --print-units` shows units that start the
/// service with the first connection.
#[derive(Args, Debug)]
pub(crate) struct ServiceArgs {
    /// Seconds without a connection after which the service ends; 0 for never
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5)]
    time: u64,

    /// Let web pages of this origin ask
    #[arg(long, value_name = "ORIGIN", default_value = "", hide_default_value = true)]
    cors: String,

    /// Print a socket and a service of systemd that serve on demand, and end
    #[arg(long, conflicts_with_all = ["cors", "uri"])]
    print_units: bool,

    /// Where to listen: unix://PATH [default: $XDG_RUNTIME_DIR/ketch/ketch.sock]
    #[arg(value_name = "URI")]
    uri: Option<OsString>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: ServiceArgs) -> anyhow::Result<()> {
    if args.print_units {
        return print_units(session);
    }
    if args.cors.chars().any(char::is_control) {
        return Err(UsageError::new("--cors: an origin is one line").into());
    }
    let path = match &args.uri {
        Some(uri) => path_of(uri)?,
        None => config::service_socket(),
    };
    // Told now, and not each client.
    session.engine()?;
    let service = Service {
        config: Config { name_rule: NameRule::Docker, ..session.globals.config.clone() },
        tell: session::tell,
        cors: Some(args.cors).filter(|origin| !origin.is_empty()),
    };
    let idle = (args.time != 0).then(|| Duration::from_secs(args.time));
    if let Some(passed) = config::passed_listener() {
        return api::serve(&service, passed, idle).context("serve");
    }
    let own = OwnSocket::listen(&path)?;
    api::serve(&service, own.listener()?, idle).context("serve")
}

/// The path in `unix://PATH`.
fn path_of(uri: &OsString) -> anyhow::Result<PathBuf> {
    let bytes = uri.as_bytes();
    match bytes.strip_prefix(b"unix:") {
        Some(path) => {
            let path = path.strip_prefix(b"//").unwrap_or(path);
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            std::path::absolute(path).context("find the socket's directory")
        }
        None if bytes.starts_with(b"tcp:") => Err(UsageError::new(
            "tcp: whoever reaches that port could do all that this user can; use unix://PATH, and ssh -L to reach it from elsewhere",
        )
        .into()),
        None => Err(UsageError::new(format!("{}: use unix://PATH", uri.to_string_lossy())).into()),
    }
}

/// A socket with a name of its own, which goes with it.
struct OwnSocket {
    path: PathBuf,
    listener: OwnedFd,
    inode: u64,
}

impl OwnSocket {
    /// Listens at `path`, in place of a service that has ended without removing its socket.
    fn listen(path: &Path) -> anyhow::Result<Self> {
        let (parent, name) = path.parent().zip(path.file_name()).context("the socket has no name")?;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.with_context(|| format!("make {}", parent.display()))?;
        let dir = std::fs::File::open(parent).with_context(|| format!("open {}", parent.display()))?;
        match path.symlink_metadata() {
            Err(_) => {}
            Ok(found) if !found.file_type().is_socket() => {
                anyhow::bail!("{} is there, and no socket", path.display());
            }
            Ok(_) if socket::connect_at(dir.as_fd(), name, Kind::Stream).is_ok() => {
                anyhow::bail!("a service listens on {} already", path.display());
            }
            // Of one that was killed.
            Ok(_) => std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?,
        }
        let listener = socket::listen_at(dir.as_fd(), name, Kind::Stream)
            .with_context(|| format!("listen on {}", path.display()))?;
        let inode = path.symlink_metadata().with_context(|| format!("look at {}", path.display()))?.ino();
        Ok(Self { path: path.to_owned(), listener, inode })
    }

    fn listener(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone()
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        // Another service may have put its own there.
        if self.path.symlink_metadata().is_ok_and(|found| found.ino() == self.inode) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// `--print-units`.
fn print_units(session: &mut Session<'_>) -> anyhow::Result<()> {
    let program = unit_text::program(std::env::args_os().next().as_ref())?;
    let mut words = vec![program.into_os_string()];
    words.extend(session.globals.words());
    words.extend(["system".into(), "service".into()]);
    let words = words.iter().map(|word| unit_text::quoted(word)).collect::<Result<Vec<_>, _>>()?;
    let system = rustix::process::geteuid().is_root();
    let directory = if system { "/etc/systemd/system" } else { "~/.config/systemd/user" };
    let text = UNITS.replace("@directory@", directory).replace("@command@", &words.join(" "));
    Ok(session.out.write_all(text.as_bytes())?)
}

/// The service and its socket. Containers outlive the service, so it is ended alone.
const UNITS: &str = "\
# @directory@/ketch.socket
[Unit]
Description=Docker's API by ketch

[Socket]
ListenStream=%t/ketch/ketch.sock
SocketMode=0600
DirectoryMode=0700

[Install]
WantedBy=sockets.target

# @directory@/ketch.service
[Unit]
Description=Docker's API by ketch
Requires=ketch.socket

[Service]
Type=exec
KillMode=process
Delegate=yes
ExecStart=@command@
";
