//! What a stage has become so far, and the instructions that change nothing but that. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::dockerfile::DockerfileError;
use crate::base::dockerfile::instruction::{Command, Health, Instruction, Line, Word};
use crate::base::image_document::{ConfigDocument, Step};
use crate::base::manifest::{ContainerDefaults, Descriptor, Healthcheck};
use crate::base::platform::Platform;
use crate::base::signal::Signal;
use crate::engine::build::plan::{self, PREDEFINED};
use crate::engine::unpack::Wanted;

type Result<T> = std::result::Result<T, DockerfileError>;

/// The shell of shell forms, unless SHELL names another.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Where programs are looked for, unless the base says it.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the history calls the language.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// One line of the history to be.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) created_by: String,
    /// When its layer was made; `None`: it made none.
    pub(super) layer: Option<Timestamp>,
}

/// A stage as it is so far.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The base's configuration, with what the stage has changed in its `config`.
    pub(super) document: ConfigDocument,
    /// Lowest first: name in the store and descriptor of the blob.
    pub(super) layers: Vec<(Wanted, Descriptor)>,
    /// How many of them the base brought.
    pub(super) base_layers: usize,
    pub(super) past: Vec<Past>,
    /// ARGs in scope, with their values.
    pub(super) args: Vec<(String, Option<String>)>,
    pub(super) author: Option<String>,
    /// What its programs are made for.
    pub(super) platform: Platform,
    /// When the base was made.
    pub(super) created: Option<Timestamp>,
    /// The base, if it is an image.
    pub(super) base: Option<Digest>,
    /// A CMD of this stage; one of the base goes with a new ENTRYPOINT.
    cmd_is_own: bool,
}

/// What the whole build gives to its stages.
#[derive(Clone, Debug)]
pub(super) struct Scope<'a> {
    pub(super) globals: &'a BTreeMap<String, String>,
    pub(super) given: &'a BTreeMap<String, String>,
    pub(super) platform: BTreeMap<String, String>,
    pub(super) escape: char,
}

impl State {
    pub(super) fn new(document: ConfigDocument, layers: Vec<(Wanted, Descriptor)>) -> Self {
        let base_layers = layers.len();
        Self {
            document,
            layers,
            base_layers,
            past: vec![],
            args: vec![],
            author: None,
            platform: Platform::host(),
            created: None,
            base: None,
            cmd_is_own: false,
        }
    }

    /// Nothing, for programs of `platform`.
    pub(super) fn scratch(platform: &Platform) -> Self {
        let mut document = ConfigDocument::new(platform);
        "/".clone_into(&mut document.config.working_dir);
        Self::new(document, vec![]).on(platform.clone())
    }

    /// Makes sure that programs are found: an image always says where.
    pub(super) fn complete(&mut self) {
        if self.lookup("PATH").is_none() {
            self.document.config.env.insert(0, format!("PATH={SEARCH_PATH}"));
        }
    }

    /// What `--env` gives each stage: an ENV right behind its FROM.
    pub(super) fn predefine(&mut self, entries: &[String]) {
        let mut shown = String::from("ENV");
        for entry in entries {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.set_env(key, value);
            shown += &format!(" {key:?}={value:?}");
        }
        if !entries.is_empty() {
            self.note(shown, None);
        }
    }

    /// The same for programs of another platform.
    pub(super) fn on(self, platform: Platform) -> Self {
        Self { platform, ..self }
    }

    /// A stage that goes on from this one. It has its ARGs, too: "automatically inherited by its child stages".
    pub(super) fn successor(&self) -> Self {
        Self { cmd_is_own: false, ..self.clone() }
    }

    pub(super) fn config(&self) -> &ContainerDefaults {
        &self.document.config
    }

