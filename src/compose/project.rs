//! A complete project, and the names of what it is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::base::order;
use crate::compose::hash;
use crate::compose::load::Loaded;
use crate::compose::node::{Files, Map, Node};
use crate::compose::translate::int;
use crate::engine::{Error, Result};

/// The docker compose whose files, labels, flags and output ketch keeps to; tools compare with its version.
pub(crate) const COMPATIBLE: &str = "2.26.1";

/// Labels by which ketch, and other tools, find the parts of a project.
pub(crate) mod label {
    pub(crate) const PROJECT: &str = "com.docker.compose.project";
    pub(crate) const SERVICE: &str = "com.docker.compose.service";
    pub(crate) const NUMBER: &str = "com.docker.compose.container-number";
    pub(crate) const HASH: &str = "com.docker.compose.config-hash";
    pub(crate) const ONE_OFF: &str = "com.docker.compose.oneoff";
    pub(crate) const IMAGE: &str = "com.docker.compose.image";
    pub(crate) const DEPENDS: &str = "com.docker.compose.depends_on";
    pub(crate) const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
    pub(crate) const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
    pub(crate) const ENV_FILES: &str = "com.docker.compose.project.environment_file";
    pub(crate) const VERSION: &str = "com.docker.compose.version";
    pub(crate) const NETWORK: &str = "com.docker.compose.network";
    pub(crate) const VOLUME: &str = "com.docker.compose.volume";
}

/// When a service may start, seen from one that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Started,
    Healthy,
    Completed,
}

/// One `depends_on`.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) service: String,
    pub(crate) condition: Condition,
    /// Restarted with what it depends on.
    pub(crate) restart: bool,
    pub(crate) required: bool,
}

/// A project, complete.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    config_files: Vec<PathBuf>,
    env_files: Vec<PathBuf>,
    environment: BTreeMap<String, String>,
    /// What the places of the tree refer to.
    pub(crate) files: Files,
    tree: Node,
    /// Services of the files whose profiles are not active.
    inactive: BTreeSet<String>,
}

impl Project {
    pub(crate) fn new(loaded: Loaded) -> Self {
        let active: BTreeSet<&String> =
            loaded.tree.get("services").and_then(Node::as_map).into_iter().flat_map(Map::keys).collect();
        let inactive = loaded.all_services.iter().filter(|name| !active.contains(name)).cloned().collect();
        Self {
            inactive,
            name: loaded.name,
            directory: loaded.directory,
            config_files: loaded.config_files,
            env_files: loaded.env_files,
            environment: loaded.environment,
            files: loaded.files,
            tree: loaded.tree,
        }
    }

    /// The resources of a section: name in the file, and what it says.
    pub(crate) fn section(&self, section: &str) -> impl Iterator<Item = (&String, &Node)> {
        self.tree.get(section).and_then(Node::as_map).into_iter().flatten()
    }

