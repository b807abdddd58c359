//! What a process in a container is not allowed to do.

use std::process::Command;

use serde_json::json;

use crate::common::image::{Compression, Image, Layer};
use crate::common::{Sandbox, bb, skip};
use crate::{attack, findings, inside, pulled};

#[test]
fn sec_07_masked_paths_hide_their_content_and_stay() {
    let sandbox = Sandbox::new();
    let script = r#"
        for path in /proc/acpi /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi \
            /proc/timer_list /proc/timer_stats /proc/interrupts /sys/devices/virtual/powercap /sys/firmware \
            /sys/fs/selinux /sys/fs/bpf /sys/fs/pstore /sys/kernel/debug /sys/kernel/security /sys/kernel/tracing
        do
            [ -e $path ] || continue
            echo "seen $path"
            if [ -d $path ]; then
                [ -z "$(ls -A $path)" ] || echo "BAD content $path"
                ! touch $path/x 2> /dev/null || echo "BAD writable $path"
            else
                [ -z "$(head -c 64 $path)" ] || echo "BAD content $path"
            fi
            ! umount $path 2> /dev/null || echo "BAD umount $path"
            # As root of a user namespace of its own, where it may unmount what it has mounted: these are locked.
            ! unshare -Urm umount $path 2> /dev/null || echo "BAD umount in a namespace $path"
        done
        # A new instance would show what is hidden in this one.
        ! unshare -Urmpf mount -t proc proc /proc 2> /dev/null || echo "BAD new proc"
        ! unshare -Urm mount -t sysfs sysfs /sys 2> /dev/null || echo "BAD new sysfs"
        for path in /proc/asound /proc/bus /proc/fs /proc/irq /proc/sys/kernel /proc/sysrq-trigger; do
            [ -e $path ] || continue
            [ -d $path ] || { ! echo x 2> /dev/null > $path || echo "BAD writable $path"; continue; }
            ! mkdir $path/x 2> /dev/null || echo "BAD mkdir $path"
        done
        ! echo 1 2> /dev/null > /proc/sys/kernel/hostname || echo "BAD sysctl"
        ! mkdir /sys/fs/cgroup/x 2> /dev/null || echo "BAD cgroup"
        ! mount -o remount,rw /sys 2> /dev/null || echo "BAD remount"
    "#;

    let output = sandbox.ok(["run", "--rm", "bb", "sh", "-c", script]);

    assert!(output.contains("seen /proc/keys"), "the test has looked at nothing: {output}");
    assert!(!output.contains("BAD"), "{output}");
}

#[test]
fn sec_08_nothing_is_mounted_over_proc() {
    let sandbox = Sandbox::new();
    for target in
        ["/proc", "/proc/self/attr", "/proc/sys", "/proc/sys/net", "/proc/../proc/self", "/etc/../proc/1"]
    {
        let bind = format!("{}:{target}", sandbox.path("home").display());
        for option in
            [format!("--volume=name:{target}"), format!("--volume={bind}"), format!("--tmpfs={target}")]
        {
            let run = sandbox.ketch(["run", "--rm", &option, "bb", "true"]);
            assert_eq!(run.code, 125, "{option}: {}{}", run.stdout, run.stderr);
            assert!(run.stderr.contains("/proc"), "{option}: {}", run.stderr);
        }
    }
    assert_eq!(sandbox.names(), [""; 0], "a refused container is not left behind");
}

/// A link of the image leads there as well as a path.
#[test]
fn sec_08_nor_by_way_of_a_link() {
    let sandbox = Sandbox::new();
    let layer = Layer::new().symlink("evil", "/proc/self").symlink("parameters", "proc/sys");
    let image = bb::image().layer(layer, Compression::Gzip).build();
    let name = pulled(&sandbox, "links", &image);
    let bind = format!("--volume={}:/parameters/net", sandbox.path("home").display());
    for option in
        ["--volume=name:/evil", "--tmpfs=/parameters", &bind, "--device=/dev/null:/evil/attr/current"]
    {
        let run = sandbox.ketch(["run", "--rm", option, &name, "true"]);
        assert!(run.fails(125).contains("mounts over /proc are not allowed"), "{option}: {}", run.stderr);
    }
}

#[test]
fn sec_08_image_volumes_are_not_mounted_over_proc() {
    let sandbox = Sandbox::new();
    let image = bb::image().set("Volumes", json!({"/proc/self/attr": {}})).build();
    let name = pulled(&sandbox, "volume", &image);

    let run = sandbox.ketch(["run", "--rm", &name, "true"]);

    assert_eq!(run.code, 125, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("/proc/self/attr"), "{}", run.stderr);
}

/// `CapInh: …` and the like of a process in a container with these options.
fn status(sandbox: &Sandbox, options: &[&str]) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(options);
    args.extend(["bb", "grep", "-E", "^(Cap|NoNewPrivs|Seccomp:)", "/proc/self/status"]);
    sandbox.ok(args).replace('\t', " ")
}

