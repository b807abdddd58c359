//! `system connection`: podman's names of other machines, of which there are none.

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
    match args.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ls" | "list"] => {}
        _ => {
            let why = "ketch has no connections: it runs containers of this machine alone";
            return Err(Error::new(Kind::Unsupported, why).into());
        }
    }
    match args.format.as_deref() {
        Some("json") => Ok(writeln!(session.out, "[]")?),
        Some(_) => Ok(()),
        None if args.quiet => Ok(()),
        None => Table::new(session, &["Name", "URI", "Identity", "Default", "ReadWrite"]).print(session),
    }
}
