//! Carries a manifest out, and takes it down.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;

use crate::base::id::ContainerId;
use crate::base::order;
use crate::base::pod::PodId;
use crate::engine::lifecycle::Grace;
use crate::engine::network::NetworkRequest;
use crate::engine::pod::PodRequest;
use crate::engine::remove::Removing;
use crate::engine::request::ContainerRequest;
use crate::engine::secret::SecretRequest;
use crate::engine::volume::VolumeRequest;
use crate::engine::{Engine, Error, Kind, Result};
use crate::kube::files;
use crate::kube::host::{host_path, machine};
use crate::kube::plan::{self, Facts, NETWORK, Options};
use crate::kube::read::stored_secret;
use crate::kube::types::{Claim, Data, Object, Pod, Pull, Secret, VolumeSource};
use crate::kube::volumes::{self, Need};
use crate::store::volumes::VolumeRecord;
use crate::sys::fs;

/// How images are got: the command line shows how far they are.
pub(crate) trait Images {
    /// Gets an image, and tells the name it has here.
    fn obtain(&self, image: &str, pull: Option<Pull>) -> Result<String>;
}

/// What a manifest is carried out with.
pub(crate) struct Play<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) options: &'a Options,
    pub(crate) images: &'a dyn Images,
    pub(crate) warn: &'a dyn Fn(&str),
    /// Addresses of the pods, in their order.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) macs: &'a [String],
    pub(crate) start: bool,
    /// Whether to make nothing more; first asked before the first thing is made.
    pub(crate) interrupted: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Play<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Play").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A pod that can be made.
struct Planned<'a> {
    original: &'a Pod,
    /// With the names that images have here.
    pod: Pod,
    request: PodRequest,
    needs: Vec<Need>,
    /// The names of the volumes that `emptyDir`s are.
    passing: BTreeMap<String, String>,
    /// The pods before it.
    earlier: Vec<&'a Pod>,
}

/// What was made of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) volumes: Vec<String>,
    pub(crate) secrets: Vec<String>,
    pub(crate) pods: Vec<PlayedPod>,
    /// Names of volumes and secrets that were not there before.
    pub(crate) new_volumes: Vec<String>,
    pub(crate) new_secrets: Vec<String>,
}

/// A pod that was made.
#[derive(Debug)]
pub(crate) struct PlayedPod {
    pub(crate) id: PodId,
    /// Its containers but for the infra container and those that only begin.
    pub(crate) containers: Vec<ContainerId>,
    /// What went wrong with the start of some.
    pub(crate) failed: Vec<Error>,
}

/// What was taken down.
#[derive(Debug, Default)]
pub(crate) struct Down {
    pub(crate) stopped: Vec<PodId>,
    pub(crate) removed: Vec<PodId>,
    pub(crate) secrets: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) failed: Vec<Error>,
}

