//! `ketch run`: what is mounted where, and how.

mod common;

use std::os::unix::fs::MetadataExt;

use common::Sandbox;
use common::image::{Compression, Layer};
use common::registry::Registry;

#[test]
fn a_directory_of_the_host_is_seen_inside_and_written_through() {
    let sandbox = Sandbox::new();
    sandbox.write("data/in", "from outside\n");
    let volume = format!("{}:/data", sandbox.path("data").display());

    let output =
        sandbox.sh(&["-v", &volume], "cat /data/in; echo from inside > /data/out; stat -c %u /data/in");

    assert_eq!(output.ok(), "from outside\n0");
    assert_eq!(sandbox.read("data/out"), "from inside\n");
    let meta = std::fs::metadata(sandbox.path("data/out")).expect("made");
    assert_eq!(meta.uid(), rustix::process::getuid().as_raw(), "root inside is the caller outside");
}

#[test]
fn a_read_only_mount_refuses_writing() {
    let sandbox = Sandbox::new();
    sandbox.write("data/in", "x\n");
    let data = sandbox.path("data");
    for options in [
        vec![format!("--volume={}:/data:ro", data.display())],
        vec![format!("--volume={}:/data:ro,z", data.display())],
        vec![format!("--mount=type=bind,src={},dst=/data,ro", data.display())],
        vec![format!("--mount=type=bind,source={},target=/data,readonly=true", data.display())],
    ] {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = sandbox.sh(
            &options,
            "cat /data/in; touch /data/new 2>&1; mount -o remount,rw /data 2>&1 | head -n 1; touch /data/new",
        );
        assert_eq!(output.code, 1, "{options:?}");
        assert!(
            output.stdout.starts_with("x\n") && output.stdout.contains("Read-only"),
            "{options:?}: {}",
            output.stdout
        );
    }
    assert!(!sandbox.path("data/new").exists());
}

#[test]
fn options_of_other_mounts_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("data/in", "x\n");
    let data = sandbox.path("data");
    for (typed, said) in [
        ("bind,src=DATA,subpath=in", "\"subpath\" option not supported for \"bind\" mount types"),
        ("bind,src=DATA,tmpfs-size=1m", "\"tmpfs-size\" option not supported"),
        ("ramfs,tmpfs-size=1m", "\"tmpfs-size\" option not supported for \"ramfs\" mount types"),
        ("tmpfs,src=DATA", "\"src\" option not supported for \"tmpfs\" mount types"),
        ("tmpfs,volume-opt=a=b", "\"volume-opt\" option not supported"),
        ("bind,src=DATA,bind-recursive=perhaps", "unknown mount option"),
    ] {
        let mount = format!("--mount=type={typed},dst=/d").replace("DATA", &data.display().to_string());
        let output = sandbox.sh(&[&mount], "true");
        assert!(output.fails(125).contains(said), "{typed}: {}", output.stderr);
    }
    let both = sandbox.sh(&["-v", &format!("{}:/d:noexec,exec", data.display())], "true");
    let said = "invalid options \"noexec, exec\", can only specify 1 'noexec' or 'exec' option";
    assert!(both.fails(125).contains(said), "{}", both.stderr);
}

/// SELinux labels: accepted everywhere, effective where SELinux is.
#[test]
fn the_options_of_a_volume_are_taken() {
    let sandbox = Sandbox::new();
    sandbox.write("data/in", "x\n");
    for options in ["z", "Z", "rw", "rprivate,z", "rshared", "nosuid,nodev", "exec", "U"] {
        let volume = format!("{}:/data:{options}", sandbox.path("data").display());
        assert_eq!(sandbox.sh(&["-v", &volume], "cat /data/in").ok(), "x", ":{options}");
    }
    let bad = format!("{}:/data:bogus", sandbox.path("data").display());
    let output = sandbox.sh(&["-v", &bad], "true");
    assert!(output.fails(125).contains("bogus"), "{}", output.stderr);
}

