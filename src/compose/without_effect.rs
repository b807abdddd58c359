//! Keys that a Compose file may have and that change nothing here: each is told of, with its place.

use crate::base::network;
use crate::compose::node::{Files as Places, Map, Node, Place};

/// Keys of a service that change nothing here, each with what to know about it. Dots lead into mappings.
const WITHOUT_EFFECT: [(&str, &str); 20] = [
    ("build.isolation", "it is for Windows"),
    ("credential_spec", "it is for Windows"),
    ("isolation", "it is for Windows"),
    ("cpu_count", "it is for Windows"),
    ("cpu_percent", "it is for Windows"),
    ("runtime", "ketch is the runtime"),
    ("storage_opt", "no storage driver here knows such options"),
    ("volume_driver", "all volumes are local"),
    ("mem_swappiness", "cgroup v2 has no such setting"),
    ("cpu_rt_period", "cgroup v2 has no such setting"),
    ("cpu_rt_runtime", "cgroup v2 has no such setting"),
    ("oom_kill_disable", "cgroup v2 has no such setting"),
    ("deploy.labels", "they are for services of a swarm; containers get labels of the service"),
    ("deploy.update_config", "it is for a swarm"),
    ("deploy.rollback_config", "it is for a swarm"),
    ("deploy.placement", "it is for a swarm: there is one machine"),
    ("deploy.endpoint_mode", "it is for a swarm"),
    ("deploy.restart_policy.delay", "the time between restarts grows by itself"),
    ("deploy.restart_policy.window", "a container counts as started when its command runs"),
    ("deploy.resources.reservations.cpus", "nothing is reserved on one machine; use cpu_shares"),
];

/// The same for those who are not root of the machine.
const WITHOUT_ROOT: [(&str, &str); 1] =
    [("device_cgroup_rules", "without root there is no right to make devices")];

/// What of a service ketch cannot do for root, or for others, one sentence each, with its place.
pub(crate) fn warnings(name: &str, service: &Node, files: &Places, is_root: bool) -> Vec<String> {
    let mut found: Vec<(Place, String)> = Vec::new();
    let mut add = |node: Option<&Node>, key: &str, why: &str| {
        if let Some(node) = node {
            found.push((node.at, format!("service {name}: {key} has no effect: {why}")));
        }
    };
    let of_others = WITHOUT_ROOT.iter().filter(|_| !is_root);
    for (path, why) in WITHOUT_EFFECT.iter().chain(of_others) {
        add(path.split('.').try_fold(service, |node, key| node.get(key)), path, why);
    }
    let empty = Map::new();
    for (network, node) in service.get("networks").and_then(Node::as_map).unwrap_or(&empty) {
        for (option, value) in node.get("driver_opts").and_then(Node::as_map).unwrap_or(&empty) {
            if ![network::INTERFACE_OPTION, network::SYSCTLS_OPTION].contains(&option.as_str()) {
                let key = format!("networks.{network}.driver_opts.{option}");
                add(Some(value), &key, "the bridge has no such option for one container");
            }
        }
    }
    found.into_iter().map(|(at, text)| format!("{}: {text}", files.show(at))).collect()
}