impl Play<'_> {
    /// Makes what the objects say, and starts it. `more` are further ConfigMaps. `done` is told of each thing when it is
    /// there, so that it is known what an error has left.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be made. What was made before stays, but for the pod that was under way.
    pub(crate) fn play(
        &self,
        objects: &[Object],
        more: BTreeMap<String, Data>,
        done: &mut Played,
    ) -> Result<()> {
        let is_map = |object: &Object| matches!(object, Object::ConfigMap(_));
        if objects.is_empty() {
            return Err(Error::invalid("YAML document does not contain any supported kube kind").hint(
                "known are Pod, Deployment, DaemonSet, Job, ConfigMap, Secret and PersistentVolumeClaim",
            ));
        }
        if objects.iter().all(is_map) {
            return Err(Error::invalid(
                "ConfigMaps are not standalone objects: a container of the same file must use them",
            ));
        }
        let mut maps = more;
        for object in objects {
            if let Object::ConfigMap(map) = object {
                maps.insert(map.name.clone(), map.data.clone());
            }
        }
        let mut planned = self.plan(objects, &maps)?;
        for one in &mut planned {
            self.get_images(one)?;
        }
        for object in objects {
            self.go_on()?;
            match object {
                Object::Claim(claim) => self.claim(claim, done)?,
                Object::Secret(secret) => self.secret(secret, done)?,
                Object::ConfigMap(_) | Object::Pod(_) => {}
            }
        }
        let secret = |name: &str| self.secret_data(name);
        let (cpus, memory_bytes) = machine();
        for one in &planned {
            let facts = Facts {
                config_maps: &maps,
                secret: &secret,
                cpus,
                memory_bytes,
                pod_id: "",
                infra_id: "",
                passing: &one.passing,
                earlier: &one.earlier,
            };
            self.pod(one, &facts, done)?;
        }
        Ok(())
    }

    /// Plans all pods: what cannot be planned is said before anything is made.
    fn plan<'o>(&self, objects: &'o [Object], maps: &BTreeMap<String, Data>) -> Result<Vec<Planned<'o>>> {
        let new_secrets = order::map(objects.iter().filter_map(|object| match object {
            Object::Secret(secret) => Some((secret.name.as_str(), &secret.data)),
            _ => None,
        }));
        let secret = |name: &str| {
            new_secrets.get(name).map_or_else(|| self.secret_data(name), |data| Some((*data).clone()))
        };
        let mut addresses = self.addresses.iter();
        let mut macs = self.macs.iter();
        let (cpus, memory_bytes) = machine();
        let mut planned: Vec<Planned<'o>> = Vec::new();
        for object in objects {
            let Object::Pod(pod) = object else { continue };
            if pod.replicas > 1 {
                (self.warn)("Limiting replica count to 1, more than one replica is not supported");
            }
            let request =
                plan::pod(pod, self.options, addresses.next().copied(), macs.next().map(String::as_str))?;
            let mut passing = BTreeMap::new();
            for name in volumes::empty_dirs(pod) {
                passing.insert(name.to_owned(), random_name()?);
            }
            let earlier: Vec<&Pod> = planned.iter().map(|one| one.original).collect();
            let facts = Facts {
                config_maps: maps,
                secret: &secret,
                cpus,
                memory_bytes,
                pod_id: "",
                infra_id: "",
                passing: &passing,
                earlier: &earlier,
            };
            let needs = volumes::needs(pod, &facts)?;
            for container in pod.init_containers.iter().chain(&pod.containers) {
                plan::container(pod, container, false, self.options, &facts)?;
            }
            planned.push(Planned { original: pod, pod: Pod::clone(pod), request, needs, passing, earlier });
        }
        Ok(planned)
    }

    /// An error once nothing more is to be made.
    fn go_on(&self) -> Result<()> {
        if (self.interrupted)() { Err(Error::new(Kind::Conflict, "interrupted")) } else { Ok(()) }
    }

    /// Gets the images of a pod and its volumes.
    fn get_images(&self, planned: &mut Planned<'_>) -> Result<()> {
        let Planned { pod, needs, .. } = planned;
        for need in needs {
            let Need::Image { reference, pull } = need else { continue };
            let here = self.images.obtain(reference, *pull)?;
            for volume in &mut pod.volumes {
                if let VolumeSource::Image { reference: old, .. } = &mut volume.source
                    && old == reference
                {
                    old.clone_from(&here);
                }
            }
        }
        for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
            container.image = self.images.obtain(&container.image, container.pull)?;
        }
        Ok(())
    }

    /// Makes the volume of a claim, unless it is there.
    fn claim(&self, claim: &Claim, done: &mut Played) -> Result<()> {
        const PREFIX: &str = "volume.podman.io/";
        let mut options = BTreeMap::new();
        let mut words = Vec::new();
        for (key, value) in &claim.meta.annotations {
            match key.strip_prefix(PREFIX) {
                Some(key @ ("device" | "type")) => drop(options.insert(key.to_owned(), value.clone())),
                Some(key @ ("uid" | "gid")) => words.push(format!("{key}={value}")),
                Some("mount-options") => words.push(value.clone()),
                Some("driver") if matches!(value.as_str(), "local" | "") => {}
                Some("import-source") | None => {}
                Some(_) => {
                    return Err(Error::new(
                        Kind::Unsupported,
                        format!("volume {}: {key}: {value:?}: all volumes are local here", claim.meta.name),
                    ));
                }
            }
        }
        if !words.is_empty() {
            options.insert("o".to_owned(), words.join(","));
        }
        let name = &claim.meta.name;
        let request = VolumeRequest {
            name: Some(name.clone()),
            labels: claim.meta.labels.clone(),
            options,
            ignore: false,
        };
        match self.engine.create_volume(request) {
            Ok(made) => done.new_volumes.push(made),
            // One that is there already will do.
            Err(err) if err.kind == Kind::Conflict => {}
            Err(err) => return Err(err),
        }
        if let Some(path) = claim.meta.annotations.get(&format!("{PREFIX}import-source")) {
            let failed = |err| Error::system(format!("open {path}"), err);
            let archive = File::open(path).map_err(failed)?;
            self.engine.import_volume_named(name, archive.as_fd())?;
        }
        done.volumes.push(name.clone());
        Ok(())
    }

    /// Stores a secret whole, in place of one that has its name.
    fn secret(&self, secret: &Secret, done: &mut Played) -> Result<()> {
        let data: serde_json::Map<String, serde_json::Value> =
            secret.data.iter().map(|(key, value)| (key.clone(), STANDARD.encode(value).into())).collect();
        let document = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret.name}, "data": data,
        });
        let is_new = self.engine.store().secrets().get(&secret.name).is_err_and(|err| err.is_not_found());
        let id = self.engine.create_secret(SecretRequest {
            name: secret.name.clone(),
            data: document.to_string().into_bytes(),
            replace: true,
            ..SecretRequest::default()
        })?;
        done.new_secrets.extend(is_new.then(|| secret.name.clone()));
        done.secrets.push(id);
        Ok(())
    }

    /// Makes a pod and its containers. One that cannot be made whole is removed.
    fn pod(&self, planned: &Planned<'_>, facts: &Facts<'_>, done: &mut Played) -> Result<()> {
        for need in &planned.needs {
            self.go_on()?;
            self.meet(need, done)?;
        }
        let infra = planned.request.infra.iter();
        self.make_network(&infra.flat_map(|infra| infra.networks.clone()).collect::<Vec<_>>())?;
        let id = self.engine.create_pod(&planned.request)?;
        let made = self.containers(&planned.pod, &id, facts);
        let containers = made.inspect_err(|_| {
            let how = Removing { force: true, grace: Some(Grace::from_seconds(0)), ..Removing::default() };
            drop(self.engine.remove_pod(&id, &how));
        })?;
        let mut played = PlayedPod { id, containers, failed: Vec::new() };
        let start = || self.engine.start_pod_unless(&played.id, self.interrupted);
        let started = if self.start { start() } else { Ok(Vec::new()) };
        let started = started.map(|failed| played.failed = failed);
        done.pods.push(played);
        started
    }

    fn containers(&self, pod: &Pod, id: &PodId, facts: &Facts<'_>) -> Result<Vec<ContainerId>> {
        let details = self.engine.pod_details(id)?;
        let infra_id = details.infra().map(|infra| infra.id.to_string()).unwrap_or_default();
        let facts = Facts { pod_id: id.as_str(), infra_id: &infra_id, ..*facts };
        let mut made = Vec::new();
        let init = pod.init_containers.iter().map(|container| (container, true));
        for (container, init) in init.chain(pod.containers.iter().map(|container| (container, false))) {
            self.go_on()?;
            let mut request = plan::container(pod, container, init, self.options, &facts)?;
            read_profile(&mut request)?;
            let id = self.engine.create_container(&request)?;
            made.extend((!init).then_some(id));
        }
        Ok(made)
    }

    /// The data of a secret that was stored whole.
    fn secret_data(&self, name: &str) -> Option<Data> {
        let bytes = self.engine.store().secrets().data(name).ok()?;
        stored_secret(std::str::from_utf8(&bytes).ok()?)
    }

    /// Makes the network of pods, if it is wanted and not there.
    fn make_network(&self, networks: &[String]) -> Result<()> {
        if !networks.iter().any(|network| network == NETWORK) {
            return Ok(());
        }
        let name = NETWORK.to_owned();
        self.engine.create_network(&NetworkRequest {
            name,
            ignore_existing: true,
            ..NetworkRequest::default()
        })?;
        Ok(())
    }

    /// Sees to what a pod's volumes need.
    fn meet(&self, need: &Need, done: &mut Played) -> Result<()> {
        match need {
            Need::Host { volume, path, kind } => host_path(path, *kind)
                .map_err(|err| Error::invalid(format!("failed to create volume {volume:?}: {err}"))),
            Need::Filled { name, origin, files } => self.fill(name, origin, files, done),
            // It is here.
            Need::Image { .. } => Ok(()),
        }
    }

    /// Makes a volume hold these files, and in one that no container has nothing else.
    fn fill(
        &self,
        name: &str,
        origin: &str,
        files: &[(String, Vec<u8>, u32)],
        done: &mut Played,
    ) -> Result<()> {
        let is_new = match self.engine.store().volumes().get(name) {
            Err(err) if err.is_not_found() => true,
            found => {
                may_be_filled(&found?, origin)?;
                match self.engine.remove_volume_named(name) {
                    Err(err) if matches!(err.kind, Kind::Conflict | Kind::NotFound) => {}
                    other => other?,
                }
                false
            }
        };
        self.engine.create_volume(VolumeRequest {
            name: Some(name.to_owned()),
            labels: BTreeMap::from([(files::LABEL.to_owned(), origin.to_owned())]),
            // One that containers have is still there.
            ignore: !is_new,
            ..VolumeRequest::default()
        })?;
        done.new_volumes.extend(is_new.then(|| name.to_owned()));
        let archive = archive(files).map_err(|err| Error::system("archive the files of a volume", err))?;
        // In the user namespace, where containers' files may be replaced, and through none of their links.
        self.engine.import_volume_named(name, archive.as_fd())
    }
}

