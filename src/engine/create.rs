//! Creating a container: everything is decided and written down; nothing runs yet.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::id::ContainerId;
use crate::base::image_ref::ImageName;
use crate::base::manifest::ImageConfig;
use crate::base::mount_syntax::{MountKindRequest, MountRequest, clean_target};
use crate::base::names;
use crate::base::passwd::{self, HostUser};
use crate::base::spec::{ContainerSpec, ImageOrigin, Mount, MountKind, Namespace, UserNamespace};
use crate::engine::remove::Removing;
use crate::engine::request::ContainerRequest;
use crate::engine::resolve::{self, Facts, ImageFacts};
use crate::engine::volume::checked_options;
use crate::engine::{Engine, Error, Kind, Result, config, expand, half_made, state};
use crate::runtime::monitor::secret_file;
use crate::store::owner::Owner;
use crate::store::resolve::Resolved;
use crate::store::volumes::VolumeRecord;
use crate::store::{StoreError, builtin};

/// Largest image configuration that is read.
const MAX_CONFIG: usize = 4 << 20;

/// How often a container that others replace at the same time is written again.
const REPLACE_TRIES: u32 = 100;

/// How often a random name is tried.
const NAME_ATTEMPTS: u32 = 8;

impl Engine {
    /// Creates a container from a local image or a directory.
    ///
    /// Once this returns, the container survives a power cut, unless it is to be removed after its
    /// first run, or to be started at once: then once it is started.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::engine::Kind::NotFound) without the image, Conflict for a name in use, Invalid
    /// for a request that cannot be met. Nothing is left behind then.
    pub(crate) fn create_container(&self, request: &ContainerRequest) -> Result<ContainerId> {
        self.sweep();
        let id = ContainerId::from_random(random()?);
        let mut expanded = request.clone();
        self.join_pod(&mut expanded)?;
        expanded.log_driver.get_or_insert_with(|| self.default_log_driver().to_owned());
        config::apply(&mut expanded, self.conf())?;
        if !expanded.device_rules.is_empty() && !self.is_rootful() {
            let message = "device cgroup rules are not supported in rootless mode or in a user namespace";
            return Err(
                Error::new(Kind::Unsupported, message).hint("give it the device itself with --device")
            );
        }
        self.add_cdi_devices(&mut expanded)?;
        expand::expand(&mut expanded)?;
        let request = &expanded;
        self.check_groups(request)?;
        let _ranges = self.lock_ranges(request)?;
        let (mut spec, mut secrets) = (self.resolve_request(request, &id)?, Vec::new());
        for (used, data) in self.secrets_for(&request.secrets)? {
            spec.secrets.push(used);
            secrets.push(data);
        }
        for (source, used) in &request.copies {
            let data = std::fs::read(source)
                .map_err(|err| Error::invalid(format!("read {}", source.display())).because(err))?;
            spec.secrets.push(used.clone());
            secrets.push(data);
        }
        spec.hooks.extend(self.hooks_for(&spec, !request.mounts.is_empty())?);
        check_sources(&spec)?;
        let volumes = volumes_of(&spec, request)?;
        let to_be_started = request.to_be_started;
        let draft = Draft { spec: &spec, secrets: &secrets, volumes: &volumes, to_be_started };
        let name = request.name.as_deref();
        if to_be_started && !request.replace {
            self.send_ahead(&spec);
        }
        // Outside of the lock, since it waits for the disk.
        let created = self.make_volumes(&volumes).and_then(|()| match name.filter(|_| request.replace) {
            Some(name) => self.write_in_place_of(&draft, name),
            None => self.write_container(&draft, name),
        });
        if created.is_err() {
            self.forerunner.take();
            self.discard_anonymous_volumes(&spec);
        }
        created?;
        if self.conf().containers.prepare_volume_on_create && !to_be_started && has_new_content(&spec) {
            let how = Removing { volumes: true, ..Removing::default() };
            self.fill_volumes(&id).inspect_err(|_| drop(self.remove_container(&id, &how)))?;
        }
        Ok(id)
    }

