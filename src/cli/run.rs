//! `ketch run`, `ketch create` and `ketch start`.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::attach::client;
use crate::attach::detach::{self, DetachKeys};
use crate::attach::packet::Hello;
use crate::base::id::ContainerId;
use crate::base::limits;
use crate::base::mount_syntax::MountRequest;
use crate::cli::attach::{self, Route};
use crate::cli::autostart;
use crate::cli::called::Called;
use crate::cli::container_flags::{ContainerFlags, KeptFds, PodChoice};
use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::hello;
use crate::cli::session::{Exit, Session};
use crate::cli::targets::{self, Latest, Selection, Target};
use crate::engine::attach::SignalPath;
use crate::engine::remove::Removing;
use crate::engine::request::ContainerRequest;
use crate::engine::start::{Start, is_passthrough};
use crate::engine::{Engine, Error, Kind, config, create};
use crate::sys::socket::{self, Kind as SocketKind};
use crate::sys::tty;

/// Run a command in a new container
///
/// Creates a container from an image, which is pulled if it is not here yet, and starts it. Attached (without
/// `--detach`), the exit code is that of the command; 125 means that ketch failed, 126 that the command
/// could not be executed, 127 that it was not found.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Attach to stdin, stdout or stderr only (can be repeated)
    #[arg(short, long, value_name = "STREAM", value_delimiter = ',')]
    attach: Vec<String>,

    /// Leave it running in the background and print its ID
    #[arg(short, long)]
    detach: bool,

    /// Keys that detach; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// Remove the image, too, when the container has ended, unless others use it; implies --rm
    #[arg(long, conflicts_with = "detach")]
    rmi: bool,

    /// Pass signals on to the command
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,

    #[command(flatten)]
    kept: KeptFds,

    #[command(flatten)]
    container: ContainerFlags,
}

/// Create a container without starting it
///
/// Prints the container's ID. Takes the flags of `run`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Note in `inspect` which of stdin, stdout and stderr are to be attached (can be repeated)
    ///
    /// As with podman, `start --attach` attaches to all output whatever is noted.
    #[arg(short, long, value_name = "STREAM", value_delimiter = ',')]
    attach: Vec<String>,

    #[command(flatten)]
    container: ContainerFlags,
}

/// Start one or more containers
///
/// Starting a container that runs is a success. With `--attach` the exit code is the container's.
#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// Start all containers, or all that match --filter
    #[arg(long)]
    all: bool,

    /// Attach to its output, and pass signals on
    #[arg(short, long)]
    attach: bool,

    /// Keys that detach; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// Start the containers that match this condition (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Attach its input, too
    #[arg(short, long)]
    interactive: bool,

    #[command(flatten)]
    latest: Latest,

    /// Pass signals on to the command
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,

    /// Containers to start, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Which streams a client is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment {
    pub(crate) hello: Hello,
    /// The container has a terminal.
    pub(crate) terminal: bool,
    /// Pass signals on rather than die of them.
    pub(crate) sig_proxy: bool,
}

pub(crate) fn create(session: &mut Session<'_>, mut args: CreateArgs) -> anyhow::Result<()> {
    discard(session, &mut args.container);
    // As Docker has it: whoever starts it will be attached, unless it is `run -d`.
    let mut request = args.container.request(true)?;
    as_called(session, &mut request)?;
    streams(&args.attach, false)?;
    request.attach = shown_streams(session, &args.attach, args.container.process.interactive);
    let engine = session.engine()?;
    if let Some(name) = args.container.obtain_image(engine)? {
        request.typed_image = std::mem::replace(&mut request.image, name);
    }
    make_sources(session.globals.called, &request)?;
    let id = create_container(session.engine()?, &mut request)?;
    warn_of_ports(session, &request);
    writeln!(session.out, "{id}")?;
    Ok(())
}

/// The streams that `inspect` shows as attached: those that were asked for; with docker all, if none were.
fn shown_streams(session: &Session<'_>, asked: &[String], interactive: bool) -> Vec<String> {
    if asked.is_empty() && session.globals.called.is_docker() {
        let streams =
            ["stdin", "stdout", "stderr"].into_iter().filter(|name| interactive || *name != "stdin");
        return streams.map(str::to_owned).collect();
    }
    asked.iter().map(|stream| stream.to_ascii_lowercase()).collect()
}

