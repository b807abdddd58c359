//! `ketch compose build` and `push`: the images of services, by the verbs `build` and `push`.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsFd as _;

use clap::Args;

use crate::cli::compose::project::BUILD_FAILED;
use crate::cli::compose::{bake, getter, open};
use crate::cli::error::AlreadyReported;
use crate::cli::session::{Exit, Session};
use crate::cli::together::{self, Job, Screen};
use crate::compose::node::Node;
use crate::compose::project::{COMPATIBLE, Project, label};
use crate::compose::resources::{text_file, write_text};
use crate::compose::translate::{int, list, pairs, texts};
use crate::engine::{Engine, Error, Result, config};

/// Build the images of services
#[derive(Args, Debug, Default)]
pub(crate) struct BuildArgs {
    /// Set an ARG of all Dockerfiles (can be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,

    /// Builder: default, or a name that `buildx create` has made; all are this program
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,

    /// Limit of memory of each step, like 512m
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,

    /// Look at the Dockerfiles, tell what could be better, and build nothing
    #[arg(long)]
    check: bool,

    /// As docker compose, for which they have no effect any more
    #[arg(long, hide = true)]
    compress: bool,

    /// The same
    #[arg(long, hide = true)]
    force_rm: bool,

    /// The same
    #[arg(long, hide = true)]
    no_rm: bool,

    /// The same: several are built at once anyway
    #[arg(long, hide = true)]
    parallel: bool,

    /// Show it in this form: as --progress before the verb
    #[arg(long, value_name = "FORM", hide = true)]
    progress: Option<String>,

    /// Build every step again
    #[arg(long)]
    no_cache: bool,

    /// Pull base images even if they are here
    #[arg(long)]
    pull: bool,

    /// Push what was built
    #[arg(long)]
    push: bool,

    /// Describe in the image how it was made: as --provenance of `build`
    #[arg(long, value_name = "ATTESTATION")]
    provenance: Option<String>,

    /// Print the builds as a bake file, and build nothing
    #[arg(long)]
    print: bool,

    /// Print nothing
    #[arg(short, long)]
    quiet: bool,

    /// List in the image what it consists of: as --sbom of `build`
    #[arg(long, value_name = "PRESET")]
    sbom: Option<String>,

    /// An SSH agent's socket or a key for RUN --mount=type=ssh: default, or ID[=PATH] (can be repeated)
    #[arg(long, value_name = "ID[=PATH]")]
    ssh: Vec<String>,

