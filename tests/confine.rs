//! `ketch run`: capabilities, seccomp, masks, user and other namespaces.

mod common;

use std::fs;

use common::Sandbox;

/// What podman and docker grant without options, as in /proc/self/status.
const DEFAULT_CAPS: &str = "00000000800405fb";
const ALL_CAPS_OF_LINUX_6: &str = "000001ffffffffff";

/// Prints the effective and bounding sets, NoNewPrivs and Seccomp, each on its line.
const STATUS: &str =
    "sed -n 's/^\\(CapEff\\|CapBnd\\|CapAmb\\|NoNewPrivs\\|Seccomp\\):\\t//p' /proc/self/status";

#[test]
fn the_defaults_are_those_of_podman() {
    let sandbox = Sandbox::new();
    let want = format!("{DEFAULT_CAPS}\n{DEFAULT_CAPS}\n0000000000000000\n0\n2");
    assert_eq!(sandbox.sh(&[], STATUS).ok(), want);
    let want = format!("0000000000000000\n{DEFAULT_CAPS}\n0000000000000000\n0\n2");
    assert_eq!(
        sandbox.sh(&["--user=app"], STATUS).ok(),
        want,
        "a user has none, but may gain them from files"
    );
}

#[test]
fn capabilities_are_added_and_dropped_by_name() {
    let sandbox = Sandbox::new();
    for (options, want) in [
        (vec!["--cap-drop=all"], "0000000000000000"),
        (vec!["--cap-drop=ALL", "--cap-add=CAP_CHOWN"], "0000000000000001"),
        (vec!["--cap-drop=all", "--cap-add=chown,kill"], "0000000000000021"),
        (vec!["--cap-add=net_admin"], "00000000800415fb"),
        (vec!["--cap-drop=chown"], "00000000800405fa"),
        (vec!["--cap-add=all"], ALL_CAPS_OF_LINUX_6),
    ] {
        let output = sandbox.sh(&options, "sed -n 's/^CapEff:\\t//p;s/^CapBnd:\\t//p' /proc/self/status");
        assert_eq!(output.ok(), format!("{want}\n{want}"), "{options:?}");
    }
    let bad = sandbox.sh(&["--cap-add=nosuch"], "true");
    assert!(bad.fails(125).contains("\"CAP_NOSUCH\": unknown capability"), "{}", bad.stderr);
    assert_ne!(sandbox.sh(&["--cap-drop=chown"], "touch /f; chown 1 /f").code, 0);
}

#[test]
fn privileges_can_be_kept_from_growing() {
    let sandbox = Sandbox::new();
    for option in ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"] {
        assert_eq!(
            sandbox.sh(&["--security-opt", option], "grep NoNewPrivs /proc/self/status").ok(),
            "NoNewPrivs:\t1",
            "{option}"
        );
    }
    let bad = sandbox.sh(&["--security-opt=nosuch"], "true");
    assert!(bad.fails(125).contains("nosuch"), "{}", bad.stderr);
    assert_eq!(sandbox.sh(&["--security-opt=label=disable"], "true").code, 0);
}

#[test]
fn a_seccomp_profile_is_loaded_from_its_file() {
    let sandbox = Sandbox::new();
    let profile = sandbox.write(
        "profile.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#,
    );
    let option = format!("--security-opt=seccomp={}", profile.display());
    let output = sandbox.sh(&[&option], "touch /works; mkdir /x");
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("not supported"), "errno 95 is EOPNOTSUPP: {}", output.stderr);

    assert_eq!(
        sandbox.sh(&["--security-opt=seccomp=unconfined"], "grep Seccomp: /proc/self/status").ok(),
        "Seccomp:\t0"
    );
    let missing = sandbox.sh(&["--security-opt=seccomp=/nosuch.json"], "true");
    assert!(missing.fails(125).contains("/nosuch.json"), "{}", missing.stderr);
    let broken = format!("--security-opt=seccomp={}", sandbox.write("broken.json", "{").display());
    assert!(sandbox.sh(&[&broken], "true").fails(125).contains("seccomp"));
}

