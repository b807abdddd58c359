//! Attacks from inside a running container, by one who can swap, link and wait as fast as the processor allows.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::{Running, Sandbox, bb, ketch_binary};
use crate::inside;

/// How many containers start while another swaps.
const ROUNDS: usize = 100;

/// How many places below what is being swapped each of them has: a thousand meetings of a path with the link in all,
/// for a tenth of the starts.
const PLACES: usize = 10;

/// Starts a container of `bb` that carries out the attack `what` until it is killed.
#[track_caller]
fn attacker(sandbox: &Sandbox, options: &[&str], what: &str, sign: &str) -> Running {
    let mut args: Vec<String> = ["run", "--rm", "--name=attacker"].map(str::to_owned).into();
    args.extend(inside::mounted(what));
    args.extend(options.iter().map(|option| (*option).to_owned()));
    args.push("bb".to_owned());
    args.extend(inside::command());
    let running = sandbox.command(args).spawn();
    running.expect(sign);
    running
}

/// A directory of the host that no container has been given: everyone may write there, and nobody should.
pub(crate) struct Victim {
    dir: PathBuf,
}

impl Victim {
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        sandbox.write("victim/kept", "as it was\n");
        let dir = sandbox.path("victim");
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("open it to all");
        Victim { dir }
    }

    /// Its path, which no container knows.
    pub(crate) fn path(&self) -> String {
        self.dir.display().to_string()
    }

    #[track_caller]
    pub(crate) fn is_untouched(&self) {
        let entries: Vec<_> = fs::read_dir(&self.dir)
            .expect("read it")
            .map(|entry| entry.expect("read it").file_name())
            .collect();
        assert_eq!(entries, ["kept"], "something was made outside of the container");
        assert_eq!(fs::read_to_string(self.dir.join("kept")).expect("read it"), "as it was\n");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
        assert!(
            !mounts.contains(self.dir.to_str().expect("UTF-8")),
            "something was mounted outside: {mounts}"
        );
    }
}

#[test]
fn sec_01_no_program_of_ketch_can_be_opened_for_writing() {
    let sandbox = Sandbox::new();
    let binary = fs::metadata(ketch_binary()).expect("ketch's metadata");
    let before = fs::read(ketch_binary()).expect("read ketch");
    let order = format!("open-programs {} {}", binary.dev(), binary.ino());
    let watcher = attacker(&sandbox, &["--cap-add=sys_ptrace"], &order, "watching");

    for _ in 0..50 {
        let run = sandbox.ketch(["exec", "attacker", "true"]);
        // The watcher may have just opened the container's own program for writing, as it may.
        assert!(
            run.code == 0 || run.stderr.contains("execute `/bin/true`: Text file busy"),
            "{}",
            run.stderr
        );
    }

    sandbox.ok(["kill", "attacker"]);
    let seen = watcher.wait();
    assert!(!seen.stdout.contains("writable"), "{}", seen.stdout);
    assert!(before == fs::read(ketch_binary()).expect("read ketch"), "ketch has changed");
}

/// Makes a volume with `real` (a directory, or a file) and `link`, which leads to `target`, for a swapper.
#[track_caller]
fn volume_with_link(sandbox: &Sandbox, name: &str, directory: bool, target: &Path) {
    let make = if directory { "mkdir /v/real" } else { "echo real > /v/real" };
    let script = format!("{make} && ln -s {} /v/link", target.display());
    sandbox.ok(["run", "--rm", &format!("--volume={name}:/v"), "bb", "sh", "-c", &script]);
}

#[test]
fn sec_04_mount_targets_that_turn_into_links() {
    for target in ["the victim", "/"] {
        let sandbox = Sandbox::new();
        let victim = Victim::new(&sandbox);
        let link = if target == "/" { Path::new("/") } else { &victim.dir };
        volume_with_link(&sandbox, "shared", true, link);
        let swapper = attacker(&sandbox, &["--volume=shared:/v"], "swap /v", "swapping: ok");
        let mut started = 0;

        for round in 0..ROUNDS {
            let mounts = (0..PLACES).map(|place| match (round + place) % 3 {
                0 => format!("--volume=other:/v/real/b{place}"),
                1 => format!("--tmpfs=/v/real/t{place}/c"),
                _ => format!("--mount=type=mqueue,destination=/v/real/q{place}"),
            });
            let mut args: Vec<String> =
                ["run", "--rm", "--net=none", "--volume=shared:/v"].map(str::to_owned).into();
            args.extend(mounts);
            args.extend(["bb", "true"].map(str::to_owned));
            let run = sandbox.ketch(args);
            // It may be refused, as when the directory is a link just now; it may not go wrong otherwise.
            assert!([0, 125, 126, 127].contains(&run.code), "{}: {}", run.code, run.stderr);
            started += usize::from(run.code == 0);
        }

        victim.is_untouched();
        assert!(started > 0, "every run was refused: nothing was tested");
        sandbox.ok(["kill", "attacker"]);
        drop(swapper);
    }
}

