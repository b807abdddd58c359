//! `ketch search`: finds images on registries.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::format::{self, Format, Shape, docker, json, table::Table};
use crate::cli::pull::parse_credential;
use crate::cli::session::Session;
use crate::engine::filter::Filters;
use crate::engine::remote::RemoteOptions;
use crate::engine::search::{self, FILTERS, FoundImage, SearchRequest};
use crate::engine::{Error, Kind};
use crate::registry::auth::Credential;

/// Results of each registry, if nobody says how many.
const LIMIT: usize = 25;

/// The most that docker lets anybody ask for.
const DOCKERS_LIMIT: usize = 100;

/// Longest description in a table, its three dots not included.
const DESCRIPTION: usize = 44;

/// Search registries for images
///
/// Without a registry before the term, all are searched in which short names are looked for. Registries
/// without a search of their own are searched by the names of their repositories.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// What to look for, like `nginx`, `quay.io/nginx` or, for all of a registry, `localhost:5000/`
    #[arg(value_name = "TERM")]
    term: String,

    /// File with stored credentials, instead of the usual ones
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// Directory with `*.crt`, `*.cert` and `*.key` for the registry, instead of certs.d
    #[arg(long, value_name = "DIRECTORY")]
    cert_dir: Option<PathBuf>,

    /// Show stars and whether an image is official, as Docker does
    #[arg(long)]
    compatible: bool,

    /// Name and password for the registry
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = parse_credential)]
    creds: Option<Credential>,

    /// Show only what fits: stars=N, is-official=BOOL, is-automated=BOOL (can be repeated)
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Most results of each registry; 25 by default
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,

    /// List the tags of the repository that the term names
    #[arg(long, conflicts_with = "filter")]
    list_tags: bool,

    /// Do not shorten descriptions
    #[arg(long)]
    no_trunc: bool,

    /// Insist on TLS with a valid certificate; `=false` takes any certificate, and plain http too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    tls_verify: Option<bool>,
}

const SHAPE: Shape = Shape {
    command: "search",
    type_name: "entities.ImageSearchReport",
    headers: &[],
    omit: &[],
    heading: true,
};

const TAG_SHAPE: Shape = Shape {
    command: "search",
    type_name: "entities.ImageSearchReport",
    headers: &[],
    omit: &[],
    heading: true,
};

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: SearchArgs) -> anyhow::Result<()> {
    if session.globals.called.is_docker() && args.limit.is_some_and(|limit| limit > DOCKERS_LIMIT) {
        let limit = args.limit.unwrap_or_default();
        let message = format!("Limit {limit} is outside the range of [1, {DOCKERS_LIMIT}]");
        return Err(Error::new(Kind::System, message).into());
    }
    let request = SearchRequest {
        term: args.term.clone(),
        // As with podman, no limit is the usual one.
        limit: args.limit.filter(|limit| *limit > 0).unwrap_or(LIMIT),
        // podman takes a key alone for the two that are true or false.
        filters: Filters::parse(&args.filter.iter().map(with_value).collect::<Vec<_>>(), FILTERS)?,
        remote: RemoteOptions {
            tls_verify: args.tls_verify,
            cert_dir: args.cert_dir.clone(),
            credential: args.creds.clone(),
            auth_file: args.authfile.clone(),
            ..RemoteOptions::default()
        },
    };
    let shape = if args.list_tags { &TAG_SHAPE } else { &SHAPE };
    let format = session.format(args.format.as_deref(), shape)?;
    if args.list_tags {
        return list_tags(session, &request, format.as_ref());
    }
    let found = search::search(session.conf()?, &request)?;
    let failed = !found.failures.is_empty();
    print(session, &args, format.as_ref(), &found.images)?;
    for failure in found.failures {
        session.report(failure);
    }
    if failed { Err(AlreadyReported { code: FAILED }.into()) } else { Ok(()) }
}

