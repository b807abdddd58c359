//! `build`: what COPY, ADD, RUN and ARG make of what they are given, where docker and podman do the same.

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::image::Layer;
use common::{Output, Sandbox};

fn command(sandbox: &Sandbox, text: &str, args: &[&str]) -> common::Invocation {
    sandbox.write("ctx/Dockerfile", text);
    let context = sandbox.path("ctx").display().to_string();
    sandbox.command([&["build", "--network=none"], args, &[&context]].concat())
}

fn build(sandbox: &Sandbox, text: &str, args: &[&str]) -> Output {
    command(sandbox, text, args).run()
}

/// Only RUN has mount points that nobody asked for.
#[test]
fn empty_directories_are_copied_and_mount_points_are_not() {
    let sandbox = Sandbox::new();
    let names = ["run", "proc", "sys", "dev", "etc"];
    for name in names {
        std::fs::create_dir_all(sandbox.path("ctx/root").join(name)).unwrap();
    }
    sandbox.write("ctx/etc/resolv.conf", "");
    for (number, layers) in ["--layers=true", "--layers=false"].into_iter().enumerate() {
        let dest = sandbox.path(format!("out{number}"));
        let text = "FROM scratch\nCOPY root/ /\nCOPY etc /etc\n";
        build(&sandbox, text, &[layers, "-o", dest.to_str().unwrap()]).ok();
        for name in names.into_iter().chain(["etc/resolv.conf"]) {
            assert!(dest.join(name).exists(), "{name} with {layers}");
        }
        let text = "FROM bb\nRUN --mount=type=tmpfs,target=/m/tmp ls -d /m/tmp\nCOPY etc /there\n";
        build(&sandbox, text, &[layers, "-t", "mounted"]).ok();
        let left = sandbox.ketch(["run", "--rm", "--net=none", "mounted", "ls", "-d", "/there", "/m"]);
        assert_eq!(left.stdout, "/there\n", "{layers}: {}", left.stderr);
    }
}

#[test]
fn a_cache_may_be_mounted_twice() {
    let sandbox = Sandbox::new();
    let text = "FROM bb\nRUN --mount=type=cache,id=c,target=/a --mount=type=cache,id=c,target=/b,sharing=locked \
                --mount=type=cache,id=c,target=/c,sharing=locked echo twice > /a/f && cat /b/f /c/f\n";
    let output = build(&sandbox, text, &[]);
    assert!(output.ok().contains("twice\ntwice\n"), "{}", output.stdout);
}

