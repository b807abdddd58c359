//! `ketch compose exec`, `run` and `attach`: what is done with one container of a service; and `pull`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;

use clap::Args;

use crate::attach::packet::Hello;
use crate::base::bytes::Bytes;
use crate::base::mount_syntax;
use crate::cli::compose::open::{self, Shown};
use crate::cli::container_flags::environment;
use crate::cli::labels::labels;
use crate::cli::run::{self, Attachment};
use crate::cli::session::{Exit, Session};
use crate::compose::apply::{ToPull, UpOptions};
use crate::compose::project::label;
use crate::engine::Error;
use crate::engine::exec::ExecRequest;
use crate::engine::start::Start;

/// Run a command in a running container of a service
#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// Leave it running in the background
    #[arg(short, long)]
    detach: bool,

    /// Set a variable (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,

    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,

    /// Do not give it a terminal, not even if this command has one
    #[arg(short = 'T', long = "no-TTY", alias = "no-tty")]
    no_tty: bool,

    /// Pass standard input on (which is done anyway)
    #[arg(short, long)]
    interactive: bool,

    /// Give it a terminal (which is done anyway where there is one)
    #[arg(short, long)]
    tty: bool,

    /// With all capabilities
    #[arg(long)]
    privileged: bool,

    /// User and group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<OsString>,

    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,

    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn exec(session: &mut Session<'_>, args: ExecArgs) -> anyhow::Result<Exit> {
    let project = open::project_or_containers(session, &[])?;
    let container = open::running_container(session, &project, &args.service, args.index)?;
    if args.detach && !session.globals.project.dry_run {
        // As docker compose: unlike `exec -d` it prints nothing.
        let request = ExecRequest {
            command: args.command.into_iter().map(Bytes::from).collect(),
            env: environment(false, &[], &args.env)?,
            user: args.user,
            workdir: args.workdir.map(Bytes::from),
            privileged: args.privileged,
            detached: true,
            ..ExecRequest::default()
        };
        session.engine()?.exec_detached(&container.id, &request)?;
        return Ok(Exit::OK);
    }
    let mut words: Vec<OsString> = vec!["exec".into()];
    if args.detach {
        words.push("--detach".into());
    } else {
        words.push("--interactive".into());
        if !args.no_tty && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
            words.push("--tty".into());
        }
    }
    if args.privileged {
        words.push("--privileged".into());
    }
    for variable in args.env {
        words.extend(["--env".into(), variable]);
    }
    if let Some(user) = args.user {
        words.extend(["--user".into(), user.into()]);
    }
    if let Some(directory) = args.workdir {
        words.extend(["--workdir".into(), directory]);
    }
    words.push(container.id.as_str().into());
    words.extend(args.command);
    open::delegate(session, words)
}

