//! `ketch kube play`, `kube down` and `kube generate`.

mod apply;
mod generate;
mod images;

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::base::bytes::Bytes;
use crate::base::pod::PodId;
use crate::cli::pull::RegistryArgs;
use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::engine::auto_update::unit_of_caller;
use crate::engine::pod::Pod;
use crate::engine::{self, Engine, Error, Kind, config, remote};
use crate::kube::apply::{Down, Play, Played};
use crate::kube::plan::Options;
use crate::kube::read;
use crate::kube::types::Object;
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::{fs, limited};

pub(crate) use self::apply::{ApplyArgs, run as apply};
pub(crate) use self::generate::{GenerateArgs, run as generate};
use self::images::Getter;

/// Between two looks at whether containers have ended.
const LOOK: Duration = Duration::from_millis(100);

/// Run the pods of a Kubernetes manifest
///
/// Takes Pods, Deployments, DaemonSets and Jobs, each of which becomes one pod, and ConfigMaps, Secrets and
/// PersistentVolumeClaims, which become variables, secrets and volumes. Other kinds are left out. Prints what it has made.
/// An image that is not here is built if there is a directory of its name with a Containerfile or Dockerfile, else
/// pulled.
#[derive(Args, Debug)]
pub(crate) struct PlayArgs {
    /// Add an annotation to the pods (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,

    /// Build images that are here, too; `=false` builds none
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    build: Option<bool>,

    /// File with further ConfigMaps (can be repeated)
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    configmap: Vec<PathBuf>,

    /// Look for the directories of images here, not in the working directory
    #[arg(long, value_name = "DIRECTORY", requires = "build")]
    context_dir: Option<PathBuf>,

    /// Take everything down instead, as `kube down`
    #[arg(long, conflicts_with_all = ["replace", "wait"])]
    down: bool,

    /// With --down or --replace: remove volumes as well
    #[arg(long)]
    force: bool,

    /// Address of a pod on its network, one for each pod (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    ip: Vec<IpAddr>,

    /// How output is logged, as for `run`
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,

    /// Option of the log (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,

    /// Hardware address of a pod, one for each pod (can be repeated)
    #[arg(long, value_name = "MAC", value_delimiter = ',')]
    mac_address: Vec<String>,

    /// Network of the pods, or a mode as for `run` (can be repeated)
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,

    /// Leave the images' /etc/hostname as it is
    #[arg(long)]
    no_hostname: bool,

    /// Leave the images' /etc/hosts as it is
    #[arg(long)]
    no_hosts: bool,

    /// Publish a port, in place of what the manifest says of it (can be repeated)
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    publish: Vec<String>,

    /// Publish ports without a `hostPort` as well, at the same number
    #[arg(long)]
    publish_all: bool,

    /// Do not show how images are pulled
    #[arg(short, long)]
    quiet: bool,

    /// Take down what has these names first
    #[arg(long)]
    replace: bool,

    /// Directory of the seccomp profiles that manifests name
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/kubelet/seccomp")]
    seccomp_profile_root: PathBuf,

    /// For units of systemd: tell it that the pods run, wait until they have ended, and stop them at SIGTERM
    ///
    /// Does nothing where no service manager waits to be told (NOTIFY_SOCKET).
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    service_container: bool,

    /// With --service-container: fail if all, if any, or if none of the containers have failed
    #[arg(long, value_name = "all|any|none", value_parser = ["all", "any", "none"], default_value = "none", hide_possible_values = true)]
    service_exit_code_propagation: String,

    /// Start the pods; `=false` only makes them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    start: bool,

    /// User namespace of the pods, as for `run`
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,

    /// Wait until all containers have ended, or for an interrupt, and take everything down, volumes too
    #[arg(short, long)]
    wait: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    /// File or address (http, https) of the manifest; - for standard input
    #[arg(value_name = "KUBEFILE")]
    file: PathBuf,
}

/// Take down what `kube play` has made of a manifest
///
/// Stops and removes its pods, and removes its secrets. What is not there is no failure.
#[derive(Args, Debug)]
pub(crate) struct DownArgs {
    /// Remove volumes, too
    #[arg(long)]
    force: bool,

    /// File or address (http, https) of the manifest; - for standard input
    #[arg(value_name = "KUBEFILE")]
    file: PathBuf,
}

/// `kube down`.
pub(crate) fn down(session: &mut Session<'_>, args: DownArgs) -> anyhow::Result<()> {
    let objects = objects(&args.file)?;
    take_down(session, &objects, args.force)
}

