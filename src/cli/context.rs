//! `ketch context`: Docker's names of daemons, for scripts that ask for them or put things back.
//!
//! There is no daemon, so there is one context, `default`, which is this machine. What would make or change another
//! one is refused.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::format::table::Table;
use crate::cli::format::{self, Format, Shape, json};
use crate::cli::session::Session;
use crate::engine::config;
use crate::engine::{Error, Kind};

/// The name of the one context.
pub(crate) const DEFAULT: &str = "default";

const DESCRIPTION: &str = "This machine, without a daemon";

const LS: Shape = Shape {
    command: "context",
    type_name: "*formatter.ClientContext",
    headers: &[("DockerEndpoint", "DOCKER ENDPOINT")],
    omit: &[],
    heading: true,
};
const INSPECT: Shape = Shape { type_name: "*context.contextWithTLSListing", heading: false, ..LS };

/// List contexts
///
/// There is one, which is this machine.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Print only names
    #[arg(short, long)]
    quiet: bool,
}

/// `context ls`.
pub(crate) fn ls(session: &mut Session<'_>, args: LsArgs) -> anyhow::Result<()> {
    let row = json!({
        "Name": DEFAULT, "Description": DESCRIPTION, "DockerEndpoint": endpoint(), "Current": true, "Error": "",
    });
    if args.quiet {
        writeln!(session.out, "{DEFAULT}")?;
        return Ok(());
    }
    if args.format == "table" {
        let mut table = Table::new(session, &["NAME", "DESCRIPTION", "DOCKER ENDPOINT", "ERROR"]);
        table.push([format!("{DEFAULT} *"), DESCRIPTION.to_owned(), endpoint(), String::new()]);
        return table.print(session);
    }
    format::print_lines(session, &LS, &args.format, &[row])
}

/// Print the context in use
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {}

/// `context show`.
pub(crate) fn show(session: &mut Session<'_>, _: ShowArgs) -> anyhow::Result<()> {
    writeln!(session.out, "{DEFAULT}")?;
    Ok(())
}

/// Use a context from now on
///
/// There is one, `default`.
#[derive(Args, Debug)]
pub(crate) struct UseArgs {
    /// Its name
    #[arg(value_name = "CONTEXT")]
    name: String,
}

/// `context use`.
pub(crate) fn choose(session: &mut Session<'_>, args: UseArgs) -> anyhow::Result<()> {
    find(&args.name)?;
    writeln!(session.out, "{DEFAULT}")?;
    session.note(format!("Current context is now {DEFAULT:?}"));
    Ok(())
}

/// Show contexts
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Print by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,

    /// Their names; the one in use if nothing is said (can be repeated)
    #[arg(value_name = "CONTEXT")]
    names: Vec<String>,
}

/// `context inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, args: InspectArgs) -> anyhow::Result<()> {
    args.names.iter().try_for_each(|name| find(name))?;
    let rows = vec![document(); args.names.len().max(1)];
    match args.format.as_deref() {
        None => json::print(session, &json::pretty(&Value::Array(rows), &[], "    ")),
        Some(text) if Format::parse(text, &INSPECT)?.is_whole() => {
            json::print(session, &json::compact(&Value::Array(rows), &[]))
        }
        Some(text) => format::print_rows(session, &INSPECT, &Format::parse(text, &INSPECT)?, &rows),
    }
}

/// Where `system service` listens, if it does: programs ask for the address, and then speak Docker's API there.
fn endpoint() -> String {
    let socket = config::service_socket();
    let listens = socket.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
    if listens { format!("unix://{}", socket.display()) } else { String::new() }
}

/// What Docker says of its default context.
fn document() -> Value {
    json!({
        "Name": DEFAULT,
        "Metadata": {"Description": DESCRIPTION},
        "Endpoints": {"docker": {"Host": endpoint(), "SkipTLSVerify": false}},
        "TLSMaterial": {},
        "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
    })
}

/// Remove contexts: the only one cannot be removed
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Say nothing of contexts that are not there
    #[arg(short, long)]
    force: bool,

    /// Their names (can be repeated)
    #[arg(required = true, value_name = "CONTEXT")]
    names: Vec<String>,
}

/// `context rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    session.for_each_removal(&args.names, |_, name| match find(name) {
        Ok(()) => Err(Error::invalid(format!("context {name:?} cannot be removed"))),
        Err(_) if args.force => Ok(false),
        Err(err) => Err(err),
    })
}

/// Not possible: there is no daemon that another context could mean
#[derive(Args, Debug)]
pub(crate) struct RefusedArgs {
    /// What Docker's command takes
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// `context create`, `export`, `import`, `update`.
pub(crate) fn refuse(_: &mut Session<'_>, args: RefusedArgs) -> anyhow::Result<()> {
    let of = args.words.iter().find_map(|word| word.to_str().filter(|word| !word.starts_with('-')));
    let of = of.map_or_else(String::new, |name| format!(" {name:?}"));
    Err(Error::new(
        Kind::Unsupported,
        format!("context{of}: ketch has no daemon, and the one context {DEFAULT:?}"),
    )
    .into())
}

/// Is there a context of that name?
///
/// # Errors
///
/// If it is another than the one.
pub(crate) fn find(name: &str) -> Result<(), Error> {
    if name == DEFAULT {
        return Ok(());
    }
    Err(Error::new(Kind::NotFound, format!("context {name:?}: context not found"))
        .hint(format!("ketch has no daemon, and the one context {DEFAULT:?}")))
}

/// Accepts the addresses at which docker has its daemon by itself, and that of ketch's own service: they mean this
/// machine, as `default` does.
///
/// # Errors
///
/// For any other address.
pub(crate) fn is_here(address: &str) -> Result<(), Error> {
    let is_socket = |path: &str| {
        path.is_empty()
            || matches!(path, "/var/run/docker.sock" | "/run/docker.sock")
            || path.starts_with("/run/user/") && path.ends_with("/docker.sock")
            || Path::new(path) == config::service_socket()
    };
    match address.strip_prefix("unix://") {
        Some(path) if is_socket(path) => Ok(()),
        None if address.is_empty() => Ok(()),
        _ => Err(Error::new(
            Kind::Unsupported,
            format!(
                "flag --host cannot work here: ketch has no daemon and connects to no service at {address:?}"
            ),
        )),
    }
}