    /// Makes the volumes of a new container that are not there yet.
    fn make_volumes(&self, wanted: &[VolumeRecord]) -> Result<()> {
        for volume in wanted {
            let volumes = self.store().volumes();
            let is_new = !volumes.data_path(&volume.name).exists();
            volumes.get_or_create(volume)?;
            if is_new {
                self.record_volume("create", &volume.name);
            }
        }
        Ok(())
    }

    /// Writes a container down under a name that another may have; that one is removed.
    ///
    /// Of several that replace one another at once the last one to come stays.
    fn write_in_place_of(&self, draft: &Draft<'_>, name: &str) -> Result<()> {
        // Its anonymous volumes stay, as with `rm`: a database may be in them.
        let how = Removing { force: true, ..Removing::default() };
        for _ in 0..REPLACE_TRIES {
            match self.write_container(draft, Some(name)) {
                Err(err) if err.kind == Kind::Conflict => {}
                other => return other,
            }
            // The name may be free again by now.
            if let Some(holder) = self.store().names().get(name)? {
                self.remove_container(&holder, &how)?;
            }
        }
        self.write_container(draft, Some(name))
    }

    /// Looks up what the request leaves to the image and the machine, and decides.
    pub(super) fn resolve_request(
        &self,
        request: &ContainerRequest,
        id: &ContainerId,
    ) -> Result<ContainerSpec> {
        let userns = self.user_namespace(request)?;
        let image = match request.rootfs {
            Some(_) => None,
            None if request.is_pause() => None,
            None => Some(match &request.base {
                Some(facts) => ImageFacts::clone(facts),
                None => self.image_facts(&request.image, &userns)?,
            }),
        };
        let (_, nofile_hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .map_err(|errno| Error::system("read the limit of open files", errno))?;
        let chooser = std::cell::RefCell::new(crate::net::client::PortChooser::default());
        let facts = Facts {
            id: id.clone(),
            now: Timestamp::now(),
            image,
            userns: userns.clone(),
            directory: config::directory()?,
            home: config::home().ok(),
            nofile_hard,
            is_root: self.caller().mapping.is_none(),
            reachable_capabilities: self.reachable_capabilities(&userns)?,
            caller: caller_of(&userns, request.membership.is_some()),
            find_host_user: &host_user,
            is_file: &|path| path.metadata().is_ok_and(|found| found.is_file()),
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            find_container: &|typed| self.container(typed),
            hostname_of: &|id| self.container_spec(id).ok().map(|spec| spec.hostname),
            volumes_from: self.volumes_from(&inherited(request))?,
            find_image_layers: &|typed| Ok(self.image_facts(typed, &userns)?.layers),
            find_network: &|typed| self.network_to_join(typed),
            free_port: &|port| {
                if port.host_port != 0 {
                    let listening = crate::net::client::listen(&[port], Vec::new());
                    return listening
                        .map(|_free| port.host_port)
                        .map_err(|err| Error::system("use a port of the host", err));
                }
                let mut chooser = chooser.borrow_mut();
                chooser
                    .choose(port.host_ip, port.protocol)
                    .map_err(|err| Error::system("choose a port of the host", err))
            },
            new_volume_name: &|| {
                random().map(|bytes| ContainerId::from_random(bytes).to_string()).unwrap_or_default()
            },
        };
        let mut spec = resolve::resolve(request, &facts)?;
        spec.keeps_cid_file = spec.cid_file.is_some() && self.name_rule() == crate::engine::NameRule::Docker;
        if let Namespace::Container(donor) = &spec.namespaces.ipc {
            self.refuse_private_ipc(donor)?;
        }
        Ok(spec)
    }

    /// An error if `donor` was asked to keep its IPC namespace to itself.
    fn refuse_private_ipc(&self, donor: &ContainerId) -> Result<()> {
        match self.container_spec(donor)?.as_typed.ipc.as_str() {
            "private" | "none" => Err(Error::invalid(format!(
                "joining IPC of container {donor} is not allowed: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            ))),
            _ => Ok(()),
        }
    }

    /// Makes the built-in image, if `typed` means it and no other image has that name; false if it does
    /// not.
    pub(crate) fn obtain_builtin(&self, typed: &str) -> Result<bool> {
        let Ok(name) = typed.parse::<ImageName>() else { return Ok(false) };
        if !builtin::is_hello(&name) {
            return Ok(false);
        }
        if let Ok(found) = self.image(typed)
            && !found.image.labels.contains_key(resolve::BUILTIN_LABEL)
        {
            return Ok(false);
        }
        builtin::ensure_hello(self.store(), &mut |_, _| self.tell("waiting for another command"))?;
        Ok(true)
    }

    /// What an image says about its containers.
    ///
    /// Its layers are those for a container with the user namespace `userns`.
    pub(crate) fn image_facts(&self, typed: &str, userns: &UserNamespace) -> Result<ImageFacts> {
        let Resolved { image, name, manifest } = self.image(typed)?;
        let text = self.store().blobs().read_small(&image.id, MAX_CONFIG)?;
        let config = ImageConfig::parse(&text)
            .map_err(|err| Error::system(format!("understand the configuration of image {typed}"), err))?;
        let manifest = manifest.or_else(|| image.manifest().map(|manifest| manifest.digest));
        Ok(ImageFacts {
            layers: self.layers_for(&image, userns)?,
            origin: ImageOrigin {
                id: image.id,
                manifest: manifest.unwrap_or(image.id),
                name: name.map_or_else(|| image.id.hex(), |name| name.to_string()),
            },
            defaults: config.config,
        })
    }

    /// The volumes and binds of other containers (`--volumes-from NAME[:OPTIONS]`).
    fn volumes_from(&self, sources: &[String]) -> Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for source in sources {
            let (name, options) = source.split_once(':').unwrap_or((source, ""));
            let id = self.container(name).map_err(|mut err| {
                err.message = format!("looking up container {name:?} for volumes-from: {}", err.message);
                err
            })?;
            let dir = self.store().containers().open(&id)?;
            let spec = state::read_spec(dir.as_fd(), &id)?;
            let known = ["", "ro", "rw", "z", "Z", "U"];
            if let Some(bad) = options.split(',').find(|option| !known.contains(option)) {
                return Err(Error::invalid(format!(
                    "invalid option {bad:?} specified - volumes from another container can only use z,ro,rw options"
                )));
            }
            let read_only = options.split(',').any(|option| option == "ro");
            mounts.extend(spec.mounts.into_iter().filter_map(|mut mount| {
                match &mut mount.kind {
                    MountKind::Bind { .. } => {}
                    MountKind::Volume { anonymous, .. } => *anonymous = false,
                    _ => return None,
                }
                mount.read_only |= read_only;
                Some(mount)
            }));
        }
        Ok(mounts)
    }

    /// Puts the container's directory together, and gives it its name and place, and its log one where it has a directory
    /// of its own elsewhere.
    pub(super) fn write_container(&self, draft: &Draft<'_>, name: Option<&str>) -> Result<()> {
        let log = resolve::own_log_directory(draft.spec);
        if let Some(directory) = log {
            make_log_directory(directory)?;
        }
        self.write_directory(draft, name).inspect_err(|_| {
            if let Some(directory) = log {
                std::fs::remove_dir(directory).ok();
            }
        })
    }

    fn write_directory(&self, draft: &Draft<'_>, name: Option<&str>) -> Result<()> {
        let Draft { spec, secrets, volumes, to_be_started } = *draft;
        let durable = !spec.auto_remove;
        let system = |what: &'static str| move |err| Error::system(what, err);
        let containers = self.store().containers();
        let number = u64::from_le_bytes(random::<8>()?);
        let mut attempt = 0;
        loop {
            let staged = containers.stage()?;
            let text = serde_json::to_vec(spec).map_err(|err| Error::system("write down the spec", err))?;
            staged.write("spec.json", &text, durable)?;
            for (index, (used, data)) in spec.secrets.iter().zip(secrets).enumerate() {
                if !used.is_read_at_start() {
                    staged.write(&secret_file(index), data, durable)?;
                }
            }
            if to_be_started {
                staged.write(half_made::STARTER, Owner::current()?.entry(0).as_bytes(), false)?;
            }
            let upper = staged.subdir("upper")?;
            self.copy_root_mode(spec, upper.as_fd()).map_err(system("prepare the upper directory"))?;
            staged.subdir("work")?;
            let wanted = name.map_or_else(|| names::from_random(number, attempt), str::to_owned);
            let lock = self.lock()?;
            self.assert_layers(spec)?;
            self.assert_pod(spec)?;
            // A volume may have been removed since it was made; under the lock it stays.
            self.make_volumes(volumes)?;
            match containers.create(staged, &spec.id, &wanted, &lock) {
                Err(err @ StoreError::NameInUse { .. }) => {
                    if !self.discard_half_made(&wanted, lock)? {
                        if name.is_some() || attempt == NAME_ATTEMPTS {
                            return Err(err.into());
                        }
                        attempt += 1;
                    }
                }
                created => {
                    created?;
                    drop(lock);
                    self.remember_name(&spec.id, &wanted);
                    self.record(self.event_of("create", spec));
                    return if durable { self.sync_container() } else { Ok(()) };
                }
            }
        }
    }

    /// Waits for the disk to have a new container's entry, or leaves that to its start, while its monitor comes up.
    fn sync_container(&self) -> Result<()> {
        if self.forerunner.borrow().is_some() {
            return Ok(());
        }
        Ok(self.store().containers().sync()?)
    }

    /// `/` of the container has the mode of `/` of its topmost layer.
    pub(super) fn copy_root_mode(
        &self,
        spec: &ContainerSpec,
        upper: std::os::fd::BorrowedFd<'_>,
    ) -> std::io::Result<()> {
        let top = match &spec.root {
            crate::base::spec::Root::Layers(layers) => {
                layers.last().map(|top| self.store().layers().fs_path(top))
            }
            crate::base::spec::Root::DirectoryOverlay(path) => Some(path.clone()),
            crate::base::spec::Root::Directory(_) => None,
        };
        let mode = top.and_then(|top| rustix::fs::stat(top).ok()).map_or(0o755, |stat| stat.st_mode & 0o7777);
        Ok(rustix::fs::fchmod(upper, rustix::fs::Mode::from_raw_mode(mode))?)
    }

    /// The image may have been removed since it was looked up; under the lock it stays.
    fn assert_layers(&self, spec: &ContainerSpec) -> Result<()> {
        let crate::base::spec::Root::Layers(layers) = &spec.root else { return Ok(()) };
        let missing: Vec<&Digest> = layers.iter().filter(|layer| !self.store().layers().has(layer)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let name = spec.image.as_ref().map_or("", |image| image.name.as_str());
        Err(Error::not_found(format!("image {name}: {} of its layers are missing", missing.len()))
            .hint(format!("pull it again: ketch pull {name}")))
    }
}

/// Whose volumes a container has as well: those of its pod come first, so that others win.
fn inherited(request: &ContainerRequest) -> Vec<String> {
    let of_pod = request.inherits_from.iter().map(ToString::to_string);
    of_pod.chain(request.volumes_from.iter().cloned()).collect()
}

/// A container that is about to be written down.
pub(super) struct Draft<'a> {
    pub(super) spec: &'a ContainerSpec,
    /// The values of its secrets, in the order of `spec.secrets`.
    pub(super) secrets: &'a [Vec<u8>],
    /// Its volumes, as they are made if they are not there.
    pub(super) volumes: &'a [VolumeRecord],
    pub(super) to_be_started: bool,
}

/// Whether volumes of it may be filled with files of the image.
fn has_new_content(spec: &ContainerSpec) -> bool {
    spec.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Volume { copy_up: true, .. }))
}

fn make_log_directory(directory: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|err| {
        Error::invalid(format!("make the log's directory {}", directory.display())).because(err)
    })
}

