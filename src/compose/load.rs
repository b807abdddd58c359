//! From the names of files to one complete tree: the only part of the front half that does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::base::order;
use crate::base::order::InOrder as _;
use crate::base::path::clean;
use crate::compose::env_files::{Lookup, env_files_of_services};
use crate::compose::interpolate::Variables;
use crate::compose::locate::{canonical_name_of, env_file, environment, locate, read_text};
use crate::compose::node::{Files, Kind, Map, Node};
use crate::compose::schema::{FILE, SERVICE_FIELDS};
use crate::compose::{canonical, check, interpolate, merge, normal};
use crate::engine::{Error, Result};

/// What a project is loaded from, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `-f`, in order; `-` is standard input. Empty: found in the working directory or above.
    pub(crate) files: Vec<PathBuf>,
    /// `--project-directory`.
    pub(crate) project_directory: Option<PathBuf>,
    /// Where the files lie that came with a published project; paths in it are the project directory's all the same.
    pub(crate) published: Option<PathBuf>,
    /// `-p`.
    pub(crate) project_name: Option<String>,
    /// `--env-file`; empty: `.env` beside the project, if there.
    pub(crate) env_files: Vec<PathBuf>,
    /// `--profile`.
    pub(crate) profiles: Vec<String>,
    /// The caller's environment.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) working_directory: PathBuf,
    pub(crate) home: Option<PathBuf>,
    /// Services named on the command line: they and what they need are active without their profiles.
    pub(crate) services: Vec<String>,
    pub(crate) no_interpolate: bool,
    pub(crate) no_path_resolution: bool,
    pub(crate) no_normalize: bool,
    pub(crate) no_consistency: bool,
    /// Read `env_file`s; a command that makes no containers need not.
    pub(crate) no_env_resolution: bool,
}

/// A project, complete.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    /// Absolute names of the files of `-f`, for the labels of containers.
    pub(crate) config_files: Vec<PathBuf>,
    pub(crate) env_files: Vec<PathBuf>,
    /// The variables of the project: the caller's, over those of the env files.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) tree: Node,
    /// Variables without a value, in the order of their names.
    pub(crate) missed: BTreeSet<String>,
    /// What the files say that no longer means anything, a sentence each.
    pub(crate) obsolete: BTreeSet<String>,
    /// Every profile of the files.
    pub(crate) profiles: BTreeSet<String>,
    /// All services, active or not.
    pub(crate) all_services: BTreeSet<String>,
    /// What the places of the tree refer to.
    pub(crate) files: Files,
}

/// Reads and completes a project.
///
/// # Errors
///
/// Files that cannot be read, values that are not allowed, parts that do not fit together.
pub(crate) fn load(options: &Options) -> Result<Loaded> {
    let (found, directory) = locate(options)?;
    let (environment, env_files) = environment(options, &directory)?;
    let stdin = found.iter().find(|path| path.as_os_str() == "-").map(|path| text_of(path)).transpose()?;
    let mut loader = Loader {
        options,
        environment,
        files: Files::default(),
        missed: BTreeSet::new(),
        obsolete: BTreeSet::new(),
        stdin,
    };
    let base = canonical_name_of(
        &found,
        options,
        &loader.environment,
        &directory,
        loader.stdin.as_deref(),
        &mut loader.files,
    )?;
    loader.environment.insert("COMPOSE_PROJECT_NAME".to_owned(), base.clone());
    let mut tree = Node::map(Map::new(), Default::default());
    for path in &found {
        tree = merge::records(tree, loader.file(path, &directory, &mut Vec::new())?, &FILE);
    }
    let Loader { environment, files, missed, obsolete, .. } = loader;
    if tree.get("services").is_none() {
        let empty = Node::map(Map::new(), tree.at);
        if let Some(top) = tree.as_map_mut() {
            top.insert("services".to_owned(), empty);
        }
    }
    let all_services = tree.get("services").and_then(Node::as_map).map(|all| order::set(all.keys().cloned()));
    let all_services = all_services.unwrap_or_default();
    let profiles = all_profiles(&tree);
    let find = |name: &str| environment.get(name).cloned().filter(|_| !options.no_interpolate);
    let context = normal::Context { project: &base, directory: &directory, find: &find };
    if !options.no_env_resolution && !options.no_interpolate {
        let published = options.published.as_deref().map(|published| (directory.as_path(), published));
        env_files_of_services(&mut tree, &Lookup { files: &files, find: &find, published })?;
        normal::resolve_environments(&mut tree, &context);
    }
    normal::name(&mut tree, &base);
    if !options.no_normalize {
        normal::complete(&mut tree, &context);
    }
    // With its variables unknown a file is shown as it is written.
    if !options.no_interpolate {
        activate(&mut tree, options, &environment);
        if !options.no_consistency {
            check::project(&tree, &all_services, &files)?;
        }
        normal::drop_unused(&mut tree);
        normal::omit_empty_file(&mut tree);
    }
    Ok(Loaded {
        name: base,
        directory,
        config_files: found,
        env_files,
        environment,
        tree,
        missed,
        obsolete,
        profiles,
        all_services,
        files,
    })
}

