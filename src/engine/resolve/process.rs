//! The first process: words, environment, user, directory, limits.

use crate::base::bytes::Bytes;
use crate::base::manifest::ContainerDefaults;
use crate::base::spec::{Process, Rlimit, UserNamespace};
use crate::engine::error::{Error, Result};
use crate::engine::request::ContainerRequest;
use crate::engine::resolve::Facts;
use crate::runtime::defaults::NOFILE_SOFT_MAX;

/// Names an image that ketch itself made.
pub(crate) const BUILTIN_LABEL: &str = "io.ketch.builtin";

/// Where programs are looked for if nobody says.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Decides the process.
pub(super) fn process(
    request: &ContainerRequest,
    defaults: &ContainerDefaults,
    facts: &Facts<'_>,
    userns: &UserNamespace,
    hostname: &str,
    systemd: bool,
) -> Result<Process> {
    let (mut args, command) = words(request, defaults);
    args.extend(command);
    if args.is_empty() {
        return Err(Error::invalid("no command or entrypoint provided, and no CMD or ENTRYPOINT from image")
            .hint("put a command after the image's name"));
    }
    let (cwd, create_cwd) = directory(request, defaults)?;
    let keep_groups = request.groups.iter().any(|group| group == "keep-groups");
    // crun's word for the same, which distrobox writes.
    let kept_by_annotation = request.groups.is_empty()
        && request.annotations.get("run.oci.keep_original_groups").is_some_and(|value| value == "1");
    if keep_groups && request.groups.len() > 1 {
        return Err(Error::invalid(
            "the '--group-add keep-groups' option is not allowed with any other --group-add options",
        ));
    }
    Ok(Process {
        args,
        env: environment(request, defaults, facts, hostname, systemd),
        cwd,
        create_cwd,
        user: user(request, defaults, userns.kept_ids(request.membership.is_some())),
        groups: if keep_groups { Vec::new() } else { request.groups.clone() },
        keep_groups: keep_groups || kept_by_annotation,
        personality: request.personality,
        terminal: request.terminal,
        console_size: request.console_size,
        open_stdin: request.interactive,
        stdin_once: request.interactive && request.attached,
        rlimits: rlimits(request, facts),
        umask: request.umask.unwrap_or(0o022),
        oom_score_adj: request.oom_score_adj,
    })
}

/// Entrypoint and command: an entrypoint on the command line makes the image's command void, a command
/// replaces it.
pub(super) fn words(request: &ContainerRequest, defaults: &ContainerDefaults) -> (Vec<Bytes>, Vec<Bytes>) {
    let bytes = |words: &[String]| words.iter().map(|word| Bytes::from(word.as_str())).collect::<Vec<_>>();
    // An entrypoint of one empty word is none, as with docker and podman.
    let of_image = if defaults.entrypoint == [""] { &[][..] } else { &defaults.entrypoint };
    let entrypoint = request.entrypoint.clone().unwrap_or_else(|| bytes(of_image));
    let command = if !request.command.is_empty() {
        request.command.clone()
    } else if request.entrypoint.is_some() && !request.keep_command {
        Vec::new()
    } else {
        bytes(&defaults.cmd)
    };
    (entrypoint, command)
}

fn directory(request: &ContainerRequest, defaults: &ContainerDefaults) -> Result<(Bytes, bool)> {
    match &request.workdir {
        Some(path) if path.as_bytes().first() != Some(&b'/') => Err(Error::invalid(format!(
            "the working directory {path:?} is invalid, it needs to be an absolute path"
        ))),
        Some(path) => Ok((path.clone(), request.make_workdir)),
        None if defaults.working_dir.is_empty() => Ok(("/".into(), true)),
        None if defaults.working_dir.starts_with('/') => Ok((defaults.working_dir.as_str().into(), true)),
        None => Ok((format!("/{}", defaults.working_dir).into(), true)),
    }
}

/// The request's user, or the image's. With keep-id the caller is who they are outside where neither says anything.
fn user(request: &ContainerRequest, defaults: &ContainerDefaults, kept: Option<(u32, u32)>) -> String {
    match (&request.user, kept) {
        (Some(user), _) => user.clone(),
        (None, Some((uid, gid))) if defaults.user.is_empty() => format!("{uid}:{gid}"),
        (None, _) => defaults.user.clone(),
    }
}