fn with_value(filter: &String) -> String {
    match filter.as_str() {
        "is-official" | "is-automated" => format!("{filter}=true"),
        _ => filter.clone(),
    }
}

fn print(
    session: &mut Session<'_>,
    args: &SearchArgs,
    format: Option<&Format>,
    images: &[FoundImage],
) -> anyhow::Result<()> {
    let Some(format) = format else {
        return print_table(session, args, images);
    };
    let mut rows: Vec<Value> = images.iter().map(|image| row(image, args.no_trunc)).collect();
    for row in &mut rows {
        row["Name"] = session.name_rule().shown_text(row["Name"].as_str().unwrap_or_default()).into();
    }
    let as_docker = session.lists_as_docker(Some(format))?;
    if as_docker || !matches!(format, Format::Json) {
        rows.iter_mut().for_each(docker::hit);
    }
    if as_docker {
        return json::print_dockers_lines(session, rows, docker::HIT);
    }
    format::print_rows(session, &SHAPE, format, &rows)
}

fn print_table(session: &mut Session<'_>, args: &SearchArgs, images: &[FoundImage]) -> anyhow::Result<()> {
    if images.is_empty() {
        return Ok(());
    }
    let is_docker = session.globals.called.is_docker();
    let heading: &[&str] = match args.compatible {
        _ if is_docker => &["NAME", "DESCRIPTION", "STARS", "OFFICIAL"],
        true => &["NAME", "DESCRIPTION", "STARS", "OFFICIAL", "AUTOMATED"],
        false => &["NAME", "DESCRIPTION"],
    };
    let mut table = Table::new(session, heading);
    for image in images {
        let name = session.name_rule().shown_text(&image.name);
        let mut cells = vec![name, description(image, args.no_trunc)];
        if is_docker {
            let (hit, ok) = (&image.hit, |is: bool| if is { "[OK]".to_owned() } else { String::new() });
            cells.extend([hit.stars.to_string(), ok(hit.official)]);
        } else if args.compatible {
            let (hit, ok) = (&image.hit, |is: bool| if is { "[OK]".to_owned() } else { String::new() });
            cells.extend([hit.stars.to_string(), ok(hit.official), ok(hit.automated)]);
        }
        table.push(cells);
    }
    table.print(session)
}

/// The description in one line, shortened unless that is not wanted.
fn description(image: &FoundImage, no_trunc: bool) -> String {
    let text = image.hit.description.replace('\n', " ");
    if no_trunc || text.chars().count() <= DESCRIPTION {
        return text;
    }
    let start: String = text.chars().take(DESCRIPTION).collect();
    format!("{start}...")
}

fn row(image: &FoundImage, no_trunc: bool) -> Value {
    let mark = |is: bool| if is { "[OK]" } else { "" };
    json!({
        "Index": image.index,
        "Name": image.name,
        "Description": description(image, no_trunc),
        "Stars": image.hit.stars,
        "Official": mark(image.hit.official),
        "Automated": mark(image.hit.automated),
        "Tag": "",
    })
}

fn list_tags(
    session: &mut Session<'_>,
    request: &SearchRequest,
    format: Option<&Format>,
) -> anyhow::Result<()> {
    let (image, tags) = search::tags(session.conf()?, request)?;
    let name = image.name();
    match format {
        Some(Format::Json) => {
            let document = json!([{"Name": name, "Tags": tags}]);
            json::print(session, &json::pretty(&document, &[], "    "))
        }
        Some(format) => {
            let rows: Vec<Value> = tags.iter().map(|tag| json!({"Name": name, "Tag": tag})).collect();
            format::print_rows(session, &TAG_SHAPE, format, &rows)
        }
        None => {
            let mut table = Table::new(session, &["NAME", "TAG"]);
            tags.into_iter().for_each(|tag| table.push([name.clone(), tag]));
            table.print(session)?;
            Ok(session.out.flush()?)
        }
    }
}