/// What docker lets pass, where that was called, and what it refuses.
fn as_called(session: &Session<'_>, request: &mut ContainerRequest) -> Result<(), Error> {
    if !session.globals.called.is_docker() {
        return Ok(());
    }
    request.take_as_docker();
    let limits = &request.cgroup.limits;
    limits::check_least(limits.memory, limits.memory_reservation)
        .map_err(|err| Error::invalid(err.to_string()))?;
    // Those of -v come first.
    let mut of_mounts =
        request.mounts.iter().skip(request.binds.len()).filter_map(MountRequest::directory_of_host);
    let is_told =
        |path: &Path| path.is_absolute() || path == "." || path.as_os_str().as_bytes().starts_with(b"./");
    if let Some(path) = of_mounts.find(|path| !is_told(path)) {
        let path = path.display();
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{path}' mount path must be absolute"
        )));
    }
    let is_default = |name: &String| matches!(name.as_str(), "bridge" | "default");
    if !request.network_aliases.is_empty() && request.networks.iter().all(is_default) {
        return Err(Error::invalid("network-scoped aliases are only supported for user-defined networks"));
    }
    let is_there = |file: &&PathBuf| file.symlink_metadata().is_ok();
    if let Some(file) = request.cid_file.as_ref().filter(is_there) {
        let message = "container ID file found, make sure the other container isn't running or delete";
        return Err(Error::invalid(format!("{message} {}", file.display())));
    }
    Ok(())
}

/// Takes away what docker does without, where that was called, and says so.
fn discard(session: &Session<'_>, flags: &mut ContainerFlags) {
    if session.globals.called.is_docker() {
        flags.take_as_docker().iter().for_each(|warning| session.note(format!("WARNING: {warning}")));
    }
}

/// As docker, where that was called: what `-v` names on the host and is not there becomes a directory. (What `--mount`
/// names has to be there.)
fn make_sources(called: Called, request: &ContainerRequest) -> anyhow::Result<()> {
    if called.is_docker() {
        // Those of -v come first.
        let binds = request.mounts.iter().take(request.binds.len());
        binds.filter_map(MountRequest::directory_of_host).try_for_each(create::make_source)?;
    }
    Ok(())
}

/// Tells that ports which were asked for are not published, as they cannot be in this network mode.
fn warn_of_ports(session: &Session<'_>, request: &ContainerRequest) {
    if request.discards_ports() {
        if session.globals.called.is_docker() {
            session.note("WARNING: Published ports are discarded when using host network mode");
            return;
        }
        let modes = "Host, Container, Pod, and None network modes";
        session.note(format!("Port mappings have been discarded as one of the {modes} are in use"));
    }
}

pub(crate) fn run(session: &mut Session<'_>, mut args: RunArgs) -> anyhow::Result<Exit> {
    if session.globals.called.is_docker() && args.detach && !args.attach.is_empty() {
        return Err(Error::invalid("Conflicting options: -a and -d").into());
    }
    discard(session, &mut args.container);
    let flags = &args.container;
    let keep = args.kept.numbers()?;
    // Before there is a container to no purpose.
    config::passed_descriptors(&keep)?;
    let keys = detach_keys(session.engine()?, args.detach_keys.as_deref())?;
    let hello = streams(&args.attach, flags.process.interactive)?;
    let mut request = flags.request(!args.detach)?;
    as_called(session, &mut request)?;
    if args.rmi && flags.lifecycle.rm == Some(false) {
        return Err(Error::invalid("the --rmi option does not work without --rm").into());
    }
    request.auto_remove |= args.rmi;
    request.to_be_started = true;
    if session.globals.called.is_docker() && !args.detach {
        request.attach = shown_streams(session, &args.attach, flags.process.interactive);
    }
    request.hello = Some(hello::variable(session.globals.started_ns));
    if flags.process.tty && flags.process.interactive && !args.detach && !tty::is_terminal(std::io::stdin()) {
        session.lacks_terminal()?;
    }
    let engine = session.engine()?;
    if let Some(name) = flags.obtain_image(engine)? {
        request.typed_image = std::mem::replace(&mut request.image, name);
    }
    let configured = engine.conf().containers.log_driver.as_deref();
    let passthrough = request.log_driver.as_deref().or(configured).filter(|driver| is_passthrough(driver));
    let passthrough = passthrough.map(str::to_owned);
    if passthrough.as_deref() == Some("passthrough") && streams_on_terminal() {
        return Err(Error::invalid("the '--log-driver passthrough' option cannot be used on a TTY")
            .hint("use --log-driver passthrough-tty if the container may do to the terminal what it likes")
            .into());
    }
    // The container has the streams themselves.
    let hello = if passthrough.is_some() { Hello::default() } else { hello };
    make_sources(session.globals.called, &request)?;
    let engine = session.engine()?;
    let id = create_container(engine, &mut request)?;
    warn_of_ports(session, &request);
    if args.detach {
        start_or_discard(engine, &id, request.auto_remove, Start { keep, ..Start::default() })?;
        writeln!(session.out, "{id}")?;
        autostart::tell_once(session, request.restart);
        return Ok(Exit::OK);
    }
    if !args.attach.is_empty() && !hello.stdout && !hello.stderr && passthrough.is_none() {
        // Who takes its input only sees nothing of it else.
        writeln!(session.out, "{id}")?;
        session.out.flush()?;
    }
    let engine = session.engine()?;
    let attachment = Attachment { hello, terminal: flags.process.tty, sig_proxy: args.sig_proxy };
    let exit = attached(engine, &id, request.auto_remove, attachment, keys, keep).inspect_err(|err| {
        if request.auto_remove && output_is_lost(err) {
            // Nobody hears it any more, and nobody would remove it. That it cannot be is of no interest behind `| head`.
            engine.remove_container(&id, &Removing { force: true, ..Removing::default() }).ok();
        }
    })?;
    if args.rmi {
        match engine.remove_image(&request.image, false) {
            // Others use it, or it has other names; or somebody has removed it meanwhile.
            Err(err) if matches!(err.kind, Kind::Conflict | Kind::NotFound) => {}
            other => drop(other?),
        }
    }
    Ok(exit)
}

