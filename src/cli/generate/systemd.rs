//! `ketch generate systemd`: units that run a container, or a pod and its containers, as podman writes them.
//!
//! ```text
//! as it is   start NAME   Type=forking   the container stays when the service is stopped
//! --new      run …        Type=notify    the words it was made with; each start makes it anew
//! ```

mod maker;
mod pod;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value};

use crate::base::id::ContainerId;
use crate::base::spec::{ContainerSpec, RestartPolicy};
use crate::base::version::VERSION;
use crate::cli::format::json as json_format;
use crate::cli::generate::systemd::maker::{Maker, escaped};
use crate::cli::session::Session;
use crate::cli::tail;
use crate::cli::unit_text::{command_line, program, quoted};
use crate::cli::usage::UsageError;
use crate::engine::{Engine, Error, Kind};

/// How much longer than the container systemd waits for its end, in seconds.
const GRACE_S: u32 = 60;
/// Values of `Restart=` (systemd.service(5)).
const POLICIES: &[&str] =
    &["no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always"];

/// Print a unit of systemd that runs a container, or units for a pod and its containers
///
/// The unit starts the container that is there. With --new it makes one of the same kind at each start, from the words
/// of `run` or `create`, and removes it when the service is stopped: that unit can be taken to another machine. Put it
/// below ~/.config/systemd/user (--files writes one), then: systemctl --user daemon-reload; systemctl --user enable
/// --now NAME.service.
#[derive(Args, Debug)]
pub(crate) struct SystemdArgs {
    /// Start after this unit (can be repeated)
    #[arg(long, value_name = "UNIT")]
    after: Vec<String>,

    /// What the unit's name begins with
    #[arg(long, value_name = "TEXT", default_value = "container")]
    container_prefix: String,

    /// Set an environment variable of the unit (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// Write the unit to a file in this directory, and print the file's name
    #[arg(short, long)]
    files: bool,

    /// json prints an object with the unit, or its file, under its name
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Call containers and pods by their names, not by their IDs
    #[arg(short, long)]
    name: bool,

    /// Make a new container at each start, and remove it at the end
    #[arg(long)]
    new: bool,

    /// Leave out the lines that say what wrote it, and when
    #[arg(long)]
    no_header: bool,

    /// Require this unit (can be repeated)
    #[arg(long, value_name = "UNIT")]
    requires: Vec<String>,

    /// When systemd starts it again: no, on-success, on-failure, on-abnormal, on-watchdog, on-abort, always
    #[arg(long, value_name = "POLICY")]
    restart_policy: Option<String>,

    /// What the name of a pod's unit begins with
    #[arg(long, value_name = "TEXT", default_value = "pod")]
    pod_prefix: String,

    /// Wait this many seconds before that
    #[arg(long, value_name = "SECONDS")]
    restart_sec: Option<u32>,

    /// What stands between the prefix and the name
    #[arg(long, value_name = "TEXT", default_value = "-")]
    separator: String,

    /// Seconds that the start may take
    #[arg(long, value_name = "SECONDS")]
    start_timeout: Option<u32>,

    /// Seconds before a container that does not end is killed; the container's own unless given
    #[arg(short = 't', long, alias = "time", value_name = "SECONDS")]
    stop_timeout: Option<u32>,

    /// Write a unit for many containers, NAME@.service (with --new)
    #[arg(long)]
    template: bool,

    /// Want this unit (can be repeated)
    #[arg(long, value_name = "UNIT")]
    wants: Vec<String>,

    /// The container or pod, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl SystemdArgs {
    fn makes_anew(&self) -> bool {
        self.new || self.template
    }

    /// The name of a unit, without `.service`.
    fn base(&self, prefix: &str, name: &str) -> String {
        match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}{}{name}", self.separator),
        }
    }
}

