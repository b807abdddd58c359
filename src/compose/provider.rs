//! Services that are no containers: a program of somebody else's, their provider, has them ready and takes them away.
//!
//! ```text
//! PROGRAM compose --project-name=PROJECT up|stop|down --OPTION=VALUE… SERVICE
//! its standard output, a line each:   {"type": "info|error|setenv|rawsetenv|debug", "message": "…"}
//! ```
//!
//! # Source
//!
//! docker/compose, docs/extension.md.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::compose::apply::Compose;
use crate::compose::node::{Map, Node};
use crate::compose::project::Project;
use crate::compose::translate::texts;
use crate::engine::{Error, Kind, Result, config};

/// What a provider is asked for: its word for it, and what is told meanwhile, afterwards, and if it fails.
struct Action {
    word: &'static str,
    doing: &'static str,
    done: &'static str,
    verb: &'static str,
}

const UP: Action = Action { word: "up", doing: "Creating", done: "Created", verb: "create" };
const STOP: Action = Action { word: "stop", doing: "Stopping", done: "Stopped", verb: "stop" };
const DOWN: Action = Action { word: "down", doing: "Removing", done: "Removed", verb: "remove" };

/// A variable that a provider sets for services that depend on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Compose<'_> {
    /// Has the providers among the services make them ready, in this order, and keeps what they set.
    ///
    /// # Errors
    ///
    /// If a provider is not there or fails.
    pub(crate) fn provide(&self, services: &[String]) -> Result<()> {
        for name in services {
            if let Some(provider) = self.project.provider(name) {
                let given = self.ask(name, provider, &UP)?;
                self.given.borrow_mut().insert(name.clone(), given);
            }
        }
        Ok(())
    }

    /// Has the providers among the services take them away, the last one first.
    ///
    /// # Errors
    ///
    /// If a provider is not there or fails.
    pub(crate) fn release(&self, services: &[String]) -> Result<()> {
        self.ask_all(services, &DOWN)
    }

    /// Has those providers stop their services that say they can.
    ///
    /// # Errors
    ///
    /// If a provider is not there or fails.
    pub(crate) fn rest(&self, services: &[String]) -> Result<()> {
        self.ask_all(services, &STOP)
    }

    fn ask_all(&self, services: &[String], action: &Action) -> Result<()> {
        let mut providers =
            services.iter().rev().filter_map(|name| Some((name, self.project.provider(name)?)));
        providers.try_for_each(|(name, provider)| self.ask(name, provider, action).map(drop))
    }

    /// What providers have set for a service.
    pub(super) fn given_to(&self, service: &str) -> Vec<Given> {
        let given = self.given.borrow();
        let dependencies = self.project.dependencies(service);
        dependencies
            .iter()
            .filter_map(|dependency| given.get(&dependency.service))
            .flatten()
            .cloned()
            .collect()
    }

    /// Asks a provider for something; answers what it sets.
    fn ask(&self, service: &str, provider: &Node, action: &Action) -> Result<Vec<Given>> {
        let program = program(self.project, provider.str_at("type").unwrap_or_default())?;
        let metadata = if self.dry_run { Value::Null } else { metadata(&program, self.project) };
        if action.word == STOP.word && metadata.get(STOP.word).is_none_or(Value::is_null) {
            return Ok(Vec::new());
        }
        let words = words(self.project, service, provider, action.word, &metadata)?;
        self.event("", service, action.doing);
        let mut answer = Answer::default();
        if !self.dry_run {
            let failed = |err: std::io::Error| Error::system(format!("run {}", program.display()), err);
            let mut child = command(&program, self.project)
                .args(&words)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(failed)?;
            for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
                if let Some(told) = answer.hear(service, &line.map_err(failed)?) {
                    self.event("", service, &told);
                }
            }
            let status = child.wait().map_err(failed)?;
            if answer.error.is_none() && !status.success() {
                let why = match status.code() {
                    Some(code) => format!("exit status {code}"),
                    None => status.to_string(),
                };
                answer.error = Some(format!("failed to {} service provider: {why}", action.verb));
            }
        }
        match answer.error {
            Some(why) => {
                self.event("", service, &format!("Error {why}"));
                Err(Error::new(Kind::System, why))
            }
            None => {
                self.event("", service, action.done);
                Ok(answer.given)
            }
        }
    }
}

/// What a provider has said so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    given: Vec<Given>,
    error: Option<String>,
}

impl Answer {
    /// Takes a line of a provider; answers what is to be told of it.
    fn hear(&mut self, service: &str, line: &str) -> Option<String> {
        if line.trim().is_empty() {
            return None;
        }
        let said: Value = serde_json::from_str(line).unwrap_or_default();
        let text = said.get("message").and_then(Value::as_str).unwrap_or_default();
        let variable = text.split_once('=');
        match (said.get("type").and_then(Value::as_str), variable) {
            (Some("info"), _) => return text.lines().next().map(str::to_owned),
            (Some("debug"), _) => {}
            (Some("error"), _) => {
                self.error.get_or_insert_with(|| text.to_owned());
            }
            (Some("setenv"), Some((name, value))) => {
                let name = format!("{}_{name}", service.to_uppercase());
                self.given.push(Given { name, value: value.to_owned() });
            }
            (Some("rawsetenv"), Some((name, value))) => {
                self.given.push(Given { name: name.to_owned(), value: value.to_owned() });
            }
            _ => {
                self.error.get_or_insert_with(|| format!("invalid response from provider: {line}"));
            }
        }
        None
    }
}

