//! `buildx version`, `buildx ls` and `buildx inspect`: what IDEs ask before they build.

use std::io::Write as _;

use clap::Args;
use serde_json::json;

use crate::base::platform::Platform;
use crate::cli::NAME;
use crate::cli::session::Session;

/// Show the version of the builder
#[derive(Args, Debug)]
pub(crate) struct BuildxVersionArgs {}

/// List builders: there is one
#[derive(Args, Debug)]
pub(crate) struct BuildxLsArgs {
    /// Print as JSON
    #[arg(long, value_name = "FORMAT", value_parser = ["json", "table"], default_value = "table")]
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

/// `buildx version`.
pub(crate) fn version(session: &mut Session<'_>, _: BuildxVersionArgs) -> anyhow::Result<()> {
    // IDEs look for a version of the form vMAJOR.MINOR.PATCH in the second word.
    writeln!(session.out, "github.com/{NAME}/{NAME} v{} {NAME}", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}

/// `buildx ls`.
pub(crate) fn ls(session: &mut Session<'_>, args: BuildxLsArgs) -> anyhow::Result<()> {
    let platform = Platform::host().to_string();
    if args.format == "json" {
        let document = json!({
            "Name": "default", "Driver": NAME, "Current": true,
            "Nodes": [{"Name": "default", "Status": "running", "Platforms": [platform]}],
        });
        writeln!(session.out, "{document}")?;
        return Ok(());
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
        "Name:   default\nDriver: {NAME}\n\nNodes:\nName:      default\nEndpoint:  default\nStatus:    running\nPlatforms: {}",
        Platform::host()
    )?;
    Ok(())
}
