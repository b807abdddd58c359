//! The processes of containers, seen from the host's /proc: nothing inside is run or believed.

use std::collections::HashMap;
use std::ffi::OsString;

use crate::base::order::InOrder as _;
use crate::base::spec::Record;

/// One process, as `/proc/PID/stat` and `/proc/PID/status` have it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    /// In the host's numbers.
    pub(crate) host_pid: i32,
    /// In the container's.
    pub(crate) pid: i32,
    pub(crate) comm: String,
    pub(crate) state: String,
    /// In the host's numbers.
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) terminal: u32,
    /// CPU time in clock ticks, of user code and of the kernel.
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    pub(crate) nice: i32,
    pub(crate) threads: u64,
    /// Clock ticks since boot.
    pub(crate) start_ticks: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) resident_bytes: u64,
    /// Real and effective, in the host's numbers.
    pub(crate) uids: (u32, u32),
    pub(crate) gids: (u32, u32),
    pub(crate) groups: Vec<u32>,
    /// Capability sets by name (`CapEff`), in hexadecimal.
    pub(crate) capabilities: HashMap<String, String>,
    pub(crate) seccomp: u32,
    /// The command line; the name in brackets for what has none.
    pub(crate) command: String,
}

/// Clock ticks in a second: the kernel's interface has 100 on every machine that ketch runs on.
pub(crate) const TICKS: u64 = 100;

/// The processes of each container whose present life a record tells of, in the host's numbers.
pub(crate) fn of_containers(records: &[&Record]) -> Vec<Vec<i32>> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok().map(OsString::from);
    let host = namespace("self");
    let mut owners: HashMap<OsString, Vec<usize>> = HashMap::new();
    let mut found = vec![Vec::new(); records.len()];
    for (index, record) in records.iter().enumerate() {
        match namespace(&record.pid.to_string()) {
            Some(own) if Some(&own) != host.as_ref() => owners.entry(own).or_default().push(index),
            _ => found[index] = descendants(record.pid),
        }
    }
    if owners.is_empty() {
        return found;
    }
    for pid in all() {
        let owner = namespace(&pid.to_string()).and_then(|own| owners.get(&own));
        for index in owner.into_iter().flatten() {
            found[*index].push(pid);
        }
    }
    found
}

/// Every process.
fn all() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.order();
    pids
}

/// A process and what it has started: the container without a PID namespace of its own.
fn descendants(first: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> =
        all().into_iter().filter_map(|pid| Some((pid, parse_stat(&read(pid, "stat")?)?.parent))).collect();
    let mut found = vec![first];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

fn read(pid: i32, file: &str) -> Option<String> {
    let text = std::fs::read(format!("/proc/{pid}/{file}")).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Reads what `stat` alone tells.
pub(crate) fn look_short(pid: i32) -> Option<Process> {
    Some(Process { host_pid: pid, ..parse_stat(&read(pid, "stat")?)? })
}

/// Reads everything about a process; `None` if it has ended.
pub(crate) fn look(pid: i32) -> Option<Process> {
    let mut process = look_short(pid)?;
    read_status(&mut process, &read(pid, "status")?);
    let command = read(pid, "cmdline").unwrap_or_default();
    process.command = command.trim_end_matches('\0').replace('\0', " ");
    if process.command.is_empty() {
        process.command = format!("[{}]", process.comm);
    }
    Some(process)
}

/// The fields of `/proc/PID/stat`; the name may hold anything, blanks and brackets too.
fn parse_stat(text: &str) -> Option<Process> {
    let (before, after) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    // Fields are counted from 3 in proc_pid_stat(5): the first after the name.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let signed = |field: usize| fields.get(field - 3)?.parse::<i32>().ok();
    Some(Process {
        comm: before.split_once('(')?.1.to_owned(),
        state: (*fields.first()?).to_owned(),
        parent: signed(4)?,
        group: signed(5)?,
        terminal: signed(7)?.cast_unsigned(),
        user_ticks: number(14)?,
        system_ticks: number(15)?,
        nice: signed(19)?,
        threads: number(20)?,
        start_ticks: number(22)?,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)? * rustix::param::page_size() as u64,
        ..Process::default()
    })
}

fn read_status(process: &mut Process, text: &str) {
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let mut numbers = value.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok());
        match key {
            "NSpid" => process.pid = numbers.next_back().map_or(0, u32::cast_signed),
            "Uid" => process.uids = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
            "Gid" => process.gids = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
            "Groups" => process.groups = numbers.collect(),
            "Seccomp" => process.seccomp = numbers.next().unwrap_or(0),
            key if key.starts_with("Cap") => {
                process.capabilities.insert(key.to_owned(), value.trim().to_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "42 (a) b (c) S 1 42 42 34816 42 0 0 0 0 0 10 20 0 0 20 -5 3 0 777 4096000 5 0";
        let process = parse_stat(text).unwrap();
        assert_eq!((process.comm.as_str(), process.state.as_str()), ("a) b (c", "S"));
        assert_eq!((process.parent, process.user_ticks, process.system_ticks), (1, 10, 20));
        assert_eq!((process.nice, process.threads, process.start_ticks), (-5, 3, 777));
        let page = rustix::param::page_size() as u64;
        assert_eq!((process.virtual_bytes, process.resident_bytes), (4_096_000, 5 * page));
        assert!(parse_stat("").is_none() && parse_stat("1 (x) S 1").is_none());
    }

    #[test]
    fn our_own_process_is_found() {
        let own = std::process::id().cast_signed();
        let process = look(own).unwrap();
        assert_eq!((process.host_pid, process.pid > 0), (own, true));
        assert!(!process.command.is_empty() && process.resident_bytes > 0);
        assert!(descendants(own).contains(&own));
    }
}