#[test]
fn the_default_profile_refuses_what_containers_need_not() {
    let sandbox = Sandbox::new();
    for script in ["unshare -m true", "mount -t tmpfs x /tmp", "hwclock", "chroot / true && mknod /x b 8 0"] {
        assert_ne!(sandbox.sh(&[], script).code, 0, "{script}");
    }
}

#[test]
fn what_the_kernel_tells_of_the_host_is_hidden() {
    let sandbox = Sandbox::new();
    let script = "cat /proc/keys /proc/timer_list /proc/kcore 2> /dev/null | head -c 10 | wc -c; ls /sys/firmware /proc/acpi 2> /dev/null | grep -v : | wc -w;
        echo x 2> /dev/null > /proc/sys/kernel/hostname || echo refused; echo 1 2> /dev/null > /proc/sysrq-trigger || echo refused";
    assert_eq!(sandbox.sh(&[], script).ok(), "0\n0\nrefused\nrefused");
    assert_eq!(sandbox.sh(&["--security-opt=mask=/etc/passwd"], "cat /etc/passwd | wc -c").ok(), "0");
    let unmasked =
        sandbox.sh(&["--security-opt=unmask=/proc/keys"], "grep -c ' /proc/keys ' /proc/self/mountinfo");
    assert_eq!(unmasked.stdout, "0\n", "{}", unmasked.stderr);
}

#[test]
fn privileged_lifts_the_restrictions_within_the_user_namespace() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&["--privileged"], &format!("{STATUS}; mkdir /m; mount -t tmpfs x /m && echo mounted; [ -w /proc/sys/kernel/hostname ] && echo writable"));
    let want =
        format!("{ALL_CAPS_OF_LINUX_6}\n{ALL_CAPS_OF_LINUX_6}\n0000000000000000\n0\n0\nmounted\nwritable");
    assert_eq!(output.ok(), want);
}

#[test]
fn namespaces_are_private_unless_the_hosts_are_asked_for() {
    let sandbox = Sandbox::new();
    let host = |name: &str| {
        fs::read_link(format!("/proc/self/ns/{name}"))
            .expect("read a namespace")
            .to_string_lossy()
            .into_owned()
    };
    for (name, option) in
        [("pid", "--pid=host"), ("uts", "--uts=host"), ("ipc", "--ipc=host"), ("cgroup", "--cgroupns=host")]
    {
        let script = format!("readlink /proc/self/ns/{name}");
        assert_ne!(sandbox.sh(&[], &script).ok(), host(name), "private {name}");
        assert_eq!(sandbox.sh(&[option], &script).ok(), host(name), "{option}");
    }
    for name in ["user", "mnt", "net"] {
        assert_ne!(sandbox.sh(&[], &format!("readlink /proc/self/ns/{name}")).ok(), host(name));
    }
    assert_eq!(sandbox.sh(&[], "echo $$; ls -d /proc/[0-9]* | wc -l").ok().lines().next(), Some("1"));
}

#[test]
fn namespaces_of_another_container_can_be_joined() {
    let sandbox = Sandbox::new();
    sandbox.start("first", &["--hostname=of-first", "--ipc=shareable"], "exec sleep 100");
    assert_eq!(sandbox.sh(&["--uts=container:first"], "hostname").ok(), "of-first");
    assert_eq!(sandbox.sh(&["--pid=container:first"], "cat /proc/1/comm").ok(), "sleep");
    let ipc = sandbox.ok(["exec", "first", "readlink", "/proc/self/ns/ipc"]);
    assert_eq!(sandbox.sh(&["--ipc=container:first"], "readlink /proc/self/ns/ipc").ok(), ipc);
    let missing = sandbox.sh(&["--pid=container:nosuch"], "true");
    assert!(missing.fails(125).contains("nosuch"), "{}", missing.stderr);
}

/// Nothing of the caller's comes along: descriptors, environment, signal dispositions.
#[test]
fn nothing_of_the_caller_leaks_in() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .program("sh", ["-c", "exec 7< /etc/passwd 8> leaked; exec ketch run --rm --net=none bb sh -c 'ls /proc/self/fd | wc -w; grep -e SigIgn -e SigBlk /proc/self/status; umask'"])
        .env("SECRET", "s3cret")
        .run();
    assert_eq!(
        output.ok(),
        "4\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0022",
        "0, 1, 2 and the one ls opens"
    );
}
