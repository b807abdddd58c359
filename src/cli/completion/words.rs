//! What values of flags may be, for shells that complete them: words that are known beforehand.

use crate::base::{caps, rlimit, signal};
use crate::engine::{events, filter, network, pod, search, secret, volume};

const TRUTH: &[&str] = &["true", "false"];

/// Words by the flag that takes them. One that ends in `=` or `:` goes on.
#[rustfmt::skip]
const WORDS: &[(&str, &[&str])] = &[
    ("arch", &["386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"]),
    ("cgroup-manager", &["cgroupfs", "systemd"]),
    ("cgroupns", &["host", "ns:", "private"]),
    ("cgroups", &["disabled", "enabled", "no-conmon", "split"]),
    ("compression-format", &["gzip", "zstd", "zstd:chunked"]),
    ("condition", &["configured", "exited", "healthy", "initialized", "paused", "removing", "running", "stopped", "stopping", "unhealthy"]),
    ("events-backend", &["file", "journald", "none"]),
    ("health-on-failure", &["kill", "none", "restart", "stop"]),
    ("image-volume", &["anonymous", "bind", "ignore", "tmpfs"]),
    ("ipc", &["host", "none", "ns:", "private", "shareable"]),
    ("log-driver", &["journald", "json-file", "k8s-file", "none", "passthrough", "passthrough-tty"]),
    ("log-level", &["debug", "error", "info", "warn"]),
    ("log-opt", &["max-file=", "max-size=", "path=", "tag="]),
    ("mount", &["type=bind,", "type=devpts,", "type=glob,", "type=image,", "type=tmpfs,", "type=volume,"]),
    ("os", &["linux"]),
    ("personality", &["LINUX", "LINUX32"]),
    ("pid", &["host", "ns:", "private"]),
    ("platform", &["linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64", "linux/ppc64le", "linux/riscv64", "linux/s390x"]),
    ("policy", &["always", "missing"]),
    ("protocol", &["tcp", "udp"]),
    ("pull", &["always", "missing", "never", "newer"]),
    ("restart", &["always", "no", "on-failure", "on-failure:", "unless-stopped"]),
    ("sdnotify", &["conmon", "container", "healthy", "ignore"]),
    ("security-opt", &["apparmor=", "label=", "mask=", "no-new-privileges", "proc-opts=", "seccomp=", "unmask="]),
    ("systemd", &["always", "false", "true"]),
    ("userns", &["auto", "auto:", "host", "keep-id", "keep-id:", "nomap", "ns:"]),
    ("uts", &["host", "ns:", "private"]),
];

/// Words by the verb and its flag, where the flag means something of its own there.
#[rustfmt::skip]
const OF_VERBS: &[(&str, &str, &[&str])] = &[
    ("build", "format", &["docker", "oci"]),
    ("builder build", "format", &["docker", "oci"]),
    ("buildx build", "format", &["docker", "oci"]),
    ("commit", "format", &["docker", "oci"]),
    ("compose config", "format", &["json", "yaml"]),
    ("compose down", "rmi", &["all", "local"]),
    ("compose version", "format", &["json", "pretty"]),
    ("container commit", "format", &["docker", "oci"]),
    ("image build", "format", &["docker", "oci"]),
    ("image push", "format", &["oci", "v2s1", "v2s2"]),
    ("image save", "format", &["docker-archive", "docker-dir", "oci-archive", "oci-dir"]),
    ("images", "sort", &["created", "id", "repository", "size", "tag"]),
    ("inspect", "type", &["all", "artifact", "container", "image", "network", "volume"]),
    ("manifest push", "format", &["oci", "v2s1", "v2s2"]),
    ("network create", "driver", &["bridge"]),
    ("ps", "sort", &["command", "created", "id", "image", "names", "runningfor", "size", "status"]),
    ("push", "format", &["oci", "v2s1", "v2s2"]),
    ("save", "format", &["docker-archive", "docker-dir", "oci-archive", "oci-dir"]),
];

/// The words for the value of the flag `flag` of the verb `verb`; none where nothing is known.
pub(super) fn of_flag(verb: &str, flag: &str) -> Vec<String> {
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    if let Some((.., words)) = OF_VERBS.iter().find(|(of, name, _)| *of == verb && *name == flag) {
        return texts(words);
    }
    match flag {
        "cap-add" | "cap-drop" => std::iter::once("all".to_owned()).chain(caps::names(caps::ALL)).collect(),
        "filter" => filter_keys(verb).iter().map(|key| format!("{key}=")).collect(),
        // Templates have their own language; the other form has one word.
        "format" => texts(&["json"]),
        "signal" | "stop-signal" => signal::NAMES.iter().map(|name| format!("SIG{name}")).collect(),
        "ulimit" => rlimit::all().map(|(name, _)| format!("{name}=")).chain(["host".to_owned()]).collect(),
        _ => WORDS.iter().find(|(name, _)| *name == flag).map(|(_, words)| texts(words)).unwrap_or_default(),
    }
}

/// What `buildx du` chooses by, and `builder prune`.
const CACHE: &[&str] = &["description", "id", "private", "shared", "type"];
const PRUNE_CACHE: &[&str] = &["description", "id", "private", "shared", "type", "unused-for", "until"];

/// The keys of `--filter` of a verb.
fn filter_keys(verb: &str) -> &'static [&'static str] {
    match verb {
        "events" | "system events" => events::FILTERS,
        "image ls" | "images" => filter::IMAGE,
        "network ls" => network::FILTERS,
        "pod ps" => pod::FILTERS,
        "search" => search::FILTERS,
        "secret ls" => secret::FILTERS,
        "volume ls" => volume::FILTERS,
        "volume prune" => filter::PRUNE_VOLUMES,
        "builder prune" | "buildx prune" | "build prune" => PRUNE_CACHE,
        _ if verb.ends_with("prune") => filter::PRUNE,
        _ if verb.starts_with("builder ") || verb.starts_with("buildx ") => CACHE,
        _ if verb.starts_with("compose ") || verb.starts_with("image ") => &[],
        _ => filter::CONTAINER,
    }
}

/// What the value behind the key `key` of a filter may be.
pub(super) fn of_filter(key: &str) -> &'static [&'static str] {
    match key {
        "all"
        | "anonymous"
        | "containers"
        | "dangling"
        | "dns_enabled"
        | "intermediate"
        | "is-automated"
        | "is-official"
        | "manifest"
        | "readonly"
        | "should-start-on-boot" => TRUTH,
        "health" => &["healthy", "none", "starting", "unhealthy"],
        "restart-policy" => &["always", "no", "on-failure", "unless-stopped"],
        "status" => &["created", "exited", "initialized", "paused", "removing", "running", "stopping"],
        _ => &[],
    }
}