    /// The value of a variable: ENV goes before ARG.
    pub(super) fn lookup(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}=");
        let env = self.config().env.iter().rev().find_map(|entry| entry.strip_prefix(&prefix));
        env.map(str::to_owned).or_else(|| {
            self.args.iter().rev().find(|(known, _)| known == name).and_then(|(_, value)| value.clone())
        })
    }

    pub(super) fn expand(&self, word: &Word, scope: &Scope<'_>) -> Result<String> {
        plan::expand(word, scope.escape, &|name| self.lookup(name))
    }

    /// ARGs that a RUN sees as variables: those that no ENV overrides.
    pub(super) fn visible_args(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in &self.args {
            let Some(value) = value else { continue };
            let prefix = format!("{name}=");
            if self.config().env.iter().any(|entry| entry.starts_with(&prefix)) {
                continue;
            }
            found.retain(|(known, _)| known != name);
            found.push((name.clone(), value.clone()));
        }
        found
    }

    /// What the history says of the ARGs of a RUN: `|2 A=1 B= `, each once, with what it is worth there.
    pub(super) fn shown_args(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.args {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let shown = names.iter().map(|name| format!("{name}={} ", self.lookup(name).unwrap_or_default()));
        if names.is_empty() {
            String::new()
        } else {
            format!("|{} {}", names.len(), shown.collect::<String>())
        }
    }

    /// The words of a command: shell forms get their shell.
    pub(super) fn words(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => {
                let mut words = if self.config().shell.is_empty() {
                    SHELL.map(str::to_owned).to_vec()
                } else {
                    self.config().shell.clone()
                };
                words.push(line.clone());
                words
            }
        }
    }

    /// The names of the layers, lowest first.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        self.layers.iter().map(|(wanted, _)| *wanted).collect()
    }

    /// What tells this file system from any other.
    pub(super) fn top(&self) -> Option<Digest> {
        self.layers.last().map(|(wanted, _)| wanted.name)
    }

    /// Puts a layer on top.
    pub(super) fn push(&mut self, layer: (Wanted, Descriptor)) {
        self.layers.push(layer);
    }

    pub(super) fn note(&mut self, created_by: String, layer: Option<Timestamp>) {
        self.past.push(Past { created_by, layer });
    }

    /// Adds the variable to the image.
    pub(super) fn set_env(&mut self, key: &str, value: &str) {
        let prefix = format!("{key}=");
        let entry = format!("{key}={value}");
        match self.document.config.env.iter_mut().find(|entry| entry.starts_with(&prefix)) {
            Some(known) => *known = entry,
            None => self.document.config.env.push(entry),
        }
    }

    /// Where WORKDIR leads from here.
    pub(super) fn directory(&self, path: &str) -> String {
        let here = self.config().working_dir.as_str();
        let joined = if path.starts_with('/') { path.to_owned() } else { format!("/{here}/{path}") };
        clean(&joined)
    }

    /// Carries out an instruction that changes no file; false for RUN, COPY, ADD, WORKDIR (whose
    /// directory has to be made) and FROM.
    pub(super) fn apply(&mut self, line: &Line, scope: &Scope<'_>) -> Result<bool> {
        let created_by = match &line.instruction {
            Instruction::From(_)
            | Instruction::Run(_)
            | Instruction::Transfer(_)
            | Instruction::Workdir(_) => {
                return Ok(false);
            }
            Instruction::Arg(args) => self.declare(args, scope)?,
            Instruction::Env(pairs) => {
                let pairs = self.pairs(pairs, scope)?;
                pairs.iter().for_each(|(key, value)| self.set_env(key, value));
                shown_pairs("ENV", &pairs)
            }
            Instruction::Label(pairs) => {
                let pairs = self.pairs(pairs, scope)?;
                self.document.config.labels.extend(pairs.iter().cloned());
                shown_pairs("LABEL", &pairs)
            }
            Instruction::User(word) => {
                let user = self.expand(word, scope)?;
                self.document.config.user.clone_from(&user);
                format!("USER {user}")
            }
            Instruction::Cmd(command) => {
                self.cmd_is_own = true;
                let words = self.command(command);
                self.document.config.cmd.clone_from(&words);
                format!("CMD {}", quoted(&words))
            }
            Instruction::Entrypoint(command) => {
                if !self.cmd_is_own {
                    self.document.config.cmd.clear();
                }
                let words = self.command(command);
                self.document.config.entrypoint.clone_from(&words);
                format!("ENTRYPOINT {}", quoted(&words))
            }
            Instruction::Shell(words) => {
                self.document.config.shell.clone_from(words);
                format!("SHELL [{}]", words.join(" "))
            }
            Instruction::Expose(words) => self.expose(words, scope)?,
            Instruction::Volume(words) => {
                let mut paths = Vec::new();
                for word in words {
                    let path = self.expand(word, scope)?;
                    if path.is_empty() {
                        return Err(DockerfileError::new(
                            word.at,
                            "VOLUME specified can not be an empty string",
                        ));
                    }
                    paths.push(path);
                }
                self.document.config.volumes.extend(paths.iter().cloned());
                format!("VOLUME [{}]", paths.join(" "))
            }
            Instruction::StopSignal(word) => {
                let signal = self.expand(word, scope)?;
                signal.parse::<Signal>().map_err(|err| DockerfileError::new(word.at, err.to_string()))?;
                self.document.config.stop_signal.clone_from(&signal);
                format!("STOPSIGNAL {signal}")
            }
            Instruction::Healthcheck(health) => {
                self.document.config.healthcheck = Some(healthcheck(health));
                line.shown.clone()
            }
            Instruction::Onbuild(text) => {
                self.document.config.on_build.push(text.clone());
                format!("ONBUILD {text}")
            }
            Instruction::Maintainer(name) => {
                self.author = Some(name.clone());
                format!("MAINTAINER {name}")
            }
        };
        self.note(created_by, None);
        Ok(true)
    }

    /// The words of CMD and ENTRYPOINT; nothing at all stays nothing.
    fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Shell(line) if line.is_empty() => vec![],
            command => self.words(command),
        }
    }

    fn declare(&mut self, args: &[(String, Option<Word>)], scope: &Scope<'_>) -> Result<String> {
        let mut shown = Vec::new();
        for (name, default) in args {
            let value = match (scope.given.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(word)) => Some(self.expand(word, scope)?),
                (None, None) => scope.globals.get(name).or_else(|| scope.platform.get(name)).cloned(),
            };
            shown.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            // Without a value it takes none away that it has from before or from the base.
            if value.is_some() || !self.args.iter().any(|(known, _)| known == name) {
                self.args.push((name.clone(), value));
            }
        }
        Ok(format!("ARG {}", shown.join(" ")))
    }

    fn pairs(&self, pairs: &[(Word, Word)], scope: &Scope<'_>) -> Result<Vec<(String, String)>> {
        let pair = |(key, value): &(Word, Word)| {
            let name = self.expand(key, scope)?;
            if name.is_empty() {
                return Err(DockerfileError::new(key.at, "names can not be blank"));
            }
            Ok((name, self.expand(value, scope)?))
        };
        pairs.iter().map(pair).collect()
    }

    fn expose(&mut self, words: &[Word], scope: &Scope<'_>) -> Result<String> {
        let mut ports = Vec::new();
        for word in words {
            for text in plan::expand_words(word, scope.escape, &|name| self.lookup(name))? {
                let bad = || DockerfileError::new(word.at, format!("invalid containerPort: {text}"));
                let (range, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
                let protocol = protocol.to_ascii_lowercase();
                if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
                    return Err(bad().hint("write PORT, PORT/udp or FIRST-LAST/tcp"));
                }
                // `8080:80` publishes nowhere; the container's side counts.
                let range = range.rsplit(':').next().unwrap_or(range);
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
                let (first, last) = (number(first).ok_or_else(bad)?, number(last).ok_or_else(bad)?);
                if last < first {
                    return Err(bad());
                }
                ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
            }
        }
        self.document.config.exposed_ports.extend(ports.iter().cloned());
        Ok(format!("EXPOSE [{}]", ports.join(" ")))
    }

    /// Writes the history down. What made no layer is as old as the layer before it.
    pub(super) fn write_history(&mut self, created: Timestamp, base: Timestamp) {
        let mut last = base;
        for past in std::mem::take(&mut self.past) {
            last = past.layer.unwrap_or(last).min(created);
            self.document.push_history(&Step {
                created: Some(last),
                created_by: past.created_by,
                comment: COMMENT.to_owned(),
                empty_layer: past.layer.is_none(),
                ..Step::default()
            });
        }
    }
}

