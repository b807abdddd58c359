//! `ketch version` and `ketch --version`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::NAME;
use crate::cli::format::{self, Format, Shape, docker, json};
use crate::cli::globals::Globals;
use crate::cli::session::{Exit, Session};

/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

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
        let platform = os_arch();
        writeln!(session.out, "Client:        Ketch (podman-compatible)")?;
        writeln!(
            session.out,
            "Version:       {VERSION}\nAPI Version:   {VERSION}\nOS/Arch:       {platform}"
        )?;
        return Ok(());
    };
    let mut client = document();
    match Format::parse(&format, &SHAPE)? {
        // Who uses docker's form asks for the server, which podman leaves out where there is none.
        Format::Json => {
            json::print(session, &json::compact(&json!({"Client": client, "Server": client}), &[]))
        }
        template => {
            // Client and server are one program. Without either word a field is the client's.
            docker::version(&mut client, &rustix::system::uname().release().to_string_lossy());
            let mut row = client.clone();
            row["Client"] = client.clone();
            row["Server"] = client;
            format::print_rows(session, &SHAPE, &template, &[row])
        }
    }
}

/// The version in podman's field names.
pub(crate) fn document() -> Value {
    json!({
        "APIVersion": VERSION,
        "Version": VERSION,
        "GoVersion": "",
        "GitCommit": "",
        "BuiltTime": "",
        "Built": 0,
        "BuildOrigin": "",
        "OsArch": os_arch(),
        "Os": "linux",
    })
}

/// `linux/amd64`.
fn os_arch() -> String {
    let platform = crate::base::platform::Platform::host();
    format!("{}/{}", platform.os, platform.arch)
}

/// `--version`: one line, whose third word is the version. Programs that look for podman find its name.
pub(crate) fn print_flag(globals: &Globals) -> anyhow::Result<Exit> {
    let mut session = Session::new(globals, true);
    writeln!(session.out, "{NAME} version {VERSION} (podman-compatible)")?;
    session.finish()?;
    Ok(Exit::OK)
}