#[test]
fn noexec_and_a_file_as_a_mount() {
    let sandbox = Sandbox::new();
    sandbox.write_program("data/prog", "#!/bin/sh\necho ran\n");
    let data = sandbox.path("data");
    assert_eq!(sandbox.sh(&["-v", &format!("{}:/d", data.display())], "/d/prog").ok(), "ran");
    assert_eq!(sandbox.sh(&["-v", &format!("{}:/d:noexec", data.display())], "/d/prog").code, 126);
    let file = format!("{}:/etc/new/prog", data.join("prog").display());
    assert_eq!(sandbox.sh(&["-v", &file], "/etc/new/prog").ok(), "ran", "the mount point is made");
}

#[test]
fn a_bad_mount_is_named_and_nothing_is_left() {
    let sandbox = Sandbox::new();
    for (options, said) in [
        (vec!["-v", "/nosuch/x:/y"], "/nosuch/x"),
        (vec!["-v", "/tmp:relative"], "relative"),
        (vec!["--mount=type=bind,src=/nosuch,dst=/x"], "/nosuch"),
        (vec!["--mount=type=bogus,dst=/x"], "bogus"),
        (vec!["--mount=type=tmpfs"], "destination"),
        (vec!["--tmpfs", "relative"], "relative"),
        (vec!["--tmpfs=/x:bogus"], "bogus"),
        (vec!["-v", "a:b:c:d"], "a:b:c:d"),
    ] {
        let output = sandbox.sh(&options, "true");
        assert!(output.fails(125).contains(said), "{options:?}: {}", output.stderr);
    }
    assert!(sandbox.names().is_empty());
}

#[test]
fn two_containers_see_one_directory() {
    let sandbox = Sandbox::new();
    sandbox.write("www/index.html", "one\n");
    let volume = format!("{}:/www", sandbox.path("www").display());
    for name in ["a", "b"] {
        sandbox.start(name, &["-v", &volume], "exec sleep 100");
    }
    sandbox.write("www/index.html", "two\n");
    for name in ["a", "b"] {
        assert_eq!(sandbox.ok(["exec", name, "cat", "/www/index.html"]), "two");
    }
}

#[test]
fn a_named_volume_outlives_its_containers() {
    let sandbox = Sandbox::new();
    sandbox.sh(&["-v", "data:/var/lib/data"], "echo kept > /var/lib/data/file").ok();
    assert_eq!(sandbox.sh(&["-v", "data:/elsewhere:ro"], "cat /elsewhere/file").ok(), "kept");
    assert_eq!(sandbox.sh(&["--mount=type=volume,src=data,dst=/m"], "cat /m/file").ok(), "kept");
}

#[test]
fn a_new_volume_starts_with_what_the_image_has_there() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.sh(&["-v", "homes:/home"], "cat /home/app/mine; stat -c %u:%a /home/app/mine").ok(),
        "of app\n1000:600"
    );
    sandbox.sh(&["-v", "homes:/home"], "rm /home/app/mine").ok();
    assert_eq!(sandbox.sh(&["-v", "homes:/home"], "ls /home/app").ok(), "", "only a new volume is filled");
}

#[test]
fn tmpfs_has_the_size_and_mode_asked_for() {
    let sandbox = Sandbox::new();
    for (option, size, mode) in [
        ("--tmpfs=/x", None, "1777"),
        ("--tmpfs=/x:size=1m,mode=711", Some("size=1024k"), "711"),
        ("--mount=type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=700", Some("size=1024k"), "700"),
    ] {
        let output = sandbox.sh(&[option], "grep ' /x tmpfs ' /proc/mounts; stat -c %a /x; touch /x/y");
        let (mount, rest) = output.ok().split_once('\n').expect("two lines");
        assert_eq!(rest, mode, "{option}");
        assert!(mount.contains("nosuid") && mount.contains("nodev"), "{mount}");
        assert!(size.is_none_or(|size| mount.contains(size)), "{option}: {mount}");
    }
}

