//! The processes of containers, by podman's descriptors.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use crate::base::caps;
use crate::base::id::ContainerId;
use crate::base::idmap::IdMap;
use crate::base::spec::Record;
use crate::engine::processes::{self, Process, TICKS};
use crate::engine::{Engine, Error, Kind, Result, state};
use crate::runtime::idmaps;
use crate::runtime::rootfs::RootDir;

/// What a column shows, its name on the command line and its heading.
const DESCRIPTORS: &[(&str, &str)] = &[
    ("args", "COMMAND"),
    ("capamb", "AMBIENT CAPS"),
    ("capbnd", "BOUNDING CAPS"),
    ("capeff", "EFFECTIVE CAPS"),
    ("capinh", "INHERITED CAPS"),
    ("capprm", "PERMITTED CAPS"),
    ("comm", "COMMAND"),
    ("etime", "ELAPSED"),
    ("group", "GROUP"),
    ("groups", "GROUPS"),
    ("hgroup", "HGROUP"),
    ("hgroups", "HGROUPS"),
    ("hpid", "HPID"),
    ("huid", "HUID"),
    ("huser", "HUSER"),
    ("label", "LABEL"),
    ("nice", "NI"),
    ("pcpu", "%CPU"),
    ("pgid", "PGID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("rgroup", "RGROUP"),
    ("rss", "RSS"),
    ("ruser", "RUSER"),
    ("seccomp", "SECCOMP"),
    ("state", "STATE"),
    ("stime", "STIME"),
    ("time", "TIME"),
    ("tty", "TTY"),
    ("uid", "UID"),
    ("user", "USER"),
    ("vsz", "VSZ"),
];

/// What is shown if nothing is asked for.
const DEFAULT: [&str; 8] = ["user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args"];

/// docker's columns, those of `ps -ef` on the host.
const DOCKERS: [(&str, &str); 8] = [
    ("hname", "UID"),
    ("hpid", "PID"),
    ("hppid", "PPID"),
    ("c", "C"),
    ("start", "STIME"),
    ("tty", "TTY"),
    ("clock", "TIME"),
    ("args", "CMD"),
];

/// What one container's processes are shown with: its IDs and their names.
struct View {
    uids: IdMap,
    gids: IdMap,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    /// From numbers of the host to those of the container.
    pids: HashMap<i32, i32>,
    /// Seconds since boot.
    uptime: f64,
    /// Names of the host's users.
    host_users: HashMap<u32, String>,
}

/// The words that [`Engine::top`] knows.
pub(crate) fn descriptors() -> impl Iterator<Item = &'static str> {
    DESCRIPTORS.iter().map(|(name, _)| *name)
}

impl Engine {
    /// The processes of a running container: a heading, then a row for each.
    ///
    /// # Errors
    ///
    /// Conflict if it does not run; Invalid for a descriptor that there is not.
    pub(crate) fn top(&self, id: &ContainerId, wanted: &[String]) -> Result<Vec<Vec<String>>> {
        let columns = columns(wanted)?;
        Ok(table(&columns, &[self.running_record(id)?]))
    }

    /// As [`top`](Self::top) with docker's columns.
    ///
    /// # Errors
    ///
    /// Conflict if it does not run.
    pub(crate) fn dockers_top(&self, id: &ContainerId) -> Result<Vec<Vec<String>>> {
        let rows = table(&DOCKERS, &[self.running_record(id)?]);
        self.record_for_docker("top", id, &[]);
        Ok(rows)
    }

    /// As [`top`](Self::top), of those containers that run, each process once.
    ///
    /// # Errors
    ///
    /// Invalid for a descriptor that there is not.
    pub(crate) fn top_of_running(&self, ids: &[ContainerId], wanted: &[String]) -> Result<Vec<Vec<String>>> {
        let columns = columns(wanted)?;
        let records: Vec<Record> = ids.iter().filter_map(|id| self.running_record(id).ok()).collect();
        Ok(table(&columns, &records))
    }

