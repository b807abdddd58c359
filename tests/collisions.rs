//! Two commands that meet at one object, and what killed processes leave: each test forces a meeting that chance brings about
//! once in thousands of commands.

mod common;

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use common::{Sandbox, entries, wait_for};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, Signal};

const FOR_EVER: &str = "exec sleep 1000";

fn kill(pid: &str) {
    let pid = pid.parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("a process ID: {pid:?}"));
    rustix::process::kill_process(pid, Signal::KILL).expect("kill a process of this test");
}

/// Kills a container's monitor and its process 1, which has no chance to note its end.
fn kill_both(sandbox: &Sandbox, name: &str) {
    let [monitor, process] = ["ConmonPid", "Pid"].map(|key| sandbox.inspect(name, &format!(".State.{key}")));
    kill(&monitor);
    kill(&process);
    sandbox.wait_until(&["ps", "-a", "--format={{.Names}} {{.Status}}"], &format!("{name} Exited"));
}

/// The lock by which a container runs, and by which it is removed.
fn lock(directory: &Path) -> OwnedFd {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(directory.join("lock"), flags, Mode::from_raw_mode(0o600)).expect("open the lock");
    rustix::fs::flock(&file, FlockOperation::LockExclusive).expect("take the lock");
    file
}

#[test]
fn a_start_that_meets_a_removal_says_that_the_container_is_gone() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["create", "--name=c", "--net=none", "bb", "true"]);
    let directory = sandbox.store().join("containers").join(&id);
    // As `rm` holds it until the container is away.
    let held = lock(&directory);
    let start = sandbox.command(["start", "c"]).spawn();
    wait_for("the monitor to wait for the lock", || {
        let locks = std::fs::read_to_string("/proc/locks").expect("list locks");
        let is_monitor = |process: &PathBuf| {
            let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).starts_with("ketch\0--stage\0monitor\0")
        };
        let waits = entries_of("/proc").iter().filter(|process| is_monitor(process)).any(|process| {
            let mut fds = entries_of(process.join("fd")).into_iter();
            fds.any(|fd| std::fs::read_link(fd).is_ok_and(|to| to == directory.join("lock")))
        });
        if waits { Ok(()) } else { Err(locks) }
    });
    std::fs::rename(&directory, sandbox.path("away")).expect("take the container away");
    drop(held);
    let output = start.wait();
    let message = output.fails(125);
    assert!(
        message.contains(&format!("no container with name or ID \"{id}\" found: no such container")),
        "{message}"
    );
    std::fs::remove_file(sandbox.store().join("names/c")).expect("remove its name");
}

