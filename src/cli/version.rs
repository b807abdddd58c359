//! `ketch version` and `ketch --version`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::called::Called;
use crate::cli::format::{self, Format, Shape, docker, json};
use crate::cli::globals::Globals;
use crate::cli::session::{Exit, Session};
use crate::documents;

/// Print the version of ketch
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Print in this form: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

const SHAPE: Shape =
    Shape { command: "version", type_name: "*define.Version", headers: &[], omit: &[], heading: false };

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: VersionArgs) -> anyhow::Result<()> {
    let Some(format) = args.format else {
        writeln!(session.out, "{}", session.globals.called.lines(&os_arch()))?;
        return Ok(());
    };
    let called = session.globals.called;
    let mut client = document(called);
    match Format::parse(&format, &SHAPE)? {
        format if called.is_docker() => {
            let (client, server) = (documents::version::docker_client(), documents::version::docker());
            let both = json!({"Client": client, "Server": server});
            if format.is_whole() {
                return json::print(session, &json::compact(&both, &[]));
            }
            // Scripts ask for fields without either word, too.
            let mut row = client;
            documents::add(&mut row, server);
            documents::add(&mut row, both);
            format::print_rows(session, &SHAPE, &format, &[row])
        }
        // Who uses docker's form asks for the server, which podman leaves out where there is none.
        Format::Json => {
            json::print(session, &json::compact(&json!({"Client": client, "Server": client}), &[]))
        }
        template => {
            // Client and server are one program. Without either word a field is the client's.
            docker::version(&mut client, called.oldest_api(), &kernel());
            let mut row = client.clone();
            row["Client"] = client.clone();
            row["Server"] = client;
            format::print_rows(session, &SHAPE, &template, &[row])
        }
    }
}

/// The version in podman's field names, of what the program was called as.
pub(crate) fn document(called: Called) -> Value {
    json!({
        "APIVersion": called.api(),
        "Version": called.version(),
        "GoVersion": "",
        "GitCommit": "",
        "BuiltTime": "",
        "Built": 0,
        "BuildOrigin": "",
        "OsArch": os_arch(),
        "Os": "linux",
    })
}

/// The kernel's release.
fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// `linux/amd64`.
fn os_arch() -> String {
    let platform = crate::base::platform::Platform::host();
    format!("{}/{}", platform.os, platform.arch)
}

/// `--version`: one line, whose third word is the version.
pub(crate) fn print_flag(globals: &Globals) -> anyhow::Result<Exit> {
    let mut session = Session::new(globals, true);
    writeln!(session.out, "{}", globals.called.line())?;
    session.finish()?;
    Ok(Exit::OK)
}
