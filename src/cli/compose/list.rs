//! `ketch compose ps`, `ls`, `images` and `port`.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::base::order::InOrder as _;
use crate::base::spec::MountKind;
use crate::base::{image_ref, size, time};
use crate::cli::compose::open;
use crate::cli::format::table::Table;
use crate::cli::format::{self, Shape};
use crate::cli::ps;
use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::compose::observe;
use crate::compose::project::{Project, label};
use crate::documents::{listing, ports};
use crate::engine::Error;
use crate::engine::list::{Container, MountSummary};

/// List the containers of a project
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(crate) struct PsArgs {
    /// Those that have ended too, and those of `run`
    #[arg(short, long)]
    all: bool,

    /// List those that match (status=STATUS; can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: table, json, or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Do not shorten commands
    #[arg(long)]
    no_trunc: bool,

    /// Those of services that the files do not have any more too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    orphans: bool,

    /// Print IDs only
    #[arg(short, long)]
    quiet: bool,

    /// Print the names of services only
    #[arg(long)]
    services: bool,

    /// List containers in this state: created, running, paused, restarting, exited, dead (can be repeated)
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

const PS: Shape = Shape {
    command: "compose ps",
    type_name: "formatter.ContainerContext",
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("Service", "SERVICE"),
        ("RunningFor", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Status", "STATUS"),
        ("State", "STATE"),
        ("Ports", "PORTS"),
        ("Project", "PROJECT"),
        ("Health", "HEALTH"),
        ("ExitCode", "EXIT CODE"),
    ],
    omit: &[],
    heading: true,
};

pub(crate) fn ps(session: &mut Session<'_>, args: PsArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.names)?;
    let mut statuses = args.status.clone();
    for filter in &args.filter {
        match filter.split_once('=') {
            Some(("status", status)) => statuses.push(status.to_owned()),
            _ => {
                return Err(UsageError::new(format!(
                    "unknown filter {filter:?}: only status=STATUS is known"
                ))
                .see("compose ps")
                .into());
            }
        }
    }
    let mut found: Vec<Container> = observe::containers(session.engine()?, &project.name)?
        .into_iter()
        .filter(|container| {
            let Some(actual) = observe::actual(container) else { return false };
            let is_named = args.names.is_empty() || args.names.contains(&actual.service);
            let is_known = args.orphans || project.service(&actual.service).is_ok();
            let state = listing::state(container);
            let is_wanted = match statuses.is_empty() {
                true => args.all || actual.running && !actual.one_off,
                false => statuses.iter().any(|status| status == state),
            };
            is_named && is_known && is_wanted
        })
        .collect();
    found.order_by(|a, b| a.name.cmp(&b.name));
    if args.services {
        let services: std::collections::BTreeSet<String> =
            found.iter().filter_map(observe::actual).map(|actual| actual.service).collect();
        return Ok(services.iter().try_for_each(|name| writeln!(session.out, "{name}"))?);
    }
    if args.quiet {
        return Ok(found.iter().try_for_each(|container| writeln!(session.out, "{}", container.id))?);
    }
    let now = Timestamp::now();
    match args.format.as_str() {
        "table" | "pretty" => {
            let heading = ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"];
            let mut table = Table::new(session, &heading).columns(10, 3);
            for container in &found {
                let row = row(container, &project, now, args.no_trunc);
                let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                table
                    .push(["Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports"].map(text));
            }
            table.print(session)
        }
        format => {
            let rows: Vec<Value> =
                found.iter().map(|container| row(container, &project, now, args.no_trunc)).collect();
            format::print_lines(session, &PS, format, &rows)
        }
    }
}

/// The name of its image as the file has it, if it is still that one.
fn image(container: &Container, project: &Project) -> String {
    let name = ps::image_name(container);
    let typed = container.summary.labels.get(label::SERVICE).map(|service| project.image(service));
    let is_same = |typed: &String| {
        let untagged = name.strip_suffix(":latest").unwrap_or(&name);
        [name.as_str(), untagged].iter().any(|name| {
            name.strip_suffix(typed.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        })
    };
    typed.filter(is_same).unwrap_or_else(|| image_ref::shortest(&name))
}

/// One container in docker compose's field names.
fn row(container: &Container, project: &Project, now: Timestamp, no_trunc: bool) -> Value {
    let labels = &container.summary.labels;
    let label_text: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let code = container.status.exit_code();
    let ports = ports::of(container);
    let is_volume = |mount: &&MountSummary| matches!(mount.kind, MountKind::Volume { .. });
    let volumes = container.summary.mounts.iter().filter(is_volume);
    json!({
        "Command": listing::short_command(container, no_trunc),
        "CreatedAt": time::go_string(container.summary.created, &jiff::tz::TimeZone::system()),
        "ExitCode": code,
        "Health": container.health.map_or("", |health| health.word()),
        "ID": if no_trunc { container.id.as_str() } else { container.id.short() },
        "Image": image(container, project),
        "Labels": label_text.join(","),
        "LocalVolumes": volumes.count().to_string(),
        "Mounts": listing::mounts(container, no_trunc),
        "Name": container.name,
        "Names": container.name,
        "Networks": container.network_names().join(","),
        "Ports": ports::text(&ports),
        "Project": project.name,
        "Publishers": ports::document(&ports),
        "RunningFor": time::human_ago(container.summary.created, now),
        "Service": labels.get(label::SERVICE),
        "Size": "0B",
        "State": listing::state(container),
        "Status": listing::status(container, now),
    })
}

/// List running projects
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Those that do not run too
    #[arg(short, long)]
    all: bool,

    /// List those that match (name=NAME; can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn ls(session: &mut Session<'_>, args: LsArgs) -> anyhow::Result<()> {
    let mut projects: BTreeMap<String, (BTreeMap<&'static str, usize>, String)> = BTreeMap::new();
    for container in observe::of_all_projects(session.engine()?)? {
        let labels = &container.summary.labels;
        let Some(name) = labels.get(label::PROJECT) else { continue };
        let state = listing::state(&container);
        // As `docker ps`, which counts a paused one among those that run.
        if !args.all && !observe::is_running(&container) {
            continue;
        }
        let (states, files) = projects.entry(name.clone()).or_default();
        *states.entry(state).or_default() += 1;
        *files = labels.get(label::CONFIG_FILES).cloned().unwrap_or_default();
    }
    let mut patterns = Vec::new();
    for filter in &args.filter {
        let Some(("name", pattern)) = filter.split_once('=') else {
            return Err(UsageError::new(format!("unknown filter {filter:?}: only name=NAME is known"))
                .see("compose ls")
                .into());
        };
        patterns.push(pattern.to_owned());
    }
    projects.retain(|name, _| patterns.is_empty() || patterns.iter().any(|pattern| name.contains(pattern)));
    if args.quiet {
        return Ok(projects.keys().try_for_each(|name| writeln!(session.out, "{name}"))?);
    }
    let status = |states: &BTreeMap<&str, usize>| {
        let parts: Vec<String> = states.iter().map(|(state, count)| format!("{state}({count})")).collect();
        parts.join(", ")
    };
    check_form(&args.format)?;
    if args.format == "json" {
        let rows: Vec<Value> = projects
            .iter()
            .map(|(name, (states, files))| {
                json!({ "Name": name, "Status": status(states), "ConfigFiles": files })
            })
            .collect();
        return Ok(writeln!(session.out, "{}", Value::Array(rows))?);
    }
    let mut table = Table::new(session, &["NAME", "STATUS", "CONFIG FILES"]).columns(20, 3);
    for (name, (states, files)) in &projects {
        table.push([name.clone(), status(states), files.clone()]);
    }
    table.print(session)
}

/// Refuses a form that a listing without templates does not have.
fn check_form(format: &str) -> anyhow::Result<()> {
    match format {
        "table" | "pretty" | "json" => Ok(()),
        _ => {
            Err(Error::invalid(format!("format value {format:?} could not be parsed: parsing failed")).into())
        }
    }
}

/// List the images that a project's containers were made from
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Print in this form: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Print IDs only
    #[arg(short, long)]
    quiet: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn images(session: &mut Session<'_>, args: ImagesArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &[])?;
    let mut rows = Vec::new();
    for container in observe::containers(session.engine()?, &project.name)? {
        let service = container.summary.labels.get(label::SERVICE).cloned().unwrap_or_default();
        let Some(image) = &container.summary.image else { continue };
        if !args.services.is_empty() && !args.services.contains(&service) {
            continue;
        }
        let record = session.engine()?.store().images().get(&image.id);
        let bytes = record.map_or(0, |record| record.size_bytes);
        let (repository, tag) = image.name.rsplit_once(':').unwrap_or((image.name.as_str(), "<none>"));
        rows.push((
            container.name.clone(),
            image_ref::shortest(repository),
            tag.to_owned(),
            image.id.hex(),
            bytes,
        ));
    }
    rows.order();
    if args.quiet {
        let ids: std::collections::BTreeSet<&String> = rows.iter().map(|(.., id, _)| id).collect();
        return Ok(ids.iter().try_for_each(|id| writeln!(session.out, "{id}"))?);
    }
    check_form(&args.format)?;
    if args.format == "json" {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(container, repository, tag, id, bytes)| {
                json!({ "ID": format!("sha256:{id}"), "ContainerName": container, "Repository": repository, "Tag": tag, "Size": bytes })
            })
            .collect();
        return Ok(writeln!(session.out, "{}", Value::Array(rows))?);
    }
    let heading = ["CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "SIZE"];
    let mut table = Table::new(session, &heading).columns(20, 3);
    for (container, repository, tag, id, bytes) in rows {
        let id = id.chars().take(12).collect();
        table.push([container, repository, tag, id, size::human(bytes, 3)]);
    }
    table.print(session)
}

/// Print the address that a port of a service is published at
#[derive(Args, Debug)]
pub(crate) struct PortArgs {
    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,

    /// tcp or udp
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    protocol: String,

    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,

    /// The port inside
    #[arg(value_name = "PORT")]
    port: String,
}

pub(crate) fn port(session: &mut Session<'_>, args: PortArgs) -> anyhow::Result<Exit> {
    let project = open::project_or_containers(session, &[])?;
    let container = open::running_container(session, &project, &args.service, args.index)?;
    let there = ports::of(&session.engine()?.container_summary(&container.id)?);
    let wanted = format!("{}/{}", args.port, args.protocol);
    let is_meant =
        |port: &&ports::Port| port.public > 0 && format!("{}/{}", port.private, port.protocol) == wanted;
    if let Some(port) = there.iter().find(is_meant) {
        writeln!(session.out, "{}", port.address())?;
        return Ok(Exit::OK);
    }
    let there: Vec<String> = there.iter().map(|port| format!("{}/{}", port.public, port.protocol)).collect();
    let why = format!("no port {wanted} for container {}: {}", container.name, there.join(", "));
    Err(Error::not_found(why).into())
}