/// `generate systemd`.
pub(crate) fn run(session: &mut Session<'_>, args: SystemdArgs) -> anyhow::Result<()> {
    if let Some(format) = args.format.as_deref().filter(|format| *format != "json") {
        return Err(UsageError::new(format!("unknown --format argument: {format}")).into());
    }
    if let Some(policy) = args.restart_policy.as_deref().filter(|policy| !POLICIES.contains(policy)) {
        return Err(UsageError::new(format!("{policy} is not a valid restart policy")).into());
    }
    let engine = session.engine()?;
    let root = session.globals.own_root()?;
    let units = match engine.container(&args.container) {
        Ok(id) => vec![of_container(session, root.as_deref(), &args, &id, None)?],
        Err(missing) if missing.kind == Kind::NotFound => match engine.pod(&args.container) {
            Ok(id) => pod::units(session, root.as_deref(), &args, &id)?,
            Err(err) if err.kind == Kind::NotFound => {
                let message =
                    format!("{} does not refer to a container or pod: {err}: {missing}", args.container);
                return Err(Error::not_found(message).into());
            }
            Err(err) => return Err(err.into()),
        },
        Err(err) => return Err(err.into()),
    };
    let header = format!(
        "# autogenerated by Ketch {VERSION}\n# {}\n",
        jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Z %Y")
    );
    let mut document = Map::new();
    for unit in &units {
        let text = unit.text(&args, if args.no_header { "" } else { &header });
        let shown = if args.files { written(&unit.file(), &text)? } else { text };
        if args.format.is_some() {
            document.insert(unit.base.clone(), Value::String(shown));
            continue;
        }
        session.out.write_all(shown.as_bytes())?;
        if args.files {
            session.out.write_all(b"\n")?;
        }
    }
    if args.format.is_some() {
        let json = json_format::pretty(&Value::Object(document), &[], " ");
        return json_format::print(session, &json);
    }
    Ok(())
}

/// The unit of a container; of one that is of a pod with this unit.
fn of_container(
    session: &Session<'_>,
    root: Option<&Path>,
    args: &SystemdArgs,
    id: &ContainerId,
    pod: Option<&str>,
) -> anyhow::Result<Unit> {
    let engine = session.engine()?;
    let spec = engine.container_spec(id)?;
    if !args.makes_anew() && spec.restart != RestartPolicy::No {
        session.warn(format!(
            "container {id} has a restart policy of its own, which competes with systemd's when the machine goes down; make it without --restart"
        ));
    }
    Unit::of(engine, root, args, id, &spec, pod)
}

/// Writes the unit to a file here. Returns the file's path.
fn written(name: &str, text: &str) -> anyhow::Result<String> {
    let path = std::env::current_dir().context("find the working directory")?.join(name);
    fs::write(&path, text).map_err(|err| Error::system(format!("write {}", path.display()), err))?;
    Ok(path.to_string_lossy().into_owned())
}

/// What stands in a unit, beside what the flags say literally.
#[derive(Debug)]
struct Unit {
    /// Its name, without `.service`.
    base: String,
    /// It is one for many containers, NAME@.service.
    is_template: bool,
    /// The directory that the store is in.
    store: PathBuf,
    /// What it has to do with other units of the same pod.
    binds: Vec<(&'static str, String)>,
    /// `Restart=`.
    restart: String,
    /// `StartLimitBurst=`.
    restarts: Option<u32>,
    /// Seconds that the container has to end.
    stop_timeout_s: u32,
    commands: Commands,
}

/// Seconds as `-t` of `stop` takes them.
fn seconds_of(stop_timeout_s: u32) -> String {
    if stop_timeout_s == u32::MAX { "-1".into() } else { stop_timeout_s.to_string() }
}

/// How systemd starts and stops the container.
#[derive(Debug, PartialEq, Eq)]
struct Commands {
    /// What is done before the start.
    prepare: Option<String>,
    start: String,
    stop: String,
    /// What is done after the end, whatever brought it.
    clean: String,
    /// `Type=` and what belongs to it.
    kind: String,
}

impl Unit {
    fn of(
        engine: &Engine,
        root: Option<&Path>,
        args: &SystemdArgs,
        id: &ContainerId,
        spec: &ContainerSpec,
        pod: Option<&str>,
    ) -> anyhow::Result<Self> {
        let own_name = engine.container_name(id)?;
        let name = if args.name { own_name.as_str() } else { id.as_str() };
        let base = args.base(&args.container_prefix, name);
        let stop_timeout_s = args.stop_timeout.unwrap_or(spec.stop.timeout_s);
        let words: Vec<OsString> =
            spec.create_command.iter().map(|word| word.as_os_str().to_owned()).collect();
        let mut made = Made::of(&words);
        let mut globals = Vec::new();
        if let Some(made) = &mut made {
            made.rename(&own_name);
            globals = std::mem::take(&mut made.globals);
        }
        add_root(&mut globals, root)?;
        let program = quoted(program(words.first())?.as_os_str())?;
        let (mut restart, mut restarts) = ("on-failure".to_owned(), None);
        let commands = if args.makes_anew() {
            let mut made = made.ok_or_else(|| {
                let message = format!("cannot use --new on container {name:?}: no create command found");
                Error::invalid(message).hint("only containers made by `run` or `create` have one")
            })?;
            if made.has_restart_policy {
                (restart, restarts) = restart_of(spec.restart);
            }
            if let Some(pod) = pod {
                made.join(pod);
            }
            made.commands(&program, &globals, stop_timeout_s, args.template)
        } else {
            let start = as_it_is(&program, &globals, name, stop_timeout_s, spec.monitor_pid_file.as_deref());
            start?
        };
        if let Some(policy) = &args.restart_policy {
            (restart, restarts) = (policy.clone(), None);
        }
        let store = engine.store().root().to_path_buf();
        let pod = pod.map(|pod| format!("{pod}.service"));
        let binds = pod.map(|pod| vec![("BindsTo", pod.clone()), ("After", pod)]).unwrap_or_default();
        let is_template = args.template;
        Ok(Self { base, is_template, store, binds, restart, restarts, stop_timeout_s, commands })
    }

