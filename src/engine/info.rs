//! What the machine is like and what the store holds.

use std::fs;
use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::base::idmap::IdMap;
use crate::base::image_ref::NameRule;
use crate::engine::config::containers_conf::ContainersConf;
use crate::engine::filter::Filters;
use crate::engine::list::Query;
use crate::engine::{Engine, Result, config};
use crate::registry::config::Registries;

/// The machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) hostname: String,
    pub(crate) kernel: String,
    /// Of the operating system: `ID`, `VERSION_ID` and `VERSION_CODENAME` of os-release(5).
    pub(crate) distribution: String,
    pub(crate) distribution_version: String,
    pub(crate) codename: String,
    pub(crate) cpus: usize,
    /// Percent of the time since boot: user, system, idle.
    pub(crate) cpu_percent: [f64; 3],
    pub(crate) mem_total_bytes: u64,
    pub(crate) mem_free_bytes: u64,
    pub(crate) swap_total_bytes: u64,
    pub(crate) swap_free_bytes: u64,
    pub(crate) uptime_s: f64,
    /// Controllers that the user may use.
    pub(crate) cgroup_controllers: Vec<String>,
    pub(crate) cgroup_v2: bool,
    /// Who makes cgroups: `systemd` or `cgroupfs`.
    pub(crate) cgroup_manager: &'static str,
    pub(crate) apparmor: bool,
    pub(crate) selinux: bool,
    pub(crate) seccomp: bool,
    /// Containers are made without root.
    pub(crate) rootless: bool,
    /// The maps of U; `None` for root.
    pub(crate) maps: Option<(IdMap, IdMap)>,
    /// This program.
    pub(crate) program: PathBuf,
    /// Registries in which short names of images are looked for.
    pub(crate) search_registries: Vec<String>,
}

/// The store.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreInfo {
    pub(crate) root: PathBuf,
    pub(crate) containers: usize,
    /// Those that are paused are none of them.
    pub(crate) running: usize,
    pub(crate) paused: usize,
    pub(crate) images: usize,
    /// Of the file system it is on.
    pub(crate) total_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) file_system: &'static str,
}

impl Engine {
    /// Looks at the machine. What it does not tell is empty.
    pub(crate) fn host_info(&self) -> Host {
        let caller = self.caller();
        let release = read("/etc/os-release");
        let memory = read("/proc/meminfo");
        let uptime = read("/proc/uptime");
        let selinux = PathBuf::from("/sys/fs/selinux/enforce").exists();
        Host {
            hostname: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            distribution: release_field(&release, "ID"),
            distribution_version: release_field(&release, "VERSION_ID"),
            codename: release_field(&release, "VERSION_CODENAME"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_percent: cpu_percent(&read("/proc/stat")),
            mem_total_bytes: memory_field(&memory, "MemTotal"),
            mem_free_bytes: memory_field(&memory, "MemFree"),
            swap_total_bytes: memory_field(&memory, "SwapTotal"),
            swap_free_bytes: memory_field(&memory, "SwapFree"),
            uptime_s: uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            cgroup_controllers: cgroup_controllers(),
            cgroup_v2: PathBuf::from("/sys/fs/cgroup/cgroup.controllers").exists(),
            cgroup_manager: self.cgroups(&caller).manager_name(),
            apparmor: line("/sys/module/apparmor/parameters/enabled") == "Y",
            selinux,
            seccomp: read("/proc/self/status").contains("\nSeccomp:"),
            rootless: caller.mapping.is_some(),
            maps: caller.mapping.map(|mapping| (mapping.uids, mapping.gids)),
            program: crate::stage::spawn::own_path(),
            search_registries: search_registries(self.conf()),
        }
    }

    /// Where output of containers goes that ask for nothing: as the configuration says, else as who called is used to it.
    pub(crate) fn default_log_driver(&self) -> &str {
        let configured = self.conf().containers.log_driver.as_deref().filter(|driver| !driver.is_empty());
        configured.unwrap_or(match self.name_rule() {
            NameRule::Docker => "json-file",
            NameRule::Podman => "k8s-file",
        })
    }

    /// Who this engine is, for those who keep a list of engines: the same for one store of one machine, as a UUID.
    ///
    /// The machine's own ID does not show (machine-id(5): it is hashed with the purpose).
    pub(crate) fn installation_id(&self) -> String {
        let mut text = line("/etc/machine-id").into_bytes();
        text.extend(b" ketch ");
        text.extend(self.store().root().as_os_str().as_encoded_bytes());
        let hex = Digest::of(&text).hex();
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex[part].to_owned()).join("-")
    }