/// The volumes that the mounts ask for.
pub(super) fn volumes_of(spec: &ContainerSpec, request: &ContainerRequest) -> Result<Vec<VolumeRecord>> {
    let wanted = spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume { name, anonymous, .. } => Some(new_volume(name, *anonymous, mount, request)),
        _ => None,
    });
    wanted.collect()
}

/// A volume that a mount asks for, as it is made if it is not there.
fn new_volume(
    name: &str,
    anonymous: bool,
    mount: &Mount,
    request: &ContainerRequest,
) -> Result<VolumeRecord> {
    let mut record = VolumeRecord::new(name, anonymous);
    let is_meant = |wish: &&MountRequest| Bytes::from(clean_target(wish.target.as_bytes())) == mount.target;
    let wishes = request.mounts.iter().filter(is_meant);
    for wish in wishes {
        if let MountKindRequest::Volume { driver_options, labels, .. } = &wish.kind {
            let pair = |text: &String| {
                let (key, value) = text.split_once('=').unwrap_or((text, ""));
                (key.to_owned(), value.to_owned())
            };
            record.options.extend(driver_options.iter().map(pair));
            record.labels.extend(labels.iter().map(pair));
        }
    }
    record.options = checked_options(record.options)?;
    Ok(record)
}

/// The caller as a line of passwd; only `keep-id` shows who they are.
fn caller_of(userns: &UserNamespace, in_pod: bool) -> Option<HostUser> {
    userns.kept_ids(in_pod)?;
    let uid = rustix::process::getuid().as_raw();
    host_user(&uid.to_string()).ok()
}