    /// Build what the services depend on too
    #[arg(long)]
    with_dependencies: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn build(session: &mut Session<'_>, args: BuildArgs) -> anyhow::Result<Exit> {
    session.engine()?.builders().find(args.builder.as_deref())?;
    let project = open::project(session, &args.services)?;
    let mut lines: Vec<(String, Vec<OsString>)> = Vec::new();
    let order = project.select(&args.services, args.with_dependencies || args.services.is_empty())?;
    if args.print {
        let text = serde_json::to_string_pretty(&bake::file(&project, &order))?;
        writeln!(session.out, "{text}")?;
        return Ok(Exit::OK);
    }
    for name in order {
        let Some(build) = project.service(&name)?.get("build") else { continue };
        let write = !session.globals.project.dry_run;
        let mut words = words(session.engine()?, &project, &name, build, write)?;
        let context = words.pop().unwrap_or_default();
        for arg in &args.build_arg {
            words.extend(["--build-arg".into(), arg.into()]);
        }
        for (flag, wanted) in [
            ("--no-cache", args.no_cache),
            ("--pull", args.pull),
            ("--quiet", args.quiet),
            ("--check", args.check),
        ] {
            if wanted {
                words.push(flag.into());
            }
        }
        words.extend(shown_as(args.progress.as_ref().or(session.globals.project.progress.as_ref())));
        words.extend(args.ssh.iter().map(|key| format!("--ssh={key}").into()));
        words.extend(args.provenance.iter().map(|form| format!("--provenance={form}").into()));
        words.extend(args.sbom.iter().map(|form| format!("--sbom={form}").into()));
        words.extend(args.memory.iter().map(|size| format!("--memory={size}").into()));
        words.push(context);
        lines.push((name, words));
    }
    let flags = &session.globals.project;
    let limit = flags.parallel.unwrap_or_else(together::limit);
    let one_by_one_only = lines.len() < 2 || limit < 2 || flags.dry_run;
    let quiet = args.quiet;
    let mut work = || match one_by_one_only {
        true => one_by_one(session, &lines),
        false => side_by_side(&mut Screen::of(session), &project, &lines, limit),
    };
    let exit = match quiet {
        // Without the IDs that `build --quiet` prints.
        true => getter::printing_to(std::fs::File::create("/dev/null")?.as_fd(), work)??,
        false => work()?,
    };
    if exit != Exit::OK {
        return Ok(Exit(BUILD_FAILED));
    }
    if args.push {
        for (name, _) in &lines {
            open::delegate(session, ["push".to_owned(), project.image(name)])?;
        }
    }
    Ok(Exit::OK)
}

/// Builds several at once; one whose context is another's image comes after that.
pub(super) fn side_by_side(
    screen: &mut Screen<'_>,
    project: &Project,
    lines: &[(String, Vec<OsString>)],
    limit: usize,
) -> anyhow::Result<Exit> {
    let place = |name: &str| lines.iter().position(|(known, _)| known == name);
    let jobs = lines.iter().map(|(name, _)| {
        let contexts =
            project.service(name).ok().and_then(|node| node.get("build")?.get("additional_contexts"));
        let used = pairs(contexts).into_values();
        let after = used.filter_map(|used| place(used.strip_prefix("service:")?)).collect();
        Job { name: name.clone(), after }
    });
    let jobs: Vec<Job> = jobs.collect();
    together::run(screen, &jobs, limit, &mut |place| Ok(lines[place].1.clone()))
}

/// Why a build made no image has been told.
#[derive(Debug, thiserror::Error)]
#[error("it was told above")]
pub(super) struct BuildFailed;

/// The flag of `build` for a form that `--progress` names.
pub(super) fn shown_as(progress: Option<&String>) -> Option<OsString> {
    progress.map(|form| format!("--progress={form}").into())
}

fn one_by_one(session: &mut Session<'_>, lines: &[(String, Vec<OsString>)]) -> anyhow::Result<Exit> {
    for (_, words) in lines {
        match open::delegate(session, words.clone()) {
            Ok(Exit::OK) => {}
            // Its own code is of no interest here.
            Err(err) if err.is::<AlreadyReported>() => return Ok(Exit(BUILD_FAILED)),
            other => return other,
        }
    }
    Ok(Exit::OK)
}

/// Push the images of services to their registries
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Go on if an image cannot be pushed
    #[arg(long)]
    ignore_push_failures: bool,

    /// Push the images of dependencies too
    #[arg(long)]
    include_deps: bool,