pub(crate) fn start(session: &mut Session<'_>, args: StartArgs) -> anyhow::Result<Exit> {
    let selection = Selection {
        all: args.all,
        filters: &args.filter,
        narrows: true,
        ..Selection::of_names(&args.containers, &args.latest)
    };
    let mut targets = selection.targets(session)?;
    if args.all {
        // Those that run are as they should be, and not named.
        let engine = session.engine()?;
        targets.retain(|target| !target.id.as_ref().is_ok_and(|id| engine.runs(id).unwrap_or(false)));
    }
    if !args.attach && !args.interactive {
        return start_each(session, targets);
    }
    let (Some(target), true) = (targets.pop(), targets.is_empty()) else {
        return Err(Error::invalid("you cannot start and attach multiple containers at once").into());
    };
    let engine = session.engine()?;
    let keys = detach_keys(engine, args.detach_keys.as_deref())?;
    let id = target.id?;
    let spec = engine.container_spec(&id)?;
    let hello = match is_passthrough(&spec.log.driver) {
        true => Hello::default(),
        false => Hello {
            stdout: true,
            stderr: true,
            stdin: args.interactive && spec.process.open_stdin,
            ..Hello::default()
        },
    };
    let attachment = Attachment { hello, terminal: spec.process.terminal, sig_proxy: args.sig_proxy };
    match attached(engine, &id, false, attachment, keys.clone(), Vec::new()) {
        // It runs already, as with `attach`.
        Err(err) if is_conflict(&err) && engine.runs(&id).unwrap_or(false) => {
            attach::to_running(engine, &id, args.interactive, keys, args.sig_proxy)
        }
        other => other,
    }
}

/// Starts one after the other, in their order: so that one whose namespaces another uses is there.
fn start_each(session: &mut Session<'_>, targets: Vec<Target>) -> anyhow::Result<Exit> {
    let mut failed = Vec::new();
    for target in targets {
        let shown = target.shown.clone();
        let started = targets::for_each(session, vec![target], |engine, id| {
            match engine.start_container(id, Start::default()) {
                // Of all that can be in the way only that it runs already is what was wished for.
                Err(err) if err.kind == Kind::Conflict && engine.runs(id).unwrap_or(false) => Ok(()),
                other => other.map(drop),
            }
        });
        match started {
            Err(err) if err.is::<AlreadyReported>() => failed.push(shown),
            other => other?,
        }
    }
    if failed.is_empty() {
        return Ok(Exit::OK);
    }
    if session.globals.called.is_docker() {
        session.note(format!("Error: failed to start containers: {}", failed.join(", ")));
    }
    Err(AlreadyReported { code: FAILED }.into())
}

fn is_conflict(err: &anyhow::Error) -> bool {
    err.downcast_ref::<Error>().is_some_and(|err| err.kind == Kind::Conflict)
}

/// Whether nobody reads what the container writes, or the disk takes no more of it. A terminal that was closed is none
/// of both: who closes a window has detached.
fn output_is_lost(err: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, StorageFull};
    err.downcast_ref::<std::io::Error>().is_some_and(|err| matches!(err.kind(), BrokenPipe | StorageFull))
}

fn streams_on_terminal() -> bool {
    tty::is_terminal(std::io::stdin())
        || tty::is_terminal(std::io::stdout())
        || tty::is_terminal(std::io::stderr())
}

/// Creates the container, and the pod that is to be made for it, and writes its ID to the file that was asked for.
fn create_container(engine: &Engine, request: &mut ContainerRequest) -> anyhow::Result<ContainerId> {
    let PodChoice::New(pod) = PodChoice::take(request)? else { return create_in_file(engine, request) };
    let pod = engine.create_pod(&pod)?;
    create_in_file(engine, request).inspect_err(|_| {
        // It was made for nothing.
        engine.remove_pod(&pod, &Removing { force: true, ..Removing::default() }).ok();
    })
}

