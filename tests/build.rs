//! `build`: real images from Dockerfiles, as an ordinary user.

mod common;

use common::{Output, Running, Sandbox, last_line, wait_for};

/// Builds `dockerfile` in the context `ctx` of the sandbox; steps have no network, which is quicker.
fn build(sandbox: &Sandbox, dockerfile: &str, args: &[&str]) -> Output {
    sandbox.write("ctx/Dockerfile", dockerfile);
    command(sandbox, args).run()
}

fn command(sandbox: &Sandbox, args: &[&str]) -> common::Invocation {
    let context = sandbox.path("ctx").display().to_string();
    sandbox.command([&["build", "--network=none"], args, &[&context]].concat())
}

fn built(sandbox: &Sandbox, dockerfile: &str, args: &[&str]) -> String {
    build(sandbox, dockerfile, args).ok().to_owned()
}

fn in_image(sandbox: &Sandbox, image: &str, script: &str) -> String {
    sandbox.ok(["run", "--rm", "--net=none", "--entrypoint=", image, "sh", "-c", script])
}

#[test]
fn stages_become_an_image_and_unchanged_steps_come_from_the_cache() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/src/main.txt", "one\n");
    sandbox.write("ctx/unused.txt", "x");
    let dockerfile = "\
ARG BASE=bb
FROM $BASE AS builder
WORKDIR /src
COPY src .
RUN tr a-z A-Z < main.txt > /out && echo compiled
FROM bb AS unused
RUN exit 9
FROM $BASE
ARG WHO=world
ENV GREETING=\"hello $WHO\" PLACE=/srv/app
LABEL kind=test
COPY --from=builder /out $PLACE/
WORKDIR $PLACE
EXPOSE 80 53/udp
USER 5:6
ENTRYPOINT [\"cat\"]
CMD [\"out\"]
";
    let first = built(&sandbox, dockerfile, &["-t", "app:1"]);
    assert!(first.contains("\ncompiled\n") && first.contains("STEP 2/4: WORKDIR /src"), "{first}");
    assert!(first.contains("Successfully tagged localhost/app:1"), "{first}");
    let id = last_line(&first).to_owned();
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Id}}", "app:1"]), id);
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "app:1"]), "ONE");
    let config = sandbox.ok(["image", "inspect", "--format={{json .Config}}", "app:1"]);
    for part in [
        r#""User":"5:6""#,
        r#""GREETING=hello world""#,
        r#""Entrypoint":["cat"]"#,
        r#""Cmd":["out"]"#,
        r#""WorkingDir":"/srv/app""#,
        r#""80/tcp":{}"#,
        r#""53/udp":{}"#,
        r#""kind":"test""#,
    ] {
        assert!(config.contains(part), "{part} in {config}");
    }

    // Everything again: nothing runs, and the image is the same one.
    let again = built(&sandbox, dockerfile, &["-t", "app:2"]);
    assert!(!again.contains("\ncompiled\n") && again.contains("--> Using cache"), "{again}");
    assert_eq!(last_line(&again), id);
    // A label or a file that nobody uses changes no file system.
    sandbox.write("ctx/unused.txt", "y");
    let labelled = built(&sandbox, &dockerfile.replace("kind=test", "kind=other"), &[]);
    assert!(!labelled.contains("\ncompiled\n"), "{labelled}");
    assert_ne!(last_line(&labelled), id);
    // A file that is used does.
    sandbox.write("ctx/src/main.txt", "two\n");
    let changed = built(&sandbox, dockerfile, &["-t", "app:3"]);
    assert!(changed.contains("\ncompiled\n"), "{changed}");
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "app:3"]), "TWO");
    assert!(built(&sandbox, dockerfile, &["--no-cache"]).contains("\ncompiled\n"));
    assert!(built(&sandbox, dockerfile, &["--no-cache-filter=builder"]).contains("\ncompiled\n"));
    // The quiet one says the ID alone; the file has it, too.
    let file = sandbox.path("id");
    let quiet = built(&sandbox, dockerfile, &["-q", "--iidfile", file.to_str().unwrap()]);
    assert_eq!(quiet.lines().count(), 1, "{quiet}");
    assert_eq!(sandbox.read("id"), format!("sha256:{}", quiet.trim()));
    assert_eq!(sandbox.names(), Vec::<String>::new(), "no container is left or seen");
}

