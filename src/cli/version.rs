//! `ketch version` and `ketch --version`.

use std::io::Write;

use clap::Args;

use crate::cli::NAME;
use crate::cli::globals::Globals;
use crate::cli::session::{Exit, Session};

/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Display the version of ketch
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, _args: VersionArgs) -> anyhow::Result<()> {
    writeln!(session.out, "Client:        Ketch\nVersion:       {VERSION}")?;
    Ok(())
}

/// `--version`: one line, whose third word is the version. Programs that look for podman find its name.
pub(crate) fn print_flag(globals: &Globals) -> anyhow::Result<Exit> {
    let mut session = Session::new(globals);
    writeln!(session.out, "{NAME} version {VERSION} (podman-compatible)")?;
    session.finish()?;
    Ok(Exit::OK)
}
