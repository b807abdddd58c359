//! RUN: a container of the ordinary runtime, whose directory lies in staging and which dies with this
//! process.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use crate::attach::client;
use crate::attach::packet::{self, FromMonitor, Hello, MAX_PACKET};
use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::dockerfile::flags::{RunMount, RunMountKind};
use crate::base::dockerfile::instruction::{Command, Run};
use crate::base::dockerfile::{DockerfileError, Line};
use crate::base::id::ContainerId;
use crate::base::image_ref::NameRule;
use crate::base::limits::Cgroup;
use crate::base::order::InOrder as _;
use crate::base::spec::{ImageOrigin, Mount};
use crate::base::stream::Stream;
use crate::cgroup::unit;
use crate::engine::build::files::write_file;
use crate::engine::build::key::Key;
use crate::engine::build::mounts::{Caches, Prepared, tree};
use crate::engine::build::state::{self, Scope};
use crate::engine::build::{Builder, Fault, Lane, Result, Root};
use crate::engine::request::{ContainerRequest, ImageVolumes};
use crate::engine::resolve::ImageFacts;
use crate::engine::{Error, Kind as ErrorKind, config, create};
use crate::runtime::assemble::Choice;
use crate::runtime::launch::{self, LaunchOrder};
use crate::runtime::layer::PLACEHOLDERS;
use crate::store::staging::Staged;
use crate::sys::socket::{self, Kind as SocketKind};

/// Where a script of a heredoc appears in the container.
const SCRIPTS: &str = "/dev/pipes";

/// The build argument that names the machine that RUN sees.
///
/// # Source
///
/// Dockerfile reference, "BuildKit built-in build args".
const HOSTNAME_ARGUMENT: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// A RUN that is ready to be started.
#[derive(Debug)]
pub(super) struct RunStep {
    pub(super) key: Key,
    pub(super) created_by: String,
    request: ContainerRequest,
    mounts: Vec<RunMount>,
    /// Name and content of scripts to show below [`SCRIPTS`].
    scripts: Vec<(String, String)>,
}

/// A RUN that runs.
#[derive(Debug)]
pub(super) struct Running {
    socket: OwnedFd,
    /// Cache mounts in use.
    _locks: Vec<OwnedFd>,
    /// Mount points, which are no change.
    pub(super) placeholders: Vec<Bytes>,
    id: ContainerId,
    /// Where it was, if its monitor cannot say any more.
    cgroup: Box<Cgroup>,
}

/// What a look at a running container has shown.
pub(super) enum Heard {
    Output(Stream, Vec<u8>),
    Exit(i32),
}