fn command(program: &Path, project: &Project) -> Command {
    let mut command = Command::new(program);
    command.envs(project.environment());
    command
}

/// What a provider says of its options; nothing if it does not say that.
fn metadata(program: &Path, project: &Project) -> Value {
    let mut command = command(program, project);
    let said = command.args(["compose", "metadata"]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let said = said.ok().filter(|said| said.status.success());
    let said: Value = said.and_then(|said| serde_json::from_slice(&said.stdout).ok()).unwrap_or_default();
    let tells = |action: &Action| said.get(action.word).and_then(|said| said.get("parameters")).is_some();
    if tells(&UP) || tells(&DOWN) { said } else { Value::Null }
}

/// The command line of a provider. Where it says which options it knows it gets those only.
///
/// # Errors
///
/// If an option is missing that it asks for.
fn words(
    project: &Project,
    service: &str,
    provider: &Node,
    action: &str,
    metadata: &Value,
) -> Result<Vec<String>> {
    let empty = Map::new();
    let options = provider.get("options").and_then(Node::as_map).unwrap_or(&empty);
    let parameters = metadata.get(action).and_then(|said| said.get("parameters")).and_then(Value::as_array);
    let name = |parameter: &Value| parameter.get("name").and_then(Value::as_str).map(str::to_owned);
    let is_required = |parameter: &&Value| parameter.get("required") == Some(&Value::Bool(true));
    let mut required = parameters.into_iter().flatten().filter(is_required).filter_map(name);
    if let Some(missing) = required.find(|name| !options.contains_key(name)) {
        let kind = provider.str_at("type").unwrap_or_default();
        return Err(Error::invalid(format!(
            "required parameter {missing:?} is missing from provider {kind:?} definition"
        )));
    }
    let known: Option<Vec<String>> =
        (!metadata.is_null()).then(|| parameters.into_iter().flatten().filter_map(name).collect());
    let mut words = vec!["compose".to_owned(), format!("--project-name={}", project.name), action.to_owned()];
    for key in options.keys().filter(|key| known.as_ref().is_none_or(|known| known.contains(key))) {
        let values = provider.get("options").map(|options| texts(options, key)).unwrap_or_default();
        words.extend(values.iter().map(|value| format!("--{key}={value}")));
    }
    words.push(service.to_owned());
    Ok(words)
}

/// Where docker keeps its plugins for all users.
const PLUGINS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The program of a provider: docker's plugin of that name, or a program that is found by its name.
fn program(project: &Project, kind: &str) -> Result<PathBuf> {
    if kind == "compose" {
        return Err(Error::invalid("'compose' is not a valid provider type"));
    }
    if kind.contains('/') {
        return Some(PathBuf::from(kind)).filter(|path| is_program(path)).ok_or_else(|| missing(kind));
    }
    let own = match project.variable("DOCKER_CONFIG") {
        Some(directory) => Some(PathBuf::from(directory)),
        None => config::home().ok().map(|home| home.join(".docker")),
    };
    let plugin = format!("docker-{kind}");
    let plugins = own.map(|directory| directory.join("cli-plugins"));
    let plugins = plugins.into_iter().chain(PLUGINS.map(PathBuf::from)).map(|path| path.join(&plugin));
    let path = config::search_path().unwrap_or_default();
    let searched = |name: &str| -> Vec<PathBuf> {
        std::env::split_paths(&path).map(|directory| directory.join(name)).collect()
    };
    let mut candidates = plugins.chain(searched(kind)).chain(searched(&plugin));
    candidates.find(|path| is_program(path)).ok_or_else(|| missing(kind))
}

fn missing(kind: &str) -> Error {
    Error::not_found(format!("exec: {kind:?}: executable file not found in $PATH"))
        .hint("a service with `provider` needs the program of its type, or docker's plugin of that name")
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_heard_line_by_line() {
        let mut answer = Answer::default();
        let mut hear = |line: &str| answer.hear("my-db", line);
        assert_eq!(hear(r#"{"type": "info", "message": "25%\nof it"}"#).as_deref(), Some("25%"));
        for silent in [
            "",
            r#"{"type": "debug", "message": "x"}"#,
            r#"{"type": "setenv", "message": "URL=http://a/?b=c"}"#,
            r#"{"type": "rawsetenv", "message": "KEY="}"#,
        ] {
            assert_eq!(hear(silent), None, "{silent}");
        }
        let given = |name: &str, value: &str| Given { name: name.to_owned(), value: value.to_owned() };
        let want = vec![given("MY-DB_URL", "http://a/?b=c"), given("KEY", "")];
        assert_eq!(answer, Answer { given: want, error: None });
        for (line, want) in [
            (r#"{"type": "error", "message": "no room"}"#, "no room"),
            ("no JSON", "invalid response from provider: no JSON"),
            (r#"{"type": "setenv", "message": "URL"}"#, "invalid response from provider: {"),
            (r#"{"type": "other", "message": "x"}"#, "invalid response from provider: {"),
        ] {
            let mut answer = Answer::default();
            assert_eq!(answer.hear("a", line), None);
            assert!(answer.error.as_ref().is_some_and(|error| error.starts_with(want)), "{answer:?}");
        }
    }
}
