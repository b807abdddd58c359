//! /etc/hosts, /etc/resolv.conf and /etc/hostname of a container: written anew at each start, and kept true while it runs.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::base::etc::HostsBase;
use crate::base::spec::{ContainerSpec, Network, NetworkMode};
use crate::runtime::monitor::wiring::Wiring;
use crate::sys::fs;

/// The address by which netd knows the host.
const HOST_ALIAS: &str = "169.254.1.2";
/// The same for containers without IPv4.
const HOST_ALIAS6: &str = "64:ff9b:1::a9fe:102";
/// What containers call the host.
const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

/// By which containers that share a network know each other.
const NEIGHBOUR: &str = "127.0.1.1";

/// The names of the generated files in the container's directory.
const FILES: [&str; 4] = ["hosts", "resolv.conf", "hostname", "containerenv"];

/// What the generated files say, in the order of `FILES`.
pub(super) type Texts = [String; FILES.len()];

/// What the image's /etc/hosts says, in the container's directory: the container sees the generated file in its place.
const IMAGE_HOSTS: &str = "hosts.image";

/// Notes what the image's /etc/hosts says (`--hosts-file image`), for [`texts`].
pub(super) fn note_image_hosts(directory: &Path, text: &[u8]) -> io::Result<()> {
    std::fs::write(directory.join(IMAGE_HOSTS), text)
}

/// Makes sure that the files are there to be mounted. What they say is written to them later. They belong to `owner`,
/// the container's root, where that is not the user.
pub(super) fn prepare(directory: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    FILES.iter().try_for_each(|name| {
        let file = open(&directory.join(name))?;
        owner.map_or(Ok(()), |(uid, gid)| std::os::unix::fs::fchown(&file, Some(uid), Some(gid)))
    })
}

/// What the generated files have to say. A container that shares another's network knows the hosts and the servers that
/// it knows.
pub(super) fn texts(
    spec: &ContainerSpec,
    name: &str,
    directory: &Path,
    wiring: Option<&Wiring>,
) -> io::Result<Texts> {
    let wired = wiring.map(Wired::of);
    // Those of a running container may have been written by its own processes: anything, and of any size.
    let text_of = |path: &Path| fs::read_named_text(path).unwrap_or_default();
    let of_other = |file: &str| match &spec.network.mode {
        NetworkMode::Container(id) => Some(text_of(&directory.parent()?.join(id.as_str()).join(file))),
        _ => None,
    };
    let hosts_base = match &spec.etc.hosts_base {
        HostsBase::Usual => of_other("hosts").unwrap_or_else(|| text_of("/etc/hosts".as_ref())),
        HostsBase::None => String::new(),
        HostsBase::Image => text_of(&directory.join(IMAGE_HOSTS)),
        HostsBase::File(path) => fs::read_named_text(path)
            .map_err(|err| io::Error::new(err.kind(), format!("hosts file {}: {err}", path.display())))?,
    };
    let resolv_base = of_other("resolv.conf").filter(|_| spec.network.dns.is_empty());
    let resolv_base = resolv_base.unwrap_or_else(|| text_of("/etc/resolv.conf".as_ref()));
    let hostname = if spec.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        spec.hostname.clone()
    };
    // The name with its domain comes first, so that it is the canonical one (hosts(5)): `hostname -f` prints it.
    let full_name = match spec.domainname.as_str() {
        "" => hostname.clone(),
        domain => format!("{hostname}.{domain} {hostname}"),
    };
    Ok([
        hosts(&spec.network, (&full_name, name), &hosts_base, wired.as_ref()),
        resolv_conf(&spec.network, &resolv_base, wired.as_ref()),
        format!("{hostname}\n"),
        if spec.security.privileged { container_env(spec, name) } else { String::new() },
    ])
}

/// Writes the generated files into the container's directory, each in place: they are mounted.
pub(super) fn write(directory: &Path, texts: &Texts) -> io::Result<()> {
    FILES.iter().zip(texts).try_for_each(|(file, text)| rewrite(&directory.join(file), text.as_bytes()))
}

