//! What containers need before they are made: networks, volumes, and files of secrets and configs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::order;
use crate::base::spec::MountKind;
use crate::compose::apply::{Compose, UpOptions, state_directory, state_path};
use crate::compose::hash;
use crate::compose::node::Node;
use crate::compose::plan::Actual;
use crate::compose::project::{COMPATIBLE, Project, label};
use crate::compose::translate::Files;
use crate::engine::lifecycle::Grace;
use crate::engine::network::{FAMILIES, NetworkRequest, known_option};
use crate::engine::volume::VolumeRequest;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::lock::Share;
use crate::store::volumes::VolumeRecord;
use crate::sys::fs;

impl Compose<'_> {
    /// Makes the networks of the services that are missing, and anew those that are another's than the files
    /// say now.
    pub(super) fn make_networks(&self, order: &[String], grace: Option<Grace>) -> Result<()> {
        for key in self.used("networks", order)? {
            let name = self.project.full_name("networks", &key);
            let Some(node) = self.project.resource("networks", &key) else { continue };
            let there = self.engine.network(&name).ok();
            if node.flag("external") {
                if there.is_none() {
                    return Err(Error::not_found(format!(
                        "network {name} declared as external, but could not be found"
                    ))
                    .hint(format!("make it: ketch network create {name}")));
                }
                continue;
            }
            if let Some(network) = there {
                let is_own = network.labels.get(label::PROJECT) == Some(&self.project.name);
                let was = network.labels.get(label::HASH).filter(|_| is_own);
                if was.is_none_or(|was| *was == hash::of_resource(node)) {
                    continue;
                }
                self.remove_network(&name, grace)?;
            }
            self.event("Network", &name, "Creating");
            if !self.dry_run {
                self.engine.create_network(&self.network_request(&key, &name, node))?;
            }
            self.event("Network", &name, "Created");
        }
        Ok(())
    }

    /// Removes a network that has changed. The project's containers leave it: they are made anew, because what
    /// they use has changed.
    fn remove_network(&self, name: &str, grace: Option<Grace>) -> Result<()> {
        self.event("Network", name, "Removing");
        if !self.dry_run {
            let on: BTreeSet<_> = self.engine.containers_on(name)?.into_iter().collect();
            let mut own = self.containers()?;
            own.retain(|container| on.contains(&container.id));
            for group in self.stop_groups(own) {
                self.stop_and_tell(&group.iter().collect::<Vec<_>>(), grace)?;
                for container in &group {
                    self.engine.disconnect_network(container.id.as_str(), name)?;
                }
            }
            self.engine.remove_network(name, false, None)?;
        }
        self.event("Network", name, "Removed");
        Ok(())
    }

    fn network_request(&self, key: &str, name: &str, node: &Node) -> NetworkRequest {
        let ipam = node.get("ipam");
        let configs = ipam.and_then(|ipam| ipam.get("config")).and_then(Node::as_list).unwrap_or_default();
        let all = |field: &str| -> Vec<String> {
            configs.iter().filter_map(|config| config.str_at(field)).map(str::to_owned).collect()
        };
        let mut labels = pairs(node.get("labels"));
        labels.extend([
            (label::PROJECT.to_owned(), self.project.name.clone()),
            (label::NETWORK.to_owned(), key.to_owned()),
            (label::HASH.to_owned(), hash::of_resource(node)),
            (label::VERSION.to_owned(), COMPATIBLE.to_owned()),
        ]);
        // Options of Docker's bridge that have a meaning here under another name.
        let mut options = pairs(node.get("driver_opts"));
        if let Some(mtu) = options.remove("com.docker.network.driver.mtu") {
            options.insert("mtu".to_owned(), mtu);
        }
        let has_meaning = |name: &str| known_option(name).is_some() || FAMILIES.contains(&name);
        options.retain(|name, _| !name.starts_with("com.docker.") || has_meaning(name));
        NetworkRequest {
            name: name.to_owned(),
            driver: match node.str_at("driver") {
                None | Some("default" | "overlay") => "bridge".to_owned(),
                Some(driver) => driver.to_owned(),
            },
            subnets: all("subnet"),
            gateways: all("gateway"),
            ranges: all("ip_range"),
            ipv6: node.flag("enable_ipv6"),
            no_ipv4: node.get("enable_ipv4").is_some() && !node.flag("enable_ipv4"),
            aux_addresses: order::map(configs.iter().flat_map(|config| pairs(config.get("aux_addresses")))),
            internal: node.flag("internal"),
            labels,
            options,
            ..NetworkRequest::default()
        }
    }

    /// Makes the volumes of the services that are missing, and anew those that are another's than the files say
    /// now, if the user confirms that.
    pub(super) fn make_volumes(&self, order: &[String], options: &UpOptions) -> Result<()> {
        for key in self.used("volumes", order)? {
            let name = self.project.full_name("volumes", &key);
            let Some(node) = self.project.resource("volumes", &key) else { continue };
            let there = self.engine.store().volumes().get(&name).ok();
            if node.flag("external") {
                if there.is_none() {
                    return Err(Error::not_found(format!("external volume {name:?} not found"))
                        .hint(format!("make it: ketch volume create {name}")));
                }
                continue;
            }
            if let Some(volume) = there
                && !self.is_to_be_replaced(&volume, node, options)?
            {
                continue;
            }
            let bad = |why: &dyn std::fmt::Display| {
                self.project.files.error(node.at, format!("volume {key}: {why}"))
            };
            let driver = node.str_at("driver").unwrap_or_default();
            if !["", "local", "default"].contains(&driver) {
                return Err(bad(&format!("the driver {driver:?} is not known here: all volumes are local")));
            }
            // As docker compose writes it: quoted here, and plain where it is removed.
            let quoted = format!("{name:?}");
            self.event("Volume", &quoted, "Creating");
            if !self.dry_run {
                let request = self.volume_request(&key, &name, node);
                self.engine
                    .create_volume(request)
                    .map_err(|err| if err.kind == Kind::Invalid { bad(&err) } else { err })?;
            }
            self.event("Volume", &quoted, "Created");
        }
        Ok(())
    }

    /// Looks whether a volume is what the files say. One that is to be made anew is removed, with the project's
    /// containers that use it.
    fn is_to_be_replaced(&self, volume: &VolumeRecord, node: &Node, options: &UpOptions) -> Result<bool> {
        let name = &volume.name;
        let advice = "Use `external: true` to use an existing volume";
        match volume.labels.get(label::PROJECT) {
            None => {
                (self.warn)(&format!(
                    "volume {name:?} already exists but was not created by Docker Compose. {advice}"
                ));
                return Ok(false);
            }
            Some(other) if *other != self.project.name => {
                let expected = &self.project.name;
                (self.warn)(&format!(
                    "volume {name:?} already exists but was created for project {other:?} (expected {expected:?}). {advice}"
                ));
                return Ok(false);
            }
            Some(_) => {}
        }
        if volume.labels.get(label::HASH).is_none_or(|was| *was == hash::of_resource(node)) {
            return Ok(false);
        }
        let differs = format!("Volume {name:?} exists but doesn't match configuration in compose file.");
        if !options.yes && !(self.confirm)(&format!("{differs} Recreate (data will be lost)?")) {
            (self.warn)(&format!(
                "{differs} It stays as it is; up --yes makes it anew, and its data is lost"
            ));
            return Ok(false);
        }
        let mut users = self.containers()?;
        users.retain(|container| self.mounts_volume(container, name));
        self.remove_all(&users.iter().collect::<Vec<_>>(), options.grace)?;
        self.event("Volume", name, "Removing");
        if !self.dry_run {
            self.engine.remove_volume(name, None)?;
        }
        self.event("Volume", name, "Removed");
        Ok(true)
    }

    fn mounts_volume(&self, container: &Actual, volume: &str) -> bool {
        let spec = self.engine.container_spec(&container.id);
        spec.is_ok_and(|spec| {
            let is_it = |kind: &MountKind| matches!(kind, MountKind::Volume { name, .. } if name == volume);
            spec.mounts.iter().any(|mount| is_it(&mount.kind))
        })
    }

    fn volume_request(&self, key: &str, name: &str, node: &Node) -> VolumeRequest {
        let mut labels = order::map([
            (label::PROJECT.to_owned(), self.project.name.clone()),
            (label::VOLUME.to_owned(), key.to_owned()),
            (label::HASH.to_owned(), hash::of_resource(node)),
            (label::VERSION.to_owned(), COMPATIBLE.to_owned()),
        ]);
        labels.extend(pairs(node.get("labels")));
        let mut request = VolumeRequest::default();
        (request.name, request.labels, request.ignore) = (Some(name.to_owned()), labels, true);
        request.options = pairs(node.get("driver_opts"));
        request
    }

    /// The keys of a section that the services use.
    fn used(&self, section: &str, order: &[String]) -> Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for name in order {
            used.extend(crate::compose::normal::uses(self.project.service(name)?, section));
        }
        Ok(used)
    }

    /// Gives every secret and config of the services a file: their own, or one that is written.
    pub(super) fn write_files(&self, order: &[String]) -> Result<Files> {
        let mut files = Files::new();
        for section in ["secrets", "configs"] {
            for key in self.used(section, order)? {
                let Some(node) = self.project.resource(section, &key) else { continue };
                if let Some(path) = node.str_at("file") {
                    files.insert((section, key), path.into());
                    continue;
                }
                let text = match (node.str_at("content"), node.str_at("environment")) {
                    (Some(content), _) => content.to_owned(),
                    (None, Some(variable)) => self.variable(&key, variable)?,
                    (None, None) => continue,
                };
                let path = text_file(self.engine, self.project, section, &text);
                if !self.dry_run {
                    write_text(self.engine, self.project, &path, &text)?;
                }
                files.insert((section, key), path);
            }
        }
        Ok(files)
    }

    fn variable(&self, key: &str, variable: &str) -> Result<String> {
        self.project.variable(variable).map(str::to_owned).ok_or_else(|| {
            Error::invalid(format!("environment variable {variable:?} required by {key:?} is not set"))
        })
    }
}