fn create_in_file(engine: &Engine, request: &ContainerRequest) -> anyhow::Result<ContainerId> {
    let file = match &request.cid_file {
        Some(path) => Some(open_cid_file(path)?),
        None => None,
    };
    let created = engine.create_container(request);
    match (created, file) {
        (Ok(id), Some(mut file)) => {
            let path = request.cid_file.as_deref().unwrap_or(Path::new("")).display().to_string();
            write_cid_file(&mut file, &id).map_err(|err| {
                engine.discard_container(&id);
                Error::system(format!("write {path}"), err)
            })?;
            Ok(id)
        }
        (Err(err), Some(file)) => {
            // An empty one is ours: nothing was in it before.
            if file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0) {
                request.cid_file.iter().for_each(|path| drop(std::fs::remove_file(path)));
            }
            Err(err.into())
        }
        (created, None) => Ok(created?),
    }
}

/// Opens the file for the ID, as long as nothing is made that would be left behind if it cannot be. One that
/// is there is kept until there is another ID: podman and its units overwrite it.
fn open_cid_file(path: &Path) -> Result<std::fs::File, Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A FIFO without a reader is an error and holds nobody up.
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).custom_flags(libc::O_NONBLOCK).open(path);
    file.map_err(|err| Error::system(format!("create {}", path.display()), err))
}

fn write_cid_file(file: &mut std::fs::File, id: &ContainerId) -> std::io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(id.as_str().as_bytes())
}

/// Starts; a container that was to be removed anyway is not left behind if it does not start.
fn start_or_discard(engine: &Engine, id: &ContainerId, discard: bool, start: Start) -> Result<i32, Error> {
    engine.start_container(id, start).map_err(|err| {
        if discard {
            // The monitor does it where there is one; where none came up it is ours to do.
            engine.discard_container(id);
        } else if !engine.store().containers().exists(id) {
            let message = format!("container {} was removed or replaced before it ran", id.short());
            return Error::new(Kind::NotFound, message);
        }
        err
    })
}

/// Starts a container with a client attached from the first byte on, and stays with it.
pub(crate) fn attached(
    engine: &Engine,
    id: &ContainerId,
    discard: bool,
    attachment: Attachment,
    detach_keys: DetachKeys,
    keep: Vec<i32>,
) -> anyhow::Result<Exit> {
    // Opened now: a container that is removed at its end can be signalled until then.
    let signals = SignalPath::new(engine.store().containers().open(id)?);
    let exit = attached_to(attachment, detach_keys, |start| {
        start_or_discard(engine, id, discard, Start { keep, ..start })?;
        Ok(Route::Monitor(signals))
    })?;
    Ok(exit.unwrap_or(Exit::OK))
}

/// Attaches to what `start` starts, from the first byte on, and stays until it ends; `None` if the user
/// has detached. `start` answers how signals reach what it has started.
pub(crate) fn attached_to(
    attachment: Attachment,
    detach_keys: DetachKeys,
    start: impl FnOnce(Start) -> Result<Route, Error>,
) -> anyhow::Result<Option<Exit>> {
    let Attachment { hello, terminal, sig_proxy } = attachment;
    let (socket, theirs) = socket::pair(SocketKind::Packet)?;
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    client::greet_with_outputs(socket.as_fd(), hello, [stdout.as_fd(), stderr.as_fd()])?;
    let window = if terminal { tty::window_size(std::io::stdin().as_fd()).ok() } else { None };
    let route = start(Start { client: Some(theirs), window, keep: Vec::new() })?;
    attach::pump(socket, terminal, hello.stdin, detach_keys, sig_proxy.then_some(route))
}

/// `--detach-keys`.
pub(crate) fn detach_keys(engine: &Engine, text: Option<&str>) -> Result<DetachKeys, Error> {
    text.or(engine.conf().engine.detach_keys.as_deref())
        .unwrap_or(detach::DEFAULT)
        .parse()
        .map_err(|err: detach::DetachKeysError| Error::invalid(err.to_string()))
}

/// `--attach` values; without any, output and, if it is interactive, input.
fn streams(names: &[String], interactive: bool) -> Result<Hello, Error> {
    if names.is_empty() {
        return Ok(Hello { stdout: true, stderr: true, stdin: interactive, ..Hello::default() });
    }
    let mut hello = Hello::default();
    for name in names {
        match name.to_ascii_lowercase().as_str() {
            "stdin" => hello.stdin = true,
            "stdout" => hello.stdout = true,
            "stderr" => hello.stderr = true,
            _ => {
                return Err(Error::invalid(format!(
                    "invalid stream {name:?} for --attach - must be one of stdin, stdout, or stderr"
                )));
            }
        }
    }
    Ok(hello)
}