#[test]
fn read_only_leaves_the_places_for_temporary_files() {
    let sandbox = Sandbox::new();
    let script =
        "for f in /x /etc/x /tmp/x /run/x /var/tmp/x /dev/shm/x; do touch $f 2> /dev/null && echo $f; done";
    assert_eq!(sandbox.sh(&["--read-only"], script).stdout, "/tmp/x\n/run/x\n/var/tmp/x\n/dev/shm/x\n");
    let without = sandbox.sh(&["--read-only", "--read-only-tmpfs=false"], script).stdout;
    assert!(!without.contains("/tmp/x") && !without.contains("/run/x"), "{without}");
}

#[test]
fn shared_memory_has_the_size_asked_for() {
    let sandbox = Sandbox::new();
    let size = "df -k /dev/shm | awk 'NR == 2 {print $2}'";
    assert_eq!(sandbox.sh(&[], size).ok(), "64000");
    assert_eq!(sandbox.sh(&["--shm-size=1m"], size).ok(), "1024");
    let bad = sandbox.sh(&["--shm-size=1q"], "true");
    assert!(bad.fails(125).contains("1q"), "{}", bad.stderr);
}

#[test]
fn the_usual_devices_and_those_asked_for_are_there() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&[], "for d in null zero full random urandom tty; do [ -c /dev/$d ] && echo $d; done; ls -l /dev/ptmx /dev/fd /dev/core | sed 's/.*-> //'; echo x > /dev/null && head -c 2 /dev/zero | wc -c");
    assert!(output.ok().starts_with("null\nzero\nfull\nrandom\nurandom\ntty\n"), "{}", output.stdout);
    assert!(output.ok().ends_with("\n2"), "{}", output.stdout);
    assert_eq!(
        sandbox
            .sh(&["--device=/dev/zero:/dev/other"], "[ -c /dev/other ] && head -c 3 /dev/other | wc -c")
            .ok(),
        "3"
    );
    for (device, said) in [("/dev/nosuch", "/dev/nosuch"), ("/tmp", "/tmp"), ("/dev/null:/dev/x:q", "q")] {
        let output = sandbox.sh(&["--device", device], "true");
        assert!(output.fails(125).contains(said), "{device}: {}", output.stderr);
    }
}

#[test]
fn what_is_written_in_one_container_is_seen_in_no_other() {
    let sandbox = Sandbox::new();
    sandbox.sh(&[], "echo changed > /etc/passwd; rm /bin/ls; mkdir /new").ok();
    assert_eq!(
        sandbox.sh(&[], "head -n 1 /etc/passwd; ls -d /bin/ls; ls -d /new 2> /dev/null || true").ok(),
        "root:x:0:0:root:/root:/bin/sh\n/bin/ls"
    );
}

/// Whiteouts, opaque directories and hard links of upper layers.
#[test]
fn layers_cover_one_another_as_the_image_says() {
    let sandbox = Sandbox::new();
    let image = common::bb::image()
        .layer(
            Layer::new()
                .dir("d", 0o755)
                .file("d/a", 0o644, "a\n")
                .file("d/b", 0o644, "b\n")
                .dir("e", 0o750)
                .file("e/x", 0o600, "x\n"),
            Compression::Zstd,
        )
        .layer(
            Layer::new().whiteout("d/a").file("d/c", 0o640, "c\n").hardlink("d/c2", "d/c"),
            Compression::None,
        )
        .layer(
            Layer::new().dir("e", 0o700).opaque("e").file("e/y", 0o644, "y\n").symlink("link", "e/y"),
            Compression::Gzip,
        )
        .build();
    let name = Registry::shared().push("mounts/layers", "v1", &image);

    let script = "ls d e; cat link; stat -c '%a %h' d/c; stat -c %a e; echo more >> d/b; cat d/b";
    let output = sandbox.ketch(["run", "--rm", "--net=none", &name, "sh", "-c", script]);

    assert_eq!(output.ok(), "d:\nb\nc\nc2\n\ne:\ny\ny\n640 2\n700\nb\nmore");
}