/// Refuses a volume that is the user's, or has the files of something else.
fn may_be_filled(volume: &VolumeRecord, origin: &str) -> Result<()> {
    if volume.labels.get(files::LABEL).is_some_and(|of| of == origin) {
        return Ok(());
    }
    let name = &volume.name;
    let message =
        format!("volume {name} is there already, and was not made for {origin}: volume already exists");
    Err(Error::new(Kind::Conflict, message).hint(format!("volume rm {name}, if nothing in it is needed")))
}

/// Takes down what the objects say: pods with their containers, secrets, and with `force` the volumes. What is not
/// there is as good as taken down.
///
/// # Errors
///
/// If the store cannot be read.
pub(crate) fn down(engine: &Engine, objects: &[Object], force: bool) -> Result<Down> {
    let pods = || {
        objects.iter().filter_map(|object| match object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        })
    };
    let mut found = Vec::new();
    for pod in pods() {
        found.extend(engine.pod_named(&pod.meta.name)?);
    }
    let secrets = objects.iter().filter_map(|object| match object {
        Object::Secret(secret) => Some(secret.name.clone()),
        _ => None,
    });
    let mut volumes: Vec<String> = Vec::new();
    for object in objects {
        if let Object::Claim(claim) = object {
            volumes.push(claim.meta.name.clone());
        }
    }
    // Those of claims that stand elsewhere, too, as with podman.
    for volume in pods().flat_map(|pod| &pod.volumes) {
        if let VolumeSource::Claim { name, .. } = &volume.source
            && !volumes.contains(name)
        {
            volumes.push(name.clone());
        }
    }
    let all: Vec<&Pod> = pods().map(Box::as_ref).collect();
    let stored = |(index, pod): (usize, &&Pod)| files::stored_names(&all[..index], pod).collect::<Vec<_>>();
    for name in all.iter().enumerate().flat_map(stored) {
        // One of the user's is none that was made for the files.
        let is_ours = || {
            engine.store().volumes().get(&name).is_ok_and(|volume| volume.labels.contains_key(files::LABEL))
        };
        if !volumes.contains(&name) && is_ours() {
            volumes.push(name);
        }
    }
    if !force {
        volumes.clear();
    }
    Ok(remove(engine, &found, &secrets.collect::<Vec<_>>(), &volumes))
}