struct Loader<'a> {
    options: &'a Options,
    environment: BTreeMap<String, String>,
    files: Files,
    missed: BTreeSet<String>,
    obsolete: BTreeSet<String>,
    /// What has been read from standard input.
    stdin: Option<String>,
}

fn text_of(path: &Path) -> Result<String> {
    read_text(path).map_err(|err| Error::invalid(format!("open {}", path.display())).because(err))
}

impl Loader<'_> {
    /// One file in its long form, with what it includes and extends. `chain` are the files on the way here.
    fn file(&mut self, path: &Path, directory: &Path, chain: &mut Vec<PathBuf>) -> Result<Node> {
        if chain.iter().any(|earlier| earlier == path) {
            let mut names: Vec<String> = chain.iter().map(|path| path.display().to_string()).collect();
            names.push(path.display().to_string());
            return Err(Error::invalid(format!("include cycle detected: {}", names.join(" includes "))));
        }
        let mut tree = Node::map(Map::new(), Default::default());
        chain.push(path.to_path_buf());
        for document in self.documents(path)? {
            let document = self.document(document, path, directory, chain)?;
            tree = merge::records(tree, document, &FILE);
        }
        chain.pop();
        Ok(tree)
    }

    /// The documents of a file, variables replaced.
    fn documents(&mut self, path: &Path) -> Result<Vec<Node>> {
        let text = match &self.stdin {
            Some(text) if path.as_os_str() == "-" => text.clone(),
            _ => text_of(path)?,
        };
        let file = self.files.add(path.display().to_string());
        let mut documents = self.files.documents(&text, file)?;
        if documents.is_empty() {
            return Err(Error::invalid(format!("{}: empty compose file", path.display())));
        }
        if documents.iter().any(|document| document.get("version").is_some()) {
            self.obsolete.insert(format!(
                "{}: the attribute `version` is obsolete, it will be ignored, please remove it to avoid potential confusion",
                path.display()
            ));
        }
        if !self.options.no_interpolate {
            let environment = &self.environment;
            let find = |name: &str| environment.get(name).cloned();
            let mut variables = Variables { find: &find, missed: std::mem::take(&mut self.missed) };
            for document in &mut documents {
                interpolate::tree(document, &mut variables, &self.files)?;
            }
            self.missed = variables.missed;
        }
        Ok(documents)
    }

    /// `before`: what stands in front of paths that are not made absolute.
    fn long_form(&self, document: Node, directory: &Path, before: &Path) -> Result<Node> {
        let context = canonical::Context {
            files: &self.files,
            directory,
            home: self.options.home.as_deref(),
            keep_paths: self.options.no_path_resolution.then_some(before),
            keep_variables: self.options.no_interpolate,
        };
        canonical::file(document, &context)
    }

    fn document(
        &mut self,
        document: Node,
        path: &Path,
        directory: &Path,
        chain: &mut Vec<PathBuf>,
    ) -> Result<Node> {
        let mut tree = self.long_form(document, directory, Path::new(""))?;
        let names: Vec<String> = match tree.get("services").and_then(Node::as_map) {
            Some(services) => services
                .iter()
                .filter(|(_, s)| s.get("extends").is_some())
                .map(|(name, _)| name.clone())
                .collect(),
            None => Vec::new(),
        };
        for name in names {
            let extended = self.extended(&tree, &name, path, directory, &mut Vec::new())?;
            if let Some(services) =
                tree.as_map_mut().and_then(|top| top.get_mut("services")).and_then(Node::as_map_mut)
            {
                services.insert(name, extended);
            }
        }
        let includes = tree.as_map_mut().and_then(|top| top.shift_remove("include"));
        if let Some(Kind::List(includes)) = includes.map(|node| node.kind) {
            for include in includes {
                let included = self.include(&include, directory, chain)?;
                tree = self.import(tree, included)?;
            }
        }
        Ok(tree)
    }

    /// A service laid over the one it extends, and so on.
    fn extended(
        &mut self,
        tree: &Node,
        name: &str,
        path: &Path,
        directory: &Path,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Result<Node> {
        let step = (path.to_path_buf(), name.to_owned());
        if chain.contains(&step) {
            return Err(Error::invalid(format!(
                "circular reference with extends: service {name:?} of {} extends itself",
                path.display()
            )));
        }
        chain.push(step);
        let service = tree.get("services").and_then(|services| services.get(name)).cloned();
        let Some(mut service) = service else {
            let by = chain.iter().rev().nth(1).map_or(name, |(_, by)| by);
            return Err(Error::invalid(format!(
                "cannot extend service {by:?} in {}: service {name:?} not found",
                path.display()
            )));
        };
        let Some(extends) = service.as_map_mut().and_then(|fields| fields.shift_remove("extends")) else {
            return Ok(service);
        };
        let base_name = extends.str_at("service").unwrap_or_default().to_owned();
        let base = match extends.str_at("file") {
            None => self.extended(tree, &base_name, path, directory, chain)?,
            Some(file) => {
                let other = clean(&directory.join(file));
                let other_directory = other.parent().unwrap_or(directory).to_path_buf();
                let mut whole = Node::map(Map::new(), Default::default());
                for document in self.documents(&self.published(&other))? {
                    let before = other_directory.strip_prefix(directory).unwrap_or(&other_directory);
                    whole = merge::records(whole, self.long_form(document, &other_directory, before)?, &FILE);
                }
                self.extended(&whole, &base_name, &other, &other_directory, chain)?
            }
        };
        Ok(merge::records(base, service, &SERVICE_FIELDS))
    }

    /// Where a file of the project is: what was published with it lies elsewhere.
    fn published(&self, path: &Path) -> PathBuf {
        let (published, directory) = (&self.options.published, &self.options.project_directory);
        let beside = published.as_ref().zip(directory.as_ref()).and_then(|(published, directory)| {
            let inside = path.strip_prefix(clean(directory)).ok()?;
            Some(published.join(inside)).filter(|beside| beside.is_file())
        });
        beside.unwrap_or_else(|| path.to_path_buf())
    }

    /// Another project's files, with their own directory and variables.
    fn include(&mut self, include: &Node, directory: &Path, chain: &mut Vec<PathBuf>) -> Result<Node> {
        let words = |key: &str| -> Vec<String> {
            let list = include.get(key).and_then(Node::as_list).unwrap_or_default();
            list.iter().filter_map(Node::as_str).map(str::to_owned).collect()
        };
        let paths: Vec<PathBuf> = words("path").iter().map(|path| clean(&directory.join(path))).collect();
        let Some(first) = paths.first() else {
            return Err(self.files.error(include.at, "include needs a path"));
        };
        let own_directory = match include.str_at("project_directory") {
            Some(other) => clean(&directory.join(other)),
            None => first.parent().unwrap_or(directory).to_path_buf(),
        };
        let mut env_files: Vec<PathBuf> = words("env_file").iter().map(|path| directory.join(path)).collect();
        if env_files.is_empty() && own_directory.join(".env").is_file() {
            env_files.push(own_directory.join(".env"));
        }
        let outer = self.environment.clone();
        for path in env_files {
            for (name, value) in env_file(&path, &|name| outer.get(name).cloned())? {
                self.environment.entry(name).or_insert(value);
            }
        }
        let mut tree = Node::map(Map::new(), include.at);
        for path in &paths {
            let file = self.file(path, &own_directory, chain)?;
            tree = merge::records(tree, file, &FILE);
        }
        self.environment = outer;
        Ok(tree)
    }

    /// Adds what was included; the same name twice with different meanings is an error.
    fn import(&self, mut tree: Node, included: Node) -> Result<Node> {
        let Kind::Map(included) = included.kind else { return Ok(tree) };
        let Some(top) = tree.as_map_mut() else { return Ok(tree) };
        for (section, resources) in included {
            if !matches!(section.as_str(), "services" | "networks" | "volumes" | "secrets" | "configs") {
                continue;
            }
            let Kind::Map(resources) = resources.kind else { continue };
            let at = resources.first().map(|(_, node)| node.at).unwrap_or_default();
            let own = top.entry(section.clone()).or_insert_with(|| Node::map(Map::new(), at));
            let Some(own) = own.as_map_mut() else { continue };
            for (name, resource) in resources {
                match own.get(&name) {
                    Some(known) if known.to_json() != resource.to_json() => {
                        return Err(self.files.error(
                            resource.at,
                            format!("{section}.{name} conflicts with imported resource"),
                        ));
                    }
                    _ => {
                        own.insert(name, resource);
                    }
                }
            }
            own.order();
        }
        Ok(tree)
    }
}

