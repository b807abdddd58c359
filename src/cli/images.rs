//! `ketch images`: lists local images.

use std::cmp::Ordering;
use std::io::Write;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::base::image_ref::{ImageRef, NameRule};
use crate::base::order::InOrder as _;
use crate::base::size;
use crate::base::time;
use crate::cli::format::{self, Format, Shape, docker, json, table::Table};
use crate::cli::images_tree;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::filter::{self, Filters};
use crate::engine::image::{Image, Images, name_matches};

/// List images in the local store
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Show only images of this name
    #[arg(value_name = "IMAGE", conflicts_with = "filter")]
    image: Option<String>,

    /// Show intermediate images too: those without a name that others are made of
    #[arg(short, long)]
    all: bool,

    /// Show the digests of manifests
    #[arg(long)]
    digests: bool,

    /// Show only images for which this holds, like dangling=true (can be repeated)
    ///
    /// Keys: after, before, containers, dangling, digest, id, intermediate, label, label!, manifest,
    /// readonly, reference (a pattern with * and ?), reference!, since, until.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Show all names that each image has or once had
    #[arg(long)]
    history: bool,

    /// Do not shorten IDs
    #[arg(long)]
    no_trunc: bool,

    /// Print no headings
    #[arg(short, long)]
    noheading: bool,

    /// Print only IDs
    #[arg(short, long)]
    quiet: bool,

    /// Sort by created, id, repository, size or tag
    #[arg(long, default_value = "created", value_name = "FIELD")]
    sort: String,

    /// Show the platforms of each image, and what they take
    #[arg(long, conflicts_with_all = ["digests", "format", "history", "no_trunc", "noheading", "quiet", "sort"])]
    tree: bool,
}

const SHAPE: Shape = Shape {
    command: "images",
    type_name: "images.imageReporter",
    headers: &[
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("RepoTags", "REPO TAGS"),
        ("ReadOnly", "R/O"),
    ],
    omit: &["Dangling", "Arch", "Os", "IsManifestList", "ReadOnly"],
    heading: true,
};

const NONE: &str = "<none>";

/// An image under one of its names.
struct Row<'a> {
    image: &'a Image,
    name: Option<&'a ImageRef>,
    rule: NameRule,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: ImagesArgs) -> anyhow::Result<()> {
    if !["created", "id", "repository", "size", "tag"].contains(&args.sort.as_str()) {
        let message = format!(
            "{:?} is not a valid field for sorting. Choose from: id, repository, size, tag, created",
            args.sort
        );
        return Err(UsageError::new(message).into());
    }
    let mut shape = SHAPE;
    shape.heading = !args.noheading;
    let format = session.format(args.format.as_deref(), &shape)?;
    let mut filters = args.filter.clone();
    filters.extend(args.image.as_ref().map(|image| format!("reference={image}")));
    // Who asks for intermediate images gets them; filters of one key are alternatives.
    let asked = |filter: &String| filter.split(['=', '!']).next() == Some("intermediate");
    if !args.all && !args.filter.iter().any(asked) {
        filters.push("intermediate=false".to_owned());
    }
    let filters = Filters::parse(&filters, filter::IMAGE)?;
    let found = session.engine()?.images_and_lists(&filters, format.is_some() || args.tree)?;
    for (_, err) in &found.damaged {
        session.warn(err);
    }
    if args.tree {
        return images_tree::print(session, &found);
    }
    let rule = session.name_rule();
    let rows = rows(&found, &args.sort, &filters.values("reference").collect::<Vec<_>>(), rule);
    if args.quiet && format.is_none() {
        // Docker prints one for each name.
        let images = found.items.iter().map(|image| Row { image, name: None, rule });
        return match rule {
            NameRule::Docker => print_ids(session, &args, rows.iter()),
            _ => print_ids(session, &args, images.collect::<Vec<_>>().iter()),
        };
    }
    let now = Timestamp::now();
    if session.lists_as_docker(format.as_ref())? {
        let line = |row: &Row<'_>| {
            let mut row = template_row(row, &args, now);
            docker::image(&mut row);
            row
        };
        return json::print_dockers_lines(session, rows.iter().map(line), docker::IMAGE);
    }
    match format {
        None => print_table(session, &args, &rows, &found, now),
        Some(Format::Json) => {
            let documents = rows.iter().map(|row| document(row.image, rule)).collect();
            json::print(session, &json::pretty(&Value::Array(documents), SHAPE.omit, "    "))
        }
        Some(template) => {
            let rows: Vec<Value> = rows.iter().map(|row| template_row(row, &args, now)).collect();
            format::print_rows(session, &shape, &template, &rows)
        }
    }
}

/// One row for each name, or one for an image without. Of an image that was found by some of its names these are shown:
/// what a list of names is taken for (`rmi`) does not concern the others.
fn rows<'a>(found: &'a Images, sort: &str, references: &[&str], rule: NameRule) -> Vec<Row<'a>> {
    let asked = |name: &&ImageRef| references.iter().any(|reference| name_matches(name, reference, rule));
    let mut rows: Vec<Row<'a>> = Vec::new();
    for image in &found.items {
        let mut names: Vec<&ImageRef> = image.names.iter().filter(asked).collect();
        if names.is_empty() {
            // All are asked for, or it was found by its ID or a digest.
            names = image.names.iter().collect();
        }
        match names.as_slice() {
            [] => rows.push(Row { image, name: None, rule }),
            names => rows.extend(names.iter().map(|name| Row { image, name: Some(name), rule })),
        }
    }
    if sort != "created" {
        // What is equal stays in the order in which it came.
        rows.order_by_key(|row| row.image.record.stored);
    }
    let order: &dyn Fn(&Row<'_>, &Row<'_>) -> Ordering = match sort {
        "id" => &|a, b| a.image.record.id.cmp(&b.image.record.id),
        "repository" => &|a, b| (a.repository(), a.tag()).cmp(&(b.repository(), b.tag())),
        "tag" => &|a, b| a.tag().cmp(&b.tag()),
        "size" => &|a, b| a.image.record.size_bytes.cmp(&b.image.record.size_bytes),
        _ => &|a, b| b.image.created().cmp(&a.image.created()),
    };
    rows.order_by(order);
    rows
}

