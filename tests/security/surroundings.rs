//! What surrounds a container: the caller's groups and keys, ketch's own sockets, memory of the kernel, volumes that lie in wait.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;

use crate::common::{Sandbox, free_port, skip, wait_for};
use crate::races::Victim;
use crate::{attack, findings, inside};

/// The groups of a process beside its own one, as the host numbers them.
fn groups(pid: &str) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("look at a process");
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("a line of it");
    line.split_whitespace().map(|gid| gid.parse().expect("a number")).collect()
}

/// SEC-11: the caller's supplementary groups are in no process of a container, unless it was asked to keep them.
#[test]
fn sec_11_groups_of_the_caller_stay_with_the_caller() {
    let own = groups("self");
    let primary = rustix::process::getgid().as_raw();
    let Some(extra) = own.iter().copied().find(|gid| *gid != primary) else {
        skip("needs a user with a group beside its own (tests/setup makes one)");
        return;
    };
    let sandbox = Sandbox::new();
    for options in [
        &[][..],
        &["--user=1000"],
        &["--user=app"],
        &["--user=1000:50"],
        &["--group-add=5"],
        &["--userns=keep-id"],
        &["--userns=host"],
        &["--privileged"],
    ] {
        let inside = sandbox.sh(options, "id -G").ok().to_owned();
        assert!(
            !inside.split(' ').any(|gid| gid == "65534" || gid == extra.to_string()),
            "{options:?}: {inside}"
        );
        assert_eq!(
            inside.split(' ').any(|gid| gid == "5"),
            options.contains(&"--group-add=5"),
            "{options:?}: {inside}"
        );
        sandbox.start("c", options, "exec sleep 1000");
        let pid = sandbox.inspect("c", ".State.Pid");
        assert!(!groups(&pid).contains(&extra), "{options:?}: {:?}", groups(&pid));
        for user in ["0", "1000", "app"] {
            let exec =
                sandbox.ok(["exec", "--user", user, "c", "sh", "-c", "grep Groups: /proc/self/status"]);
            assert!(!exec.contains("65534"), "{options:?}, exec as {user}: {exec}");
        }
        sandbox.ok(["rm", "-f", "-t0", "c"]);
    }
    sandbox.start("kept", &["--group-add=keep-groups"], "exec sleep 1000");
    assert!(groups(&sandbox.inspect("kept", ".State.Pid")).contains(&extra), "who asks for them has them");
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN id -G; grep Groups: /proc/self/status\nUSER app\nRUN id -G; grep Groups: /proc/self/status\n");
    let context = sandbox.path("ctx").display().to_string();
    let built = sandbox.ok(["build", "--network=none", "--no-cache", &context]);
    assert!(built.contains("Groups:") && !built.contains("65534"), "{built}");
}

/// SEC-18, for what ketch has: values and archives that are put into a volume again and again do not follow the links that lie there.
#[test]
fn sec_18_what_is_put_into_a_volume_does_not_follow_its_links() {
    let sandbox = Sandbox::new();
    let victim = Victim::new(&sandbox);
    let path = victim.path();
    let script = format!(
        "ln -s {path} /v/out; ln -s {path}/kept /v/value; ln -s {path}/new /v/fresh; ln -s ../../../../../../../../../..{path}/kept /v/up; mkdir /v/real"
    );
    sandbox.sh(&["-v=v:/v"], &script).ok();
    sandbox.command(["secret", "create", "s", "-"]).stdin("stolen").run().ok();
    sandbox.write("hostile/value", "stolen");
    sandbox.write("hostile/out/planted", "stolen");
    sandbox.program("tar", ["-C", "hostile", "-cf", "hostile.tar", "value", "out/planted"]).run().ok();
    sandbox.write("payload/planted", "stolen");
    sandbox.write(
        "p/compose.yaml",
        "services:\n  a:\n    image: bb\n    command: [sleep, '1000']\n    network_mode: none\n    stop_grace_period: 0s\n    volumes: ['v:/app']\n\
         \x20   configs: [{source: c, target: /app/value}, {source: c, target: /app/out/planted}]\n    secrets: [{source: s, target: /app/fresh}]\n\
         configs: {c: {content: stolen}}\nsecrets: {s: {environment: VALUE}}\nvolumes: {v: {external: true}}\n",
    );
    // Twice: the second time everything is there already.
    for turn in 0..2 {
        for target in ["/app/value", "/app/fresh", "/app/up", "/app/out/planted", "/app/real/fine"] {
            let secret = format!("--secret=s,target={target}");
            let run = sandbox.ketch(["run", "--rm", "--net=none", "-v=v:/app", &secret, "bb", "cat", target]);
            assert!([0, 1, 125, 126].contains(&run.code), "{target}: {}: {}", run.code, run.stderr);
            victim.is_untouched();
        }
        sandbox.ketch(["volume", "import", "v", "hostile.tar"]);
        victim.is_untouched();
        sandbox.ok(["create", "--name=c", "--net=none", "-v=v:/app", "bb", "true"]);
        for target in ["c:/app/out", "c:/app/value", "c:/app/fresh", "c:/app/up"] {
            for source in ["payload/planted", "payload/."] {
                sandbox.ketch(["cp", source, target]);
                victim.is_untouched();
            }
        }
        sandbox.ok(["rm", "c"]);
        let up = sandbox
            .command(["compose", "up", "-d"])
            .env("VALUE", "stolen")
            .current_dir(sandbox.path("p"))
            .run();
        assert!([0, 1, 14, 125].contains(&up.code), "turn {turn}: {}: {}", up.code, up.stderr);
        victim.is_untouched();
        sandbox.command(["compose", "down", "-t0"]).env("VALUE", "x").current_dir(sandbox.path("p")).run();
    }
    assert_eq!(sandbox.sh(&["-v=v:/v"], "readlink /v/up > /dev/null; echo there").ok(), "there");
}

