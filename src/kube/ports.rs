//! The ports that a pod publishes: those of its manifest, and over them those of `--publish`.

use crate::base::network::PortMapping;
use crate::engine::{Error, Result};
use crate::kube::types::{Pod, Port};

/// The ports as `--publish` takes them. With `all`, those without a port of the host as well, at the same number.
///
/// # Errors
///
/// Entries of `typed` that mean nothing.
pub(super) fn published(pod: &Pod, all: bool, typed: &[String]) -> Result<Vec<String>> {
    let mut over = Vec::new();
    for text in typed {
        let mapping: PortMapping = text.parse().map_err(|err| Error::invalid(format!("{err}")))?;
        over.extend(mapping.each().map(|port| (port.container_port, port.protocol.to_string())));
    }
    let ports = pod.containers.iter().flat_map(|container| &container.ports);
    let stays = |port: &&Port| {
        (port.host != 0 || all)
            && !over.iter().any(|(number, protocol)| *number == port.container && *protocol == port.protocol)
    };
    Ok(ports.filter(stays).map(text).chain(typed.iter().cloned()).collect())
}

fn text(port: &Port) -> String {
    let host = if port.host == 0 { port.container } else { port.host };
    let rest = format!("{host}:{}/{}", port.container, port.protocol);
    match port.host_ip.as_str() {
        "" => rest,
        v6 if v6.contains(':') => format!("[{v6}]:{rest}"),
        v4 => format!("{v4}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::plan::tests::pod;

    #[test]
    fn what_is_typed_wins() {
        let pod = pod(
            "metadata: {name: p}\nspec: {containers: [{name: a, ports: [{containerPort: 80}, {containerPort: 81, hostPort: 8081, hostIP: '::1'}]}, \
            {name: b, ports: [{containerPort: 82, hostPort: 8082, protocol: UDP}]}]}\n",
        );
        let of = |all: bool, typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(|text| (*text).to_owned()).collect();
            published(&pod, all, &typed).unwrap()
        };
        assert_eq!(of(false, &[]), ["[::1]:8081:81/tcp", "8082:82/udp"]);
        assert_eq!(of(true, &[]), ["80:80/tcp", "[::1]:8081:81/tcp", "8082:82/udp"]);
        assert_eq!(of(false, &["9:80", "7:81"]), ["8082:82/udp", "9:80", "7:81"]);
        assert_eq!(
            of(true, &["5:82", "6-7:81-82/udp"]),
            ["80:80/tcp", "[::1]:8081:81/tcp", "5:82", "6-7:81-82/udp"]
        );
        assert!(published(&pod, false, &["x:y".to_owned()]).is_err());
    }
}