/// Changes the generated files of a running container from `before`, where that is known, to `texts`. What its own
/// processes have written there stays. A file that cannot be read or written keeps what it says.
pub(super) fn refresh(directory: &Path, before: Option<&Texts>, texts: &Texts) {
    for (i, text) in texts.iter().enumerate() {
        let old = before.map_or("", |before| &before[i]);
        if old == text {
            continue;
        }
        let path = directory.join(FILES[i]);
        if let Ok(now) = fs::read_named(&path) {
            rewrite(&path, &merge(old, text, &now)).ok();
        }
    }
}

/// `now`, with those lines that `new` has and `old` had not in the place of those that only `old` had, or at its end.
fn merge(old: &str, new: &str, now: &[u8]) -> Vec<u8> {
    if now == old.as_bytes() {
        return new.into();
    }
    let text = |line: &[u8]| line.strip_suffix(b"\n").unwrap_or(line).to_vec();
    let lines = |text: &str| text.lines().map(|line| line.as_bytes().to_vec()).collect::<HashSet<_>>();
    let (olds, news) = (lines(old), lines(new));
    let present: Vec<&[u8]> = now.split_inclusive(|byte| *byte == b'\n').collect();
    let known: HashSet<_> = present.iter().map(|line| text(line)).collect();
    let is_gone = |line: &&[u8]| olds.contains(&text(line)) && !news.contains(&text(line));
    let added = new.lines().map(str::as_bytes).filter(|line| !olds.contains(*line) && !known.contains(*line));
    let place = present.iter().position(is_gone).unwrap_or(present.len());
    let mut merged = present[..place].concat();
    for line in added {
        if !merged.is_empty() && !merged.ends_with(b"\n") {
            merged.push(b'\n');
        }
        merged.extend([line, b"\n"].concat());
    }
    merged.extend(present[place..].iter().filter(|line| !is_gone(line)).copied().flatten());
    merged
}

/// Has the container in `directory` know another one by `name`, with which it shares a network.
pub(super) fn add_neighbour(directory: &Path, name: &str) -> io::Result<()> {
    let path = directory.join(FILES[0]);
    let mut text = fs::read_named_text(&path)?;
    if !names_host(&text, name) {
        add_names(&mut text, &[NEIGHBOUR.to_owned()], &[name]);
        rewrite(&path, text.as_bytes())?;
    }
    Ok(())
}

/// Has the container in `directory` forget what [`add_neighbour`] has said.
pub(super) fn remove_neighbour(directory: &Path, name: &str) -> io::Result<()> {
    let path = directory.join(FILES[0]);
    let text = fs::read_named_text(&path)?;
    let left = without_neighbour(&text, name);
    if left == text { Ok(()) } else { rewrite(&path, left.as_bytes()) }
}

fn without_neighbour(text: &str, name: &str) -> String {
    let line = format!("{NEIGHBOUR}\t{name}");
    text.split_inclusive('\n').filter(|one| one.trim_end_matches('\n') != line).collect()
}

/// Has the container in `directory` know another one, or itself, by the name `new` as it did by `old`.
pub(super) fn rename_neighbour(directory: &Path, old: &str, new: &str) -> io::Result<()> {
    let path = directory.join(FILES[0]);
    let text = fs::read_named_text(&path)?;
    let renamed = with_neighbour_renamed(&text, old, new);
    if renamed == text { Ok(()) } else { rewrite(&path, renamed.as_bytes()) }
}

fn with_neighbour_renamed(text: &str, old: &str, new: &str) -> String {
    let (before, after) = (format!("{NEIGHBOUR}\t{old}"), format!("{NEIGHBOUR}\t{new}\n"));
    let renamed = |line| if str::trim_end_matches(line, '\n') == before { after.as_str() } else { line };
    text.split_inclusive('\n').map(renamed).collect()
}

