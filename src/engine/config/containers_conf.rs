//! containers.conf: what the administrator and the user want for every container.
//!
//! ```text
//! /usr/share/containers/containers.conf      the weakest
//! /etc/containers/containers.conf, containers.conf.d/*.conf
//! ~/.config/containers/containers.conf, containers.conf.d/*.conf     (not for root)
//! $CONTAINERS_CONF                           instead of all above
//! --module NAME                              containers.conf.modules/NAME of the same directories
//! $CONTAINERS_CONF_OVERRIDE                  the strongest
//! ```
//!
//! Only what exists is parsed; where nothing does, that costs a handful of failed opens. Tables are merged key
//! by key; a list replaces the one before unless it holds `{append=true}`.
//!
//! # Source
//!
//! containers.conf(5) of podman 5.4. Keys that only concern other programs (conmon, OCI runtimes, machines)
//! are known and not read; a key that is in no manual is warned of, as it is most likely misspelled.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::base::image_ref::NameRule;
use crate::base::manifest::Form;
use crate::base::order::InOrder as _;
use crate::base::toml_text::without_comments;
use crate::engine::Tell;
use crate::engine::config::{keys, variable, xdg};
use crate::engine::error::{Error, Kind, Result};
use crate::sys::process;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainersConf {
    pub(crate) containers: Containers,
    pub(crate) engine: EngineConf,
    pub(crate) network: NetworkConf,
    pub(crate) ketch: KetchConf,
    /// `--registries-conf`, which no file can say.
    #[serde(skip)]
    pub(crate) registries_conf: Option<PathBuf>,
    /// What short names of images mean to who calls, as well.
    #[serde(skip)]
    pub(crate) name_rule: NameRule,
    /// `--default-mounts-file`, as well.
    #[serde(skip)]
    pub(crate) mounts_file: Option<PathBuf>,
}

/// `[containers]`: defaults of `run` and `create`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Containers {
    pub(crate) annotations: Vec<String>,
    pub(crate) base_hosts_file: Option<String>,
    pub(crate) cgroup_conf: Vec<String>,
    pub(crate) cgroupns: Option<String>,
    pub(crate) cgroups: Option<String>,
    pub(crate) container_name_as_hostname: bool,
    pub(crate) default_capabilities: Option<Vec<String>>,
    pub(crate) default_sysctls: Vec<String>,
    pub(crate) default_ulimits: Vec<String>,
    pub(crate) devices: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) dns_searches: Vec<String>,
    pub(crate) dns_servers: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) env_host: bool,
    pub(crate) host_containers_internal_ip: Option<String>,
    pub(crate) http_proxy: Option<bool>,
    pub(crate) init: bool,
    pub(crate) init_path: Option<PathBuf>,
    pub(crate) ipcns: Option<String>,
    pub(crate) label: Option<bool>,
    pub(crate) log_driver: Option<String>,
    /// Where logs lie that are files, each in a directory named by its container's ID.
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) log_size_max: Option<i64>,
    pub(crate) log_tag: Option<String>,
    pub(crate) mounts: Vec<String>,
    pub(crate) netns: Option<String>,
    pub(crate) no_hosts: bool,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) pidns: Option<String>,
    pub(crate) pids_limit: Option<i64>,
    /// `create` fills new volumes with the image's files, and not the first start.
    pub(crate) prepare_volume_on_create: bool,
    pub(crate) privileged: bool,
    pub(crate) read_only: bool,
    pub(crate) seccomp_profile: Option<PathBuf>,
    pub(crate) shm_size: Option<String>,
    pub(crate) tz: Option<String>,
    pub(crate) umask: Option<String>,
    pub(crate) userns: Option<String>,
    /// How many IDs `auto` gives where it is not told a size.
    pub(crate) userns_size: Option<u32>,
    pub(crate) utsns: Option<String>,
    pub(crate) volumes: Vec<String>,
}

/// `[engine]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EngineConf {
    /// `manifest push --add-compression`.
    pub(crate) add_compression: Vec<String>,
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    pub(crate) cgroup_manager: Option<String>,
    /// `push --compression-format`.
    pub(crate) compression_format: Option<String>,
    pub(crate) compression_level: Option<i32>,
    pub(crate) detach_keys: Option<String>,
    /// Variables of the command itself, like `HTTPS_PROXY=…`; one that is set stays as it is.
    pub(crate) env: Vec<String>,
    pub(crate) events_logger: Option<String>,
    pub(crate) events_logfile_path: Option<PathBuf>,
    pub(crate) healthcheck_events: Option<bool>,
    /// Where hooks are described, the strongest last (`--hooks-dir`).
    pub(crate) hooks_dir: Option<Vec<PathBuf>>,
    pub(crate) image_default_format: Option<String>,
    /// Layers that are fetched at once; 0 for the usual number.
    pub(crate) image_parallel_copies: Option<usize>,
    pub(crate) image_volume_mode: Option<String>,
    /// `kube generate --type`.
    pub(crate) kube_generate_type: Option<String>,
    /// `save --multi-image-archive`.
    pub(crate) multi_image_archive: bool,
    /// Options of `--network slirp4netns`.
    pub(crate) network_cmd_options: Vec<String>,
    pub(crate) pull_policy: Option<String>,
    pub(crate) pod_exit_policy: Option<String>,
    pub(crate) retry: Option<u32>,
    /// How long, like `2s`.
    pub(crate) retry_delay: Option<String>,
    pub(crate) stop_timeout: Option<u32>,
    /// The image of infra containers, and their command.
    pub(crate) infra_image: Option<String>,
    pub(crate) infra_command: Option<String>,
}

