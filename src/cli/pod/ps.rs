//! `pod ps`: lists pods.

use std::cmp::Ordering;
use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::base::order::InOrder as _;
use crate::base::time;
use crate::cli::format::{self, Format, Shape, json, table::Table};
use crate::cli::pod::LatestPod;
use crate::cli::session::Session;
use crate::engine::Error;
use crate::engine::filter::Filters;
use crate::engine::list::Container;
use crate::engine::pod::{FILTERS, Pod};

/// List pods
#[derive(Args, Debug)]
pub(crate) struct PsArgs {
    /// Show the IDs of the containers
    #[arg(long)]
    ctr_ids: bool,

    /// Show the names of the containers
    #[arg(long)]
    ctr_names: bool,

    /// Show what the containers do
    #[arg(long)]
    ctr_status: bool,

    /// Show only pods for which this holds, like status=running (can be repeated)
    ///
    /// Keys: ctr-ids, ctr-names, ctr-number, ctr-status, id, label, label!, name (a regular expression), network, status,
    /// until.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    #[command(flatten)]
    latest: LatestPod,

    /// Do not shorten IDs
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,

    /// Print no headings
    #[arg(short, long)]
    noheading: bool,

    /// Show the cgroup that the containers are below, and the namespaces that they share
    #[arg(long, alias = "namespace")]
    ns: bool,

    /// Print only IDs
    #[arg(short, long)]
    quiet: bool,

    /// Sort by created, id, name, number or status
    #[arg(long, value_name = "FIELD", default_value = "created")]
    sort: String,
}

const SHAPE: Shape = Shape {
    command: "pod ps",
    type_name: "pods.ListPodReporter",
    headers: &[
        ("Id", "POD ID"),
        ("ID", "POD ID"),
        ("Name", "NAME"),
        ("Status", "STATUS"),
        ("Labels", "LABELS"),
        ("NumberOfContainers", "# OF CONTAINERS"),
        ("Created", "CREATED"),
        ("InfraID", "INFRA ID"),
        ("InfraId", "INFRA ID"),
        ("ContainerIds", "IDS"),
        ("ContainerNames", "NAMES"),
        ("ContainerStatuses", "STATUS"),
        ("Cgroup", "CGROUP"),
        ("Namespace", "NAMESPACES"),
    ],
    omit: &[],
    heading: true,
};

/// `pod ps`.
pub(crate) fn ps(session: &mut Session<'_>, args: PsArgs) -> anyhow::Result<()> {
    if args.quiet && args.format.is_some() {
        return Err(Error::invalid("quiet and format cannot be used together").into());
    }
    let shape = Shape { heading: !args.noheading, ..SHAPE };
    let format = args.format.as_deref().map(|text| Format::parse(text, &shape)).transpose()?;
    let filters = Filters::parse(&args.filter, FILTERS)?;
    let mut found = session.engine()?.pods(&filters)?;
    for err in &found.damaged {
        match &err.source {
            Some(cause) => session.warn(format_args!("{err}: {cause}")),
            None => session.warn(err),
        }
    }
    if args.latest.latest {
        found.items.truncate(1);
    }
    sort(&mut found.items, &args.sort)?;
    if args.quiet {
        for pod in &found.items {
            writeln!(session.out, "{}", pod.record.id)?;
        }
        return Ok(());
    }
    let view = View { args: &args, now: Timestamp::now() };
    match format {
        None => print_table(session, &view, &found.items),
        Some(Format::Json) => {
            let documents = found.items.iter().map(document).collect();
            json::print(session, &json::pretty(&Value::Array(documents), &[], "  "))
        }
        Some(template) if template.is_whole() => {
            found.items.iter().try_for_each(|pod| json::print(session, &document(pod).to_string()))
        }
        Some(template) => {
            let rows: Vec<Value> = found.items.iter().map(|pod| view.row(pod)).collect();
            format::print_rows(session, &shape, &template, &rows)
        }
    }
}

fn sort(pods: &mut [Pod], field: &str) -> Result<(), Error> {
    let order: &dyn Fn(&Pod, &Pod) -> Ordering = match field {
        // The engine lists the newest first.
        "created" => return Ok(()),
        "id" => &|a, b| a.record.id.cmp(&b.record.id),
        "name" => &|a, b| a.record.name.cmp(&b.record.name),
        "number" => &|a, b| a.containers.len().cmp(&b.containers.len()),
        "status" => &|a, b| a.state().cmp(b.state()),
        _ => {
            let known = "created, id, name, number, or status";
            return Err(Error::invalid(format!("invalid option for --sort, options are: {known}")));
        }
    };
    pods.order_by(order);
    Ok(())
}