    /// The file's name.
    fn file(&self) -> String {
        format!("{}{}.service", self.base, if self.is_template { "@" } else { "" })
    }

    /// The unit.
    fn text(&self, args: &SystemdArgs, header: &str) -> String {
        let mut text =
            format!("# {}\n{header}\n[Unit]\nDescription=Ketch {}.service", self.file(), self.base);
        text.push_str(if self.is_template { " for %I\n" } else { "\n" });
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a text does not fail.
            writeln!(text, "{key}={value}").ok();
        };
        line("Documentation", &"man:ketch-generate-systemd(1)");
        line("Wants", &"network-online.target");
        line("After", &"network-online.target");
        line("RequiresMountsFor", &self.store.display());
        for (key, units) in &self.binds {
            line(key, units);
        }
        for (key, units) in [("Wants", &args.wants), ("After", &args.after), ("Requires", &args.requires)] {
            if !units.is_empty() {
                line(key, &units.join(" "));
            }
        }
        line("\n[Service]\nEnvironment", &"PODMAN_SYSTEMD_UNIT=%n");
        for variable in &args.env {
            let needs_quotes = variable.contains([' ', '\t']);
            let shown = if needs_quotes { format!("\"{variable}\"") } else { variable.clone() };
            line("Environment", &shown);
        }
        line("Restart", &self.restart);
        if let Some(restarts) = self.restarts {
            line("StartLimitBurst", &restarts);
        }
        if let Some(seconds) = args.restart_sec {
            line("RestartSec", &seconds);
        }
        if let Some(seconds) = args.start_timeout {
            line("TimeoutStartSec", &seconds);
        }
        match self.stop_timeout_s {
            u32::MAX => line("TimeoutStopSec", &"infinity"),
            seconds => line("TimeoutStopSec", &seconds.saturating_add(GRACE_S)),
        }
        if let Some(prepare) = &self.commands.prepare {
            line("ExecStartPre", prepare);
        }
        line("ExecStart", &self.commands.start);
        line("ExecStop", &self.commands.stop);
        line("ExecStopPost", &self.commands.clean);
        line("Type", &self.commands.kind);
        line("\n[Install]\nWantedBy", &"default.target");
        text
    }
}

/// What systemd does in place of a restart policy, and how often at most.
fn restart_of(policy: RestartPolicy) -> (String, Option<u32>) {
    match policy {
        RestartPolicy::No => ("no".into(), None),
        RestartPolicy::Always | RestartPolicy::UnlessStopped => ("always".into(), None),
        RestartPolicy::OnFailure { max } => ("on-failure".into(), (max > 0).then_some(max)),
    }
}

/// The words of `start`, `stop` and `rm`.
fn line_of(program: &str, globals: &[String], words: &[&str]) -> String {
    let words = words.iter().map(|word| (*word).to_owned());
    command_line(
        &std::iter::once(program.to_owned()).chain(globals.iter().cloned()).chain(words).collect::<Vec<_>>(),
    )
}