    /// The processes of a running container as ps(1) of the host shows them: a heading, then a row for each, with what
    /// follows its last column in that.
    ///
    /// # Errors
    ///
    /// Conflict if it does not run; Invalid for words that ps does not know.
    pub(crate) fn ps(&self, id: &ContainerId, words: &[String]) -> Result<Vec<Vec<String>>> {
        let unknown = Error::invalid(format!("ps: {}: unknown options", words.join(" ")));
        let (heading, lines) = ps_lines(&self.processes(id)?, words, unknown)?;
        let columns = heading.split_ascii_whitespace().count();
        self.record_for_docker("top", id, &[]);
        Ok([heading].iter().chain(&lines).map(|line| cells(line, columns)).collect())
    }

    /// The processes of a running container in the host's numbers.
    ///
    /// # Errors
    ///
    /// Conflict if it does not run.
    pub(crate) fn processes(&self, id: &ContainerId) -> Result<Vec<i32>> {
        let record = self.running_record(id)?;
        Ok(processes::of_containers(&[&record]).pop().unwrap_or_default())
    }

    fn running_record(&self, id: &ContainerId) -> Result<Record> {
        use std::os::fd::AsFd as _;
        let dir = self.store().containers().open(id)?;
        let status = state::examine(dir.as_fd(), id)?;
        let is_up = status.pid() != 0;
        status.record.filter(|_| is_up).ok_or_else(|| {
            Error::new(Kind::Conflict, "top can only be used on running containers: container state improper")
        })
    }
}

