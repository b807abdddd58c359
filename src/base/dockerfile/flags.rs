//! The `--name=value` options of instructions, and the mounts of RUN.

use crate::base::csv;
use crate::base::dockerfile::error::{DockerfileError, Position, nearest};
use crate::base::dockerfile::instruction::Word;
use crate::base::size;

/// Options of RUN, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunFlags {
    /// `--mount`, each to be read by [`RunMount::parse`] when variables are in it.
    pub(crate) mounts: Vec<Word>,
    pub(crate) network: Option<Word>,
    pub(crate) security: Option<Word>,
}

/// Options that COPY and ADD share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CopyFlags {
    pub(crate) from: Option<Word>,
    pub(crate) chown: Option<Word>,
    pub(crate) chmod: Option<Word>,
    pub(crate) link: bool,
    pub(crate) parents: bool,
    pub(crate) exclude: Vec<Word>,
}

/// Options of ADD alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddFlags {
    pub(crate) checksum: Option<Word>,
    pub(crate) keep_git_dir: bool,
    /// `None`: local archives are unpacked, remote ones are not.
    pub(crate) unpack: Option<bool>,
}

/// Options of HEALTHCHECK; times in nanoseconds, 0 for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HealthFlags {
    pub(crate) interval: i64,
    pub(crate) timeout: i64,
    pub(crate) start_period: i64,
    pub(crate) start_interval: i64,
    pub(crate) retries: i64,
}

/// The options in front of an instruction's words.
pub(super) struct Flags {
    pub(super) found: Vec<Flag>,
}

/// One option.
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) value: Option<Word>,
    pub(super) at: Position,
}

impl Flag {
    /// The value of an option that must have one.
    pub(super) fn value(self) -> Result<Word, DockerfileError> {
        match self.value {
            Some(value) if !value.text.is_empty() => Ok(value),
            _ => Err(DockerfileError::new(self.at, format!("missing a value on flag: --{}", self.name))),
        }
    }

    /// The value of an option that says nothing if its value is empty (`--chown=`).
    pub(super) fn optional(self) -> Result<Option<Word>, DockerfileError> {
        match self.value {
            Some(value) if value.text.is_empty() => Ok(None),
            _ => self.value().map(Some),
        }
    }

    /// The value of a switch.
    pub(super) fn switch(self) -> Result<bool, DockerfileError> {
        match self.value.as_ref().map(|value| value.text.as_str()) {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(DockerfileError::new(
                self.at,
                format!("expecting boolean value for flag --{}", self.name),
            )),
        }
    }
}

impl Flags {
    /// Fails for an option that `instruction` does not have.
    pub(super) fn check(&self, instruction: &str, known: &[&str]) -> Result<(), DockerfileError> {
        let mut seen: Vec<&str> = Vec::new();
        for flag in &self.found {
            if !known.contains(&flag.name.as_str()) {
                let err =
                    DockerfileError::new(flag.at, format!("unknown flag: --{} of {instruction}", flag.name));
                return Err(match nearest(&flag.name, known) {
                    Some(near) => err.hint(format!("did you mean --{near}?")),
                    None if known.is_empty() => err.hint(format!("{instruction} has no flags")),
                    None => err.hint(format!("known are --{}", known.join(", --"))),
                });
            }
            if seen.contains(&flag.name.as_str()) && !["mount", "exclude"].contains(&flag.name.as_str()) {
                return Err(DockerfileError::new(flag.at, format!("duplicate flag: --{}", flag.name)));
            }
            seen.push(&flag.name);
        }
        Ok(())
    }
}

/// One `--mount` of RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunMount {
    pub(crate) kind: RunMountKind,
    /// Path in the container; empty only for a secret that has its default place or becomes a variable.
    pub(crate) target: String,
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Shared,
    /// Each RUN at a time has one of its own.
    Private,
    /// One RUN after the other.
    Locked,
}

