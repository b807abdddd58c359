//! `ketch secret`: makes, lists, shows and removes secrets.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::base::time;
use crate::cli::error::FAILED;
use crate::cli::format::{self, Format, Shape, json};
use crate::cli::labels::labels;
use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::documents::pruned::prune;
use crate::engine::filter::Filters;
use crate::engine::secret::{self, SecretRequest};
use crate::engine::{Engine, Error, Kind, config};
use crate::store::secrets::{MAX_BYTES, SecretRecord};

/// Make a secret
///
/// The value comes from a file, from standard input (`-`), or with --env from a variable. Prints the
/// secret's ID.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Where the value is kept: file is the only driver
    #[arg(short, long, default_value = "file", value_name = "DRIVER")]
    driver: String,

    /// Set an option of the driver (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opts: Vec<String>,

    /// FILE is the name of a variable of the environment
    #[arg(long)]
    env: bool,

    /// One that is there already will do, unchanged
    #[arg(long)]
    ignore: bool,

    /// Describe the secret, for filters (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Take the place of a secret that has the name
    #[arg(long)]
    replace: bool,

    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    /// File with the value, or `-`
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// `secret create`.
pub(crate) fn create(session: &mut Session<'_>, args: CreateArgs) -> anyhow::Result<()> {
    if args.driver != "file" {
        return Err(Error::new(Kind::Unsupported, format!("invalid secret driver {:?}", args.driver))
            .hint("ketch knows the driver file")
            .into());
    }
    if args.driver_opts.iter().any(|option| option.starts_with("path=")) {
        let message =
            "driver option path cannot work here: secrets are kept in the store, which --root moves";
        return Err(Error::new(Kind::Unsupported, message).into());
    }
    let request = SecretRequest {
        data: value(&args.file, args.env)?,
        name: args.name,
        labels: labels(&args.label),
        driver_options: labels(&args.driver_opts),
        replace: args.replace,
        ignore: args.ignore,
    };
    let id = session.engine()?.create_secret(request)?;
    writeln!(session.out, "{id}")?;
    Ok(())
}

/// The value, of which no more is read than a secret may have.
fn value(file: &std::path::Path, from_environment: bool) -> Result<Vec<u8>, Error> {
    use std::os::unix::ffi::OsStringExt;
    if from_environment {
        let name = file.as_os_str();
        return config::variable_of_caller(name).map(OsStringExt::into_vec).ok_or_else(|| {
            Error::invalid(format!(
                "cannot create store secret data: environment variable {} is not set",
                name.display()
            ))
        });
    }
    let mut data = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    let read = if file.as_os_str() == OsStr::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut data)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut data))
    };
    read.map(|_| data).map_err(|err| Error::system(format!("read {}", file.display()), err))
}

/// List secrets
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Show only secrets for which this holds (can be repeated)
    ///
    /// Keys: id, label, label!, name.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print no headings
    #[arg(short, long)]
    noheading: bool,

    /// Print only IDs; --format says more
    #[arg(short, long)]
    quiet: bool,
}

const LS_SHAPE: Shape = Shape {
    command: "secret ls",
    type_name: "secrets.secretListItem",
    headers: &[("CreatedAt", "CREATED"), ("UpdatedAt", "UPDATED")],
    omit: &[],
    heading: true,
};

/// `secret ls`.
pub(crate) fn ls(session: &mut Session<'_>, args: LsArgs) -> anyhow::Result<()> {
    let shape = Shape { heading: !args.noheading, ..LS_SHAPE };
    let format = args
        .format
        .as_deref()
        .unwrap_or("table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}");
    let format = Format::parse(format, &shape)?;
    let filters = Filters::parse(&args.filter, secret::FILTERS)?;
    let found = session.engine()?.secrets(&filters)?;
    if args.quiet && args.format.is_none() {
        for secret in &found {
            writeln!(session.out, "{}", secret.id)?;
        }
        return Ok(());
    }
    let mut rows: Vec<Value> = found.iter().map(row).collect();
    if let Format::Template { .. } = format {
        for (row, secret) in rows.iter_mut().zip(&found) {
            let driver = json!({"Name": secret.driver, "Options": secret.driver_options});
            row["Spec"] = json!({"Name": secret.name, "Driver": driver, "Labels": secret.labels});
            row["SecretData"] = "".into();
        }
    }
    format::print_rows(session, &shape, &format, &rows)
}

fn row(secret: &SecretRecord) -> Value {
    let ago = |when: Timestamp| time::human_ago(when, Timestamp::now());
    json!({
        "ID": secret.id,
        "Name": secret.name,
        "Driver": secret.driver,
        "CreatedAt": ago(secret.created),
        "UpdatedAt": ago(secret.updated),
    })
}