/// What an image declares as a volume is one of its own for each container.
#[test]
fn declared_volumes_are_made_and_go_with_the_container() {
    let sandbox = Sandbox::new();
    let image = common::bb::image().set("Volumes", serde_json::json!({"/home/app": {}})).build();
    let name = Registry::shared().push("mounts/volume", "v1", &image);

    let output = sandbox.ketch([
        "run",
        "--rm",
        "--net=none",
        &name,
        "sh",
        "-c",
        "cat /home/app/mine; grep -c ' /home/app ' /proc/mounts",
    ]);

    assert_eq!(output.ok(), "of app\n1");
    let volumes = std::fs::read_dir(sandbox.store().join("volumes")).map_or(0, Iterator::count);
    assert_eq!(volumes, 0, "--rm removes anonymous volumes");
}

/// SEC-19: the error names the volume, the code is 125, and nothing is left.
#[test]
fn hostile_declared_volumes_are_refused() {
    let sandbox = Sandbox::new();
    let paths = ["/", "/proc", "/sys", "/dev", "/proc/../proc/sys", "/etc/../../x", "/a\nb", "relative"];
    for (n, path) in paths.into_iter().enumerate() {
        let image = common::bb::image().set("Volumes", serde_json::json!({path: {}})).build();
        let name = Registry::shared().push("mounts/hostile", &format!("v{n}"), &image);
        for verb in ["run", "create"] {
            let output = sandbox.ketch([verb, "--net=none", &name, "true"]);
            let said = output.fails(125);
            assert!(said.contains(&format!("image declares volume {path:?}")), "{verb} {path:?}: {said}");
        }
        assert!(sandbox.names().is_empty(), "{path:?}");
    }
    let volumes = std::fs::read_dir(sandbox.store().join("volumes")).map_or(0, Iterator::count);
    assert_eq!(volumes, 0);
}

#[test]
fn a_read_only_container_keeps_its_tmpfs_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    let script = "for d in / /dev /dev/shm /run /tmp /var/tmp; do touch $d/x 2> /dev/null && echo $d; done; tty > /dev/null; echo > /dev/null";
    assert_eq!(sandbox.sh(&["--read-only"], script).ok(), "/dev\n/dev/shm\n/run\n/tmp\n/var/tmp");
    for terminal in
        [&["--read-only", "--read-only-tmpfs=false"][..], &["--read-only", "--read-only-tmpfs=false", "-t"]]
    {
        assert_eq!(sandbox.sh(terminal, script).ok().trim(), "", "{terminal:?}");
    }
    assert_eq!(sandbox.sh(&["--read-only-tmpfs=false"], "touch /dev/shm/x /x && echo fine").ok(), "fine");
}

#[test]
fn devices_of_the_host_may_be_bound_as_files_and_directories() {
    let sandbox = Sandbox::new();
    let options =
        ["-v", "/dev/null:/dev/foo", "-v", "/dev:/of-host", "--mount=type=bind,src=/dev/zero,dst=/zero"];
    let script = "echo x > /dev/foo && echo x > /of-host/null && head -c 2 /zero | wc -c";
    assert_eq!(sandbox.sh(&options, script).ok(), "2");
    for wrong in ["chown=maybe", "ro=perhaps", "volume-nocopy=2"] {
        let refused = sandbox.sh(&[&format!("--mount=type=volume,dst=/x,{wrong}")], "true");
        assert!(
            refused.fails(125).contains(wrong.split('=').next().unwrap_or_default()),
            "{}",
            refused.stderr
        );
    }
}

/// Who keeps its IPC namespace to itself shares it with nobody, as with podman and docker.
#[test]
fn a_private_ipc_namespace_is_not_joined() {
    let sandbox = Sandbox::new();
    for (name, mode) in [("mine", "private"), ("nobodys", "none"), ("ours", "shareable")] {
        sandbox.ok(["create", "--name", name, "--net=none", "--ipc", mode, "bb", "true"]);
        let joined =
            sandbox.ketch(["create", "--net=none", &format!("--ipc=container:{name}"), "bb", "true"]);
        match mode {
            "shareable" => assert_eq!(joined.code, 0, "{}", joined.stderr),
            _ => assert!(joined.fails(125).contains("non-shareable IPC"), "{name}: {}", joined.stderr),
        }
    }
}