/// Every profile that some service names.
fn all_profiles(tree: &Node) -> BTreeSet<String> {
    let services = tree.get("services").and_then(Node::as_map);
    services
        .into_iter()
        .flat_map(Map::values)
        .filter_map(|service| service.get("profiles")?.as_list())
        .flatten()
        .filter_map(Node::as_str)
        .map(str::to_owned)
        .collect()
}

/// Takes away the services that no active profile asks for.
fn activate(tree: &mut Node, options: &Options, environment: &BTreeMap<String, String>) {
    let mut active = order::set(options.profiles.iter().cloned());
    if let Some(list) = environment.get("COMPOSE_PROFILES").filter(|_| options.profiles.is_empty()) {
        active.extend(list.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned));
    }
    let Some(services) = tree.as_map_mut().and_then(|top| top.get_mut("services")).and_then(Node::as_map_mut)
    else {
        return;
    };
    // A service asked for by name brings its own profiles with it.
    for name in &options.services {
        if let Some(list) = services.get(name).and_then(|s| s.get("profiles")).and_then(Node::as_list) {
            active.extend(list.iter().filter_map(Node::as_str).map(str::to_owned));
        }
    }
    if active.contains("*") {
        return;
    }
    services.retain(|_, service| {
        let profiles = service.get("profiles").and_then(Node::as_list).unwrap_or_default();
        profiles.is_empty() || profiles.iter().filter_map(Node::as_str).any(|p| active.contains(p))
    });
}