#[test]
fn files_land_as_docker_has_it() {
    let sandbox = Sandbox::new();
    for (path, content) in [
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("c.log", "c"),
        ("dir/x", "x"),
        ("dir/sub/y", "y"),
        ("dir/sub/z.o", "z"),
        ("deep/one/two/three", "3"),
        ("ignored/secret", "s"),
        ("ignored/kept", "k"),
        (".dockerignore", "ignored\n!ignored/kept\n"),
    ] {
        sandbox.write(format!("ctx/{path}"), content);
    }
    std::os::unix::fs::symlink("x", sandbox.path("ctx/dir/link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", sandbox.path("ctx/outside")).unwrap();
    let dockerfile = r#"
FROM bb
RUN mkdir -p /real && ln -s real /way && echo old > /real/b.txt && echo svc:x:77:88::/:/bin/sh >> /etc/passwd
COPY a.txt /file
COPY a.txt b.txt /many/
COPY *.txt /way/
COPY dir /tree
COPY --exclude=**/*.o dir /less/
COPY --chown=svc --chmod=640 a.txt /owned/f
COPY --chown=5:6 dir /owned/d
COPY --chmod=u=rwx,go= dir/sub/y /exec
COPY --parents deep/one/./two/three dir/sub/*.o /parents/
COPY . /all/
COPY --link dir/x /linked/x
COPY <<one <<'two' /docs/
v=$V
one
v=$V
two
ENV V=1
COPY <<EOF /doc
v=$V
EOF
"#;
    built(&sandbox, dockerfile, &["-t", "files"]);
    let script = "cat /file /many/a.txt /real/b.txt /tree/sub/y /linked/x; echo; readlink /tree/link; ls /less/sub
stat -c '%n %a %u:%g' /owned /owned/f /owned/d/sub/y /exec /file; find /parents /all/ignored -type f | sort; cat /docs/one /docs/two /doc";
    assert_eq!(
        in_image(&sandbox, "files", script),
        "aabyx\nx\ny\n/owned 755 77:88\n/owned/f 640 77:88\n/owned/d/sub/y 644 5:6\n/exec 700 0:0\n/file 644 0:0\n\
         /all/ignored/kept\n/parents/dir/sub/z.o\n/parents/two/three\nv=\nv=$V\nv=1"
    );
    for (instruction, part) in [
        ("COPY ignored/secret /", "excludes it"),
        ("COPY nothing /", "not found"),
        ("COPY a.txt b.txt /bin/busybox", "Not a directory"),
        ("COPY dir /bin/busybox", "directory"),
        ("COPY ../../../etc/hostname /x", "not found"),
        ("COPY outside /x", "not found"),
    ] {
        let output = build(&sandbox, &format!("FROM bb\n{instruction}\n"), &[]);
        let stderr = output.fails(125);
        assert!(
            stderr.contains(part) && stderr.contains(">>> ") || stderr.contains("  2 | "),
            "{instruction}: {stderr}"
        );
    }
}

#[test]
fn archives_are_unpacked_by_add_alone() {
    let sandbox = Sandbox::new();
    let archive = common::image::Layer::new().owner(3, 4).file("in/side", 0o600, "x").finish();
    sandbox.write("ctx/a.tar", &archive);
    let dockerfile = "FROM bb\nADD a.tar /added\nADD --unpack=false a.tar /kept\nCOPY a.tar /copied\n";
    built(&sandbox, dockerfile, &["-t", "add"]);
    let script = "stat -c '%n %a %u:%g' /added/in/side; ls -d /kept /copied; cmp /kept /copied && echo same";
    assert_eq!(in_image(&sandbox, "add", script), "/added/in/side 600 3:4\n/copied\n/kept\nsame");
}

/// As Docker's reference has it: gzip, bzip2 and xz, and zstd as BuildKit; what holds no archive stays as it is.
#[test]
fn archives_of_any_compression() {
    let sandbox = Sandbox::new();
    let made = common::image::Layer::new()
        .file("Dockerfile", 0o644, "FROM bb\nCOPY in /in\nRUN cat /in\n")
        .file("in", 0o644, "inside")
        .finish();
    sandbox.write("ctx/a.tar", &made);
    sandbox.write("ctx/text", "no archive\n".repeat(100));
    let tools: Vec<&str> =
        ["gzip", "bzip2", "xz", "zstd"].into_iter().filter(|tool| common::have(tool)).collect();
    let mut dockerfile = "FROM bb\n".to_owned();
    for tool in &tools {
        let script = format!("cd ctx && {tool} -c1 a.tar > a.{tool} && {tool} -c1 text > text.{tool}");
        sandbox.program("sh", ["-c", &script]).run().ok();
        dockerfile += &format!("ADD a.{tool} /{tool}\nADD text.{tool} /{tool}/\n");
    }
    built(&sandbox, &dockerfile, &["-t", "add"]);
    for tool in &tools {
        let script = format!("cat /{tool}/in; ls /{tool}");
        assert_eq!(
            in_image(&sandbox, "add", &script),
            format!("insideDockerfile\nin\ntext.{tool}"),
            "{tool}"
        );
        let context = std::fs::read(sandbox.path(format!("ctx/a.{tool}"))).unwrap();
        let output = sandbox.command(["build", "--network=none", "--no-cache", "-"]).stdin(context).run();
        assert!(output.ok().contains("inside"), "{tool}: {}", output.stdout);
    }
}

#[test]
fn mounts_of_run_leave_nothing_behind() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/data", "from the context\n");
    sandbox.write("secret", "very secret 8421\n");
    std::os::unix::fs::symlink("/", sandbox.path("ctx/root")).unwrap();
    let secret = format!("id=s,src={}", sandbox.path("secret").display());
    let dockerfile = r#"
FROM bb AS other
RUN echo stage > /made
FROM bb
RUN --mount=target=/m/ctx cat /m/ctx/data && ! touch /m/ctx/new
RUN --mount=type=bind,from=other,source=/made,target=/m/made,rw cat /m/made && echo more >> /m/made
RUN --mount=type=bind,from=other,source=/made,target=/m/made cat /m/made
RUN --mount=type=cache,target=/m/cache,id=../../../../home echo x >> /m/cache/count && wc -l < /m/cache/count
RUN --mount=type=tmpfs,target=/m/tmp echo x > /m/tmp/x
RUN --mount=type=secret,id=s --mount=type=secret,id=s,env=KEY --mount=type=secret,id=s,target=/m/s,uid=7,mode=0440 \
    cat /run/secrets/s && echo "=$KEY" && stat -c '%a %u' /m/s && ! touch /run/secrets/s
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
RUN --mount=type=bind,source=root,target=/m/host ls /m/host
CMD true
"#;
    let text = built(&sandbox, dockerfile, &["-t", "mounts", "--secret", &secret]);
    assert!(
        text.contains("from the context\n")
            && text.contains("very secret 8421\n=very secret 8421\n\n440 7\n"),
        "{text}"
    );
    assert_eq!(text.matches("stage\n").count(), 2, "{text}");
    // A link to `/` leads to the context's own root (SEC-14).
    assert!(text.contains("Dockerfile\ndata\nroot\n"), "{text}");
    assert_eq!(in_image(&sandbox, "mounts", "ls -d /m /run/secrets 2>&1 | grep -v 'No such'; true"), "");
    // The secret is nowhere in the store, whatever reads it.
    let found = std::process::Command::new("grep")
        .args(["-rlaF", "very secret 8421"])
        .arg(sandbox.store())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    // A cache lasts; it lies in the store and not where its name points (SEC-15).
    let again = build(&sandbox, &dockerfile.replace("wc -l", "wc  -l"), &["--secret", &secret]);
    assert!(again.ok().contains("\n2\n"), "{}", again.stdout);
    let missing = build(&sandbox, "FROM bb\nRUN --mount=type=secret,id=x,required true\n", &[]);
    assert!(missing.fails(125).contains("secret x: not found"), "{}", missing.stderr);
}

#[test]
fn heredocs_shells_and_triggers() {
    let sandbox = Sandbox::new();
    let dockerfile = "FROM bb\nARG A=arg\nRUN <<EOF\necho \"1 $A\"\necho 2\nEOF\nRUN cat <<X - <<Y\nin x\nX\nin y\nY\n\
                      RUN <<script\n#!/bin/cat\n# shown\nscript\nSHELL [\"/bin/sh\", \"-xc\"]\nRUN echo 3\nRUN [\"echo\", \"$A\"]\n";
    let output = build(&sandbox, dockerfile, &["--build-arg", "A=given"]);
    let text = output.ok();
    assert!(
        text.contains("1 given\n2\n")
            && text.contains("in y\n")
            && text.contains("# shown\n")
            && text.contains("\n$A\n"),
        "{text}"
    );
    assert!(output.stderr.contains("+ echo 3"), "{}", output.stderr);

    sandbox.write("ctx/late", "late");
    built(
        &sandbox,
        "FROM bb\nONBUILD COPY late /copied\nONBUILD RUN echo triggered\nENTRYPOINT [\"x\"]\nCMD [\"y\"]\n",
        &["-t", "parent"],
    );
    let child = built(&sandbox, "FROM parent\nRUN cat /copied\nENTRYPOINT [\"z\"]\n", &["-t", "child"]);
    assert!(
        child.contains("STEP 2/5: COPY late /copied")
            && child.contains("triggered\n")
            && child.contains("late"),
        "{child}"
    );
    let config = sandbox.ok([
        "image",
        "inspect",
        "--format={{json .Config.Entrypoint}} {{json .Config.Cmd}} {{json .Config.OnBuild}}",
        "child",
    ]);
    assert_eq!(config, "[\"z\"] null null", "a new entrypoint makes the base's command void");
}

#[test]
fn a_failing_step_shows_its_lines_and_passes_its_code_on() {
    let sandbox = Sandbox::new();
    let failed = build(&sandbox, "FROM bb\nRUN echo fine\nRUN echo why >&2; \\\n  exit 7\n", &[]);
    let stderr = failed.fails(7);
    for part in ["why\n", "Dockerfile:3\n", "   3 | >>> RUN echo why", "   4 | >>>   exit 7", "exit status 7"]
    {
        assert!(stderr.contains(part), "{part:?} in {stderr}");
    }
    let wrong = build(&sandbox, "FROM bb\n\nRNU x\n", &[]);
    assert!(
        wrong
            .fails(125)
            .contains("Dockerfile:3:1: unknown instruction: RNU (did you mean RUN?)\n  3 | RNU x\n    | ^"),
        "{}",
        wrong.stderr
    );
    assert!(build(&sandbox, "FROM bb\n", &["--target=nope"]).fails(125).contains("nope"));
    let unused = build(&sandbox, "FROM bb\n", &["--build-arg=NOPE=1"]);
    unused.ok();
    assert!(unused.stderr.contains("not consumed: [NOPE]"), "{}", unused.stderr);
    sandbox.write("ctx/Dockerfile", "FROM bb\nCMD x\n");
    let checked = command(&sandbox, &["--check"]).run();
    assert_eq!(checked.code, 1, "{}", checked.stderr);
    assert!(checked.stdout.contains("JSONArgsRecommended"), "{}", checked.stdout);
}

#[test]
fn contexts_come_from_standard_input_and_by_name() {
    let sandbox = Sandbox::new();
    let run = |args: &[&str], stdin: Vec<u8>| {
        let mut all = vec!["build", "--network=none"];
        all.extend(args);
        sandbox.command(all).stdin(stdin).run()
    };
    assert!(run(&["-t", "one", "-"], b"FROM bb\nRUN echo hello\n".to_vec()).ok().contains("hello"));
    let archive = common::image::Layer::new()
        .file("Dockerfile", 0o644, "FROM bb\nCOPY f /f\nRUN cat /f\n")
        .file("f", 0o644, "archived");
    assert!(run(&["-"], archive.finish()).ok().contains("archived"));
    sandbox.write("more/file", "more\n");
    sandbox.write("ctx/Other", "FROM base\nCOPY --from=more file /\nRUN cat /file\n");
    let more = format!("--build-context=more={}", sandbox.path("more").display());
    let file = sandbox.path("ctx/Other");
    let text =
        command(&sandbox, &["-f", file.to_str().unwrap(), &more, "--build-context=base=docker-image://bb"])
            .run();
    assert!(text.ok().contains("more\n"), "{}", text.stdout);
}

#[test]
fn results_other_than_an_image() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/f", "x");
    let dockerfile = "FROM scratch\nCOPY f /dir/f\n";
    let out = sandbox.path("out");
    assert_eq!(built(&sandbox, dockerfile, &["-q", "-o", out.to_str().unwrap()]), "");
    assert_eq!(sandbox.read("out/dir/f"), "x");
    let tar = sandbox.path("out.tar");
    let dest = format!("type=tar,dest={}", tar.display());
    built(&sandbox, dockerfile, &["-q", "-o", &dest]);
    let listed = std::process::Command::new("tar").arg("-tf").arg(&tar).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("dir/f"));

    let steps = "FROM bb\nRUN echo 1 > /one\nRUN echo 2 > /two\n";
    let layers = |args: &[&str]| {
        built(&sandbox, steps, &[args, &["-t", "layers"]].concat());
        assert_eq!(in_image(&sandbox, "layers", "cat /one /two"), "1\n2");
        sandbox.ok(["image", "inspect", "--format={{len .RootFS.Layers}}", "layers"])
    };
    assert_eq!(
        (layers(&[]), layers(&["--squash"]), layers(&["--layers=false"]), layers(&["--squash-all"])),
        ("4".into(), "3".into(), "3".into(), "1".into())
    );
}

#[test]
fn the_same_sources_and_time_make_the_same_image() {
    let build_in = |sandbox: &Sandbox| {
        sandbox.write("ctx/f", "x");
        let dockerfile = "FROM bb\nCOPY f /f\nRUN echo 1 > /one && mkdir /d\nENV A=b\n";
        last_line(&built(sandbox, dockerfile, &["--timestamp=1700000000", "-t", "same"])).to_owned()
    };
    let (one, two) = (Sandbox::new(), Sandbox::new());
    // What the cache has from a build without a time is of another time.
    two.write("ctx/f", "x");
    built(&two, "FROM bb\nCOPY f /f\nRUN echo 1 > /one && mkdir /d\nENV A=b\n", &[]);
    assert_eq!(build_in(&one), build_in(&two));
    assert_eq!(in_image(&one, "same", "stat -c %Y /one /f /d"), "1700000000\n1700000000\n1700000000");
    assert!(one.ok(["image", "inspect", "--format={{.Created}}", "same"]).contains("2023-11-14 22:13:20"));
}

#[test]
fn independent_stages_run_at_the_same_time() {
    let sandbox = Sandbox::new();
    // Each waits for the other: one after the other they would wait for ever.
    let dockerfile = "\
FROM bb AS one
RUN --mount=type=cache,target=/c,id=meet touch /c/one; until [ -e /c/two ]; do sleep 0.1; done
FROM bb AS two
RUN --mount=type=cache,target=/c,id=meet touch /c/two; until [ -e /c/one ]; do sleep 0.1; done; echo met > /met
FROM bb
COPY --from=one /bin/busybox /x
COPY --from=two /met /met
";
    built(&sandbox, dockerfile, &["-t", "both"]);
    assert_eq!(in_image(&sandbox, "both", "cat /met"), "met");
}

#[test]
fn a_killed_build_leaves_its_finished_steps_and_nothing_else() {
    let sandbox = Sandbox::new();
    let dockerfile = "FROM bb\nRUN echo first > /first\nRUN echo started; sleep 1000\n";
    sandbox.write("ctx/Dockerfile", dockerfile);
    let running: Running = command(&sandbox, &[]).spawn();
    running.expect("started");
    running.signal(rustix::process::Signal::KILL);
    running.wait();
    // What ran dies with the build (REL-05).
    wait_for("the step to die", || {
        let found = std::process::Command::new("pgrep")
            .args(["-f", "sleep 1000"])
            .output()
            .map_err(|err| err.to_string())?;
        if found.stdout.is_empty() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&found.stdout).into_owned())
        }
    });
    assert_eq!(sandbox.names(), Vec::<String>::new());
    let again = built(&sandbox, "FROM bb\nRUN echo first > /first\n", &["-t", "first"]);
    assert!(again.contains("Using cache"), "{again}");
    let left: Vec<_> =
        std::fs::read_dir(sandbox.store().join("staging")).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    sandbox.ok(["rmi", "first"]);
    sandbox.ok(["builder", "prune", "--all", "--force"]);
    assert_eq!(std::fs::read_dir(sandbox.store().join("build/steps")).unwrap().count(), 0);
    // The base stays whole.
    assert_eq!(in_image(&sandbox, "bb", "echo well"), "well");
}

#[test]
fn a_locked_cache_is_waited_for() {
    let sandbox = Sandbox::new();
    let dockerfile = "\
FROM bb AS one
RUN --mount=type=cache,target=/c,sharing=locked [ ! -e /c/busy ] && touch /c/busy && sleep 0.3 && rm /c/busy && touch /1
FROM bb AS two
RUN --mount=type=cache,target=/c,sharing=locked [ ! -e /c/busy ] && touch /c/busy && sleep 0.3 && rm /c/busy && touch /2
FROM bb
COPY --from=one /1 /
COPY --from=two /2 /
";
    built(&sandbox, dockerfile, &["-t", "locked"]);
}

#[test]
fn steps_of_one_layer_may_be_of_any_kind() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/f", "f\n");
    let dockerfile = "FROM bb\nWORKDIR /w\nCOPY f /f\nRUN cat /f > /g && rm /f\nCOPY f /h\nCOPY f /i\nRUN rm /i && pwd > /p\n";
    built(&sandbox, dockerfile, &["--layers=false", "-t", "one"]);
    assert_eq!(in_image(&sandbox, "one", "cat /g /h /p; ls -d /f /i 2> /dev/null; true"), "f\nf\n/w");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{len .RootFS.Layers}}", "one"]), "3");
}

#[test]
fn a_working_directory_belongs_to_the_user_of_the_stage() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/f", "f");
    let dockerfile =
        "FROM bb\nWORKDIR /root/made\nUSER app:staff\nWORKDIR /srv/a/b\nRUN touch mine\nWORKDIR /srv\n";
    built(&sandbox, dockerfile, &["-t", "wd"]);
    let script = "stat -c '%n %u:%g' /root/made /srv /srv/a /srv/a/b /srv/a/b/mine";
    assert_eq!(
        sandbox.ok(["run", "--rm", "--net=none", "--user=0", "wd", "sh", "-c", script]),
        "/root/made 0:0\n/srv 1000:50\n/srv/a 1000:50\n/srv/a/b 1000:50\n/srv/a/b/mine 1000:50"
    );
}

/// Reads of a context what is used, whatever else lies there.
#[test]
fn odd_contexts() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::new();
    sandbox.write("ctx/used/f", "used");
    sandbox.write("ctx/closed", "x");
    let ctx = sandbox.path("ctx");
    let set_mode = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&ctx.join("closed"), 0o000);
    rustix::fs::mknodat(rustix::fs::CWD, ctx.join("used/pipe"), rustix::fs::FileType::Fifo, 0o640.into(), 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(ctx.join("used/socket")).unwrap();
    let hole = std::fs::File::create(ctx.join("used/hole")).unwrap();
    hole.set_len(20 << 20).unwrap();
    let dockerfile = "FROM bb\nCOPY used /used\nRUN stat -c '%n %F %a' /used/pipe /used/hole && ls -A /used && du -k /used/hole\n";
    let text = built(&sandbox, dockerfile, &[]);
    assert!(text.contains("/used/pipe fifo 640") && !text.contains("socket"), "{text}");
    let kib = |line: &str| line.strip_suffix("/used/hole")?.trim().parse::<u64>().ok();
    let blocks = text.lines().find_map(kib).unwrap();
    assert!(blocks < 1024, "holes stay holes: {text}");
    let wrong = build(&sandbox, "FROM bb\nCOPY . /all\n", &[]);
    assert!(wrong.fails(125).contains("closed\": Permission denied"), "{}", wrong.stderr);
    // The context may be one that nobody can write to.
    std::fs::remove_file(ctx.join("closed")).unwrap();
    sandbox.write("ctx/Dockerfile", "FROM bb\nCOPY . /all\nRUN cat /all/used/f\n");
    set_mode(&ctx.join("used"), 0o555);
    set_mode(&ctx, 0o555);
    let output = command(&sandbox, &[]).run();
    set_mode(&ctx, 0o755);
    set_mode(&ctx.join("used"), 0o755);
    assert!(output.ok().contains("used"), "{}", output.stdout);
}

#[test]
fn a_long_dockerfile() {
    let sandbox = Sandbox::new();
    let mut dockerfile = "FROM bb\n".to_owned();
    (0..130).for_each(|n| dockerfile.push_str(&format!("COPY <<E /f{n}\n{n}\nE\nENV V{n}=$V{n}x\n")));
    dockerfile.push_str("RUN ls / | grep -c '^f[0-9]'\n");
    assert!(built(&sandbox, &dockerfile, &["-t", "long"]).contains("\n130\n"));
    assert_eq!(in_image(&sandbox, "long", "cat /f0 /f129"), "0\n129");
}

/// Killed anywhere, a build leaves whole steps or none.
#[test]
fn builds_killed_at_any_moment_go_on() {
    let sandbox = Sandbox::new();
    for n in 0..200 {
        sandbox.write(format!("ctx/many/{n}"), n.to_string());
    }
    let dockerfile = "FROM bb AS a\nCOPY many /many\nRUN cat /many/* > /all && echo 1 > /1\nFROM bb\nRUN echo 2 > /2\nCOPY --from=a /all /1 /\nRUN cat /1 /2 > /3\nWORKDIR /w\n";
    sandbox.write("ctx/Dockerfile", dockerfile);
    let want = {
        built(&sandbox, dockerfile, &["--no-cache", "-t", "whole"]);
        in_image(&sandbox, "whole", "cat /3; wc -c < /all; pwd")
    };
    sandbox.ok(["rmi", "whole"]);
    for moment in 0..6_u32 {
        sandbox.ok(["builder", "prune", "--all", "--force"]);
        let running: Running = command(&sandbox, &["-t", "killed"]).spawn();
        // Anywhere from the first step to the last: what it does then does not matter.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(moment) * 60 + 5));
        running.signal(rustix::process::Signal::KILL);
        running.wait();
        built(&sandbox, dockerfile, &["-t", "again"]);
        assert_eq!(
            in_image(&sandbox, "again", "cat /3; wc -c < /all; pwd"),
            want,
            "killed at moment {moment}"
        );
        sandbox.ok(["system", "check"]);
        sandbox.ok(["rmi", "-f", "again", "killed"]);
    }
    sandbox.ok(["builder", "prune", "--all", "--force"]);
    assert!(!sandbox.ok(["system", "df"]).contains("Build Cache"), "nothing is left");
    assert_eq!(std::fs::read_dir(sandbox.store().join("staging")).unwrap().count(), 0);
}

#[test]
fn the_same_build_twice_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/f", "x");
    let dockerfile = "FROM bb\nCOPY f /f\nRUN sleep 1; cp /f /g\nRUN cat /g > /h\n";
    sandbox.write("ctx/Dockerfile", dockerfile);
    let both = ["one", "two"].map(|name| command(&sandbox, &["-t", name]).spawn());
    for running in both {
        let output = running.wait();
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    for name in ["one", "two"] {
        assert_eq!(in_image(&sandbox, name, "cat /h"), "x");
    }
    sandbox.ok(["system", "check"]);
}

#[test]
fn mistakes_are_shown_with_what_was_meant() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/f", "x");
    for (line, want) in [
        ("COPY nothing /", "Error: \"/nothing\": not found"),
        ("COPY --from=frist /x /", "hint: did you mean the stage first?"),
        ("COPY --from=7 /x /", "there is no stage 7"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ("RUN --mount=type=secret,id=x,required=true true", "secret x: not found"),
    ] {
        let dockerfile = format!("FROM bb AS first\nRUN true\nFROM bb\n{line}\n");
        let output = build(&sandbox, &dockerfile, &["--pull=never"]);
        assert!(output.fails(125).contains(want), "{line}: {}", output.stderr);
        assert!(output.stderr.contains("Dockerfile:4"), "{line}: {}", output.stderr);
    }
    // What a wildcard finds is left out by its name, as Docker documents it.
    let text = built(
        &sandbox,
        "FROM bb\nCOPY <<E /d/home.txt\nE\nCOPY --exclude=*.txt f* /e/\nCOPY --from=bb --exclude=wget /bin/w* /w/\nRUN ls -A /e /w\n",
        &[],
    );
    assert!(text.contains("watch\n") && !text.contains("wget\n"), "{text}");
}