    /// Print nothing
    #[arg(short, long)]
    quiet: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn push(session: &mut Session<'_>, args: PushArgs) -> anyhow::Result<Exit> {
    let project = open::project(session, &args.services)?;
    for name in project.select(&args.services, args.include_deps || args.services.is_empty())? {
        let service = project.service(&name)?;
        // Only what the project builds, and what has a name to be pushed by.
        if service.get("build").is_none() || service.get("image").is_none() {
            if !args.quiet {
                session.note(format!(" {name} Skipped"));
            }
            continue;
        }
        let mut words = vec!["push".to_owned()];
        if args.quiet {
            words.push("--quiet".to_owned());
        }
        words.push(project.image(&name));
        match open::delegate(session, words) {
            Err(err) if args.ignore_push_failures => session.warn(format!("service {name}: {err:#}")),
            other => drop(other?),
        }
    }
    Ok(Exit::OK)
}

/// The command line that builds a service's image; the context is its last word. With `write` a Dockerfile that
/// stands in the Compose file is written to where the command line says it is.
pub(super) fn words(
    engine: &Engine,
    project: &Project,
    service: &str,
    build: &Node,
    write: bool,
) -> Result<Vec<OsString>> {
    let mut words: Vec<OsString> = vec!["build".into(), "--tag".into(), project.image(service).into()];
    let mut add = |flag: &str, value: String| words.extend([OsString::from(flag), value.into()]);
    let context = build.str_at("context").unwrap_or(".").to_owned();
    match (build.str_at("dockerfile_inline"), build.str_at("dockerfile")) {
        (Some(text), _) => add("--file", inline(engine, project, text, write)?),
        (None, Some(file)) if file.starts_with('/') || crate::compose::canonical::is_remote(&context) => {
            add("--file", file.to_owned());
        }
        (None, Some(file)) => add("--file", format!("{context}/{file}")),
        (None, None) => {}
    }
    for (key, value) in
        [(label::PROJECT, project.name.as_str()), (label::SERVICE, service), (label::VERSION, COMPATIBLE)]
    {
        add("--label", format!("{key}={value}"));
    }
    for (key, flag) in [("args", "--build-arg"), ("labels", "--label")] {
        pairs(build.get(key)).into_iter().for_each(|(name, value)| add(flag, format!("{name}={value}")));
    }
    pairs(build.get("additional_contexts")).into_iter().for_each(|(name, value)| {
        // Another service's image.
        let value = match value.strip_prefix("service:") {
            Some(other) => format!("docker-image://{}", project.image(other)),
            None => value,
        };
        add("--build-context", format!("{name}={value}"));
    });
    for (key, flag) in [
        ("tags", "--tag"),
        ("cache_from", "--cache-from"),
        ("cache_to", "--cache-to"),
        ("platforms", "--platform"),
    ] {
        texts(build, key).into_iter().for_each(|value| add(flag, value));
    }
    for host in texts(build, "extra_hosts") {
        add("--add-host", host.replacen('=', ":", 1));
    }
    for (key, flag) in [("target", "--target"), ("network", "--network"), ("shm_size", "--shm-size")] {
        if let Some(value) = build.get(key).and_then(Node::scalar_text) {
            add(flag, value);
        }
    }
    if let Some(limits) = build.get("ulimits").and_then(Node::as_map) {
        for (name, limit) in limits {
            let both = int(Some(limit));
            let soft = both.or_else(|| int(limit.get("soft"))).unwrap_or(-1);
            let hard = both.or_else(|| int(limit.get("hard"))).unwrap_or(-1);
            add("--ulimit", format!("{name}={soft}:{hard}"));
        }
    }
    for secret in list(build, "secrets") {
        let source = secret.str_at("source").unwrap_or_default();
        let id = secret.str_at("target").filter(|target| !target.starts_with('/')).unwrap_or(source);
        let resource = project.resource("secrets", source);
        let from = match resource.map(|resource| (resource.str_at("file"), resource.str_at("environment"))) {
            Some((Some(file), _)) => Some(format!("src={file}")),
            Some((None, Some(variable))) => Some(secret_of_variable(engine, project, variable, write)?),
            _ => None,
        };
        let from = from.ok_or_else(|| {
            Error::invalid(format!("build secret {source:?} has neither a file nor a variable"))
        })?;
        add("--secret", format!("id={id},{from}"));
    }
    let mut allowed = texts(build, "entitlements");
    if build.flag("privileged") {
        allowed.push("security.insecure".to_owned());
    }
    words.extend(allowed.into_iter().map(|entitlement| format!("--allow={entitlement}").into()));
    for key in ["provenance", "sbom"] {
        words.extend(build.get(key).and_then(Node::scalar_text).map(|form| format!("--{key}={form}").into()));
    }
    for key in texts(build, "ssh") {
        let key = key.split_once(": ").map_or(key.clone(), |(id, path)| format!("{id}={path}"));
        words.push(format!("--ssh={key}").into());
    }
    for (key, flag) in [("no_cache", "--no-cache"), ("pull", "--pull")] {
        if build.flag(key) {
            words.push(flag.into());
        }
    }
    words.push(context.into());
    Ok(words)
}

/// Where a build finds the value of a variable: in the environment, or in a file if only an env file has it.
fn secret_of_variable(engine: &Engine, project: &Project, variable: &str, write: bool) -> Result<String> {
    let is_of_caller = config::variable_of_caller(std::ffi::OsStr::new(variable)).is_some();
    let Some(text) = project.variable(variable).filter(|_| !is_of_caller) else {
        return Ok(format!("env={variable}"));
    };
    let path = text_file(engine, project, "secrets", text);
    if write {
        write_text(engine, project, &path, text)?;
    }
    Ok(format!("src={}", path.display()))
}

/// The file of a Dockerfile that stands in the Compose file; with `write` it is there.
fn inline(engine: &Engine, project: &Project, text: &str, write: bool) -> Result<String> {
    let path = text_file(engine, project, "dockerfile", text);
    if write {
        write_text(engine, project, &path, text)?;
    }
    Ok(path.display().to_string())
}
