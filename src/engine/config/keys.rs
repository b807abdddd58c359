//! The keys that containers.conf may hold, so that a misspelled one is told from one for other programs.
//!
//! # Source
//!
//! containers.conf(5) of podman 5.4.

use toml::{Table, Value};

/// Sections and their keys. One without keys is not for ketch and may hold anything.
const KNOWN: [(&str, &str); 8] = [
    (
        "containers",
        "annotations apparmor_profile base_hosts_file cgroup_conf cgroupns cgroups container_name_as_hostname \
         default_capabilities default_sysctls default_ulimits devices dns_options dns_searches dns_servers \
         enable_keyring enable_labeled_users env env_host host_containers_internal_ip http_proxy init init_path \
         interface_name ipcns keyring label label_users log_driver log_path log_size_max log_tag mounts netns \
         no_hosts oom_score_adj pidns pids_limit prepare_volume_on_create privileged read_only seccomp_profile \
         shm_size tz umask userns userns_size utsns volumes",
    ),
    (
        "network",
        "cni_plugin_dirs default_network default_rootless_network_cmd default_subnet default_subnet_pools \
         dns_bind_port firewall_driver netavark_plugin_dirs network_backend network_config_dir pasta_options",
    ),
    (
        "engine",
        "active_service add_compression cdi_spec_dirs cgroup_check cgroup_manager chown_copied_files \
         compat_api_enforce_docker_hub compose_providers compose_warning_logs compression_format compression_level conmon_env_vars conmon_path \
         conmonrs_path database_backend detach_keys enable_port_reservation env events_container_create_inspect_data \
         events_logfile_max_size events_logfile_path events_logger exit_command exit_command_delay \
         healthcheck_events helper_binaries_dir hooks_dir image_build_format image_copy_tmp_dir image_default_format \
         image_default_transport image_parallel_copies image_volume_mode infra_command infra_image \
         kube_generate_type lock_type machine_enabled multi_image_archive namespace network_cmd_options \
         network_cmd_path no_pivot_root num_locks platform_to_oci_runtime pod_exit_policy podmansh_container \
         podmansh_shell podmansh_timeout pull_policy remote remote_identity remote_uri retry retry_delay runtime \
         runtime_path runtime_supports_json runtime_supports_kvm runtime_supports_nocgroups runtimes \
         runtimes_flags service_destinations service_timeout set_options ssh_config static_dir stop_timeout \
         tmp_dir volume_path volume_plugin_timeout volume_plugins",
    ),
    ("ketch", "json_lines"),
    ("secrets", ""),
    ("machine", ""),
    ("farms", ""),
    ("podmansh", ""),
];

/// What no manual knows, as it is shown to the user.
pub(super) fn unknown(file: &Table) -> Vec<String> {
    let mut unknown = Vec::new();
    for (section, values) in file {
        let Some((_, keys)) = KNOWN.iter().find(|(name, _)| name == section) else {
            unknown.push(format!("{section:?}"));
            continue;
        };
        let is_known = |key: &&String| keys.is_empty() || keys.split(' ').any(|known| known == *key);
        let of_section = values.as_table().into_iter().flat_map(Table::keys);
        unknown.extend(of_section.filter(|key| !is_known(key)).map(|key| format!("{key:?} in [{section}]")));
    }
    unknown
}

/// A key that asks for something which ketch does otherwise.
struct Idle {
    section: &'static str,
    key: &'static str,
    /// Values that ask for what ketch does anyway. An empty one asks for nothing.
    fine: &'static [&'static str],
    /// What ketch does, as it is told.
    instead: &'static str,
}

const fn idle(
    section: &'static str,
    key: &'static str,
    fine: &'static [&'static str],
    instead: &'static str,
) -> Idle {
    Idle { section, key, fine, instead }
}

