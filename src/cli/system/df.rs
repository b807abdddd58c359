//! `ketch system df`: prints what takes how much space.

use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::base::bytes::Bytes;
use crate::base::image_ref::{ImageRef, NameRule};
use crate::base::size;
use crate::base::time;
use crate::cli::format::{self, Format, Shape, docker, json, table::Table};
use crate::cli::session::Session;
use crate::cli::system::df_document;
use crate::cli::usage::UsageError;
use crate::documents::listing;
use crate::engine::df::Usage;
use crate::engine::image::Image;

/// Print what takes how much space
#[derive(Args, Debug)]
pub(crate) struct DfArgs {
    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print every object
    #[arg(short, long)]
    verbose: bool,
}

const SHAPE: Shape = Shape {
    command: "df",
    type_name: "*system.dfSummary",
    headers: &[("RawSize", "RAW SIZE"), ("RawReclaimable", "RAW RECLAIMABLE")],
    omit: &[],
    heading: true,
};

/// One line of the summary.
struct Line {
    kind: &'static str,
    total: usize,
    active: usize,
    bytes: u64,
    reclaimable: u64,
}

/// Runs the verb.
pub(crate) fn df(session: &mut Session<'_>, args: DfArgs) -> anyhow::Result<()> {
    let rule = session.name_rule();
    if args.verbose && args.format.is_some() && rule != NameRule::Docker {
        return Err(UsageError::new("cannot combine --format and --verbose flags").into());
    }
    let format = session.format(args.format.as_deref(), &SHAPE)?;
    let usage = session.engine()?.disk_usage()?;
    match format {
        Some(format) if args.verbose => {
            let document = df_document::document(session, &usage)?;
            return match format {
                Format::Json => json::print(session, &document.to_string()),
                template => {
                    format::print_rows(session, &Shape { heading: false, ..SHAPE }, &template, &[document])
                }
            };
        }
        None if args.verbose => return print_objects(session, &usage),
        _ => {}
    }
    let lines = lines(&usage, rule);
    if session.lists_as_docker(format.as_ref())? {
        return json::print_dockers_lines(
            session,
            lines.iter().map(|line| document(line, rule)),
            docker::USAGE,
        );
    }
    match format {
        None => {
            let mut table = Table::new(session, &["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
            for line in &lines {
                table.push([
                    line.kind.to_owned(),
                    line.total.to_string(),
                    line.active.to_string(),
                    size::human(line.bytes, 4),
                    reclaimable(line, rule),
                ]);
            }
            table.print(session)
        }
        Some(Format::Json) => {
            let documents: Vec<Value> = lines.iter().map(|line| document(line, rule)).collect();
            json::print_list(session, &documents, &[], "    ")
        }
        Some(template) => {
            let rows: Vec<Value> = lines.iter().map(|line| document(line, rule)).collect();
            format::print_rows(session, &SHAPE, &template, &rows)
        }
    }
}

fn lines(usage: &Usage, rule: NameRule) -> Vec<Line> {
    let used = usage.images.iter().filter(|image| image.image.containers != Some(0));
    let unused = usage.images.iter().filter(|image| image.image.containers == Some(0));
    let running = usage.containers.iter().filter(|user| user.container.is_up());
    let stopped = usage.containers.iter().filter(|user| !user.container.is_up());
    let linked = usage.volumes.iter().filter(|volume| volume.links > 0);
    let free = usage.volumes.iter().filter(|volume| volume.links == 0);
    let mut lines = vec![
        Line {
            kind: "Images",
            total: usage.images.len(),
            active: used.count(),
            bytes: usage.layers_bytes,
            reclaimable: unused.map(|image| image.unique_bytes).sum::<u64>() + usage.loose_bytes,
        },
        Line {
            kind: "Containers",
            total: usage.containers.len(),
            active: running.count(),
            bytes: usage.containers.iter().map(|user| user.bytes).sum(),
            reclaimable: stopped.map(|user| user.bytes).sum(),
        },
        Line {
            kind: "Local Volumes",
            total: usage.volumes.len(),
            active: linked.count(),
            bytes: usage.volumes.iter().map(|volume| volume.bytes).sum(),
            reclaimable: free.map(|volume| volume.bytes).sum(),
        },
    ];
    // Who has never built sees podman's three lines; docker has four.
    if !usage.builds.is_empty() || rule == NameRule::Docker {
        let free = usage.builds.iter().filter(|kept| !kept.shared);
        lines.push(Line {
            kind: "Build Cache",
            total: usage.builds.len(),
            active: usage.builds.iter().filter(|kept| kept.shared).count(),
            bytes: usage.builds.iter().map(|kept| kept.bytes).sum(),
            reclaimable: free.map(|kept| kept.bytes).sum(),
        });
    }
    lines
}

/// `10.7kB (50%)`.
fn reclaimable(line: &Line, rule: NameRule) -> String {
    if rule == NameRule::Docker && (line.bytes == 0 || line.kind == "Build Cache") {
        return size::human(line.reclaimable, 4);
    }
    let percent = match line.bytes {
        0 => 0,
        // Rounded to the next whole percent.
        bytes => (u128::from(line.reclaimable) * 100 + u128::from(bytes) / 2) / u128::from(bytes),
    };
    format!("{} ({percent}%)", size::human(line.reclaimable, 4))
}

fn document(line: &Line, rule: NameRule) -> Value {
    json!({
        "Type": line.kind,
        "Total": line.total,
        "Active": line.active,
        "RawSize": line.bytes,
        "RawReclaimable": line.reclaimable,
        "TotalCount": line.total,
        "Size": size::human(line.bytes, 4),
        "Reclaimable": reclaimable(line, rule),
    })
}

/// Repository and tag of each name of an image; of one without, docker's word for that.
pub(super) fn names(image: &Image, rule: NameRule) -> Vec<(String, String)> {
    const NONE: &str = "<none>";
    let name =
        |name: &ImageRef| (rule.shown(&name.without_reference()), name.tag().unwrap_or(NONE).to_owned());
    match image.names.is_empty() {
        true => vec![(NONE.to_owned(), NONE.to_owned())],
        false => image.names.iter().map(name).collect(),
    }
}

fn print_objects(session: &mut Session<'_>, usage: &Usage) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let is_docker = session.name_rule() == NameRule::Docker;
    let ago = |created| {
        if is_docker { time::human_ago(created, now) } else { time::human(now.duration_since(created)) }
    };
    let named = is_docker.then(|| listing::Named::read(session.engine()?)).transpose()?;
    writeln!(session.out, "Images space usage:\n")?;
    let heading =
        ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"];
    let mut table = Table::new(session, &heading);
    let rule = session.name_rule();
    for used in &usage.images {
        let image = &used.image;
        for (repository, tag) in names(image, rule) {
            table.push([
                repository,
                tag,
                image.record.id.hex()[..12].to_owned(),
                ago(image.created()),
                size::human(used.shared_bytes + used.unique_bytes, if is_docker { 3 } else { 4 }),
                size::human(used.shared_bytes, 4),
                size::human(used.unique_bytes, 4),
                image.containers.unwrap_or(0).to_string(),
            ]);
        }
    }
    table.print(session)?;
    writeln!(session.out, "\nContainers space usage:\n")?;
    let heading = ["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"];
    let mut table = Table::new(session, &heading);
    for user in &usage.containers {
        let summary = &user.container.summary;
        let command: Vec<_> = summary.as_typed.command.iter().map(Bytes::to_string_lossy).collect();
        let id = summary.image.as_ref().map_or(String::new(), |image| image.id.hex()[..12].to_owned());
        let (image, command, status) = match &named {
            Some(named) => (
                named.image(&user.container, false),
                listing::short_command(&user.container, false),
                listing::status(&user.container, now),
            ),
            None => (id, command.join(" "), user.container.status.phase.word().to_owned()),
        };
        table.push([
            user.container.id.short().to_owned(),
            image,
            command,
            user.volumes.to_string(),
            size::human(user.bytes, if is_docker { 3 } else { 4 }),
            ago(summary.created),
            status,
            user.container.name.clone(),
        ]);
    }
    table.print(session)?;
    writeln!(session.out, "\nLocal Volumes space usage:\n")?;
    let mut table = Table::new(session, &["VOLUME NAME", "LINKS", "SIZE"]);
    for volume in &usage.volumes {
        table.push([volume.volume.name.clone(), volume.links.to_string(), size::human(volume.bytes, 4)]);
    }
    table.print(session)?;
    if is_docker {
        return print_dockers_builds(session, usage, ago);
    }
    if usage.builds.is_empty() {
        return Ok(());
    }
    writeln!(session.out, "\nBuild cache usage:\n")?;
    let mut table =
        Table::new(session, &["CACHE ID", "TYPE", "SIZE", "CREATED", "LAST USED", "SHARED", "DESCRIPTION"]);
    for kept in &usage.builds {
        let description: String = kept.cached.description.chars().take(40).collect();
        table.push([
            kept.cached.id[..12].to_owned(),
            if kept.cached.is_mount { "mount" } else { "step" }.to_owned(),
            size::human(kept.bytes, 4),
            ago(kept.cached.created),
            ago(kept.cached.last_used),
            kept.shared.to_string(),
            description,
        ]);
    }
    table.print(session)
}

fn print_dockers_builds(
    session: &mut Session<'_>,
    usage: &Usage,
    ago: impl Fn(Timestamp) -> String,
) -> anyhow::Result<()> {
    let bytes = usage.builds.iter().map(|kept| kept.bytes).sum();
    writeln!(session.out, "\nBuild cache usage: {}\n", size::human(bytes, 4))?;
    let heading = ["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"];
    let mut table = Table::new(session, &heading);
    for kept in &usage.builds {
        table.push([
            kept.cached.id[..12].to_owned(),
            if kept.cached.is_mount { "exec.cachemount" } else { "regular" }.to_owned(),
            size::human(kept.bytes, 3),
            ago(kept.cached.created),
            ago(kept.cached.last_used),
            "1".to_owned(),
            kept.shared.to_string(),
        ]);
    }
    table.print(session)
}