/// `kube play`.
pub(crate) fn play(session: &mut Session<'_>, args: PlayArgs) -> anyhow::Result<Exit> {
    let mut objects = objects(&args.file)?;
    if args.down {
        return take_down(session, &objects, args.force).map(|()| Exit::OK);
    }
    for text in &args.annotation {
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(UsageError::new(format!("annotation {text:?} must include an '=' sign")).into());
        };
        for object in &mut objects {
            if let Object::Pod(pod) = object {
                pod.meta.annotations.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    let mut maps = BTreeMap::new();
    for file in &args.configmap {
        for object in self::objects(file)? {
            let Object::ConfigMap(map) = object else {
                let message = format!(
                    "unable to read YAML as Kube ConfigMap: {}: it has other objects",
                    file.display()
                );
                return Err(Error::invalid(message).into());
            };
            maps.insert(map.name, map.data);
        }
    }
    if args.replace {
        take_down(session, &objects, args.force)?;
    }
    let is_service = args.service_container && args.start && config::notify_socket().is_some();
    if args.wait {
        writeln!(session.out, "Use ctrl+c to clean up or wait for pods to exit")?;
        session.out.flush()?;
    }
    let interrupts = Interrupts::default();
    let mut played = Played::default();
    let result = make(session, &args, &objects, maps, &interrupts, &mut played);
    if result.is_ok() {
        show(session, &played)?;
    }
    let failed: usize = played.pods.iter().map(|pod| pod.failed.len()).sum();
    let pods: Vec<PodId> = played.pods.iter().map(|pod| pod.id.clone()).collect();
    let attends = result.is_ok() && (args.wait || (is_service && failed == 0));
    if attends {
        if is_service {
            config::tell_ready();
        }
        wait(session.engine()?, &pods, &interrupts)?;
    }
    let mut cleaned = Ok(());
    let signal = interrupts.signal().filter(|_| !attends);
    if args.wait || signal.is_some() {
        writeln!(session.out, "Cleaning up containers, pods, and volumes...")?;
        cleaned = match &result {
            Ok(()) if signal.is_none() => take_down(session, &objects, true),
            // What has the names of the manifest then may be somebody else's.
            _ => {
                let down = crate::kube::apply::undo(session.engine()?, &played);
                show_down(session, down)
            }
        };
    }
    if let Some(signal) = signal {
        cleaned?;
        return Ok(Exit(u8::try_from(128 + signal).unwrap_or(1)));
    }
    result?;
    cleaned?;
    if is_service && !args.wait && failed == 0 {
        end_service(session, &played, &args.service_exit_code_propagation)?;
        return Ok(Exit::OK);
    }
    match failed {
        0 => Ok(Exit::OK),
        failed => Err(Error::new(Kind::System, format!("failed to start {failed} containers")).into()),
    }
}

/// The signals that ask for the end of what is being made, or waited for. They end this process until the first thing is
/// made: from then on they are answered.
#[derive(Debug, Default)]
struct Interrupts {
    signals: OnceCell<Option<SignalFd>>,
    seen: Cell<Option<i32>>,
}

impl Interrupts {
    /// Whether one has come.
    fn have_come(&self) -> bool {
        let open = || SignalFd::new(&SignalSet::of(&[libc::SIGINT, libc::SIGTERM])).ok();
        if let Some(signals) = self.signals.get_or_init(open)
            && let Ok(Some(signal)) = signals.read()
        {
            self.seen.set(Some(signal));
        }
        self.seen.get().is_some()
    }

    /// The one that has come.
    fn signal(&self) -> Option<i32> {
        self.seen.get()
    }
}

fn make(
    session: &Session<'_>,
    args: &PlayArgs,
    objects: &[Object],
    maps: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    interrupts: &Interrupts,
    played: &mut Played,
) -> anyhow::Result<()> {
    let options = Options {
        networks: args.network.clone(),
        publish: args.publish.clone(),
        publish_all: args.publish_all,
        userns: args.userns.clone(),
        no_hosts: args.no_hosts,
        no_hostname: args.no_hostname,
        log_driver: args.log_driver.clone(),
        log_options: args.log_opt.clone(),
        seccomp_root: args.seccomp_profile_root.clone(),
        unit: unit_of_caller(),
        create_command: std::env::args_os().map(Bytes::from).collect(),
    };
    let engine = session.engine()?;
    let here = std::env::current_dir().map_err(|err| Error::system("look up the working directory", err))?;
    let images = Getter {
        engine,
        globals: session.globals,
        registry: &args.registry,
        build: args.build,
        directory: args.context_dir.as_ref().map_or_else(|| here.clone(), |directory| here.join(directory)),
        quiet: args.quiet,
    };
    let play = Play {
        engine,
        options: &options,
        images: &images,
        warn: &|text| session.warn(text),
        addresses: &args.ip,
        macs: &args.mac_address,
        start: args.start,
        interrupted: &|| interrupts.have_come(),
    };
    play.play(objects, maps, played)?;
    Ok(())
}

/// Prints what was made, as podman does.
fn show(session: &mut Session<'_>, played: &Played) -> anyhow::Result<()> {
    for (title, names) in [("Volumes:", &played.volumes), ("Secrets:", &played.secrets)] {
        if !names.is_empty() {
            writeln!(session.out, "{title}")?;
        }
        for name in names {
            writeln!(session.out, "{name}")?;
        }
    }
    for pod in &played.pods {
        writeln!(session.out, "Pod:\n{}", pod.id)?;
        match pod.containers.len() {
            0 => continue,
            1 => writeln!(session.out, "Container:")?,
            _ => writeln!(session.out, "Containers:")?,
        }
        for id in &pod.containers {
            writeln!(session.out, "{id}")?;
        }
        if !pod.failed.is_empty() {
            writeln!(session.out)?;
            session.out.flush()?;
        }
        for err in &pod.failed {
            session.note(format_args!("starting container: {}", err.whole()));
        }
        writeln!(session.out)?;
    }
    session.out.flush()?;
    Ok(())
}

/// Takes down what the objects say, and prints what was.
fn take_down(session: &mut Session<'_>, objects: &[Object], force: bool) -> anyhow::Result<()> {
    let down = crate::kube::apply::down(session.engine()?, objects, force)?;
    show_down(session, down)
}

fn show_down(session: &mut Session<'_>, down: Down) -> anyhow::Result<()> {
    let Down { stopped, removed, secrets, volumes, failed } = down;
    let ids = |ids: &[PodId]| ids.iter().map(PodId::to_string).collect::<Vec<_>>();
    for (title, names) in [
        ("Pods stopped:", ids(&stopped)),
        ("Pods removed:", ids(&removed)),
        ("Secrets removed:", secrets),
        ("Volumes removed:", volumes),
    ] {
        writeln!(session.out, "{title}")?;
        for name in names {
            writeln!(session.out, "{name}")?;
        }
    }
    session.outcome_of(failed)
}

/// Stops the pods of a service that is to end, and answers for those that have failed.
fn end_service(session: &mut Session<'_>, played: &Played, propagation: &str) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let containers = || played.pods.iter().flat_map(|pod| &pod.containers);
    let code = |id| engine.container_summary(id).ok().map(|container| container.status.exit_code());
    // Those that are stopped now have not failed.
    let failed = containers().filter(|id| code(*id).is_some_and(|code| code != 0)).count();
    let mut errors = Vec::new();
    for pod in &played.pods {
        match engine.stop_pod(&pod.id, None) {
            Err(err) if err.kind == Kind::NotFound => {}
            stopped => errors.extend(stopped?),
        }
    }
    let fails = match propagation {
        "all" => failed > 0 && failed == containers().count(),
        "any" => failed > 0,
        _ => false,
    };
    if fails {
        errors.push(Error::new(Kind::System, format!("{failed} containers have failed")));
    }
    session.outcome_of(errors)
}

/// Waits until no container of the pods runs or is about to, or for a signal.
fn wait(engine: &Engine, pods: &[PodId], interrupts: &Interrupts) -> anyhow::Result<()> {
    loop {
        if interrupts.have_come() {
            return Ok(());
        }
        if pods.iter().all(|id| is_over(engine.pod_details(id))) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether no container of a pod runs or is about to. One that is gone is over; of one that cannot be looked at now
/// nothing is known, and it is looked at again: to give up would leave all of them running.
fn is_over(found: engine::Result<Pod>) -> bool {
    match found {
        Ok(pod) => {
            let mut of_pod = pod.containers.iter().filter(|container| !container.is_infra());
            of_pod.all(|container| !container.is_up() && !container.will_restart())
        }
        Err(err) => err.kind == Kind::NotFound,
    }
}

/// The objects of a manifest.
fn objects(file: &Path) -> engine::Result<Vec<Object>> {
    let text = text(file)?;
    read::objects(&text).map_err(|fault| {
        let name = if file.as_os_str() == "-" { "standard input".into() } else { file.to_string_lossy() };
        let (line, column) = (fault.at.line, fault.at.column);
        Error::invalid(format!(
            "unable to read YAML as Kubernetes object: {name}:{line}:{column}: {}",
            fault.message
        ))
    })
}

/// The text of a file, of standard input, or at an address.
fn text(file: &Path) -> engine::Result<String> {
    /// More than any manifest that people write.
    const MAX_BYTES: usize = 64 << 20;
    let named = file.to_string_lossy();
    let bytes = if named == "-" {
        limited::read_all(std::io::stdin().lock(), MAX_BYTES)
            .map_err(|err| Error::system("read standard input", err))?
    } else if named.starts_with("http://") || named.starts_with("https://") {
        let mut buffer = limited::Buffer::new(MAX_BYTES);
        remote::download(&named, &mut buffer)?;
        buffer.into_bytes()
    } else {
        fs::read_named(file).map_err(|err| Error::system(format!("open {named}"), err))?
    };
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{named}: it is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_over_when_it_is_gone_and_not_when_it_cannot_be_looked_at() {
        assert!(is_over(Err(Error::not_found("no such pod"))));
        assert!(!is_over(Err(Error::new(Kind::System, "too many open files"))));
    }
}