#[test]
fn who_shares_ipc_shares_the_shared_memory() {
    let sandbox = Sandbox::new();
    sandbox.start(
        "first",
        &["--shm-size=1m", "--cap-add=sys_admin"],
        "echo mine > /dev/shm/file; exec sleep 100",
    );
    sandbox.wait_until(&["exec", "first", "cat", "/dev/shm/file"], "mine");
    let script = "cat /dev/shm/file; echo theirs > /dev/shm/other; grep ' /dev/shm ' /proc/mounts | grep -o size=1024k; grep -c noexec /proc/mounts > /dev/null";
    assert_eq!(sandbox.sh(&["--ipc=container:first"], script).ok(), "mine\nsize=1024k");
    assert_eq!(sandbox.ok(["exec", "first", "cat", "/dev/shm/other"]), "theirs");
    // Also in a later life of the sharing container, whose monitor is in the other's user namespace by then.
    sandbox.ok([
        "run",
        "-d",
        "--name=second",
        "--net=none",
        "--ipc=container:first",
        "--restart=on-failure:1",
        "bb",
        "sh",
        "-c",
        "echo life >> /dev/shm/lives; exit 1",
    ]);
    sandbox.ok(["wait", "second"]);
    common::wait_for("the second life", || {
        let lives = sandbox.ok(["exec", "first", "cat", "/dev/shm/lives"]);
        if lives == "life\nlife" { Ok(()) } else { Err(lives) }
    });

    sandbox.ok(["exec", "first", "mount", "--bind", "/tmp", "/dev/shm"]);
    let nothing = sandbox.sh(&["--ipc=container:first"], "true");
    assert!(nothing.fails(125).contains("/dev/shm"), "{}", nothing.stderr);
}

/// What a layer hides or removes above a subpath is hidden and removed in it.
#[test]
fn a_part_of_an_image_is_what_the_whole_image_shows_there() {
    let sandbox = Sandbox::new();
    let image = common::bb::image()
        .layer(
            Layer::new()
                .dir("a", 0o755)
                .dir("a/b", 0o755)
                .file("a/b/old", 0o644, "old\n")
                .dir("o", 0o755)
                .dir("o/b", 0o755)
                .file("o/b/old", 0o644, "old\n")
                .dir("f", 0o755)
                .dir("f/b", 0o755)
                .file("f/b/old", 0o644, "old\n")
                .dir("k", 0o755)
                .dir("k/b", 0o755)
                .file("k/b/old", 0o644, "old\n"),
            Compression::Gzip,
        )
        .layer(Layer::new().whiteout("a").whiteout("f").file("f", 0o644, "file\n"), Compression::Gzip)
        .layer(
            Layer::new()
                .dir("a", 0o755)
                .dir("a/b", 0o755)
                .file("a/b/new", 0o644, "new\n")
                .dir("o", 0o755)
                .opaque("o")
                .dir("o/b", 0o755)
                .file("o/b/new", 0o644, "new\n")
                .dir("k", 0o755)
                .dir("k/b", 0o755)
                .file("k/b/new", 0o644, "new\n"),
            Compression::Gzip,
        )
        .build();
    let name = Registry::shared().push("mounts/parts", "v1", &image);
    sandbox.ok(["pull", "-q", &name]);
    let list = |path: &str| {
        let mount = format!("--mount=type=image,src={name},dst=/x,subpath={path}");
        sandbox.sh(&[&mount], "ls /x | tr '\\n' ' '")
    };
    for (path, want) in [("a/b", "new"), ("/o/b", "new"), ("k/b", "new old"), ("k//b/", "new old")] {
        assert_eq!(list(path).ok().trim(), want, "{path}");
    }
    assert!(list("f/b").fails(125).contains("the image has no f/b"));
}

/// As podman and docker have it: a bind mount is inside what it is on the host, devices included.
#[test]
fn devices_in_bind_mounts_can_be_used() {
    let sandbox = Sandbox::new();
    for options in [&["-v=/dev/null:/x/null"][..], &["-v=/dev:/x:ro"], &["--mount=type=bind,src=/dev,dst=/x"]]
    {
        assert_eq!(
            sandbox.sh(options, "echo lost > /x/null && cat /x/null && echo used").ok(),
            "used",
            "{options:?}"
        );
    }
    let refused = sandbox.sh(&["-v=/dev/null:/x:nodev"], "echo > /x");
    assert!(refused.fails(1).contains("Permission denied"), "{}", refused.stderr);
}