/// The container is there and stays.
fn as_it_is(
    program: &str,
    globals: &[String],
    name: &str,
    stop_timeout_s: u32,
    pid_file: Option<&Path>,
) -> anyhow::Result<Commands> {
    let seconds = seconds_of(stop_timeout_s);
    let start = line_of(program, globals, &["start", name]);
    let stop = line_of(program, globals, &["stop", "-t", &seconds, name]);
    let pid_file = pid_file.map(|file| quoted(file.as_os_str())).transpose()?;
    // Without one, systemd takes the one process that the command leaves behind: the monitor.
    let kind = pid_file.map_or("forking".into(), |file| format!("forking\nPIDFile={file}"));
    Ok(Commands { prepare: None, start, clean: stop.clone(), stop, kind })
}

/// Has the commands of a unit look into this store, unless the words that made the container say so.
fn add_root(globals: &mut Vec<String>, root: Option<&Path>) -> anyhow::Result<()> {
    if let Some(root) = root.filter(|_| !globals.iter().any(|flag| flag.starts_with("--root"))) {
        globals.extend(["--root".to_owned(), quoted(root.as_os_str())?]);
    }
    Ok(())
}

/// The words that made a container, each as it stands in a unit.
#[derive(Debug)]
struct Made {
    /// The global flags.
    globals: Vec<String>,
    /// `run`, or `container run`.
    verb: Vec<String>,
    /// Its flags, but for those that the unit sets itself.
    flags: Vec<String>,
    /// The word among them that ends with the container's name.
    name: Option<usize>,
    /// The words among them that say which pod it is of.
    pod: Vec<Range<usize>>,
    /// The image, and the command with its arguments.
    rest: Vec<String>,
    is_detached: bool,
    replaces: bool,
    notifies: bool,
    has_restart_policy: bool,
}

impl Made {
    /// Reads a whole command line, of `run` or `create`. `None` if it is none, or cannot stand in a unit.
    fn of(words: &[OsString]) -> Option<Self> {
        let Maker { globals, called, command, rest } =
            Maker::of(words, &["run", "create", "container run", "container create"])?;
        let (flags, end) = tail::flags(&command, rest)?;
        let mut made = Self {
            globals,
            verb: called.replace("create", "run").split(' ').map(str::to_owned).collect(),
            flags: Vec::new(),
            name: None,
            pod: Vec::new(),
            rest: escaped(rest.get(end..)?)?,
            is_detached: false,
            replaces: false,
            notifies: false,
            has_restart_policy: false,
        };
        for (named, at) in flags {
            let of_flag = rest.get(at)?;
            let is = |id: &str| named.iter().any(|arg| arg.get_long() == Some(id));
            let value = || of_flag.last().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
            let says_no = || value().ends_with("=false");
            made.has_restart_policy |= is("restart");
            let is_units_own =
                ["cidfile", "conmon-pidfile", "cgroups", "restart", "rm"].iter().any(|id| is(id))
                    || (is("detach") && says_no())
                    || (is("sdnotify") && value().ends_with("ignore"));
            if is_units_own {
                continue;
            }
            made.is_detached |= is("detach");
            made.replaces |= is("replace");
            made.notifies |= is("sdnotify");
            made.flags.extend(escaped(of_flag)?);
            if is("pod") || is("pod-id-file") {
                made.pod.push(made.flags.len() - of_flag.len()..made.flags.len());
            }
            if is("name") {
                made.name = Some(made.flags.len() - 1);
            }
        }
        Some(made)
    }

    /// Has the container join the pod that another unit makes.
    fn join(&mut self, pod: &str) {
        for place in std::mem::take(&mut self.pod).into_iter().rev() {
            self.name = self.name.map(|at| if at >= place.end { at - place.len() } else { at });
            self.flags.drain(place);
        }
        self.verb.extend(["--pod-id-file".to_owned(), format!("%t/{pod}.pod-id")]);
    }

    /// Gives the container the name that it has now: it may have been renamed, or be a clone.
    fn rename(&mut self, name: &str) {
        if let Some(word) = self.name.and_then(|at| self.flags.get_mut(at)) {
            let flag = if word.starts_with("--name=") { "--name=" } else { "" };
            // A name has nothing to escape.
            *word = format!("{flag}{name}");
        }
    }

