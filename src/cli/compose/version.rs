//! `ketch compose version`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::compose::project::COMPATIBLE;

/// Print the version of docker compose that this is compatible with
#[derive(Args, Debug, Default)]
pub(crate) struct VersionArgs {
    /// Format: pretty or json
    #[arg(short, long, value_name = "FORMAT", default_value = "pretty")]
    format: String,

    /// Describe the docker command's plugin
    #[arg(long, hide = true)]
    plugin: bool,

    /// Print the number alone
    #[arg(long)]
    short: bool,
}

pub(crate) fn run(session: &mut Session<'_>, args: VersionArgs) -> anyhow::Result<()> {
    if args.plugin {
        let about = json!({
            "SchemaVersion": "0.1.0",
            "Vendor": "ketch",
            "Version": format!("v{COMPATIBLE}"),
            "ShortDescription": "Run several containers as one project",
        });
        writeln!(session.out, "{about}")?;
        return Ok(());
    }
    match (args.short, args.format.as_str()) {
        (true, _) => writeln!(session.out, "{COMPATIBLE}")?,
        (false, "json") => writeln!(session.out, "{}", json!({ "version": format!("v{COMPATIBLE}") }))?,
        (false, "pretty" | "") => {
            writeln!(
                session.out,
                "Docker Compose version v{COMPATIBLE} (ketch {})",
                crate::base::version::VERSION
            )?;
        }
        (false, other) => {
            return Err(UsageError::new(format!("unknown format {other:?}")).see("compose version").into());
        }
    }
    Ok(())
}
