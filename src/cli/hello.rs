//! What the built-in image `hello` prints: the isolation of a container, seen from inside.
//!
//! The image's only file is ketch itself; its entrypoint is `/ketch --stage hello`. What cannot be seen
//! from inside, when the user pressed return and who they are outside, comes in one variable.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::base::bytes::Bytes;
use crate::base::caps;
use crate::base::order::InOrder as _;

/// The variable that tells what cannot be seen: `<monotonic ns at the start> <uid outside>`.
const VARIABLE: &str = "KETCH_HELLO";

/// The variable for a container that is started now; `started_ns` is [`monotonic_ns`] at the command's
/// own start.
pub(crate) fn variable(started_ns: u64) -> Bytes {
    let uid = rustix::process::getuid().as_raw();
    format!("{VARIABLE}={started_ns} {uid}").into()
}

/// CLOCK_MONOTONIC, which is the same inside and outside.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// The stage `hello`.
pub(crate) fn main() -> ExitCode {
    let now = monotonic_ns();
    let told = std::env::var(VARIABLE).unwrap_or_default();
    let mut told = told.split(' ').map(str::parse::<u64>);
    let (started_ns, uid_outside) = (told.next().and_then(Result::ok), told.next().and_then(Result::ok));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let took = started_ns.and_then(|start| now.checked_sub(start));
    let facts = [
        ("user", user(uid_outside)),
        ("process", process()),
        ("host name", rustix::system::uname().nodename().to_string_lossy().into_owned()),
        ("root", root()),
        ("namespaces", namespaces()),
        ("capabilities", capabilities(&status)),
        ("seccomp", seccomp(&status).to_owned()),
        ("cgroup", read_line("/proc/self/cgroup")),
        ("started", started(took)),
    ];
    let mut text = String::from("Hello from ketch! You are looking at a container from inside.\n\n");
    for (name, fact) in facts {
        // Writing to a String cannot fail.
        writeln!(text, "  {name:<13} {fact}").ok();
    }
    text.push_str("\nNext: ketch run --rm -it docker.io/library/debian bash, or ketch --help\n");
    let said = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn user(outside: Option<u64>) -> String {
    let inside = rustix::process::getuid().as_raw();
    match outside {
        Some(outside) => format!("uid {inside} inside, uid {outside} outside"),
        None => format!("uid {inside} inside"),
    }
}

fn process() -> String {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let count = processes
        .filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
        })
        .count();
    format!("PID {}, {count} in all", std::process::id())
}

/// Type and entries of the root file system.
fn root() -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let kind = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.nth(1) == Some("/")).then(|| fields.next().unwrap_or_default())
    });
    let mut names: Vec<String> = std::fs::read_dir("/")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.order();
    format!("{} with /{}", kind.unwrap_or("unknown"), names.join(" /"))
}

/// Names and numbers of all namespaces of this process.
fn namespaces() -> String {
    let names = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"];
    let shown = names.map(|name| {
        let link = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
        let number = link.to_string_lossy().trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
        format!("{name} {number}")
    });
    shown.join(", ")
}

fn capabilities(status: &str) -> String {
    let set = field(status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let names = caps::names(set);
    let short = names.iter().map(|name| name.trim_start_matches("CAP_").to_lowercase());
    format!("{} of {}: {}", names.len(), caps::ALL.count_ones(), short.collect::<Vec<_>>().join(" "))
}

fn seccomp(status: &str) -> &'static str {
    match field(status, "Seccomp") {
        Some("2") => "on, system calls are filtered",
        Some("0") => "off",
        _ => "unknown",
    }
}

fn started(took_ns: Option<u64>) -> String {
    let how = "by one program, without a daemon or helpers";
    match took_ns {
        Some(ns) => format!("{how}, in {}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        None => how.to_owned(),
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().last().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_file() {
        let status = "Name:\tketch\nCapEff:\t0000000000000021\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(capabilities(status), "2 of 41: chown kill");
        assert_eq!(seccomp(status), "on, system calls are filtered");
        assert_eq!(started(Some(9_870_000)), "by one program, without a daemon or helpers, in 9.8 ms");
    }
}
