//! `--link`: where another container is, as variables and as lines of the hosts file.
//!
//! ```text
//! --link wpdb:mysql   MYSQL_NAME=/web/mysql
//!                     MYSQL_PORT=tcp://10.88.0.2:3306           the lowest port
//!                     MYSQL_PORT_3306_TCP=tcp://10.88.0.2:3306  each exposed port, and
//!                     MYSQL_PORT_3306_TCP_ADDR, _PORT, _PROTO   its parts
//!                     MYSQL_ENV_NAME=value                      the other's own variables
//! ```
//!
//! # Source
//!
//! Docker's documentation, "Legacy container links".

use std::net::IpAddr;
use std::path::Path;

use crate::base::bytes::Bytes;
use crate::base::id::ContainerId;
use crate::base::order::InOrder as _;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::monitor::record;
use crate::runtime::monitor::wiring::NetworkState;
use crate::store::Store;

/// Variables that every container has: nothing that a neighbour needs to know of another.
const COMMON: [&[u8]; 5] = [b"HOME", b"PATH", b"HOSTNAME", b"TERM", b"container"];

/// A container that this one is linked to.
#[derive(Debug)]
pub(super) struct Linked {
    alias: String,
    ip: IpAddr,
    /// Port and protocol, the lowest first.
    ports: Vec<(u16, String)>,
    env: Vec<Bytes>,
}

/// Finds the containers behind `links`, on the networks that this one is on.
///
/// # Errors
///
/// If one does not run or shares no network with this one.
pub(super) fn look_up(
    root: &Path,
    links: &[(String, ContainerId)],
    networks: &[&str],
) -> Result<Vec<Linked>, Failure> {
    links.iter().map(|(alias, id)| linked(root, alias, id, networks)).collect()
}

fn linked(root: &Path, alias: &str, id: &ContainerId, networks: &[&str]) -> Result<Linked, Failure> {
    let directory = root.join("containers").join(id.as_str());
    let failed = |why: &str| {
        let message = format!("link to container {} as {alias}: {why}", id.short());
        Failure::new(FailureKind::Conflict, message)
    };
    let state = running(&directory).ok_or_else(|| failed("it does not run"))?;
    let ip = shared_ip(&state, networks).ok_or_else(|| failed("it is on no network of this container"))?;
    let spec = record::spec(&directory).ok_or_else(|| failed("its spec cannot be read"))?;
    let mut ports: Vec<(u16, String)> = spec
        .exposed_ports
        .iter()
        .filter_map(|text| {
            let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            Some((number.parse().ok()?, protocol.to_owned()))
        })
        .collect();
    ports.order();
    Ok(Linked { alias: alias.to_owned(), ip, ports, env: spec.process.env })
}

/// What a container has on its networks, if it runs.
fn running(directory: &Path) -> Option<NetworkState> {
    record::of_running(directory).and_then(|_| NetworkState::read(directory))
}

fn shared_ip(state: &NetworkState, networks: &[&str]) -> Option<IpAddr> {
    let shared = state.endpoints.iter().find(|endpoint| networks.contains(&endpoint.network.as_str()));
    Some(shared?.ips.first()?.ip)
}

/// The variables of a container called `own_name`, without those that it has in `env`.
pub(super) fn environment(linked: &[Linked], own_name: &str, env: &[Bytes]) -> Vec<Bytes> {
    let mut made = Vec::new();
    for of in linked {
        let prefix = of.alias.to_ascii_uppercase().replace('-', "_");
        let mut text = |name: String, value: String| made.push(format!("{prefix}_{name}={value}").into());
        let ip = if of.ip.is_ipv6() { format!("[{}]", of.ip) } else { of.ip.to_string() };
        if let Some((port, protocol)) = of.ports.first() {
            text("PORT".into(), format!("{protocol}://{ip}:{port}"));
        }
        for (port, protocol) in &of.ports {
            let name = format!("PORT_{port}_{}", protocol.to_ascii_uppercase());
            text(name.clone(), format!("{protocol}://{ip}:{port}"));
            text(format!("{name}_ADDR"), of.ip.to_string());
            text(format!("{name}_PORT"), port.to_string());
            text(format!("{name}_PROTO"), protocol.clone());
        }
        text("NAME".into(), format!("/{own_name}/{}", of.alias));
        let own = of.env.iter().filter(|entry| !COMMON.contains(&key(entry)));
        made.extend(own.map(|entry| [prefix.as_bytes(), b"_ENV_", entry.as_bytes()].concat().into()));
    }
    made.retain(|entry: &Bytes| env.iter().all(|known| key(known) != key(entry)));
    made
}

fn key(entry: &Bytes) -> &[u8] {
    entry.as_bytes().split(|&b| b == b'=').next().unwrap_or_default()
}

/// Address and names of a linked container for the hosts file; the address is `now` if that is known, else the one that
/// the container has written down. `None` if it does not run.
pub(super) fn hosts(
    root: &Path,
    (alias, id): (&str, &ContainerId),
    networks: &[&str],
    now: Option<IpAddr>,
) -> Option<(IpAddr, String)> {
    let directory = root.join("containers").join(id.as_str());
    let ip = now.or_else(|| shared_ip(&running(&directory)?, networks))?;
    let name = Store::open(root).ok().and_then(|store| store.names().of(id).ok()?.into_iter().next());
    let name = name.unwrap_or_else(|| id.short().to_owned());
    Some((ip, names(alias, &record::spec(&directory)?.hostname, &name)))
}

/// The alias first, and nothing twice.
fn names(alias: &str, hostname: &str, name: &str) -> String {
    let mut names = vec![alias];
    for name in [hostname, name] {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_dockers() {
        let linked = Linked {
            alias: "my-db".into(),
            ip: "10.88.0.2".parse().unwrap(),
            ports: vec![(53, "udp".into()), (3306, "tcp".into())],
            env: ["PATH=/bin", "HOME=/", "PASSWORD=x=y"].map(Bytes::from).to_vec(),
        };
        let own = [Bytes::from("MY_DB_NAME=mine")];
        let made = environment(std::slice::from_ref(&linked), "web", &own);
        let made: Vec<String> = made.iter().map(|entry| entry.to_string_lossy().into_owned()).collect();
        assert_eq!(
            made,
            [
                "MY_DB_PORT=udp://10.88.0.2:53",
                "MY_DB_PORT_53_UDP=udp://10.88.0.2:53",
                "MY_DB_PORT_53_UDP_ADDR=10.88.0.2",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_PORT_3306_TCP=tcp://10.88.0.2:3306",
                "MY_DB_PORT_3306_TCP_ADDR=10.88.0.2",
                "MY_DB_PORT_3306_TCP_PORT=3306",
                "MY_DB_PORT_3306_TCP_PROTO=tcp",
                "MY_DB_ENV_PASSWORD=x=y",
            ]
        );
        assert_eq!(names("my-db", "0123456789ab", "wpdb"), "my-db 0123456789ab wpdb");
        assert_eq!(names("db", "", "db"), "db");
    }
}