    /// The container is made and removed by the unit, which keeps its ID in a file.
    fn commands(
        mut self,
        program: &str,
        globals: &[String],
        stop_timeout_s: u32,
        is_template: bool,
    ) -> Commands {
        const ID_FILE: &str = "--cidfile=%t/%n.ctr-id";
        if let Some(word) = self.name.and_then(|at| self.flags.get_mut(at)).filter(|_| is_template) {
            word.push_str("-%i");
        }
        let own = [
            ("--sdnotify=conmon", !self.notifies),
            ("-d", !self.is_detached),
            // Without a name there is nothing to take the place of.
            ("--replace", self.name.is_some() && !self.replaces),
        ];
        let mut words = self.verb;
        words.extend([ID_FILE, "--cgroups=no-conmon", "--rm"].map(str::to_owned));
        words.extend(own.iter().filter(|(_, wanted)| *wanted).map(|(flag, _)| (*flag).to_owned()));
        words.extend(self.flags);
        words.extend(self.rest);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let seconds = seconds_of(stop_timeout_s);
        Commands {
            start: line_of(program, globals, &words),
            stop: line_of(program, globals, &["stop", "--ignore", "-t", &seconds, ID_FILE]),
            clean: line_of(program, globals, &["rm", "-f", "--ignore", "-t", &seconds, ID_FILE]),
            prepare: None,
            kind: "notify\nNotifyAccess=all".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a unit with `--new` for a container made by this command line.
    fn anew(line: &str) -> Option<String> {
        let words: Vec<OsString> = line.split(' ').map(|word| word.replace('_', " ").into()).collect();
        let made = Made::of(&words)?;
        let globals = made.globals.clone();
        Some(made.commands("K", &globals, 10, false).start.replace(" \\\n\t", " "))
    }

    #[test]
    fn what_made_it_makes_it_again() {
        const OWN: &str = "--cidfile=%t/%n.ctr-id --cgroups=no-conmon --rm";
        for (line, want) in [
            ("ketch create img", "K run OWN --sdnotify=conmon -d img"),
            (
                "ketch run -d --name web img top",
                "K run OWN --sdnotify=conmon --replace -d --name web img top",
            ),
            (
                "ketch container run -dt --name=web img",
                "K container run OWN --sdnotify=conmon --replace -dt --name=web img",
            ),
            (
                "ketch run --rm -d --restart always --cidfile x --cgroups=split --conmon-pidfile y img",
                "K run OWN --sdnotify=conmon -d img",
            ),
            ("ketch run --sdnotify=ignore --detach=false img", "K run OWN --sdnotify=conmon -d img"),
            (
                "ketch run --sdnotify container --replace --name a img",
                "K run OWN -d --sdnotify container --replace --name a img",
            ),
            ("ketch --root /r run -d img -d --rm", "K --root /r run OWN --sdnotify=conmon -d img -d --rm"),
            (
                "ketch run -e A=b_c -e D=x$y%z img sh -c echo_\"$HOME\"",
                "K run OWN --sdnotify=conmon -d -e \"A=b c\" -e D=x$$y%%z img sh -c \"echo \\\"$$HOME\\\"\"",
            ),
        ] {
            assert_eq!(anew(line).as_deref(), Some(want.replace("OWN", OWN).as_str()), "{line}");
        }
        for line in ["ketch", "ketch ps", "ketch container clone a", "ketch run --nosuch img", ""] {
            assert_eq!(anew(line), None, "{line}");
        }
    }

    #[test]
    fn the_name_is_the_one_of_now_and_each_instance_has_its_own() {
        for (flag, want) in [("--name=a", "--name=b-%i"), ("--name a", "--name b-%i")] {
            let words: Vec<OsString> =
                format!("ketch run {flag} img").split(' ').map(OsString::from).collect();
            let mut made = Made::of(&words).unwrap();
            made.rename("b");
            let start = made.commands("K", &[], 10, true).start;
            assert!(start.contains(want), "{start}");
        }
    }

    #[test]
    fn restart_policies_of_systemd() {
        for (policy, want) in [
            ("no", ("no", None)),
            ("unless-stopped", ("always", None)),
            ("on-failure", ("on-failure", None)),
            ("on-failure:3", ("on-failure", Some(3))),
        ] {
            let (restart, times) = restart_of(RestartPolicy::parse(policy).unwrap());
            assert_eq!((restart.as_str(), times), want);
        }
    }
}
