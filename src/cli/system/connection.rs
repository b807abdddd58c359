//! What podman knows of other machines: connections, farms and virtual machines, of which there are none.

use std::io::Write as _;

use clap::Args;

use crate::cli::format::table::Table;
use crate::cli::session::Session;
use crate::engine::{Error, Kind};

/// List connections to other machines: there are none
///
/// ketch runs containers of this machine alone. `ls` (or `list`) says so in podman's forms; nothing can be added.
#[derive(Args, Debug)]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    none: NoneArgs,
}

/// List farms of machines that build together: there are none
///
/// ketch builds on this machine alone. `ls` (or `list`) says so in podman's forms; nothing can be added.
#[derive(Args, Debug)]
pub(crate) struct FarmArgs {
    #[command(flatten)]
    none: NoneArgs,
}

/// List virtual machines to run containers in: there are none
///
/// ketch runs containers on this machine, which is Linux itself. `ls` (or `list`) says so in podman's forms; none can be made.
#[derive(Args, Debug)]
pub(crate) struct MachineArgs {
    /// Leave the heading out
    #[arg(short, long)]
    noheading: bool,

    #[command(flatten)]
    none: NoneArgs,
}

#[derive(Args, Debug)]
struct NoneArgs {
    /// Print in this form: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print only names
    #[arg(short, long)]
    quiet: bool,

    /// What is to be done: ls
    #[arg(value_name = "VERB", required = true)]
    words: Vec<String>,
}

/// `system connection`.
pub(crate) fn connection(session: &mut Session<'_>, args: ConnectionArgs) -> anyhow::Result<()> {
    let why = "ketch has no connections: it runs containers of this machine alone";
    none(session, &args.none, &["Name", "URI", "Identity", "Default", "ReadWrite"], why)
}

/// `farm`.
pub(crate) fn farm(session: &mut Session<'_>, args: FarmArgs) -> anyhow::Result<()> {
    let why = "ketch has no farms: it builds on this machine alone";
    none(session, &args.none, &["Name", "Connections", "Default", "ReadWrite"], why)
}

/// `machine`.
pub(crate) fn machine(session: &mut Session<'_>, mut args: MachineArgs) -> anyhow::Result<()> {
    let why = "ketch has no virtual machines: it runs containers on this machine";
    args.none.quiet |= args.noheading;
    let headings = ["NAME", "VM TYPE", "CREATED", "LAST UP", "CPUS", "MEMORY", "DISK SIZE"];
    none(session, &args.none, &headings, why)
}

/// Lists nothing; `why` is said to who asks for anything else.
fn none(session: &mut Session<'_>, args: &NoneArgs, headings: &[&str], why: &str) -> anyhow::Result<()> {
    if !matches!(args.words.iter().map(String::as_str).collect::<Vec<_>>()[..], ["ls" | "list"]) {
        return Err(Error::new(Kind::Unsupported, why).into());
    }
    match args.format.as_deref() {
        Some("json") => Ok(writeln!(session.out, "[]")?),
        Some(_) => Ok(()),
        None if args.quiet => Ok(()),
        None => Table::new(session, headings).print(session),
    }
}