/// Runs ps(1), and gives the heading and the lines of these processes, as docker does. `unknown` is the error if it does not
/// know `words`.
///
/// # Errors
///
/// That one; Invalid if ps does not show which process it is.
pub(crate) fn ps_lines(pids: &[i32], words: &[String], unknown: Error) -> Result<(String, Vec<String>)> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    let Ok(output) = std::process::Command::new("ps").args(&words).output() else {
        return Err(unknown.hint("for options of ps(1), install ps (procps)"));
    };
    if !output.status.success() {
        return Err(unknown);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let Some(column) = heading.split_ascii_whitespace().position(|word| word == "PID") else {
        return Err(Error::invalid("ps has to show the column PID: leave it in the options"));
    };
    let is_one = |line: &&str| {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok((heading.to_owned(), lines.filter(is_one).map(str::to_owned).collect()))
}

/// The first words of a line, and what follows them in the last one.
fn cells(line: &str, columns: usize) -> Vec<String> {
    let mut words = line.split_ascii_whitespace();
    let mut cells: Vec<String> = words.by_ref().take(columns.saturating_sub(1)).map(str::to_owned).collect();
    cells.push(words.collect::<Vec<_>>().join(" "));
    cells
}

/// A heading, then a row for each process; one that is of several containers is the first one's.
fn table(columns: &[(&str, &str)], records: &[Record]) -> Vec<Vec<String>> {
    let heading = columns.iter().map(|(_, heading)| (*heading).to_owned()).collect();
    let mut rows: Vec<Vec<String>> = vec![heading];
    let mut shown = HashSet::new();
    let found = processes::of_containers(&records.iter().collect::<Vec<_>>());
    for (record, pids) in records.iter().zip(found) {
        let pids = pids.into_iter().filter(|pid| shown.insert(*pid));
        let found: Vec<Process> = pids.filter_map(processes::look).collect();
        let view = View::of(record, &found);
        rows.extend(
            found.iter().map(|process| columns.iter().map(|(name, _)| view.cell(name, process)).collect()),
        );
    }
    rows
}

/// The columns asked for: words, or lists with commas.
fn columns(wanted: &[String]) -> Result<Vec<(&'static str, &'static str)>> {
    let words: Vec<&str> =
        wanted.iter().flat_map(|word| word.split([',', ' '])).filter(|w| !w.is_empty()).collect();
    let words = if words.is_empty() { DEFAULT.to_vec() } else { words };
    let find = |word: &str| {
        let known = DESCRIPTORS.iter().find(|(name, _)| *name == word.to_ascii_lowercase()).copied();
        known.ok_or_else(|| Error::invalid(format!("unknown descriptor {word:?}")))
    };
    words.into_iter().map(find).collect()
}

impl View {
    fn of(record: &Record, found: &[Process]) -> Self {
        let map = |file| {
            let text = std::fs::read_to_string(format!("/proc/{}/{file}", record.pid)).unwrap_or_default();
            idmaps::parse_kernel(&text)
        };
        let root = PathBuf::from(format!("/proc/{}/root", record.pid));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).ok().map(RootDir::new);
        let names = |file: &[u8]| {
            let text = root.as_ref().and_then(|root| root.read_small(file)).unwrap_or_default();
            names_of(&String::from_utf8_lossy(&text))
        };
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        Self {
            uids: map("uid_map"),
            gids: map("gid_map"),
            users: names(b"etc/passwd"),
            groups: names(b"etc/group"),
            pids: found.iter().map(|process| (process.host_pid, process.pid)).collect(),
            host_users: names_of(&std::fs::read_to_string("/etc/passwd").unwrap_or_default()),
            uptime: uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
        }
    }

    fn user(&self, host: u32) -> String {
        named(&self.uids, &self.users, host)
    }

    fn group(&self, host: u32) -> String {
        named(&self.gids, &self.groups, host)
    }

    /// A number of the host in the container's, 0 if it is not in there.
    fn inside(&self, host: i32) -> String {
        self.pids.get(&host).copied().unwrap_or(0).to_string()
    }

    /// How long it has been running, in seconds.
    fn age(&self, process: &Process) -> f64 {
        (self.uptime - process.start_ticks as f64 / TICKS as f64).max(0.0)
    }

    fn cell(&self, name: &str, process: &Process) -> String {
        let caps = |set: &str| capabilities(process.capabilities.get(set).map_or("0", String::as_str));
        match name {
            "args" => process.command.clone(),
            "capamb" => caps("CapAmb"),
            "capbnd" => caps("CapBnd"),
            "capeff" => caps("CapEff"),
            "capinh" => caps("CapInh"),
            "capprm" => caps("CapPrm"),
            "comm" => process.comm.clone(),
            "etime" => elapsed(self.age(process)),
            "group" => self.group(process.gids.1),
            "groups" => process.groups.iter().map(|gid| self.group(*gid)).collect::<Vec<_>>().join(","),
            "hgroup" => process.gids.1.to_string(),
            "hpid" => process.host_pid.to_string(),
            "hppid" => process.parent.to_string(),
            "hname" => {
                self.host_users.get(&process.uids.1).cloned().unwrap_or_else(|| process.uids.1.to_string())
            }
            "c" => format!("{:.0}", self.cpu_percent(process).trunc()),
            "start" => begun(self.age(process)),
            "clock" => clock((process.user_ticks + process.system_ticks) / TICKS),
            "hgroups" => process.groups.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
            "huid" | "huser" => process.uids.1.to_string(),
            "label" => label(process.host_pid),
            "nice" => process.nice.to_string(),
            "pcpu" => format!("{:.3}", self.cpu_percent(process)),
            "pgid" => self.inside(process.group),
            "pid" => process.pid.to_string(),
            "ppid" => self.inside(process.parent),
            "rgroup" => self.group(process.gids.0),
            "rss" => (process.resident_bytes / 1024).to_string(),
            "ruser" => self.user(process.uids.0),
            "seccomp" => match process.seccomp {
                0 => "disabled".to_owned(),
                1 => "strict".to_owned(),
                _ => "filter".to_owned(),
            },
            "state" => process.state.clone(),
            "stime" => started(self.age(process)),
            "time" => elapsed((process.user_ticks + process.system_ticks) as f64 / TICKS as f64),
            "tty" => terminal(process.terminal),
            "uid" => named(&self.uids, &HashMap::new(), process.uids.1),
            "user" => self.user(process.uids.1),
            _ => process.virtual_bytes.to_string(),
        }
    }

    fn cpu_percent(&self, process: &Process) -> f64 {
        let used = (process.user_ticks + process.system_ticks) as f64 / TICKS as f64;
        let age = self.age(process);
        if age > 0.0 { used / age * 100.0 } else { 0.0 }
    }
}