    /// Counts what the store holds.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn store_info(&self) -> Result<StoreInfo> {
        let all = self.containers(&Query { all: true, ..Query::default() })?;
        let space = self.store().space()?;
        let up = || all.items.iter().filter(|container| container.is_up());
        let paused = up().filter(|container| container.status.paused).count();
        Ok(StoreInfo {
            root: self.store().root().to_owned(),
            containers: all.items.len() + all.damaged.len(),
            running: up().count() - paused,
            paused,
            images: self.images(&Filters::default(), false)?.items.len(),
            total_bytes: space.total_bytes,
            used_bytes: space.total_bytes.saturating_sub(space.free_bytes),
            file_system: file_system(space.magic),
        })
    }
}

/// The operating system in its own words: `PRETTY_NAME` of os-release(5).
pub(crate) fn operating_system() -> String {
    let release = read("/etc/os-release");
    match release_field(&release, "PRETTY_NAME") {
        name if name.is_empty() => "Linux".to_owned(),
        name => name,
    }
}

/// Configuration that cannot be read is the business of the command that needs it.
fn search_registries(conf: &ContainersConf) -> Vec<String> {
    let paths = config::registries::registries(conf);
    Registries::load(&paths).map_or(Vec::new(), |found| found.search().to_vec())
}

pub(super) fn read(path: &str) -> String {
    fs::read(path).map_or(String::new(), |text| String::from_utf8_lossy(&text).into_owned())
}

fn line(path: &str) -> String {
    read(path).trim().to_owned()
}

/// A value of os-release(5), without its quotes.
fn release_field(text: &str, key: &str) -> String {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}

/// A line of /proc/meminfo, in bytes.
pub(super) fn memory_field(text: &str, key: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kib = found.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The first line of /proc/stat as percent of user, system and idle time.
fn cpu_percent(text: &str) -> [f64; 3] {
    let first = text.lines().next().unwrap_or_default();
    let times: Vec<f64> =
        first.split_ascii_whitespace().skip(1).filter_map(|time| time.parse().ok()).collect();
    let [user, _, system, idle, ..] = times[..] else { return [0.0; 3] };
    let total: f64 = user + system + idle;
    if total == 0.0 { [0.0; 3] } else { [user, system, idle].map(|time| 100.0 * time / total) }
}

/// Controllers of the cgroup this process is in.
fn cgroup_controllers() -> Vec<String> {
    let own = read("/proc/self/cgroup");
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let path = PathBuf::from("/sys/fs/cgroup").join(own).join("cgroup.controllers");
    let text = fs::read_to_string(path).unwrap_or_else(|_| read("/sys/fs/cgroup/cgroup.controllers"));
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The name that statfs(2) gives a number for.
fn file_system(magic: u64) -> &'static str {
    match magic {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x2fc1_2fc1 => "zfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0xf2f5_2010 => "f2fs",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        assert_eq!(release_field("NAME=x\nID=debian\nVERSION_ID=\"13\"\n", "ID"), "debian");
        assert_eq!(release_field("VERSION_ID=\"13\"\n", "VERSION_ID"), "13");
        assert_eq!(memory_field("MemTotal:  12 kB\nMemFree: 3 kB\n", "MemFree"), 3072);
        assert_eq!(cpu_percent("cpu  10 5 10 80 1\n"), [10.0, 10.0, 80.0]);
        assert_eq!(cpu_percent(""), [0.0; 3]);
    }
}
