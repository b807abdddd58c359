//! Limits of the kernel, and machines that lack something (tests/README.md, REL-nn).

mod common;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use common::image::{Compression, Layer};
use common::registry::Registry;
use common::{Sandbox, have};

#[test]
fn rel_41_images_of_very_many_layers() {
    if !have("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut image = common::bb::image();
    let mut pushed = 2;
    for count in [127, 129, 300, 600] {
        while pushed < count {
            image = image.layer(
                Layer::new().file(format!("l/{pushed}"), 0o644, format!("{pushed}\n")),
                Compression::Gzip,
            );
            pushed += 1;
        }
        let name = Registry::shared().push("limits/layers", &format!("v{count}"), &image.build());
        // A slow machine unpacks many of them at once, with the 1,024 descriptors that a session has: so few that it shows here, too.
        let pull = sandbox.command(["pull", "-q", &name]).through(["prlimit", "--nofile=128:"]).run();
        if pull.code != 0 {
            // Refused is as good as flattened, if nothing unusable stays.
            assert!(count > 500 && pull.stderr.contains("layers"), "{count}: {}", pull.stderr);
            assert_eq!(sandbox.ketch(["image", "exists", &name]).code, 1);
            continue;
        }
        let script = format!("ls /l | wc -l; cat /l/2 /l/{}", count - 1);
        let output = sandbox.ketch(["run", "--rm", "--net=none", &name, "sh", "-c", &script]);
        assert_eq!(output.ok(), format!("{}\n2\n{}", count - 2, count - 1), "{count} layers");
    }
}

#[test]
fn rel_42_long_arguments_and_environments() {
    let sandbox = Sandbox::new();
    let mut args: Vec<String> = ["run", "--rm", "--net=none"].iter().map(|s| (*s).to_string()).collect();
    for n in 0..15 {
        args.extend(["-e".into(), format!("V{n}={}", "x".repeat(100_000))]);
    }
    args.extend(["bb", "sh", "-c", "env | wc -c"].iter().map(|s| (*s).to_string()));
    let size: usize = sandbox.ok(&args).parse().expect("a number");
    assert!(size > 1_500_000, "{size}");

    let mut args: Vec<String> =
        ["run", "--rm", "--net=none", "bb", "sh", "-c", "echo $# ${#1}", "sh", &"y".repeat(131_000)]
            .iter()
            .map(|s| (*s).to_string())
            .collect();
    args.extend((0..20_000).map(|n| n.to_string()));
    assert_eq!(sandbox.ok(&args), "20001 131000");
}

/// One string of the environment may be 128 KiB long: the file may say more, execve(2) not.
#[test]
fn rel_42_what_is_too_long_is_refused_with_the_reason() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("env", format!("V={}\n", "x".repeat(200_000)));
    let output = sandbox.sh(&[&format!("--env-file={}", file.display())], "true");
    assert!([125, 126].contains(&output.code), "{output:?}");
    assert!(output.stderr.to_lowercase().contains("too long"), "{}", output.stderr);
    assert!(sandbox.names().is_empty());
}

#[test]
fn rel_43_a_bad_name_is_said_to_be_one() {
    let sandbox = Sandbox::new();
    // (An empty one asks for a name by chance, as in podman.)
    for name in ["a/b", "ü", "-x", " ", "a b", "..", &"n".repeat(5_000)] {
        let option = format!("--name={name}");
        let output = sandbox.ketch(["create", "--net=none", &option, "bb", "true"]);
        let said = output.fails(125);
        assert!(said.starts_with("Error: ") && said.contains("name"), "{name:?}: {said}");
        assert!(sandbox.names().is_empty(), "{name:?}");
    }
    sandbox.ok(["create", "--net=none", "--name=A.b_c-9", "bb", "true"]);
}

#[test]
fn rel_44_paths_are_bytes() {
    let sandbox = Sandbox::new();
    let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let dir = sandbox.path(raw(b"nu\xff"));
    std::fs::create_dir(&dir).expect("make a directory");
    std::fs::write(dir.join(raw(b"f\xfe")), "inside\n").expect("write a file");
    let mut volume = dir.into_os_string();
    volume.push(raw(b":/m\xfd"));

    let args = ["run", "--rm", "--net=none", "-v"].iter().map(OsString::from).chain([
        volume,
        "bb".into(),
        "sh".into(),
        "-c".into(),
        "cat /m*/f*; printf %s /m* | od -An -tx1 | tr -d ' \\n'".into(),
    ]);

    assert_eq!(sandbox.ok(args), "inside\n2f6dfd");
}

