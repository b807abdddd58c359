//! `buildx version`, `buildx ls` and `buildx inspect`: what IDEs ask before they build.

use std::io::Write as _;

use clap::Args;
use serde_json::json;

use crate::base::platform::Platform;
use crate::cli::NAME;
use crate::cli::format::{self, Format, Shape};
use crate::cli::session::Session;

/// Show the version of the builder
#[derive(Args, Debug)]
pub(crate) struct BuildxVersionArgs {}

/// List builders: there is one
#[derive(Args, Debug)]
pub(crate) struct BuildxLsArgs {
    /// Print as JSON, or by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Print IDs in full
    #[arg(long)]
    no_trunc: bool,
}

/// Show a builder
#[derive(Args, Debug)]
pub(crate) struct BuildxInspectArgs {
    /// Make sure that it runs: ketch needs nothing that runs
    #[arg(long)]
    bootstrap: bool,

    /// Its name
    #[arg(value_name = "NAME", default_value = "default", value_parser = ["default", NAME])]
    name: String,
}

const SHAPE: Shape =
    Shape { command: "ls", type_name: "*commands.lsBuilder", headers: &[], omit: &[], heading: true };

/// `buildx version`.
pub(crate) fn version(session: &mut Session<'_>, _: BuildxVersionArgs) -> anyhow::Result<()> {
    // IDEs look for a version of the form vMAJOR.MINOR.PATCH in the second word.
    writeln!(session.out, "github.com/{NAME}/{NAME} v{} {NAME}", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}

/// `buildx ls`.
pub(crate) fn ls(session: &mut Session<'_>, args: BuildxLsArgs) -> anyhow::Result<()> {
    let platform = Platform::host().to_string();
    if args.format != "table" {
        let document = json!({
            "Name": "default", "Driver": NAME, "DriverEndpoint": NAME, "Current": true, "Dynamic": false,
            "Status": "running", "Platforms": platform, "Error": "",
            "Nodes": [{"Name": "default", "Endpoint": "default", "Status": "running", "Platforms": [platform]}],
        });
        return match Format::parse(&args.format, &SHAPE)? {
            // As Docker prints it: an object per line.
            Format::Json => Ok(writeln!(session.out, "{document}")?),
            template => format::print_rows(session, &SHAPE, &template, &[document]),
        };
    }
    writeln!(session.out, "{:<16}{:<18}{:<10}PLATFORMS", "NAME/NODE", "DRIVER/ENDPOINT", "STATUS")?;
    writeln!(session.out, "{:<16}{:<18}{:<10}", "default*", NAME, "")?;
    writeln!(session.out, "{:<16}{:<18}{:<10}{platform}", " \\_ default", " \\_ default", "running")?;
    Ok(())
}

/// `buildx inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, _: BuildxInspectArgs) -> anyhow::Result<()> {
    writeln!(
        session.out,
        "Name:          default\nDriver:        {NAME}\n\nNodes:\nName:             default\nEndpoint:         default\nStatus:           running\nBuildKit version: v{}\nPlatforms:        {}",
        env!("CARGO_PKG_VERSION"),
        Platform::host()
    )?;
    Ok(())
}
