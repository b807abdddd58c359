//! `ketch top`: the processes of a container.

use std::io::Write as _;

use clap::Args;

use crate::cli::format::table::Table;
use crate::cli::session::Session;
use crate::cli::targets::{self, Latest};
use crate::engine::{Error, Kind, top};

/// Show the processes of a container
///
/// The columns are descriptors: args capamb capbnd capeff capinh capprm comm etime group groups hgroup hgroups
/// hpid huid huser label nice pcpu pgid pid ppid rgroup rss ruser seccomp state stime time tty uid user vsz. Those that
/// begin with h are the host's numbers. Options of ps(1), which begin with a dash or are ps's own keywords, are given to
/// ps on the host.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    latest: Latest,

    /// Print the descriptors, one per line
    #[arg(long)]
    list_descriptors: bool,

    /// The container, by name or ID, then descriptors or options of ps(1)
    #[arg(value_name = "CONTAINER [FORMAT|PS OPTIONS]", trailing_var_arg = true)]
    words: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: TopArgs) -> anyhow::Result<()> {
    if args.list_descriptors {
        return Ok(top::descriptors().try_for_each(|name| writeln!(session.out, "{name}"))?);
    }
    let mut words = args.words;
    let name = if args.latest.latest || words.is_empty() { None } else { Some(words.remove(0)) };
    let id = targets::one(session, name.as_ref(), &args.latest)?;
    let engine = session.engine()?;
    if session.globals.called.is_docker() && !engine.runs(&id)? {
        return Err(Error::new(Kind::Conflict, format!("container {id} is not running")).into());
    }
    let is_usual = words.is_empty() || words == ["-ef"];
    if session.globals.called.is_docker() && is_usual {
        let rows = engine.dockers_top(&id)?;
        return print(session, rows);
    }
    match engine.top(&id, &words) {
        Err(err) if err.kind == Kind::Invalid && session.globals.called.is_docker() => {
            let rows = engine.ps(&id, &words)?;
            print(session, rows)
        }
        Err(err) if err.kind == Kind::Invalid => print_lines(session, &engine.processes(&id)?, &words, err),
        rows => print(session, rows?),
    }
}

/// Prints a heading and rows.
pub(crate) fn print(session: &mut Session<'_>, rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    let mut rows = rows.into_iter();
    let heading = rows.next().unwrap_or_default();
    let mut table = Table::new(session, &heading.iter().map(String::as_str).collect::<Vec<_>>());
    if session.globals.called.is_docker() {
        table = table.columns(20, 3);
    }
    rows.for_each(|row| table.push(row));
    table.print(session)
}

/// Prints what ps(1) says of these processes; `unknown` is told if that does not know the words either.
pub(crate) fn print_lines(
    session: &mut Session<'_>,
    pids: &[i32],
    words: &[String],
    unknown: Error,
) -> anyhow::Result<()> {
    let (heading, lines) = top::ps_lines(pids, words, unknown)?;
    writeln!(session.out, "{heading}")?;
    lines.iter().try_for_each(|line| writeln!(session.out, "{line}"))?;
    Ok(())
}