#[test]
fn rel_56_without_a_runtime_directory_the_same_containers_are_seen() {
    let sandbox = Sandbox::new();
    let without = |args: &[&str]| sandbox.command(args).env_remove("XDG_RUNTIME_DIR").run();
    without(&["run", "-d", "--net=none", "--name=c", "bb", "sleep", "1000"]).ok();
    assert_eq!(sandbox.ok(["ps", "--format={{.Names}}"]), "c");
    assert_eq!(sandbox.ok(["exec", "c", "echo", "with"]), "with");
    assert_eq!(without(&["exec", "c", "echo", "without"]).ok(), "without");
    sandbox.ok(["rm", "-f", "-t0", "c"]);
    assert_eq!(without(&["ps", "-aq"]).ok(), "");
}

#[test]
fn rel_57_a_runtime_directory_that_does_not_exist() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .command(["run", "--rm", "--net=none", "bb", "echo", "fine"])
        .env("XDG_RUNTIME_DIR", "/nosuch/dir")
        .run();
    assert_eq!(output.ok(), "fine");
}

#[test]
fn without_a_home_or_a_known_user_the_store_can_be_named() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .command(["run", "--rm", "--net=none", "bb", "echo", "fine"])
        .env_remove("HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .run();
    assert_eq!(output.ok(), "fine");
}

#[test]
fn without_a_home_it_is_the_one_of_the_passwd_file() {
    let sandbox = Sandbox::new();
    let of_passwd = "awk -F: -v uid=\"$(id -u)\" '$3 == uid { print $6; exit }' /etc/passwd";
    let home = sandbox.program("sh", ["-c", of_passwd]).run().ok().to_owned();
    for home_variable in [None, Some("")] {
        let asked = sandbox
            .command(["info", "--format={{.Store.GraphRoot}}"])
            .env_remove("KETCH_ROOT")
            .env_remove("XDG_DATA_HOME");
        let asked = match home_variable {
            None => asked.env_remove("HOME").run(),
            Some(value) => asked.env("HOME", value).run(),
        };
        match home.as_str() {
            "" => assert!(asked.fails(125).contains("no home directory"), "{}", asked.stderr),
            home => assert_eq!(asked.ok(), format!("{home}/.local/share/ketch")),
        }
    }
}

/// A directory within a container's own root is often on overlayfs.
#[test]
fn a_file_system_that_cannot_hold_containers_is_said_to_be_that() {
    let sandbox = Sandbox::empty();
    let dir = sandbox.path("o");
    let script = format!(
        "d={}; mkdir -p $d/lower $d/upper $d/work $d/on && \
         mount -t overlay -o userxattr,lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work overlay $d/on && \
         mount --bind /dev/null \"$(command -v newuidmap)\" && export KETCH_ROOT=$d/on/store",
        dir.display(),
    );
    let output = after_mounting(&sandbox, &script, &["run", "--rm", "--net=none", "hello"]);
    let message = output.fails(125);
    assert!(
        message.contains("Invalid argument") && message.contains("hint: the store's file system"),
        "{message}"
    );
}

/// ketch as the caller, in a mount namespace in which `script` (run as root of one that an ordinary user may make) has
/// changed something. No setuid program gains anything there.
fn after_mounting(sandbox: &Sandbox, script: &str, args: &[&str]) -> common::Output {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let script = format!("{script} && exec unshare --user --map-user={uid} --map-group={gid} ketch \"$@\"");
    let words = [&["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"], args].concat();
    sandbox.program("unshare", words).run()
}