/// Print everything about secrets but their values
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Secrets, by name or ID (can be repeated)
    #[arg(required = true, value_name = "SECRET")]
    secrets: Vec<String>,

    /// Print in this form: json, or a Go template
    #[arg(short, long, default_value = "json", value_name = "FORMAT")]
    format: String,

    /// Print for people to read
    #[arg(long, conflicts_with = "format")]
    pretty: bool,

    /// Print the values too
    #[arg(long)]
    showsecret: bool,
}

const INSPECT_SHAPE: Shape = Shape {
    command: "secret inspect",
    type_name: "*types.SecretInfoReport",
    headers: &[],
    omit: &["SecretData"],
    heading: false,
};

const PRETTY: &str = "ID:              {{.ID}}\nName:              {{.Spec.Name}}\n{{- if .Spec.Labels }}\nLabels:\n{{- range $k, $v := .Spec.Labels }}\n - {{ $k }}{{if $v }}={{ $v }}{{ end }}\n{{- end }}{{ end }}\nDriver:            {{.Spec.Driver.Name}}\nCreated at:        {{.CreatedAt}}\nUpdated at:        {{.UpdatedAt}}";

/// `secret inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, args: InspectArgs) -> anyhow::Result<()> {
    let format = match (args.pretty, args.format.as_str()) {
        (true, _) => PRETTY,
        // As with podman and docker, none is the usual one.
        (false, "") => "json",
        (false, format) => format,
    };
    let format = Format::parse(format, &INSPECT_SHAPE)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &args.secrets {
        match document(session.engine()?, name, args.showsecret) {
            Ok(document) => found.push(document),
            Err(err) => missing.push(err),
        }
    }
    match format {
        Format::Json => {
            let pruned = found.iter().map(|object| prune(object, INSPECT_SHAPE.omit)).collect();
            json::print(session, &json::pretty(&Value::Array(pruned), &[], "    "))?;
        }
        _ => format::print_rows(session, &INSPECT_SHAPE, &format, &found)?,
    }
    session.outcome_of(missing)
}

fn document(engine: &Engine, typed: &str, with_value: bool) -> Result<Value, Error> {
    let secret = engine.secret(typed).map_err(|err| match err.kind {
        Kind::NotFound => Error::not_found(format!("inspecting secret: {}", err.message)),
        _ => err,
    })?;
    let secrets = engine.store().secrets();
    let mut options = secret.driver_options.clone();
    options.entry("path".to_owned()).or_insert_with(|| secrets.directory().display().to_string());
    let value = if with_value { secrets.data(&secret.name)? } else { Vec::new() };
    Ok(json!({
        "ID": secret.id,
        "CreatedAt": secret.created.to_string(),
        "UpdatedAt": secret.updated.to_string(),
        "Spec": {
            "Name": secret.name,
            "Driver": {"Name": secret.driver, "Options": options},
            "Labels": secret.labels,
        },
        "SecretData": String::from_utf8_lossy(&value),
    }))
}

/// Remove secrets
///
/// Containers that have one keep it.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Secrets to remove, by name or ID (can be repeated)
    #[arg(value_name = "SECRET")]
    secrets: Vec<String>,

    /// Remove all secrets
    #[arg(short, long)]
    all: bool,

    /// A missing secret is no failure
    #[arg(short, long)]
    ignore: bool,
}

/// `secret rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    if args.all != args.secrets.is_empty() {
        return Err(UsageError::new(if args.all {
            "secret rm --all takes no arguments"
        } else {
            "secret rm requires at least 1 argument or the --all flag"
        })
        .into());
    }
    let mut targets = args.secrets;
    if args.all {
        targets.extend(session.engine()?.secrets(&Filters::default())?.into_iter().map(|secret| secret.name));
    }
    let mut code = 0;
    for target in &targets {
        match session.engine()?.remove_secret(target) {
            Ok(id) => writeln!(session.out, "{id}")?,
            Err(err) if err.kind == Kind::NotFound && args.ignore => {}
            Err(err) => {
                code = FAILED;
                session.report(err);
            }
        }
    }
    session.outcome(code)
}

/// Check whether a secret exists
///
/// Prints nothing; exit code 0 means yes, 1 no, 125 that it cannot be told.
#[derive(Args, Debug)]
pub(crate) struct ExistsArgs {
    /// The secret's name or ID
    #[arg(value_name = "SECRET")]
    secret: String,
}

/// `secret exists`.
pub(crate) fn exists(session: &mut Session<'_>, args: ExistsArgs) -> anyhow::Result<Exit> {
    Exit::of_existence(session.engine()?.secret(&args.secret))
}
