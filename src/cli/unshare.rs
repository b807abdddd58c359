//! `ketch unshare`: runs a command in the user namespace of the containers.

use std::ffi::OsString;

use clap::Args;

use crate::cli::session::{Exit, Session};

/// Run a command in the user namespace of the containers
///
/// There you are root, and own the files that containers made as other users: to look at them, or to
/// remove them. Without COMMAND a shell is run.
#[derive(Args, Debug)]
pub(crate) struct UnshareArgs {
    /// Join the network namespace in which the containers' networks are as well
    ///
    /// Containers can be reached there by their addresses, and `ip` and `nft` show what connects them.
    /// Nothing leads out of it.
    #[arg(long)]
    rootless_netns: bool,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: UnshareArgs) -> anyhow::Result<Exit> {
    let mut command = args.command;
    if command.is_empty() {
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        command.push(shell.unwrap_or_else(|| "/bin/sh".into()));
    }
    let code = session.engine()?.unshare(&command, args.rootless_netns)?;
    Ok(Exit(u8::try_from(code).unwrap_or(crate::cli::error::FAILED)))
}
