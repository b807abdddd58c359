//! Why a port of the host cannot be had, and who has it.

use std::net::SocketAddr;
use std::path::Path;

use rustix::io::Errno;

use crate::base::network::{PortMapping, Protocol};
use crate::base::spec::Record;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::monitor::wiring::NetworkState;

/// What to tell the user of a port that could not be bound.
pub(super) fn failure(root: &Path, address: SocketAddr, protocol: Protocol, source: Errno) -> Failure {
    let port = address.port();
    // The end is what podman says on its own networks, and what scripts look for.
    let meaning = nix::errno::Errno::from_raw(source.raw_os_error()).desc().to_ascii_lowercase();
    let message = format!("publish port {port}/{protocol}: listen {protocol} {address}: bind: {meaning}");
    let mut failure = Failure::new(FailureKind::Invalid, message);
    failure.hint = match source {
        Errno::ACCESS | Errno::PERM => Some(format!(
            "only root may use ports below {}; as root: sysctl net.ipv4.ip_unprivileged_port_start={port}, \
             or let systemd pass the socket (ListenStream={port} of a .socket unit)",
            first_free_port(),
        )),
        Errno::ADDRINUSE => container(root, port, protocol),
        Errno::ADDRNOTAVAIL => Some(format!("{} is no address of this host", address.ip())),
        Errno::MFILE | Errno::NFILE => {
            Some("each published port takes a descriptor: see `ulimit -Hn`".to_owned())
        }
        _ => None,
    };
    if source == Errno::ADDRINUSE && failure.hint.is_none() {
        failure.taken_port = Some((port, protocol));
    }
    failure
}

fn first_free_port() -> String {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    std::fs::read_to_string(path).map_or_else(|_| "1024".to_owned(), |text| text.trim().to_owned())
}

/// Says which container publishes a port already.
fn container(root: &Path, port: u16, protocol: Protocol) -> Option<String> {
    let has = |mapping: &PortMapping| {
        let ports = u32::from(mapping.host_port)..u32::from(mapping.host_port) + u32::from(mapping.range);
        mapping.protocol == protocol && ports.contains(&port.into())
    };
    for entry in std::fs::read_dir(root.join("containers")).ok()?.flatten() {
        let directory = entry.path();
        let Some(state) = NetworkState::read(&directory).filter(|state| state.ports.iter().any(has)) else {
            continue;
        };
        let record: Option<Record> = super::record::read(&directory);
        if record.is_some_and(|record| record.ended.is_none()) && !state.ports.is_empty() {
            let id = entry.file_name();
            let id = id.to_string_lossy();
            return Some(format!("container {} publishes it already", id.get(..12).unwrap_or(&id)));
        }
    }
    None
}

/// Says which process has a port, as far as this user may know.
pub(crate) fn process(port: u16, protocol: Protocol) -> Option<String> {
    let (inode, user) = [format!("/proc/net/{protocol}"), format!("/proc/net/{protocol}6")]
        .iter()
        .find_map(|table| socket_of(&std::fs::read_to_string(table).ok()?, port, protocol))?;
    let link = format!("socket:[{inode}]");
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let Ok(descriptors) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        let is_it = |path: &Path| std::fs::read_link(path).is_ok_and(|to| to.as_os_str() == link.as_str());
        if descriptors.flatten().any(|descriptor| is_it(&descriptor.path())) {
            let command = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({}) has it", command.trim()));
        }
    }
    Some(format!("a process of user {user} has it"))
}

/// Inode and user of the socket that is bound to `port` (and listens, if it is TCP), in a table of
/// /proc/net.
fn socket_of(table: &str, port: u16, protocol: Protocol) -> Option<(String, String)> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let is_port = u16::from_str_radix(local, 16).is_ok_and(|local| local == port);
        let is_held = protocol == Protocol::Udp || *fields.get(3)? == LISTEN;
        (is_port && is_held).then(|| Some(((*fields.get(9)?).to_owned(), (*fields.get(7)?).to_owned())))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_in_the_kernels_tables() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = process(port, Protocol::Tcp).unwrap();
        assert!(said.starts_with(&format!("process {} (", std::process::id())), "{said}");
        let udp = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        assert!(process(port, Protocol::Udp).unwrap().contains("has it"));
        assert_eq!(socket_of("header\n", 80, Protocol::Tcp), None);
        let line = "header\n 0: 0100007F:0050 00000000:0000 0A 0:0 00:0 0 1000 0 4711 1\n";
        assert_eq!(socket_of(line, 80, Protocol::Tcp), Some(("4711".into(), "1000".into())));
        assert_eq!(socket_of(&line.replace("0A", "01"), 80, Protocol::Tcp), None, "only connected");
    }
}