/// Nobody sees a cache that is half filled: its first user has it alone.
#[test]
fn a_cache_is_filled_by_one_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/seed/seeded", "x");
    let text = "FROM bb\nRUN --mount=type=cache,id=c,target=/c,from=seeds,source=/seed ls /c\n";
    let seeds = format!("--build-context=seeds={}", sandbox.path("ctx").display());
    assert!(build(&sandbox, text, &[&seeds]).ok().contains("seeded\n"));
    let mounts = std::fs::read_dir(sandbox.store().join("build/mounts")).unwrap();
    let [cache]: [PathBuf; 1] =
        mounts.map(|entry| entry.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
    // Another one fills it at this moment.
    let lock = std::fs::File::open(cache.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    std::fs::remove_file(cache.join("filled")).unwrap();
    std::fs::remove_file(cache.join("data/seeded")).unwrap();
    let running = command(&sandbox, text, &["--no-cache", &seeds]).spawn();
    running.expect("STEP 2/2");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(700) {
        assert!(!cache.join("data/seeded").exists(), "filled while another uses it");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(cache.join("data/other"), "").unwrap();
    std::fs::write(cache.join("filled"), "").unwrap();
    drop(lock);
    let output = running.wait();
    assert!(output.ok().contains("other\n") && !output.stdout.contains("seeded"), "{}", output.stdout);
}

#[test]
fn mounts_may_stand_in_quotes() {
    let sandbox = Sandbox::new();
    let text = "FROM bb AS base\nRUN echo made > /made\nFROM bb\n\
                RUN --mount='type=bind,from=base,source=/made,target=/m' cat /m\n\
                RUN --mount=\"type=cache,target=/c\" ls -d /c\n\
                RUN --mount='type=secret,id=s' true\n";
    let output = build(&sandbox, text, &[]);
    assert!(output.ok().contains("made\n") && output.stdout.contains("/c\n"), "{}", output.stdout);
    let outline = build(&sandbox, text, &["--call=outline,format=json"]);
    assert!(outline.ok().contains("\"s\""), "{}", outline.stdout);
}

#[test]
fn an_argument_without_a_value_takes_none_away() {
    let sandbox = Sandbox::new();
    let text = "FROM bb AS base\nARG V=1\nFROM base\nARG V\nARG W=2\nARG W\nRUN echo [$V$W]\n";
    assert!(build(&sandbox, text, &[]).ok().contains("[12]\n"));
    assert!(build(&sandbox, text, &["--build-arg=V=3"]).ok().contains("[32]\n"));
}

#[test]
fn triggers_name_stages() {
    let sandbox = Sandbox::new();
    let trigger = "ONBUILD COPY --from=builder /out /in\n";
    let stages =
        "FROM bb AS unused\nRUN exit 9\nFROM bb AS first\nRUN echo made > /out\nFROM first AS builder\n";
    let of_stage = format!("{stages}FROM bb AS base\n{trigger}FROM base\nRUN cat /in\n");
    let of_image = format!("{stages}FROM parent\nRUN cat /in\n");
    build(&sandbox, &format!("FROM bb\n{trigger}"), &["-t", "parent"]).ok();
    for text in [of_stage, of_image] {
        for jobs in ["--jobs=1", "--jobs=4"] {
            let output = build(&sandbox, &text, &["--no-cache", jobs]);
            assert!(output.ok().contains("made\n"), "{text} {jobs}: {}", output.stdout);
        }
    }
    let missing = build(&sandbox, "FROM parent\n", &["--pull=never"]);
    assert!(missing.fails(125).contains("builder"), "{}", missing.stderr);
}

/// As with podman and docker: whoever names it has nothing to copy.
#[test]
fn a_link_to_nothing_is_missed() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/src/f", "f");
    std::os::unix::fs::symlink("/nonexistent", sandbox.path("ctx/src/dang")).unwrap();
    let output = build(&sandbox, "FROM bb\nCOPY src/* /wild/\n", &[]);
    assert!(output.fails(125).contains("\"/src/dang\": not found"), "{}", output.stderr);
    // In a directory it is a link like any other, and what is left out is not missed.
    let text = "FROM bb\nCOPY src /all\nCOPY --exclude=dang src/* /wild/\nCOPY */f /wild/\nRUN ls /wild; readlink /all/dang\n";
    assert!(build(&sandbox, text, &[]).ok().contains("f\n/nonexistent\n"));
    sandbox.write("ctx/.dockerignore", "src/d*\n");
    build(&sandbox, "FROM bb\nCOPY src/* /wild/\n", &[]).ok();
}

#[test]
fn attributes_of_directories_travel() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/src/in/f", "f");
    let dir = sandbox.path("ctx/src/in");
    let set = |value: &[u8]| rustix::fs::setxattr(&dir, "user.kept", value, rustix::fs::XattrFlags::empty());
    if set(b"first value").is_err() {
        common::skip("needs a file system with extended attributes");
        return;
    }
    let tar = sandbox.path("out.tar");
    let export = format!("type=tar,dest={}", tar.display());
    let text = "FROM scratch AS one\nCOPY src /one\nFROM scratch\nCOPY --from=one /one /two\n";
    for value in [b"first value", b"other value"] {
        set(value).unwrap();
        build(&sandbox, text, &["-o", &export]).ok();
        let content = std::fs::read(&tar).unwrap();
        let record = [b"SCHILY.xattr.user.kept=", &value[..]].concat();
        assert!(
            content.windows(record.len()).any(|window| window == record),
            "the archive has the attribute"
        );
    }
}

/// As with docker, which unpacks in the image's root: a path goes where the links on it lead, within that root.
#[test]
fn archives_follow_links_of_the_image() {
    let sandbox = Sandbox::new();
    let archive = Layer::new()
        .file("lib2/foo", 0o644, "foo")
        .file("lib2/sub/bar", 0o600, "bar")
        .file("far/away", 0o644, "away")
        .dir("whole", 0o750)
        .file("whole/inside", 0o644, "inside")
        .finish();
    sandbox.write("ctx/a.tar", &archive);
    let text = "FROM bb\nRUN mkdir -p /usr/lib2 /at/usr/lib2 /target /at/target && for d in / /at/; do \
                ln -s usr/lib2 ${d}lib2; ln -s ../../../../made ${d}far; ln -s target ${d}whole; done\n\
                ADD a.tar /\nADD a.tar /at\n\
                RUN cat /usr/lib2/foo /usr/lib2/sub/bar /made/away /at/usr/lib2/foo; echo; readlink /lib2; readlink /far; \
                stat -c '%n %a %F' /whole /at/whole; cat /whole/inside /at/whole/inside; echo; ls -A /target /at/target | wc -l\n";
    let output = build(&sandbox, text, &[]);
    let want = "foobarawayfoo\nusr/lib2\n../../../../made\n/whole 750 directory\n/at/whole 750 directory\ninsideinside\n3\n";
    assert!(output.ok().contains(want), "{}", output.stdout);
}