impl Builder<'_> {
    /// Decides what a RUN does.
    pub(super) fn run_step(
        &mut self,
        lane: &Lane,
        line: &Line,
        run: &Run,
        scope: &Scope<'_>,
    ) -> Result<RunStep> {
        let state = &lane.state;
        super::platforms::check_runnable(&state.platform)?;
        let mut mounts = Vec::new();
        for word in &run.flags.mounts {
            let text = state.expand(word, scope)?;
            let mount = RunMount::parse(&text).map_err(|message| DockerfileError::new(word.at, message))?;
            mounts.push(mount);
        }
        let (words, scripts) = command(state, run);
        let args = state.visible_args();
        let mut request = self.request.container.clone();
        request.command = words.iter().map(|word| Bytes::from(word.as_str())).collect();
        request.entrypoint = Some(vec![]);
        request.env = self.predefined();
        // A step is not told that it is in a container, as with buildah and BuildKit; but by its image.
        if state.lookup("container").is_none() {
            request.unset_env.push("container".to_owned());
        }
        request.env.extend(args.iter().map(|(key, value)| Bytes::from(format!("{key}={value}"))));
        // As Docker documents it; podman lets each step have a name of its own.
        let named = self.request.args.get(HOSTNAME_ARGUMENT).cloned();
        let usual = (self.engine.name_rule() == NameRule::Docker).then(|| "buildkitsandbox".to_owned());
        request.hostname = request.hostname.or_else(|| named.clone()).or(usual);
        if let Some(word) = &run.flags.network {
            match state.expand(word, scope)?.as_str() {
                "default" => {}
                other => request.networks = vec![other.to_owned()],
            }
        }
        if let Some(word) = &run.flags.security {
            let insecure = state.expand(word, scope)? == "insecure";
            if insecure && !self.request.insecure {
                let message = "security.insecure is not allowed";
                return Err(Fault::plain(message).hint("allow it: --allow security.insecure"));
            }
            request.privileged |= insecure;
        }
        if let Some(bad) =
            mounts.iter().find(|mount| !mount.target.is_empty() && state.directory(&mount.target) == "/")
        {
            let place = run.flags.mounts.first().map(|word| word.at).unwrap_or_default();
            return Err(DockerfileError::new(place, format!("invalid mount target {:?}", bad.target)).into());
        }
        let mut key = Key::new("run");
        key.list("words", &words);
        key.list("env", &state.config().env);
        key.list("args", args.iter().map(|(name, value)| format!("{name}={value}")));
        key.field("user", &state.config().user);
        key.field("directory", &state.config().working_dir);
        key.list("networks", &request.networks);
        if let Some(name) = &named {
            key.field("hostname", name);
        }
        key.field("privileged", [u8::from(request.privileged)]);
        key.list("hosts", &request.add_hosts);
        key.list("capabilities", request.cap_add.iter().chain(&request.cap_drop));
        key.list("binds", &request.binds);
        key.list("scripts", scripts.iter().map(|(name, content)| format!("{name}\n{content}")));
        for (mount, word) in mounts.iter().zip(&run.flags.mounts) {
            self.mount_key(lane, line, mount, &state.expand(word, scope)?, &mut key)?;
        }
        let created_by = format!("RUN {}{} # buildkit", state.shown_args(), words.join(" "));
        Ok(RunStep { key, created_by, request, mounts, scripts })
    }

    /// Variables that every RUN has and that do not count: proxies.
    fn predefined(&self) -> Vec<Bytes> {
        let given = self.request.args.iter().filter(|(name, _)| state::is_predefined(name));
        let given: Vec<Bytes> = given.map(|(name, value)| format!("{name}={value}").into()).collect();
        self.request.container.env.iter().cloned().chain(given).collect()
    }

    /// What a mount adds to the key: the content of what can be read.
    fn mount_key(
        &mut self,
        lane: &Lane,
        line: &Line,
        mount: &RunMount,
        text: &str,
        key: &mut Key,
    ) -> Result<()> {
        key.field("mount", text);
        let (RunMountKind::Bind { from, source, .. } | RunMountKind::Cache { from, source, .. }) =
            &mount.kind
        else {
            return Ok(());
        };
        if matches!(mount.kind, RunMountKind::Cache { .. }) && from.is_empty() {
            return Ok(());
        }
        match self.root_of(lane, from).map_err(|err| Fault::at(line, err))? {
            Root::Layers(layers) => {
                key.field("layers", layers.last().map(ToString::to_string).unwrap_or_default());
            }
            Root::Context(name) => {
                let context = self.context(name.as_deref());
                let choice = Choice {
                    patterns: vec![source.as_str().into()],
                    ignore: context.ignore.clone(),
                    literal: true,
                    ..Choice::default()
                };
                let digest =
                    context.digest(self.engine.store(), &choice).map_err(|err| Fault::at(line, err))?;
                key.field("content", digest);
            }
        }
        Ok(())
    }

    /// Starts the container in `directory`, which has `upper`, `work` and `over`; `None` if a cache that
    /// it wants for itself is in use.
    pub(super) fn start_run(
        &mut self,
        lane: &Lane,
        line: &Line,
        step: &RunStep,
        directory: &Staged,
    ) -> Result<Option<Running>> {
        let mut request = step.request.clone();
        let mut mounts = Vec::new();
        let mut caches = Caches::of(&step.mounts);
        for mount in &step.mounts {
            let prepared =
                self.mount(lane, mount, &mut request, &mut caches).map_err(|fault| fault.of(line))?;
            match prepared {
                Prepared::Mount(mount) => mounts.push(mount),
                Prepared::Nothing => {}
                Prepared::Busy => return Ok(None),
            }
        }
        if !step.scripts.is_empty() {
            let dir = self.scratch_directory("scripts")?;
            for (name, content) in &step.scripts {
                use std::os::unix::fs::PermissionsExt as _;
                let path = dir.join(name);
                write_file(&path, content.as_bytes())?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                    .map_err(|err| Error::system("write a script", err))?;
            }
            mounts.push(tree(SCRIPTS, vec![dir.as_path().into()], "/", true, None));
        }
        if self.request.discard_in_volumes {
            self.shield_volumes(lane, &mut mounts)?;
        }
        let id = ContainerId::from_random(create::random()?);
        request.base = Some(Box::new(self.facts(lane)));
        request.auto_remove = true;
        request.attached = true;
        // What a step adds to passwd would be in the image.
        request.accounts.untouched = true;
        request.log_driver = Some("none".to_owned());
        request.image_volumes = Some(ImageVolumes::Ignore);
        let mut spec = self.engine.resolve_request(&request, &id)?;
        spec.tied = true;
        let placeholders = placeholders(&mounts);
        spec.mounts.extend(mounts);
        let text = serde_json::to_vec(&spec).map_err(|err| Error::system("write down the spec", err))?;
        for name in ["spec.json", "lock"] {
            std::fs::remove_file(directory.path().join(name)).ok();
        }
        directory.write("spec.json", &text, false)?;

        let (ours, theirs) =
            socket::pair(SocketKind::Packet).map_err(|err| Error::system("make a socket", err))?;
        let attach = |err| Error::system("attach to a container", err);
        let stdin = request.interactive;
        client::greet(ours.as_fd(), Hello { stdout: true, stderr: true, stdin, ..Hello::default() })
            .map_err(attach)?;
        let order = LaunchOrder {
            root: self.engine.store().root().to_owned(),
            directory: Some(directory.path().to_owned()),
            id: id.clone(),
            fingerprint: self.caller.fingerprint(),
            near: None,
            window: None,
            tell_attached: false,
            restarts: 0,
            cgroups: self.engine.cgroups(&self.caller),
            adopt: false,
            network_linger_ms: config::network_linger_ms(),
            notify_socket: None,
            passed_sockets: 0,
            stdio: false,
            keep: Vec::new(),
            hold: false,
            journal: config::journal_socket(),
            name: String::new(),
            // A step is no container that anybody asked for.
            events: crate::events::Backend::None,
        };
        launch::launch(&self.caller, &order, Some(theirs), &[]).map_err(|failure| {
            unit::sweep_unnoted(id.as_str(), &spec.cgroup);
            let error = crate::engine::start::failed(failure, &id);
            // A command that is not there is a step that has failed, and not ketch.
            let is_of_step = matches!(error.kind, ErrorKind::CommandNotFound | ErrorKind::NotExecutable);
            Fault { exit: is_of_step.then_some(1), ..Fault::at(line, error) }
        })?;
        let running =
            Running { socket: ours, _locks: caches.locks(), placeholders, id, cgroup: Box::new(spec.cgroup) };
        if stdin && self.input.is_none() {
            running.end_of_input().map_err(attach)?;
        }
        Ok(Some(running))
    }

    /// What the stage's containers get from it.
    fn facts(&self, lane: &Lane) -> ImageFacts {
        let mut defaults = lane.state.config().clone();
        defaults.cmd.clear();
        defaults.entrypoint.clear();
        defaults.volumes.clear();
        defaults.labels.clear();
        defaults.exposed_ports.clear();
        defaults.stop_signal.clear();
        defaults.healthcheck = None;
        let layers: Vec<Digest> = lane.base_names();
        let id = layers.last().copied().unwrap_or_else(|| Digest::of(b"scratch"));
        let origin = ImageOrigin { id, manifest: id, name: "a stage of a build".to_owned() };
        ImageFacts { origin, layers, defaults }
    }
}