/// An ID of the host as the container calls it: a name, a number, or `?` for one it does not have.
fn named(map: &IdMap, names: &HashMap<u32, String>, host: u32) -> String {
    match map.to_inside(host) {
        Some(id) => names.get(&id).cloned().unwrap_or_else(|| id.to_string()),
        None => "?".to_owned(),
    }
}

/// The names of /etc/passwd or /etc/group, the first for each number.
fn names_of(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok())) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// Names of the capabilities in a set, `full` for all of them.
fn capabilities(hex: &str) -> String {
    match u64::from_str_radix(hex, 16).unwrap_or(0) {
        0 => "none".to_owned(),
        set if set & caps::ALL == caps::ALL => "full".to_owned(),
        set => {
            let names = caps::names(set);
            let plain = |name: &String| name.trim_start_matches("CAP_").to_owned();
            names.iter().map(plain).collect::<Vec<_>>().join(",")
        }
    }
}

/// The security label, if a module gives one.
fn label(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap_or_default();
    match text.trim_end_matches(['\0', '\n']) {
        "" => "?".to_owned(),
        label => label.to_owned(),
    }
}

/// A span of time as Go prints it, in whole parts of seconds: `1m2.5s`.
fn elapsed(seconds: f64) -> String {
    // Rounded before it is parted: 59.996 s are a minute.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hundredths of a life")]
    let hundredths = (seconds * 100.0).round() as u64;
    let (hours, minutes) = (hundredths / 360_000, hundredths / 6000 % 60);
    let rest = format!("{}.{:02}", hundredths / 100 % 60, hundredths % 100);
    let rest = rest.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// When a process started that is `age` seconds old.
fn started(age: f64) -> String {
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_secs_f64(age);
    then.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// The same as ps(1) has it: the time of a day, or the day of one that was before.
fn begun(age: f64) -> String {
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_secs_f64(age);
    let form = if age < 86_400.0 { "%H:%M" } else { "%b%d" };
    then.to_zoned(jiff::tz::TimeZone::system()).strftime(form).to_string()
}

/// `00:01:05`.
fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The name of a controlling terminal by its device number; `?` for none.
fn terminal(device: u32) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    match major {
        0 => "?".to_owned(),
        136..144 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_words_or_lists() {
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            columns(&words).ok().map(|found| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]), Some(DEFAULT.to_vec()));
        assert_eq!(names(&["pid", "user,comm"]), Some(vec!["pid", "user", "comm"]));
        assert_eq!(names(&["what"]), None);
    }

    #[test]
    fn terminals_and_times() {
        assert_eq!([terminal(0), terminal(34816), terminal(1025)], ["?", "pts/0", "tty1"]);
        for (seconds, want) in [
            (0.0, "0s"),
            (10.0, "10s"),
            (59.99, "59.99s"),
            (59.996, "1m0s"),
            (62.5, "1m2.5s"),
            (3599.999, "1h0m0s"),
            (3600.0, "1h0m0s"),
            (7384.07, "2h3m4.07s"),
        ] {
            assert_eq!(elapsed(seconds), want, "{seconds}");
        }
        let names = names_of("root:x:0:0\nother:x:0:0\nbad\napp:x:7:\n");
        assert_eq!((names[&0].as_str(), names[&7].as_str(), names.len()), ("root", "app", 2));
    }
}