/// Is the variable one that RUN has without an ARG?
pub(super) fn is_predefined(name: &str) -> bool {
    PREDEFINED.contains(&name)
}

fn healthcheck(health: &Health) -> Healthcheck {
    match health {
        Health::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
        Health::Check { command, flags } => {
            let test = match command {
                Command::Exec(words) => [&["CMD".to_owned()][..], words].concat(),
                Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
            };
            Healthcheck {
                test,
                interval: flags.interval,
                timeout: flags.timeout,
                start_period: flags.start_period,
                start_interval: flags.start_interval,
                retries: flags.retries,
            }
        }
    }
}

fn shown_pairs(word: &str, pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{word} {}", pairs.join(" "))
}

/// Words as BuildKit's histories show them: `["nginx" "-g"]`.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> =
        words.iter().map(|word| serde_json::to_string(word).unwrap_or_default()).collect();
    format!("[{}]", words.join(" "))
}

/// An absolute path without `.`, `..` and double slashes.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::dockerfile::parse;

    fn built(text: &str, given: &[(&str, &str)]) -> State {
        let file = parse(&format!("FROM x\n{text}")).unwrap();
        let given = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let globals = BTreeMap::from([("GLOBAL".to_owned(), "g".to_owned())]);
        let platform = plan::platform_args(&Platform::new("linux", "arm", "v7"), "");
        let scope = Scope { globals: &globals, given: &given, platform, escape: '\\' };
        let mut state = State::new(ConfigDocument::new(&Platform::host()), vec![]);
        state.document.config.cmd = vec!["old".to_owned()];
        for line in &file.lines[1..] {
            assert!(state.apply(line, &scope).unwrap(), "{}", line.shown);
        }
        state
    }

    #[test]
    fn variables_follow_the_reference() {
        let state = built("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc", &[]);
        assert_eq!(state.config().env, ["abc=bye", "def=hello", "ghi=bye"]);
        let state =
            built("ARG A=1\nARG B\nARG GLOBAL\nARG TARGETVARIANT\nENV A=env X=${A}${B:-none}", &[("B", "2")]);
        assert_eq!(state.config().env, ["A=env", "X=12"]);
        let args = state.visible_args();
        let args: Vec<_> = args.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(args, [("B", "2"), ("GLOBAL", "g"), ("TARGETVARIANT", "v7")]);
    }

    #[test]
    fn commands_and_their_shell() {
        let state = built("CMD a b", &[]);
        assert_eq!(state.config().cmd, ["/bin/sh", "-c", "a b"]);
        let state = built("SHELL [\"bash\", \"-ec\"]\nENTRYPOINT x", &[]);
        assert_eq!(state.config().entrypoint, ["bash", "-ec", "x"]);
        assert!(state.config().cmd.is_empty(), "the base's goes");
        let state = built("CMD [\"mine\"]\nENTRYPOINT [\"x\"]", &[]);
        assert_eq!(state.config().cmd, ["mine"]);
        let state = built("HEALTHCHECK --retries=3 CMD x\nHEALTHCHECK NONE", &[]);
        assert_eq!(state.config().healthcheck.as_ref().unwrap().test, ["NONE"]);
    }

    #[test]
    fn ports_volumes_and_the_rest() {
        let state = built(
            "ENV p='81 82/udp'\nEXPOSE 80 $p 90-91/TCP\nVOLUME [\"/a\"]\nUSER u:g\nSTOPSIGNAL 9\nONBUILD RUN x\nMAINTAINER me\nLABEL a=b",
            &[],
        );
        let config = state.config();
        let ports: Vec<&str> = config.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["80/tcp", "81/tcp", "82/udp", "90/tcp", "91/tcp"]);
        assert_eq!(config.volumes.iter().collect::<Vec<_>>(), ["/a"]);
        assert_eq!((config.user.as_str(), config.stop_signal.as_str()), ("u:g", "9"));
        assert_eq!((state.author.as_deref(), config.on_build.len()), (Some("me"), 1));
        assert_eq!(state.past.len(), 8);
    }

    #[test]
    fn paths_are_cleaned() {
        let mut state = built("USER x", &[]);
        for (path, want) in [("a", "/a"), ("b/../c", "/a/c"), ("/x//y/.", "/x/y"), ("../../..", "/")] {
            let to = state.directory(path);
            assert_eq!(to, want, "{path}");
            state.document.config.working_dir = to;
        }
    }
}
