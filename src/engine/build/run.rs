//! RUN: a container of the ordinary runtime, whose directory lies in staging and which dies with this
//! process.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use crate::attach::client;
use crate::attach::packet::{FromMonitor, Hello, MAX_PACKET};
use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::dockerfile::flags::{RunMount, RunMountKind, Sharing};
use crate::base::dockerfile::instruction::{Command, Run};
use crate::base::dockerfile::{DockerfileError, Line};
use crate::base::id::ContainerId;
use crate::base::spec::{ImageOrigin, Mount, MountKind};
use crate::base::stream::Stream;
use crate::engine::build::files::write_file;
use crate::engine::build::key::Key;
use crate::engine::build::request::Secret;
use crate::engine::build::state::{self, Scope};
use crate::engine::build::{Builder, Fault, Lane, Result, Root};
use crate::engine::request::{ContainerRequest, ImageVolumes};
use crate::engine::resolve::ImageFacts;
use crate::engine::{Error, config, create};
use crate::runtime::assemble::{Choice, CopyTask, Order, Target, Task, Tree};
use crate::runtime::launch::{self, LaunchOrder};
use crate::store::staging::Staged;
use crate::sys::fs::{self, Share};
use crate::sys::socket::{self, Kind as SocketKind};

/// Where a script of a heredoc appears in the container.
const SCRIPTS: &str = "/dev/pipes";

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
}

/// What a look at a running container has shown.
pub(super) enum Heard {
    Output(Stream, Vec<u8>),
    Exit(i32),
}

