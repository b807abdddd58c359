//! `ketch completion`: prints the script that gives a shell completions.

use std::io::Write;

use clap::Args;

use crate::cli::help;
use crate::cli::session::Session;

/// Print the completion script for a shell
///
/// The script makes the shell ask ketch itself at each press of the key, so it never goes stale.
/// For bash: `source <(ketch completion bash)`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    shell: String,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: CompletionArgs) -> anyhow::Result<()> {
    let script = help::registration(&args.shell)?;
    session.out.write_all(&script)?;
    Ok(())
}