/// SEC-35: the processes of ketch listen nowhere that a container in the host's network could reach: at no abstract address, on no port but
/// the published one.
#[test]
fn sec_35_helpers_listen_at_no_address_of_the_hosts_network() {
    let sandbox = Sandbox::new();
    let port = free_port();
    sandbox.ok([
        "run",
        "-d",
        "--name=web",
        &format!("-p=127.0.0.1:{port}:80"),
        "bb",
        "httpd",
        "-f",
        "-p",
        "80",
        "-h",
        "/etc",
    ]);
    sandbox.start("plain", &["-t"], "exec sleep 1000");
    let helpers: Vec<String> = [
        sandbox.inspect("web", ".State.ConmonPid"),
        sandbox.inspect("plain", ".State.ConmonPid"),
        sandbox.netd().to_string(),
    ]
    .into();
    let sockets: BTreeSet<String> = helpers.iter().flat_map(|pid| sockets_of(pid)).collect();
    assert!(sockets.len() >= 3, "{sockets:?}");

    let unix = fs::read_to_string("/proc/net/unix").expect("list sockets");
    let rows = unix.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let named: Vec<String> =
        rows.filter(|row| row.len() > 7 && sockets.contains(row[6])).map(|row| row[7].to_owned()).collect();
    assert!(named.iter().any(|name| name.ends_with("attach.sock")), "{named:?}");
    assert!(named.iter().all(|name| !name.starts_with('@')), "{named:?}");

    let mut listening = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for row in text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            // 0A is LISTEN, 07 an unconnected datagram socket.
            if ["0A", "07"].contains(&row[3]) && sockets.contains(row[9]) {
                listening.insert((table, row[1].to_owned()));
            }
        }
    }
    let wanted = format!("0100007F:{port:04X}");
    assert!(listening.iter().all(|(table, address)| *table == "tcp" && *address == wanted), "{listening:?}");
    assert_eq!(listening.len(), 1, "the published port: {listening:?}");
    // And from inside: nothing abstract of ketch's is in sight.
    let seen = sandbox.ok(["run", "--rm", "--net=host", "bb", "cat", "/proc/net/unix"]);
    let theirs = seen.lines().filter(|line| {
        line.contains(" @") && sockets.iter().any(|inode| line.contains(&format!(" {inode} ")))
    });
    assert_eq!(theirs.count(), 0, "{seen}");
}

/// Inode numbers of the sockets that a process holds.
fn sockets_of(pid: &str) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("list descriptors").flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter_map(|target| {
            Some(target.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        })
        .collect()
}