/// A mount that was prepared, or why it has to wait.
#[allow(clippy::large_enum_variant, reason = "one at a time, and soon taken apart")]
enum Prepared {
    Mount(Mount),
    /// Nothing to mount: an optional secret that was not given.
    Nothing,
    /// Another build has the cache.
    Busy,
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
        request.env.extend(args.iter().map(|(key, value)| Bytes::from(format!("{key}={value}"))));
        if let Some(word) = &run.flags.network {
            match state.expand(word, scope)?.as_str() {
                "default" => {}
                other => request.networks = vec![other.to_owned()],
            }
        }
        if let Some(word) = &run.flags.security {
            request.privileged |= state.expand(word, scope)? == "insecure";
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
        key.field("privileged", [u8::from(request.privileged)]);
        key.list("hosts", &request.add_hosts);
        key.list("capabilities", request.cap_add.iter().chain(&request.cap_drop));
        key.list("binds", &request.binds);
        key.list("scripts", scripts.iter().map(|(name, content)| format!("{name}\n{content}")));
        for (mount, word) in mounts.iter().zip(&run.flags.mounts) {
            self.mount_key(lane, line, mount, &state.expand(word, scope)?, &mut key)?;
        }
        let with_args: Vec<String> = args.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let prefix =
            if args.is_empty() { String::new() } else { format!("|{} {} ", args.len(), with_args.join(" ")) };
        let created_by = format!("RUN {prefix}{} # buildkit", words.join(" "));
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
        let mut locks = Vec::new();
        for mount in &step.mounts {
            let prepared =
                self.mount(lane, mount, &mut request, &mut locks).map_err(|fault| fault.of(line))?;
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
        directory.write("lock", b"", false)?;

        let (ours, theirs) =
            socket::pair(SocketKind::Packet).map_err(|err| Error::system("make a socket", err))?;
        client::greet(ours.as_fd(), Hello { stdout: true, stderr: true, stdin: false })
            .map_err(|err| Error::system("attach to a container", err))?;
        let order = LaunchOrder {
            root: self.engine.store().root().to_owned(),
            directory: Some(directory.path().to_owned()),
            id: id.clone(),
            fingerprint: self.caller.fingerprint(),
            near: None,
            window: None,
            restarts: 0,
            cgroups: config::cgroups(&self.caller),
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
        launch::launch(&self.caller, &order, Some(theirs), &[])
            .map_err(|failure| Fault::at(line, crate::engine::start::failed(failure, &id)))?;
        Ok(Some(Running { socket: ours, _locks: locks, placeholders }))
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

    fn mount(
        &mut self,
        lane: &Lane,
        mount: &RunMount,
        request: &mut ContainerRequest,
        locks: &mut Vec<OwnedFd>,
    ) -> Result<Prepared> {
        let target = lane.state.directory(&mount.target);
        Ok(match &mount.kind {
            RunMountKind::Bind { from, source, writable } => {
                let scratch = if *writable { Some(self.overlay_scratch()?) } else { None };
                let (lowers, path) = self.tree_of(lane, from, source)?;
                Prepared::Mount(tree(&target, lowers, &path, !*writable, scratch))
            }
            RunMountKind::Cache { id, from, source, sharing, read_only, mode, uid, gid } => {
                let Some((data, lock)) = self.cache(id, *sharing)? else { return Ok(Prepared::Busy) };
                locks.push(lock);
                self.fill_cache(lane, &data, from, source, (*mode, *uid, *gid))?;
                Prepared::Mount(tree(&target, vec![data.as_path().into()], "/", *read_only, None))
            }
            RunMountKind::Tmpfs { size_bytes } => {
                let data = size_bytes.iter().map(|bytes| format!("size={bytes}")).collect();
                let kind = MountKind::Tmpfs { data, copy_up: false, chown: false, ramfs: false };
                Prepared::Mount(Mount {
                    target: target.into(),
                    kind,
                    read_only: false,
                    options: vec![],
                    propagation: None,
                    overlay: None,
                })
            }
            RunMountKind::Secret { id, variable, required, mode, uid, gid } => {
                let Some(content) = self.secret(id)? else {
                    if *required {
                        return Err(Fault::plain(format!("secret {id}: not found"))
                            .hint(format!("give it: --secret id={id},src=FILE")));
                    }
                    return Ok(Prepared::Nothing);
                };
                if let Some(variable) = variable {
                    let entry = [format!("{variable}=").as_bytes(), &content].concat();
                    request.env.push(entry.into());
                }
                if mount.target.is_empty() {
                    return Ok(Prepared::Nothing);
                }
                let dir = self.secret_file(&content, (*mode, *uid, *gid))?;
                Prepared::Mount(tree(&target, vec![dir.as_path().into()], "/secret", true, None))
            }
            RunMountKind::Ssh { id, required, .. } => {
                let Some(agent) = self.request.agents.get(id).cloned() else {
                    if *required {
                        return Err(Fault::plain(format!("ssh agent {id}: not forwarded"))
                            .hint(format!("forward it: --ssh {id}")));
                    }
                    return Ok(Prepared::Nothing);
                };
                request.env.push(format!("SSH_AUTH_SOCK={target}").into());
                let (Some(dir), Some(name)) = (agent.parent(), agent.file_name()) else {
                    return Err(Fault::plain(format!("{} is no socket", agent.display())));
                };
                let path = Bytes::from(name.to_owned());
                let kind = MountKind::Tree { lowers: vec![dir.into()], path, scratch: None };
                Prepared::Mount(Mount {
                    target: target.into(),
                    kind,
                    read_only: false,
                    options: vec![],
                    propagation: None,
                    overlay: None,
                })
            }
        })
    }

    /// The directories that `from` means, and the path in them.
    fn tree_of(&mut self, lane: &Lane, from: &str, source: &str) -> Result<(Vec<Bytes>, String)> {
        match self.root_of(lane, from)? {
            Root::Layers(layers) => Ok((self.lower_paths(&layers), source.to_owned())),
            Root::Context(name) => {
                let context = self.context(name.as_deref());
                if context.ignore.is_empty() {
                    return Ok((vec![context.root.as_path().into()], source.to_owned()));
                }
                // What is ignored must not be seen: the rest is copied.
                let choice = Choice {
                    patterns: vec![source.into()],
                    ignore: context.ignore.clone(),
                    literal: true,
                    parents: true,
                    ..Choice::default()
                };
                let from = Tree::Directory(context.root.as_path().into());
                let to = self.scratch_directory("context")?;
                self.copy_now(from, &to, choice)?;
                Ok((vec![to.as_path().into()], source.to_owned()))
            }
        }
    }

    /// Copies to a directory of this build, and waits for it.
    fn copy_now(&mut self, from: Tree, to: &std::path::Path, choice: Choice) -> Result<()> {
        let task = CopyTask {
            choice,
            target: "/".into(),
            keep_owner: true,
            owner: None,
            mode: None,
            unpack: false,
            several: false,
        };
        let order = Order {
            target: Some(Target::Directory(to.into())),
            trees: vec![from],
            tasks: vec![Task::Copy(task)],
            single: self.single,
        };
        self.order_now(&order)
    }

    /// Gives an order and waits for its outcome.
    fn order_now(&mut self, order: &Order) -> Result<()> {
        let worker = self.worker()?;
        let report = worker.order(order).and_then(|()| worker.report());
        self.idle.push(worker);
        report.map(drop).map_err(|failure| Fault::plain(failure.message))
    }

    /// `upper`, `work` and `over` for writes that are thrown away.
    fn overlay_scratch(&mut self) -> Result<PathBuf> {
        let dir = self.scratch_directory("upper")?;
        let dir = dir.parent().map(PathBuf::from).unwrap_or(dir);
        for name in ["work", "over"] {
            std::fs::create_dir(dir.join(name)).map_err(|err| Error::system("make a directory", err))?;
        }
        Ok(dir)
    }

    /// The directory of a cache mount, locked as its sharing mode says; `None` if it is in use.
    fn cache(&mut self, id: &str, sharing: Sharing) -> Result<Option<(PathBuf, OwnedFd)>> {
        let store = self.engine.store();
        let failed = |err: io::Error| Error::system(format!("lock the cache {id}"), err);
        match sharing {
            Sharing::Shared => {
                let (data, lock) = store.build_cache().mount(id)?;
                let free = fs::try_lock(&lock, Share::Shared).map_err(failed)?;
                Ok(free.then_some((data, lock)))
            }
            Sharing::Locked => {
                let (data, lock) = store.build_cache().mount(id)?;
                let free = fs::try_lock(&lock, Share::Exclusive).map_err(failed)?;
                Ok(free.then_some((data, lock)))
            }
            Sharing::Private => {
                for number in 1_u32.. {
                    let name = if number == 1 { id.to_owned() } else { format!("{id}#{number}") };
                    let (data, lock) = store.build_cache().mount(&name)?;
                    if fs::try_lock(&lock, Share::Exclusive).map_err(failed)? {
                        return Ok(Some((data, lock)));
                    }
                }
                Ok(None)
            }
        }
    }

    /// A new cache gets its first content, owner and mode.
    fn fill_cache(
        &mut self,
        lane: &Lane,
        data: &std::path::Path,
        from: &str,
        source: &str,
        (mode, uid, gid): (u32, u32, u32),
    ) -> Result<()> {
        let mark = data.with_file_name("filled");
        if mark.exists() {
            return Ok(());
        }
        if !from.is_empty() {
            let tree = match self.root_of(lane, from)? {
                Root::Context(name) => Tree::Directory(self.context(name.as_deref()).root.as_path().into()),
                Root::Layers(layers) => {
                    let over = self.scratch_directory("over")?;
                    Tree::Layers { lowers: self.lower_paths(&layers), over: over.as_path().into() }
                }
            };
            let choice = Choice { patterns: vec![source.into()], literal: true, ..Choice::default() };
            self.copy_now(tree, data, choice)?;
        }
        let owner = format!("{uid}:{gid}");
        self.give(data, &owner, mode)?;
        std::fs::write(&mark, "").map_err(|err| Error::system("fill a cache", err).into())
    }

    /// Gives a directory of this user to an ID of the container, with a mode.
    fn give(&mut self, path: &std::path::Path, owner: &str, mode: u32) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(|err| Error::system("set the mode of a directory", err))?;
        if owner == "0:0" || self.single {
            return Ok(());
        }
        let order = Order {
            target: Some(Target::Directory(path.into())),
            trees: vec![],
            tasks: vec![Task::Give(owner.to_owned())],
            single: self.single,
        };
        self.order_now(&order)
    }

    /// What a secret is; `None` if nobody gave it.
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        match self.request.secrets.get(id) {
            None => Ok(None),
            Some(Secret::Variable(name)) => {
                let value = config::variable_of_caller(name.as_ref());
                Ok(value.map(std::os::unix::ffi::OsStringExt::into_vec))
            }
            Some(Secret::File(path)) => {
                let read = std::fs::File::open(path).map_err(|err| {
                    Error::invalid(format!("open the secret {id}: {}", path.display())).because(err)
                })?;
                Ok(Some(super::context::read_file(read, path)?))
            }
        }
    }

    /// A directory with the file `secret`, which is gone with the build: its content never comes into a
    /// layer, because it is mounted.
    fn secret_file(&mut self, content: &[u8], (mode, uid, gid): (u32, u32, u32)) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = self.scratch_directory("secret")?;
        let from = self.scratch_directory("secret")?;
        let system = |err| Error::system("write a secret", err);
        let file = from.join("secret");
        std::fs::write(&file, content).map_err(system)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).map_err(system)?;
        if (uid, gid) == (0, 0) || self.single {
            return Ok(from);
        }
        let task = CopyTask {
            choice: Choice { patterns: vec!["secret".into()], literal: true, ..Choice::default() },
            target: "/".into(),
            keep_owner: false,
            owner: Some(format!("{uid}:{gid}")),
            mode: None,
            unpack: false,
            several: false,
        };
        let order = Order {
            target: Some(Target::Directory(dir.as_path().into())),
            trees: vec![Tree::Directory(from.as_path().into())],
            tasks: vec![Task::Copy(task)],
            single: self.single,
        };
        self.order_now(&order)?;
        std::fs::remove_file(&file).map_err(system)?;
        Ok(dir)
    }
}

impl Running {
    pub(super) fn socket(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes what the container says next. Something is there.
    pub(super) fn hear(&self, buffer: &mut Vec<u8>) -> Result<Heard> {
        buffer.resize(MAX_PACKET, 0);
        let gone = |err: io::Error| Error::system("listen to a container", err);
        let length = socket::receive(self.socket.as_fd(), buffer).map_err(gone)?;
        if length == 0 {
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

fn tree(target: &str, lowers: Vec<Bytes>, path: &str, read_only: bool, scratch: Option<PathBuf>) -> Mount {
    let kind = MountKind::Tree { lowers, path: path.into(), scratch };
    Mount { target: target.into(), kind, read_only, options: vec![], propagation: None, overlay: None }
}

/// The targets of mounts and the directories above them, relative to the root: what is empty there
/// afterwards was made for the mount.
fn placeholders(mounts: &[Mount]) -> Vec<Bytes> {
    let mut found = Vec::new();
    for mount in mounts {
        let path = mount.target.as_bytes().strip_prefix(b"/").unwrap_or(mount.target.as_bytes());
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            found.push(Bytes::from(&path[..at]));
        }
        found.push(Bytes::from(path));
    }
    found.sort();
    found.dedup();
    found
}