/// What a privileged container may know of itself, in podman's form: toolbox, distrobox and prompts of shells read it.
fn container_env(spec: &ContainerSpec, name: &str) -> String {
    let id = &spec.id;
    let (image, image_id) = match &spec.image {
        Some(image) => (image.name.as_str(), image.id.hex()),
        None => ("", String::new()),
    };
    // Root of the host has all numbers; whoever else has those of U.
    let maps = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let rootless = u8::from(maps.split_ascii_whitespace().nth(2) != Some("4294967295"));
    format!(
        "engine=\"ketch-{}\"\nname={name:?}\nid=\"{id}\"\nimage={image:?}\nimageid=\"{image_id}\"\nrootless={rootless}\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Opens one of the files, made if it is missing. Something else in its place is an error and holds nobody up.
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let message = format!("{} is no regular file", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Gives a file other contents, if they are others. It is never empty in between: somebody in the
/// container may be reading it.
fn rewrite(path: &Path, new: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = open(path)?;
    let old_length = file.metadata()?.len();
    let mut old = vec![0; new.len()];
    let is_same = old_length == new.len() as u64 && file.read_exact_at(&mut old, 0).is_ok() && old == new;
    if is_same {
        return Ok(());
    }
    file.write_all_at(new, 0)?;
    if old_length > new.len() as u64 { file.set_len(new.len() as u64) } else { Ok(()) }
}

/// What a container's networks put into its files.
struct Wired {
    ips: Vec<IpAddr>,
    name_servers: Vec<IpAddr>,
    /// Servers of the command line stand in resolv.conf themselves: netd answers in their place.
    names_given: bool,
    /// Linked containers: address and names.
    links: Vec<(IpAddr, String)>,
}

impl Wired {
    fn of(wiring: &Wiring) -> Self {
        let ips = wiring.endpoints().iter().flat_map(|endpoint| endpoint.ips.iter().map(|ip| ip.ip));
        Self {
            ips: ips.collect(),
            name_servers: wiring.name_servers(),
            names_given: !wiring.is_on_custom(),
            links: wiring.link_hosts(),
        }
    }
}

/// The text of /etc/hosts as podman has it: extra hosts, the host's own file, the host, linked
/// containers, and the container under each of its addresses. Names that were said before are not said
/// again.
fn hosts(
    network: &Network,
    (hostname, name): (&str, &str),
    host_file: &str,
    wired: Option<&Wired>,
) -> String {
    let mut text = String::new();
    let in_host_network = network.mode == NetworkMode::Host;
    let host = match wired {
        _ if in_host_network => "127.0.0.1",
        Some(wired) if !wired.ips.is_empty() && wired.ips.iter().all(IpAddr::is_ipv6) => HOST_ALIAS6,
        _ => HOST_ALIAS,
    };
    for (address, name) in &network.add_hosts {
        let address = if address == "host-gateway" { host } else { address };
        text.push_str(&format!("{address}\t{name}\n"));
    }
    for line in host_file.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        if let Some(address) = words.next() {
            text.push_str(&format!("{address}\t{}\n", words.collect::<Vec<_>>().join(" ")));
        }
    }
    if !names_host(&text, "localhost") {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
    }
    let own_names: &[&str] =
        if in_host_network || hostname == name { &[hostname] } else { &[hostname, name] };
    let host_names = if network.nameless_host { &[][..] } else { &HOST_NAMES };
    match wired {
        Some(wired) => {
            add_names(&mut text, &[host.to_owned()], host_names);
            wired.links.iter().for_each(|(ip, names)| text.push_str(&format!("{ip}\t{names}\n")));
            let ips: Vec<String> = wired.ips.iter().map(ToString::to_string).collect();
            add_names(&mut text, &ips, own_names);
        }
        None if in_host_network => {
            add_names(&mut text, &["127.0.0.1".to_owned()], host_names);
            add_names(&mut text, &["127.0.1.1".to_owned()], own_names);
        }
        // The addresses are the other container's, which has them in its file.
        None if matches!(network.mode, NetworkMode::Container(_)) => {
            add_names(&mut text, &["127.0.1.1".to_owned()], own_names);
        }
        None => add_names(&mut text, &["127.0.0.1".to_owned()], own_names),
    }
    text
}

/// Adds those of `names` that are not there yet, at each of the addresses.
fn add_names(hosts: &mut String, addresses: &[String], names: &[&str]) {
    let new: Vec<&str> = names.iter().filter(|name| !names_host(hosts, name)).copied().collect();
    if !new.is_empty() {
        addresses.iter().for_each(|address| hosts.push_str(&format!("{address}\t{}\n", new.join(" "))));
    }
}

fn names_host(hosts: &str, name: &str) -> bool {
    hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .any(|line| line.split_ascii_whitespace().skip(1).any(|known| known == name))
}

/// The text of /etc/resolv.conf: the host's, but for what the command line replaces. A name server
/// on the host's loopback is of use only to a container in the host's network.
fn resolv_conf(network: &Network, host_file: &str, wired: Option<&Wired>) -> String {
    let asks_own = |wired: &&Wired| network.dns.is_empty() || !wired.names_given;
    let own = wired.filter(asks_own).map_or(&[][..], |wired| &wired.name_servers);
    let of_host = |keyword: &'static str| {
        host_file.lines().filter_map(move |line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some(keyword)).then(|| words.map(str::to_owned).collect::<Vec<_>>())
        })
    };
    let mut text = String::new();
    let search: Vec<String> = if network.dns_search.is_empty() {
        let own_domain = own.first().map(|_| "dns.podman".to_owned());
        own_domain.into_iter().chain(of_host("search").next_back().unwrap_or_default()).collect()
    } else {
        network.dns_search.iter().filter(|domain| *domain != ".").cloned().collect()
    };
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    // What another container has was chosen for its network.
    let in_host_network = matches!(network.mode, NetworkMode::Host | NetworkMode::Container(_));
    // netd asks the servers of the command line, or the host's, for names that it does not know.
    let servers: Vec<String> = if !own.is_empty() {
        own.iter().map(ToString::to_string).collect()
    } else if network.dns.is_empty() {
        of_host("nameserver").flatten().filter(|server| in_host_network || !is_loopback(server)).collect()
    } else {
        network.dns.clone()
    };
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let options: Vec<String> = if network.dns_options.is_empty() {
        of_host("options").flatten().collect()
    } else {
        network.dns_options.clone()
    };
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