/// What a `--mount` mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunMountKind {
    /// Files of the context, a stage or an image. Writes are thrown away.
    Bind {
        from: String,
        source: String,
        writable: bool,
    },
    /// A directory that lasts from build to build.
    Cache {
        id: String,
        from: String,
        source: String,
        sharing: Sharing,
        read_only: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Tmpfs {
        size_bytes: Option<u64>,
    },
    Secret {
        id: String,
        variable: Option<String>,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Ssh {
        id: String,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// The options of a mount, while they are gathered.
#[derive(Default)]
struct Options {
    kind: Option<String>,
    target: Option<String>,
    source: Option<String>,
    from: Option<String>,
    id: Option<String>,
    variable: Option<String>,
    sharing: Option<Sharing>,
    writable: Option<bool>,
    required: bool,
    size_bytes: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl RunMount {
    /// Reads the value of `--mount`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut options = Options::default();
        for field in csv::fields(text) {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            options.take(&key.to_ascii_lowercase(), value)?;
        }
        options.finish()
    }
}

impl Options {
    fn take(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let text = || value.map(str::to_owned).ok_or_else(|| format!("mount option {key:?} needs a value"));
        let truth = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("invalid value for {key}: {other}")),
        };
        let number = |radix| {
            let text = text()?;
            u32::from_str_radix(text.trim_start_matches("0o"), radix)
                .map_err(|_| format!("invalid value {text:?} for {key}"))
        };
        match key {
            "type" => self.kind = Some(text()?),
            "target" | "dst" | "destination" => self.target = Some(text()?),
            "source" | "src" => self.source = Some(text()?),
            "from" => self.from = Some(text()?),
            "id" => self.id = Some(text()?),
            "env" => self.variable = Some(text()?),
            "required" => self.required = truth()?,
            "readonly" | "ro" => self.writable = Some(!truth()?),
            "readwrite" | "rw" => self.writable = Some(truth()?),
            "size" => self.size_bytes = Some(size::parse(&text()?).map_err(|err| err.to_string())?),
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            "sharing" => {
                self.sharing = Some(match text()?.as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => {
                        return Err(format!(
                            "unsupported sharing value {other:?}: choose shared, private or locked"
                        ));
                    }
                });
            }
            // Labels for SELinux; without SELinux there is nothing to label.
            "z" | "relabel" => {}
            other => {
                const KNOWN: [&str; 14] = [
                    "type", "target", "source", "from", "id", "env", "required", "readonly", "rw", "size",
                    "mode", "uid", "gid", "sharing",
                ];
                let near =
                    nearest(other, &KNOWN).map_or(String::new(), |near| format!(", did you mean {near:?}?"));
                return Err(format!("unexpected mount option {other:?}{near}"));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<RunMount, String> {
        let kind = self.kind.as_deref().unwrap_or("bind");
        let target = self.target.clone();
        let needed =
            || target.clone().filter(|t| !t.is_empty()).ok_or(format!("a {kind} mount needs a target"));
        let (uid, gid) = (self.uid.unwrap_or(0), self.gid.unwrap_or(0));
        match kind {
            "bind" => Ok(RunMount {
                target: needed()?,
                kind: RunMountKind::Bind {
                    from: self.from.unwrap_or_default(),
                    source: self.source.unwrap_or_else(|| "/".to_owned()),
                    writable: self.writable.unwrap_or(false),
                },
            }),
            "cache" => {
                let target = needed()?;
                Ok(RunMount {
                    kind: RunMountKind::Cache {
                        id: self.id.filter(|id| !id.is_empty()).unwrap_or_else(|| target.clone()),
                        from: self.from.unwrap_or_default(),
                        source: self.source.unwrap_or_else(|| "/".to_owned()),
                        sharing: self.sharing.unwrap_or(Sharing::Shared),
                        read_only: !self.writable.unwrap_or(true),
                        mode: self.mode.unwrap_or(0o755),
                        uid,
                        gid,
                    },
                    target,
                })
            }
            "tmpfs" => {
                Ok(RunMount { target: needed()?, kind: RunMountKind::Tmpfs { size_bytes: self.size_bytes } })
            }
            "secret" => {
                let last = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
                let id = self.id.or_else(|| target.as_ref().map(last)).or(self.source);
                let id = id.filter(|id| !id.is_empty()).ok_or("a secret mount needs an id or a target")?;
                let target = match (target, &self.variable) {
                    (Some(target), _) => target,
                    (None, Some(_)) => String::new(),
                    (None, None) => format!("/run/secrets/{}", last(&id)),
                };
                Ok(RunMount {
                    target,
                    kind: RunMountKind::Secret {
                        id,
                        variable: self.variable,
                        required: self.required,
                        mode: self.mode.unwrap_or(0o400),
                        uid,
                        gid,
                    },
                })
            }
            "ssh" => Ok(RunMount {
                target: target.unwrap_or_else(|| "/run/buildkit/ssh_agent.0".to_owned()),
                kind: RunMountKind::Ssh {
                    id: self.id.unwrap_or_else(|| "default".to_owned()),
                    required: self.required,
                    mode: self.mode.unwrap_or(0o600),
                    uid,
                    gid,
                },
            }),
            other => {
                Err(format!("unsupported mount type {other:?}: choose bind, cache, tmpfs, secret or ssh"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_every_type() {
        let cache = |id: &str, sharing| RunMountKind::Cache {
            id: id.into(),
            from: String::new(),
            source: "/".into(),
            sharing,
            read_only: false,
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let secret = |id: &str, variable: Option<&str>, required| RunMountKind::Secret {
            id: id.into(),
            variable: variable.map(str::to_owned),
            required,
            mode: 0o400,
            uid: 0,
            gid: 0,
        };
        let bind = |from: &str, source: &str, writable| RunMountKind::Bind {
            from: from.into(),
            source: source.into(),
            writable,
        };
        for (text, target, kind) in [
            ("target=/x", "/x", bind("", "/", false)),
            ("type=bind,from=base,src=a,dst=/x,rw", "/x", bind("base", "a", true)),
            ("type=cache,target=/root/.cache", "/root/.cache", cache("/root/.cache", Sharing::Shared)),
            ("type=cache,target=/c,id=go,sharing=locked", "/c", cache("go", Sharing::Locked)),
            ("type=tmpfs,target=/t,size=1m", "/t", RunMountKind::Tmpfs { size_bytes: Some(1 << 20) }),
            ("type=secret,id=aws", "/run/secrets/aws", secret("aws", None, false)),
            ("type=secret,id=aws,env=KEY,required", "", secret("aws", Some("KEY"), true)),
            (
                "type=secret,target=/root/.aws/credentials",
                "/root/.aws/credentials",
                secret("credentials", None, false),
            ),
            (
                "type=ssh",
                "/run/buildkit/ssh_agent.0",
                RunMountKind::Ssh { id: "default".into(), required: false, mode: 0o600, uid: 0, gid: 0 },
            ),
        ] {
            assert_eq!(RunMount::parse(text), Ok(RunMount { target: target.into(), kind }), "{text}");
        }
    }

    #[test]
    fn wrong_mounts_are_told() {
        for (text, part) in [
            ("type=cache", "needs a target"),
            ("type=nfs,target=/x", "unsupported mount type"),
            ("target=/x,sharng=locked", "did you mean \"sharing\"?"),
            ("type=cache,target=/x,sharing=some", "unsupported sharing"),
            ("type=cache,target=/x,mode=9", "invalid value"),
            ("type=secret", "needs an id"),
            ("target", "needs a value"),
        ] {
            let err = RunMount::parse(text).unwrap_err();
            assert!(err.contains(part), "{text}: {err}");
        }
    }
}
