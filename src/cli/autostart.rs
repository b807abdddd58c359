//! `ketch system autostart`: containers with a restart policy run again after the machine was started.
//!
//! A monitor restarts its container as long as the machine runs. Across a start of the machine, systemd
//! does: a unit of the user's, which this verb installs, starts those that are to run.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;

use crate::base::spec::RestartPolicy;
use crate::cli::session::Session;
use crate::cli::unit_text::quoted;
use crate::engine::config;
use crate::stage::idranges;

/// Start containers with a restart policy when the machine starts
///
/// Installs a unit of systemd for the user (for the system, as root) which starts the containers with
/// --restart=always, and those with --restart=unless-stopped that were not stopped. Prints the unit's path.
#[derive(Args, Debug)]
pub(crate) struct AutostartArgs {
    /// Take the unit away again
    #[arg(long, conflicts_with = "print")]
    remove: bool,

    /// Print the unit instead of installing it
    #[arg(long)]
    print: bool,
}

/// The unit's name.
const UNIT: &str = "ketch-autostart.service";
/// A file of the store that says that its user has been told of this verb, or of lingering.
const TOLD: &str = "autostart-told";

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: AutostartArgs) -> anyhow::Result<()> {
    let place = Place::of_caller()?;
    if args.print {
        session.out.write_all(unit(session, &place)?.as_bytes())?;
        return Ok(());
    }
    if args.remove {
        for path in [place.link(), place.unit()] {
            match std::fs::remove_file(&path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    return Err(err).with_context(|| format!("remove {}", path.display()));
                }
                _ => {}
            }
        }
        place.reload();
        return Ok(());
    }
    let text = unit(session, &place)?;
    place.install(&text)?;
    writeln!(session.out, "{}", place.unit().display())?;
    session.out.flush()?;
    if !place.reload() {
        session.warn("systemd is not in reach from here; it reads the unit when it starts next");
    }
    if !place.system && !lingers() {
        session.warn(
            "containers will start when you log in; to start them with the machine: loginctl enable-linger",
        );
    }
    Ok(())
}

/// Where units are.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    /// The system's, not a user's.
    system: bool,
}

impl Place {
    fn of_caller() -> anyhow::Result<Self> {
        if rustix::process::geteuid().is_root() {
            return Ok(Self { directory: PathBuf::from("/etc/systemd/system"), system: true });
        }
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let config = config.map_or_else(|| config::home().map(|home| home.join(".config")), Ok)?;
        Ok(Self { directory: config.join("systemd/user"), system: false })
    }

    fn unit(&self) -> PathBuf {
        self.directory.join(UNIT)
    }

    fn target(&self) -> &'static str {
        if self.system { "multi-user.target" } else { "default.target" }
    }

    /// What `systemctl enable` would make.
    fn link(&self) -> PathBuf {
        self.directory.join(format!("{}.wants", self.target())).join(UNIT)
    }

    fn install(&self, text: &str) -> anyhow::Result<()> {
        let (unit, link) = (self.unit(), self.link());
        let wants = link.parent().unwrap_or(&self.directory);
        std::fs::create_dir_all(wants).with_context(|| format!("create {}", wants.display()))?;
        let new = self.directory.join(format!("{UNIT}.new"));
        std::fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        std::fs::rename(&new, &unit).with_context(|| format!("write {}", unit.display()))?;
        match std::os::unix::fs::symlink(Path::new("..").join(UNIT), &link) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
                Err(err).with_context(|| format!("link {}", link.display()))
            }
            _ => Ok(()),
        }
    }

    /// Tells systemd to look at its units; false if it cannot be told.
    fn reload(&self) -> bool {
        let mut command = Command::new("systemctl");
        if !self.system {
            command.arg("--user");
        }
        let told =
            command.arg("daemon-reload").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        told.status().is_ok_and(|status| status.success())
    }
}

/// The text of the unit.
fn unit(session: &Session<'_>, place: &Place) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("find this program")?;
    let program = quoted(program.as_os_str())?;
    let root = match session.globals.own_root()? {
        None => String::new(),
        Some(root) => format!(" --root {}", quoted(root.as_os_str())?),
    };
    let (start, stop) = ("--filter should-start-on-boot=true", "--filter restart-policy=always");
    Ok(format!(
        "[Unit]\n\
         Description=Start containers that have a restart policy\n\
         Documentation=man:ketch-system-autostart(1)\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=true\n\
         ExecStart={program}{root} start --all {start}\n\
         ExecStop={program}{root} stop --all {stop}\n\
         \n\
         [Install]\n\
         WantedBy={}\n",
        place.target()
    ))
}

/// True if the user's processes outlive their sessions, or nobody ends them.
fn lingers() -> bool {
    let uid = rustix::process::getuid().as_raw();
    let name = idranges::user_name(&std::fs::read("/etc/passwd").unwrap_or_default(), uid);
    let marked = |name: Vec<u8>| Path::new("/var/lib/systemd/linger").join(OsStr::from_bytes(&name)).exists();
    !Path::new("/run/systemd/system").exists() || name.is_some_and(marked)
}

/// Tells a user at a terminal, once, what a container in the background needs to go on: this verb if it has
/// a restart policy, lingering (REL-65) in any case.
pub(crate) fn tell_once(session: &Session<'_>, restart: Option<RestartPolicy>) {
    if !io::stderr().is_terminal() {
        return;
    }
    let again = matches!(restart, Some(RestartPolicy::Always | RestartPolicy::UnlessStopped));
    let ends = !rustix::process::geteuid().is_root() && !lingers();
    if !(again || ends) {
        return;
    }
    let Ok(engine) = session.engine() else { return };
    let installed = Place::of_caller().is_ok_and(|place| place.unit().exists());
    // Making the file is the decision: of two commands at a time one tells.
    let is_first = || std::fs::File::create_new(engine.store().root().join(TOLD)).is_ok();
    if again && !installed && is_first() {
        session.warn("to start this container again after a reboot: ketch system autostart");
    } else if !again && ends && is_first() {
        session.warn("containers end when you log out; to let them run: loginctl enable-linger");
    }
}