/// The host's /dev and /sys may take the place of the container's own; terminals and shared memory are still its own.
#[test]
fn the_host_s_dev_and_sys_may_be_shown() {
    let sandbox = Sandbox::new();
    let both = ["-v=/dev:/dev:rslave", "-v=/sys:/sys:rslave"];
    let script = "echo > /dev/null; echo x > /dev/shm/ketch-own; ls /sys/kernel > /dev/null; ls /dev/pts";
    assert_eq!(sandbox.sh(&both, script).ok(), "ptmx");
    assert!(!std::path::Path::new("/dev/shm/ketch-own").exists(), "shared memory is the container's");
    let terminal = sandbox.sh(&["-t", both[0], both[1]], "tty; test -c /dev/console && echo console");
    assert_eq!(terminal.ok().replace('\r', ""), "/dev/pts/0\nconsole");
    sandbox.start("c", &both, "exec sleep 1000");
    assert_eq!(sandbox.ok(["exec", "-t", "c", "tty"]).trim(), "/dev/pts/0");
    for bad in ["--tmpfs=/dev", "-v=v:/sys", "-v=/proc:/proc"] {
        assert!(sandbox.sh(&[bad], "true").fails(125).contains("is not allowed"), "{bad}");
    }
}

/// What distrobox (1.8) writes; its first program mounts a devpts of its own.
#[test]
fn a_container_as_distrobox_makes_it() {
    let sandbox = Sandbox::new();
    let options = "--hostname=box --privileged --security-opt=label=disable --security-opt=apparmor=unconfined \
        --pids-limit=-1 --user=root:root --ipc=host --network=host --pid=host --label=manager=distrobox \
        --volume=/tmp:/tmp:rslave --volume=/:/run/host/:rslave --volume=/dev:/dev:rslave --volume=/sys:/sys:rslave \
        --volume=/dev/pts --volume=/dev/null:/dev/ptmx --volume=/var/log/journal --volume=/etc/hosts:/etc/hosts:ro \
        --annotation=run.oci.keep_original_groups=1 --ulimit=host --userns=keep-id";
    let options: Vec<&str> = options.split_whitespace().collect();
    let script = "id -u; test -e /run/host/etc/passwd && echo host; \
        mount -t devpts devpts -o noexec,nosuid,newinstance,ptmxmode=0666,mode=0620 /dev/pts && \
        mount -o bind /dev/pts/ptmx /dev/ptmx && echo > /dev/null && ls /dev/pts";
    let run = sandbox.sh(&options, script);
    assert_eq!(run.ok(), "0\nhost\nptmx", "{}", run.stderr);
}

/// What is copied into a new volume is the image's, whatever is mounted there: /sys, and a directory of the host.
#[test]
fn new_volumes_get_what_the_image_has_and_not_what_is_mounted() {
    let sandbox = Sandbox::new();
    let dockerfile =
        "FROM bb\nRUN mkdir -p /data/sub && echo image > /data/sub/f\nVOLUME /sys/fs/cgroup /data/sub\n";
    sandbox.write("Dockerfile", dockerfile);
    sandbox.ok(["build", "-q", "--network=none", "-t", "v", "."]);
    sandbox.write("host/sub/f", "host");
    let bind = format!("{}:/data", sandbox.path("host").display());
    let look = ["v", "sh", "-c", "cat /data/sub/f; ls /sys/fs/cgroup | wc -l"];
    let run = |options: &[&str]| sandbox.ok([&["run", "--rm", "--net=none"], options, &look].concat());
    assert_eq!(run(&[]), "image\n0");
    assert_eq!(run(&["-v", &bind]), "image\n0");
    assert_eq!(run(&["--privileged", "--tmpfs=/sys/fs/cgroup"]), "image\n0");
}