/// Run a command in a new container of a service
///
/// Ports are not published unless asked for; what the service depends on is started first.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(crate) struct RunArgs {
    /// Build the image before
    #[arg(long)]
    build: bool,

    /// Add a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,

    /// Drop a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,

    /// Leave it running in the background and print its ID
    #[arg(short, long)]
    detach: bool,

    /// Replace the entrypoint
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,

    /// Set a variable (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,

    /// Set the variables of a file (can be repeated)
    #[arg(long, value_name = "FILE")]
    env_from_file: Vec<PathBuf>,

    /// Keep standard input open
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    interactive: bool,

    /// Add or replace a label (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Do not give it a terminal, not even if this command has one
    #[arg(short = 'T', long = "no-TTY", alias = "no-tty")]
    no_tty: bool,

    /// Give it a terminal (which is done anyway where there is one)
    #[arg(short, long, hide = true)]
    tty: bool,

    /// Do not start what the service depends on
    #[arg(long)]
    no_deps: bool,

    /// Publish a port (can be repeated)
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,

    /// When to pull the image: always, missing or never
    #[arg(long, value_name = "POLICY", value_parser = ["always", "missing", "never"])]
    pull: Option<String>,

    /// Tell nothing of what goes on; the command's output is shown
    #[arg(short, long)]
    quiet: bool,

    /// Do not show how images are built
    #[arg(long)]
    quiet_build: bool,

    /// Do not show how images are pulled
    #[arg(long)]
    quiet_pull: bool,

    /// Remove containers of services that the files do not have any more
    #[arg(long)]
    remove_orphans: bool,

    /// Remove it when it has ended
    #[arg(long)]
    rm: bool,

    /// Publish the service's ports
    #[arg(short = 'P', long)]
    service_ports: bool,

    /// Give it the service's names on its networks
    #[arg(long)]
    use_aliases: bool,

    /// User and group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Mount a directory, file or volume (can be repeated)
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<OsString>,

    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<String>,

    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,

    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(session: &mut Session<'_>, args: RunArgs) -> anyhow::Result<Exit> {
    let project = open::project(session, std::slice::from_ref(&args.service))?;
    let terminal =
        !args.no_tty && !args.detach && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let shown = Shown {
        quiet_pull: args.quiet_pull || args.quiet,
        quiet_build: args.quiet_build || args.quiet,
        quiet: args.quiet,
        ..Shown::default()
    };
    let id = open::with_shown(session, &project, shown, |compose| {
        let mut dependencies = project.select(std::slice::from_ref(&args.service), true)?;
        dependencies.retain(|name| *name != args.service);
        if !args.no_deps && !dependencies.is_empty() {
            let options = UpOptions {
                services: dependencies,
                remove_orphans: args.remove_orphans,
                ..UpOptions::default()
            };
            let started = compose.up(&options)?;
            compose.wait_for_dependencies(&args.service, &started)?;
        }
        let options = UpOptions { build: args.build, pull: args.pull.clone(), ..UpOptions::default() };
        let _lock = compose.lock()?;
        let mut request = compose.prepare_one_off(&args.service, &options, args.use_aliases)?;
        let number = &random()?;
        let name =
            args.name.clone().unwrap_or_else(|| format!("{}-{}-run-{number}", project.name, args.service));
        if compose.dry_run {
            ["Creating", "Created", "Starting", "Started"]
                .into_iter()
                .for_each(|state| compose.event("Container", &name, state));
            return Ok(None);
        }
        request.name = Some(name);
        request.labels.insert(label::ONE_OFF.to_owned(), "True".to_owned());
        request.terminal = terminal;
        request.interactive = args.interactive && !args.detach;
        request.attached = !args.detach;
        request.to_be_started = true;
        request.auto_remove = args.rm;
        request.restart = None;
        if !args.service_ports {
            request.publish.clear();
        }
        compose.choose_ports(&mut request, None)?;
        request.publish.extend(args.publish.iter().cloned());
        request.env.extend(environment(false, &args.env_from_file, &args.env)?);
        request.cap_add.extend(args.cap_add.iter().cloned());
        request.cap_drop.extend(args.cap_drop.iter().cloned());
        request.labels.extend(labels(&args.label));
        if let Some(entrypoint) = &args.entrypoint {
            let words = shlex::split(entrypoint)
                .ok_or_else(|| Error::invalid("--entrypoint: a quote is not closed"))?;
            request.entrypoint = Some(words.into_iter().map(Bytes::from).collect());
            request.command.clear();
        }
        if !args.command.is_empty() {
            request.command = args.command.iter().map(|word| Bytes::from(word.as_os_str())).collect();
        }
        request.user = args.user.clone().or(request.user);
        request.workdir = args.workdir.clone().map(Bytes::from).or(request.workdir);
        for volume in &args.volume {
            request
                .mounts
                .push(mount_syntax::parse_volume(volume).map_err(|err| Error::invalid(err.to_string()))?);
        }
        Ok(Some(compose.engine.create_container(&request)?))
    })?;
    let Some(id) = id else { return Ok(Exit::OK) };
    let engine = session.engine()?;
    if args.detach {
        engine.start_container(&id, Start::default())?;
        writeln!(session.out, "{id}")?;
        return Ok(Exit::OK);
    }
    let hello = Hello { stdout: true, stderr: true, stdin: args.interactive, ..Hello::default() };
    let attachment = Attachment { hello, terminal, sig_proxy: true };
    run::attached(engine, &id, args.rm, attachment, run::detach_keys(engine, None)?, Vec::new())
}

