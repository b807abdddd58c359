//! From the names of files to one complete tree: the only part of the front half that does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::compose::interpolate::Variables;
use crate::compose::node::{Files, Kind, Map, Node};
use crate::compose::schema::{FILE, SERVICE_FIELDS};
use crate::compose::{canonical, check, dotenv, interpolate, merge, normal};
use crate::engine::{Error, Result};

/// What a project is loaded from, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `-f`, in order; `-` is standard input. Empty: found in the working directory or above.
    pub(crate) files: Vec<PathBuf>,
    /// `--project-directory`.
    pub(crate) project_directory: Option<PathBuf>,
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
    pub(crate) tree: Node,
    /// Variables without a value, in the order of their names.
    pub(crate) missed: BTreeSet<String>,
    /// Every profile of the files.
    pub(crate) profiles: BTreeSet<String>,
    /// All services, active or not.
    pub(crate) all_services: BTreeSet<String>,
    /// What the places of the tree refer to.
    pub(crate) files: Files,
}

const DEFAULT_FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDE_FILES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// Reads and completes a project.
///
/// # Errors
///
/// Files that cannot be read, values that are not allowed, parts that do not fit together.
pub(crate) fn load(options: &Options) -> Result<Loaded> {
    let (found, directory) = locate(options)?;
    let (environment, env_files) = environment(options, &directory)?;
    let mut loader = Loader { options, environment, files: Files::default(), missed: BTreeSet::new() };
    let base = canonical_name_of(&found, options, &loader.environment, &directory, &mut loader.files)?;
    loader.environment.insert("COMPOSE_PROJECT_NAME".to_owned(), base.clone());
    let mut tree = Node::map(Map::new(), Default::default());
    for path in &found {
        tree = merge::records(tree, loader.file(path, &directory, &mut Vec::new())?, &FILE);
    }
    let Loader { environment, files, missed, .. } = loader;
    if tree.get("services").is_none() {
        let empty = Node::map(Map::new(), tree.at);
        if let Some(top) = tree.as_map_mut() {
            top.insert("services".to_owned(), empty);
        }
    }
    let all_services: BTreeSet<String> =
        tree.get("services").and_then(Node::as_map).map(|s| s.keys().cloned().collect()).unwrap_or_default();
    let profiles = all_profiles(&tree);
    let find = |name: &str| environment.get(name).cloned();
    let context = normal::Context { project: &base, directory: &directory, find: &find };
    if !options.no_env_resolution && !options.no_normalize {
        env_files_of_services(&mut tree, &files, &find)?;
    }
    if !options.no_normalize {
        normal::complete(&mut tree, &context);
    }
    activate(&mut tree, options, &environment);
    if !options.no_consistency {
        check::project(&tree, &all_services, &files)?;
    }
    if !options.no_normalize {
        normal::drop_unused(&mut tree);
    }
    normal::omit_empty_file(&mut tree);
    Ok(Loaded {
        name: base,
        directory,
        config_files: found,
        env_files,
        tree,
        missed,
        profiles,
        all_services,
        files,
    })
}

/// The files, absolute, and the project's directory.
fn locate(options: &Options) -> Result<(Vec<PathBuf>, PathBuf)> {
    let here = &options.working_directory;
    let absolute = |path: &PathBuf| -> PathBuf {
        if path.as_os_str() == "-" { path.clone() } else { canonical::clean(&here.join(path)) }
    };
    let mut files: Vec<PathBuf> = options.files.iter().map(absolute).collect();
    if files.is_empty()
        && let Some(list) = options.environment.get("COMPOSE_FILE").filter(|list| !list.is_empty())
    {
        let separator = options.environment.get("COMPOSE_PATH_SEPARATOR").map_or(":", String::as_str);
        files = list.split(separator).map(PathBuf::from).map(|path| absolute(&path)).collect();
    }
    if files.is_empty() {
        let start = options.project_directory.as_ref().map_or_else(|| here.clone(), |dir| here.join(dir));
        files = search(&start)?;
    }
    let directory = match &options.project_directory {
        Some(directory) => canonical::clean(&here.join(directory)),
        None => files
            .first()
            .filter(|path| path.as_os_str() != "-")
            .and_then(|path| path.parent())
            .map_or_else(|| here.clone(), Path::to_path_buf),
    };
    Ok((files, directory))
}