/// What is neither here nor read asks for nothing that a user could miss: programs that ketch does without, and how
/// other engines divide their work (locks, databases, services, pods).
const WITHOUT_EFFECT: [Idle; 23] = [
    idle(
        "containers",
        "apparmor_profile",
        &["unconfined", "container-default"],
        "only root of the host can set a profile",
    ),
    idle(
        "containers",
        "interface_name",
        // The name of the host's device, which a bridge has none of.
        &["device"],
        "interfaces are named eth0, eth1, …, or by --network NAME:interface_name=…",
    ),
    idle("containers", "keyring", &["true"], "every container has a session keyring of its own"),
    idle("containers", "label_users", &["false"], "ketch sets no SELinux labels"),
    idle(
        "engine",
        "chown_copied_files",
        &["true"],
        "`cp` gives what it copies to the container's user, or with --archive=false leaves its owner",
    ),
    idle("engine", "compose_providers", &[], "`compose` is a part of ketch"),
    idle(
        "engine",
        "events_container_create_inspect_data",
        &["false"],
        "events hold names, labels and codes; `inspect` has the rest",
    ),
    idle(
        "engine",
        "events_logfile_max_size",
        &["8m"],
        "the file of events is renamed at 8 MiB, and one is kept",
    ),
    idle(
        "engine",
        "image_copy_tmp_dir",
        &["storage", "/var/tmp"],
        "images are written into the store at once",
    ),
    idle(
        "engine",
        "image_default_transport",
        &["docker", "docker://"],
        "a name without a transport is one of a registry",
    ),
    idle("engine", "namespace", &[], "the store, which --root or KETCH_ROOT moves, is the only namespace"),
    idle("engine", "remote", &["false"], "there is no daemon to connect to"),
    idle("engine", "runtime", &["crun", "runc", "ketch"], "ketch starts containers itself"),
    idle("engine", "static_dir", &[], "all is in the store, which --root or KETCH_ROOT moves"),
    idle("engine", "tmp_dir", &["/run/libpod"], "all is in the store, which --root or KETCH_ROOT moves"),
    idle("engine", "volume_path", &[], "volumes lie in the store, which --root or KETCH_ROOT moves"),
    idle("engine", "volume_plugins", &[], "\"local\" is the only driver"),
    idle("network", "cni_plugin_dirs", &[], "ketch carries networks itself"),
    idle("network", "dns_bind_port", &["0", "53"], "containers ask at port 53 of their gateway"),
    idle("network", "netavark_plugin_dirs", &[], "ketch carries networks itself"),
    idle("network", "network_backend", &["netavark"], "ketch carries networks itself"),
    idle(
        "network",
        "network_config_dir",
        &[],
        "networks are described in the store, which --root or KETCH_ROOT moves",
    ),
    idle("secrets", "driver", &["file"], "\"file\" is the only driver"),
];

/// What is set and cannot be followed, as it is shown to the user.
pub(super) fn without_effect(file: &Table) -> Vec<String> {
    let in_vain = |idle: &&Idle| {
        let value = file.get(idle.section).and_then(|values| values.get(idle.key));
        value.is_some_and(|value| match value {
            Value::String(text) => !text.is_empty() && !idle.fine.contains(&text.as_str()),
            Value::Array(list) => !list.is_empty(),
            Value::Table(table) => !table.is_empty(),
            Value::Boolean(word) => !idle.fine.contains(&if *word { "true" } else { "false" }),
            Value::Integer(number) => !idle.fine.contains(&number.to_string().as_str()),
            Value::Float(_) | Value::Datetime(_) => true,
        })
    };
    let told = |idle: &Idle| format!("{:?} in [{}] has no effect: {}", idle.key, idle.section, idle.instead);
    WITHOUT_EFFECT.iter().filter(in_vain).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_keys_are_found() {
        let text = "[containers]\nenv=[]\nenvs=[]\n[engine]\nnum_locks=5\n[engine.runtimes]\nx=['y']\n[machine]\nany=1\n[more]\n";
        assert_eq!(unknown(&text.parse().unwrap()), ["\"envs\" in [containers]", "\"more\""]);
        assert!(KNOWN.iter().all(|(_, keys)| !keys.contains("  ")));
    }

    #[test]
    fn what_cannot_be_followed_is_told() {
        let text =
            "[containers]\ninterface_name='lan'\n[engine]\nstatic_dir=''\nvolume_path='/v'\nenv=['A=1']\n";
        let told = without_effect(&text.parse().unwrap());
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("\"interface_name\" in [containers] has no effect"), "{told:?}");
        assert!(told[1].contains("volume_path"), "{told:?}");
        let known = |idle: &Idle| {
            KNOWN.iter().any(|(name, keys)| {
                *name == idle.section && (keys.is_empty() || keys.split(' ').any(|known| known == idle.key))
            })
        };
        assert!(WITHOUT_EFFECT.iter().all(known));
    }

    #[test]
    fn what_is_done_anyway_needs_no_word() {
        for (text, count) in [
            ("[containers]\nkeyring=true\napparmor_profile='container-default'\n", 0),
            ("[containers]\nkeyring=false\napparmor_profile='mine'\n", 2),
            ("[engine]\nruntime='crun'\nremote=false\nvolume_plugins={}\ncompose_providers=[]\n", 0),
            (
                "[engine]\nruntime='kata'\nremote=true\ncompose_providers=['/x']\n[engine.volume_plugins]\na='/b'\n",
                4,
            ),
            ("[network]\ndns_bind_port=53\nnetwork_backend='netavark'\n[secrets]\ndriver='file'\n", 0),
            ("[network]\ndns_bind_port=1053\nnetwork_backend='cni'\n[secrets]\ndriver='pass'\n", 3),
        ] {
            let table = text.parse().unwrap();
            assert_eq!(without_effect(&table).len(), count, "{text}");
            assert_eq!(unknown(&table), [""; 0], "{text}");
        }
    }
}