fn random() -> Result<String, Error> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).map_err(|err| Error::system("make up a name", err.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Attach to the container of a service
#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// Keys that detach; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,

    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,

    /// Pass signals on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,

    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
}

pub(crate) fn attach(session: &mut Session<'_>, args: AttachArgs) -> anyhow::Result<Exit> {
    let project = open::project_or_containers(session, std::slice::from_ref(&args.service))?;
    let container = open::running_container(session, &project, &args.service, args.index)?;
    let mut words = vec!["attach".to_owned(), format!("--sig-proxy={}", args.sig_proxy)];
    if args.no_stdin {
        words.push("--no-stdin".to_owned());
    }
    if let Some(keys) = args.detach_keys {
        words.push(format!("--detach-keys={keys}"));
    }
    words.push(container.id.to_string());
    open::delegate(session, words)
}

/// Get the images of services from their registries
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Go on if an image cannot be pulled
    #[arg(long)]
    ignore_pull_failures: bool,

    /// Leave out services that are built
    #[arg(long)]
    ignore_buildable: bool,

    /// Pull the images of dependencies too
    #[arg(long)]
    include_deps: bool,

    /// always or missing, whatever the files say
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,

    /// As docker compose, which has done so for long: pull several at once
    #[arg(long, hide = true)]
    parallel: bool,

    /// As docker compose: without effect, as --parallel 1 before the verb has one
    #[arg(long, hide = true)]
    no_parallel: bool,

    /// Do not show how images are pulled
    #[arg(short, long)]
    quiet: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn pull(session: &mut Session<'_>, args: PullArgs) -> anyhow::Result<Exit> {
    let project = open::project(session, &args.services)?;
    let mut wanted: Vec<ToPull> = Vec::new();
    let mut skipped: Vec<(String, String)> = Vec::new();
    for name in project.select(&args.services, args.include_deps || args.services.is_empty())? {
        let service = project.service(&name)?;
        let image = project.image(&name);
        if project.provider(&name).is_some() {
            continue;
        }
        let is_built = service.get("build").is_some();
        // The files' `if_not_present` is read as `missing`.
        let policy = args.policy.as_deref().or_else(|| service.str_at("pull_policy")).unwrap_or("always");
        let known = wanted.iter().find(|known| known.image == image);
        let why = match policy {
            _ if service.get("image").is_none() => " - No image to be pulled",
            "never" | "build" => "",
            "missing" if session.engine()?.image(&image).is_ok() => " - Image is already present locally",
            _ if is_built && args.ignore_buildable => " - Image can be built",
            _ if let Some(known) = known => &format!(" - Image is already being pulled by {}", known.service),
            _ if !session.globals.project.dry_run && session.engine()?.obtain_builtin(&image)? => continue,
            _ => {
                let platform = service.str_at("platform").map(str::to_owned);
                let builder = is_built.then(|| name.clone());
                wanted.push(ToPull { service: name, image, platform, builder });
                continue;
            }
        };
        skipped.push((name, format!("Skipped{why}")));
    }
    let shown = Shown { quiet: args.quiet, ..Shown::default() };
    let mut must_be_built: Vec<String> = Vec::new();
    open::with_shown(session, &project, shown, |compose| {
        skipped.iter().for_each(|(name, state)| compose.event("", name, state));
        let mut done = |wanted: &ToPull, result: crate::engine::Result<()>| match (result, &wanted.builder) {
            (Err(_), Some(builder)) => {
                must_be_built.push(builder.clone());
                Ok(())
            }
            (Err(_), None) if args.ignore_pull_failures => Ok(()),
            (result, _) => result,
        };
        Ok(compose.pull(&wanted, &mut done)?)
    })?;
    if !must_be_built.is_empty() {
        session.note("WARNING: Some service image(s) must be built from source by running:");
        session.note(format!("    ketch compose build {}", must_be_built.join(" ")));
    }
    Ok(Exit::OK)
}