#[test]
fn sec_05_working_directories_and_files_that_turn_into_links() {
    let sandbox = Sandbox::new();
    let victim = Victim::new(&sandbox);
    volume_with_link(&sandbox, "shared", true, &victim.dir);
    let swapper = attacker(&sandbox, &["--volume=shared:/v"], "swap /v", "swapping: ok");

    for round in 0..ROUNDS {
        let mut args: Vec<String> =
            ["run", "--rm", "--net=none", "--volume=shared:/v"].map(str::to_owned).into();
        args.push(format!("--workdir=/v/real/new{round}/er"));
        args.extend((1..PLACES).map(|place| match (round + place) % 2 {
            0 => format!("--volume=other:/v/real/deep{round}/er{place}/still"),
            _ => format!("--tmpfs=/v/real/link/x{round}/{place}"),
        }));
        args.extend(["bb", "true"].map(str::to_owned));
        let run = sandbox.ketch(args);
        assert!([0, 125, 126, 127].contains(&run.code), "{}: {}", run.code, run.stderr);
    }

    victim.is_untouched();
    sandbox.ok(["kill", "attacker"]);
    drop(swapper);
}

/// The files that ketch itself puts into /etc, where a volume lies whose `resolv.conf` is a link one moment and a file the
/// next.
#[test]
fn sec_05_generated_files_do_not_follow_links_out() {
    let sandbox = Sandbox::new();
    let victim = Victim::new(&sandbox);
    let outside = victim.dir.join("resolv.conf");
    let script = format!(
        "cp -r /etc/. /v; rm -f /v/resolv.conf /v/hosts /v/hostname; ln -s {0} /v/resolv.conf; ln -s {0} /v/hosts; \
         ln -s ../../../../../../../..{0} /v/hostname",
        outside.display()
    );
    sandbox.ok(["run", "--rm", "--volume=etc:/v", "bb", "sh", "-c", &script]);

    for options in [&["--volume=etc:/etc"][..], &["--volume=etc:/etc", "--tty"]] {
        let mut args = vec!["run", "--rm"];
        args.extend(options);
        args.extend(["bb", "true"]);
        let run = sandbox.ketch(args);
        assert!([0, 125, 126].contains(&run.code), "{}: {}", run.code, run.stderr);
    }

    victim.is_untouched();
}

/// A root file system in which the places that ketch mounts on are links.
#[test]
fn sec_06_roots_with_links_in_place_of_proc_sys_and_dev() {
    for (place, target) in [
        ("proc", "etc"),
        ("proc", "/etc"),
        ("sys", "/tmp"),
        ("dev", "/"),
        ("dev", "VICTIM"),
        ("proc", "VICTIM"),
        ("dev/null", "VICTIM/null"),
        ("dev/console", "VICTIM/console"),
        ("dev/pts", "VICTIM"),
        ("run", "VICTIM"),
        ("etc", "VICTIM"),
    ] {
        let sandbox = Sandbox::new();
        let victim = Victim::new(&sandbox);
        let root = sandbox.path("root");
        bb::extract_to(&root);
        let link = root.join(place);
        fs::create_dir_all(link.parent().expect("below the root")).expect("make a directory");
        if link.is_dir() {
            fs::remove_dir_all(&link).expect("make room for the link");
        }
        let target = target.replace("VICTIM", victim.dir.to_str().expect("UTF-8"));
        symlink(&target, &link).expect("make the link");
        let script = "head -c 1 /proc/keys | wc -c; touch /proc/sys/kernel/x 2> /dev/null; ls /dev/null /proc/1/status";

        for tty in [false, true] {
            let root = root.to_str().expect("UTF-8");
            let mut args = vec!["run", "--rm"];
            args.extend(tty.then_some("--tty"));
            args.extend(["--rootfs", root, "sh", "-c", script]);
            let run = sandbox.ketch(args);
            let shown = format!("{place} -> {target}, tty {tty}: {}: {}{}", run.code, run.stdout, run.stderr);
            if run.code == 125 || run.code == 126 || run.code == 127 {
                assert!(run.stderr.starts_with("Error: "), "{shown}");
            } else {
                assert!(run.stdout.starts_with('0'), "/proc/keys is not hidden: {shown}");
                assert!(run.stdout.contains("/dev/null"), "{shown}");
            }
            victim.is_untouched();
        }
    }
}