/// Takes down what a play has made before it failed. What was there before stays.
pub(crate) fn undo(engine: &Engine, played: &Played) -> Down {
    let pods: Vec<PodId> = played.pods.iter().map(|pod| pod.id.clone()).collect();
    remove(engine, &pods, &played.new_secrets, &played.new_volumes)
}

fn remove(engine: &Engine, pods: &[PodId], secrets: &[String], volumes: &[String]) -> Down {
    let mut down = Down::default();
    for id in pods {
        match engine.stop_pod(id, None) {
            Ok(failed) if failed.is_empty() => down.stopped.push(id.clone()),
            Ok(failed) => down.failed.extend(failed),
            Err(err) => down.failed.push(err),
        }
    }
    for id in pods {
        match engine.remove_pod(id, &Removing { force: true, ..Removing::default() }) {
            Ok(failed) if failed.is_empty() => down.removed.push(id.clone()),
            Ok(failed) => down.failed.extend(failed),
            Err(err) => down.failed.push(err),
        }
    }
    for name in secrets {
        match engine.remove_secret_named(name) {
            Ok(id) => down.secrets.push(id),
            Err(err) if err.kind == Kind::NotFound => {}
            Err(err) => down.failed.push(err),
        }
    }
    for name in volumes {
        match engine.remove_volume_named(name) {
            Ok(()) => down.volumes.push(name.clone()),
            Err(err) if err.kind == Kind::NotFound => {}
            Err(err) => down.failed.push(err),
        }
    }
    down
}

fn random_name() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|err| Error::system("make up a name", err.to_string()))?;
    Ok(ContainerId::from_random(bytes).to_string())
}

/// Reads the file of a seccomp profile that a manifest names.
fn read_profile(request: &mut ContainerRequest) -> Result<()> {
    let named = request.security_options.iter().rev().find_map(|option| option.strip_prefix("seccomp="));
    let Some(file) = named.filter(|file| *file != "unconfined") else { return Ok(()) };
    let text = fs::read_named_text(Path::new(file))
        .map_err(|err| Error::system(format!("opening seccomp profile {file}"), err))?;
    request.seccomp_profile = Some(text);
    Ok(())
}

/// Files, root's, as an archive in memory, read from its beginning.
fn archive(files: &[(String, Vec<u8>, u32)]) -> io::Result<File> {
    let memory = rustix::fs::memfd_create("kube", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut archive = tar::Builder::new(File::from(memory));
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    for (path, content, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(now);
        let path: PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
        archive.append_data(&mut header, path, content.as_slice())?;
    }
    let mut file = archive.into_inner()?;
    file.rewind()?;
    Ok(file)
}
