//! The host's resolv.conf: read anew whenever it has changed, so that a VPN or another network
//! needs no restart of anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Servers beyond these are ignored; the C library stops at 3.
const MAX_SERVERS: usize = 6;

/// What resolv.conf(5) says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) search: Vec<String>,
    pub(crate) options: Vec<String>,
}

impl ResolvConf {
    /// Reads the text. Lines that make no sense are passed over, as the C library does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if found.servers.len() < MAX_SERVERS => {
                    found.servers.extend(words.next().and_then(server));
                }
                Some("search") => found.search = words.map(str::to_owned).collect(),
                Some("domain") if found.search.is_empty() => {
                    found.search = words.next().map(str::to_owned).into_iter().collect();
                }
                Some("options") => found.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        found
    }
}

/// An address, of link-local ones with their interface's number.
fn server(text: &str) -> Option<SocketAddr> {
    const PORT: u16 = 53;
    let Some((ip, zone)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    let index = rustix::net::netdevice::name_to_index(
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).ok()?,
        zone,
    );
    let scope = index.ok().or_else(|| zone.parse().ok())?;
    Some(SocketAddr::V6(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, scope)))
}

/// The file, and what it said last.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    /// Device, inode, size and time of change of what was read.
    version: Option<(u64, u64, u64, i64, i64)>,
    servers: Vec<SocketAddr>,
}

impl Watched {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, version: None, servers: Vec::new() }
    }

    /// The servers of now. One stat(2) if nothing has changed. Without a file, or with none in it,
    /// the local machine, as resolv.conf(5) has it.
    pub(crate) fn servers(&mut self) -> &[SocketAddr] {
        let version = std::fs::metadata(&self.path)
            .ok()
            .map(|meta| (meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()));
        if version.is_none() || version != self.version {
            self.version = version;
            let text = std::fs::read_to_string(&self.path).unwrap_or_default();
            self.servers = ResolvConf::parse(&text).servers;
            if self.servers.is_empty() {
                self.servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53));
            }
        }
        &self.servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_files() {
        let text = "# made by hand\nnameserver 192.0.2.53 ; first\nnameserver 2001:db8::53\nnameserver x\n\
                    domain old.example\nsearch a.example b.example\noptions edns0 trust-ad\n\n rubbish";
        let conf = ResolvConf::parse(text);
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.53:53", "[2001:db8::53]:53"]);
        assert_eq!(conf.search, ["a.example", "b.example"]);
        assert_eq!(conf.options, ["edns0", "trust-ad"]);
        assert_eq!(ResolvConf::parse("domain x.example").search, ["x.example"]);
        assert_eq!(server("fe80::1%1").unwrap().to_string(), "[fe80::1%1]:53");
    }

    #[test]
    fn changes_are_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let mut watched = Watched::new(path.clone());
        assert_eq!(watched.servers()[0].to_string(), "127.0.0.1:53", "no file");
        for ip in ["192.0.2.1", "192.0.2.2"] {
            // As network managers do it: another file takes the place.
            let new = dir.path().join("new");
            std::fs::write(&new, format!("nameserver {ip}\n")).unwrap();
            std::fs::rename(&new, &path).unwrap();
            assert_eq!(watched.servers()[0].ip().to_string(), ip);
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(watched.servers()[0].to_string(), "127.0.0.1:53", "no server in it");
    }
}