fn entries_of(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[test]
fn files_of_a_container_that_was_to_be_removed_can_be_saved_after_a_crash() {
    let sandbox = Sandbox::new();
    // Its overlay is mounted so that it never waits for the disk; the kernel mounts such a one only once.
    sandbox.start("c", &["--rm"], "echo precious > /file; exec sleep 1000");
    wait_for("the file", || {
        let seen = sandbox.ketch(["exec", "c", "cat", "/file"]);
        if seen.stdout == "precious\n" { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    kill_both(&sandbox, "c");
    for _ in 0..2 {
        let copied = sandbox.ketch(["cp", "c:/file", "-"]);
        assert!(copied.ok().contains("precious"));
        let exported = sandbox.ketch(["export", "c"]);
        assert!(exported.ok().contains("precious"));
    }
    sandbox.ok(["commit", "-q", "c", "saved"]);
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "saved", "cat", "/file"]), "precious");
    sandbox.ok(["start", "c"]);
    assert_eq!(sandbox.ok(["exec", "c", "cat", "/file"]), "precious");
    sandbox.ok(["rm", "-f", "-t0", "c"]);
}

#[test]
fn an_export_of_a_container_that_is_removed_meanwhile_fails() {
    let sandbox = Sandbox::new();
    let script = "mkdir /many; i=0; while [ $i -lt 300 ]; do head -c 4096 /dev/zero > /many/$i; i=$((i+1)); done; touch /ready; exec sleep 1000";
    sandbox.start("c", &[], script);
    wait_for("the files", || match sandbox.ketch(["exec", "c", "ls", "/ready"]).code {
        0 => Ok(()),
        code => Err(code.to_string()),
    });
    let pipe = sandbox.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .expect("make a pipe");
    let export = sandbox.command(["export", "-o", pipe.to_str().expect("UTF-8"), "c"]).spawn();
    let mut archive = std::fs::File::open(pipe).expect("open the pipe");
    // More does not fit into the pipes until this is read.
    archive.read_exact(&mut [0; 512]).expect("the archive begins");
    sandbox.ok(["rm", "-f", "-t0", "c"]);
    archive.read_to_end(&mut Vec::new()).expect("read the rest");
    let output = export.wait();
    let message = output.fails(125);
    assert!(message.contains("no such container"), "{message}");
}

#[test]
fn a_build_whose_base_is_removed_meanwhile_makes_no_image_without_it() {
    let sandbox = Sandbox::new();
    sandbox.write("flag/readme", "");
    let flag = sandbox.path("flag");
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "true"]);
    let root = sandbox.path("root.tar");
    let root = root.to_str().expect("UTF-8");
    sandbox.ok(["export", "-o", root, "c"]);
    let file =
        "FROM base\nRUN touch /flag/begun; while ! [ -e /flag/go ]; do sleep 0.02; done; echo made > /made\n";
    sandbox.write("context/Containerfile", file);
    let context = sandbox.path("context");
    let context = context.to_str().expect("UTF-8");
    for removal in [&["rmi", "-f", "base"][..], &["system", "prune", "-af"]] {
        sandbox.ok(["import", "-q", root, "base"]);
        for name in ["begun", "go"] {
            std::fs::remove_file(flag.join(name)).ok();
        }
        let volume = format!("-v={}:/flag", flag.display());
        let build = sandbox
            .command(["build", "--no-cache", "--network=none", &volume, "-t", "made", context])
            .spawn();
        wait_for(
            "the step",
            || if flag.join("begun").exists() { Ok(()) } else { Err(build.stderr_so_far()) },
        );
        sandbox.ok(removal);
        sandbox.write("flag/go", "");
        let output = build.wait();
        let check = sandbox.ketch(["system", "check"]);
        assert_eq!(check.code, 0, "{removal:?}: {output:?} {check:?}");
        if output.code == 0 {
            assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "made", "cat", "/made"]), "made");
            sandbox.ok(["rmi", "-f", "made"]);
        } else {
            assert!(output.stderr.contains("not all there any more"), "{output:?}");
        }
    }
}

#[test]
fn an_image_is_not_made_of_what_is_not_there() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "true"]);
    let images = sandbox.ok(["images", "-aq"]);
    // As if its image were removed between the look at it and the end of the commit: the blob of its layer is gone.
    let blobs = entries_of(sandbox.store().join("blobs/sha256"));
    let largest = blobs.into_iter().max_by_key(|blob| std::fs::metadata(blob).map_or(0, |data| data.len()));
    std::fs::rename(largest.as_ref().expect("a blob"), sandbox.path("blob")).expect("take a blob away");
    let message = sandbox.ketch(["commit", "-q", "c", "made"]).fails(125).to_owned();
    assert!(message.contains("what the image is made from is not all there any more: sha256:"), "{message}");
    assert_eq!(sandbox.ok(["images", "-aq"]), images);
    std::fs::rename(sandbox.path("blob"), largest.expect("a blob")).expect("give it back");
    sandbox.ok(["commit", "-q", "c", "made"]);
    sandbox.ok(["system", "check"]);
}

/// The boot, this process and when it was started: as ketch writes down who does something.
fn myself() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot has an ID");
    let stat = std::fs::read_to_string("/proc/self/stat").expect("read the own state");
    let ticks =
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).expect("a start time");
    format!("{}-{}-{ticks}-0", boot.trim(), std::process::id())
}

