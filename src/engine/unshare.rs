//! Running a command of the user in the user namespace of the containers.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::{Engine, Error, Kind, Result, config};
use crate::runtime::unshare::{self, Command, IntoGateway};

impl Engine {
    /// Runs `args` in U, with `gateway` also in the network namespace G, where the containers' networks
    /// are, and returns its exit code.
    ///
    /// # Errors
    ///
    /// CommandNotFound and NotExecutable for the command; System if there can be no user namespace.
    pub(crate) fn unshare(&self, args: &[OsString], gateway: bool) -> Result<i32> {
        let Some(name) = args.first() else { return Err(Error::invalid("no command to run")) };
        let program = find(name)?;
        let text = |text: OsString| {
            CString::new(text.into_vec()).map_err(|_| Error::invalid("an argument holds a NUL byte"))
        };
        let root = self.store().root();
        // For scripts that look for files of containers, as podman has them.
        let own = ["CONTAINERS_GRAPHROOT=", "CONTAINERS_RUNROOT="].map(|name| {
            let mut entry = OsString::from(name);
            entry.push(root);
            entry
        });
        let env = config::environment_of_caller().into_iter().map(OsString::from).chain(own).map(text);
        let command = Command {
            program: text(program.into_os_string())?,
            args: args.iter().cloned().map(text).collect::<Result<_>>()?,
            env: env.collect::<Result<_>>()?,
        };
        let caller = self.caller();
        let gateway = gateway.then(|| IntoGateway {
            linger: Duration::from_millis(config::network_linger_ms()),
            cgroups: self.cgroups(&caller),
        });
        unshare::run(&caller, self.store().root(), &command, gateway.as_ref())
            .map_err(|failure| Error::new(Kind::System, failure.message).hinted(failure.hint))
    }
}

/// The program that `name` means, by PATH if there is no `/` in it.
fn find(name: &OsStr) -> Result<PathBuf> {
    let shown = name.display();
    let missing = || {
        Error::new(Kind::CommandNotFound, format!("exec: \"{shown}\": executable file not found in $PATH"))
    };
    if name.as_bytes().contains(&b'/') {
        return match Path::new(name).metadata() {
            Ok(found) if is_program(&found) => Ok(PathBuf::from(name)),
            Ok(_) => Err(Error::new(Kind::NotExecutable, format!("exec: \"{shown}\": permission denied"))),
            Err(_) => Err(Error::new(
                Kind::CommandNotFound,
                format!("exec: \"{shown}\": no such file or directory"),
            )),
        };
    }
    let path = config::search_path().unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|program| program.metadata().is_ok_and(|found| is_program(&found)));
    found.ok_or_else(missing)
}

fn is_program(found: &std::fs::Metadata) -> bool {
    found.is_file() && found.permissions().mode() & 0o111 != 0
}