/// Whether the image or the request says what `PATH` is to be.
pub(super) fn asks_for_path(request: &ContainerRequest, defaults: &ContainerDefaults) -> bool {
    let texts = defaults.env.iter().chain(&request.env_merge).map(String::as_bytes);
    let typed = request.default_env.iter().chain(&request.env).map(Bytes::as_bytes);
    texts.chain(typed).any(|entry| entry.starts_with(b"PATH="))
}

/// Lowest first: ketch's own, the image's, the caller's proxies, the request's; each name once.
fn environment(
    request: &ContainerRequest,
    defaults: &ContainerDefaults,
    facts: &Facts<'_>,
    hostname: &str,
    systemd: bool,
) -> Vec<Bytes> {
    let mut env: Vec<Bytes> = Vec::new();
    let mut set = |entry: Bytes| put(&mut env, entry);
    set(PATH.into());
    set("container=podman".into());
    for entry in &request.default_env {
        set(entry.clone());
    }
    if request.terminal {
        set("TERM=xterm".into());
    }
    for proxy in &request.proxies {
        set(proxy.clone());
    }
    for entry in &defaults.env {
        // An image may hold nonsense like "=x"; Docker starts it all the same.
        let name = entry.split('=').next().unwrap_or_default();
        if !name.is_empty() && entry.contains('=') {
            set(entry.as_str().into());
        }
    }
    // What nobody has asked for; as with podman, ketch's own variables too.
    let is_unset = |entry: &Bytes| {
        let name = entry.as_bytes().split(|&b| b == b'=').next().unwrap_or_default();
        request.unset_all_env || request.unset_env.iter().any(|unset| unset.as_bytes() == name)
    };
    env.retain(|entry| !is_unset(entry));
    let mut set = |entry: Bytes| put(&mut env, entry);
    if systemd {
        set(format!("container_uuid={}", &facts.id.as_str()[..32]).into());
    }
    if !hostname.is_empty() {
        set(format!("HOSTNAME={hostname}").into());
    }
    if defaults.labels.get(BUILTIN_LABEL).is_some_and(|name| name == "hello") {
        request.hello.iter().cloned().for_each(&mut set);
    }
    let of_image: Vec<Bytes> = env.clone();
    for entry in
        request.env_merge.iter().map(|entry| merged(entry, &of_image)).chain(request.env.iter().cloned())
    {
        put(&mut env, entry);
    }
    env
}

/// Adds an entry, in place of one of the same name.
fn put(env: &mut Vec<Bytes>, entry: Bytes) {
    let name = key(&entry).to_vec();
    match env.iter_mut().find(|known| key(known) == name) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}

/// `NAME=VALUE` with each `${NAME}` and `$NAME` in it replaced by what the image has.
fn merged(entry: &str, known: &[Bytes]) -> Bytes {
    let value_of = |name: &str| {
        let found = known.iter().find(|entry| key(entry) == name.as_bytes());
        // One without `=` has no value.
        let value = found.and_then(|entry| entry.as_bytes().get(name.len() + 1..));
        value.map_or(String::new(), |value| String::from_utf8_lossy(value).into_owned())
    };
    let mut text = String::new();
    let mut rest = entry;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, tail) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(found) => found,
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        if name.is_empty() {
            text.push('$');
        } else {
            text.push_str(&value_of(name));
        }
        rest = tail;
    }
    text.push_str(rest);
    text.into()
}

fn key(entry: &Bytes) -> &[u8] {
    entry.as_bytes().split(|&b| b == b'=').next().unwrap_or_default()
}

/// The request's limits; open files as many as the caller may have, within reason.
fn rlimits(request: &ContainerRequest, facts: &Facts<'_>) -> Vec<Rlimit> {
    let mut limits = request.ulimits.clone();
    if !limits.iter().any(|limit| limit.name == "nofile") {
        let hard = facts.nofile_hard;
        limits.push(Rlimit {
            name: "nofile".into(),
            soft: hard.min(NOFILE_SOFT_MAX),
            hard,
            is_default: true,
        });
    }
    if !limits.iter().any(|limit| limit.name == "core") {
        limits.push(Rlimit { name: "core".into(), soft: 0, hard: u64::MAX, is_default: true });
    }
    limits
}