#[test]
fn sec_09_capabilities_are_limited_and_not_inheritable() {
    let sandbox = Sandbox::new();
    let sets = |inh: u64, eff: u64, bnd: u64, amb: u64, nnp: u8| {
        format!(
            "CapInh: {inh:016x}\nCapPrm: {eff:016x}\nCapEff: {eff:016x}\nCapBnd: {bnd:016x}\nCapAmb: {amb:016x}\n\
             NoNewPrivs: {nnp}\nSeccomp: 2"
        )
    };
    let default = 0x8004_05fb;
    let admin = 1 << 21;
    for (options, want) in [
        (&[][..], sets(0, default, default, 0, 0)),
        (&["--user=app"], sets(0, 0, default, 0, 0)),
        (&["--user=1:1"], sets(0, 0, default, 0, 0)),
        (&["--cap-drop=all"], sets(0, 0, 0, 0, 0)),
        (&["--cap-add=sys_admin"], sets(0, default | admin, default | admin, 0, 0)),
        (&["--cap-drop=all", "--cap-add=chown"], sets(0, 1, 1, 0, 0)),
        (&["--security-opt=no-new-privileges"], sets(0, default, default, 0, 1)),
        (&["--user=app", "--security-opt=no-new-privileges"], sets(0, 0, default, 0, 1)),
    ] {
        assert_eq!(status(&sandbox, options), want, "{options:?}");
    }
}

#[test]
fn sec_09_exec_gets_no_more_than_the_container() {
    let sandbox = Sandbox::new();
    let status = |name: &str, options: &[&str]| {
        let mut args = vec!["exec"];
        args.extend(options);
        args.extend([name, "grep", "-E", "^(Cap(Inh|Eff|Bnd|Amb)|Seccomp:)", "/proc/self/status"]);
        sandbox.ok(args).replace('\t', " ")
    };
    sandbox.ok(["run", "-d", "--name=plain", "bb", "sleep", "600"]);
    sandbox.ok(["run", "-d", "--name=bare", "--cap-drop=all", "bb", "sleep", "600"]);

    let zero = "0000000000000000";
    let default = "00000000800405fb";
    for (name, options, eff, bnd) in [
        ("plain", &[][..], default, default),
        ("plain", &["--user=app"], zero, default),
        ("bare", &[], zero, zero),
        ("bare", &["--user=0"], zero, zero),
    ] {
        let want = format!("CapInh: {zero}\nCapEff: {eff}\nCapBnd: {bnd}\nCapAmb: {zero}\nSeccomp: 2");
        assert_eq!(status(name, options), want, "{name} {options:?}");
    }
}

