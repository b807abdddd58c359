//! `ketch ps`: lists containers.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::image_ref::NameRule;
use crate::base::order::InOrder as _;
use crate::base::pod::PodId;
use crate::base::size;
use crate::base::spec::{MountKind, NetworkMode};
use crate::base::time;
use crate::cli::format::{self, Format, Shape, docker, json, table::Table};
use crate::cli::ports;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::documents::{listing, ports as dockers_ports};
use crate::engine::Engine;
use crate::engine::filter::{self, Filters};
use crate::engine::list::{Container, Containers, Query};

/// List containers
///
/// Shows the containers that run; with --all, every container.
#[derive(Args, Debug)]
pub(crate) struct PsArgs {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,

    /// Accepted for podman's sake: nobody but ketch puts containers into the store, and --all shows those
    /// that are damaged, too
    #[arg(long, alias = "storage")]
    external: bool,

    /// Show only containers for which this holds, like status=exited (can be repeated)
    ///
    /// Keys: ancestor, before, command, exited, expose (a port of the container, 80 or 80-90/tcp), health, id, label,
    /// label!, name (a regular expression), network, pod, publish (a port of the host), restart-policy,
    /// should-start-on-boot, since, status, until, volume.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Show the last so many containers that were created, in all states
    #[arg(short = 'n', long, default_value_t = -1, allow_negative_numbers = true, value_name = "NUMBER")]
    last: i64,

    /// Show the container that was created last
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,

    /// Do not shorten IDs and commands
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,

    /// Print no headings
    #[arg(long)]
    noheading: bool,

    /// Show namespaces
    #[arg(long, alias = "namespace")]
    ns: bool,

    /// Show the pod of each container
    #[arg(short, long)]
    pod: bool,

    /// Print only IDs
    #[arg(short, long)]
    quiet: bool,

    /// Show the size of the files that each container has changed
    #[arg(short, long)]
    size: bool,

    /// Sort by command, created, id, image, names, runningfor, size or status
    #[arg(long, value_name = "FIELD", value_parser = sort_field)]
    sort: Option<String>,

    /// Accepted for podman's sake: states are not stored, ps always looks at the processes themselves
    #[arg(long)]
    sync: bool,

    /// Print again every so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

const SORT_FIELDS: [&str; 8] = ["command", "created", "id", "image", "names", "runningfor", "size", "status"];

fn sort_field(text: &str) -> Result<String, String> {
    match SORT_FIELDS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is not a valid value.  Choose from: \"{}\"", SORT_FIELDS.join(", "))),
    }
}

const SHAPE: Shape = Shape {
    command: "ps",
    type_name: "containers.psReporter",
    headers: &[
        ("ID", "CONTAINER ID"),
        ("CreatedHuman", "CREATED"),
        ("RunningFor", "RUNNING FOR"),
        ("Names", "NAMES"),
        ("Pod", "POD ID"),
        ("PodName", "PODNAME"),
        ("CGROUPNS", "CGROUPNS"),
        ("PIDNS", "PIDNS"),
        ("USERNS", "USERNS"),
        ("CIDFile", "CIDFILE"),
    ],
    omit: &["MNT", "CGROUPNS", "IPC", "NET", "PIDNS", "USERNS", "UTS", "Cgroup", "User"],
    heading: true,
};

/// As docker has them.
const DOCKERS_HEADERS: &[(&str, &str)] = &[("ID", "CONTAINER ID"), ("RunningFor", "CREATED"), ("Label", "")];

/// Namespaces in the order of podman's table: column, and file below `/proc/PID/ns`.
const NAMESPACES: [(&str, &str); 7] = [
    ("CGROUPNS", "cgroup"),
    ("IPC", "ipc"),
    ("MNT", "mnt"),
    ("NET", "net"),
    ("PIDNS", "pid"),
    ("USERNS", "user"),
    ("UTS", "uts"),
];

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: PsArgs) -> anyhow::Result<()> {
    let Some(seconds) = args.watch else { return print_once(session, &args) };
    loop {
        if session.out_is_tty {
            // Clear the screen and go to its first corner.
            session.out.write_all(b"\x1b[2J\x1b[H")?;
        }
        print_once(session, &args)?;
        session.out.flush()?;
        std::thread::sleep(Duration::from_secs(seconds));
    }
}