/// Where the text of a secret, config or Dockerfile is that has no file of its own: in a file that is named by what
/// it holds.
pub(crate) fn text_file(engine: &Engine, project: &Project, kind: &str, text: &str) -> PathBuf {
    state_path(engine, project).join(format!("{kind}-{}", Digest::of(text.as_bytes()).hex()))
}

/// Writes that file, unless it is there and whole: a power cut may leave an empty one.
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn write_text(engine: &Engine, project: &Project, path: &Path, text: &str) -> Result<()> {
    let is_whole = || std::fs::read(path).is_ok_and(|there| there == text.as_bytes());
    if is_whole() {
        return Ok(());
    }
    let directory = state_directory(engine, project)?;
    let write = || {
        let directory = fs::open_dir(fs::here(), &directory)?;
        // Builds of one project may come here at once.
        fs::lock(&directory, Share::Exclusive)?;
        if is_whole() {
            return Ok(());
        }
        let new = path.with_extension("new");
        std::fs::remove_file(&new).or_else(|err| match err.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(err),
        })?;
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        // Readable for the container's users; the directory above keeps everybody else out.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        fs::sync(&directory)
    };
    write().map_err(|err| Error::system(format!("write {}", path.display()), err))
}

/// A mapping of words; what has no value is left out.
fn pairs(node: Option<&Node>) -> BTreeMap<String, String> {
    let map = node.and_then(Node::as_map);
    order::map(map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.scalar_text()?))))
}