/// SEC-36: what a container can fill without being limited by a control group has limits of its own, and a crowd of processes hinders
/// nobody else.
#[test]
fn sec_36_files_and_processes_without_number_hurt_the_container_only() {
    let sandbox = Sandbox::new();
    // As many files as it likes, all of them empty: they cost the kernel's memory, which no size limits.
    let fill = "cd $0 && i=0; while [ $i -lt 400 ]; do seq 1 500 | sed \"s|^|$0/$i-|\" | xargs touch 2> /dev/null || break; i=$((i + 1)); done; find $0 | wc -l";
    let options = ["--name=c", "--net=none"];
    sandbox.ok([&["run", "-d"][..], &options, &["bb", "sleep", "1000"]].concat());
    // /dev/shm lies below the other one, and is still empty then.
    for place in ["/dev", "/dev/shm"] {
        let files: usize =
            sandbox.ok(["exec", "c", "sh", "-c", fill, place]).trim().parse().expect("a number");
        assert!((1000..70_000).contains(&files), "{files} files in {place}");
    }
    let queues = "mkdir -p /q; mount -t mqueue none /q 2> /dev/null; cd /dev/mqueue && i=0; while touch q$i 2> /dev/null; do i=$((i + 1)); [ $i -lt 5000 ] || break; done; echo $i";
    let queues: usize = sandbox.ok(["exec", "c", "sh", "-c", queues]).trim().parse().expect("a number");
    assert!(queues < 5000, "{queues} message queues");
    let crowd = "i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i + 1)); done; echo all; wait";
    let running = sandbox.command(["exec", "c", "sh", "-c", crowd]).spawn();
    running.expect("all");
    assert_eq!(sandbox.ok(["exec", "c", "echo", "answers"]), "answers");
    sandbox.ok(["run", "--rm", "--net=none", "bb", "true"]);
    sandbox.ok(["rm", "-f", "-t0", "c"]);
    drop(running);
    let inside = sandbox.sh(&["--shm-size=8m"], "df -i /dev/shm | awk 'NR == 2 {print $2}'");
    assert_eq!(inside.ok(), "2048", "as many as there can be files with content");
}

/// One keyctl(2) or add_key(2) of this thread.
fn keyring(number: i64, args: [u64; 5]) -> Result<i64, std::io::Error> {
    // SAFETY: each pointer is the address of a NUL-terminated string or of bytes that live until the call returns.
    let ret = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4]) };
    if ret < 0 { Err(std::io::Error::last_os_error()) } else { Ok(ret) }
}

/// SEC-38: a key of the caller's session is neither listed nor found nor read in a container, whatever its seccomp profile allows.
#[test]
fn sec_38_keys_of_the_caller_are_not_seen() {
    const SESSION: u64 = -3_i64 as u64;
    let (kind, name) =
        (CString::new("user").expect("no NUL"), CString::new(inside::KEY_NAME).expect("no NUL"));
    let value = b"very secret";
    // A thread's credentials are what the programs that it starts get.
    let joined = keyring(libc::SYS_keyctl, [1, 0, 0, 0, 0]);
    let added = joined.and_then(|_| {
        let args =
            [kind.as_ptr() as u64, name.as_ptr() as u64, value.as_ptr() as u64, value.len() as u64, SESSION];
        keyring(libc::SYS_add_key, args)
    });
    let Ok(key) = added else {
        skip("needs keyrings");
        return;
    };
    let search = [10, SESSION, kind.as_ptr() as u64, name.as_ptr() as u64, 0];
    assert_eq!(keyring(libc::SYS_keyctl, search).expect("the caller finds it"), key);

    let sandbox = Sandbox::new();
    for options in [
        &["--net=none"][..],
        &["--net=none", "--security-opt=seccomp=unconfined"],
        &["--net=none", "--security-opt=seccomp=unconfined", "--userns=host"],
    ] {
        let output = attack(&sandbox, options, &format!("keys {key}"));
        let found = findings(&output);
        assert_eq!(found.len(), 3, "{options:?}: {output:?}");
        assert!(found.iter().all(|line| line.ends_with("hidden")), "{options:?}: {found:?}");
    }
    // Nor by way of exec, or of a health check.
    let mut args = vec![
        "run".to_owned(),
        "-d".to_owned(),
        "--name=c".to_owned(),
        "--net=none".to_owned(),
        "--security-opt=seccomp=unconfined".to_owned(),
    ];
    args.extend(inside::mounted(&format!("keys {key}")));
    args.extend(["bb", "sleep", "1000"].map(str::to_owned));
    sandbox.ok(args);
    let exec = sandbox.ketch(["exec".to_owned(), "c".to_owned()].into_iter().chain(inside::command()));
    assert!(
        findings(&exec).len() == 3 && findings(&exec).iter().all(|line| line.ends_with("hidden")),
        "{exec:?}"
    );
    wait_for("the container to go", || match sandbox.ketch(["rm", "-f", "-t0", "c"]).code {
        0 => Ok(()),
        code => Err(code.to_string()),
    });
}