    /// All services, by name.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.section("services")
    }

    /// What the file says of a service.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub(crate) fn service(&self, name: &str) -> Result<&Node> {
        self.tree
            .get("services")
            .and_then(|services| services.get(name))
            .ok_or_else(|| Error::not_found(format!("no such service: {name}")))
    }

    /// The provider that has a service ready, in place of containers.
    pub(crate) fn provider(&self, service: &str) -> Option<&Node> {
        self.service(service).ok()?.get("provider")
    }

    /// Whether the files have a service of this name, active or not.
    pub(crate) fn knows(&self, service: &str) -> bool {
        self.service(service).is_ok() || self.inactive.contains(service)
    }

    /// A variable of the project: the caller's, or one of its env files.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// The project's variables.
    pub(crate) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// The full name of a network, volume, secret or config.
    pub(crate) fn full_name(&self, section: &str, key: &str) -> String {
        let resource = self.tree.get(section).and_then(|resources| resources.get(key));
        resource.and_then(|resource| resource.str_at("name")).map_or_else(|| key.to_owned(), str::to_owned)
    }

    /// The resource of a section.
    pub(crate) fn resource(&self, section: &str, key: &str) -> Option<&Node> {
        self.tree.get(section)?.get(key)
    }

    /// The name of a service's container.
    pub(crate) fn container_name(&self, service: &str, number: u32) -> String {
        let given = self.service(service).ok().and_then(|node| node.str_at("container_name"));
        given.map_or_else(|| format!("{}-{service}-{number}", self.name), str::to_owned)
    }

    /// The image of a service: its own, or the name that building gives.
    pub(crate) fn image(&self, service: &str) -> String {
        let given = self.service(service).ok().and_then(|node| node.str_at("image"));
        given.map_or_else(|| format!("{}-{service}", self.name), str::to_owned)
    }

    /// How many containers a service shall have.
    pub(crate) fn scale(&self, service: &str) -> u32 {
        let number = |node: Option<&Node>| int(node).and_then(|value| u32::try_from(value).ok());
        let Ok(node) = self.service(service) else { return 0 };
        if node.get("provider").is_some() {
            return 0;
        }
        number(node.get("scale"))
            .or_else(|| number(node.get("deploy").and_then(|deploy| deploy.get("replicas"))))
            .unwrap_or(1)
    }

    /// The services that a service depends on.
    pub(crate) fn dependencies(&self, service: &str) -> Vec<Dependency> {
        let depends =
            self.service(service).ok().and_then(|node| node.get("depends_on")).and_then(Node::as_map);
        depends
            .into_iter()
            .flatten()
            .map(|(name, fields)| Dependency {
                service: name.clone(),
                condition: match fields.str_at("condition") {
                    Some("service_healthy") => Condition::Healthy,
                    Some("service_completed_successfully") => Condition::Completed,
                    _ => Condition::Started,
                },
                restart: fields.flag("restart"),
                required: fields.flag("required"),
            })
            .collect()
    }

    /// Whether some service starts only when this one has ended well.
    pub(crate) fn is_waited_for_to_end(&self, service: &str) -> bool {
        self.services().any(|(name, _)| {
            let mut dependencies = self.dependencies(name).into_iter();
            dependencies.any(|d| d.service == service && d.condition == Condition::Completed)
        })
    }

    /// The named services and, with `dependencies`, those they need; all if none is named. Each comes after
    /// what it depends on.
    ///
    /// # Errors
    ///
    /// If one is not there.
    pub(crate) fn select(&self, names: &[String], dependencies: bool) -> Result<Vec<String>> {
        let mut order = Vec::new();
        if names.is_empty() {
            for (name, _) in self.services() {
                self.visit(name, &mut order);
            }
            return Ok(order);
        }
        let wanted: BTreeSet<&String> = names.iter().collect();
        for name in names {
            self.service(name)?;
            self.visit(name, &mut order);
        }
        if !dependencies {
            order.retain(|name| wanted.contains(name));
        }
        Ok(order)
    }

    fn visit(&self, name: &str, order: &mut Vec<String>) {
        if order.iter().any(|known| known == name) || self.service(name).is_err() {
            return;
        }
        for dependency in self.dependencies(name) {
            self.visit(&dependency.service, order);
        }
        order.push(name.to_owned());
    }

    /// The hash of a service's configuration.
    pub(crate) fn hash(&self, service: &str) -> String {
        self.service(service).map(|node| hash::of(node, &self.tree)).unwrap_or_default()
    }

    /// The labels of a service's own container, but for its hash, which is known when its files are.
    pub(crate) fn labels(&self, service: &str, number: u32) -> BTreeMap<String, String> {
        let paths = |list: &[PathBuf]| {
            let list: Vec<String> = list.iter().map(|path| path.display().to_string()).collect();
            list.join(",")
        };
        let depends: Vec<String> = self
            .dependencies(service)
            .iter()
            .map(|dependency| {
                let condition = match dependency.condition {
                    Condition::Started => "service_started",
                    Condition::Healthy => "service_healthy",
                    Condition::Completed => "service_completed_successfully",
                };
                format!("{}:{condition}:{}", dependency.service, dependency.restart)
            })
            .collect();
        let mut labels = order::map([
            (label::PROJECT, self.name.clone()),
            (label::SERVICE, service.to_owned()),
            (label::NUMBER, number.to_string()),
            (label::ONE_OFF, "False".to_owned()),
            (label::DEPENDS, depends.join(",")),
            (label::WORKING_DIR, self.directory.display().to_string()),
            (label::CONFIG_FILES, paths(&self.config_files)),
            (label::VERSION, COMPATIBLE.to_owned()),
        ]);
        if !self.env_files.is_empty() {
            labels.insert(label::ENV_FILES, paths(&self.env_files));
        }
        labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