#[test]
fn a_prune_leaves_what_is_about_to_be_started() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["create", "--name=c", "--net=none", "bb", "true"]);
    // As a `run` leaves it that has made its container and not started it yet.
    let starter = sandbox.write(format!("store/containers/{id}/starter"), myself());
    for prune in [&["container", "prune", "-f"][..], &["system", "prune", "-f"]] {
        sandbox.ok(prune);
        assert_eq!(sandbox.names(), ["c"], "{prune:?}");
    }
    std::fs::remove_file(starter).expect("remove a file");
    sandbox.ok(["container", "prune", "-f"]);
    assert_eq!(sandbox.names(), Vec::<String>::new());
}

#[test]
fn a_prune_forgets_the_killed() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], FOR_EVER);
    kill_both(&sandbox, "c");
    sandbox.ok(["rm", "c"]);
    assert_eq!(entries(&sandbox.store(), "holders").len(), 1);
    sandbox.ok(["system", "prune", "-f"]);
    assert_eq!(entries(&sandbox.store(), "holders"), Vec::<String>::new());
}

/// The highest cgroup of version 2 at or above this process's that is its user's.
fn own_cgroup() -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
    let mount = mounts.into_iter().find(|mount| mount.join("cgroup.procs").exists())?;
    let is_own = |directory: &&Path| {
        let write = rustix::fs::Access::WRITE_OK;
        [directory.to_path_buf(), directory.join("cgroup.procs")]
            .iter()
            .all(|path| rustix::fs::access(path, write).is_ok())
    };
    let directory = mount.join(path);
    directory
        .ancestors()
        .take_while(|above| above.starts_with(&mount))
        .filter(is_own)
        .last()
        .map(Path::to_owned)
}

/// Where a part of the tree is delegated to the user; elsewhere there is nothing to leave (tests/vm has both).
#[test]
fn killed_monitors_and_builders_leave_no_cgroup() {
    let Some(top) = own_cgroup() else { return };
    let sandbox = Sandbox::new();
    let root = ["--cgroup-manager=cgroupfs"];
    // As a monitor leaves it that is killed before it has noted anything.
    let id = sandbox.ok([&root[..], &["create", "--name=c", "--net=none", "bb", "true"]].concat());
    let directory = top.join("ketch").join(format!("ketch-{id}"));
    for part in ["container", "monitor"] {
        std::fs::create_dir_all(directory.join(part)).expect("make a cgroup");
    }
    sandbox.ok(["rm", "c"]);
    assert!(!directory.exists(), "{}", directory.display());

    sandbox.write("context/Containerfile", "FROM localhost/bb\nRUN touch /here; sleep 86398\n");
    let context = sandbox.path("context");
    let context = context.to_str().expect("UTF-8");
    let ours = || {
        let all = entries_of(top.join("ketch")).into_iter();
        all.filter(|path| path.join("monitor").exists()).collect::<Vec<_>>()
    };
    let before = ours();
    let build = sandbox.command([&root[..], &["build", "--network=none", context]].concat()).spawn();
    let made = wait_for("the cgroup of the step", || {
        ours()
            .into_iter()
            .find(|path| !before.contains(path) && path.join("container").exists())
            .ok_or_else(String::new)
    });
    build.signal(Signal::KILL);
    assert_eq!(build.wait().code, -9);
    sandbox.ok([&root[..], &["create", "--net=none", "bb", "true"]].concat());
    assert!(!made.exists(), "{}", made.display());
}

#[test]
fn helpers_of_the_network_that_ended_are_no_zombies() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "-d", "--name=c", "bb", "sleep", "1000"]);
    let monitor = sandbox.inspect("c", ".State.ConmonPid");
    for _ in 0..2 {
        let helper = sandbox.netd();
        kill(&helper.to_string());
        wait_for("another helper", || match std::panic::catch_unwind(|| sandbox.netd()) {
            Ok(now) if now != helper => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    wait_for("no zombies", || {
        let states = entries_of("/proc")
            .into_iter()
            .filter_map(|process| std::fs::read_to_string(process.join("stat")).ok());
        let is_dead_child = |stat: &String| {
            let rest: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').take(2).collect();
            rest == ["Z", &monitor]
        };
        states.into_iter().find(is_dead_child).map_or(Ok(()), Err)
    });
}