#[test]
fn sec_10_odd_users_never_become_root() {
    let sandbox = Sandbox::new();
    for user in [
        "4294967296",
        "4294967295",
        "-1",
        "0x0",
        "+0",
        " 0",
        "00x",
        "99999999999999999999",
        "65536:18446744073709551616",
        "root:4294967296",
        "nobody-by-this-name",
        "4294967296:0",
        "0:-1",
        "0:+0",
    ] {
        let run = sandbox.ketch(["run", "--rm", &format!("--user={user}"), "bb", "id"]);
        assert!(run.code == 125 || run.code == 126, "--user={user:?} runs: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.starts_with("Error: "), "--user={user:?}: {}", run.stderr);
        assert_eq!(run.stdout, "", "--user={user:?}");
    }
    assert_eq!(sandbox.ok(["run", "--rm", "--user=65000:12", "bb", "sh", "-c", "id -u; id -g"]), "65000\n12");
}

#[test]
fn sec_10_an_image_with_an_odd_user_does_not_run() {
    let sandbox = Sandbox::new();
    let giant = "x".repeat(1 << 20);
    for (tag, user) in
        [("over", "4294967296"), ("minus", "-1"), ("hex", "0x0"), ("plus", "+0"), ("giant", giant.as_str())]
    {
        let image = bb::image().set("User", json!(user)).build();
        let name = pulled(&sandbox, tag, &image);
        let run = sandbox.ketch(["run", "--rm", &name, "id", "-u"]);
        assert!(run.code == 125 || run.code == 126, "{tag}: {}{}", run.stdout, run.stderr);
        assert_eq!(run.stdout, "", "{tag}");
        assert!(run.stderr.contains("user"), "{tag}: {}", run.stderr);
        assert!(run.stderr.len() < 2000, "{tag}: an error of {} bytes", run.stderr.len());
    }
}

#[test]
fn sec_33_nothing_of_the_callers_environment_is_passed() {
    let sandbox = Sandbox::new();
    let run = sandbox
        .command(["run", "--rm", "--env=ASKED", "bb", "env"])
        .env("HTTP_PROXY", "http://user:hunter2@proxy.example:3128")
        .env("https_proxy", "http://user:hunter2@proxy.example:3128")
        .env("AWS_SECRET_ACCESS_KEY", "hunter2")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/hunter2")
        .env("XDG_SESSION_ID", "hunter2")
        .env("SSH_AUTH_SOCK", "/hunter2")
        .env("ASKED", "for")
        .run();

    let output = run.ok();

    assert!(output.contains("ASKED=for"), "{output}");
    for word in ["hunter2", "AWS_", "DBUS_", "XDG_", "SSH_", "KETCH_"] {
        assert!(!output.contains(word), "{word} in {output}");
    }
}

#[test]
fn sec_33_nor_is_it_seen_in_proc() {
    let sandbox = Sandbox::new();
    let run = sandbox
        .command(["run", "--rm", "bb", "sh", "-c", "cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'"])
        .env("AWS_SECRET_ACCESS_KEY", "hunter2")
        .run();

    assert!(run.ok().contains("PATH="), "{}", run.stdout);
    assert!(!run.stdout.contains("hunter2"), "{}", run.stdout);
}

#[test]
fn sec_37_system_calls_by_table() {
    let sandbox = Sandbox::new();

    let output = attack(&sandbox, &[], "calls");

    let want = [
        "clone3: EINVAL",
        "unshare: EINVAL",
        "keyctl: EOPNOTSUPP",
        "add_key: ENOSYS",
        "request_key: ENOSYS",
        "bpf: EPERM",
        "perf_event_open: EPERM",
        "userfaultfd: EPERM",
        "io_uring_setup: ENOSYS",
        "io_uring_enter: ENOSYS",
        "open_by_handle_at: EPERM",
        "kexec_load: EPERM",
        "kexec_file_load: EPERM",
        "init_module: EPERM",
        "swapon: EPERM",
        "personality: ENOSYS",
        "ioctl TIOCSTI: EPERM",
        "ioctl TIOCSTI and garbage: EPERM",
        "ioctl TIOCLINUX: EPERM",
        "ioctl TCGETS: EBADF",
        "socket unix: ok",
        "socket alg: EAFNOSUPPORT",
        "socket alg and garbage: EAFNOSUPPORT",
        "socket vsock: EAFNOSUPPORT",
        "socket audit: EINVAL",
        "socket audit and garbage: EINVAL",
        "9999: ENOSYS",
        "x32 getpid: ENOSYS",
        "x32 ptrace: ENOSYS",
    ];
    assert_eq!(findings(&output), want, "{}", output.stderr);
}

#[test]
fn sec_37_system_calls_of_32_bit_programs() {
    let here = Command::new(std::env::current_exe().expect("the path of this program"))
        .args(&inside::command()[1..])
        .env("KETCH_TEST_ATTACK", "calls-32")
        .output()
        .expect("start this program");
    if !here.status.success() {
        skip("this kernel runs no 32-bit programs");
        return;
    }
    let sandbox = Sandbox::new();

    let output = attack(&sandbox, &[], "calls-32");

    let want = [
        "getpid: ok",
        "modify_ldt: EPERM",
        "clone3: EINVAL",
        "add_key: ENOSYS",
        "io_uring_setup: ENOSYS",
        "bpf: EPERM",
        "userfaultfd: EPERM",
        "open_by_handle_at: EPERM",
        "ioctl TIOCSTI: EPERM",
        "socket alg: EAFNOSUPPORT",
        "socket vsock: EAFNOSUPPORT",
        "9999: ENOSYS",
    ];
    assert_eq!(findings(&output), want, "{}", output.stderr);
}

#[test]
fn sec_37_a_profile_of_the_user_counts() {
    let sandbox = Sandbox::new();
    let profile = sandbox.write(
        "profile.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#,
    );
    let option = format!("--security-opt=seccomp={}", profile.display());

    let run = sandbox.ketch(["run", "--rm", &option, "bb", "sh", "-c", "mkdir /x; echo $?"]);

    assert_eq!(run.ok(), "1");
    assert!(run.stderr.contains("No space left on device"), "{}", run.stderr);
    let broken = sandbox.write("broken.json", r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#);
    let run =
        sandbox.ketch(["run", "--rm", &format!("--security-opt=seccomp={}", broken.display()), "bb", "true"]);
    assert!(run.fails(125).contains("SCMP_ACT_NOTIFY"), "{}", run.stderr);
    assert!(
        sandbox
            .ok(["run", "--rm", "--security-opt=seccomp=unconfined", "bb", "cat", "/proc/self/status"])
            .contains("Seccomp:\t0")
    );
}

/// An image whose entry point is the program that runs it: before the last execve that is ketch.
#[test]
fn sec_01_an_entry_point_that_is_its_own_runtime() {
    let sandbox = Sandbox::new();
    let layer = Layer::new().file("entry", 0o755, "#!/proc/self/exe\n");
    let image = Image::new().layer(layer, Compression::Gzip).entrypoint(["/entry"]).build();
    let name = pulled(&sandbox, "self", &image);
    let before = std::fs::read(crate::common::ketch_binary()).expect("read ketch");

    let run = sandbox.ketch(["run", "--rm", &name]);

    assert_ne!(run.code, 0, "{}", run.stdout);
    assert!(before == std::fs::read(crate::common::ketch_binary()).expect("read ketch"), "ketch has changed");
}