/// The default file in a directory or the nearest one above it, with its override file.
fn search(start: &Path) -> Result<Vec<PathBuf>> {
    for directory in start.ancestors() {
        let there =
            |names: &[&str]| names.iter().map(|name| directory.join(name)).find(|path| path.is_file());
        if let Some(file) = there(&DEFAULT_FILES) {
            return Ok(std::iter::once(file).chain(there(&OVERRIDE_FILES)).collect());
        }
    }
    Err(Error::not_found("no configuration file provided: not found")
        .hint(format!("name one with -f, or make compose.yaml in {} or above", start.display())))
}

/// The variables that files may use: the caller's, over those of the `.env` files.
fn environment(options: &Options, directory: &Path) -> Result<(BTreeMap<String, String>, Vec<PathBuf>)> {
    let own = |name: &str| options.environment.get(name).cloned();
    let mut files: Vec<PathBuf> =
        options.env_files.iter().map(|path| options.working_directory.join(path)).collect();
    if files.is_empty()
        && let Some(list) = own("COMPOSE_ENV_FILES").filter(|list| !list.is_empty())
    {
        files = list.split(',').map(|path| options.working_directory.join(path)).collect();
    }
    let disabled = own("COMPOSE_DISABLE_ENV_FILE").is_some_and(|value| value == "1" || value == "true");
    if files.is_empty() && !disabled {
        let default = directory.join(".env");
        if default.is_file() {
            files.push(default);
        }
    }
    let mut variables = BTreeMap::new();
    for path in &files {
        let text = read_text(path).map_err(|err| {
            Error::invalid(format!("couldn't find env file: {}", path.display())).because(err)
        })?;
        let find = |name: &str| own(name).or_else(|| variables.get(name).cloned());
        let parsed = dotenv::parse(&text, &find).map_err(|fault| {
            Error::invalid(format!(
                "failed to read {}: line {}: {}",
                path.display(),
                fault.line,
                fault.message
            ))
        })?;
        variables.extend(parsed);
    }
    variables.extend(options.environment.clone());
    Ok((variables, files))
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        bytes
    } else {
        std::fs::read(path)?
    };
    String::from_utf8(bytes)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The project's name: `-p`, $COMPOSE_PROJECT_NAME, `name:` of the last file that has one, the directory.
fn canonical_name_of(
    found: &[PathBuf],
    options: &Options,
    environment: &BTreeMap<String, String>,
    directory: &Path,
    files: &mut Files,
) -> Result<String> {
    let given = options.project_name.clone().or_else(|| environment.get("COMPOSE_PROJECT_NAME").cloned());
    if let Some(name) = given.filter(|name| !name.is_empty()) {
        if normal_name(&name) != name {
            return Err(Error::invalid(format!(
                "invalid project name {name:?}: must consist only of lowercase alphanumeric characters, hyphens, and underscores as well as start with a letter or number"
            )));
        }
        return Ok(name);
    }
    let mut named = None;
    for path in found.iter().filter(|path| path.as_os_str() != "-") {
        let Ok(text) = read_text(path) else { continue };
        // Cheap look: most files have no name, and reading them twice would be felt with thousands of services.
        if !text.lines().any(|line| line.starts_with("name") || line.starts_with("\"name")) {
            continue;
        }
        let file = files.add(path.display().to_string());
        for document in files.documents(&text, file)? {
            if let Some(name) = document.str_at("name") {
                let find = |variable: &str| environment.get(variable).cloned();
                let mut variables = Variables { find: &find, missed: BTreeSet::new() };
                let name = interpolate::text(name, &mut variables)
                    .map_err(|fault| files.error(document.at, format!("name: {fault}")))?;
                named = Some(name);
            }
        }
    }
    if let Some(name) = named {
        let normal = normal_name(&name);
        if !normal.is_empty() {
            return Ok(normal);
        }
    }
    let base = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = normal_name(&base);
    if name.is_empty() {
        return Err(Error::invalid("project name must not be empty").hint("give one with -p"));
    }
    Ok(name)
}