fn print_once(session: &mut Session<'_>, args: &PsArgs) -> anyhow::Result<()> {
    if args.size && args.ns {
        return Err(UsageError::new("size and namespace options conflict").into());
    }
    let mut shape = SHAPE;
    shape.heading = !args.noheading;
    let is_docker = session.globals.called.is_docker();
    if is_docker {
        shape.headers = DOCKERS_HEADERS;
    }
    let mut format = session.format(args.format.as_deref(), &shape)?;
    if is_docker && args.quiet && format.take().is_some() {
        session.note("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    let last = if args.latest { Some(1) } else { usize::try_from(args.last).ok().filter(|last| *last > 0) };
    let connections = format.as_ref().is_some_and(|f| matches!(f, Format::Json) || f.mentions("Networks"));
    let filters = Filters::parse(&args.filter, filter::CONTAINER)?;
    let query = Query { all: args.all, last, filters, connections };
    let mut found = session.engine()?.containers(&query)?;
    for (_, _, err) in &found.damaged {
        match &err.source {
            Some(cause) => session.warn(format_args!("{err}: {cause}")),
            None => session.warn(err),
        }
    }
    if session.engine()?.lacks_network_helper(&found.items) {
        session.warn("the network helper does not run: containers have no network until it can be started");
    }
    if !args.all {
        found.damaged.clear();
    }
    let sizes = args.size
        || args.sort.as_deref() == Some("size")
        || format
            .as_ref()
            .is_some_and(|f| f.mentions("Size") || is_docker && f.is_whole() && !matches!(f, Format::Json));
    let sizes = if sizes { Sizes::measure(session.engine()?, &found.items) } else { Sizes::default() };
    match &args.sort {
        Some(field) => sort(&mut found.items, field, &sizes),
        // The engine lists the oldest first, as podman does.
        None if is_docker => found.items.reverse(),
        None => {}
    }
    if args.quiet && format.is_none() {
        return print_ids(session, args, &found);
    }
    let shows_pods = args.pod || format.is_some();
    let pods = if shows_pods { session.engine()?.pod_names()? } else { BTreeMap::new() };
    let named = match session.name_rule() {
        NameRule::Podman => None,
        NameRule::Docker => Some(listing::Named::read(session.engine()?)?),
    };
    let view = View { args, sizes, pods, now: Timestamp::now(), named };
    if session.lists_as_docker(format.as_ref())? {
        let rows = found.items.iter().map(|container| view.row(container, false));
        return json::print_dockers_lines(session, rows, docker::CONTAINER);
    }
    match format {
        None if args.ns => print_namespaces(session, &view, &found),
        None => print_table(session, &view, &found),
        Some(Format::Json) => {
            let documents = found.items.iter().map(|container| view.document(container)).collect();
            json::print(session, &json::pretty(&Value::Array(documents), SHAPE.omit, "  "))
        }
        Some(template) => {
            // The whole document is made only for templates that can print it.
            let whole = template.source().contains("json");
            let rows: Vec<Value> = found.items.iter().map(|container| view.row(container, whole)).collect();
            format::print_rows(session, &shape, &template, &rows)
        }
    }
}

/// Bytes that containers have changed, and of their images.
#[derive(Default)]
struct Sizes {
    changed: HashMap<String, u64>,
    images: HashMap<Digest, u64>,
}

impl Sizes {
    fn measure(engine: &Engine, containers: &[Container]) -> Self {
        let mut sizes = Self::default();
        for container in containers {
            // What cannot be measured counts as nothing; its owner will see why with `system check`.
            let changed = engine.container_size(&container.id).unwrap_or(0);
            sizes.changed.insert(container.id.to_string(), changed);
            if let Some(image) = &container.summary.image {
                let size = || engine.store().images().get(&image.id).map_or(0, |record| record.size_bytes);
                sizes.images.entry(image.id).or_insert_with(size);
            }
        }
        sizes
    }

    /// Whether anything was measured.
    fn are_known(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Changed bytes, and those of all files.
    fn of(&self, container: &Container) -> (u64, u64) {
        let changed = self.changed.get(container.id.as_str()).copied().unwrap_or(0);
        let image = container.summary.image.as_ref().and_then(|image| self.images.get(&image.id));
        (changed, changed + image.copied().unwrap_or(0))
    }
}

fn sort(containers: &mut [Container], field: &str, sizes: &Sizes) {
    let started = |c: &Container| c.status.record.as_ref().map(|record| record.started);
    let order: &dyn Fn(&Container, &Container) -> Ordering = match field {
        "command" => &|a, b| command(a).cmp(&command(b)),
        "id" => &|a, b| a.id.cmp(&b.id),
        "image" => &|a, b| image_name(a).cmp(&image_name(b)),
        "names" => &|a, b| a.name.cmp(&b.name),
        "runningfor" => &|a, b| started(a).cmp(&started(b)),
        "size" => &|a, b| sizes.of(a).cmp(&sizes.of(b)),
        "status" => &|a, b| a.status.word().cmp(b.status.word()),
        // By its creation: as the engine lists them.
        _ => return,
    };
    containers.order_by(order);
}

fn print_ids(session: &mut Session<'_>, args: &PsArgs, found: &Containers) -> anyhow::Result<()> {
    let damaged = found.damaged.iter().map(|(id, ..)| id);
    for id in found.items.iter().map(|container| &container.id).chain(damaged) {
        writeln!(session.out, "{}", if args.no_trunc { id.as_str() } else { id.short() })?;
    }
    Ok(())
}

/// The command as typed, or as the image has it, in one line.
pub(crate) fn command(container: &Container) -> String {
    join(&container.summary.as_typed.command)
}

fn join(words: &[Bytes]) -> String {
    words.iter().map(Bytes::to_string_lossy).collect::<Vec<_>>().join(" ")
}

pub(crate) fn image_name(container: &Container) -> String {
    container.summary.image.as_ref().map_or(String::new(), |image| image.name.clone())
}

/// The number of a namespace of a process, from the link `net:[4026531833]`.
fn namespace(pid: i32, file: &str) -> String {
    if pid == 0 {
        return String::new();
    }
    let link = std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns").join(file));
    let link = link.unwrap_or_default();
    let text = link.to_string_lossy();
    text.split_once('[').map_or(String::new(), |(_, number)| number.trim_end_matches(']').to_owned())
}

/// How the containers of one listing are shown.
struct View<'a> {
    args: &'a PsArgs,
    sizes: Sizes,
    /// Names of pods, if they are shown.
    pods: BTreeMap<PodId, String>,
    now: Timestamp,
    /// What docker's listing asks; none in podman's.
    named: Option<listing::Named>,
}

impl View<'_> {
    fn id(&self, container: &Container) -> String {
        match self.args.no_trunc {
            true => container.id.to_string(),
            false => container.id.short().to_owned(),
        }
    }

    fn pod_id(&self, container: &Container) -> String {
        let id = container.summary.pod.as_ref().map(|pod| &pod.id);
        let shown = id.map(|id| if self.args.no_trunc { id.as_str() } else { id.short() });
        shown.unwrap_or_default().to_owned()
    }

    fn pod_name(&self, container: &Container) -> String {
        let name = container.summary.pod.as_ref().and_then(|pod| self.pods.get(&pod.id));
        name.cloned().unwrap_or_default()
    }

    fn image(&self, container: &Container) -> String {
        let of_docker = self.named.as_ref().map(|named| named.image(container, self.args.no_trunc));
        of_docker.unwrap_or_else(|| image_name(container))
    }

    fn status(&self, container: &Container) -> String {
        match self.named {
            Some(_) => listing::status(container, self.now),
            None => listing::podmans_status(container, self.now),
        }
    }

    fn ports(&self, container: &Container) -> String {
        match self.named {
            Some(_) => dockers_ports::text(&dockers_ports::of(container)),
            None => ports::text(container),
        }
    }

    fn short_command(&self, container: &Container) -> String {
        if self.named.is_some() {
            return listing::short_command(container, self.args.no_trunc);
        }
        let command = command(container);
        match command.char_indices().nth(17) {
            Some((end, _)) if !self.args.no_trunc => format!("{}...", &command[..end]),
            _ => command,
        }
    }

    fn size(&self, container: &Container) -> String {
        let (changed, all) = self.sizes.of(container);
        format!("{} (virtual {})", size::human(changed, 3), size::human(all, 3))
    }

    /// What a template sees.
    fn row(&self, container: &Container, whole: bool) -> Value {
        let summary = &container.summary;
        let created = match self.named {
            Some(_) => Timestamp::from_second(summary.created.as_second()).unwrap_or(summary.created),
            None => summary.created,
        };
        let created_at = time::go_string(created, &TimeZone::system());
        let image_id = summary.image.as_ref().map_or(String::new(), |image| image.id.hex());
        let image_id = if self.args.no_trunc { image_id } else { image_id.chars().take(12).collect() };
        let ago = time::human_ago(summary.created, self.now);
        let mut row = json!({
            "ID": self.id(container),
            "Names": container.name,
            "Image": self.image(container),
            "ImageID": image_id,
            "Command": self.short_command(container),
            "Created": summary.created.to_string(),
            "CreatedAt": created_at,
            "CreatedHuman": ago,
            "RunningFor": ago,
            "Status": self.status(container),
            "Ports": self.ports(container),
            "Networks": networks(container).join(","),
            "Size": self.size(container),
            "Pod": self.pod_id(container),
            "PodName": self.pod_name(container),
            "LocalVolumes": summary.mounts.iter().filter(|mount| matches!(mount.kind, MountKind::Volume { .. })).count(),
        });
        let fields = row.as_object_mut().expect("made as an object");
        let namespaces = self.namespaces(container);
        fields.extend(namespaces.iter().map(|(name, number)| (name.clone(), number.clone())));
        fields.insert("Cgroup".to_owned(), namespaces["CGROUPNS"].clone());
        fields.insert("User".to_owned(), namespaces["USERNS"].clone());
        let mut of_templates = namespaces;
        of_templates.insert("Cgroup".to_owned(), fields["Cgroup"].clone());
        of_templates.insert("User".to_owned(), fields["User"].clone());
        fields.insert("Namespaces".to_owned(), Value::Object(of_templates));
        let document = self.document(container);
        for (key, value) in document.as_object().expect("made as an object") {
            if !fields.contains_key(key) && key != "Id" {
                fields.insert(key.clone(), value.clone());
            }
        }
        if self.named.is_some() {
            fields.insert("State".to_owned(), listing::state(container).into());
            fields.insert("Networks".to_owned(), listing::networks(container).join(",").into());
            fields.insert("Mounts".to_owned(), listing::mounts(container, self.args.no_trunc).into());
            let labels = summary.labels.iter().map(|(key, value)| format!("{key}={value}"));
            fields.insert("Labels".to_owned(), labels.collect::<Vec<_>>().join(",").into());
            fields.insert("Label".to_owned(), json!(summary.labels));
            if !self.sizes.are_known() {
                fields.insert("Size".to_owned(), size::human(0, 3).into());
            }
        }
        if whole {
            fields.insert("ListContainer".to_owned(), document);
        }
        row
    }

    fn namespaces(&self, container: &Container) -> Map<String, Value> {
        let pid = container.status.pid();
        NAMESPACES.iter().map(|(name, file)| ((*name).to_owned(), namespace(pid, file).into())).collect()
    }

    /// What `--format json` prints.
    fn document(&self, container: &Container) -> Value {
        let summary = &container.summary;
        let record = container.status.record.as_ref();
        let ended = record.and_then(|record| record.ended.as_ref());
        let never = time::go_zero().as_second();
        let words: Vec<_> = summary.as_typed.command.iter().map(Bytes::to_string_lossy).collect();
        let ports =
            if summary.exposed_ports.is_empty() { Value::Null } else { exposed(&summary.exposed_ports) };
        let size = match self.args.size {
            true => {
                let (changed, all) = self.sizes.of(container);
                json!({"rootFsSize": all, "rwSize": changed})
            }
            false => Value::Null,
        };
        let namespaces = if self.args.ns { self.namespaces(container) } else { Map::new() };
        json!({
            "AutoRemove": summary.auto_remove,
            "Command": words,
            "CreatedAt": time::human_ago(summary.created, self.now),
            "CIDFile": summary.cid_file.as_ref().map_or(String::new(), |path| path.display().to_string()),
            "Exited": !container.status.phase.is_running() && record.is_some(),
            "ExitedAt": ended.map_or(never, |end| end.at.as_second()),
            "ExitCode": container.status.exit_code(),
            "ExposedPorts": ports,
            "Id": container.id.as_str(),
            "Image": image_name(container),
            "ImageID": summary.image.as_ref().map_or(String::new(), |image| image.id.hex()),
            "IsInfra": container.is_infra(),
            "Labels": summary.labels,
            "Mounts": summary.mounts.iter().map(|mount| mount.target.to_string_lossy()).collect::<Vec<_>>(),
            "Names": [container.name],
            "Namespaces": namespaces,
            "Networks": networks(container),
            "Pid": container.status.pid(),
            "Pod": container.summary.pod.as_ref().map_or("", |pod| pod.id.as_str()),
            "PodName": self.pod_name(container),
            "Ports": ports::document(container),
            "Restarts": record.map_or(0, |record| record.restarts),
            "Size": size,
            "StartedAt": record.map_or(never, |record| record.started.as_second()),
            "State": container.status.word(),
            "Status": listing::podmans_status(container, self.now),
            "Created": summary.created.as_second(),
        })
    }
}

/// The networks that podman lists: those by name.
fn networks(container: &Container) -> Vec<String> {
    match container.summary.network.mode {
        NetworkMode::None | NetworkMode::Host => Vec::new(),
        _ => container.network_names(),
    }
}

/// `["80/tcp"]` → `{"80": ["tcp"]}`.
fn exposed(ports: &[String]) -> Value {
    let mut map = Map::new();
    for port in ports {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        match map.entry(number).or_insert_with(|| json!([])) {
            Value::Array(protocols) => protocols.push(protocol.into()),
            _ => unreachable!("only arrays are put in"),
        }
    }
    Value::Object(map)
}

fn print_table(session: &mut Session<'_>, view: &View<'_>, found: &Containers) -> anyhow::Result<()> {
    let args = view.args;
    let mut heading = vec!["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    if args.pod {
        heading.extend(["POD ID", "PODNAME"]);
    }
    if args.size {
        heading.push("SIZE");
    }
    let columns = heading.len();
    let mut table = Table::new(session, if args.noheading { &[] } else { &heading });
    for container in &found.items {
        let mut row = vec![
            view.id(container),
            view.image(container),
            view.short_command(container),
            time::human_ago(container.summary.created, view.now),
            view.status(container),
            view.ports(container),
            container.name.clone(),
        ];
        if args.pod {
            row.extend([view.pod_id(container), view.pod_name(container)]);
        }
        if args.size {
            row.push(view.size(container));
        }
        table.push(row);
    }
    for (id, name, _) in &found.damaged {
        let mut row = vec![String::new(); columns];
        row[0] = if args.no_trunc { id.to_string() } else { id.short().to_owned() };
        row[4] = "<damaged>".to_owned();
        row[6].clone_from(name);
        table.push(row);
    }
    table.print(session)
}

fn print_namespaces(session: &mut Session<'_>, view: &View<'_>, found: &Containers) -> anyhow::Result<()> {
    let mut heading = vec!["CONTAINER ID", "NAMES", "PID"];
    heading.extend(NAMESPACES.iter().map(|(name, _)| *name));
    let mut table = Table::new(session, if view.args.noheading { &[] } else { &heading });
    for container in &found.items {
        let pid = container.status.pid();
        let mut row = vec![view.id(container), container.name.clone(), pid.to_string()];
        row.extend(NAMESPACES.iter().map(|(_, file)| namespace(pid, file)));
        table.push(row);
    }
    table.print(session)
}