impl RunStep {
    /// What is executed, for messages.
    pub(super) fn process(&self) -> String {
        let words: Vec<_> = self.request.command.iter().map(Bytes::to_string_lossy).collect();
        words.join(" ")
    }
}

impl Running {
    pub(super) fn socket(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Passes input on; the socket takes it.
    pub(super) fn give(&self, input: &[u8]) -> io::Result<()> {
        socket::send(self.socket.as_fd(), &[&[packet::STDIN], input].concat()).map(drop)
    }

    /// No more input comes.
    pub(super) fn end_of_input(&self) -> io::Result<()> {
        socket::send(self.socket.as_fd(), packet::stdin_eof().as_bytes()).map(drop)
    }

    /// Takes what the container says next. Something is there.
    pub(super) fn hear(&self, buffer: &mut Vec<u8>) -> Result<Heard> {
        buffer.resize(MAX_PACKET, 0);
        let gone = |err: io::Error| Error::system("listen to a container", err);
        let length = socket::receive(self.socket.as_fd(), buffer).map_err(gone)?;
        if length == 0 {
            unit::sweep_unnoted(self.id.as_str(), &self.cgroup);
            return Err(Error::system("run the step", io::Error::other("its monitor was killed")).into());
        }
        match FromMonitor::decode(&buffer[..length]) {
            Ok(FromMonitor::Output(stream, bytes)) => Ok(Heard::Output(stream, bytes.to_vec())),
            Ok(FromMonitor::Exit(code)) => Ok(Heard::Exit(code)),
            Ok(FromMonitor::Signalled(_) | FromMonitor::Checked(_) | FromMonitor::Reloaded) => {
                Ok(Heard::Output(Stream::Stderr, vec![]))
            }
            Err(err) => Err(Error::system("listen to a container", err).into()),
        }
    }
}

/// The words to execute, and the scripts that must be there.
fn command(state: &state::State, run: &Run) -> (Vec<String>, Vec<(String, String)>) {
    let Command::Shell(line) = &run.command else { return (state.words(&run.command), vec![]) };
    let [first, ..] = &run.heredocs[..] else { return (state.words(&run.command), vec![]) };
    // A lone document is the script itself.
    let alone = run.heredocs.len() == 1 && line.split_whitespace().count() == 1 && line.starts_with("<<");
    if alone && first.content.starts_with("#!") {
        let path = format!("{SCRIPTS}/{}", first.name);
        let words = state.words(&Command::Shell(path));
        return (words, vec![(first.name.replace('/', "_"), first.content.clone())]);
    }
    if alone {
        return (state.words(&Command::Shell(first.content.clone())), vec![]);
    }
    let mut text = line.clone();
    for doc in &run.heredocs {
        text.push_str(&format!("\n{}{}", doc.content, doc.name));
    }
    (state.words(&Command::Shell(text)), vec![])
}

/// The targets of mounts and the directories above them, relative to the root, and what every container has: what is
/// empty there afterwards was made for the mount.
fn placeholders(mounts: &[Mount]) -> Vec<Bytes> {
    let mut found: Vec<Bytes> = PLACEHOLDERS.iter().map(|path| Bytes::from(*path)).collect();
    for mount in mounts {
        let path = mount.target.as_bytes().strip_prefix(b"/").unwrap_or(mount.target.as_bytes());
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            found.push(Bytes::from(&path[..at]));
        }
        found.push(Bytes::from(path));
    }
    found.order();
    found.dedup();
    found
}