impl EngineConf {
    /// The form in which new images are written.
    ///
    /// # Errors
    ///
    /// A form that ketch does not write.
    pub(crate) fn default_form(&self) -> Result<Form> {
        match self.image_default_format.as_deref() {
            None | Some("" | "oci") => Ok(Form::Oci),
            Some("v2s2" | "docker") => Ok(Form::Docker),
            Some(other) => Err(Error::invalid(format!(
                "containers.conf: image_default_format: {other:?} means nothing: choose from oci, v2s2"
            ))),
        }
    }
}

/// `[network]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkConf {
    pub(crate) default_network: Option<String>,
    pub(crate) default_rootless_network_cmd: Option<String>,
    pub(crate) default_subnet: Option<String>,
    pub(crate) default_subnet_pools: Vec<SubnetPool>,
    /// Options of `--network pasta`.
    pub(crate) pasta_options: Vec<String>,
}

/// Where new networks take their subnets from.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SubnetPool {
    /// The range, like `10.89.0.0/16`.
    pub(crate) base: String,
    /// The prefix length of what is cut from it.
    pub(crate) size: u8,
}

/// `[ketch]`: what other engines do not have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct KetchConf {
    /// `--format json` prints one object per line, as docker does, and not one array, as podman does.
    pub(crate) json_lines: bool,
}

/// Where the files are.
#[derive(Clone, Debug, Default)]
struct Sources {
    /// Directories that hold `containers.conf`, `.d` and `.modules`, the weakest first.
    directories: Vec<PathBuf>,
    /// `CONTAINERS_CONF`.
    instead: Option<PathBuf>,
    /// `CONTAINERS_CONF_OVERRIDE`.
    last: Option<PathBuf>,
    modules: Vec<OsString>,
}

/// Reads the configuration, with the modules of the command line.
///
/// # Errors
///
/// A file that is no TOML, a value of the wrong type, a module that is not there.
pub(crate) fn read(modules: &[OsString], tell: Tell) -> Result<ContainersConf> {
    let mut directories = vec![PathBuf::from("/usr/share/containers"), PathBuf::from("/etc/containers")];
    if !rustix::process::geteuid().is_root() {
        directories.extend(xdg("XDG_CONFIG_HOME", ".config").map(|config| config.join("containers")));
    }
    let sources = Sources {
        directories,
        instead: variable("CONTAINERS_CONF"),
        last: variable("CONTAINERS_CONF_OVERRIDE"),
        modules: modules.to_vec(),
    };
    read_from(&sources, &mut |text| tell(text))
}

fn read_from(sources: &Sources, tell: &mut dyn FnMut(&str)) -> Result<ContainersConf> {
    let mut merged = Table::new();
    let mut merge_file = |merged: &mut Table, file: &Path, named| merge_file(merged, file, named, tell);
    match &sources.instead {
        Some(file) => merge_file(&mut merged, file, true)?,
        None => {
            for directory in &sources.directories {
                merge_file(&mut merged, &directory.join("containers.conf"), false)?;
                for file in drop_ins(&directory.join("containers.conf.d")) {
                    merge_file(&mut merged, &file, false)?;
                }
            }
        }
    }
    for module in &sources.modules {
        merge_file(&mut merged, &find_module(sources, module)?, true)?;
    }
    if let Some(file) = &sources.last {
        merge_file(&mut merged, file, true)?;
    }
    if merged.is_empty() {
        return Ok(ContainersConf::default());
    }
    merged.try_into().map_err(|err| {
        Error::new(Kind::Misconfigured, "understand containers.conf")
            .because(err.to_string().trim_end().to_owned())
    })
}

impl EngineConf {
    /// Gives this command the variables that `env` lists. Called at its beginning, while it has one thread.
    ///
    /// # Errors
    ///
    /// For what is no variable.
    pub(crate) fn set_environment(&self) -> Result<()> {
        for entry in &self.env {
            let pair = entry
                .split_once('=')
                .filter(|(name, value)| !name.is_empty() && !name.contains('\0') && !value.contains('\0'));
            let (name, value) = pair.ok_or_else(|| {
                Error::invalid(format!("containers.conf: env: {entry:?} is no variable"))
                    .hint("write NAME=VALUE")
            })?;
            process::set_default_variable(name.as_ref(), value.as_ref());
        }
        Ok(())
    }
}

