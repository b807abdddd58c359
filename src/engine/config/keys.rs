//! The keys that containers.conf may hold, so that a misspelled one is told from one for other programs.
//!
//! # Source
//!
//! containers.conf(5) of podman 5.4.

use toml::Table;

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
        "active_service add_compression cdi_spec_dirs cgroup_check cgroup_manager compat_api_enforce_docker_hub \
         compose_providers compose_warning_logs compression_format compression_level conmon_env_vars conmon_path \
         conmonrs_path database_backend detach_keys enable_port_reservation env events_container_create_inspect_data \
         events_logfile_max_size events_logfile_path events_logger exit_command exit_command_delay \
         healthcheck_events helper_binaries_dir hooks_dir image_build_format image_default_format \
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

/// Keys that ask for something which ketch does otherwise: what it does instead, as it is told.
const WITHOUT_EFFECT: [(&str, &str, &str); 6] = [
    (
        "containers",
        "interface_name",
        "interfaces are named eth0, eth1, …, or by --network NAME:interface_name=…",
    ),
    ("containers", "log_path", "logs lie with their containers, or where --log-opt path=… says"),
    ("engine", "events_logfile_path", "events are kept in the store, which --root or KETCH_ROOT moves"),
    ("engine", "hooks_dir", "ketch starts containers itself and runs no hooks"),
    ("engine", "static_dir", "all is in the store, which --root or KETCH_ROOT moves"),
    ("engine", "volume_path", "volumes lie in the store, which --root or KETCH_ROOT moves"),
];

/// What is set and cannot be followed, as it is shown to the user.
pub(super) fn without_effect(file: &Table) -> Vec<String> {
    let is_set = |section: &str, key: &str| {
        let value = file.get(section).and_then(|values| values.get(key));
        value.is_some_and(|value| value.as_str() != Some(""))
    };
    let idle = WITHOUT_EFFECT.iter().filter(|(section, key, _)| is_set(section, key));
    idle.map(|(section, key, instead)| format!("{key:?} in [{section}] has no effect: {instead}")).collect()
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
            "[containers]\nlog_path=''\ninterface_name='device'\n[engine]\nvolume_path='/v'\nenv=['A=1']\n";
        let told = without_effect(&text.parse().unwrap());
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("\"interface_name\" in [containers] has no effect"), "{told:?}");
        assert!(told[1].contains("volume_path"), "{told:?}");
        let known = |(section, key, _): &(&str, &str, &str)| {
            KNOWN.iter().any(|(name, keys)| name == section && keys.split(' ').any(|known| known == *key))
        };
        assert!(WITHOUT_EFFECT.iter().all(known));
    }
}