#[test]
fn rel_58_without_newuidmap_one_id_is_mapped_and_said() {
    let sandbox = Sandbox::empty();
    let name = Registry::shared().push("limits/nomap", "v1", &common::bb::image().build());
    let hide = "mount --bind /dev/null \"$(command -v newuidmap)\"";
    after_mounting(&sandbox, hide, &["pull", "-q", &name]).ok();
    let output = after_mounting(
        &sandbox,
        hide,
        &["run", "--rm", "--net=none", &name, "sh", "-c", "id -u; wc -l < /proc/self/uid_map"],
    );
    assert_eq!(output.ok(), "0\n1");
    assert!(output.stderr.contains("newuidmap"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "one hint: {}", output.stderr);
}

#[test]
fn rel_59_without_a_range_ordinary_images_still_run() {
    let sandbox = Sandbox::empty();
    let name = Registry::shared().push(
        "limits/single",
        "v1",
        &common::bb::image().set("User", "app".into()).build(),
    );
    let empty = sandbox.write("empty", "");
    let hide = &format!("mount --bind {0} /etc/subuid && mount --bind {0} /etc/subgid", empty.display());
    let pull = after_mounting(&sandbox, hide, &["pull", "-q", &name]);
    assert_eq!(pull.code, 0, "{}", pull.stderr);
    let root = after_mounting(&sandbox, hide, &["run", "--rm", "--net=none", "--user=0", &name, "id", "-u"]);
    assert_eq!(root.ok(), "0");
    assert!(root.stderr.contains("subuid"), "one hint: {}", root.stderr);
    assert!(root.stderr.contains("--add-subuids 100000-165535 "), "{}", root.stderr);
    // What is proposed is not somebody else's.
    let others = sandbox.write("others", "ana:100000:65536\nbob:165536:65536\n");
    let hide_own = &format!("mount --bind {0} /etc/subuid && mount --bind {0} /etc/subgid", others.display());
    let root = after_mounting(&sandbox, hide_own, &["run", "--rm", "--net=none", "--user=0", &name, "true"]);
    assert!(
        root.stderr.contains("--add-subuids 231072-296607 --add-subgids 231072-296607 "),
        "{}",
        root.stderr
    );
    let app = after_mounting(
        &sandbox,
        hide,
        &["run", "--rm", "--net=none", &name, "sh", "-c", "id -u; cat /home/app/mine"],
    );
    assert_eq!(app.ok(), "1000\nof app", "USER app is mapped to the caller");
}

#[test]
fn rel_60_no_user_namespaces_allowed_names_the_setting() {
    let sandbox = Sandbox::new();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec ketch run --rm --net=none bb true";
    let output = sandbox.program("unshare", ["--user", "--map-root-user", "sh", "-c", script]).run();
    assert_eq!(output.code, 125, "{output:?}");
    assert!(output.stderr.contains("user.max_"), "{}", output.stderr);
    assert!(output.stderr.lines().count() <= 2, "{}", output.stderr);
}

#[test]
fn rel_20_few_descriptors_are_enough_or_the_limit_is_named() {
    if !have("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    for limit in [8, 12, 16, 24, 40] {
        let output = sandbox
            .command(["run", "--rm", "--net=none", "bb", "echo", "fine"])
            .through(["prlimit", &format!("--nofile={limit}:{limit}")])
            .run();
        let named = output.stderr.contains("open files") || output.stderr.contains("descriptors");
        assert!(output.stdout == "fine\n" || (output.code == 125 && named), "limit {limit}: {output:?}");
        assert!(sandbox.names().is_empty(), "{limit}");
    }
}

#[test]
fn rel_70_closed_standard_streams() {
    let sandbox = Sandbox::new();
    for script in [
        "ketch run --rm --net=none bb sh -c 'echo x > /tmp/f; cat /tmp/f' < /dev/null >&- 2>&-; echo $? >> codes",
        "ketch run --rm --net=none bb true <&- ; echo $? >> codes",
        "ketch ps >&- ; true",
    ] {
        let output = sandbox.program("sh", ["-c", script]).run();
        assert!(!output.stderr.contains("panicked"), "{script}: {}", output.stderr);
    }
    assert!(sandbox.read("codes").ends_with("0\n"), "{}", sandbox.read("codes"));
    assert!(sandbox.names().is_empty());
}

#[test]
fn rel_70_messages_that_cannot_be_written_end_nothing() {
    let sandbox = Sandbox::new();
    let project = "services:\n  a:\n    image: bb\n    network_mode: none\n    command: sleep 1000\n    stop_grace_period: 0s\n";
    sandbox.write("compose.yaml", project);
    for command in [
        "compose up -d",
        "compose ps",
        "compose down",
        // A warning: its ports are discarded.
        "run --rm --net=none -p 9 bb true",
    ] {
        let output = sandbox.program("sh", ["-c", &format!("ketch {command} 2> /dev/full")]).run();
        assert_eq!(output.code, 0, "{command}");
    }
    assert!(sandbox.names().is_empty());
}
