//! `ketch compose volumes`.

use std::collections::BTreeSet;
use std::io::Write as _;

use clap::Args;
use serde_json::{Value, json};

use crate::base::order::InOrder as _;
use crate::base::spec::MountKind;
use crate::cli::compose::open;
use crate::cli::format::{self, Shape};
use crate::cli::session::Session;
use crate::compose::project::label;
use crate::engine::filter::Filters;
use crate::engine::volume;
use crate::store::volumes::VolumeRecord;

/// List the volumes of a project
#[derive(Args, Debug)]
pub(crate) struct VolumesArgs {
    /// Print in this form: table, json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Print names only
    #[arg(short, long)]
    quiet: bool,

    /// Services, for the volumes that their containers use; all volumes if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

const SHAPE: Shape = Shape {
    command: "compose volumes",
    type_name: "formatter.volumeContext",
    headers: &[("Name", "VOLUME NAME")],
    omit: &[],
    heading: true,
};

pub(crate) fn volumes(session: &mut Session<'_>, args: VolumesArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.services)?;
    let filter = format!("label={}={}", label::PROJECT, project.name);
    let filters = Filters::parse(&[filter], volume::FILTERS)?;
    let mut found = session.engine()?.volumes(&filters)?;
    for err in &found.damaged {
        session.warn(err);
    }
    if !args.services.is_empty() {
        let mut used = BTreeSet::new();
        for container in open::containers(session, &project, &args.services, true)? {
            let spec = session.engine()?.container_spec(&container.id)?;
            used.extend(spec.mounts.into_iter().filter_map(|mount| match mount.kind {
                MountKind::Volume { name, .. } => Some(name),
                _ => None,
            }));
        }
        found.items.retain(|volume| used.contains(&volume.name));
    }
    found.items.order_by(|a, b| a.name.cmp(&b.name));
    if args.quiet {
        return Ok(found.items.iter().try_for_each(|volume| writeln!(session.out, "{}", volume.name))?);
    }
    let engine = session.engine()?;
    let rows: Vec<Value> = found
        .items
        .iter()
        .map(|volume| row(volume, &engine.store().volumes().data_path(&volume.name)))
        .collect();
    let format = if args.format == "table" { "table {{.Driver}}\t{{.Name}}" } else { &args.format };
    format::print_lines(session, &SHAPE, format, &rows)
}

/// A volume in the words of docker's listing; what that does not know of it is `N/A` there too.
fn row(volume: &VolumeRecord, data: &std::path::Path) -> Value {
    let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Availability": "N/A",
        "Driver": volume.driver,
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": data.display().to_string(),
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    })
}