/// A user of the host, by name or number.
fn host_user(typed: &str) -> Result<HostUser> {
    let read = |path| {
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let number = typed.parse::<u32>().ok();
    passwd::host_user(&read("/etc/passwd"), &read("/etc/group"), |name, uid| {
        name == typed || Some(uid) == number
    })
    .ok_or_else(|| Error::invalid(format!("no user {typed:?} on the host")))
}

/// What is bound must exist: podman's rule, and the better one, since a mistyped path is found at once.
fn check_sources(spec: &ContainerSpec) -> Result<()> {
    let binds = spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind { source, .. } => Some(source.as_path()),
        _ => None,
    });
    let root = match &spec.root {
        crate::base::spec::Root::Directory(path) | crate::base::spec::Root::DirectoryOverlay(path) => {
            Some(path.as_path())
        }
        crate::base::spec::Root::Layers(_) => None,
    };
    let devices = spec.devices.iter().map(|device| device.source.as_path());
    let overlays = spec.mounts.iter().filter_map(|mount| mount.overlay.as_ref());
    let overlays =
        overlays.flat_map(|overlay| overlay.upper.iter().chain(&overlay.work).map(PathBuf::as_path));
    let programs = spec.init_program.iter().map(PathBuf::as_path);
    for path in binds.chain(root).chain(devices).chain(overlays).chain(programs) {
        check_exists(path)?;
    }
    Ok(())
}

/// As docker has it: what a container shall have of the host and is not there becomes a directory.
///
/// # Errors
///
/// If it cannot be made.
pub(crate) fn make_source(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(|err| Error::system(format!("mkdir {}", path.display()), err))
}

fn check_exists(path: &Path) -> Result<()> {
    rustix::fs::stat(path).map(drop).map_err(|errno| {
        let mut err = Error::system(format!("statfs {}", path.display()), std::io::Error::from(errno));
        err.kind = crate::engine::Kind::Invalid;
        err
    })
}

/// Random bytes of the kernel.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|err| Error::system("read random numbers", err))?;
    Ok(bytes)
}
