//! What the program was called as.
//!
//! ```text
//! ketch  --version  ->  ketch version 0.1.0 (podman-compatible)
//! podman --version  ->  podman version 5.4.2
//! docker --version  ->  Docker version 28.3.3, build ketch-0.1.0-podman-compatible
//! ```
//!
//! Programs compare the version of `podman` or `docker` with the one that brought what they need (ansible,
//! podman-compose, cibuildwheel), and look at the first words (kind): to them a link of that name answers
//! with the version that ketch keeps to. docker's holds podman's name, because some (devcontainer) ask for
//! their own IDs in a container without root's rights only then.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

use crate::base::image_ref::NameRule;
use crate::base::version::{DOCKER, DOCKER_API, DOCKER_OLDEST_API, PODMAN, VERSION};
use crate::cli::NAME;
use crate::cli::verbs;

/// The name of the file that was started, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Called {
    /// Its own name, or any other.
    #[default]
    Ketch,
    /// A link named `podman`.
    Podman,
    /// A link named `docker`, or `docker-compose`.
    Docker,
}

impl Called {
    /// By the first word of the command line.
    pub(crate) fn of(program: Option<&OsStr>) -> Self {
        match program.and_then(|path| Path::new(path).file_name()).and_then(OsStr::to_str) {
            Some("podman") => Self::Podman,
            Some("docker" | "docker-compose") => Self::Docker,
            _ => Self::Ketch,
        }
    }

    /// Its own word on a command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ketch => NAME,
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }

    /// A text in which commands to type are ketch's, for who called it otherwise.
    pub(crate) fn in_its_name(self, text: &str) -> Cow<'_, str> {
        if self == Self::Ketch || !text.contains(NAME) {
            return Cow::Borrowed(text);
        }
        let mut changed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(NAME) {
            let (before, from) = rest.split_at(at);
            let after = &from[NAME.len()..];
            changed.push_str(before);
            let begins =
                !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '-' | '.' | '_'));
            changed.push_str(if begins && is_command(after) { self.name() } else { NAME });
            rest = after;
        }
        Cow::Owned(changed + rest)
    }

    /// What short names of images mean to who called.
    pub(crate) fn name_rule(self) -> NameRule {
        if self.is_docker() { NameRule::Docker } else { NameRule::Podman }
    }

    /// Whether docker was called, which spares what podman's flags of the same name take.
    pub(crate) fn is_docker(self) -> bool {
        self == Self::Docker
    }

    /// The version that it says it is.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Ketch => VERSION,
            Self::Podman => PODMAN,
            Self::Docker => DOCKER,
        }
    }

    /// The version of the interface.
    pub(crate) fn api(self) -> &'static str {
        match self {
            Self::Docker => DOCKER_API,
            _ => self.version(),
        }
    }

    /// The oldest version of the interface that is understood.
    pub(crate) fn oldest_api(self) -> &'static str {
        match self {
            Self::Docker => DOCKER_OLDEST_API,
            _ => self.version(),
        }
    }

    /// What `--version` prints.
    pub(crate) fn line(self) -> String {
        match self {
            Self::Ketch => format!("{NAME} version {VERSION} (podman-compatible)"),
            Self::Podman => format!("podman version {PODMAN}"),
            Self::Docker => {
                // docker's build is one word, and some read the line so.
                format!("Docker version {DOCKER}, build {NAME}-{VERSION}-podman-compatible")
            }
        }
    }

    /// What `version` prints, on a machine like `linux/amd64`.
    pub(crate) fn lines(self, platform: &str) -> String {
        let (version, api) = (self.version(), self.api());
        let client = match self {
            Self::Ketch => "Ketch (podman-compatible)".to_owned(),
            Self::Podman => format!("Podman Engine ({NAME} {VERSION})"),
            Self::Docker => {
                return format!(
                    "Client:\n Version:           {version}\n API version:       {api}\n OS/Arch:           {platform}\n \
                     Context:           default\n\nServer: {NAME} {VERSION} (podman-compatible)\n Engine:\n  \
                     Version:          {version}\n  API version:      {api} (minimum version {})\n  \
                     OS/Arch:          {platform}\n  Experimental:     false",
                    self.oldest_api()
                );
            }
        };
        format!(
            "Client:        {client}\nVersion:       {version}\nAPI Version:   {api}\nOS/Arch:       {platform}"
        )
    }
}

/// Whether what follows the program's name makes a command of it: a verb, a flag, or a placeholder for them.
fn is_command(after: &str) -> bool {
    let Some(words) = after.strip_prefix(' ') else { return false };
    let end = words.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(words.len());
    let word = &words[..end];
    words.starts_with(['<', '['])
        || words.starts_with("--")
        || words.starts_with("COMMAND")
        || verbs::lookup("", word).is_some()
        || verbs::is_group(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_to_type_have_the_name_that_was_called() {
        for (text, want) in [
            ("start it: ketch start x", "start it: docker start x"),
            ("`ketch login r` or `ketch unshare`", "`docker login r` or `docker unshare`"),
            ("Usage: ketch <COMMAND>", "Usage: docker <COMMAND>"),
            ("See 'ketch --help'", "See 'docker --help'"),
            ("--pod: ketch has no pods", "--pod: ketch has no pods"),
            ("~/.local/share/ketch run", "~/.local/share/ketch run"),
            ("ketch", "ketch"),
        ] {
            assert_eq!(Called::Docker.in_its_name(text), want);
            assert_eq!(Called::Ketch.in_its_name(text), text);
        }
    }

    #[test]
    fn the_name_of_the_file_decides() {
        for (program, called) in [
            (Some("/usr/bin/podman"), Called::Podman),
            (Some("docker"), Called::Docker),
            (Some("./ketch"), Called::Ketch),
            (Some("/opt/podman/ketch"), Called::Ketch),
            (Some("docker-compose"), Called::Docker),
            (Some(""), Called::Ketch),
            (None, Called::Ketch),
        ] {
            assert_eq!(Called::of(program.map(OsStr::new)), called, "{program:?}");
        }
    }
}
