//! Keys that a Compose file may have and that change nothing here: each is told of, with its place.

use crate::compose::node::{Files as Places, Node, Place};

/// Keys of a service that change nothing here, each with what to know about it. Dots lead into mappings.
const WITHOUT_EFFECT: [(&str, &str); 21] = [
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
    ("device_cgroup_rules", "without root there is no right to make devices"),
    ("deploy.labels", "they are for services of a swarm; containers get labels of the service"),
    ("deploy.update_config", "it is for a swarm"),
    ("deploy.rollback_config", "it is for a swarm"),
    ("deploy.placement", "it is for a swarm: there is one machine"),
    ("deploy.endpoint_mode", "it is for a swarm"),
    ("deploy.restart_policy.delay", "the time between restarts grows by itself"),
    ("deploy.restart_policy.window", "a container counts as started when its command runs"),
    ("deploy.resources.reservations.cpus", "nothing is reserved on one machine; use cpu_shares"),
];

/// The same for one network of a service.
const NETWORK_WITHOUT_EFFECT: [(&str, &str); 1] =
    [("driver_opts", "the bridge has no options for one container")];

/// What of a service ketch cannot do, one sentence each, with its place.
pub(crate) fn warnings(name: &str, service: &Node, files: &Places) -> Vec<String> {
    let mut found: Vec<(Place, String)> = Vec::new();
    let mut add = |node: Option<&Node>, key: &str, why: &str| {
        if let Some(node) = node {
            found.push((node.at, format!("service {name}: {key} has no effect: {why}")));
        }
    };
    for (path, why) in WITHOUT_EFFECT {
        add(path.split('.').try_fold(service, |node, key| node.get(key)), path, why);
    }
    if let Some(networks) = service.get("networks").and_then(Node::as_map) {
        for (network, node) in networks {
            for (key, why) in NETWORK_WITHOUT_EFFECT {
                add(node.get(key), &format!("networks.{network}.{key}"), why);
            }
        }
    }
    found.into_iter().map(|(at, text)| format!("{}: {text}", files.show(at))).collect()
}