/// `*.conf` in a directory, by name.
fn drop_ins(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
    files.order();
    files
}

/// The file of a module: an absolute path, or a name below a directory for modules, the user's first.
fn find_module(sources: &Sources, module: &OsString) -> Result<PathBuf> {
    let path = Path::new(module);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let places = sources.directories.iter().rev().map(|dir| dir.join("containers.conf.modules").join(path));
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
        Error::new(Kind::Misconfigured, format!("could not resolve module {}: no such file", path.display()))
            .hint("modules lie in ~/.config/containers/containers.conf.modules or /etc/containers/containers.conf.modules")
    })
}

/// Why a file cannot be used.
fn wrong(file: &Path, why: &str) -> Error {
    Error::new(Kind::Misconfigured, format!("read {}", file.display())).because(why.to_owned())
}

/// Reads a file into what is known; one that is not there counts only if it was `named`.
fn merge_file(merged: &mut Table, file: &Path, named: bool, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let text = match crate::sys::fs::read_named_text(file) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound && !named => return Ok(()),
        Err(err) => return Err(wrong(file, &err.to_string())),
    };
    let table: Table =
        without_comments(&text).parse().map_err(|err: toml::de::Error| wrong(file, &err.to_string()))?;
    for unknown in keys::unknown(&table) {
        tell(&format!("Warning: {}: unknown key {unknown}", file.display()));
    }
    for idle in keys::without_effect(&table) {
        tell(&format!("Warning: {}: {idle}", file.display()));
    }
    for (section, values) in table {
        match (values, merged.entry(section).or_insert_with(|| Value::Table(Table::new()))) {
            (Value::Table(values), Value::Table(known)) => merge_section(known, values),
            (values, known) => *known = values,
        }
    }
    Ok(())
}

fn merge_section(known: &mut Table, values: Table) {
    for (key, value) in values {
        let Value::Array(list) = value else {
            known.insert(key, value);
            continue;
        };
        let appends = |item: &Value| item.get("append").and_then(Value::as_bool);
        let append = list.iter().find_map(appends).unwrap_or(false);
        let items = list.into_iter().filter(|item| appends(item).is_none());
        match known.get_mut(&key) {
            Some(Value::Array(before)) if append => before.extend(items),
            _ => drop(known.insert(key, Value::Array(items.collect()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_win_key_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        write(
            "a/containers.conf",
            "[containers]\nenv=['A=1','B=1']\ninit=true\ntz='UTC'\n[engine]\nunknown='x'\nstop_timeout=3\n",
        );
        write("a/containers.conf.d/10.conf", "[containers]\nenv=['C=1', {append=true}]\n");
        let pools = "[network]\ndefault_subnet_pools=[{base='10.5.0.0/16', size=25}]\n";
        write("a/containers.conf.d/15.conf", pools);
        write("a/containers.conf.d/20.other", "[containers]\ninit=false\n");
        write("b/containers.conf", "[containers]\ntz='local'\n");
        let mut sources =
            Sources { directories: vec![dir.path().join("a"), dir.path().join("b")], ..Sources::default() };
        let mut told = Vec::new();
        let conf = read_from(&sources, &mut |text| told.push(text.to_owned())).unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with("a/containers.conf: unknown key \"unknown\" in [engine]"), "{told:?}");
        assert_eq!(conf.containers.env, ["A=1", "B=1", "C=1"]);
        assert_eq!(
            (conf.containers.init, conf.containers.tz.as_deref(), conf.engine.stop_timeout),
            (true, Some("local"), Some(3))
        );

        assert_eq!(conf.network.default_subnet_pools[0].size, 25);

        write("a/containers.conf.modules/m.conf", "[containers]\nenv=['M=1']\n");
        sources.modules = vec!["m.conf".into()];
        sources.last = Some(write("last", "[containers]\ntz='last'\n"));
        let conf = read_from(&sources, &mut |_| ()).unwrap();
        assert_eq!(
            (conf.containers.env, conf.containers.tz.as_deref()),
            (vec!["M=1".to_owned()], Some("last"))
        );
        sources.instead = Some(write("instead", "[containers]\n"));
        assert!(!read_from(&sources, &mut |_| ()).unwrap().containers.init);

        sources.modules = vec!["none".into()];
        assert!(read_from(&sources, &mut |_| ()).unwrap_err().message.contains("none"));
        sources.modules.clear();
        sources.instead = Some(dir.path().join("missing"));
        assert!(read_from(&sources, &mut |_| ()).is_err());
        sources.instead = Some(write("bad", "[containers\n"));
        assert!(read_from(&sources, &mut |_| ()).unwrap_err().message.contains("bad"));
        sources.instead = Some(write("wrong", "[containers]\ninit='perhaps'\n"));
        assert!(read_from(&sources, &mut |_| ()).is_err());
        assert!(read_from(&Sources::default(), &mut |_| ()).unwrap().containers.env.is_empty());
    }
}