fn is_loopback(server: &str) -> bool {
    server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(mode: NetworkMode) -> Network {
        Network {
            mode,
            add_hosts: vec![("10.1.2.3".into(), "db".into())],
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            no_hosts: false,
            nameless_host: false,
            ports: Vec::new(),
            links: Vec::new(),
        }
    }

    #[test]
    fn hosts_name_the_container() {
        let own = ("box", "web");
        let text = hosts(&network(NetworkMode::None), own, "1.2.3.4   h  # me\n\n", None);
        let want = "10.1.2.3\tdb\n1.2.3.4\th\n127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tbox web\n";
        assert_eq!(text, want);
        let text = hosts(&network(NetworkMode::Host), ("host", "web"), "127.0.0.1 localhost host\n", None);
        let names = "127.0.0.1\thost.containers.internal host.docker.internal\n";
        assert_eq!(text, format!("10.1.2.3\tdb\n127.0.0.1\tlocalhost host\n{names}"));
        let shared = NetworkMode::Container(crate::base::id::ContainerId::from_random([1; 32]));
        let text = hosts(&network(shared), ("box", "web"), "::1 localhost\n10.88.0.2 other\n", None);
        assert_eq!(text, "10.1.2.3\tdb\n::1\tlocalhost\n10.88.0.2\tother\n127.0.1.1\tbox web\n");
    }

    #[test]
    fn a_container_on_networks_knows_itself_the_host_and_netd() {
        let wired = Wired {
            ips: vec!["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            name_servers: vec!["10.88.0.1".parse().unwrap()],
            names_given: false,
            links: vec![("10.88.0.9".parse().unwrap(), "mysql wpdb".into())],
        };
        let mut wanted = network(NetworkMode::Bridge(Vec::new()));
        wanted.add_hosts = vec![("host-gateway".into(), "me".into())];
        let text = hosts(&wanted, ("box", "web"), "::1 localhost\n", Some(&wired));
        let end = "169.254.1.2\thost.containers.internal host.docker.internal\n10.88.0.9\tmysql wpdb\n10.88.0.2\tbox web\nfd00::2\tbox web\n";
        assert_eq!(text, format!("169.254.1.2\tme\n::1\tlocalhost\n{end}"));
        wanted.add_hosts = vec![("1.2.3.4".into(), "host.docker.internal".into())];
        let text = hosts(&wanted, ("box", "web"), "", Some(&wired));
        assert!(text.contains("\n169.254.1.2\thost.containers.internal\n"), "{text}");
        wanted.add_hosts = vec![("host-gateway".into(), "me".into())];
        let six = Wired {
            ips: vec!["fd00::2".parse().unwrap()],
            name_servers: vec![],
            names_given: true,
            links: vec![],
        };
        let text = hosts(&wanted, ("box", "web"), "", Some(&six));
        assert!(text.starts_with("64:ff9b:1::a9fe:102\tme\n"), "{text}");
        assert!(text.contains("\n64:ff9b:1::a9fe:102\thost.containers.internal"), "{text}");
        let host = "nameserver 127.0.0.53\nsearch a.b\n";
        assert_eq!(resolv_conf(&wanted, host, Some(&wired)), "search dns.podman a.b\nnameserver 10.88.0.1\n");
        wanted.dns = vec!["1.1.1.1".into()];
        assert!(
            resolv_conf(&wanted, host, Some(&wired)).contains("nameserver 10.88.0.1\n"),
            "netd asks 1.1.1.1"
        );
        let usual = Wired { names_given: true, ..wired };
        assert_eq!(resolv_conf(&wanted, host, Some(&usual)), "search a.b\nnameserver 1.1.1.1\n");
        wanted.dns.clear();
        assert_eq!(resolv_conf(&wanted, host, Some(&usual)), "search dns.podman a.b\nnameserver 10.88.0.1\n");
    }

    #[test]
    fn what_others_have_written_stays() {
        let (old, new) = ("a\nb\nc\n", "a\nd\nc\ne\n");
        for (now, want) in [
            ("a\nb\nc\n", "a\nd\nc\ne\n"),
            ("a\nb\nc\nmine\n", "a\nd\ne\nc\nmine\n"),
            ("mine", "mine\nd\ne\n"),
            ("mine\nb", "mine\nd\ne\n"),
            ("b\nd\nmine\nb\n", "e\nd\nmine\n"),
            ("", "d\ne\n"),
        ] {
            assert_eq!(String::from_utf8(merge(old, new, now.as_bytes())).unwrap(), want, "{now:?}");
        }
        assert_eq!(merge("", "a\nb\n", b"b\n\xff\n"), b"b\n\xff\na\n", "of a monitor that knows no old ones");
    }

    #[test]
    fn only_the_line_of_a_neighbour_goes() {
        let text = "127.0.0.1\tbox web\n127.0.1.1\tweb\n127.0.1.1\tweb2\n127.0.1.1 web\n";
        let want = "127.0.0.1\tbox web\n127.0.1.1\tweb2\n127.0.1.1 web\n";
        assert_eq!(without_neighbour(text, "web"), want);
        assert_eq!(without_neighbour("127.0.1.1\tweb", "web"), "");
        assert_eq!(without_neighbour(text, "box"), text);
    }

    #[test]
    fn loopback_servers_stay_on_the_host() {
        let host = "# x\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a.b c\noptions edns0 trust-ad\n";
        let mut wanted = network(NetworkMode::None);
        assert_eq!(
            resolv_conf(&wanted, host, None),
            "search a.b c\nnameserver 9.9.9.9\noptions edns0 trust-ad\n"
        );
        assert!(resolv_conf(&network(NetworkMode::Host), host, None).contains("127.0.0.53"));
        wanted.dns = vec!["1.1.1.1".into()];
        wanted.dns_search = vec![".".into()];
        assert_eq!(resolv_conf(&wanted, host, None), "nameserver 1.1.1.1\noptions edns0 trust-ad\n");
    }
}