/// How the pods of one listing are shown.
struct View<'a> {
    args: &'a PsArgs,
    now: Timestamp,
}

impl View<'_> {
    fn id<'t>(&self, id: &'t str) -> &'t str {
        if self.args.no_trunc { id } else { &id[..12] }
    }

    fn infra_id(&self, pod: &Pod) -> String {
        pod.infra().map_or(String::new(), |infra| self.id(infra.id.as_str()).to_owned())
    }

    fn created(&self, pod: &Pod) -> String {
        time::human_ago(pod.record.created, self.now)
    }

    fn ids(&self, pod: &Pod) -> String {
        join(pod, |one| self.id(one.id.as_str()).to_owned())
    }

    /// What a template sees.
    fn row(&self, pod: &Pod) -> Value {
        let id = self.id(pod.record.id.as_str());
        let restarts: u32 = pod.containers.iter().map(restarts).sum();
        let document = document(pod);
        json!({
            "Id": id,
            "ID": id,
            "Name": pod.record.name,
            "Status": pod.state(),
            "Created": self.created(pod),
            "ContainerIds": self.ids(pod),
            "ContainerNames": names(pod),
            "ContainerStatuses": statuses(pod),
            "InfraId": self.infra_id(pod),
            "InfraID": self.infra_id(pod),
            "Networks": pod.networks().join(","),
            "Restarts": restarts.to_string(),
            "NumberOfContainers": pod.containers.len(),
            "Cgroup": pod.record.cgroup_parent,
            "Namespace": namespaces(pod),
            "Labels": document["Labels"],
            "Containers": document["Containers"],
            "ListPodsReport": document,
        })
    }
}

fn join(pod: &Pod, each: impl Fn(&Container) -> String) -> String {
    pod.containers.iter().map(each).collect::<Vec<_>>().join(",")
}

fn names(pod: &Pod) -> String {
    join(pod, |one| one.name.clone())
}

fn statuses(pod: &Pod) -> String {
    join(pod, |one| one.status.word().to_owned())
}

fn namespaces(pod: &Pod) -> String {
    pod.record.share.iter().map(|one| one.word()).collect::<Vec<_>>().join(",")
}

fn restarts(container: &Container) -> u32 {
    container.status.record.as_ref().map_or(0, |record| record.restarts)
}

/// What `--format json` prints.
fn document(pod: &Pod) -> Value {
    let container = |one: &Container| {
        json!({
            "Id": one.id.as_str(),
            "Names": one.name,
            "Status": one.status.word(),
            "RestartCount": restarts(one),
        })
    };
    json!({
        "Cgroup": pod.record.cgroup_parent,
        "Containers": pod.containers.iter().map(container).collect::<Vec<_>>(),
        "Created": pod.record.created.to_string(),
        "Id": pod.record.id.as_str(),
        "InfraId": pod.infra().map_or("", |infra| infra.id.as_str()),
        "Name": pod.record.name,
        "Namespace": "",
        "Networks": pod.networks(),
        "Status": pod.state(),
        "Labels": pod.record.labels,
    })
}

fn print_table(session: &mut Session<'_>, view: &View<'_>, pods: &[Pod]) -> anyhow::Result<()> {
    let args = view.args;
    let mut heading = vec!["POD ID", "NAME", "STATUS", "CREATED", "INFRA ID"];
    let optional = [
        (args.ns, "CGROUP"),
        (args.ns, "NAMESPACES"),
        (args.ctr_ids, "IDS"),
        (args.ctr_names, "NAMES"),
        (args.ctr_status, "STATUS"),
        (!args.ctr_ids && !args.ctr_names && !args.ctr_status, "# OF CONTAINERS"),
    ];
    heading.extend(optional.iter().filter(|(wanted, _)| *wanted).map(|(_, heading)| *heading));
    let mut table = Table::new(session, if args.noheading { &[] } else { &heading });
    for pod in pods {
        let mut row = vec![
            view.id(pod.record.id.as_str()).to_owned(),
            pod.record.name.clone(),
            pod.state().to_owned(),
            view.created(pod),
            view.infra_id(pod),
        ];
        let cells = [
            pod.record.cgroup_parent.clone(),
            namespaces(pod),
            view.ids(pod),
            names(pod),
            statuses(pod),
            pod.containers.len().to_string(),
        ];
        row.extend(optional.iter().zip(cells).filter(|((wanted, _), _)| *wanted).map(|(_, cell)| cell));
        table.push(row);
    }
    table.print(session)
}