impl Row<'_> {
    fn repository(&self) -> String {
        let by_digest = || self.image.record.repo_digests.first();
        let name = self.name.or_else(by_digest);
        name.map_or_else(|| NONE.to_owned(), |name| self.rule.shown(&name.without_reference()))
    }

    fn tag(&self) -> String {
        self.name.and_then(ImageRef::tag).unwrap_or(NONE).to_owned()
    }

    fn digest(&self) -> String {
        let known = self.image.record.repo_digests.iter().rev();
        let there = self.name.filter(|_| self.rule == NameRule::Docker).and_then(|name| {
            let repository = name.without_reference();
            known.filter(|known| known.without_reference() == repository).find_map(ImageRef::digest)
        });
        let own = self.image.record.manifest().map(|manifest| &manifest.digest);
        there.or(own).map_or(NONE.to_owned(), ToString::to_string)
    }

    fn id(&self, no_trunc: bool) -> String {
        let id = &self.image.record.id;
        if no_trunc { id.to_string() } else { id.hex()[..12].to_owned() }
    }

    fn history(&self) -> String {
        shown(&self.image.names_history(), self.rule).join(", ")
    }
}

fn print_ids<'a>(
    session: &mut Session<'_>,
    args: &ImagesArgs,
    rows: impl Iterator<Item = &'a Row<'a>>,
) -> anyhow::Result<()> {
    for row in rows {
        writeln!(session.out, "{}", row.id(args.no_trunc))?;
    }
    Ok(())
}

fn print_table(
    session: &mut Session<'_>,
    args: &ImagesArgs,
    rows: &[Row<'_>],
    found: &Images,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut heading = vec!["REPOSITORY", "TAG"];
    if args.digests {
        heading.push("DIGEST");
    }
    heading.extend(["IMAGE ID", "CREATED", "SIZE"]);
    if args.history {
        heading.push("HISTORY");
    }
    let mut table = Table::new(session, if args.noheading { &[] } else { &heading });
    for row in rows {
        let mut cells = vec![row.repository(), row.tag()];
        if args.digests {
            cells.push(row.digest());
        }
        cells.extend([
            row.id(args.no_trunc),
            time::human_ago(row.image.created(), now),
            size_text(row.image.record.size_bytes, row.rule),
        ]);
        if args.history {
            cells.push(row.history());
        }
        table.push(cells);
    }
    for (name, _) in &found.damaged {
        let mut cells = vec!["<damaged>".to_owned(), NONE.to_owned()];
        if args.digests {
            cells.push(NONE.to_owned());
        }
        let end = if args.no_trunc { name.len() } else { name.len().min(12) };
        cells.extend([name[..end].to_owned(), String::new(), String::new()]);
        table.push(cells);
    }
    table.print(session)
}

/// What `--format json` prints.
fn document(image: &Image, rule: NameRule) -> Value {
    let record = &image.record;
    let names = shown(&image.names, rule);
    json!({
        "Id": record.id.hex(),
        "ParentId": image.parent.map_or(String::new(), |parent| parent.hex()),
        "RepoTags": names,
        "RepoDigests": shown(&image.repo_digests(rule), rule),
        "Size": record.size_bytes,
        "SharedSize": 0,
        "VirtualSize": record.size_bytes,
        "Labels": if record.labels.is_empty() { Value::Null } else { json!(record.labels) },
        "Containers": image.containers.unwrap_or(0),
        "ReadOnly": false,
        "Dangling": image.is_dangling(),
        "Arch": record.platform.arch,
        "Digest": record.manifest().map_or(String::new(), |manifest| manifest.digest.to_string()),
        "History": shown(&image.names_history(), rule),
        "IsManifestList": image.is_list,
        "Names": names,
        "Os": record.platform.os,
        "Created": image.created().as_second(),
        "CreatedAt": whole_seconds(image.created()).to_string(),
    })
}

/// What a template sees.
fn template_row(row: &Row<'_>, args: &ImagesArgs, now: Timestamp) -> Value {
    let image = row.image;
    let ago = time::human_ago(image.created(), now);
    let at = time::go_string(whole_seconds(image.created()), &TimeZone::system());
    let mut document = document(image, row.rule);
    document["ID"] = row.id(args.no_trunc).into();
    document["Repository"] = row.repository().into();
    document["Tag"] = row.tag().into();
    document["Size"] = size_text(image.record.size_bytes, row.rule).into();
    document["Created"] = ago.clone().into();
    document["CreatedSince"] = ago.into();
    document["CreatedAt"] = at.clone().into();
    document["CreatedTime"] = at.into();
    document["History"] = row.history().into();
    document["IsDangling"] = image.is_dangling().into();
    document["IsReadOnly"] = false.into();
    document
}

/// `4.27 MB`, or as docker has it `4.27MB`.
fn size_text(bytes: u64, rule: NameRule) -> String {
    match rule {
        NameRule::Podman => size::human_spaced(bytes),
        NameRule::Docker => size::human(bytes, 3),
    }
}

fn shown(names: &[ImageRef], rule: NameRule) -> Vec<String> {
    names.iter().map(|name| rule.shown(name)).collect()
}

/// podman keeps the times of images in seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