/// Lower case, with nothing but letters, digits, `-` and `_`, beginning with a letter or digit.
fn normal_name(text: &str) -> String {
    let kept: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

struct Loader<'a> {
    options: &'a Options,
    environment: BTreeMap<String, String>,
    files: Files,
    missed: BTreeSet<String>,
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
        let text =
            read_text(path).map_err(|err| Error::invalid(format!("open {}", path.display())).because(err))?;
        let file = self.files.add(path.display().to_string());
        let mut documents = self.files.documents(&text, file)?;
        if documents.is_empty() {
            return Err(Error::invalid(format!("{}: empty compose file", path.display())));
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

    fn long_form(&self, document: Node, directory: &Path) -> Result<Node> {
        let context = canonical::Context {
            files: &self.files,
            directory,
            home: self.options.home.as_deref(),
            keep_paths: self.options.no_path_resolution,
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
        let mut tree = self.long_form(document, directory)?;
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
            return Err(Error::invalid(format!(
                "cannot extend service {name:?} in {}: service not found",
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
                let other = canonical::clean(&directory.join(file));
                let other_directory = other.parent().unwrap_or(directory).to_path_buf();
                let mut whole = Node::map(Map::new(), Default::default());
                for document in self.documents(&other)? {
                    whole = merge::records(whole, self.long_form(document, &other_directory)?, &FILE);
                }
                self.extended(&whole, &base_name, &other, &other_directory, chain)?
            }
        };
        Ok(merge::records(base, service, &SERVICE_FIELDS))
    }

    /// Another project's files, with their own directory and variables.
    fn include(&mut self, include: &Node, directory: &Path, chain: &mut Vec<PathBuf>) -> Result<Node> {
        let words = |key: &str| -> Vec<String> {
            let list = include.get(key).and_then(Node::as_list).unwrap_or_default();
            list.iter().filter_map(Node::as_str).map(str::to_owned).collect()
        };
        let paths: Vec<PathBuf> =
            words("path").iter().map(|path| canonical::clean(&directory.join(path))).collect();
        let Some(first) = paths.first() else {
            return Err(self.files.error(include.at, "include needs a path"));
        };
        let own_directory = match include.str_at("project_directory") {
            Some(other) => canonical::clean(&directory.join(other)),
            None => first.parent().unwrap_or(directory).to_path_buf(),
        };
        let mut env_files: Vec<PathBuf> = words("env_file").iter().map(|path| directory.join(path)).collect();
        if env_files.is_empty() && own_directory.join(".env").is_file() {
            env_files.push(own_directory.join(".env"));
        }
        let outer = self.environment.clone();
        for path in env_files {
            let text = read_text(&path).map_err(|err| {
                Error::invalid(format!("couldn't find env file: {}", path.display())).because(err)
            })?;
            let parsed = dotenv::parse(&text, &|name| outer.get(name).cloned()).map_err(|fault| {
                Error::invalid(format!(
                    "failed to read {}: line {}: {}",
                    path.display(),
                    fault.line,
                    fault.message
                ))
            })?;
            for (name, value) in parsed {
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
            own.sort_unstable_keys();
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

/// Lays the variables of `env_file` under those of `environment`.
fn env_files_of_services(
    tree: &mut Node,
    files: &Files,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let services = tree.as_map_mut().and_then(|top| top.get_mut("services")).and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(Map::values_mut) {
        let Some(fields) = service.as_map_mut() else { continue };
        read_pairs(fields, "env_file", "environment", files, find)?;
        read_pairs(fields, "label_file", "labels", files, find)?;
    }
    Ok(())
}

fn read_pairs(
    fields: &mut Map,
    file_key: &str,
    key: &str,
    files: &Files,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let Some(Kind::List(list)) = fields.shift_remove(file_key).map(|node| node.kind) else { return Ok(()) };
    let mut pairs = Map::new();
    for item in list {
        let Some(path) = item.as_str().or_else(|| item.str_at("path")) else { continue };
        let required = item.as_str().is_some() || item.flag("required");
        let text = match read_text(Path::new(path)) {
            Ok(text) => text,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound && !required => continue,
            Err(err) => return Err(files.error(item.at, format!("env file {path} not found")).because(err)),
        };
        let parsed = if item.str_at("format") == Some("raw") {
            dotenv::raw(&text)
        } else {
            let seen = |name: &str| {
                find(name)
                    .or_else(|| pairs.get(name).and_then(|node: &Node| node.as_str()).map(str::to_owned))
            };
            dotenv::parse(&text, &seen).map_err(|fault| {
                files.error(item.at, format!("failed to read {path}: line {}: {}", fault.line, fault.message))
            })?
        };
        pairs.extend(parsed.into_iter().map(|(name, value)| (name, Node::text(value, item.at))));
    }
    let at = pairs.first().map(|(_, node)| node.at).unwrap_or_default();
    let own = fields.entry(key.to_owned()).or_insert_with(|| Node::map(Map::new(), at));
    if let Some(own) = own.as_map_mut() {
        for (name, value) in pairs {
            own.entry(name).or_insert(value);
        }
        own.sort_unstable_keys();
    }
    Ok(())
}

/// Takes away the services that no active profile asks for.
fn activate(tree: &mut Node, options: &Options, environment: &BTreeMap<String, String>) {
    let mut active: BTreeSet<String> = options.profiles.iter().cloned().collect();
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
