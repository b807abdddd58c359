//! Which files a project is made of, what it is called, and which variables its files may use.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::base::path::clean;
use crate::compose::dotenv;
use crate::compose::interpolate::{self, Variables};
use crate::compose::load::Options;
use crate::compose::node::Files;
use crate::engine::{Error, Result};

const DEFAULT_FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDE_FILES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// The files, absolute, and the project's directory.
pub(super) fn locate(options: &Options) -> Result<(Vec<PathBuf>, PathBuf)> {
    let here = &options.working_directory;
    let absolute = |path: &PathBuf| -> PathBuf {
        if path.as_os_str() == "-" { path.clone() } else { clean(&here.join(path)) }
    };
    let mut files: Vec<PathBuf> = options.files.iter().map(absolute).collect();
    if files.is_empty()
        && let Some(list) = own_variable(options, "COMPOSE_FILE").filter(|list| !list.is_empty())
    {
        let separator = own_variable(options, "COMPOSE_PATH_SEPARATOR").unwrap_or_else(|| ":".to_owned());
        files = list.split(separator.as_str()).map(PathBuf::from).map(|path| absolute(&path)).collect();
    }
    if files.is_empty() {
        let start = options.project_directory.as_ref().map_or_else(|| here.clone(), |dir| here.join(dir));
        files = search(&start)?;
    }
    let directory = match &options.project_directory {
        Some(directory) => clean(&here.join(directory)),
        None => files
            .first()
            .filter(|path| path.as_os_str() != "-")
            .and_then(|path| path.parent())
            .map_or_else(|| here.clone(), Path::to_path_buf),
    };
    Ok((files, directory))
}

/// A variable that compose itself goes by: the caller's, or one of `.env` where the command was called. A file
/// that cannot be read is told of when the project is loaded.
pub(crate) fn own_variable(options: &Options, name: &str) -> Option<String> {
    if let Some(value) = options.environment.get(name) {
        return Some(value.clone());
    }
    let mut files = named_env_files(options);
    if files.is_empty() {
        files.push(first_directory(options).join(".env"));
    }
    let mut found = None;
    for path in files {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        // Most files name none of compose's own variables.
        if text.contains(name) {
            let find = |name: &str| options.environment.get(name).cloned();
            let Ok(parsed) = dotenv::parse(&text, &find) else { continue };
            found = parsed.into_iter().rfind(|(known, _)| known == name).map(|(_, value)| value).or(found);
        }
    }
    found
}

/// The env files that the caller names: `--env-file`, else $COMPOSE_ENV_FILES.
fn named_env_files(options: &Options) -> Vec<PathBuf> {
    let here = &options.working_directory;
    match options.environment.get("COMPOSE_ENV_FILES") {
        Some(list) if options.env_files.is_empty() && !list.is_empty() => {
            list.split(',').map(|path| here.join(path)).collect()
        }
        _ => options.env_files.iter().map(|path| here.join(path)).collect(),
    }
}

/// The directory whose `.env` is read before it is known where the project is; its values are the stronger ones.
fn first_directory(options: &Options) -> PathBuf {
    let here = &options.working_directory;
    let of_file = options.files.first().filter(|path| path.as_os_str() != "-");
    match (&options.project_directory, of_file.map(|path| here.join(path))) {
        (Some(directory), _) => clean(&here.join(directory)),
        (None, Some(file)) => file.parent().map_or_else(|| here.clone(), clean),
        (None, None) => here.clone(),
    }
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
pub(super) fn environment(
    options: &Options,
    directory: &Path,
) -> Result<(BTreeMap<String, String>, Vec<PathBuf>)> {
    let own = |name: &str| options.environment.get(name).cloned();
    let mut files = named_env_files(options);
    let disabled = own("COMPOSE_DISABLE_ENV_FILE").is_some_and(|value| value == "1" || value == "true");
    if files.is_empty() && !disabled {
        let mut directories = vec![directory.to_owned(), first_directory(options)];
        directories.dedup();
        files.extend(directories.iter().map(|dir| dir.join(".env")).filter(|path| path.is_file()));
    }
    let mut variables = BTreeMap::new();
    for path in &files {
        let find = |name: &str| own(name).or_else(|| variables.get(name).cloned());
        let parsed = env_file(path, &find)?;
        variables.extend(parsed);
    }
    variables.extend(options.environment.clone());
    Ok((variables, files))
}

/// The variables of an env file, which may use those that `find` knows.
pub(super) fn env_file(path: &Path, find: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>> {
    let text = read_text(path).map_err(|err| {
        let missing = Error::invalid(format!("couldn't find env file: {}", path.display()));
        if err.kind() == std::io::ErrorKind::NotFound { missing } else { missing.because(err) }
    })?;
    dotenv::parse(&text, find).map_err(|fault| {
        Error::invalid(format!("failed to read {}: line {}: {}", path.display(), fault.line, fault.message))
    })
}

/// The text of a file, or of standard input for `-`, which can be read once.
pub(super) fn read_text(path: &Path) -> std::io::Result<String> {
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

/// Whether the top of a Compose file may have a `name`: most have none, and reading them twice would be felt with
/// thousands of services.
fn may_have_name(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    // `{"name": …}` as JSON and YAML's flow have it, behind comments and the start of a document.
    let begins_flow = |line: &str| line.strip_prefix("---").map_or(line, str::trim_start).starts_with('{');
    let is_flow = text.trim_start().starts_with('{') || text.lines().any(begins_flow);
    is_flow && text.contains("name")
        || text.lines().any(|line| line.trim_start_matches(['"', '\'']).starts_with("name"))
}

/// The project's name: `-p`, $COMPOSE_PROJECT_NAME, `name:` of the last file that has one, the directory.
pub(super) fn canonical_name_of(
    found: &[PathBuf],
    options: &Options,
    environment: &BTreeMap<String, String>,
    directory: &Path,
    stdin: Option<&str>,
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
    for path in found {
        let text = match stdin.filter(|_| path.as_os_str() == "-") {
            Some(text) => Ok(text.to_owned()),
            None => read_text(path),
        };
        let Some(text) = text.ok().filter(|text| may_have_name(text)) else { continue };
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
